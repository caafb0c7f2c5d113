/* SPDX-License-Identifier: MIT */

#include "blocks.h"

#include "stage.h"

void our_blocks_take(OurBlocks *b)
{
        for (unsigned i = 0; i < BLOCKS_LIVE; i++)
                CHECK(mh_scratch_alloc(b->client, b->size, &b->live[i]), "mh_scratch_alloc");
}

void our_blocks_free(OurBlocks *b)
{
        for (unsigned i = 0; i < BLOCKS_LIVE; i++)
                CHECK(mh_scratch_free(b->client, b->live[i]), "mh_scratch_free");
}

void their_blocks_take(TheirBlocks *b)
{
        for (unsigned i = 0; i < BLOCKS_LIVE; i++)
                b->live[i] = peer_mimalloc.malloc(b->size);
}

void their_blocks_free(TheirBlocks *b)
{
        for (unsigned i = 0; i < BLOCKS_LIVE; i++)
                peer_mimalloc.free(b->live[i]);
}

void our_ring(void *ctx, unsigned n)
{
        OurBlocks *b = ctx;
        mh_client *c = b->client;
        size_t size = b->size;
        unsigned at = b->at;

        for (unsigned i = 0; i < n; i++) {
                CHECK(mh_scratch_free(c, b->live[at]), "mh_scratch_free");
                CHECK(mh_scratch_alloc(c, size, &b->live[at]), "mh_scratch_alloc");
                at = at + 1 == BLOCKS_LIVE ? 0 : at + 1;
        }
        b->at = at;
}

void their_ring(void *ctx, unsigned n)
{
        TheirBlocks *b = ctx;
        size_t size = b->size;
        unsigned at = b->at;

        for (unsigned i = 0; i < n; i++) {
                peer_mimalloc.free(b->live[at]);
                b->live[at] = peer_mimalloc.malloc(size);
                if (__builtin_expect(!b->live[at], 0))
                        die("mi_malloc");
                at = at + 1 == BLOCKS_LIVE ? 0 : at + 1;
        }
        b->at = at;
}
