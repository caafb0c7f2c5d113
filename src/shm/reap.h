/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reclaiming what a dead client held, in slices. Every step can be repeated: a daemon that dies while reaping is
 * followed by one that reaps again from the start.
 */

#include "shm/actor.h"

typedef struct ReapStats {
        uint64_t handles;       /* that it held */
        uint64_t destroyed;     /* of those, the ones that nobody else held */
        uint64_t scratch_bytes; /* that it owned, freed now */
} ReapStats;

typedef struct Reap {
        Actor dead; /* acts in the name of the dead */
        unsigned stage;
        uint64_t position;
        uint64_t data_end; /* of the ledger's words: up to here they have memory */
        ReapStats stats;
} Reap;

/* The client's state is DEAD. -ENOSPC: not now, try again later. */
int reap_init(Reap *r, Segment *seg, uint32_t id);

/*
 * Goes on for about `units` of work (one handle is one unit; a span to give back counts for more): 2,000 are well below a
 * millisecond. Returns 1 if there is more to do, 0 when the entry is FREE again.
 */
int reap_step(Reap *r, unsigned units);
