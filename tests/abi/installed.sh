#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Can a program be built against what is installed, with what pkg-config says and nothing else, and does it work with the
# daemon that is installed?
#
#   installed.sh BUILDDIR PREFIX

set -euo pipefail
build=$1 prefix=$2
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v pkg-config >/dev/null || { echo 'pkg-config is not installed'; exit 77; }

meson install -C "$build" --no-rebuild --quiet --destdir "$work/root" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

root=$work/root$prefix
pc=$(find "$root" -name monohandle.pc)
[ -n "$pc" ] || { echo 'monohandle.pc is not installed'; exit 1; }
export PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$work/root
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1

echo "version $(pkg-config --modversion monohandle)"
# Who links the library need not know what it is made of.
[ -z "$(pkg-config --print-requires monohandle)$(pkg-config --print-requires-private monohandle)" ] ||
        { echo 'monohandle.pc requires something'; exit 1; }

lib=$(pkg-config --variable=libdir monohandle)
lib=$work/root${lib#"$work/root"}
for compiler in ${CC:-cc} clang; do
        command -v "${compiler%% *}" >/dev/null || continue
        # shellcheck disable=SC2046,SC2086 # the compiler's arguments are several words
        $compiler -std=c11 -Wall -Wextra -Werror -o "$work/program" "$here/program.c" $(pkg-config --cflags --libs monohandle)
        readelf -d "$work/program" | grep -q 'NEEDED.*libmonohandle\.so\.0'

        mkdir -m 700 "$work/run"
        export MONO_HANDLE_D_SOCKET=$work/run/socket MONO_HANDLE_D_BINARY=$root/bin/mono_handle_d
        export MONO_HANDLE_D_IDLE_TIMEOUT=1 MONO_HANDLE_D_SWEEP=no
        LD_LIBRARY_PATH=$lib "$work/program" "$(pkg-config --modversion monohandle)"

        # It leaves by itself, now that nobody is there any more.
        for _ in $(seq 600); do
                [ -e "$work/run/socket" ] || break
                sleep .05
        done
        [ ! -e "$work/run/socket" ] || { echo 'the daemon does not leave'; exit 1; }
        rm -rf "$work/run"
done
