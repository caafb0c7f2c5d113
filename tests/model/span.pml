/* SPDX-License-Identifier: MIT */

/*
 * The life of a span of small blocks, and of the owner words that come and go with it: span.c, stock.c, block.c, scratch.c, reap.c.
 *
 * Clients claim the span, take blocks, give them to a handle, free their own and others' by numbers old and new, and release the span
 * when it is empty, or keep it for another size. Whoever frees a handle's last block in a span whose client is dead releases the
 * span. Clients die and come again with the same id; the daemon that reaps may die, too. With TWINS the first client has two threads.
 *
 * What must hold:
 *   - nobody touches owner words whose memory is gone;
 *   - no block is handed out twice, no index is handed out twice, and by an old index nobody frees a living block;
 *   - no span is given back with a living block inside;
 *   - at the end, no ledger bit, no hazard and no span of a dead client is left, a FREE span can be found, and an ORPHAN has
 *     a living block.
 *
 * Mutants (-DNAME):
 *   NO_HAZARD         who frees announces nothing
 *   HAZARD_LATE       who frees announces it after the look at the span's word
 *   NO_HAZARD_LOOK    who releases does not look for announcements
 *   SMALL_SEEN        who releases looks for announcements before the word says that the span is unusable
 *   NO_RELOOK         the reaper makes an ORPHAN and does not look once more whether it is empty
 *   NO_ORPHAN_LOOK    who frees does not look whether the span is an ORPHAN
 *   SAME_INC          an adoption leaves the incarnation as it is
 *   SAME_FLOOR        a release leaves the tag floor as it is
 *   NO_HAZARD_REAP    the reaper does not look what a dead client was freeing
 *   BIT_LATE          a claim sets the ledger bit when it has the span, and announces nothing
 *   FORGET_BLIND      (TWINS) who clears the ledger bit does not look whether another thread has taken the span
 *   TAKE_BLIND        (TWINS) who has taken the span does not look whether another thread has cleared the bit
 *   FORGET_NO_HAZARD  (TWINS) who clears the ledger bit announces nothing
 *   FREE_NO_HAZARD    (TWINS) who gives a span back announces nothing
 *   REAP_BLIND        (TWINS) the reaper does not set the bit again
 */

#include "common.inc"

#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MORE
#define MORE 0 /* rounds of the first client, beyond that */
#endif
#ifndef LESS
#define LESS 0 /* rounds that the second client does without */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef LIVES
#define LIVES 1 /* of each client */
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifdef TWINS
#define ACTORS 3
#else
#define ACTORS 2
#endif

/* The span's word looks like the state word: incarnation, state, client; a thread more is a state more. */
#define CLAIMED     1
#define SMALL       2 /* of the first thread */
#define SMALL_TWIN  3
#define ORPHAN      4
#define IS_SMALL(w) (PHASE(w) == SMALL || PHASE(w) == SMALL_TWIN)

/* A block's owner word: tag, and who: nobody (0), a client, a handle. 0 is: never used since the memory is there. */
#define OWNED(tag, who) ((tag) * 8 + (who))
#define TAG(w)          ((w) / 8)
#define WHO(w)          ((w) % 8)
#define HANDLE          4

byte W = WORD(1, FREE, 0);
bit mapped;             /* the map of hints: not FREE */
bit orphan;             /* the hint that the span may be an ORPHAN */
byte floor;
bit kept;
bit memory = 0;         /* of the owner words */
byte O[BLOCKS];
bit ledger[3];          /* the ledger bits of the clients */
bit hazard[ACTORS + 1]; /* the hazard lines */

bool dead[3], crashed;
byte ended[3], reaped = 0, lives[3], deaths, crashes, reaping;

/* Not in memory. */
byte index[BLOCKS];     /* the tag of the last index that was handed out */
bool alive[BLOCKS];

#define TOUCH assert(memory)
#define NONE_USED (!WHO(O[0]) && !WHO(O[BLOCKS - 1]))
#define MINE (t -> SMALL_TWIN : SMALL)

/* hazard_seen(), from the hazard line `a` */
#define SEEN(a) (hazard[1] && (a) != 1 || hazard[2] && (a) != 2 || hazard[ACTORS] && (a) != ACTORS)

/* span_is_own() */
#define OWN(c) (W == WORD(GEN(W), CLAIMED, c) || IS_SMALL(W) && OWNER(W) == (c))

/* span_forget() */
inline forget(c, a) {
  do
  :: atomic {
       if
       :: ledger[c] -> h = hazard[a]
       :: else -> break
       fi
     };
#ifndef FORGET_NO_HAZARD
     hazard[a] = 1;
#endif
     ledger[c] = 0;
#ifndef FORGET_BLIND
     if
     :: OWN(c) -> ledger[c] = 1
     :: else
     fi;
#endif
     atomic {
       if
       :: !h -> hazard[a] = 0
       :: else -> h = 0
       fi;
       break
     }
  od
}

