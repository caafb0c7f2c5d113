#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fifty clients at full load, and the service is killed, restarted, stopped and started all the time: no operation fails, and
# each takes effect once.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$STORM"

clients=50
kills=14
# Microseconds. An operation takes as long as the daemon is away, and that is not long.
longest_allowed=20000000

runs_anew() {
        local pid
        pid=$(property "$1" MainPID)
        [ "$pid" != 0 ] && [ "$pid" != "$2" ] && is_state "$1" active
}

storm_start() {
        local dir
        dir=$(mktemp -d)
        mkfifo "$dir/in" "$dir/out"
        # Whoever disturbs them shall get on, too, where there are few processors.
        as "$1" nice -n 19 storm $clients <"$dir/in" >"$dir/out" &
        storm_pid=$!
        exec {storm_in}>"$dir/in" {storm_out}<"$dir/out"
        rm -r "$dir"
        read -r -t 60 status <&"$storm_out" || fail 'the storm does not begin'
        expect "$status" ok 'the beginning of the storm'
}

# Sets what it answers.
storm_tell() {
        echo "$1" >&"$storm_in"
        read -r -t 120 status attached handles blocks operations longest <&"$storm_out" || fail "no answer to: $1"
        expect "$status" ok "the answer to: $1"
}

# What the clients believe, and what mono-handlectl sees.
agrees() {
        [ "$(as "$1" mono-handlectl status --noheadings --raw -o CLIENTS,HANDLES,BLOCKS)" = "$2 $3 $4" ]
}

disturb() {
        local uid=$1 i pid
        for ((i = 1; i <= kills; i++)); do
                pid=$(property "$uid" MainPID)
                case $((i % 7)) in
                4)  sysctl_user "$uid" restart mono-handle-d.service ;;
                5)  sysctl_user "$uid" stop mono-handle-d.service ;;
                6)  sysctl_user "$uid" stop mono-handle-d.socket mono-handle-d.service
                    sysctl_user "$uid" start mono-handle-d.socket ;;
                *)  [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true ;;
                esac
                poll 20 runs_anew "$uid" "$pid"
        done
}

test_storm() {
        local uid=$1 status attached handles blocks operations longest storm_pid storm_in storm_out
        fresh_service "$uid"
        storm_start "$uid"
        disturb "$uid"
        storm_tell stop
        expect "$attached" $((clients + 1)) 'the number of clients'
        [ "$operations" -gt 1000 ] || fail "only $operations operations"
        [ "$longest" -lt $longest_allowed ] || fail "an operation took $longest us"
        poll 20 agrees "$uid" "$attached" "$handles" "$blocks"
        as "$uid" mono-handlectl check --at-rest
        storm_tell leave
        wait "$storm_pid"
        poll 20 agrees "$uid" 0 0 0
        echo "$operations operations, the longest took $longest us"
}

run_for_each_user test_storm
finish
