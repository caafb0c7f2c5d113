#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the daemon has to say stands in the user's journal: under its unit, with an id, with fields, and explained.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT"

messages=$here/../../src/daemon/messages.h
id_of() { sed -n "s/^ *X($1, \"\([0-9a-f]*\)\".*/\1/p" "$messages"; }
all_kinds() { sed -n 's/^ *X(\([A-Z_]*\), "[0-9a-f]*".*/\1/p' "$messages"; }

# record UID KIND: the last one of its kind, a field a line.
record() { journal "$1" --lines=1 --output=export "MESSAGE_ID=$(id_of "$2")"; }
field() { sed -n "s/^$2=//p" <<<"$1"; }
told() { [ -n "$(record "$1" "$2")" ]; }

# What must be true of each: the unit's, the user's, and with all fields of its kind (messages.h says which).
check_record() {
        local uid=$1 kind=$2 priority=$3 record=$4 name fields
        expect "$(field "$record" _SYSTEMD_USER_UNIT)" mono-handle-d.service
        expect "$(field "$record" _UID)" "$uid"
        expect "$(field "$record" SYSLOG_IDENTIFIER)" mono_handle_d
        expect "$(field "$record" PRIORITY)" "$priority" "the priority of $kind"
        fields=$(tr -d '\n' <"$messages" | grep -o "X($kind,[^)]*)" | grep -o 'MONO_HANDLE_[A-Z]*')
        for name in $fields; do
                grep -q "^$name=" <<<"$record" || fail "$kind without $name"
        done
}

test_ready() {
        local record
        fresh_service "$1"
        client_start a "$1"
        client_tell a attach
        poll 5 told "$1" READY
        record=$(record "$1" READY)
        check_record "$1" READY 6 "$record"
        expect "$(field "$record" MONO_HANDLE_SOCKET)" "/run/user/$1/mono-handle-d/socket"
        # There is none before somebody needs it.
        expect "$(field "$record" MONO_HANDLE_SEGMENT)" ''
}

died_with_pid() { [ "$(field "$(record "$1" CLIENT_DIED)" MONO_HANDLE_PID)" = "$2" ]; }

test_client_died() {
        local record id bytes
        fresh_service "$1"
        client_start a "$1"
        client_start b "$1"
        client_tell a attach
        client_tell b attach
        client_tell a id
        id=$answer
        client_tell a fill 17 1048576
        client_kill a
        poll 5 died_with_pid "$1" "${client_pid[a]}"
        record=$(record "$1" CLIENT_DIED)
        check_record "$1" CLIENT_DIED 5 "$record"
        expect "$(field "$record" MONO_HANDLE_CLIENT)" "$id"
        expect "$(field "$record" MONO_HANDLE_COMM)" client
        expect "$(field "$record" MONO_HANDLE_HANDLES)" 17
        bytes=$(field "$record" MONO_HANDLE_BYTES)
        [ "$bytes" -ge 1048576 ] && [ "$bytes" -le 2097152 ]
}

test_packet_refused() {
        fresh_service "$1"
        as "$1" python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(os.environ["XDG_RUNTIME_DIR"] + "/mono-handle-d/socket")
s.send(b"this is no packet of ours")
s.recv(256)
'
        poll 5 told "$1" PACKET_REFUSED
        check_record "$1" PACKET_REFUSED 4 "$(record "$1" PACKET_REFUSED)"
}

test_peer_refused() {
        local other=1500
        [ "$1" != 1500 ] || other=1501
        fresh_service "$1"
        chmod 755 "/run/user/$1" "/run/user/$1/mono-handle-d"
        chmod 666 "/run/user/$1/mono-handle-d/socket"
        client_start a $other "MONO_HANDLE_D_SOCKET=/run/user/$1/mono-handle-d/socket"
        client_try a attach
        chmod 700 "/run/user/$1"
        expect "$status" error
        poll 5 told "$1" PEER_REFUSED
        check_record "$1" PEER_REFUSED 4 "$(record "$1" PEER_REFUSED)"
        expect "$(field "$(record "$1" PEER_REFUSED)" MONO_HANDLE_UID)" $other
}

test_adopted() {
        local record pid
        fresh_service "$1"
        client_start a "$1"
        client_start b "$1"
        client_tell a attach
        client_tell b attach
        client_tell a fill 5 0
        pid=$(property "$1" MainPID)
        kill -KILL "$pid"
        poll 20 main_pid_is_not "$1" "$pid"
        poll 10 is_state "$1" active
        record=$(record "$1" ADOPTED)
        check_record "$1" ADOPTED 5 "$record"
        expect "$(field "$record" MONO_HANDLE_CLIENTS)" 2
        expect "$(field "$record" MONO_HANDLE_DEAD)" 0
        expect "$(field "$record" MONO_HANDLE_HANDLES)" 5
        [[ $(field "$record" MONO_HANDLE_SEGMENT) = "/mono-handle-d.$1."* ]]
        expect "$(field "$(record "$1" READY)" MONO_HANDLE_SEGMENT)" "$(field "$record" MONO_HANDLE_SEGMENT)"
}

test_stopping() {
        fresh_service "$1"
        client_start a "$1"
        client_tell a attach
        client_tell a fill 3 0
        sysctl_user "$1" stop mono-handle-d.service
        check_record "$1" STOPPING 6 "$(record "$1" STOPPING)"
        expect "$(field "$(record "$1" STOPPING)" MONO_HANDLE_CLIENTS)" 1
        expect "$(field "$(record "$1" STOPPING)" MONO_HANDLE_HANDLES)" 3
}

# Those that were told above are explained where they stand, with the fields put in.
test_explained() {
        local kind text
        for kind in READY CLIENT_DIED PACKET_REFUSED PEER_REFUSED ADOPTED STOPPING; do
                text=$(journal "$1" --catalog --lines=1 "MESSAGE_ID=$(id_of $kind)")
                grep -q '^░░ Subject: .' <<<"$text" || fail "$kind is not explained"
                grep -q '^░░ Documentation: man:' <<<"$text" || fail "$kind names no man page"
                ! grep -q '@[A-Z_]*@' <<<"$text" || fail "$kind: $text"
        done
}

test_catalog_is_complete() {
        local kind
        for kind in $(all_kinds); do
                journalctl --dump-catalog "$(id_of "$kind")" | grep -q '^Subject: .' || fail "no entry for $kind"
        done
        [ "$(all_kinds | wc -l)" -ge 7 ]
}

run_for_each_user test_ready test_client_died test_packet_refused test_peer_refused test_adopted test_stopping \
        test_explained
run test_catalog_is_complete
finish