/* span_take(), from what `w` says. */
inline span_take(c, a, to) {
#ifndef BIT_LATE
  hazard[a] = 1;
  ledger[c] = 1;
#endif
  atomic {
    if
    :: W == w -> W = to; w = 0
    :: else -> w = 0; goto not_taken
    fi
  };
#ifndef TAKE_BLIND
  if
  :: !ledger[c] -> ledger[c] = 1
  :: else
  fi;
#endif
  hazard[a] = 0
}

#ifdef FREE_NO_HAZARD
#define SET_FREE_HAZARD hazard[a]
#else
#define SET_FREE_HAZARD 1
#endif

/* span_release(): CLAIMED by `c`, who looks for hazards but for its own, `a`. */
inline release(c, a) {
  atomic {
    assert(!alive[0] && !alive[BLOCKS - 1] && W == WORD(GEN(W), CLAIMED, c));
#ifndef SAME_FLOOR
    /* Read, and not looked at: maybe the memory is gone. */
    if
    :: TAG(O[0]) > floor -> floor = TAG(O[0])
    :: else
    fi;
    if
    :: TAG(O[BLOCKS - 1]) > floor -> floor = TAG(O[BLOCKS - 1])
    :: else
    fi
#endif
  };
  kept = 1;
  if
#ifdef NO_HAZARD_LOOK
  :: true ->
#else
#ifdef SMALL_SEEN
  :: q == 2 || q == 0 && SEEN(a) -> q = 0
  :: q == 1 || q == 0 && !SEEN(a) -> q = 0;
#else
  :: SEEN(a)
  :: !SEEN(a) ->
#endif
#endif
     atomic { memory = 0; O[0] = 0; O[BLOCKS - 1] = 0 };
     kept = 0
  fi;
  /* set_free() */
  atomic { s = !hazard[a]; hazard[a] = SET_FREE_HAZARD };
  W = WORD(GEN(W) + 1, FREE, 0);
  mapped = 0;
  forget(c, a);
  atomic {
    if
    :: s -> hazard[a] = 0; s = 0
    :: else
    fi
  }
}

/* block_release_orphan(): the hazard `a` is set. */
inline release_orphan(c, a) {
  do
  :: atomic {
       w = W;
       if
       :: PHASE(w) == ORPHAN
       :: else -> w = 0; break
       fi
     };
     /* block_none_used() */
     atomic {
       TOUCH;
       if
       :: WHO(O[0]) -> w = 0; break
       :: else
       fi
     };
#if BLOCKS > 1
     atomic {
       TOUCH;
       if
       :: WHO(O[1]) -> w = 0; break
       :: else
       fi
     };
#endif
     atomic {
       if
       :: W == w -> W = WORD(GEN(w), CLAIMED, c); w = 0
       :: else -> w = 0; break
       fi
     };
     release(c, a);
     break
  od
}

/* free_small() of the word `x`. */
inline free_block(b) {
  atomic {
    TOUCH;
    if
    :: O[b] == x -> O[b] = OWNED(TAG(x) + 1, 0); alive[b] = false; x = 0
    :: else -> x = 0; goto settled
    fi
  }
}

#define LAST (c == 1 -> ROUNDS + MORE : ROUNDS - LESS)

