/* SPDX-License-Identifier: MIT */

/*
 * The life of a chunk: chunk.c, trim.c, and what slot.c and the reaper have to do with it.
 *
 * Clients open a chunk that is a hole, make and close handles there, and open handles by numbers old and new. The daemon trims, reaps,
 * and may die at any step; the next one recovers. What is between clients (DYING, rescue) takes one step here: it is in slot.pml.
 *
 * What must hold:
 *   - nobody touches a slot whose memory is gone;
 *   - no generation is given to two handles, whatever became of the memory meanwhile;
 *   - at the end no ledger names a slot, each slot of a chunk with memory is FREE and can be found, and a chunk
 *     without memory is a hole.
 *
 * Mutants (-DNAME):
 *   NO_LEDGER_LOOK  trim does not look into the ledgers of clients
 *   LOOK_FIRST      trim looks into them before the word says CLOSING
 *   CHECK_FIRST     who opens looks at the chunk before its ledger word is not 0
 *   RESERVE_FIRST   who makes a handle does
 *   SAME_FLOOR      trim leaves the floor where it is
 *   HOLE_FIRST      trim says HOLE, and then gives the memory back
 *   FORGET_FIRST    trim clears its ledger before the word says HOLE
 *   NO_RECOVER      a new daemon does not look at what the former was closing
 *   RECOVER_OPENS   a new daemon opens a chunk that was PUNCHING
 *   RECOVER_ANY     a new daemon makes a slot FREE without a look whose it is
 *   KEEP_OPENING    the reaper leaves a chunk that a dead client was opening
 *   NO_FULL_RELOOK  who says that a chunk is full does not look once more
 *   NOTE_FIRST      who frees a slot says so before it is FREE
 */

#include "common.inc"

#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MORE
#define MORE 0 /* rounds of the first client, beyond that */
#endif
#ifndef TRIMS
#define TRIMS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

/* The chunk word looks like the state word: floor, state, owner. */
#define HOLE     0
#define OPENING  1
#define OPEN     2
#define CLOSING  3
#define PUNCHING 4

byte C;                /* a hole at the first generation */
bit memory;            /* of the slots */
byte S[SLOTS], H[SLOTS];
byte L[3 * SLOTS];     /* the ledgers; that of the daemon is the first */
bit taken[SLOTS];      /* hints */
bit looks_full;

#define LEDGER(c, s) L[(c) * SLOTS + (s)]

bool dead[3], done[3], reaped[3], crashed, busy;
byte deaths, crashes;

/* Not in memory. */
byte published[SLOTS];

#define TOUCH assert(memory)
#define ALL_TAKEN (taken[0] && taken[SLOTS - 1])

/* chunk_note_free() */
inline note_free(s) {
  taken[s] = 0;
  looks_full = 0
}

/* destroy, bury and release, in one: LIVE, nobody holds it. */
inline destroy_unheld(s) {
#ifdef NOTE_FIRST
  note_free(s);
#endif
  atomic {
    TOUCH;
    if
    :: PHASE(S[s]) == LIVE && !H[s] -> S[s] = WORD(GEN(S[s]) + 1, FREE, 0)
    :: else -> goto out
    fi
  };
#ifndef NOTE_FIRST
  note_free(s)
#endif
}

#define LAST (ROUNDS + (c == 1 -> MORE : 0))

