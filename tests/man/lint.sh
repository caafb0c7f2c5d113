#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are the man pages well-formed, is every page that one of them names there, and do they say of the API what the header says?

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
for tool in mandoc groff; do
        command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 77; }
done

shopt -s nullglob
rc=0
pages=()
for page in man/*.[1-8]; do
        # A page that only leads to another one has nothing to lint; that it leads somewhere is checked below.
        grep -q '^\.so ' "$page" || pages+=("$page")
done
[ ${#pages[@]} -gt 0 ] || { echo 'there are no man pages'; exit 1; }

mandoc -T lint -W warning "${pages[@]}" || rc=1

# groff is what most systems show pages with. It says what it dislikes, and exits with 0.
for page in "${pages[@]}"; do
        complaints=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
        [ -z "$complaints" ] || { printf '%s:\n%s\n' "$page" "$complaints"; rc=1; }
done

python3 tests/man/pages.py || rc=1
exit $rc
