/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Somebody who works on a segment in the name of one client: the client's own process, or the daemon for a client that
 * speaks the wire protocol. All operations take one. It is private memory and holds only hints: when it is lost, nothing
 * is lost. Several threads of a process that act for the same client have an Actor each (they share the ledger).
 */

#include <assert.h>

#include "base/atomics.h"
#include "shm/segment.h"

/* Empty spans that a client keeps, because giving one back and claiming it again costs more than 50 microseconds. */
#define ACTOR_SPARE_SPANS 4U

/* Slots that a client's own thread keeps ready, so that a handle that comes and goes costs no search. */
#define ACTOR_KEPT_SLOTS 32U

/* Blocks that this actor freed elsewhere and that it can have again before it looks for others. */
#define ACTOR_FREED 17U

/* Where small blocks of one size class come from next. */
typedef struct ActorClass {
        /* one that was freed in the group below and is not among the candidates: the next to be taken. NULL: there is none */
        uint64_t *hot;       /* its owner word */
        uint64_t hot_word;   /* what that says, but for who takes it */
        uint64_t hot_index;  /* the scratch index that it has next */
        uint64_t candidates; /* blocks of a group of 64 that were free when it was looked at */
        uint64_t *owner;     /* the owner word of the group's first block */
        uint64_t offset;     /* of that block */
        uint32_t size;       /* bytes of a block */
        uint32_t span;       /* plus one; 0: none */
        uint32_t n_freed;
        uint32_t freed
                [ACTOR_FREED]; /* offsets in units of MH_SHM_BLOCK_ALIGN, of what may have become something else since */
} ActorClass;
static_assert(sizeof(ActorClass) == 128, "found by a shift");

typedef struct Actor {
        Segment *seg;
        uint32_t id;
        uint32_t piecemeal; /* the reaper: so many spans of a large block at a time; 0: all of it at once */
        uint64_t small;     /* what the word of a span says from which this actor takes small blocks, but for
                                           incarnation and class */
        unsigned thread;    /* below MH_SHM_THREADS: which lines and spans of the client are this actor's */
        uint32_t alone;     /* no other thread uses the ledger at the same time: see actor_set_alone() */
        /* Slots from `window` on, so many, whose words in the ledger have memory and can be changed by plain stores: none if this
         * actor is not alone. See move_window() in ledger.c. */
        uint32_t window, window_size;
        uint64_t bit;                /* this client's among the holder bits in the slot itself; 0: it is not there */
        struct mh_shm_account *page; /* the first page of the ledger */
        struct mh_shm_account_line *account;
        struct mh_shm_hazard_line *hazard;
        struct mh_shm_slot *slots; /* of the segment, as `shared` */
        const struct mh_shm_shared *shared;
        struct mh_shm_span *spans;
        struct mh_shm_owners *owners;
        uint32_t n_spans;    /* so many have entries, at least */
        uint64_t owner_word; /* of a block of this client, but for the tag */
        uint64_t *ledger;    /* words per slot */
        uint64_t *span_bits;
        struct mh_shm_intent
                *intent; /* the daemon, for a client: where to note a target before it is changed; or NULL */

        uint64_t ledger_unit;      /* the part of the ledger that was last found to have memory, plus one; 0: none */
        unsigned n_kept, max_kept; /* slots RESERVED for this client, its ledger says so; max_kept 0: none are kept */
        uint32_t kept[ACTOR_KEPT_SLOTS];

        uint32_t chunk;       /* hint: the chunk to look for a free slot first */
        uint32_t span_words;  /* words of span bits in which this actor has taken spans, at most */
        uint32_t span_cursor; /* hint: where the look at this client's own spans goes on */
        uint32_t hard_up;     /* there was no new span to be had: for so many refills, nobody is picky */
        uint32_t spare
                [ACTOR_SPARE_SPANS]; /* spans of its own that were empty when they were put here, plus one; 0: none */
        ActorClass classes[MH_SHM_CLASSES];

        bool (*when_short)(struct Actor *a); /* no memory is left: true if somebody else gave some back; or NULL */
        uint64_t *pass;                      /* see actor_stop(); NULL: nobody wants to be stopped */
        uint32_t n_refills;
} Actor;

/*
 * Who does nothing but take and free scratch passes no place where it could see to anything else, and is not to be slowed down by
 * counting. So now and then (about once in 256 of them) such an operation writes this to where its thread looks
 * before the next one.
 */
#define ACTOR_NO_PASS UINT64_C(1)

static inline void actor_stop(Actor *a)
{
        if (a->pass)
                store_relaxed(a->pass, ACTOR_NO_PASS); /* the same thread reads it */
}

/* `ledger` is the mapping of that client's ledger, whose first page (the account) was reserved. */
void actor_init(Actor *ret, Segment *seg, uint32_t id, void *ledger);

/* Makes it another thread's; the first is what actor_init() makes. Before anything is done with it. */
void actor_set_thread(Actor *a, unsigned thread);

/*
 * As long as one thread works for a client, the ledger needs no locked instruction: nobody else changes its words. Any thread may
 * say that an actor is alone, or not any more. The latter takes four steps, between which every thread of the process
 * passes a barrier: actor_set_alone(false), barrier, actor_close_window(), barrier; and then the actor is not in the middle of an operation
 * for a moment.
 */
static inline void actor_set_alone(Actor *a, bool alone)
{
        /* Release: who finds itself alone finds what the others did to the ledger. Pairs with ledger_change() and move_window(). */
        store_release(&a->alone, alone ? 1 : 0);
}

static inline void actor_close_window(Actor *a)
{
        store_relaxed(&a->window_size, 0); /* relaxed: the barriers order it */
}

/* Adds to a number of this actor's account line, wrapping: each line is one thread's, or those that share it have a lock. */
static inline void actor_count(uint64_t *number, uint64_t n)
{
        /* Relaxed: a number for sums, see totals.c; nobody else adds to it meanwhile. */
        store_relaxed(number, load_relaxed(number) + n);
}

static inline void actor_count_alloc(Actor *a, uint64_t size)
{
        actor_count(&a->account->alloc_bytes, size);
}

/* Of a block that was this client's own, or not. */
static inline void actor_count_free(Actor *a, uint64_t size, bool own)
{
        actor_count(&a->account->free_bytes, size);
        if (!own)
                actor_count(&a->account->disowned_bytes, -size);
}