proctype client(byte c) {
  byte round, s, g, w;

  {
    skip;
again:
    atomic {
      w = 0;
      g = 0;
      s = 0;
      if
      :: round == LAST -> goto fin
      :: else -> round++
      fi;
      if
      :: SLOTS > 1 -> s = 1
      :: true
      fi;
      if
      :: goto new
      :: published[s] -> g = published[s]; goto open
      :: published[s] > 1 -> g = published[s] - 1; goto open
      fi
    };

new: /* reserve_slot(), chunk_open() */
    atomic {
      w = C;
      if
      :: PHASE(w) == HOLE
      :: PHASE(w) == OPEN -> w = 0; goto reserve
      :: else -> goto again
      fi
    };
    atomic {
      if
      :: C == w -> C = WORD(GEN(w), OPENING, c)
      :: else -> goto again
      fi
    };
    if
    :: atomic { memory = 1; S[0] = 0; H[0] = 0; S[SLOTS - 1] = 0; H[SLOTS - 1] = 0 }
    :: C = WORD(GEN(w), HOLE, 0); goto again /* -ENOSPC */
    fi;
    atomic {
      S[0] = WORD((GEN(w) -> GEN(w) : 1), FREE, 0);
      S[SLOTS - 1] = S[0];
      taken[0] = 0;
      taken[SLOTS - 1] = 0
    };
    looks_full = 0;
    atomic { C = WORD(GEN(w), OPEN, 0); w = 0 };

reserve: /* try_reserve() */
#ifdef RESERVE_FIRST
    if
    :: PHASE(C) == OPEN
    :: else -> goto again
    fi;
    LEDGER(c, s) = RES;
#else
    LEDGER(c, s) = RES;
    if
    :: PHASE(C) == OPEN
    :: else -> goto out
    fi;
#endif
    atomic {
      TOUCH;
      w = S[s];
      if
      :: PHASE(w) == FREE
      :: else -> goto hint_wrong
      fi
    };
    atomic {
      TOUCH;
      if
      :: S[s] == w -> S[s] = WORD(GEN(w), RESERVED, c); w = 0
      :: else -> goto hint_wrong
      fi
    };
    taken[s] = 1;
    atomic { TOUCH; H[s] = H[s] | BIT(c) };
    LEDGER(c, s) = HELD;
    atomic {
      TOUCH;
      assert(OWNER(S[s]) == c && PHASE(S[s]) == RESERVED && GEN(S[s]) > published[s]);
      g = GEN(S[s]);
      S[s] = WORD(g, LIVE, 0);
      published[s] = g;
      goto close
    };

hint_wrong:
    atomic { taken[s] = 1; w = 0 };
    atomic {
      TOUCH;
      if
      :: PHASE(S[s]) == FREE
      :: else -> goto not_this
      fi
    };
    note_free(s);
not_this:
    LEDGER(c, s) = NONE;
    /* reserve_in(), chunk_note_full(): others were not to be had either. */
    looks_full = 1;
#ifndef NO_FULL_RELOOK
    if
    :: !ALL_TAKEN -> looks_full = 0
    :: else
    fi;
#endif
    goto again;

open: /* open_first(), take() */
#ifdef CHECK_FIRST
    if
    :: PHASE(C) == OPEN
    :: else -> goto again
    fi;
    LEDGER(c, s) = FLY;
#else
    LEDGER(c, s) = FLY;
    if
    :: PHASE(C) == OPEN
    :: else -> goto out
    fi;
#endif
    atomic {
      TOUCH;
      if
      :: GEN(S[s]) == g
      :: else -> goto out
      fi
    };
    atomic { TOUCH; H[s] = H[s] | BIT(c) };
    atomic {
      TOUCH;
      if
      :: S[s] == WORD(g, LIVE, 0)
      :: else -> goto drop
      fi
    };
    LEDGER(c, s) = HELD;

close:
    atomic { TOUCH; assert(S[s] == WORD(g, LIVE, 0)); g = 0; LEDGER(c, s) = FLY };
drop:
    atomic { TOUCH; g = 0; H[s] = H[s] & ~BIT(c) };
    destroy_unheld(s);
out:
    atomic { LEDGER(c, s) = NONE; goto again }
  } unless { dead[c] };
  goto end;
fin:
  done[c] = true;
end:
  skip
}

