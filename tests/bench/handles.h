/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The same pairs of operations on handles, on both sides, as measure() wants them; and a process that holds handles on
 * both.
 */

#include <stdint.h>

#include "monohandle.h"
#include "mutex-table.h"
#include "stage.h"

#define HANDLES_HELD 16U /* a power of two */

/* A client of ours, and handles that exist. */
typedef struct OurHandles {
        mh_client *client;
        mh_handle held[HANDLES_HELD];
} OurHandles;

/* The same of the table behind a mutex. */
typedef struct TheirHandles {
        mt_client *client;
        uint64_t held[HANDLES_HELD];
} TheirHandles;

/*
 * What the machine takes for it: the words that opening and closing cannot do without, in plain arrays, at the same
 * places.
 */
typedef struct PlainSlot {
        uint64_t state;
        uint64_t _pad[15];
} PlainSlot;

typedef struct PlainHandles {
        PlainSlot *slots;
        uint64_t *counts;
        uint32_t held[HANDLES_HELD];
} PlainHandles;

/* Pairs: SideFn, with an OurHandles, a TheirHandles or a PlainHandles. */
void our_new_close(void *ctx, unsigned n);
void our_open_close(void *ctx, unsigned n);
void their_new_close(void *ctx, unsigned n);
void their_open_close(void *ctx, unsigned n);
void plain_open_close(void *ctx, unsigned n);

mh_client *handles_attach(const StageDaemon *d, uint64_t flags);

/* Makes HANDLES_HELD of them. */
void our_handles_make(OurHandles *h);
void their_handles_make(TheirHandles *h);

/* A process that holds handles on both sides; what they are goes to the two structs. */
typedef struct Holder {
        const StageDaemon *daemon;
        int table;
        uint32_t id; /* in the table */
} Holder;

void holder_start(StageChild *child, Holder *holder, OurHandles *ours, TheirHandles *theirs);
