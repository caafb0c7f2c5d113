/* SPDX-License-Identifier: MIT */
#pragma once

/* The same patterns of taking and freeing memory, with whichever allocator, as measure() wants them. */

#include <stddef.h>
#include <stdint.h>

#include "monohandle.h"
#include "peer-boost.h"
#include "peer-mimalloc.h"

#define BLOCKS_LIVE  20U
#define BLOCKS_BATCH 1000U

/* A ring: the oldest block is freed, a new one taken. */
typedef struct OurBlocks {
        mh_client *client;
        size_t size;
        unsigned at;
        mh_scratch live[BLOCKS_LIVE];
} OurBlocks;

typedef struct TheirBlocks {
        size_t size;
        unsigned at;
        void *live[BLOCKS_LIVE];
} TheirBlocks;

typedef struct BoostBlocks {
        PeerBoost *boost;
        size_t size;
        unsigned at;
        void *live[BLOCKS_LIVE];
} BoostBlocks;

void our_blocks_take(OurBlocks *b);
void our_blocks_free(OurBlocks *b);
void their_blocks_take(TheirBlocks *b);
void their_blocks_free(TheirBlocks *b);

/* SideFn. */
void our_ring(void *ctx, unsigned n);
void their_ring(void *ctx, unsigned n);
