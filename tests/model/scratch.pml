/* SPDX-License-Identifier: MIT */

/*
 * Blocks, and handles that own them: scratch.c, give.c and block.c, with as much of slot.c as they need.
 *
 * Two clients make or open a handle. While they have it they take blocks, free blocks (also of others, also by an index that is
 * no longer good), and give blocks to the handle. Each may die between any two steps; the daemon that reaps may die, too.
 *
 * What must hold:
 *   - a block that was given to a handle is the handle's, and its entry names it, as long as the handle lives;
 *   - who frees by an index frees the block that this index was handed out for, and never the next one there; no index is handed out twice;
 *   - the entry of a giver that was reaped names a block that names it, or is empty: no entry is lost;
 *   - at the end all blocks are free and all entries empty.
 *
 * Mutants (-DNAME):
 *   REUSE        an entry that does not count (its block names another owner) may be taken by the next giver
 *   OWNER_FIRST  give writes the owner word first, then the entry
 *   ENTRY_FIRST  the end of a handle empties an entry before it frees the block
 *   NO_PIN       give takes no reference of its own to the handle
 *   NO_TAG       free compares who owns the block, and not the tag
 *   SAME_TAG     free leaves the tag as it is
 *   NO_GIVER     the reaper leaves a dead giver's entries alone
 *   ANY_GIVER    the reaper empties a dead giver's entries, also those that count
 *   NO_UNDO      a give that failed leaves its entry
 */

#include "common.inc"

#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef ENTRIES
#define ENTRIES 1
#endif
#ifndef ACTS
#define ACTS 1 /* of each client, while it has the handle */
#endif
#ifndef MORE
#define MORE 0 /* of the first client, beyond that */
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

/* A block's owner word: tag, and who: nobody (0), a client, or an entry of the slot. */
#define OWNED(tag, who) ((tag) * 8 + (who))
#define TAG(w)          ((w) / 8)
#define WHO(w)          ((w) % 8)
#define ENTRY(e)        (4 + (e))
#ifdef SAME_TAG
#define FREED(w) OWNED(TAG(w), 0)
#else
#define FREED(w) OWNED(TAG(w) + 1, 0)
#endif

/* A reference: block and giver; 0 is empty. */
#define REF(b, giver) (((b) + 1) * 4 + (giver))
#define BLOCK(ref)    ((ref) / 4 - 1)
#define GIVER(ref)    ((ref) % 4)

/* Only the client whose span it is in takes a block. */
#define HOME(b) (1 + (b) % 2)

byte S = WORD(1, FREE, 0);
byte H, L[3];
byte B[BLOCKS] = OWNED(1, 0);
byte R[ENTRIES];

bool dead[3], done[3], reaped[3], crashed;
byte reaping, deaths, crashes;

/* Not in memory, but what clients believe or were told. */
byte published;
byte index[BLOCKS];      /* the tag of the last index that was handed out */
byte given[BLOCKS];      /* the generation of the handle that owns it; 0: none */
byte given_to[BLOCKS];   /* and by which entry */

#define GOOD(b)                                                                                              \
  (!given[b] || GEN(S) != given[b] || PHASE(S) != LIVE ||                                                    \
   WHO(B[b]) == ENTRY(given_to[b]) && R[given_to[b]] != 0 && BLOCK(R[given_to[b]]) == (b))

inline check_given() { assert(GOOD(0) && GOOD(BLOCKS - 1)) }
inline check_gone() { skip }

/* block_free(), of the word `x`. */
inline free_block(b) {
  atomic {
    if
#ifdef NO_TAG
    :: WHO(B[b]) == WHO(x) ->
#else
    :: B[b] == x ->
#endif
       assert(TAG(B[b]) == TAG(x));
       B[b] = FREED(x);
       given[b] = 0
    :: else
    fi;
    x = 0
  }
}

