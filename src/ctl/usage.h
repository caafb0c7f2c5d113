/* SPDX-License-Identifier: MIT */
#pragma once

/* Counting what there is, from the words that are the truth and not from anybody's accounts. */

#include <stdint.h>

#include "shm/view.h"

typedef struct ClientUsage {
        uint64_t handles;  /* that it holds */
        uint64_t refs;     /* its references to them, in all */
        uint64_t reserved; /* slots that it keeps ready */
        uint64_t blocks;   /* of scratch that are its own */
        uint64_t bytes;    /* in them */
} ClientUsage;

typedef struct Usage {
        uint32_t clients; /* attached, or dead and not reaped yet */
        uint64_t handles;
        uint64_t blocks; /* whoever owns them */
        uint64_t bytes;
        ClientUsage *of; /* [n_clients] */
} Usage;

/* -ENOMEM, or what went wrong with reading. Always to be released. */
int usage_count(Usage *u, View *v);
void usage_done(Usage *u);

/* For each block in use: `word` is its owner word, `index` its scratch index. */
typedef void (*UsageBlockFn)(View *v, uint64_t word, uint64_t index, uint32_t span, uint64_t size, void *userdata);
void usage_blocks(View *v, UsageBlockFn fn, void *userdata);
