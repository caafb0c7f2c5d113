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

/* The actor of a thread, as long as the thread has it. */
typedef struct DirectSeat {
        Actor actor;
        const void *owner; /* what tells threads apart; NULL: free */
        bool ready;
} DirectSeat;

typedef struct Direct Direct;
struct Direct {
        uint64_t serial; /* tells attachments apart, also those that come to lie at the same address; 0: not in use */
        pthread_mutex_t lock;        /* for the owners of the seats, and the list of all */
        pthread_mutex_t shared_lock; /* for the last seat, which all threads share that found no other */
        DirectSeat seats[MH_SHM_THREADS];
        Direct *next, **previous;
};

/* What this thread used last. */
typedef struct DirectMine {
        uint64_t serial;
        Actor *actor;
} DirectMine;

extern __thread DirectMine direct_mine __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* -ENOMEM. Afterwards direct_close(), in this process; in the child of a fork() nothing. */
int direct_open(Direct *d, Segment *seg, uint32_t id, void *ledger, uint64_t serial);
void direct_close(Direct *d);

Actor *direct_find(Direct *d);
void direct_unlock(Direct *d);

/* The actor for this thread, until direct_leave(). */
static inline Actor *direct_enter(Direct *d)
{
        return likely(direct_mine.serial == d->serial) ? direct_mine.actor : direct_find(d);
}

static inline void direct_leave(Direct *d, const Actor *a)
{
        if (unlikely(a->thread == MH_SHM_THREADS - 1))
                direct_unlock(d);
}
