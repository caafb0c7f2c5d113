/* SPDX-License-Identifier: MIT */

/*
 * A ledger without locked instructions while one thread works: Actor.alone and the window, ledger.[ch], direct.[ch], slot.c.
 *
 * Two threads of one client take a seat, open and close the same handle, and give the seat back, some times each. Who is alone changes the
 * ledger word by plain stores, which others see late (tso.inc). The process may die at any step; then the stores that were on their way
 * arrive, and the reaper looks. That is told by `H`: in the end, or after a death, the ledger word is not 0 if the holder bit is set.
 *
 * What must hold:
 *   - no change of the ledger word is lost: a plain store finds in memory what it was computed from;
 *   - the word counts the references, and one thread at a time is between the first and the last of them (IN_FLIGHT);
 *   - ledger first, ledger last, also where the process dies.
 *
 * Mutants (-DNAME):
 *   NO_BARRIER    who comes says that the other one is not alone, and passes no barrier
 *   NO_SECOND     nor a second one, after the window was closed
 *   NO_WAIT       who comes does not wait until the other one is not busy
 *   OPEN_WINDOW   who comes does not close the window
 *   WINDOW_BLIND  who opens the window does not look again whether it is alone
 *   BUSY_LATE     who begins an operation looks whether the window is open before it says that it is busy
 *   BUSY_SHORT    who ends an operation says so before the last store
 *   LEFT_OPEN     who goes leaves its window open
 *   LEDGER_LATE   the holder bit is set before the ledger says IN_FLIGHT
 */

#include "common.inc"

#ifndef LIVES
#define LIVES 2
#endif
#ifndef ROUNDS
#define ROUNDS 2 /* operations of one life */
#endif
#ifndef DEATHS
#define DEATHS 0
#endif

#define BUFFERS 2

/* The words that plain stores go to: the ledger's, and those of the seat. */
#define LEDGER 1
#define BUSY   2
#define WINDOW 3

/* The ledger word is a count, or: */
#define IN_FLIGHT 7

byte L;
bit H;
bit busy[2], window[2], alone[2];

bit lock;
bool seat[2];
bool dead;
byte ended;

/* Not in memory: what the ledger word was when the store was computed; how many references there are, or that it is IN_FLIGHT. */
byte from1[2], from2[2];
byte refs;
bool flying;

inline arrived(p, where, what) {
  if
  :: where == LEDGER -> assert(L == from1[p]); L = what
  :: where == BUSY -> busy[p] = what
  :: where == WINDOW -> window[p] = what
  fi;
  from1[p] = from2[p];
  from2[p] = 0
}
#define ARRIVE(p, where, what) arrived(p, where, what)

#include "tso.inc"

inline store(where, what) {
  atomic { ROOM(t) -> put(t, where, what) }
}

/* The word is not `w` any more, but `what`. */
inline changed(what) {
  assert(flying == (w == IN_FLIGHT) && (flying || refs == w));
  flying = (what) == IN_FLIGHT;
  refs = (flying -> 0 : what)
}

/* A plain store to the ledger word, computed from `w`. */
inline store_ledger(what) {
  atomic {
    ROOM(t) ->
    if
    :: EMPTY(t) -> from1[t] = w
    :: else -> from2[t] = w
    fi;
    put(t, LEDGER, what);
    changed(what)
  }
}

/* have_company(), of the seat of the other thread, `o`. */
inline have_company() {
  if
  :: !alone[o]
  :: alone[o] ->
     alone[o] = 0;
#ifndef NO_BARRIER
     d_step { drain(o) };
#endif
#ifndef OPEN_WINDOW
     window[o] = 0;
#endif
#ifndef NO_SECOND
     d_step { drain(o) };
#endif
#ifndef NO_WAIT
     !busy[o];
#endif
     skip
  fi
}

inline take_seat() {
  atomic { !lock && EMPTY(t) -> lock = 1 };
  seat[t] = true;
  if
  :: seat[o] -> have_company()
  :: !seat[o] -> alone[t] = 1
  fi;
  lock = 0
}

