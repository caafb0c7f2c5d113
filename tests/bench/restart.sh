#!/bin/bash
# SPDX-License-Identifier: MIT
#
# restart.sh BENCH PEER ROUNDS, run by tests/world as root: starts mono-handle-d as it is installed there, and beside it
# the trivial service PEER with the same kind of socket, and lets BENCH kill them in turns.

set -eu
bench=$1 peer=$2 rounds=$3
units=/run/world/home/0/.config/systemd/user
mkdir -p $units

cat >$units/notify-peer.socket <<'UNIT'
[Socket]
ListenSequentialPacket=%t/notify-peer
PassCredentials=yes
TriggerLimitIntervalSec=0
UNIT
cat >$units/notify-peer.service <<UNIT
[Unit]
Requires=notify-peer.socket
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=$peer
Restart=on-failure
RestartSec=0
UNIT

as 0 systemctl --user daemon-reload
as 0 systemctl --user start notify-peer.socket notify-peer.service mono-handle-d.socket
exec as 0 "$bench" --restart-loop="$rounds"
