#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A daemon without clients leaves, and nobody who comes just then is lost.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT"

times_started() { journal "$1" _UID="$1" -o cat | grep -c '^Started mono-handle-d'; }
no_segment() { ! compgen -G "/dev/shm/mono-handle-d.$1.*" >/dev/null; }

test_leaves() {
        fresh_service "$1"
        drop_in "$1" Environment=MONO_HANDLE_D_IDLE_TIMEOUT=200ms
        client_start a "$1"
        client_tell a attach
        client_tell a new 6
        client_tell a detach
        poll 10 is_state "$1" inactive
        expect "$(property "$1" Result)" success
        is_state "$1" active mono-handle-d.socket
        # The segment was empty.
        no_segment "$1"

        client_tell a attach
        is_state "$1" active
        client_tell a new 6
}

# As long as somebody is there it stays, whether there is anything to do or not.
test_stays() {
        fresh_service "$1"
        drop_in "$1" Environment=MONO_HANDLE_D_IDLE_TIMEOUT=100ms
        client_start a "$1"
        client_tell a attach
        local before
        before=$(property "$1" MainPID)
        sleep 1
        expect "$(property "$1" MainPID)" "$before" 'the daemon'
}

# However short the time is that is set, the manager does not come to think that the daemon cannot run: the limit of starts
# is the unit's own here. Were each of these rounds a start, it would be reached several times over.
test_the_limit_of_starts_is_not_reached() {
        fresh_service "$1"
        drop_in "$1" Environment=MONO_HANDLE_D_IDLE_TIMEOUT=0
        expect "$(property "$1" StartLimitBurst)" 50
        as "$1" client race 1 200 10
        poll 10 is_state "$1" inactive
        expect "$(property "$1" Result)" success
        is_state "$1" active mono-handle-d.socket
        # As often as the time allows.
        as "$1" client race 1 30 240
        poll 10 is_state "$1" inactive
        expect "$(property "$1" Result)" success
        is_state "$1" active mono-handle-d.socket
}

# Clients come and go so that the daemon is leaving all the time.
test_no_connect_is_lost() {
        local before after
        fresh_service "$1"
        drop_in "$1" Environment=MONO_HANDLE_D_IDLE_TIMEOUT=1ms '[Unit]' StartLimitIntervalSec=0
        before=$(times_started "$1" || true)
        as "$1" client race 2 60 400
        after=$(times_started "$1")
        echo "started $((after - before)) times"
        [ $((after - before)) -ge 20 ] || fail "the daemon hardly ever left: $before, $after"
        is_state "$1" active mono-handle-d.socket
}

run_for_each_user test_leaves test_stays test_the_limit_of_starts_is_not_reached test_no_connect_is_lost
finish
