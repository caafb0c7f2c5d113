#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are the diagrams of the pages in section 7 what the headers are?

cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

python3 tests/man/diagrams.py man/mono-handle-d-wire.7 man/mono-handle-d-shm.7 >"$dir/diagrams.c" || exit 1
"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -Isrc -c -o "$dir/diagrams.o" "$dir/diagrams.c"
