#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ./dev run: shows the daemon at work, as it was just built and without installing anything.
#
#   tests/demo/run.sh BUILDDIR
#
# It runs under the user's service manager if one can be reached, with units and a socket of their own, so that a daemon
# that is installed is left alone; else the library starts it when the first client comes. All of it is gone afterwards.

set -euo pipefail
build=$(readlink -f "$1")
top=$(dirname "$(readlink -f "$0")")/../..
unit=mono-handle-d-demo
units=${XDG_RUNTIME_DIR:-}/systemd/user
work=$(mktemp -d)
since=$(date '+%Y-%m-%d %H:%M:%S')

say() { printf '\n== %s\n\n' "$*"; }

# Shows a command and what it prints.
show() {
        printf '  $ %s\n' "$*"
        "$build/src/$1" "${@:2}" | sed 's/^/  /'
        echo
}

# --- Where the daemon comes from -------------------------------------------------------------------------------------

manager_is_there() {
        command -v systemctl >/dev/null && [ -S "${XDG_RUNTIME_DIR:-/nonexistent}/systemd/private" ] &&
                timeout 5 systemctl --user show -P Version >/dev/null 2>&1
}

# The units that are installed, but for their names, the socket and where the program is.
start_units() {
        mkdir -p "$units"
        sed "s#%t/mono-handle-d/#%t/$unit/#" "$top/units/mono-handle-d.socket" >"$units/$unit.socket"
        sed "s#^ExecStart=.*#ExecStart=$build/src/mono_handle_d --socket=%t/$unit/socket#
             s#mono-handle-d\.socket#$unit.socket#" "$build/units/mono-handle-d.service" >"$units/$unit.service"
        systemctl --user daemon-reload
        systemctl --user start $unit.socket
        export MONO_HANDLE_D_SOCKET=$XDG_RUNTIME_DIR/$unit/socket
}

stop_units() {
        systemctl --user stop $unit.socket $unit.service
        systemctl --user reset-failed $unit.socket $unit.service 2>/dev/null || true
        rm -rf "${units:?}/$unit.socket" "$units/$unit.service" "${XDG_RUNTIME_DIR:?}/$unit"
        systemctl --user daemon-reload
}

# The library is told to start this instead of the daemon, so that what the daemon says on standard error can be shown.
let_library_start_it() {
        printf '#!/bin/sh\nexec "%s" "$@" 2>>"%s"\n' "$build/src/mono_handle_d" "$work/stderr" >"$work/daemon"
        chmod +x "$work/daemon"
        mkdir -m 700 "$work/run"
        # It need not wait long for others when all is over.
        export MONO_HANDLE_D_SOCKET=$work/run/socket MONO_HANDLE_D_BINARY=$work/daemon MONO_HANDLE_D_IDLE_TIMEOUT=1s
}

show_diagnostics() {
        if [ "$managed" = yes ]; then
                journalctl --quiet --no-pager --user-unit=$unit.service --since="$since" --output=cat | sed 's/^/  /'
                echo "  (from journalctl --user-unit=$unit.service)"
        else
                # It says goodbye as well.
                poll no_daemon || true
                sed 's/^/  /' "$work/stderr"
        fi
}

# --- Clearing up -----------------------------------------------------------------------------------------------------

cleanup() {
        local rc=$?
        if [ $rc -ne 0 ]; then
                say 'That went wrong. What the daemon said'
                show_diagnostics || true
        fi
        kill "${first:-}" "${second:-}" 2>/dev/null || true
        if [ "$managed" = yes ]; then
                stop_units
        else
                # Without clients it leaves by itself; only then is what it runs on taken away.
                poll no_daemon || true
        fi
        rm -rf "$work"
        exit $rc
}

# It takes its socket with it.
no_daemon() { [ ! -e "$MONO_HANDLE_D_SOCKET" ]; }

poll() {
        local i
        for ((i = 0; i < 500; i++)); do
                ! "$@" || return 0
                sleep .02
        done
        return 1
}

# --- The show --------------------------------------------------------------------------------------------------------

managed=no
trap cleanup EXIT
if manager_is_there; then
        managed=yes
        say 'The user manager listens, and starts the daemon for the first client'
        start_units
else
        say 'No user manager can be reached here: the library starts the daemon for the first client'
        let_library_start_it
fi

# What it says for people goes where this script's output goes, what it says for the script into a pipe.
# shellcheck disable=SC2069
demo() { exec "$build/tests/demo/demo" "$@" 2>&1 >"$work/from-$1"; }

mkfifo "$work/to-first" "$work/from-first" "$work/from-second"
demo first <"$work/to-first" &
first=$!
exec 3>"$work/to-first" 4<"$work/from-first"
read -r -t 20 -u 4 handle string

demo second "$handle" "$string" &
second=$!
# The shell need not tell that it was killed.
disown
exec 5<"$work/from-second"
read -r -t 20 -u 5 _

say 'Two processes, one handle'
show mono-handlectl status
show mono-handlectl clients
show mono-handlectl list

say "kill -KILL $second: the second one dies, holding handles and scratch memory"
kill -KILL "$second"
one_client() { [ "$("$build/src/mono-handlectl" clients --noheadings --raw | wc -l)" -eq 1 ]; }
poll one_client

show mono-handlectl clients
show mono-handlectl list
show mono-handlectl check

say 'What both held is still there for the first one'
echo >&3
wait "$first"
echo
show mono-handlectl list

say 'What the daemon said'
show_diagnostics
