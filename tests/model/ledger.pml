/* SPDX-License-Identifier: MIT */

/*
 * One ledger word and the threads of its client: slot_open(), slot_close() and slot_new() as ledger.c orders them.
 *
 * Several threads open, close and make handles in one slot, which another client opens and closes as well. Nobody dies here: a process
 * dies as a whole, and what it leaves is in slot.pml. What is between clients takes one step here where it takes several in
 * slot.pml, and DYING is left out. A thread that waits sleeps in the kernel until it is woken or a time has passed; here it waits for
 * the word to change, as a missed wake costs time and nothing else.
 *
 * What must hold:
 *   - whoever opened a handle, first or one more time, has that handle until it closes it;
 *   - while a thread has a reference, the word is a count of its generation, and the right one;
 *   - nobody waits for ever (Spin finds a thread that is stuck), and at the end nothing is left.
 *
 * Mutants (-DNAME):
 *   NO_GEN       one more reference is taken by a compare-and-swap of the count; the generation was looked at before
 *   NOT_ATOMIC   one reference less is a load and a store
 *   EARLY_COUNT  a first open counts before it looks at the state
 *   NO_LOCK      IN_FLIGHT keeps nobody out
 *   WAIT_BLIND   who waits says so whatever the word is by then
 *   KEEP_FLAG    who leaves IN_FLIGHT leaves the mark of who waits
 */

#include "common.inc"

#ifndef THREADS
#define THREADS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef OTHERS
#define OTHERS 1 /* rounds of the other client */
#endif

/* The ledger word: generation, IN_FLIGHT, RESERVED, WAITERS, count. */
#define LEDGER(gen, rest) ((gen) * 32 + (rest))
#define IN_FLIGHT(w)      ((w) & 16)
#define IS_RESERVED(w)    ((w) & 8)
#define WAITERS(w)        ((w) & 4)
#define COUNT(w)          ((w) & 3)

byte S = WORD(1, FREE, 0);
byte H;
byte L;
byte ended;

/* Not in memory. */
byte published; /* the latest generation of a handle */
byte refs;      /* that threads of the client have */
byte have;      /* of which generation */

/* A reference to the handle of generation `g` is this thread's now. */
inline got() {
  assert(S == WORD(g, LIVE, 0) && (H & 1));
  refs++;
  have = g
}

/* ledger_settle(): a load and a store. */
inline settle(to) {
  w = L;
  atomic {
#ifdef KEEP_FLAG
    L = (to) | WAITERS(w);
#else
    L = to;
#endif
    w = 0
  }
}

/* ledger_wait(): the word was `w`. */
inline wait() {
  atomic {
    if
    :: WAITERS(w)
#ifdef WAIT_BLIND
    :: !WAITERS(w) -> w = w | 4; L = L | 4
#else
    :: !WAITERS(w) && L == w -> w = w | 4; L = w
    :: !WAITERS(w) && L != w -> w = 0; goto again
#endif
    fi
  };
  atomic { L != w -> w = 0 }
}