proctype daemon() {
  byte c, s, w, floor, trims;

start:
  {
    /* trim_recover() */
#ifndef NO_RECOVER
    do
    :: atomic {
         if
         :: LEDGER(0, s) == NONE -> goto recovered
         :: else
         fi
       };
       atomic {
         w = C;
         if
         :: PHASE(w) == CLOSING
         :: PHASE(w) == OPEN -> w = 0; goto recover_slot
#ifdef RECOVER_OPENS
         :: PHASE(w) == PUNCHING
#else
         :: PHASE(w) == PUNCHING -> goto recover_hole
#endif
         :: else -> w = 0; goto recover_word
         fi
       };
       atomic { C = WORD(GEN(w), OPEN, 0); w = 0 };
recover_slot:
       atomic {
         TOUCH;
         if
#ifdef RECOVER_ANY
         :: true ->
#else
         :: PHASE(S[s]) == RESERVED && OWNER(S[s]) == 0 ->
#endif
            S[s] = WORD(GEN(S[s]), FREE, 0)
         :: else
         fi
       };
       note_free(s);
       goto recover_word;
recover_hole:
       memory = 0;
       looks_full = 1;
       atomic { C = WORD(GEN(w), HOLE, 0); w = 0 };
recover_word:
       LEDGER(0, s) = NONE;
recovered:
       atomic {
         s++;
         if
         :: s == SLOTS -> s = 0; break
         :: else
         fi
       }
    od;
#endif

    do
    :: atomic {
         busy = false;
         w = 0;
         if
         :: dead[1] && !reaped[1] -> c = 1; goto reap
         :: dead[2] && !reaped[2] -> c = 2; goto reap
         :: trims < TRIMS && PHASE(C) == OPEN -> trims++; goto trim
         :: (done[1] || reaped[1]) && (done[2] || reaped[2]) -> goto finished
         fi
       };

reap: /* slot_abandon() */
       busy = true;
       do
       :: if
          :: atomic { LEDGER(c, s) == NONE -> goto next_slot }
          :: atomic { LEDGER(c, s) != NONE && PHASE(C) != OPEN -> goto out }
          :: LEDGER(c, s) != NONE && PHASE(C) == OPEN
          fi;
          atomic { TOUCH; H[s] = H[s] & ~BIT(c) };
          atomic {
            TOUCH;
            if
            :: PHASE(S[s]) == RESERVED && OWNER(S[s]) == c -> S[s] = WORD(GEN(S[s]) + 1, FREE, 0); goto free
            :: PHASE(S[s]) == FREE -> goto free
            :: PHASE(S[s]) == LIVE -> goto unheld
            :: else -> goto out
            fi
          };
free:
          note_free(s);
          goto out;
unheld:
          destroy_unheld(s);
out:
          LEDGER(c, s) = NONE;
next_slot:
          atomic {
            s++;
            if
            :: s == SLOTS -> s = 0; break
            :: else
            fi
          }
       od;
       /* chunk_abandon() */
       atomic {
         w = C;
         if
#ifndef KEEP_OPENING
         :: PHASE(w) == OPENING && OWNER(w) == c
#endif
         :: PHASE(w) == OPEN -> goto hints
         :: else -> goto gone
         fi
       };
       memory = 0;
       atomic { C = WORD(GEN(w), HOLE, 0); goto gone };
hints:
       if
       :: looks_full && !ALL_TAKEN -> looks_full = 0
       :: else
       fi;
gone:
       atomic { reaped[c] = true; c = 0; goto next };

trim: /* close_chunk(), take_all() */
       busy = true;
       do
       :: atomic {
            TOUCH;
            w = S[s];
            if
            :: PHASE(w) == FREE
            :: else -> goto put_back
            fi
          };
          LEDGER(0, s) = RES;
          atomic {
            TOUCH;
            if
            :: S[s] == w -> S[s] = WORD(GEN(w), RESERVED, 0)
            :: else -> goto not_taken
            fi
          };
          atomic {
            if
            :: GEN(w) > floor -> floor = GEN(w)
            :: else
            fi;
            w = 0;
            s++;
            if
            :: s == SLOTS -> s = 0; break
            :: else
            fi
          }
       od;
#ifdef LOOK_FIRST
       goto look;
looked:
       atomic { C = WORD(GEN(C), CLOSING, 0); goto punch };
look:
#else
       C = WORD(GEN(C), CLOSING, 0);
#endif
#ifndef NO_LEDGER_LOOK
       atomic { c = 1; s = 0 };
       do
       :: atomic {
            if
            :: !reaped[c] && LEDGER(c, s) != NONE -> c = 0; goto named
            :: else
            fi;
            s++;
            if
            :: s == SLOTS -> s = 0; c++
            :: else
            fi;
            if
            :: c == 3 -> c = 0; break
            :: else
            fi
          }
       od;
#endif
#ifdef LOOK_FIRST
       goto looked;
punch:
#endif
#ifdef SAME_FLOOR
       atomic { C = WORD(GEN(C), PUNCHING, 0); floor = 0 };
#else
       atomic { C = WORD(floor + 1, PUNCHING, 0); floor = 0 };
#endif
#ifdef FORGET_FIRST
       LEDGER(0, 0) = NONE;
       LEDGER(0, SLOTS - 1) = NONE;
#endif
#ifndef HOLE_FIRST
       memory = 0;
#endif
       looks_full = 1;
       C = WORD(GEN(C), HOLE, 0);
#ifdef HOLE_FIRST
       memory = 0;
#endif
       LEDGER(0, 0) = NONE;
       LEDGER(0, SLOTS - 1) = NONE;
       goto next;

named:
       atomic { C = WORD(GEN(C), OPEN, 0); s = SLOTS; goto put_back };
not_taken:
       LEDGER(0, s) = NONE;
put_back:
       floor = 0;
       do
       :: atomic {
            w = 0;
            if
            :: s == 0 -> break
            :: else -> s--
            fi
          };
          atomic { TOUCH; S[s] = WORD(GEN(S[s]), FREE, 0) };
          note_free(s);
          LEDGER(0, s) = NONE
       od;
next:
       skip
    od
  } unless { crashed };
  d_step { crashed = false; busy = false; c = 0; s = 0; w = 0; floor = 0 };
  goto start;

finished:
  atomic {
    assert(!LEDGER(0, 0) && !LEDGER(1, 0) && !LEDGER(2, 0));
    assert(!LEDGER(0, SLOTS - 1) && !LEDGER(1, SLOTS - 1) && !LEDGER(2, SLOTS - 1));
    assert(PHASE(C) == HOLE && !memory ||
           PHASE(C) == OPEN && memory && PHASE(S[0]) == FREE && PHASE(S[SLOTS - 1]) == FREE && !H[0] && !H[SLOTS - 1]);
    assert(PHASE(C) == HOLE || !looks_full && !taken[0] && !taken[SLOTS - 1])
  }
}

#define KILL(c) :: d_step { deaths < DEATHS && !dead[c] && !done[c] -> deaths++; dead[c] = true }

proctype death() {
end:
  do
  KILL(1)
  KILL(2)
  :: d_step { crashes < CRASHES && busy -> crashes++; crashed = true }
  od
}

init {
  atomic {
    run client(1);
    run client(2);
    run daemon();
    run death()
  }
}
