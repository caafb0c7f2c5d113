#!/bin/bash
# SPDX-License-Identifier: MIT
#
# However the daemon ends and comes back, clients that live keep what they hold, and do not notice.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT"

# Two clients: a holds a handle with a word in it, a block that belongs to the handle, and one of its own.
populate() {
        fresh_service "$1"
        client_start a "$1"
        client_start b "$1"
        client_tell a attach
        client_tell b attach
        client_tell a new 6
        handle=$answer
        client_tell a put "$handle" payload
        client_tell a store given
        given=$answer
        client_tell a give "$given" "$handle"
        client_tell a store own
        own=$answer
        client_tell a id
        id=$answer
}

# All of it is there, for both, and both can go on.
intact() {
        client_tell a get "$handle"
        expect "$answer" payload 'the payload'
        client_tell b open "$handle"
        expect "$answer" 6 'the type'
        client_tell b get "$handle"
        expect "$answer" payload "the other's view of the payload"
        client_tell b text "$given"
        expect "$answer" given 'the block of the handle'
        client_tell b text "$own"
        expect "$answer" own "the client's block"
        client_tell b close "$handle"
        expect "$answer" 1 'the flags of close'
        client_tell a id
        expect "$answer" "$id" 'the id of the client'
        client_tell a new 5
        client_tell a close "$answer"
        expect "$answer" 3 'the flags of close'
}

# In the end nothing leaks: the last close still is the last close.
ends_well() {
        client_tell a free "$own"
        client_tell a close "$handle"
        expect "$answer" 3 'the flags of the last close'
        client_try b text "$given"
        expect "$status $answer" 'error ESTALE' 'a block of a handle that is gone'
}

checked() { as "$1" mono-handlectl check; }

killed_by() {
        local uid=$1 signal=$2 before
        populate "$uid"
        before=$(property "$uid" MainPID)
        kill -s "$signal" "$before"
        intact
        # Nobody needs it, but somebody comes.
        poll 20 works_until a main_pid_is_not "$uid" "$before"
        poll 10 is_state "$uid" active
        intact
        ends_well
        checked "$uid"
}

test_sigkill() { killed_by "$1" KILL; }
test_sigabrt() { killed_by "$1" ABRT; }
test_sigterm() { killed_by "$1" TERM; }

test_restart() {
        populate "$1"
        sysctl_user "$1" restart mono-handle-d.service
        intact
        ends_well
        checked "$1"
}

# The socket goes on listening: who works looks after his connection, and that starts the daemon again.
test_stop() {
        populate "$1"
        sysctl_user "$1" stop mono-handle-d.service
        is_state "$1" inactive
        intact
        poll 20 works_until b is_state "$1" active
        intact
        ends_well
        checked "$1"
}

test_stop_and_start_of_all() {
        populate "$1"
        sysctl_user "$1" stop mono-handle-d.socket mono-handle-d.service
        is_state "$1" inactive
        sysctl_user "$1" start mono-handle-d.service
        intact
        ends_well
        checked "$1"
}

# Far more often than systemd's usual limit of 5 in 10 s allows, and with a request under way each time.
test_many_kills() {
        local i
        populate "$1"
        for ((i = 0; i < 30; i++)); do
                kill -KILL "$(property "$1" MainPID)"
                client_tell a new 6
                client_tell b open "$answer"
                poll 5 is_state "$1" active
        done
        intact
        is_state "$1" active mono-handle-d.socket
        ends_well
        checked "$1"
}

# A daemon that hangs is killed by the manager, and that is as good as any other end.
test_hang() {
        local before
        populate "$1"
        drop_in "$1" WatchdogSec=1
        sysctl_user "$1" restart mono-handle-d.service
        before=$(property "$1" MainPID)
        kill -STOP "$before"
        poll 20 main_pid_is_not "$1" "$before"
        intact
        journal "$1" | grep -qi 'watchdog timeout'
        ends_well
        checked "$1"
}

status_is() { [ "$(property "$1" StatusText)" = "$2" ]; }

# The manager starts the next one before anybody asks for it, and hands it the segment, of which not even a name is left.
test_manager_keeps_it() {
        local before
        populate "$1"
        before=$(property "$1" MainPID)
        expect "$(property "$1" NFileDescriptorStore)" 1 'number of descriptors that the manager keeps'
        rm "/dev/shm/mono-handle-d.$1."*
        kill -KILL "$before"
        poll 10 main_pid_is_not "$1" "$before"
        poll 10 status_is "$1" '2 clients, 1 handle, 32 B scratch'
        intact
        ends_well
}

# logind removes a user's shared memory by name at the last logout; the manager still has the descriptor.
test_name_is_lost() {
        populate "$1"
        rm "/dev/shm/mono-handle-d.$1."*
        kill -KILL "$(property "$1" MainPID)"
        intact
        sysctl_user "$1" restart mono-handle-d.service
        intact
        ends_well
}

# Who died while nobody watched is noticed by the next daemon.
test_client_dies_meanwhile() {
        populate "$1"
        sysctl_user "$1" stop mono-handle-d.socket mono-handle-d.service
        client_kill a
        sysctl_user "$1" start mono-handle-d.service
        client_tell b new 6
        client_try b open "$handle"
        expect "$status $answer" 'error ESTALE' 'a handle that only the dead one held'
        client_try b text "$own"
        expect "$status $answer" 'error ESTALE' "the dead one's block"
        as "$1" mono-handlectl check
}

# Somebody installs the package anew: the manager reads the units again, and the daemon is another binary.
test_reload_and_reexec() {
        populate "$1"
        sysctl_user "$1" daemon-reload
        intact
        sysctl_user "$1" daemon-reexec
        kill -KILL "$(property "$1" MainPID)"
        intact
        ends_well
        checked "$1"
}

run_for_each_user test_sigkill test_sigabrt test_sigterm test_restart test_stop test_stop_and_start_of_all \
        test_many_kills test_hang test_manager_keeps_it test_name_is_lost test_client_dies_meanwhile test_reload_and_reexec
finish
