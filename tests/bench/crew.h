/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Several at once: workers, which are threads of this process or processes of their own, that all begin together. The time is
 * from when the first began until the last was done.
 */

#include <stdbool.h>

#include "measure.h"

#define CREW_MAX 8U

typedef struct Crew Crew;

/* In the worker: makes ctx for the two sides; `i` is its number. */
typedef struct CrewPlan {
        void (*prepare)(void *plan, unsigned i, void **ret_ours, void **ret_peer);
        SideFn ours, peer;
        void *plan;
        bool processes;
        unsigned n;
} CrewPlan;

Crew *crew_new(const CrewPlan *plan);
Crew *crew_free(Crew *crew);

/*
 * Samples `key`: nanoseconds of a core for one pair of operations. With more cores than workers a core is what a
 * worker has, with fewer they share: so the number stays the same as long as none gets in another's way.
 */
void crew_measure(Crew *crew, const char *key);