/* A thread: of which client, the second one of it, its hazard line. */
proctype thread(byte c; bit t; byte a) {
  byte round, w, b, x, g, life = 1, q;
  bit h, s; /* what was in the hazard line: span_forget(), set_free() */
  bool using; /* the span is where this thread takes blocks from */

alive_again:
  {
    skip;
again:
    atomic {
      b = 0;
      g = 0;
      w = 0;
      if
      :: round == LAST -> goto fin
      :: else -> round++
      fi;
      if
      :: true
      :: BLOCKS > 1 -> b = BLOCKS - 1
      fi;
      if
      :: using -> goto take
      :: using -> using = false; goto spare
      :: !using && W == WORD(GEN(W), MINE, c) -> using = true; goto take
      :: !using && W == WORD(GEN(W), MINE, c) -> goto spare
      :: !using && W != WORD(GEN(W), MINE, c) && orphan -> goto adopt
      :: !using && W != WORD(GEN(W), MINE, c) -> goto claim
      :: index[b] -> g = index[b]; goto free
      :: index[b] > 1 -> g = index[b] - 1; goto free
      :: index[b] && W == WORD(GEN(W), MINE, c) -> g = index[b]; goto free_own
      :: WHO(O[b]) == HANDLE -> goto free
      fi
    };

adopt: /* adopt_span() */
    atomic {
      if
      :: orphan -> orphan = 0
      :: else -> goto again
      fi
    };
    atomic {
      w = W;
      if
      :: PHASE(w) == ORPHAN
      :: else -> goto again
      fi
    };
#ifdef SAME_INC
    span_take(c, a, WORD(GEN(w), MINE, c));
#else
    span_take(c, a, WORD(GEN(w) + 1, MINE, c));
#endif
    atomic { using = true; goto take };

claim: /* span_claim() */
    atomic {
      w = W;
      if
      :: PHASE(w) == FREE
      :: else -> goto again
      fi
    };
    span_take(c, a, WORD(GEN(w), CLAIMED, c));
    mapped = 1;
populate: /* span_populate() */
    if
    :: memory = 1
    :: goto release_own /* -ENOSPC */
    fi;
    if
    :: kept ->
       atomic { TOUCH; O[0] = 0 };
#if BLOCKS > 1
       atomic { TOUCH; O[1] = 0 };
#endif
       kept = 0
    :: else
    fi;
    atomic { assert(W == WORD(GEN(W), CLAIMED, c)); W = WORD(GEN(W), MINE, c); using = true };

take: /* alloc_small() */
    atomic {
      TOUCH;
      x = O[b];
      if
      :: WHO(x) -> x = 0; goto again
      :: else
      fi
    };
    atomic {
      TOUCH;
      assert(!alive[b] && O[b] == x);
      x = (x -> TAG(x) : floor + 1);
      assert(x > index[b]);
      index[b] = x;
      alive[b] = true;
      O[b] = OWNED(x, c);
      x = OWNED(x, c);
      if
      :: true
      :: x = 0; goto again
      fi
    };
    /* give_pinned() */
    hazard[a] = 1;
    atomic {
      TOUCH;
      if
      :: O[b] == x -> O[b] = OWNED(TAG(x), HANDLE)
      :: else
      fi;
      x = 0
    };
    atomic { hazard[a] = 0; goto again };

not_taken:
    hazard[a] = 0;
    forget(c, a);
    goto again;

free_own: /* scratch_free(): the span stays, as only we give it back */
    atomic {
      TOUCH;
      x = OWNED(g, c);
      g = 0;
      if
      :: O[b] == x -> O[b] = OWNED(TAG(x) + 1, 0); alive[b] = false; x = 0
      :: else -> x = 0; goto again
      fi;
      if
      :: using -> goto again
      :: else -> goto look
      fi
    };

free: /* block_find(), scratch_free(); of a handle's block: give_drop_refs() */
#ifdef HAZARD_LATE
    if
    :: IS_SMALL(W) || PHASE(W) == ORPHAN
    :: else -> goto again
    fi;
    hazard[a] = 1;
#else
#ifndef NO_HAZARD
    hazard[a] = 1;
#endif
    if
    :: IS_SMALL(W) || PHASE(W) == ORPHAN
    :: else -> goto settled
    fi;
#endif
    atomic {
      TOUCH;
      x = O[b];
      if
      :: g && TAG(x) == g && (WHO(x) == 1 || WHO(x) == 2)
      :: !g && WHO(x) == HANDLE
      :: else -> x = 0; goto settled
      fi;
      g = 0
    };
    free_block(b);
#ifndef NO_ORPHAN_LOOK
    release_orphan(c, a);
#endif

    /* stock_consider(): empty, its own, and not the one it takes from */
    if
    :: W == WORD(GEN(W), MINE, c) && !using
    :: else -> goto settled
    fi;
    goto look;

spare: /* reclaim_spare(): the same without a hazard */
    skip;
look:
    atomic {
      TOUCH;
      if
      :: WHO(O[0]) -> goto settled
      :: else
      fi
    };
#if BLOCKS > 1
    atomic {
      TOUCH;
      if
      :: WHO(O[1]) -> goto settled
      :: else
      fi
    };
#endif
#ifdef SMALL_SEEN
    q = 1 + SEEN(a);
#endif
    atomic { assert(W == WORD(GEN(W), MINE, c)); W = WORD(GEN(W), CLAIMED, c) };
    if
    :: goto release_own
    :: !hazard[a] -> /* taken for another size: reclaim_spare(), span_raise_floor() */
#ifndef SAME_FLOOR
       atomic {
         if
         :: TAG(O[0]) > floor -> floor = TAG(O[0])
         :: else
         fi;
         if
         :: TAG(O[BLOCKS - 1]) > floor -> floor = TAG(O[BLOCKS - 1])
         :: else
         fi
       };
#endif
       kept = 1;
       goto populate
    fi;
release_own:
    release(c, a);
settled:
    atomic { hazard[a] = 0; g = 0; goto again }
  } unless { dead[c] };
fin:
  atomic {
    ended[c]++;
    round = 0;
    w = 0;
    b = 0;
    x = 0;
    g = 0;
    h = 0;
    s = 0;
    using = false
  };
  atomic {
    lives[c] > life -> life = lives[c];
    if
    :: life <= LIVES -> goto alive_again
    :: else
    fi
  }
}

