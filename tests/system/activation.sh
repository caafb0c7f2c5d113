#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The first connect starts the daemon, each user has one, and nobody gets at another's.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT"

status_is() { [[ $(property "$1" StatusText) =~ $2 ]]; }

test_first_connect() {
        fresh_service "$1"
        is_state "$1" inactive
        client_start a "$1"
        client_tell a attach
        is_state "$1" active
        # A daemon that is ready has said so: Type=notify.
        expect "$(property "$1" Type)" notify
        expect "$(property "$1" SubState)" running
        expect "$(property "$1" NRestarts)" 0
}

test_status() {
        fresh_service "$1"
        client_start a "$1"
        client_tell a attach
        poll 5 status_is "$1" '^1 client, 0 handles, 0 B scratch$'
        client_start b "$1"
        client_tell b attach
        client_tell a new 6
        client_tell a new 5
        client_tell a alloc 65536
        poll 5 status_is "$1" '^2 clients, 2 handles, 64.0 KiB scratch$'
        sysctl_user "$1" status mono-handle-d.service | grep -q 'Status: "2 clients, 2 handles, 64.0 KiB scratch"'
        client_kill a
        poll 5 status_is "$1" '^1 client, 0 handles, 0 B scratch$'
}

# Many at once find no daemon: there is one afterwards, and each of them reached it.
test_race_to_the_first_connect() {
        local name
        fresh_service "$1"
        for name in a b c d e f g h; do
                client_start $name "$1"
                echo attach >&"${client_in[$name]}"
        done
        for name in a b c d e f g h; do
                IFS=' ' read -r -t 20 status answer <&"${client_out[$name]}"
                expect "$status" ok "the answer to $name"
        done
        expect "$(pgrep -c -u "$1" -x mono_handle_d)" 1 'number of daemons'
        client_tell a new 6
        client_tell h open "$answer"
}

test_users_are_apart() {
        local one two
        read -r one two _ <<<"$WORLD_USERS"
        fresh_service "$one"
        fresh_service "$two"
        client_start a "$one"
        client_start b "$two"
        client_tell a attach
        client_tell b attach
        [ "$(property "$one" MainPID)" != "$(property "$two" MainPID)" ]
        client_tell a new 6
        client_try b open "$answer"
        expect "$status $answer" 'error ESTALE' 'what the other user is told'
        client_tell b new 6
}

# Neither by the mode of the files, nor if somebody opened them up to all.
test_others_are_refused() {
        local one two socket
        read -r one two _ <<<"$WORLD_USERS"
        socket=/run/user/$one/mono-handle-d/socket
        fresh_service "$one"
        client_start a "$one"
        client_tell a attach
        client_tell a new 6

        client_start b "$two" "MONO_HANDLE_D_SOCKET=$socket"
        client_try b attach
        expect "$status" error 'what another user is told'

        chmod 755 "/run/user/$one" "/run/user/$one/mono-handle-d"
        chmod 666 "$socket"
        client_try b attach
        expect "$status $answer" 'error EPERM' 'what another user is told by the daemon'

        # root may do anything to the files, and is another user all the same
        client_start c 0 "MONO_HANDLE_D_SOCKET=$socket"
        client_try c attach
        expect "$status $answer" 'error EPERM' 'what root is told by the daemon'

        chmod 700 "/run/user/$one"
        client_tell a new 6
}

run_for_each_user test_first_connect test_status test_race_to_the_first_connect
run test_users_are_apart test_others_are_refused
finish
