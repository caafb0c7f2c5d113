#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the unit says about hardening is in force, in the manager of an ordinary user as well: much of what a unit can say
# is silently ignored there.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
publish "$CLIENT" "$PROBE"

# What the kernel says of the running daemon.
test_process() {
        local pid status
        fresh_service "$1"
        client_start a "$1"
        client_tell a attach
        pid=$(property "$1" MainPID)
        status=$(<"/proc/$pid/status")
        [[ $status =~ NoNewPrivs:[[:space:]]1 ]] || fail 'it may gain privileges'
        [[ $status =~ Seccomp:[[:space:]]2 ]] || fail 'no system call is filtered'
        [[ $status =~ Umask:[[:space:]]0077 ]] || fail 'its files are for everybody'
        expect "$(awk '/^Max open files/ { print $4 }' "/proc/$pid/limits")" 16384 'the limit of descriptors'
        [[ $(<"/proc/$pid/cgroup") = *"/user@$1.service/session.slice/mono-handle-d.service" ]]
}

# What something in its place can do: nothing of what the probe tries.
test_probe() {
        local output
        fresh_service "$1"
        drop_in "$1" ExecStart= ExecStart=/run/world/bin/probe 'StandardOutput=truncate:%t/probe'
        sysctl_user "$1" start mono-handle-d.service
        poll 10 is_state "$1" inactive
        output=$(<"/run/user/$1/probe")
        echo "$output"
        expect "$(grep -c '^denied ' <<<"$output")" 11 'number of things it could not do'
        expect "$(grep -c ALLOWED <<<"$output" || true)" 0 'number of things it could do'
}

# It is the unit that denies it: the same user can do most of that elsewhere. (Not all: an ordinary user has no real-time
# policies in any case, and perhaps no user namespaces.)
test_probe_elsewhere() {
        local output ability
        output=$(as "$1" probe)
        for ability in executable-memory internet-socket netlink-socket change-personality keyring set-user-id-file \
                       gain-privileges files-for-others; do
                grep -qx "ALLOWED $ability" <<<"$output" || fail "not even here: $ability"
        done
}

# The drop-in for machines with user namespaces: what it adds works, and the daemon works in it.
test_user_namespace() {
        local pid dir=/run/world/home/$1/.config/systemd/user/mono-handle-d.service.d
        as "$1" unshare --user true || skip 'users may not make user namespaces here'
        fresh_service "$1"
        as "$1" mkdir -p "$dir"
        cp /usr/share/doc/mono-handle-d/examples/private-users.conf "$dir"
        sysctl_user "$1" daemon-reload
        client_start a "$1"
        client_tell a attach
        client_tell a new 6
        handle=$answer
        client_tell a put "$handle" word

        pid=$(property "$1" MainPID)
        [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ] || fail 'same user namespace'
        [ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || fail 'same mount namespace'
        [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ] || fail 'same network'
        grep -q 'CapBnd:.0*$' "/proc/$pid/status" || fail 'it has capabilities'
        # A process in its place could write nowhere but where it must.
        awk '$5 == "/usr" || $5 == "/" { print $6 }' "/proc/$pid/mountinfo" | grep -q '^ro' || fail '/ can be written'

        # It sees its clients die in there, and it is found again.
        client_start b "$1"
        client_tell b attach
        client_tell b open "$handle"
        client_tell b close "$handle"
        kill -KILL "$pid"
        client_tell a new 6
        client_kill a
        poll 5 gone b "$handle"
}

# Whoever looks in time gets it, and must not keep it.
gone() {
        client_try "$1" open "$2"
        [ "$status" != ok ] || client_tell "$1" close "$2"
        [ "$status $answer" = 'error ESTALE' ]
}

run_for_each_user test_process test_probe test_probe_elsewhere test_user_namespace
finish
