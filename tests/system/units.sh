#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The units as they are installed, before anything runs.

# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

units=/usr/lib/systemd/user
examples=/usr/share/doc/mono-handle-d/examples

# systemd-analyze exits with 0 also where it does not know a key; it says so, and that is enough to fail. It looks for
# the man pages that the units name, too, where there is a man.
test_verify() {
        local unit output man=no
        ! command -v man >/dev/null || man=yes
        for unit in socket service; do
                output=$(as "$1" systemd-analyze --user --man=$man verify $units/mono-handle-d.$unit 2>&1) ||
                        echo "exit code $?"
                expect "$output" '' "what verify says of the $unit"
        done
}

# The other way round: an unknown key is something that the test above sees.
test_verify_sees_an_unknown_key() {
        local copy=$TMPDIR/verify/mono-handle-d.socket
        mkdir -p "$TMPDIR/verify"
        sed 's/^SocketMode=.*/SocketMoed=0600/' $units/mono-handle-d.socket >"$copy"
        as "$1" systemd-analyze --user --man=no verify "$copy" 2>&1 | grep -q SocketMoed
        rm -r "$TMPDIR/verify"
}

# A ratchet: the exposure that systemd computes, times ten, may become less.
test_exposure() {
        as "$1" systemd-analyze --user --offline=true --threshold=61 --no-pager security $units/mono-handle-d.service
}

test_exposure_with_user_namespace() {
        local copy=$TMPDIR/mono-handle-d.service
        cat $units/mono-handle-d.service $examples/private-users.conf >"$copy"
        as "$1" systemd-analyze --user --offline=true --threshold=15 --no-pager security "$copy"
        rm "$copy"
}

test_enable() {
        sysctl_user "$1" enable --now mono-handle-d.service
        expect "$(property "$1" UnitFileState mono-handle-d.socket)" enabled
        as "$1" test -L "/run/world/home/$1/.config/systemd/user/sockets.target.wants/mono-handle-d.socket"
        is_state "$1" active mono-handle-d.socket
        sysctl_user "$1" disable --now mono-handle-d.socket
}

test_socket() {
        fresh_service "$1"
        expect "$(stat -c '%a %u' "/run/user/$1/mono-handle-d")" "700 $1" 'mode and owner of the directory'
        expect "$(stat -c '%a %u %F' "/run/user/$1/mono-handle-d/socket")" "600 $1 socket" 'mode and owner of the socket'
        expect "$(property "$1" Listen mono-handle-d.socket)" "/run/user/$1/mono-handle-d/socket (SequentialPacket)"
        is_state "$1" inactive
}

run_for_each_user test_verify test_verify_sees_an_unknown_key test_exposure test_exposure_with_user_namespace \
        test_enable test_socket
finish
