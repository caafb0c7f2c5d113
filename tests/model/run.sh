#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--all] MODEL...: has Spin search all states of each model, in each of its settings, and all mutants, each of which must
# be caught. --all: also in the large settings, which take some minutes each. Prints TAP.

dir=$(cd "$(dirname "$(readlink -f "$0")")" && pwd) || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

all=
if [ "${1:-}" = --all ]; then
        all=1
        shift
fi
if [ $# -eq 0 ]; then
        echo "usage: run.sh [--all] MODEL..." >&2
        exit 2
fi
for tool in spin gcc; do
        command -v "$tool" >/dev/null || { echo "1..0 # SKIP $tool is not installed"; exit 0; }
done

n=0
failed=0

# result WHETHER TEXT
result() {
        n=$((n + 1))
        if [ "$1" = 0 ]; then
                echo "ok $n - $2"
        else
                failed=1
                echo "not ok $n - $2"
                sed 's/^/# /' out
        fi
}

# search MODEL OPTIMIZATION HASH FLAG...: what the search found is in the file 'out'.
search() {
        local model=$1 optimization=$2 hash=$3
        shift 3
        rm -f pan* _spin* ./*.trail out
        { spin -a "$@" "$dir/$model.pml" &&
                gcc "$optimization" -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c; } >out 2>&1 || return 1
        ./pan -m100000 -w"$hash" >out 2>&1
        ! grep -q 'max search depth too small\|out of memory\|Search not completed.*memory' out
}

states() { sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1 states/p' out; }

# holds MODEL FLAG...: no state of the model breaks what it promises.
holds() {
        local model=$1 ok=1
        search "$model" -O2 24 "${@:2}" && grep -q 'errors: 0$' out && ok=0
        result "$ok" "$* holds in all of $(states)"
}

# large MODEL FLAG...: the same, if there is time for it.
large() {
        if [ -n "$all" ]; then
                holds "$@"
        fi
}

# caught MODEL MUTANT FLAG...: some state does. A mutant is found soon or not at all, so it is not optimised.
caught() {
        local model=$1 mutant=$2 ok=1
        search "$model" -O0 20 "-D$mutant" "${@:3}" && grep -q 'errors: [1-9]' out &&
                grep -q '^pan:1: \(assertion violated\|invalid end state\)' out && ok=0
        result "$ok" "$model $mutant is caught"
}

model_slot() {
        holds slot
        holds slot -DMORE=1 -DDEATHS=1 -DCRASHES=0
        large slot -DROUNDS=2 -DDEATHS=1
        large slot -DN=3 -DDEATHS=1 -DCRASHES=0
        caught slot NO_LOOK
        caught slot NO_SECOND_LOOK
        caught slot LEDGER_FIRST
        caught slot OPEN_NO_DROP -DMORE=1 -DDEATHS=0
        caught slot ALONE_NO_LOOK -DDEATHS=0
        caught slot ALONE_NO_DROP
        caught slot KEEP_SAME_GEN -DMORE=1 -DDEATHS=0
        caught slot REAP_ANY
        caught slot REAP_NO_LOOK
        caught slot NOTE_LAST
        caught slot NO_RELOOK
}

model_scratch() {
        holds scratch -DDEATHS=1
        holds scratch -DDEATHS=1 -DCRASHES=0 -DBLOCKS=2 -DENTRIES=2
        large scratch
        large scratch -DDEATHS=1 -DACTS=2
        caught scratch REUSE -DDEATHS=0 -DBLOCKS=2
        caught scratch OWNER_FIRST -DDEATHS=1
        caught scratch ENTRY_FIRST -DDEATHS=1
        caught scratch NO_PIN -DDEATHS=0
        caught scratch NO_TAG -DDEATHS=0 -DMORE=2
        caught scratch SAME_TAG -DDEATHS=0 -DACTS=2
        caught scratch NO_GIVER -DDEATHS=1
        caught scratch ANY_GIVER -DDEATHS=1
        caught scratch NO_UNDO -DDEATHS=0
}

model_ledger() {
        holds ledger
        large ledger -DTHREADS=3 -DROUNDS=1
        large ledger -DROUNDS=3 -DOTHERS=2
        caught ledger NO_GEN
        caught ledger NOT_ATOMIC
        caught ledger EARLY_COUNT
        caught ledger NO_LOCK
        caught ledger WAIT_BLIND
        caught ledger KEEP_FLAG
}

model_chunk() {
        holds chunk
        holds chunk -DSLOTS=2 -DDEATHS=0
        large chunk -DSLOTS=2
        large chunk -DMORE=1
        large chunk -DDEATHS=2
        caught chunk NO_LEDGER_LOOK -DDEATHS=0 -DCRASHES=0
        caught chunk LOOK_FIRST -DDEATHS=0 -DCRASHES=0
        caught chunk CHECK_FIRST -DDEATHS=0 -DCRASHES=0
        caught chunk RESERVE_FIRST -DDEATHS=0 -DCRASHES=0
        caught chunk SAME_FLOOR -DDEATHS=0 -DCRASHES=0
        caught chunk HOLE_FIRST -DDEATHS=0 -DCRASHES=0
        caught chunk FORGET_FIRST -DDEATHS=0
        caught chunk NO_RECOVER -DDEATHS=0
        caught chunk RECOVER_OPENS -DDEATHS=0
        caught chunk RECOVER_ANY -DDEATHS=0
        caught chunk KEEP_OPENING -DCRASHES=0
        caught chunk NO_FULL_RELOOK -DDEATHS=0 -DCRASHES=0
        caught chunk NOTE_FIRST -DDEATHS=0 -DCRASHES=0
}

model_span() {
        holds span -DMORE=1 -DCRASHES=1
        holds span -DTWINS -DLESS=1
        large span -DROUNDS=2 -DBLOCKS=2
        large span -DTWINS
        large span -DLIVES=2
        caught span NO_HAZARD
        caught span HAZARD_LATE
        caught span NO_HAZARD_LOOK
        caught span SMALL_SEEN -DROUNDS=2 -DDEATHS=0
        caught span NO_RELOOK
        caught span NO_ORPHAN_LOOK
        caught span SAME_INC -DLIVES=2 -DDEATHS=2
        caught span SAME_FLOOR -DROUNDS=2 -DDEATHS=0
        caught span NO_HAZARD_REAP
        caught span BIT_LATE
        caught span FORGET_BLIND -DTWINS -DLESS=1
        caught span TAKE_BLIND -DTWINS -DLESS=1
        caught span FORGET_NO_HAZARD -DTWINS -DLESS=1
        caught span FREE_NO_HAZARD -DTWINS -DLESS=1
        caught span REAP_BLIND -DTWINS -DLESS=1
}

model_large() {
        holds large
        large large -DCRASHES=1
        large large -DDEATHS=2
        large large -DMORE=1
        caught large HEAD_FIRST
        caught large NO_FREEING
        caught large NO_HAZARD
        caught large RUN_FIRST
        caught large ANY_OTHER -DMORE=1
        caught large NO_ROLLBACK -DDEATHS=0
        caught large BIT_LATE
        caught large JOIN_FIRST
        caught large OWNER_LATE
        caught large NOT_AGAIN -DCRASHES=1
        caught large HINT_LATE
        caught large HINT_LOST
}

model_intent() {
        local mutant
        holds intent -DROUNDS=5 -DOTHERS=2 -DCRASHES=2
        large intent -DROUNDS=7 -DOTHERS=3 -DCRASHES=3
        for mutant in NO_INTENT ACT_AGAIN OUTCOME_EARLY OUTCOME_TORN INTENT_TORN TARGET_LATE KEEP_IN_FLIGHT CLOSE_UNDONE \
                COUNT_IS_ALIVE KEEP_PIN KEEP_ENTRY NO_WITHDRAWAL; do
                caught intent "$mutant" -DROUNDS=4 -DOTHERS=2 -DCRASHES=2
        done
}

model_alone() {
        local mutant
        holds alone
        holds alone -DDEATHS=1
        large alone -DROUNDS=3 -DLIVES=3
        for mutant in NO_BARRIER NO_SECOND NO_WAIT OPEN_WINDOW WINDOW_BLIND BUSY_LATE BUSY_SHORT LEFT_OPEN; do
                caught alone "$mutant"
        done
        caught alone LEDGER_LATE -DDEATHS=1
}

model_visit() {
        local mutant
        holds visit -DROUNDS=3 -DOTHERS=0
        holds visit -DDEATHS=0 -DROUNDS=2 -DOTHERS=2
        large visit -DDEATHS=0 -DROUNDS=6 -DOTHERS=0
        for mutant in NO_FREEING LOOK_FIRST DONE_FIRST NO_BARRIER NOT_EXPECTED SEEN_FIRST VISIT_BLIND; do
                caught visit "$mutant" -DDEATHS=0 -DROUNDS=3 -DOTHERS=0
        done
        caught visit RESET_BLIND -DDEATHS=0 -DROUNDS=6 -DOTHERS=0
        caught visit ADOPT_NO_HAZARD -DDEATHS=0 -DROUNDS=2 -DOTHERS=1
        caught visit REAP_KEEPS -DROUNDS=3 -DOTHERS=0
}

case $all in
'') echo '# the large settings are left out: --all' ;;
esac
for model; do
        "model_$model" || exit 2
done
echo "1..$n"
exit "$failed"
