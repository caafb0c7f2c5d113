/* SPDX-License-Identifier: MIT */

/*
 * The life of one slot: slot.c.
 *
 * N clients make handles in it, open them (also when they are long gone), and close them; the last closer gives the slot back or
 * keeps it with its bit set. Each may die between any two steps. The reaper acts in the name of the dead, and the daemon that reaps may
 * die, too, and begins again.
 *
 * What must hold:
 *   - who opened a handle has it until it closes it: the slot is LIVE or DYING, with that generation;
 *   - no generation is given to two handles;
 *   - when all have ended or were reaped, the slot is FREE, can be found, and no bit and no ledger word is left.
 *
 * Mutants (-DNAME):
 *   NO_LOOK         destroy commits without a look at the holder bits
 *   NO_SECOND_LOOK  a destroy that was called off does not look once more
 *   LEDGER_FIRST    close clears its ledger word before it lets go
 *   OPEN_NO_DROP    an open that failed clears its bit and does not look at the state after that
 *   ALONE_NO_LOOK   destroy_alone() commits without its second look
 *   ALONE_NO_DROP   close takes the failure of destroy_alone() for "others hold it, too", and only clears its bit
 *   KEEP_SAME_GEN   a slot that is kept keeps its generation, too
 *   REAP_ANY        the reaper takes a RESERVED slot whoever owns it
 *   REAP_NO_LOOK    the reaper clears the bit, and does not look whether it was the last
 *   NOTE_LAST       the hint that says where FREE slots are is put right after the ledger word was cleared
 *   NO_RELOOK       who found the hint wrong puts it right, and does not look once more
 */

#include "common.inc"

#ifndef N
#define N 2
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* of each client */
#endif
#ifndef MORE
#define MORE 0 /* of the first client, beyond that */
#endif
#ifndef DEATHS
#define DEATHS N /* of clients */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of the daemon while it reaps */
#endif

byte S = WORD(1, FREE, 0); /* the state word */
byte H;                    /* the holder bits */
byte L[N + 1];             /* the ledger word of each client */
bit taken;                 /* the hint: not FREE */

bool dead[N + 1], done[N + 1], reaped[N + 1];
byte reaping, deaths, crashes;
bool crashed;

/* Not in memory, but what clients believe. */
byte published;            /* the latest generation that was given to a handle */
byte holds[N + 1];         /* the generation of the handle that the client has, or 0 */

/* Nobody has a handle that is gone. At each step by which a handle goes. */
inline check_gone() {
  assert(!holds[1] || PHASE(S) == LIVE && GEN(S) == holds[1] || PHASE(S) == DYING && GEN(S) == holds[1]);
  assert(!holds[2] || PHASE(S) == LIVE && GEN(S) == holds[2] || PHASE(S) == DYING && GEN(S) == holds[2]);
  assert(!holds[N] || PHASE(S) == LIVE && GEN(S) == holds[N] || PHASE(S) == DYING && GEN(S) == holds[N])
}

/* bury() and release(): RESERVED or DEAD, and ours. What else bury() does is in scratch.pml. */
inline bury() {
  S = WORD(GEN(S) + 1, FREE, 0);
#ifndef NOTE_LAST
  taken = 0
#endif
}

#include "destroy.inc"

#define LAST (ROUNDS + (c == 1 -> MORE : 0))

