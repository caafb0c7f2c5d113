/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One takes things, another frees them: a ring between two threads, of one process or of two, through which numbers are
 * handed on, a batch at a time. Between rounds the other one sleeps; that it has woken up is waited for before
 * anything is sent, and that all is freed before a round counts as done.
 *
 * Sending and receiving are macros, so that what is done for each number is inlined on both sides alike.
 */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomics.h"

#define RELAY_ITEMS 1024U /* a power of two */
#define RELAY_STEP  64U   /* handed on at once */

typedef struct Relay {
        /* the sender's line */
        uint64_t sent __attribute__((aligned(64)));
        uint64_t wanted; /* how many there will be in this round */
        uint32_t round;
        uint32_t over;
        /* the receiver's */
        uint64_t received __attribute__((aligned(64)));
        uint32_t awake; /* for which round */
        uint64_t item[RELAY_ITEMS] __attribute__((aligned(64)));
} Relay;

/* In memory that a child shares. */
Relay *relay_new(void);

/* Wakes the other one for n items, and waits until it is awake. */
void relay_begin(Relay *r, unsigned n);

/* Sleeps until there is a new round: how many are to be received. 0: it is over. */
uint64_t relay_wait(Relay *r);

void relay_end(Relay *r);
bool relay_is_over(Relay *r);

/* The other one may not have a core of its own; but where others use the machine, who yields does not come back soon. */
static inline void relay_pause(unsigned *spins)
{
        if (++*spins % 16384 == 0)
                (void)sched_yield();
        else
                cpu_relax();
}

/* After relay_begin() with the same n, a multiple of RELAY_STEP. The stores of the positions are releases, the loads acquires: the items lie between. */
#define RELAY_SEND(r, n, take, ctx)                                                            \
        do {                                                                                   \
                Relay *_r = (r);                                                               \
                uint64_t _sent = _r->sent, _end = _sent + (n);                                 \
                unsigned _spins = 0;                                                           \
                while (_sent < _end) {                                                         \
                        while (_sent + RELAY_STEP - load_acquire(&_r->received) > RELAY_ITEMS) \
                                relay_pause(&_spins);                                          \
                        for (unsigned _i = 0; _i < RELAY_STEP; _i++)                           \
                                _r->item[_sent++ % RELAY_ITEMS] = take(ctx);                   \
                        store_release(&_r->sent, _sent);                                       \
                }                                                                              \
                while (load_acquire(&_r->received) < _end)                                     \
                        relay_pause(&_spins);                                                  \
        } while (0)

#define RELAY_RECEIVE(r, free, ctx)                                                \
        do {                                                                       \
                Relay *_r = (r);                                                   \
                uint64_t _n = relay_wait(_r), _at = _r->received, _end = _at + _n; \
                unsigned _spins = 0;                                               \
                while (_at < _end) {                                               \
                        while (load_acquire(&_r->sent) < _at + RELAY_STEP)         \
                                relay_pause(&_spins);                              \
                        for (unsigned _i = 0; _i < RELAY_STEP; _i++)               \
                                free(ctx, _r->item[_at++ % RELAY_ITEMS]);          \
                        store_release(&_r->received, _at);                         \
                }                                                                  \
        } while (0)
