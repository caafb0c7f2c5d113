#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Do the programs in the documentation compile, and do they work?
#
# usage: example.sh [LIBDIR DAEMON]   without the two, they are only compiled

libdir=${1:+$(readlink -f "$1")} daemon=${2:+$(readlink -f "$2")}
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
dir=$(mktemp -d) || exit 1
daemon_pid=

clean_up() {
        if [ -n "$daemon_pid" ]; then
                kill "$daemon_pid" 2>/dev/null
                wait "$daemon_pid" 2>/dev/null
        fi
        rm -rf "$dir"
}
trap clean_up EXIT

fail() { echo "$*"; exit 1; }

# What stands between '.\" example NAME' and '.\" end' of a page, and the first C of a text.
awk '/^\.\\" example greet.c/ { on = 1; next } /^\.\\" end/ { on = 0 } on && !/^\.E[XE]/' man/monohandle.3 |
        sed -e 's/\\-/-/g' -e "s/\\\\(aq/'/g" -e 's/\\&//g' -e 's/\\e/\\/g' >"$dir/greet.c"
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$dir/readme.c"

examples=(greet readme)
for example in "${examples[@]}"; do
        [ -s "$dir/$example.c" ] || fail "$example.c: nothing was found"
        "${CC:-cc}" -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror -Iinclude \
                -c -o "$dir/$example.o" "$dir/$example.c" || fail "$example.c does not compile"
done
if [ -z "$libdir" ]; then
        echo 'compiled; neither library nor daemon to run them with'
        exit 0
fi

export LD_LIBRARY_PATH=$libdir MONO_HANDLE_D_SOCKET=$dir/socket MONO_HANDLE_D_SWEEP=no
"$daemon" 2>"$dir/daemon.log" &
daemon_pid=$!
# Calls that find nobody would start a daemon of their own.
for _ in {1..200}; do
        [ -S "$dir/socket" ] && break
        sleep 0.05
done
[ -S "$dir/socket" ] || { cat "$dir/daemon.log"; fail 'the daemon does not listen'; }

for example in "${examples[@]}"; do
        "${CC:-cc}" -o "$dir/$example" "$dir/$example.o" -L"$libdir" -lmonohandle || fail "$example does not link"
        output=$("$dir/$example") || fail "$example failed"
        grep -q 'hello, world' <<<"$output" || fail "$example does not say hello: $output"
done
