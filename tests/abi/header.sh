#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Is the public header plain C11 and C++, alone and with all warnings, for each compiler that is here?
#
#   header.sh SOURCEDIR

set -euo pipefail
include=$1/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tried=0

# Twice, because a header that is included twice must not mind; and with nothing before it.
cat >"$work/use.c" <<'END'
#include <monohandle.h>
#include <monohandle.h>

int main(void)
{
        mh_client *c = 0;
        mh_handle h = 0;
        mh_scratch s = 0;
        int r = mh_attach(&c, 0, MH_ATTACH_NO_SPAWN | MH_ATTACH_NO_MAP);

        r |= mh_new(c, MH_TYPE_EVENT, &h) | mh_open(c, h, 0) | mh_close(c, h, 0);
        r |= mh_scratch_alloc(c, MH_PAYLOAD_SIZE, &s) | mh_scratch_free(c, s);
        r |= MH_TYPE_APPLICATION | MH_TYPE_MAX;
        if (MH_CLOSED_HERE & MH_CLOSED_EVERYWHERE)
                return 1;
        c = mh_detach(c);
        return c == 0 && r && mh_version() != mh_type_name(r);
}
END
cp "$work/use.c" "$work/use.cc"

compile() {
        local compiler=$1
        shift
        if ! command -v "$compiler" >/dev/null; then
                echo "$compiler: not here"
                return
        fi
        echo "$compiler $*"
        "$compiler" -I"$include" -Wall -Wextra -Wpedantic -pedantic-errors -Werror -Wconversion -Wshadow \
                -c -o "$work/use.o" "$@"
        tried=$((tried + 1))
}

for compiler in gcc clang; do
        for standard in c11 gnu11 c17; do
                compile $compiler -std=$standard -Wstrict-prototypes "$work/use.c"
        done
done
for compiler in g++ clang++; do
        for standard in c++11 c++17 c++20; do
                compile $compiler -std=$standard -Wold-style-cast "$work/use.cc"
        done
done

[ $tried -ge 3 ] || { echo 'no compilers'; exit 77; }