proctype client(byte c) {
  byte round, w, g;
  bool kept;

  {
    skip;
again:
    atomic {
      if
      :: round == LAST && !kept -> goto fin
      :: round == LAST && kept -> kept = false; goto unreserve
      :: round < LAST && kept -> round++; goto publish
      :: round < LAST && !kept -> round++; goto reserve
      :: round < LAST && !kept && published -> round++; g = published; goto open
      :: round < LAST && !kept && published > 1 -> round++; g = published - 1; goto open
      fi
    };

reserve: /* try_reserve() */
    L[c] = RES;
    atomic {
      w = S;
      if
      :: PHASE(w) == FREE
      :: else -> w = 0; goto hint_wrong
      fi
    };
    atomic {
      if
      :: S == w -> S = WORD(GEN(w), RESERVED, c); w = 0
      :: else -> w = 0; goto hint_wrong
      fi
    };
    taken = 1;
    H = H | BIT(c);

publish: /* slot_publish() */
    L[c] = HELD;
    atomic {
      kept = false;
      assert(PHASE(S) == RESERVED && OWNER(S) == c && GEN(S) > published);
      S = WORD(GEN(S), LIVE, 0);
      published = GEN(S);
      holds[c] = GEN(S);
      goto close
    };

hint_wrong:
    taken = 1;
#ifndef NO_RELOOK
    if
    :: PHASE(S) == FREE -> taken = 0
    :: else
    fi;
#endif
    goto out;

unreserve: /* reserve_undo() */
    H = H & ~BIT(c);
    bury();
    goto out;

open: /* slot_open(), open_first(), take() */
    L[c] = FLY;
    atomic {
      if
      :: GEN(S) != g -> g = 0; goto out
      :: else
      fi
    };
    H = H | BIT(c);
    do
    :: atomic {
         w = S;
         if
         :: w == WORD(g, LIVE, 0) -> holds[c] = g; w = 0; g = 0; break
         :: GEN(w) == g && PHASE(w) == DYING
         :: else -> w = 0; g = 0; goto failed
         fi
       };
       atomic { /* Rescue, and look again. */
         if
         :: S == w -> S = WORD(g, LIVE, 0)
         :: else
         fi;
         w = 0
       }
    od;
    L[c] = HELD;
    goto close;

failed:
#ifdef OPEN_NO_DROP
    H = H & ~BIT(c);
    goto out;
#else
    goto drop;
#endif

close: /* slot_close() */
    atomic { L[c] = FLY; holds[c] = 0 };
#ifdef LEDGER_FIRST
    L[c] = NONE;
#endif

    /* destroy_alone() */
    atomic {
      w = S;
      if
      :: PHASE(w) != LIVE -> w = 0; goto not_alone
      :: else
      fi
    };
    if
    :: atomic { H != BIT(c) -> w = 0; goto not_alone }
    :: H == BIT(c)
    fi;
    atomic {
      if
      :: S == w -> S = WORD(GEN(w), DYING, c)
      :: else -> w = 0; goto not_alone
      fi
    };
#ifndef ALONE_NO_LOOK
    if
    :: H == BIT(c)
    :: H != BIT(c) ->
       atomic {
         if
         :: S == WORD(GEN(w), DYING, c) -> S = w
         :: else
         fi;
         w = 0;
         goto not_alone
       }
    fi;
#endif
    atomic {
      if
      :: S == WORD(GEN(w), DYING, c) -> S = WORD(GEN(w), DEAD, c); w = 0; check_gone()
      :: else -> w = 0; goto not_alone
      fi
    };
    if
#ifdef KEEP_SAME_GEN
    :: S = WORD(GEN(S), RESERVED, c) ->
#else
    :: S = WORD(GEN(S) + 1, RESERVED, c) ->
#endif
       atomic { L[c] = RES; kept = true; goto again }
    :: H = H & ~BIT(c) ->
       bury();
       goto out
    fi;

not_alone:
#ifdef ALONE_NO_DROP
    H = H & ~BIT(c);
    goto out;
#endif

drop: /* drop() */
    H = H & ~BIT(c);
    destroy_unheld(c);

out:
#ifdef NOTE_LAST
    L[c] = NONE;
    if
    :: PHASE(S) == FREE -> taken = 0
    :: else
    fi;
    goto again
#else
    atomic { L[c] = NONE; goto again }
#endif
  } unless { dead[c] };
  goto end;
fin:
  done[c] = true;
end:
  skip
}

#define NEXT(c) :: dead[c] && !reaped[c] -> reaping = c

proctype reaper() {
  byte w;

restart:
  {
    do
    :: atomic {
         if
         NEXT(1)
         NEXT(2)
#if N > 2
         NEXT(3)
#endif
         :: (done[1] || reaped[1]) && (done[2] || reaped[2]) && (done[N] || reaped[N]) -> goto finished
         fi
       };
       if
       :: L[reaping] == NONE -> goto next
       :: else
       fi;

       /* slot_abandon() */
       H = H & ~BIT(reaping);
       atomic {
         w = S;
         if
         :: PHASE(w) == DYING && OWNER(w) == reaping
         :: else -> goto settle
         fi
       };
       atomic {
         if
         :: S == w -> S = WORD(GEN(w), LIVE, 0)
         :: else
         fi;
         w = 0
       };
       w = S;
settle:
       atomic {
         if
#ifdef REAP_ANY
         :: PHASE(w) == RESERVED
#else
         :: PHASE(w) == RESERVED && OWNER(w) == reaping
#endif
         :: PHASE(w) == DEAD && OWNER(w) == reaping
         :: PHASE(w) == FREE -> w = 0; goto note
         :: PHASE(w) == LIVE -> w = 0; goto unheld
         :: else -> w = 0; goto clear
         fi;
         w = 0
       };
       bury();
       goto clear;
note:
       taken = 0;
       goto clear;
unheld:
#ifndef REAP_NO_LOOK
       destroy_unheld(reaping);
#endif
clear:
       L[reaping] = NONE;
next:
       atomic { reaped[reaping] = true; reaping = 0 }
    od
  } unless { crashed };
  d_step { crashed = false; reaping = 0; w = 0 };
  goto restart;

finished:
  assert(PHASE(S) == FREE && !taken && !H && !L[1] && !L[2] && !L[N])
}

#define KILL(c) :: d_step { deaths < DEATHS && !dead[c] && !done[c] -> deaths++; dead[c] = true; holds[c] = 0 }

/* SIGKILL, whenever it likes. */
proctype death() {
end:
  do
  KILL(1)
  KILL(2)
#if N > 2
  KILL(3)
#endif
  :: d_step { crashes < CRASHES && reaping -> crashes++; crashed = true }
  od
}

init {
  atomic {
    run client(1);
    run client(2);
#if N > 2
    run client(3);
#endif
    run reaper();
    run death()
  }
}
