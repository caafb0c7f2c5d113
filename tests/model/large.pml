/* SPDX-License-Identifier: MIT */

/*
 * Large blocks, which are runs of whole spans: span_claim_run(), publish_large(), block_release_large(), and the reaper.
 *
 * Two clients claim runs of two of three spans, wherever they begin, and free any block that there is, also the other's. Each may die
 * between any two steps, and so may the daemon that reaps, which gives spans back one by one.
 *
 * What must hold:
 *   - a living block has all its spans, and nobody else has one of them;
 *   - who gives a span back has it, and between two calls nobody has a span that is in no block;
 *   - of two frees of a block one succeeds;
 *   - at the end all spans are FREE and can be found, no ledger bit and no hazard is left.
 *
 * Mutants (-DNAME):
 *   HEAD_FIRST     a free gives back the head first, then the others
 *   NO_FREEING     a free makes the block FREE at once, and nothing says who gives the spans back
 *   NO_HAZARD      who frees announces nothing, so nothing leads the reaper to it
 *   RUN_FIRST      the run is lowered before the others are given back
 *   ANY_OTHER      a release that is done again gives back what is there, whoever has it now
 *   NO_ROLLBACK    a claim that failed half-way keeps what it got
 *   BIT_LATE       a claim sets the ledger bit when it has the span
 *   JOIN_FIRST     the others are joined, and their bits cleared, before the head says LARGE
 *   OWNER_LATE     the head says LARGE before its owner word is written
 *   NOT_AGAIN      the reaper takes a block that is FREEING for one that somebody else gives back
 *   HINT_LATE      a release clears the hint after the ledger bit
 *   HINT_LOST      a release that is done again leaves the hint of a FREE span as it is
 */

#define BIT(s) (1 << (s))

#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef MORE
#define MORE 0
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#define SPANS 3
#define RUN   2

/* A span's word: incarnation, state, client, head. */
#define WORD(inc, state, client, head) ((inc) * 64 + (state) * 16 + (client) * 4 + (head))
#define INC(w)                         ((w) / 64)
#define STATE(w)                       ((w) / 16 % 4)
#define CLIENT(w)                      ((w) / 4 % 4)
#define HEAD(w)                        ((w) % 4)
#define FREE                           0
#define CLAIMED                        1
#define LARGE                          2
#define CONT                           3

/* The block's owner word: tag, kind, client. */
#define OWNER(tag, kind, client) ((tag) * 16 + (kind) * 4 + (client))
#define TAG(w)                   ((w) / 16)
#define KIND(w)                  ((w) / 4 % 4)
#define WHO(w)                   ((w) % 4)
#define OWNED                    1
#define FREEING                  2

short W[SPANS];     /* words */
byte extent[SPANS];
byte O[SPANS];      /* the first owner word of each span */
byte mapped;        /* the map of hints: not FREE */
byte ledger[3];     /* span bits */
byte hazard[3];     /* span plus one */

bool dead[3], done[3], reaped[3], crashed;
byte deaths, crashes, reaping;

/* Not in memory. */
byte block_of[SPANS]; /* the living block that has the span: its head plus one */
byte told[SPANS];     /* the tag of the index that its taker was given */

/* set_free() */
inline set_free(c, s) {
  atomic {
    assert(STATE(W[s]) == CLAIMED && CLIENT(W[s]) == c && !block_of[s]);
    h = hazard[c];
    if
    :: !h -> hazard[c] = s + 1
    :: else
    fi
  };
  extent[s] = 0;
  W[s] = WORD(INC(W[s]) + 1, FREE, 0, 0);
#ifdef HINT_LATE
  ledger[c] = ledger[c] & ~BIT(s);
  hazard[c] = h;
  mapped = mapped & ~BIT(s);
#else
  mapped = mapped & ~BIT(s);
  /* span_forget() */
  atomic {
    if
    :: !h || h == s + 1 -> ledger[c] = ledger[c] & ~BIT(s)
    :: else
    fi
  };
  hazard[c] = h;
#endif
  h = 0
}

/* release_others(), span_release_run(): the spans of [b, e) that belong to the block. */
inline release_others(c, head) {
  do
  :: b < e ->
     atomic {
       w = W[b];
       if
#ifdef ANY_OTHER
       :: STATE(w) != FREE
#else
       :: (STATE(w) == CONT || STATE(w) == CLAIMED) && HEAD(w) == head
#endif
       :: STATE(w) == FREE -> goto again
       :: else -> goto next
       fi
     };
     atomic { W[b] = WORD(INC(w), CLAIMED, c, head); w = 0 };
     set_free(c, b);
     goto next;
again:
#ifndef HINT_LOST
     mapped = mapped & ~BIT(b);
#endif
next:
     atomic { w = 0; b++ }
  :: else -> b = 0; e = 0; break
  od
}

