/* SPDX-License-Identifier: MIT */

/*
 * A block that its client's own thread frees by plain stores, and who else comes to free it or to give it away: scratch_free(),
 * block_visit(), adopt_span(), expect_nobody() of scratch.c, block.c and stock.c.
 *
 * There is one span with one block, and its life is that of span.pml. Two clients take the span and the block, free the block by
 * plain stores that others see late (tso.inc), and release the span or take it anew. The first one may give the block to a handle, and so
 * does another thread of it; others come to free the block, and to end the handle. The first two die at any step and the reaper
 * comes, before they go in good order, which comes to the same.
 *
 * What must hold:
 *   - of all that free a block or give it away one succeeds, and nothing that another one wrote is overwritten by a plain store;
 *   - whose block somebody else was seen freeing is freed;
 *   - nobody touches owner words whose memory is gone;
 *   - at the end nobody is said to be freeing, and no block lives but in an ORPHAN.
 *
 * Mutants (-DNAME):
 *   NO_FREEING        who frees plainly does not say what
 *   LOOK_FIRST        who frees plainly looks for visitors before it says what
 *   DONE_FIRST        who frees plainly says that it is done before it is
 *   NO_BARRIER        a visitor passes no barrier
 *   NOT_EXPECTED      a visitor says nothing before the barrier
 *   SEEN_FIRST        a visitor says all before the barrier
 *   VISIT_BLIND       a visitor does not look at what is being freed
 *   RESET_BLIND       who takes the span anew expects nobody, whoever still looks at it
 *   ADOPT_NO_HAZARD   who wants to adopt the span announces nothing
 *   REAP_KEEPS        the reaper leaves what a dead client was freeing
 */

#include "common.inc"

#ifndef ROUNDS
#define ROUNDS 4 /* steps of the first client: taking the block, freeing it, giving the span back */
#endif
#ifndef OTHERS
#define OTHERS 2 /* of the second one */
#endif
#ifndef VISITS
#define VISITS 1
#endif
#ifndef GIVES
#define GIVES 1 /* of the first client's other thread; 0: there is none, and one more visitor */
#endif
#ifndef LIVES
#define LIVES 1 /* of the first client */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define BUFFERS 3 /* of the clients 1 and 2; 0 has none */

#define BLOCK   1
#define FREEING 2

/* The span's word: use, state, client. */
#define CLAIMED 1
#define SMALL   2
#define ORPHAN  3

/* The block's owner word, as in span.pml. */
#define OWNED(tag, who) ((tag) * 8 + (who))
#define TAG(w)          ((w) / 8)
#define WHO(w)          ((w) % 8)
#define HANDLE          4

#define EXPECTED 1
#define SEEN     2

byte W = WORD(1, FREE, 0);
bit orphan;
byte floor;
bit kept, memory;
byte O, visitors;
byte freeing[3];
bit hazard[5]; /* of clients 1 and 2, the first one's other thread or a visitor, a visitor */

bool dead[3], gone[3], twin_ended;
byte ended, deaths;

/* Not in memory. */
byte index;  /* the tag of the last index that was handed out */
byte living; /* of the block, from when it is taken until somebody decides that it is free */
bool given;

#define TOUCH assert(memory)
#define LOOKED_AT(h) (hazard[1] && (h) != 1 || hazard[2] && (h) != 2 || hazard[3] && (h) != 3 || hazard[4] && (h) != 4)

inline arrived(p, where, what) {
  if
  :: where == BLOCK ->
     TOUCH;
     assert(WHO(what) && !WHO(O) || !WHO(what) && O == OWNED(TAG(what) - 1, p));
     O = what;
     if
     :: WHO(what) -> index = TAG(what)
     :: else
     fi
  :: where == FREEING -> freeing[p] = what
  fi
}
#define ARRIVE(p, where, what) arrived(p, where, what)

#include "tso.inc"

/* Somebody frees the block with that tag: decides it, or has done it. */
inline freed(tag, of_handle) {
  assert(living == (tag) && given == (of_handle));
  living = 0;
  given = false
}

/* span_release(), by the one who CLAIMED it. */
inline release(h) {
  atomic {
    assert(PHASE(W) == CLAIMED && !living);
    if
    :: TAG(O) > floor -> floor = TAG(O)
    :: else
    fi;
    kept = 1
  };
  if
  :: LOOKED_AT(h)
  :: !LOOKED_AT(h) -> atomic { memory = 0; O = 0; visitors = 0; kept = 0 }
  fi;
  W = WORD(GEN(W) + 1, FREE, 0)
}

/* block_release_orphan() */
inline release_orphan(h) {
  w = W;
  if
  :: PHASE(w) == ORPHAN ->
     if
     :: atomic { !WHO(O) -> TOUCH };
        atomic {
          if
          :: W == w -> W = WORD(GEN(w), CLAIMED, 3)
          :: else -> goto settled
          fi
        };
        release(h)
     :: WHO(O)
     fi
  :: PHASE(w) != ORPHAN
  fi;
  w = 0
}