/* DEAD and ours: give_drop_refs(), release(). */
inline bury() {
  do
  :: atomic {
       r = R[e];
       if
       :: r
       :: else -> goto next_ref
       fi
     };
#ifdef ENTRY_FIRST
     R[e] = 0;
#endif
     atomic {
       x = B[BLOCK(r)];
       if
       :: WHO(x) == ENTRY(e)
       :: else -> x = 0; goto empty_ref
       fi
     };
     free_block(BLOCK(r));
empty_ref:
     atomic { R[e] = 0; r = 0 };
next_ref:
     atomic {
       e++;
       if
       :: e == ENTRIES -> e = 0; break
       :: else
       fi
     }
  od;
  S = WORD(GEN(S) + 1, FREE, 0)
}

#include "destroy.inc"

#define LAST (ACTS + (c == 1 -> MORE : 0))

proctype client(byte c) {
  byte act, w, g, b, x, r, e;
  bool closed; /* another thread of this client closed the handle meanwhile */

  {
    if
    :: goto reserve
    :: published -> goto open
    fi;

reserve:
    L[c] = RES;
    atomic {
      if
      :: PHASE(S) == FREE -> S = WORD(GEN(S), RESERVED, c)
      :: else -> goto out
      fi
    };
    H = H | BIT(c);
    L[c] = HELD;
    atomic { S = WORD(GEN(S), LIVE, 0); published = GEN(S); goto have };

open:
    atomic { L[c] = FLY; g = published };
    H = H | BIT(c);
    atomic {
      if
      :: GEN(S) == g && (PHASE(S) == LIVE || PHASE(S) == DYING) -> S = WORD(g, LIVE, 0); g = 0
      :: else -> g = 0; goto drop
      fi
    };
    L[c] = HELD;

have:
    atomic {
      check_given();
      if
      :: goto close
      :: act < LAST -> act++
      fi;
      if
      :: b = 0
      :: BLOCKS > 1 -> b = BLOCKS - 1
      fi;
      if
      :: HOME(b) == c && WHO(B[b]) == 0 -> goto alloc
      :: index[b] -> g = index[b]; goto free
      :: index[b] > 1 -> g = index[b] - 1; goto free
      :: else -> goto have
      fi
    };

alloc: /* alloc_small(): no compare-and-swap */
    x = B[b];
    atomic {
      assert(WHO(B[b]) == 0 && TAG(x) > index[b]);
      B[b] = OWNED(TAG(x), c);
      index[b] = TAG(x);
      x = 0;
      if
      :: goto have
      :: goto give
      fi
    };

free: /* scratch_free() */
    atomic {
      x = B[b];
      if
      :: TAG(x) == g && (WHO(x) == 1 || WHO(x) == 2) -> g = 0
      :: else -> x = 0; g = 0; goto have
      fi
    };
    free_block(b);
    goto have;

give: /* give_block() */
    atomic {
      x = B[b];
      if
      :: WHO(x) != c -> x = 0; goto have
      :: else
      fi
    };
#ifdef OWNER_FIRST
    atomic {
      if
      :: B[b] == x -> B[b] = OWNED(TAG(x), ENTRY(0)); x = 0
      :: else -> x = 0; goto have
      fi
    };
    atomic {
      if
      :: R[0] == 0 -> R[0] = REF(b, c); given[b] = GEN(S); given_to[b] = 0
      :: else -> B[b] = FREED(B[b])
      fi
    };
    goto have;
#endif
    do
    ::
#ifdef REUSE
       r = R[e];
       if
       :: r && WHO(B[BLOCK(r)]) == ENTRY(e) -> goto next
       :: else
       fi;
#endif
       atomic {
         if
         :: R[e] == r -> R[e] = REF(b, c); r = 0; break
         :: else
         fi
       };
next:
       atomic {
         r = 0;
         e++;
         if
         :: e == ENTRIES -> e = 0; x = 0; goto have
         :: else
         fi
       }
    od;
    atomic {
      if
#ifdef NO_PIN
      :: closed = true; goto close
#else
      :: closed = true
#endif
      :: true
      fi
    };
given_up:
    atomic {
      if
      :: B[b] == x -> B[b] = OWNED(TAG(x), ENTRY(e)); given[b] = GEN(S); given_to[b] = e; x = 0; e = 0; goto unpin
      :: else -> x = 0
      fi
    };
#ifndef NO_UNDO
    atomic {
      if
      :: R[e] == REF(b, c) -> R[e] = 0
      :: else
      fi;
      e = 0
    };
#endif
unpin:
    if
    :: closed
    :: else -> goto have
    fi;

close:
    L[c] = FLY;
drop:
    H = H & ~BIT(c);
    destroy_unheld(c);
out:
    L[c] = NONE;
#ifdef NO_PIN
    if
    :: closed && x -> goto given_up
    :: else
    fi;
#endif
    goto fin
  } unless { dead[c] };
  goto end;
fin:
  done[c] = true;
end:
  skip
}

