/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the next daemon does with a segment that one left which died, in the one order in which it can be done again from its
 * beginning by another one that comes after. Who lives and who does not is for the caller to say.
 */

#include "shm/segment.h"

typedef struct Takeover {
        /* Each id but the daemon's, in use or not: who is dead becomes DEAD, what was begun for who lives is brought to its
         * end. -errno ends it all. */
        int (*entry)(uint32_t id, void *userdata);
        /* Then: the dead, or as many of them as can be waited for. -errno likewise. */
        int (*reap)(void *userdata);
        void *userdata;
} Takeover;

int takeover_run(Segment *seg, const Takeover *takeover);