#define THREADS(c) ((c) == 1 -> ACTORS - 1 : 1)

/* Dead, or gone in good order, which comes to the same. */
inline next_life(c) {
  d_step {
    ended[c] = 0;
    lives[c]++;
    dead[c] = false
  }
}

proctype reaper() {
  byte c, w, b, x, a, q;
  bit h, s; /* what was in the hazard line: span_forget(), set_free() */

start:
  {
    do
    :: atomic {
         c = 0;
         reaping = 0;
         if
         :: lives[1] <= LIVES && ended[1] == THREADS(1) -> c = 1
         :: lives[2] <= LIVES && ended[2] == THREADS(2) -> c = 2
         :: lives[1] > LIVES && lives[2] > LIVES -> goto finished
         fi;
         reaping = c;
         a = c
       };

       /* reap_hazards(), block_resume_free() */
#ifndef NO_HAZARD_REAP
hazards:
       if
       :: atomic { hazard[a] -> w = W }
       :: atomic { !hazard[a] -> goto next_line }
       fi;
#ifndef REAP_BLIND
       if
       :: OWN(c) -> ledger[c] = 1
       :: else
       fi;
#endif
       if
       :: PHASE(w) == ORPHAN -> release_orphan(c, a)
       :: w == WORD(GEN(w), CLAIMED, c) -> w = 0; release(c, a)
       :: PHASE(w) == FREE -> mapped = 0
       :: else
       fi;
       atomic { hazard[a] = 0; w = 0 };
next_line:
#ifdef TWINS
       atomic {
         if
         :: a == 1 -> a = 3; goto hazards
         :: else
         fi
       };
#endif
#endif
       a = c;

       /* reap_span() */
       if
       :: atomic { !ledger[c] -> goto gone }
       :: atomic { ledger[c] -> w = W }
       fi;
       if
       :: w == WORD(GEN(w), CLAIMED, c) -> w = 0; hazard[a] = 1; release(c, a); hazard[a] = 0; goto clear
       :: PHASE(w) == ORPHAN -> w = 0; hazard[a] = 1; release_orphan(c, a); hazard[a] = 0; goto clear
       :: PHASE(w) == FREE -> w = 0; mapped = 0; goto clear
       :: IS_SMALL(w) && OWNER(w) == c -> w = 0
       :: else -> w = 0; goto clear
       fi;

       /* reap_small() */
       do
       :: atomic {
            TOUCH;
            x = O[b];
            if
            :: WHO(x) == 1 || WHO(x) == 2
            :: else -> x = 0; goto settled
            fi
          };
          free_block(b);
settled:
          atomic {
            b++;
            if
            :: b == BLOCKS -> b = 0; break
            :: else
            fi
          }
       od;
       atomic {
         TOUCH;
         if
         :: WHO(O[0]) -> goto used
         :: else
         fi
       };
#if BLOCKS > 1
       atomic {
         TOUCH;
         if
         :: WHO(O[1]) -> goto used
         :: else
         fi
       };
#endif
       W = WORD(GEN(W), CLAIMED, c);
       release(c, a);
       goto clear;
used:
       W = WORD(GEN(W), ORPHAN, 0);
       orphan = 1;
#ifndef NO_RELOOK
       hazard[a] = 1;
       release_orphan(c, a);
       hazard[a] = 0;
#endif
clear:
       ledger[c] = 0;
gone:
       atomic { next_life(c); reaping = 0 }
    od
  } unless { crashed };
  d_step { crashed = false; reaping = 0; c = 0; w = 0; b = 0; x = 0; a = 0; h = 0; s = 0 };
  goto start;

finished:
  atomic {
    assert(!ledger[1] && !ledger[2] && !hazard[1] && !hazard[2] && !hazard[ACTORS]);
    assert(PHASE(W) == FREE && !alive[0] && !alive[BLOCKS - 1] && !mapped && (!memory || kept) ||
           PHASE(W) == ORPHAN && memory && !NONE_USED)
  }
}

#define KILL(c) :: d_step { deaths < DEATHS && !dead[c] && ended[c] < THREADS(c) -> deaths++; dead[c] = true }

proctype death() {
end:
  do
  KILL(1)
  KILL(2)
  :: d_step { crashes < CRASHES && reaping -> crashes++; crashed = true }
  od
}

init {
  atomic {
    lives[1] = 1;
    lives[2] = 1;
    run thread(1, 0, 1);
    run thread(2, 0, 2);
#ifdef TWINS
    run thread(1, 1, 3);
#endif
    run reaper();
    run death()
  }
}