proctype reaper() {
  byte w, b, x, r, e;

restart:
  {
    do
    :: atomic {
         if
         :: (dead[1] || done[1]) && !reaped[1] -> reaping = 1
         :: (dead[2] || done[2]) && !reaped[2] -> reaping = 2
         :: reaped[1] && reaped[2] -> goto finished
         fi;
         if
         :: L[reaping] == NONE -> goto blocks
         :: else
         fi
       };

       /* give_drop_unused_refs() */
#ifndef NO_GIVER
       do
       :: atomic {
            r = R[e];
            if
            :: r && GIVER(r) == reaping
            :: else -> goto next
            fi
          };
#ifndef ANY_GIVER
          if
          :: WHO(B[BLOCK(r)]) == ENTRY(e) -> goto next
          :: else
          fi;
#endif
          atomic {
            if
            :: R[e] == r -> R[e] = 0
            :: else
            fi
          };
next:
          atomic {
            r = 0;
            e++;
            if
            :: e == ENTRIES -> e = 0; break
            :: else
            fi
          }
       od;
#endif
       H = H & ~BIT(reaping);
       atomic {
         if
         :: PHASE(S) == DYING && OWNER(S) == reaping -> S = WORD(GEN(S), LIVE, 0)
         :: else
         fi
       };
       atomic {
         w = S;
         if
         :: PHASE(w) == RESERVED && OWNER(w) == reaping -> w = 0; goto unreserve
         :: PHASE(w) == DEAD && OWNER(w) == reaping -> w = 0
         :: PHASE(w) == LIVE -> w = 0; goto unheld
         :: else -> w = 0; goto clear
         fi
       };
       bury();
       goto clear;
unreserve:
       S = WORD(GEN(S) + 1, FREE, 0);
       goto clear;
unheld:
       destroy_unheld(reaping);
clear:
       L[reaping] = NONE;

blocks: /* reap_small() */
       do
       :: atomic {
            check_given();
            x = B[b];
            if
            :: WHO(x) == reaping
            :: else -> x = 0; goto next_block
            fi
          };
          free_block(b);
next_block:
          atomic {
            b++;
            if
            :: b == BLOCKS -> b = 0; break
            :: else
            fi
          }
       od;
       atomic {
         do
         :: e < ENTRIES ->
            assert(PHASE(S) == DEAD || R[e] == 0 || GIVER(R[e]) != reaping || WHO(B[BLOCK(R[e])]) == ENTRY(e));
            e++
         :: else -> e = 0; break
         od;
         reaped[reaping] = true;
         reaping = 0
       }
    od
  } unless { crashed };
  d_step { crashed = false; reaping = 0; w = 0; b = 0; x = 0; r = 0; e = 0 };
  goto restart;

finished:
  assert(PHASE(S) == FREE && !H && !L[1] && !L[2] && !R[0] && !R[ENTRIES - 1] && !WHO(B[0]) && !WHO(B[BLOCKS - 1]))
}

#define KILL(c) :: d_step { deaths < DEATHS && !dead[c] && !done[c] -> deaths++; dead[c] = true }

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
    run client(1);
    run client(2);
    run reaper();
    run death()
  }
}