proctype thread(byte t) {
  byte round, w, g;
  bool kept;

next:
  atomic {
    g = 0;
    if
    :: round == ROUNDS && !kept -> goto fin
    :: round == ROUNDS && kept -> kept = false; goto unreserve
    :: round < ROUNDS && kept -> round++; goto publish
    :: round < ROUNDS && !kept -> round++; goto new
    :: round < ROUNDS && published -> round++; g = published; goto open
    :: round < ROUNDS && published > 1 -> round++; g = published - 1; goto open
    fi
  };

new:
  atomic {
    if
    :: L == 0 -> L = LEDGER(0, 8)
    :: else -> goto next
    fi
  };
  atomic {
    if
    :: PHASE(S) == FREE -> S = WORD(GEN(S), RESERVED, 1)
    :: else -> goto not_this
    fi
  };
  H = H | 1;
publish:
  atomic { kept = false; g = GEN(S); refs = 1; have = g };
  settle(LEDGER(g, 1));
  atomic { assert(S == WORD(g, RESERVED, 1)); S = WORD(g, LIVE, 0); published = g };
  goto close;
not_this:
  settle(0);
  goto next;
unreserve:
  H = H & ~1;
  S = WORD(GEN(S) + 1, FREE, 0);
  settle(0);
  goto next;

open:
  do
  :: atomic {
       w = L;
       if
#ifndef NO_LOCK
       :: IN_FLIGHT(w) -> goto wait_open
#endif
       :: w == 0
#ifdef NO_LOCK
       :: IN_FLIGHT(w)
#endif
       :: IS_RESERVED(w) || !IN_FLIGHT(w) && w && w / 32 != g -> w = 0; goto next
       :: COUNT(w) && w / 32 == g && COUNT(w) == 3 -> w = 0; goto next
       :: COUNT(w) && w / 32 == g && COUNT(w) < 3 -> goto more
       fi
     };
     atomic {
       if
       :: L == w -> L = LEDGER(g, 16); w = 0; break
       :: else -> w = 0; goto open
       fi
     };
more:
#ifdef NO_GEN
     if
     :: GEN(S) == g -> skip
     :: else -> w = 0; goto next
     fi;
#endif
     atomic {
       if
#ifdef NO_GEN
       :: L % 32 == w % 32 ->
#else
       :: L == w ->
#endif
          L++;
          w = 0;
          got();
          goto close
       :: else -> w = 0; goto open
       fi
     };
wait_open:
     wait();
again:
     skip
  od;

  /* open_first() */
#ifdef EARLY_COUNT
  settle(LEDGER(g, 1));
#endif
  H = H | 1;
  atomic {
    if
    :: S == WORD(g, LIVE, 0) -> got()
    :: else -> goto failed
    fi
  };
#ifndef EARLY_COUNT
  settle(LEDGER(g, 1));
#endif
  goto close;

failed:
  g = 0;
drop:
  H = H & ~1;
  atomic {
    if
    :: PHASE(S) == LIVE && !H -> S = WORD(GEN(S) + 1, FREE, 0)
    :: else
    fi
  };
  settle(0);
  goto next;

close:
  atomic {
    w = L;
    assert(S == WORD(g, LIVE, 0) && (H & 1) && COUNT(w) == refs && w / 32 == g && have == g);
    if
    :: COUNT(w) > 1 -> goto less
    :: else
    fi
  };
  atomic {
    if
    :: L == w -> L = LEDGER(g, 16); w = 0; refs = 0
    :: else -> w = 0; goto close
    fi
  };

  /* close_last() */
  atomic {
    g = 0;
    if
    :: S == WORD(GEN(S), LIVE, 0) && H == 1 -> S = WORD(GEN(S) + 1, DEAD, 1)
    :: else -> goto drop
    fi
  };
  if
  :: S = WORD(GEN(S), RESERVED, 1) -> kept = true; settle(LEDGER(0, 8))
  :: H = H & ~1 -> S = WORD(GEN(S), FREE, 0); settle(0)
  fi;
  goto next;

less:
  atomic {
    if
#ifdef NOT_ATOMIC
    :: true -> L = w - 1; w = 0; refs--; goto next
#else
    :: L == w -> L--; w = 0; refs--; goto next
    :: else -> w = 0; goto close
#endif
    fi
  };

fin:
  ended++
}

/* Another client: its own threads and deaths are not looked at here. */
proctype other() {
  byte round, g;

  do
  :: round < OTHERS && published ->
     atomic { round++; g = published };
     H = H | 2;
     atomic {
       if
       :: S == WORD(g, LIVE, 0)
       :: else
       fi
     };
     atomic { g = 0; H = H & ~2 };
     atomic {
       if
       :: PHASE(S) == LIVE && !H -> S = WORD(GEN(S) + 1, FREE, 0)
       :: else
       fi
     }
  :: round < OTHERS && PHASE(S) == FREE ->
     atomic {
       if
       :: PHASE(S) == FREE -> S = WORD(GEN(S), RESERVED, 2); round++
       :: else -> goto next
       fi
     };
     H = H | 2;
     atomic { S = WORD(GEN(S), LIVE, 0); published = GEN(S) };
     H = H & ~2;
     atomic {
       if
       :: PHASE(S) == LIVE && !H -> S = WORD(GEN(S) + 1, FREE, 0)
       :: else
       fi
     };
next:
     skip
  :: round == OTHERS || ended == THREADS -> break
  od;
  ended++;
  ended == THREADS + 1;
  assert(PHASE(S) == FREE && !H && !L)
}

init {
  atomic {
    run thread(0);
    run thread(1);
#if THREADS > 2
    run thread(2);
#endif
    run other()
  }
}