/* block_release_large(): FREEING by `c`, at most `n` spans; `more` says whether it has to be done again. */
inline release_large(c, head, n) {
  atomic {
    r = extent[head];
    if
    :: r < 1 || head + r > SPANS -> r = 1
    :: else
    fi
  };
  if
#ifdef HEAD_FIRST
  :: r > 1 && n > 1 ->
     W[head] = WORD(INC(W[head]), CLAIMED, c, head);
     set_free(c, head);
     atomic { b = head + 1; e = head + r };
     release_others(c, head)
#endif
  :: r > 1 ->
     atomic {
       b = (r - 1 > n -> head + r - n : head + 1);
       e = head + r;
       r = b - head
     };
#ifdef RUN_FIRST
     extent[head] = r;
#endif
     release_others(c, head);
     extent[head] = r;
     more = true
  :: r == 1 ->
     W[head] = WORD(INC(W[head]), CLAIMED, c, head);
     set_free(c, head);
     more = false
  fi;
  r = 0
}

#define LAST (ROUNDS + (c == 1 -> MORE : 0))
#define CLAIMS(s) (STATE(W[s]) == CLAIMED && CLIENT(W[s]) == c)

proctype client(byte c) {
  byte round, head, s, t, b, e, r, h, x;
  short w;
  bool more;

  {
    skip;
choose:
    atomic {
      assert(!CLAIMS(0) && !CLAIMS(1) && !CLAIMS(2));
      head = 0;
      s = 0;
      t = 0;
      if
      :: round == LAST -> goto fin
      :: else -> round++
      fi;
      if
      :: head = 0
      :: head = 1
      fi;
      s = head;
      if
      :: goto claim
      :: told[head] -> t = told[head]; goto free
      fi
    };

claim: /* claim_all(), span_claim(), span_take() */
    do
    :: atomic {
         w = W[s];
         if
         :: STATE(w) == FREE
         :: else -> w = 0; goto rollback
         fi
       };
       hazard[c] = s + 1;
#ifndef BIT_LATE
       ledger[c] = ledger[c] | BIT(s);
#endif
       atomic {
         if
         :: W[s] == w -> W[s] = WORD(INC(w), CLAIMED, c, head); w = 0
         :: else -> w = 0; goto lost
         fi
       };
       hazard[c] = 0;
#ifdef BIT_LATE
       ledger[c] = ledger[c] | BIT(s);
#endif
       mapped = mapped | BIT(s);
       atomic {
         s++;
         if
         :: s == head + RUN -> s = 0; goto publish
         :: else
         fi
       }
    od;

lost:
    ledger[c] = ledger[c] & ~BIT(s);
    hazard[c] = 0;
rollback: /* span_release_run() */
#ifdef NO_ROLLBACK
    goto choose;
#endif
    do
    :: atomic {
         if
         :: s == head -> goto choose
         :: else -> s--
         fi
       };
       set_free(c, s)
    od;

publish: /* publish_large(), join_run() */
    extent[head] = RUN;
#ifdef JOIN_FIRST
    W[head + 1] = WORD(INC(W[head + 1]), CONT, 0, head);
    ledger[c] = ledger[c] & ~BIT(head + 1);
#endif
#ifndef OWNER_LATE
    O[head] = OWNER(TAG(O[head]) + 1, OWNED, c);
#endif
    atomic {
      assert(CLIENT(W[head]) == c && STATE(W[head]) == CLAIMED && !block_of[head] && !block_of[head + 1]);
#ifndef JOIN_FIRST
      assert(CLIENT(W[head + 1]) == c && STATE(W[head + 1]) == CLAIMED && HEAD(W[head + 1]) == head);
#endif
      W[head] = WORD(INC(W[head]), LARGE, c, 0);
      block_of[head] = head + 1;
      block_of[head + 1] = head + 1
    };
#ifdef OWNER_LATE
    O[head] = OWNER(TAG(O[head]) + 1, OWNED, c);
#endif
#ifndef JOIN_FIRST
    W[head + 1] = WORD(INC(W[head + 1]), CONT, 0, head);
    ledger[c] = ledger[c] & ~BIT(head + 1);
#endif
    atomic { told[head] = TAG(O[head]); goto choose };

free: /* block_find(), free_large() */
#ifndef NO_HAZARD
    hazard[c] = head + 1;
#endif
    if
    :: STATE(W[head]) == LARGE
    :: else -> goto settled
    fi;
    atomic {
      x = O[head];
      if
      :: TAG(x) == t && KIND(x) == OWNED
      :: else -> x = 0; goto settled
      fi
    };
    atomic {
      if
#ifdef NO_FREEING
      :: O[head] == x -> O[head] = OWNER(TAG(x) + 1, 0, 0)
#else
      :: O[head] == x -> O[head] = OWNER(TAG(x) + 1, FREEING, c)
#endif
      :: else -> x = 0; goto settled
      fi;
      assert(block_of[head] == head + 1 && block_of[head + 1] == head + 1);
      block_of[head] = 0;
      block_of[head + 1] = 0;
      x = 0
    };
    do
    :: release_large(c, head, SPANS);
       if
       :: more -> more = false
       :: else -> break
       fi
    od;
settled:
    atomic { hazard[c] = 0; goto choose }
  } unless { dead[c] };
  goto end;
fin:
  done[c] = true;
end:
  skip
}