inline give_seat_back() {
  atomic { !lock && EMPTY(t) -> lock = 1 };
  alone[t] = 0;
#ifndef LEFT_OPEN
  window[t] = 0;
#endif
  seat[t] = false;
  if
  :: seat[o] -> alone[o] = 1
  :: !seat[o]
  fi;
  lock = 0
}

/* ledger_load(): opens the window where it is not, move_window(). */
inline load() {
  if
  :: !READ(t, WINDOW, window[t]) && alone[t] ->
     store(WINDOW, 1);
#ifndef WINDOW_BLIND
     if
     :: !alone[t] -> store(WINDOW, 0)
     :: alone[t]
     fi
#endif
  :: else
  fi;
  w = READ(t, LEDGER, L)
}

/* From `w` to something else: in the window, ledger_change() alone, and not alone. The block before it is looked at is `retry`. */
inline change(to) {
  if
  :: plain -> store_ledger(to)
  :: !plain ->
     if
     :: alone[t] ->
        if
        :: READ(t, LEDGER, L) == w -> store_ledger(to)
        :: else -> goto retry
        fi
     :: !alone[t] ->
        atomic {
          EMPTY(t) ->
          if
          :: L == w -> L = to; changed(to)
          :: else -> goto retry
          fi
        }
     fi
  fi
}

/* From IN_FLIGHT: ledger_settle(). */
inline settle(to) {
  atomic { w = IN_FLIGHT; ROOM(t) };
  store_ledger(to);
  w = 0
}

proctype thread(bit t) {
  byte life, round, w;
  bit o = 1 - t;
  bool have, plain;

  {
    do
    :: atomic {
         if
         :: life == LIVES -> break
         :: else -> life++
         fi
       };
       take_seat();
       do
       :: atomic {
            if
            :: round == ROUNDS && !have -> round = 0; break
            :: else -> round = (round == ROUNDS -> round : round + 1)
            fi
          };
          /* direct_enter() */
#ifdef BUSY_LATE
          plain = READ(t, WINDOW, window[t]);
          store(BUSY, 1);
#else
          store(BUSY, 1);
          plain = READ(t, WINDOW, window[t]);
#endif
          if
          :: plain -> w = READ(t, LEDGER, L)
          :: !plain ->
retry:
             load()
          fi;
#ifdef BUSY_SHORT
          store(BUSY, 0);
#endif
          if
          :: w == IN_FLIGHT -> assert(!plain); READ(t, LEDGER, L) != w; goto retry
          :: !have && w == 0 ->
             /* open_first() */
#ifdef LEDGER_LATE
             atomic { EMPTY(t) -> H = 1 };
#endif
             change(IN_FLIGHT);
             atomic { EMPTY(t) -> H = 1; have = true };
             settle(1)
          :: !have && w && w != IN_FLIGHT -> change(w + 1); have = true
          :: have && w > 1 && w != IN_FLIGHT -> change(w - 1); have = false
          :: have && w == 1 ->
             /* close_last() */
             change(IN_FLIGHT);
             atomic { EMPTY(t) -> H = 0; have = false };
             settle(0)
          fi;
          /* direct_leave() */
          atomic { ROOM(t) -> put(t, BUSY, 0); w = 0; plain = false }
       od;
       give_seat_back()
    od
  } unless { dead };
  ended++
}

/* What is in the buffers comes to memory. */
proctype processor() {
end:
  do
  :: d_step { !EMPTY(0) -> arrive(0) }
  :: d_step { !EMPTY(1) -> arrive(1) }
  od
}

proctype reaper() {
  ended == 2 && EMPTY(0) && EMPTY(1);
  assert(!H || L);
  assert(dead || !H && !L && !refs && !busy[0] && !busy[1] && !alone[0] && !alone[1])
}

#if DEATHS
proctype death() {
end:
  dead = true
}
#endif

init {
  atomic {
    run thread(0);
    run thread(1);
    run processor();
#if DEATHS
    run death();
#endif
    run reaper()
  }
}
