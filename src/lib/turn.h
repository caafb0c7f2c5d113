/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Taking turns between threads: what a mutex does, in the order of arrival, and with a deadline on the monotonic clock.
 *
 * Who ends its turn hands it to the one that has waited longest. A mutex would let the thread that just had it have it
 * again, because it runs already, and a turn that lasts as long as a round trip makes the others wait for ever then.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct TurnWaiter TurnWaiter;

typedef struct Turn {
        pthread_mutex_t lock; /* for the rest, for a few instructions at a time */
        bool taken;
        TurnWaiter *first, **last;
} Turn;

void turn_init(Turn *t);
void turn_done(Turn *t);

/* -ETIMEDOUT. */
int turn_take(Turn *t, uint64_t deadline);
void turn_end(Turn *t);