proctype owner(byte c) {
  byte round, w, o;
  byte tag; /* of our block */
  byte life = 1;
  bool using;

alive_again:
  {
    skip;
next:
    atomic {
      w = 0;
      o = 0;
      if
      :: round == (c == 1 -> ROUNDS : OTHERS) -> goto fin
      :: else -> round++
      fi;
      if
      :: using && tag -> goto free
      :: using && tag && c == 1 -> goto give
      :: using && !tag -> goto take
      :: using && !tag -> goto give_back
      :: !using && W == WORD(GEN(W), FREE, 0) -> goto claim
      :: !using && orphan -> goto adopt
      :: !using && !orphan && PHASE(W) != FREE -> goto next
      fi
    };

claim:
    atomic {
      if
      :: PHASE(W) == FREE -> W = WORD(GEN(W), CLAIMED, c)
      :: else -> goto next
      fi
    };
    memory = 1;
populate:
    if
    :: kept -> atomic { TOUCH; O = 0; kept = 0 }
    :: !kept
    fi;
    /* expect_nobody() */
#ifdef RESET_BLIND
    visitors = 0;
#else
    if
    :: visitors ->
       if
       :: LOOKED_AT(c)
       :: !LOOKED_AT(c) -> visitors = 0
       fi
    :: !visitors
    fi;
#endif
    atomic { W = WORD(GEN(W), SMALL, c); using = true; goto next };

adopt:
    atomic {
      if
      :: orphan -> orphan = 0
      :: else -> goto next
      fi
    };
#ifndef ADOPT_NO_HAZARD
    hazard[c] = 1;
#endif
    atomic {
      w = W;
      if
      :: PHASE(w) == ORPHAN
      :: else -> goto not_taken
      fi
    };
    atomic { TOUCH; visitors = visitors | EXPECTED };
    atomic {
      if
      :: W == w -> W = WORD(GEN(w) + 1, SMALL, c); using = true
      :: else
      fi
    };
not_taken:
    atomic { hazard[c] = 0; goto next };

take: /* alloc_small() */
    atomic {
      TOUCH;
      o = READ(c, BLOCK, O);
      if
      :: WHO(o) -> goto next
      :: else
      fi
    };
    atomic {
      ROOM(c) ->
      assert(!living);
      tag = (o -> TAG(o) : floor + 1);
      living = tag;
      put(c, BLOCK, OWNED(tag, c));
      goto next
    };

free: /* scratch_free() */
    skip;
#ifdef LOOK_FIRST
    atomic { TOUCH; w = visitors };
#endif
#ifndef NO_FREEING
    atomic { ROOM(c) -> put(c, FREEING, tag) };
#endif
#ifndef LOOK_FIRST
    atomic { TOUCH; w = visitors };
#endif
    atomic {
      TOUCH;
      o = READ(c, BLOCK, O);
      if
      :: w || o != OWNED(tag, c) -> w = 0; goto free_any
      :: else
      fi
    };
#ifdef DONE_FIRST
    atomic { ROOM(c) -> put(c, FREEING, 0) };
#endif
    atomic {
      ROOM(c) ->
      freed(tag, false);
      put(c, BLOCK, OWNED(tag + 1, 0));
      tag = 0
    };
#ifndef DONE_FIRST
    atomic { ROOM(c) -> put(c, FREEING, 0) };
#endif
    goto next;

free_any:
    atomic { ROOM(c) -> put(c, FREEING, 0) };
    atomic {
      EMPTY(c) ->
      TOUCH;
      if
      :: O == OWNED(tag, c) -> O = OWNED(tag + 1, 0); freed(tag, false)
      :: else
      fi;
      tag = 0;
      goto next
    };

give: /* give_pinned(), of its own block: no visit */
    atomic {
      EMPTY(c) ->
      TOUCH;
      if
      :: O == OWNED(tag, c) -> assert(living == tag && !given); given = true; O = OWNED(tag, HANDLE)
      :: else
      fi;
      tag = 0;
      goto next
    };

give_back: /* stock_consider(), reclaim_spare() */
    atomic {
      TOUCH;
      if
      :: WHO(READ(c, BLOCK, O)) -> goto next
      :: else
      fi
    };
    atomic { EMPTY(c) -> W = WORD(GEN(W), CLAIMED, c); using = false };
    if
    :: release(c)
    :: atomic {
         if
         :: TAG(O) > floor -> floor = TAG(O)
         :: else
         fi;
         kept = 1;
         goto populate
       }
    fi;
    goto next
  } unless { dead[c] };
fin:
  atomic { dead[c] = true; w = 0; o = 0; tag = 0; using = false; round = 0 };
  atomic {
    gone[c] ->
    if
    :: c == 1 && life < LIVES -> life++; gone[1] = false; dead[1] = false; goto alive_again
    :: else -> ended++
    fi
  }
}

