#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Do the shared object, its version script, the header and the man pages name the same functions, and is nothing else
# exported?
#
#   symbols.sh SOURCEDIR LIBRARY

set -euo pipefail
source=$1 library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rc=0

fail() { echo "FAILED: $*"; rc=1; }

# What the dynamic linker sees, without the name of the version node itself.
nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort >"$work/exported"
sed -n '/global:/,/local:/ s/^ *\([a-z_]*\);$/\1@@MONOHANDLE_0/p' "$source/src/lib/libmonohandle.sym" | sort >"$work/map"
# A declaration begins in the first column; comments do not.
grep -oE '^[a-z].*\bmh_[a-z_]+\(' "$source/include/monohandle.h" | grep -oE 'mh_[a-z_]+\($' |
        sed 's/($/@@MONOHANDLE_0/' | sort >"$work/header"

compare() {
        [ -s "$work/$1" ] || fail "no names found: $1"
        [ -s "$work/$2" ] || fail "no names found: $2"
        diff "$work/$1" "$work/$2" >"$work/diff" || { fail "$1 (<) and $2 (>) differ"; cat "$work/diff"; }
}

compare exported map
compare exported header
echo "$(wc -l <"$work/exported") functions"

# A page of its own or one that leads to another, which declares it.
while read -r name; do
        page=$source/man/$name.3
        [ -f "$page" ] || { fail "no man page $name(3)"; continue; }
        target=$(sed -n 's/^\.so man3\///p' "$page")
        [ -z "$target" ] || page=$source/man/$target
        grep -qE "^\.B.*\b$name\(" "$page" || fail "$(basename "$page") does not declare $name()"
        grep -q "'$name.3'" "$source/man/meson.build" || fail "$name.3 is not installed"
done < <(sed 's/@@.*//' "$work/exported")

# And no page for what does not exist.
for page in "$source"/man/mh_*.3; do
        name=$(basename "$page" .3)
        grep -q "^$name@@" "$work/exported" || fail "man page $name(3) is of no function"
done

# The library stands on the C library alone, and can be replaced by a later one of the same name.
readelf -d "$library" >"$work/dynamic"
grep -q 'SONAME.*\[libmonohandle\.so\.0\]' "$work/dynamic" || fail 'SONAME is not libmonohandle.so.0'
# Sanitizers bring libraries of their own.
if ! nm -D "$library" | grep -qE '__(asan|tsan|ubsan)_'; then
        needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" | grep -vE '^ld-linux' | tr '\n' ' ')
        [ "$needed" = 'libc.so.6 ' ] || fail "it needs $needed"
fi
! grep -q TEXTREL "$work/dynamic" || fail 'text relocations'

exit $rc
