#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fifty clients at full load, and the service is killed, restarted, stopped and started all the time: no operation fails, and
# each takes effect once.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$STORM"

clients=50
# By SIGKILL; and about every eighth time it is restarted, stopped, or stopped with its socket.
kills=60

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
        read -r -t 120 status attached handles blocks operations outages outage asked worked pause again <&"$storm_out" ||
                fail "no answer to: $1"
        expect "$status" ok "the answer to: $1"
}

# What the clients believe, and what mono-handlectl sees.
agrees() {
        [ "$(as "$1" mono-handlectl status --noheadings --raw -o CLIENTS,HANDLES,BLOCKS)" = "$2 $3 $4" ]
}

# Counts what really was killed.
kill_service() {
        local pid=$1
        [ "$pid" != 0 ] && kill -KILL "$pid" 2>/dev/null && killed=$((killed + 1))
}

disturb() {
        local uid=$1 i pid
        for ((i = 1; killed < kills; i++)); do
                [ $i -lt $((2 * kills)) ] || fail "only $killed were killed"
                pid=$(property "$uid" MainPID)
                case $((i % 24)) in
                8)  sysctl_user "$uid" restart mono-handle-d.service ;;
                16) sysctl_user "$uid" stop mono-handle-d.service ;;
                # The service stops with it. (To name it, too, is to ask again, when the clients may have had both started.)
                0)  sysctl_user "$uid" stop mono-handle-d.socket
                    sysctl_user "$uid" start mono-handle-d.socket ;;
                *)  kill_service "$pid" || true ;;
                esac
                poll 20 runs_anew "$uid" "$pid"
        done
}

# That nothing but outages and the machine blocked an operation, storm says itself.
test_storm() {
        local uid=$1 status attached handles blocks operations outages outage asked worked pause again
        local storm_pid storm_in storm_out killed=0
        fresh_service "$uid"
        storm_start "$uid"
        disturb "$uid"
        storm_tell stop
        expect "$attached" $((clients + 1)) 'the number of clients'
        [ "$operations" -gt 1000 ] || fail "only $operations operations"
        [ "$outages" -ge $((kills / 4)) ] || fail "only $outages outages were seen"
        poll 20 agrees "$uid" "$attached" "$handles" "$blocks"
        as "$uid" mono-handlectl check --at-rest
        storm_tell leave
        wait "$storm_pid"
        poll 20 agrees "$uid" 0 0 0
        echo "# $killed kills, $operations operations, $again times EAGAIN; $outages outages, the longest $outage us;" \
             "beyond that an operation waited $asked us, one that maps $worked us; the machine let others wait $pause us"
}

run_for_each_user test_storm
finish
