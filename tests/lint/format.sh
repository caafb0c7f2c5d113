#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are all C files formatted as .clang-format says? Prints what would change.

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
command -v clang-format >/dev/null || { echo 'clang-format is not installed'; exit 77; }

# Not 'git ls-files': a tarball is formatted, too, and a new file is not known to git yet.
mapfile -d '' files < <(find include src tests -name '*.[ch]' -print0 | sort -z)
echo "${#files[@]} files, $(clang-format --version)"

# An older or newer clang-format would want other things, which is nobody's fault.
clang-format --version | grep -q 'version 1[4-9]\.' || { echo 'needs clang-format 14 to 19'; exit 77; }

clang-format --dry-run --Werror "${files[@]}" 2>&1 | sed -n 's/^\([^: ]*\):[0-9]*:.*/\1/p' | uniq -c |
        awk '{ print $2 ": " $1 " places"; bad = 1 } END { if (bad) print "./dev format puts this right"; exit bad }'