/* block_resume_free() in the name of `c`: at most one span; `more` says whether it has to be done again. */
inline resume_free(c, s) {
  more = false;
  hazard[c] = s + 1;
  do
  :: atomic {
       w = W[s];
       if
       :: STATE(w) == CLAIMED && CLIENT(w) == c -> w = 0
       :: STATE(w) == LARGE -> w = 0; goto is_large
       :: STATE(w) == FREE -> w = 0; goto is_free
       :: else -> w = 0; break
       fi
     };
     set_free(c, s);
     break;
is_free:
#ifndef HINT_LOST
     mapped = mapped & ~BIT(s);
#endif
     break;
is_large:
     if
#ifdef NOT_AGAIN
     :: true -> break
#else
     :: KIND(O[s]) == FREEING && WHO(O[s]) == c
     :: else -> break
#endif
     fi;
     release_large(c, s, 1);
     break
  od;
  if
  :: more
  :: else -> hazard[c] = 0
  fi
}

proctype reaper() {
  byte c, s, b, e, r, h, x;
  short w;
  bool more;

start:
  {
    do
    :: atomic {
         if
         :: (dead[1] || done[1]) && !reaped[1] -> c = 1
         :: (dead[2] || done[2]) && !reaped[2] -> c = 2
         :: reaped[1] && reaped[2] -> goto finished
         fi;
         reaping = c
       };

       /* reap_hazards() */
       do
       :: atomic {
            if
            :: hazard[c] -> s = hazard[c] - 1
            :: else -> break
            fi
          };
          if
          :: STATE(W[s]) == CLAIMED && CLIENT(W[s]) == c || STATE(W[s]) == LARGE && CLIENT(W[s]) == c ->
             ledger[c] = ledger[c] | BIT(s)
          :: else
          fi;
          resume_free(c, s)
       od;

       /* reap_spans() */
       atomic { s = 0; more = false };
       do
       :: atomic {
            if
            :: s == SPANS -> s = 0; break
            :: ledger[c] & BIT(s) -> w = W[s]
            :: else -> goto next_span
            fi
          };
          if
          :: atomic { STATE(w) == LARGE -> w = 0 };
             /* reap_large() */
             atomic {
               x = O[s];
               if
               :: KIND(x) == OWNED && WHO(x) == c
               :: else -> x = 0; goto resume
               fi
             };
             atomic {
               if
               :: O[s] == x ->
                  O[s] = OWNER(TAG(x) + 1, FREEING, c);
                  block_of[s] = 0;
                  block_of[s + 1] = 0
               :: else
               fi;
               x = 0
             }
resume:
             resume_free(c, s)
          :: atomic { STATE(w) == CLAIMED -> w = 0 };
             resume_free(c, s)
          :: atomic { STATE(w) == FREE -> w = 0 };
             mapped = mapped & ~BIT(s)
          :: atomic { STATE(w) == CONT -> w = 0 }
          fi;
          if
          :: atomic { more -> more = false; goto same_span }
          :: else
          fi;
          ledger[c] = ledger[c] & ~BIT(s);
next_span:
          s++;
same_span:
          skip
       od;
       atomic { reaped[c] = true; reaping = 0; c = 0 }
    od
  } unless { crashed };
  d_step {
    crashed = false;
    reaping = 0;
    c = 0;
    s = 0;
    b = 0;
    e = 0;
    r = 0;
    h = 0;
    x = 0;
    w = 0;
    more = false
  };
  goto start;

finished:
  atomic {
    assert(STATE(W[0]) == FREE && STATE(W[1]) == FREE && STATE(W[2]) == FREE);
    assert(!mapped && !ledger[1] && !ledger[2] && !hazard[1] && !hazard[2])
  }
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
