#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Are the man pages well-formed, is each of them installed, and is every page of ours there that they name?

cd "$(dirname "$(readlink -f "$0")")/../../man" || exit 1
command -v mandoc >/dev/null || { echo 'mandoc is not installed'; exit 77; }

shopt -s nullglob
pages=(*.[1-8])
[ ${#pages[@]} -gt 0 ] || { echo 'there are no man pages'; exit 77; }
rc=0

wrong() { echo "$*"; rc=1; }

for page in "${pages[@]}"; do
        # Some pages only lead to another one, which describes several calls at once.
        target=$(sed -n 's/^\.so man[1-8]\///p' "$page")
        if [ -n "$target" ]; then
                [ -f "$target" ] || wrong "$page: leads to $target, which is not there"
        else
                mandoc -T lint -W warning "$page" || rc=1
        fi

        while read -r name section; do
                [ -f "$name.$section" ] || wrong "$page: refers to $name($section), which is not there"
        done < <(sed 's/\\-/-/g' "$page" |
                sed -n -E 's/^\.BR +((mh_|mono|libmonohandle)[A-Za-z0-9_-]*) +\(([1-8])\).*/\1 \3/p' | sort -u)

        grep -qF "'$page'" meson.build || wrong "$page: not listed in man/meson.build"
done

echo "${#pages[@]} pages"
exit $rc
