/* SPDX-License-Identifier: MIT */
#pragma once

/* Some of the points that an operation comes by, each with the same chance, and how to come back to them.
 *
 * How many there will be is known only at the end. So each gets a number that is drawn at random, and those with the
 * lowest are kept: as many as are wanted of those seen so far, which is a few and their square root. An operation that is
 * longer has a longer sample, but not in proportion: otherwise the time would go into a few loops. */

#include "crash/world.h"

#define SAMPLE_MAX 48U

typedef struct Stop {
        uint64_t point; /* instructions that were executed */
        uint64_t key;   /* drawn */
        bool changed;   /* here the segment is another one than an instruction before */
        Snapshot memory;
        MachineState *machine; /* NULL: there is nothing in it */
} Stop;

typedef struct Sample {
        unsigned least, every; /* set by who makes it: so many, and the root of one in so many */
        Stop stop[SAMPLE_MAX];
        unsigned n;
        uint64_t seen;
        Stop spare; /* see sample_maybe() */
        bool has_spare;
} Sample;

void sample_done(Sample *s, const Memory *m);

/* The world is at one. */
void sample_offer(Sample *s, const World *w, uint64_t point, uint64_t key, bool changed);

/* The same where it is known only after the next instruction whether it is one: what sample_settle() says. */
void sample_maybe(Sample *s, const World *w, uint64_t point, uint64_t key, bool changed);
void sample_settle(Sample *s, bool it_is);

/* How many of them are to be tried: all, or only a part, which is a sample, too. */
unsigned sample_end(Sample *s, bool hurry);
