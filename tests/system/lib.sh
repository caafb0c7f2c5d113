# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# For the scripts that run in tests/world: each test is a function that runs in a shell of its own, where the first
# command that fails ends it. The result is TAP. What a function printed stands in it as a comment if it failed,
# and of one that did not, the lines that are comments.
#
#   test_this() { ... }             # $1 is the uid where there is one
#   run_for_each_user test_this test_that
#   run test_other
#   finish

set -u
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export here

count=0
failures=0

# Ends a test.
fail() { echo "failed: $*"; exit 1; }
skip() { echo "$*"; exit 77; }

expect() { [ "$1" = "$2" ] || fail "${3:-a value} is '$1' and not '$2'"; }

# poll SECONDS COMMAND...: waits until the command succeeds.
poll() {
        local end=$(($(date +%s%N) + $1 * 1000000000))
        shift
        until "$@" >/dev/null 2>&1; do
                [ "$(date +%s%N)" -lt $end ] || fail "waited in vain until: $*"
                sleep .01
        done
}

run_as() {
        local name=$1 rc output
        shift
        count=$((count + 1))
        output=$(
                # 'set -e' would be without effect in a condition; hence no 'if' around this.
                set -eE
                trap 'echo "line $LINENO: $BASH_COMMAND: exit code $?"' ERR
                "$@" 2>&1
        )
        rc=$?
        case $rc in
        0)  printf '%s\n' "$output" | grep '^# ' || true
            echo "ok $count - $name" ;;
        77) echo "ok $count - $name # SKIP ${output##*$'\n'}" ;;
        *)  printf '%s\n' "$output" | tail -n 40 | sed 's/^/# /'
            echo "not ok $count - $name"
            failures=$((failures + 1)) ;;
        esac
}

run() {
        local test
        for test; do
                run_as "${test#test_}" "$test"
        done
}

run_for_each_user() {
        local test uid
        for test; do
                for uid in $WORLD_USERS; do
                        run_as "${test#test_} (uid $uid)" "$test" "$uid"
                done
        done
}

finish() {
        echo "1..$count"
        [ $failures -eq 0 ]
}

# --- The service ----------------------------------------------------------------------------------------------------

sysctl_user() { as "$1" systemctl --user --no-pager "${@:2}"; }
property() { sysctl_user "$1" show -P "$2" "${3:-mono-handle-d.service}"; }
is_state() { [ "$(property "$1" ActiveState "${3:-mono-handle-d.service}")" = "$2" ]; }

main_pid_is_not() {
        local pid
        pid=$(property "$1" MainPID)
        [ "$pid" != 0 ] && [ "$pid" != "$2" ]
}

# The service as it is after installation and login: nothing runs, the socket listens, and nothing is left of the test
# before.
fresh_service() {
        local uid=$1
        sysctl_user "$uid" stop mono-handle-d.socket mono-handle-d.service
        rm -rf "/run/world/home/$uid/.config/systemd" "/run/user/$uid/mono-handle-d"
        rm -f "/dev/shm/mono-handle-d.$uid."*
        sysctl_user "$uid" daemon-reload
        sysctl_user "$uid" reset-failed
        sysctl_user "$uid" start mono-handle-d.socket
}

# drop_in UID LINE...: puts lines into the [Service] section, as 'systemctl --user edit' does; a line may begin another.
drop_in() {
        local uid=$1 dir=/run/world/home/$1/.config/systemd/user/mono-handle-d.service.d
        shift
        as "$uid" mkdir -p "$dir"
        printf '%s\n' '[Service]' "$@" >"$dir/test.conf"
        sysctl_user "$uid" daemon-reload
}

# The lines of the service in the journal, after journald has written what it has got.
journal() {
        local uid=$1
        shift
        journalctl --sync
        as "$uid" journalctl --quiet --no-pager --user-unit=mono-handle-d.service "$@"
}

# --- Clients --------------------------------------------------------------------------------------------------------

# Programs of the test lie where root only may read; the users get copies.
publish() { install -m 755 "$@" /run/world/bin/; }

# client_start NAME UID [VARIABLE=VALUE...]: a client that obeys; its pid is in ${client_pid[NAME]}.
declare -A client_pid client_in client_out
status='' answer=''
client_start() {
        local name=$1 uid=$2 in out dir
        shift 2
        dir=$(mktemp -d)
        mkfifo "$dir/in" "$dir/out"
        as "$uid" env "$@" client <"$dir/in" >"$dir/out" &
        client_pid[$name]=$!
        exec {in}>"$dir/in" {out}<"$dir/out"
        client_in[$name]=$in
        client_out[$name]=$out
        rm -r "$dir"
}

# client_tell NAME WORD...: one command, whose answer is in $answer; anything but "ok" ends the test.
client_tell() {
        client_try "$@"
        [ "$status" = ok ] || fail "$*: $status $answer"
}

# The same, for commands that may fail: $status is "ok" or "error", $answer what else there was.
client_try() {
        local name=$1
        shift
        status='' answer=''
        echo "$*" >&"${client_in[$name]}"
        IFS=' ' read -r -t 20 status answer <&"${client_out[$name]}" || fail "no answer to: $*"
}

# works_until NAME COMMAND...: who works on the segment itself finds out now and then that the daemon is gone. Does COMMAND
# hold by now? For poll.
works_until() {
        client_tell "$1" work
        "${@:2}"
}

# No goodbye: what the client held is left for the daemon to find.
client_kill() {
        kill -KILL "${client_pid[$1]}"
        wait "${client_pid[$1]}" 2>/dev/null || true
}
