#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are the man pages well-formed, and is every other page of ours that they name there?

cd "$(dirname "$(readlink -f "$0")")/../../man" || exit 1
command -v mandoc >/dev/null || { echo 'mandoc is not installed'; exit 77; }

shopt -s nullglob
pages=(*.[1-8])
[ ${#pages[@]} -gt 0 ] || { echo 'there are no man pages'; exit 77; }
rc=0

# Pages of other projects that ours refer to need not be installed here.
mandoc -T lint -W warning "${pages[@]}" || rc=1

for page in "${pages[@]}"; do
        # A page that only leads to another one (.so man3/NAME.3) must lead somewhere.
        target=$(sed -n 's/^\.so man[1-8]\///p' "$page")
        if [ -n "$target" ] && [ ! -f "$target" ]; then
                echo "$page: leads to $target, which is not there"
                rc=1
        fi
        while read -r name section; do
                if [ ! -f "$name.$section" ]; then
                        echo "$page: refers to $name($section), which is not there"
                        rc=1
                fi
        done < <(sed -n -E 's/^\.(Xr|BR) +((mh_|mono|libmonohandle)[A-Za-z0-9_-]*) +\(?([1-8])\)?.*/\2 \4/p' "$page")
done

# meson installs what man/meson.build lists.
for page in "${pages[@]}"; do
        grep -qF "'$page'" meson.build || { echo "$page is not listed in man/meson.build"; rc=1; }
done

exit $rc
