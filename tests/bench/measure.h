/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Two pieces of code, in turns: ours, the peer, ours, the peer, each for a fraction of a millisecond. What disturbs the
 * machine for longer than that disturbs both, and the ratio of neighbours says little of it; what is shorter spoils single
 * rounds, which a median does not see.
 */

#include <stdint.h>

typedef void (*SideFn)(void *ctx, unsigned n);

typedef struct Side {
        SideFn run; /* does the pair of operations n times */
        void *ctx;
        unsigned step;  /* n is a multiple of that; 0: any */
        SideFn prepare; /* what comes before, and is not counted; may be NULL */
} Side;

/* Warms up, finds out how often fits into a slice, and samples `key`. The order alternates. Nothing, if it is not wanted. */
void measure(const char *key, Side ours, Side peer);

/* Fewer and longer slices, for what several processes do. */
void measure_long(const char *key, Side ours, Side peer);
