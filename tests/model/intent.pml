/* SPDX-License-Identifier: MIT */

/*
 * Requests that the daemon carries out for a client, and its death: request.c, with as much of slot.c, scratch.c and give.c as it needs.
 *
 * A client asks for one thing after the other, and asks again with the same number when the daemon died before it answered. Another
 * client, which needs no daemon, opens and closes the same handle and frees the same block at any moment, also while no daemon
 * is there. The daemon may die between any two steps, also of its recovery.
 *
 * What must hold, at each answer:
 *   - the client's ledger word is the count of the references that it was told it has, the handle lives and its bit is set;
 *   - the block is whose the client was told it is, or the other client has freed it;
 *   - what must succeed did: opening and closing what it has, freeing and giving what it owns;
 *   - a free that recovery found undone succeeds by freeing. (One that was under way and whose block the other client freed before
 *     recovery is told as done: the words do not say who it was.)
 *
 * Mutants (-DNAME):
 *   NO_INTENT        recovery takes nothing for done
 *   ACT_AGAIN        a request that comes again is carried out again, although there is an outcome
 *   OUTCOME_EARLY    the outcome's number is stored before the thing is done
 *   OUTCOME_TORN     the outcome's number is stored before its value
 *   INTENT_TORN      the intent's number is stored before the rest
 *   TARGET_LATE      the target is noted after it was changed
 *   KEEP_IN_FLIGHT   recovery leaves an open that was under way as it is
 *   CLOSE_UNDONE     recovery finishes a close that was under way, and says that it was not done
 *   COUNT_IS_ALIVE   recovery takes a new handle whose word counts for LIVE
 *   KEEP_PIN         recovery does not give back the reference that a give takes
 *   KEEP_ENTRY       recovery leaves the entry of a give that was under way
 *   NO_WITHDRAWAL    an intent that was found undone stays
 */

#include "common.inc"

#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef OTHERS
#define OTHERS 1 /* rounds of the other client */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

/* The ledger word: generation, IN_FLIGHT, RESERVED, count. */
#define LEDGER(gen, rest) ((gen) * 16 + (rest))
#define IN_FLIGHT(w)      ((w) & 8)
#define IS_RESERVED(w)    ((w) & 4)
#define COUNT(w)          ((w) & 3)

/* The block's owner word: tag, and who: nobody (0), the client, the handle. */
#define OWNED(tag, who) ((tag) * 4 + (who))
#define TAG(w)          ((w) / 4)
#define WHO(w)          ((w) % 4)
#define HANDLE          2

#define NEW     1
#define OPEN    2
#define CLOSE   3
#define SCRATCH 4
#define FREEING 5
#define GIVE    6

byte S = WORD(1, FREE, 0);
byte H, L;
byte O = OWNED(1, 0);
bit R;                     /* the entry of the handle: this block, given by this client */

/* The client's entry. */
byte in_seq, in_op, in_handle, in_block, in_target, in_old, in_owner;
byte out_seq, out_value;
bool out_failed;

/* The request on its way, which stays until it is answered. */
byte seq, op, handle, block, answered, value;
bool failed;

bool crashed, over;
byte crashes;

/* Not in memory. */
byte published;
byte refs, have;           /* references that the client was told it has, and to which generation */
byte own;                  /* the tag of the block that it was told it has */
bool freed_by_other, acted, undone;

inline check_gone() {
  assert(!(H & 2))
}

inline bury() {
  if
  :: R ->
     atomic {
       if
       :: WHO(O) == HANDLE -> O = OWNED(TAG(O) + 1, 0)
       :: else
       fi
     };
     R = 0
  :: else
  fi;
  S = WORD(GEN(S) + 1, FREE, 0)
}

#include "destroy.inc"

/* slot_abandon() */
inline abandon() {
  if
  :: R && WHO(O) != HANDLE -> R = 0
  :: else
  fi;
  H = H & ~1;
  atomic {
    if
    :: PHASE(S) == DYING && OWNER(S) == 1 -> S = WORD(GEN(S), LIVE, 0)
    :: else
    fi
  };
  if
  :: PHASE(S) == RESERVED && OWNER(S) == 1 -> S = WORD(GEN(S) + 1, FREE, 0)
  :: PHASE(S) == DEAD && OWNER(S) == 1 -> bury()
  :: PHASE(S) == LIVE -> destroy_unheld(1)
  :: else
  fi;
  L = 0
}

#define IS_ALIVE(g) (GEN(S) == (g) && (PHASE(S) == LIVE || PHASE(S) == DYING))

