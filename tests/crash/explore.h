/* SPDX-License-Identifier: MIT */
#pragma once

/* Goes through one operation instruction by instruction. */

#include "crash/scenarios.h"

typedef struct Options {
        bool all;      /* every point, not a sample */
        bool hurry;    /* only some of the sample */
        bool progress; /* say now and then how far it is */
        uint64_t seed;
        int64_t point;     /* only this one, or -1 */
        const char *other; /* only this one, or NULL */
} Options;

typedef struct Counts {
        uint64_t instructions; /* of the operation, from beginning to end */
        uint64_t touches;      /* of those, how many access the segment */
        uint64_t states;       /* of the segment on the way: where it changed, and before */
        uint64_t kills;        /* points where somebody was killed */
        uint64_t real;         /* of those, with a process that was really killed */
        uint64_t again;        /* points where the one who cleans up was killed as well */
        uint64_t freezes;      /* points where somebody did something meanwhile */
} Counts;

/* False: something was wrong, and was told. */
bool explore(World *w, const Scenario *scenario, Mode mode, const Options *options, Counts *ret);