/* The first client's other thread, if there is one, and others, who come for whatever is there. */
#define TWIN (h == 3 && GIVES)

proctype visitor(byte h) {
  byte round, w, x, g;

  {
    skip;
again:
    atomic {
      w = 0;
      x = 0;
      g = 0;
      if
      :: round == (TWIN -> GIVES : VISITS) -> goto fin
      :: else -> round++
      fi;
      if
      :: index -> g = index
      :: index > 1 -> g = index - 1
      :: !TWIN && WHO(O) == HANDLE
      :: dead[1] && dead[2] -> goto fin
      fi
    };
    hazard[h] = 1;
    atomic {
      w = W;
      if
      :: PHASE(w) == SMALL || PHASE(w) == ORPHAN
      :: else -> goto settled
      fi
    };
    atomic {
      TOUCH;
      x = O;
      if
      :: g && TAG(x) == g && WHO(x) == 1
      :: g && TAG(x) == g && WHO(x) == 2 && !TWIN
      :: !g && WHO(x) == HANDLE
      :: else -> goto settled
      fi
    };

    /* block_visit() */
    if
    :: PHASE(w) == SMALL && WHO(x) != HANDLE ->
       if
       :: visitors & SEEN
       :: !(visitors & SEEN) ->
#ifdef SEEN_FIRST
          atomic { TOUCH; visitors = visitors | EXPECTED | SEEN };
#else
#ifndef NOT_EXPECTED
          atomic { TOUCH; visitors = visitors | EXPECTED };
#endif
#endif
#ifndef NO_BARRIER
          d_step { drain(1); drain(2); skip };
#endif
          atomic { TOUCH; visitors = visitors | SEEN }
       fi;
#ifndef VISIT_BLIND
       if
       :: freeing[OWNER(w)] == TAG(x) -> goto settled
       :: freeing[OWNER(w)] != TAG(x)
       fi
#endif
    :: else
    fi;
    atomic {
      TOUCH;
      if
      :: O == x && TWIN -> assert(living == TAG(x) && !given); given = true; O = OWNED(TAG(x), HANDLE); goto settled
      :: O == x && !TWIN -> freed(TAG(x), WHO(x) == HANDLE); O = OWNED(TAG(x) + 1, 0)
      :: O != x -> goto settled
      fi
    };
    release_orphan(h);
settled:
    atomic { hazard[h] = 0; goto again }
  } unless { TWIN && dead[1] };
fin:
  atomic {
    w = 0;
    x = 0;
    g = 0;
    round = 0;
    twin_ended = twin_ended || h == 3;
    ended++
  }
}

proctype processor() {
end:
  do
  :: d_step { !EMPTY(1) -> arrive(1) }
  :: d_step { !EMPTY(2) -> arrive(2) }
  od
}

proctype reaper() {
  byte c, w;

  do
  :: atomic {
       if
       :: dead[1] && !gone[1] && EMPTY(1) && (twin_ended || !GIVES) -> c = 1
       :: dead[2] && !gone[2] && EMPTY(2) -> c = 2
       :: ended == 4 -> break
       fi
     };
#ifndef REAP_KEEPS
     freeing[c] = 0;
#endif
     atomic {
       hazard[c] = 0;
       if
       :: c == 1 && GIVES -> hazard[3] = 0
       :: else
       fi
     };
     if
     :: W == WORD(GEN(W), SMALL, c) ->
        atomic {
          TOUCH;
          if
          :: WHO(O) == c -> freed(TAG(O), false); O = OWNED(TAG(O) + 1, 0)
          :: else
          fi
        };
        if
        :: atomic { WHO(O) -> W = WORD(GEN(W), ORPHAN, 0) };
           orphan = 1;
           hazard[c] = 1;
           release_orphan(c);
settled:
           hazard[c] = 0
        :: atomic { !WHO(O) -> W = WORD(GEN(W), CLAIMED, c) };
           release(c)
        fi
     :: W == WORD(GEN(W), CLAIMED, c) -> release(c)
     :: else
     fi;
     gone[c] = true
  od;
  assert(!freeing[1] && !freeing[2] && !LOOKED_AT(0));
  assert(PHASE(W) == FREE && !living || PHASE(W) == ORPHAN && living && given && memory)
}

#if DEATHS
proctype death() {
end:
  do
  :: d_step { deaths < DEATHS && !dead[1] -> dead[1] = true; deaths++ }
  :: d_step { deaths < DEATHS && !dead[2] -> dead[2] = true; deaths++ }
  od
}
#endif

init {
  atomic {
    run owner(1);
    run owner(2);
    run visitor(3);
    run visitor(4);
    run processor();
#if DEATHS
    run death();
#endif
    run reaper()
  }
}
