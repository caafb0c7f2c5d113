#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The library starts the daemon: by the user's service manager where that knows the unit, else by itself.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT"

daemons() { pgrep -u "$1" -x mono_handle_d || true; }

# Nothing runs and nothing listens.
nothing_at_all() {
        fresh_service "$1"
        sysctl_user "$1" unmask --runtime mono-handle-d.socket mono-handle-d.service
        sysctl_user "$1" stop mono-handle-d.socket mono-handle-d.service
        rm -rf "/run/user/$1/mono-handle-d"
        expect "$(daemons "$1")" '' 'daemons at the beginning'
}

test_the_manager_is_asked() {
        nothing_at_all "$1"
        client_start a "$1"
        client_tell a attach
        is_state "$1" active mono-handle-d.socket
        is_state "$1" active mono-handle-d.service
        expect "$(daemons "$1")" "$(property "$1" MainPID)" 'the one daemon'
        client_tell a new 6
}

# By whichever way the path is found out to be the one that the unit listens at.
test_the_manager_is_asked_for_the_same_path() {
        nothing_at_all "$1"
        client_start a "$1" "MONO_HANDLE_D_SOCKET=/run/user/$1/mono-handle-d/socket"
        client_tell a attach
        expect "$(daemons "$1")" "$(property "$1" MainPID)" 'the one daemon'
}

test_the_manager_is_not_asked_for_another_path() {
        nothing_at_all "$1"
        client_start a "$1" "MONO_HANDLE_D_SOCKET=/run/user/$1/other/socket" MONO_HANDLE_D_IDLE_TIMEOUT=0
        client_tell a attach
        is_state "$1" inactive mono-handle-d.socket
        is_state "$1" inactive mono-handle-d.service
        client_kill a
        poll 20 no_daemon "$1"
}

no_daemon() { [ -z "$(daemons "$1")" ]; }

# Then it is not the library's place to insist; but somebody has to do it.
test_a_manager_that_does_not_want_to() {
        nothing_at_all "$1"
        sysctl_user "$1" mask --runtime mono-handle-d.socket mono-handle-d.service
        client_start a "$1" MONO_HANDLE_D_IDLE_TIMEOUT=0
        client_tell a attach
        expect "$(property "$1" MainPID)" 0 'the main process of the service'
        [ -n "$(daemons "$1")" ]
        client_tell a new 6
        client_kill a
        poll 20 no_daemon "$1"
        sysctl_user "$1" unmask --runtime mono-handle-d.socket mono-handle-d.service
}

# Both are stopped while somebody is attached: the next call starts them again, and nothing is lost.
test_started_again_for_who_is_attached() {
        local handle
        nothing_at_all "$1"
        client_start a "$1"
        client_tell a attach
        client_tell a new 6
        handle=$answer
        sysctl_user "$1" stop mono-handle-d.socket mono-handle-d.service
        expect "$(daemons "$1")" '' 'daemons after the stop'
        client_tell a open "$handle"
        poll 20 works_until a is_state "$1" active mono-handle-d.service
        expect "$(daemons "$1")" "$(property "$1" MainPID)" 'the one daemon'
}

# The manager begins to listen where a daemon that the library started serves already: that one makes room for the manager's,
# which takes over who is there.
test_the_manager_comes_later() {
        local first handle
        nothing_at_all "$1"
        sysctl_user "$1" mask --runtime mono-handle-d.socket mono-handle-d.service
        client_start a "$1"
        client_tell a attach
        client_tell a new 6
        handle=$answer
        first=$(daemons "$1")
        expect "$(property "$1" MainPID)" 0 'the main process of the service'
        sysctl_user "$1" unmask --runtime mono-handle-d.socket mono-handle-d.service
        sysctl_user "$1" start mono-handle-d.socket
        poll 10 is_over "$first"

        client_start b "$1"
        client_tell b attach
        client_tell b open "$handle"
        expect "$(daemons "$1")" "$(property "$1" MainPID)" 'the one daemon'
        client_tell a open "$handle"
        poll 20 works_until a status_is "$1" '2 clients, 1 handle, 0 B scratch'
        client_kill b
        poll 20 works_until a status_is "$1" '1 client, 1 handle, 0 B scratch'
}

is_over() { [ ! -e "/proc/$1" ]; }
status_is() { [ "$(property "$1" StatusText)" = "$2" ]; }

test_a_race() {
        local name
        nothing_at_all "$1"
        for name in a b c d e f g h; do
                client_start $name "$1"
                echo attach >&"${client_in[$name]}"
        done
        for name in a b c d e f g h; do
                IFS=' ' read -r -t 20 status answer <&"${client_out[$name]}"
                expect "$status" ok "the answer to $name"
        done
        expect "$(daemons "$1")" "$(property "$1" MainPID)" 'the one daemon'
        client_tell a new 6
        client_tell h open "$answer"
}

run_for_each_user test_the_manager_is_asked test_the_manager_is_asked_for_the_same_path \
        test_the_manager_is_not_asked_for_another_path test_a_manager_that_does_not_want_to \
        test_started_again_for_who_is_attached test_the_manager_comes_later test_a_race
finish