proctype daemon() {
  byte w, l, x, v;
  bool bad;

start:
  {
    /* request_recover() */
    if
    :: in_seq == out_seq -> goto serve
    :: in_seq == out_seq + 1
    fi;
#ifdef NO_INTENT
    goto was_not;
#endif
    if
    :: in_op == NEW && !in_target -> goto was_not
    :: in_op == NEW && in_target ->
       atomic {
         l = L;
         v = l / 16;
         if
         :: !l -> goto was_not
#ifdef COUNT_IS_ALIVE
         :: COUNT(l) -> goto was_done
#else
         :: COUNT(l) && IS_ALIVE(v) -> goto was_done
#endif
         :: else
         fi
       };
       abandon();
       goto was_not
    :: in_op == OPEN ->
       atomic {
         l = L;
         if
         :: IN_FLIGHT(l)
         :: !IN_FLIGHT(l) && l != in_old && l / 16 == in_handle && IS_ALIVE(in_handle) -> goto was_done
         :: else -> goto was_not
         fi
       };
#ifndef KEEP_IN_FLIGHT
       abandon();
#endif
       goto was_not
    :: in_op == CLOSE ->
       atomic {
         l = L;
         if
         :: l == in_old -> goto was_not
         :: IN_FLIGHT(l)
         :: else -> goto was_done
         fi
       };
       abandon();
#ifdef CLOSE_UNDONE
       goto was_not
#else
       goto was_done
#endif
    :: in_op == SCRATCH ->
       atomic {
         v = in_target;
         if
         :: in_target && O == OWNED(in_target, 1) -> goto was_done
         :: else -> goto was_not
         fi
       }
    :: in_op == FREEING ->
       if
       :: WHO(in_owner) == 1 && O != in_owner -> goto was_done
       :: else -> goto was_not
       fi
    :: in_op == GIVE ->
       atomic {
         x = O;
         l = L;
         if
         :: !COUNT(in_old) || !l -> goto was_not
         :: else
         fi
       };
#ifndef KEEP_ENTRY
       if
       :: R && WHO(O) != HANDLE -> R = 0
       :: else
       fi;
#endif
#ifndef KEEP_PIN
       if
       :: l == in_old + 1 -> L = in_old
       :: else
       fi;
#endif
       if
       :: WHO(in_owner) == 1 && WHO(x) == HANDLE && TAG(x) == in_block -> goto was_done
       :: else -> goto was_not
       fi
    fi;

was_done:
    atomic { bad = false; l = 0; x = 0; goto outcome };
was_not:
    atomic {
#ifndef NO_WITHDRAWAL
      in_seq = out_seq;
#endif
      undone = true;
      l = 0;
      x = 0;
      v = 0
    };

serve:
    do
    :: atomic { seq == answered -> (seq != answered || over); w = 0; l = 0; x = 0; v = 0; bad = false };
       if
       :: over -> goto finished
       :: else
       fi
    :: atomic {
         seq != answered;
#ifndef ACT_AGAIN
         if
         :: seq == out_seq -> goto reply
         :: else
         fi
#endif
       };

       /* write_intent() */
#ifdef INTENT_TORN
       in_seq = seq;
#endif
       atomic { in_op = op; in_handle = handle; in_block = block; in_target = 0; in_old = L; in_owner = (TAG(O) == block -> O : 0) };
       atomic { in_seq = seq; undone = false };
#ifdef OUTCOME_EARLY
       atomic { out_failed = false; out_value = 0 };
       out_seq = seq;
#endif

       if
       :: op == NEW -> goto new
       :: op == OPEN -> goto open
       :: op == CLOSE -> goto close
       :: op == SCRATCH -> goto scratch
       :: op == FREEING -> goto free
       :: op == GIVE -> goto give
       fi;

new: /* try_reserve(), slot_publish() */
       if
       :: L -> goto fail
       :: else
       fi;
#ifndef TARGET_LATE
       in_target = 1;
#endif
       L = LEDGER(0, 4);
#ifdef TARGET_LATE
       in_target = 1;
#endif
       atomic {
         if
         :: PHASE(S) == FREE -> S = WORD(GEN(S), RESERVED, 1)
         :: else -> goto settle
         fi
       };
       H = H | 1;
       atomic { v = GEN(S); L = LEDGER(v, 1) };
       atomic { S = WORD(v, LIVE, 0); goto succeed };

settle:
       L = 0;
       goto fail;

open: /* slot_open(), open_first(), take() */
       atomic {
         l = L;
         if
         :: !l -> L = LEDGER(handle, 8)
         :: l && l / 16 == handle && COUNT(l) && COUNT(l) < 2 -> L = l + 1; goto succeed
         :: else -> goto fail
         fi
       };
       if
       :: GEN(S) != handle -> goto settle
       :: else
       fi;
       H = H | 1;
       atomic {
         if
         :: IS_ALIVE(handle) -> S = WORD(handle, LIVE, 0)
         :: else -> goto failed_open
         fi
       };
       atomic { L = LEDGER(handle, 1); goto succeed };
failed_open:
       H = H & ~1;
       destroy_unheld(1);
       goto settle;

close: /* slot_close(), drop() */
       atomic {
         l = L;
         if
         :: !COUNT(l) || l / 16 != handle -> goto fail
         :: COUNT(l) > 1 -> L = l - 1; goto succeed
         :: else -> L = LEDGER(handle, 8)
         fi
       };
       H = H & ~1;
       destroy_unheld(1);
       atomic { L = 0; goto succeed };

scratch: /* alloc_small() */
       atomic {
         x = O;
         if
         :: WHO(x) -> goto fail
         :: else -> v = TAG(x)
         fi
       };
#ifndef TARGET_LATE
       in_target = v;
#endif
       O = OWNED(v, 1);
#ifdef TARGET_LATE
       in_target = v;
#endif
       goto succeed;

free: /* scratch_free() */
       atomic {
         x = O;
         if
         :: x == OWNED(block, 1)
         :: else -> goto fail
         fi
       };
       atomic {
         if
         :: O == x -> O = OWNED(TAG(x) + 1, 0); acted = true; goto succeed
         :: else -> goto fail
         fi
       };

give: /* give_block(), give_pinned() */
       atomic {
         l = L;
         if
         :: COUNT(l) && COUNT(l) < 3 && l / 16 == handle
         :: else -> goto fail
         fi
       };
       atomic {
         x = O;
         if
         :: x == OWNED(block, 1)
         :: else -> goto fail
         fi
       };
       L = l + 1;
       atomic {
         if
         :: !R -> R = 1
         :: else -> bad = true; goto unpin
         fi
       };
       atomic {
         if
         :: O == x -> O = OWNED(block, HANDLE); goto unpin
         :: else -> bad = true
         fi
       };
       R = 0;
unpin:
       L = l;
       goto outcome;

fail:
       bad = true;
succeed:
       skip;

outcome: /* write_outcome() */
#ifdef OUTCOME_TORN
       out_seq = in_seq;
#endif
       atomic { out_value = v; out_failed = bad };
       atomic { out_seq = in_seq; w = 0; l = 0; x = 0; v = 0; bad = false };
reply:
       atomic {
         if
         :: seq == out_seq -> value = out_value; failed = out_failed; answered = seq
         :: else
         fi
       }
    od
  } unless { crashed };
  d_step { crashed = false; w = 0; l = 0; x = 0; v = 0; bad = false };
  goto start;

finished:
  skip
}

