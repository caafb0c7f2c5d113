/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Working on the segment from the threads of this process. See direct.c.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/likely.h"
#include "shm/actor.h"

/* An operation is not the place to see to anything else, but after so many of them (times two) it is time to. A power of two. */
#define DIRECT_TURNS 512U

/* The actor of a thread, as long as the thread has it. */
typedef struct DirectSeat {
        Actor actor;
        const void *owner; /* what tells threads apart; NULL: free */
        uint32_t turns;    /* one more when an operation begins and when it ends: odd means busy */
        bool ready, shared;
        struct Direct *direct;
} __attribute__((aligned(128))) DirectSeat; /* two lines: processors fetch them in pairs */

typedef struct Direct Direct;
struct Direct {
        uint64_t serial; /* tells attachments apart, also those that come to lie at the same address; 0: not in use */
        pthread_mutex_t lock;        /* for the owners of the seats, and the list of all */
        pthread_mutex_t shared_lock; /* for the last seat, which all threads share that found no other */
        bool barrier;                /* membarrier(2) works for the threads of this process */
        Direct *next, **previous;
        DirectSeat seats[MH_SHM_THREADS];
};

/* The seat that this thread used last. */
typedef struct DirectMine {
        uint64_t serial;
        DirectSeat *seat;
} DirectMine;

extern __thread DirectMine direct_mine __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* -ENOMEM. Afterwards direct_close(), in this process; in the child of a fork() nothing. */
int direct_open(Direct *d, Segment *seg, uint32_t id, void *ledger);
void direct_close(Direct *d);

/* Has this thread done so much that it is time to look after the connection? */
bool direct_is_due(Direct *d);

/* The actor for this thread, until direct_leave_anyhow(), however that costs. */
Actor *direct_enter_anyhow(Direct *d);
void direct_leave_anyhow(Direct *d, Actor *a);

static inline DirectSeat *direct_seat(Actor *a)
{
        return (DirectSeat *)(void *)((uint8_t *)a - offsetof(DirectSeat, actor));
}

/* A way in, and what to do on the way out. */
typedef struct DirectPass {
        Actor *actor;
        uint32_t
                turns; /* what the seat's number will be: kept here, because to load again what was just stored takes time */
} DirectPass;

/*
 * The same if it costs nothing, else a NULL; until direct_leave(). `serial` is that of the attachment, or 0 where it must not be used
 * this way.
 */
static inline DirectPass direct_enter(uint64_t serial)
{
        DirectSeat *seat = direct_mine.seat;
        uint32_t turns;

        if (unlikely(direct_mine.serial != serial))
                return (DirectPass){ 0 };
        turns = load_relaxed(&seat->turns); /* only this thread changes it */
        if (unlikely(turns % DIRECT_TURNS == 0))
                return (DirectPass){ 0 };
        store_relaxed(&seat->turns, turns + 1);
        /* The other side of this is in have_company(). */
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (!seat)
                __builtin_unreachable(); /* spares the caller the question */
        return (DirectPass){ .actor = &seat->actor, .turns = turns + 2 };
}

/* For what leaves the words of slots in the ledger alone: there nobody needs to know when it ends. */
static inline Actor *direct_use(uint64_t serial)
{
        DirectSeat *seat = direct_mine.seat;

        if (unlikely(direct_mine.serial != serial))
                return NULL;
        if (!seat)
                __builtin_unreachable();
        return &seat->actor;
}

static inline void direct_leave(DirectPass pass)
{
        /* Release: what the operation did comes first. Pairs with have_company(). */
        store_release(&direct_seat(pass.actor)->turns, pass.turns);
}