/* The client that asks. */
proctype client() {
  byte round;

  do
  :: atomic {
       round < ROUNDS -> round++;
       handle = 0;
       block = 0;
       acted = false;
       undone = false;
       if
       :: !refs -> op = NEW
       :: !refs && published -> op = OPEN; handle = published
       :: refs && refs < 2 -> op = OPEN; handle = have
       :: refs -> op = CLOSE; handle = have
       :: !own -> op = SCRATCH; freed_by_other = false
       :: own -> op = FREEING; block = own
       :: own && refs -> op = GIVE; block = own; handle = have
       fi;
       seq++
     };
     atomic {
       answered == seq;
       if
       :: op == NEW && !failed -> refs = 1; have = value; published = value
       :: op == OPEN && !failed -> refs++; have = handle
       :: op == CLOSE && !failed -> refs--
       :: op == SCRATCH && !failed -> own = value
       :: op == FREEING && !failed -> own = 0; assert(acted || !undone)
       :: op == GIVE && !failed -> own = 0; assert(O == OWNED(block, HANDLE) && R)
       :: failed ->
          assert(op != CLOSE && (op != OPEN || !refs));
          assert(op != FREEING && op != GIVE || freed_by_other || op == GIVE && R && WHO(O) == HANDLE)
       fi;
       assert(!refs && !L || refs && L == LEDGER(have, refs) && S == WORD(have, LIVE, 0) && (H & 1));
       assert(own && O == OWNED(own, 1) || own && freed_by_other || !own && WHO(O) != 1);
       assert(!R || WHO(O) == HANDLE);
       failed = false;
       value = 0
     }
  :: round == ROUNDS -> break
  od;
  over = true
}

/* The other client: each thing in one step. */
proctype other() {
  byte round;

  do
  :: atomic {
       round < OTHERS && published && !(H & 2) && IS_ALIVE(published) -> H = H | 2; S = WORD(published, LIVE, 0); round++
     }
  :: atomic {
       H & 2 -> H = H & ~2;
       if
       :: PHASE(S) == LIVE && !H ->
          if
          :: R && WHO(O) == HANDLE -> O = OWNED(TAG(O) + 1, 0)
          :: else
          fi;
          R = 0;
          S = WORD(GEN(S) + 1, FREE, 0)
       :: else
       fi
     }
  :: atomic { round < OTHERS && own && O == OWNED(own, 1) -> O = OWNED(own + 1, 0); freed_by_other = true; round++ }
  :: over -> break
  od
}

proctype death() {
end:
  do
  :: d_step { crashes < CRASHES && !crashed && !over -> crashes++; crashed = true }
  od
}

init {
  atomic {
    run daemon();
    run client();
    run other();
    run death()
  }
}
