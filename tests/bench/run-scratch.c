/* SPDX-License-Identifier: MIT */

/* Scratch memory, by one process that nobody disturbs, and by two that pass it on. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "blocks.h"
#include "handles.h"
#include "measure.h"
#include "pass.h"
#include "relay.h"

/* ------------------------------------------------------------------------------------------------ a few blocks live */

static void rings(mh_client *c)
{
        static const unsigned sizes[] = { 16, 64, 256, 1024, 4096 };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                OurBlocks ours = { .client = c, .size = sizes[i] };
                TheirBlocks theirs = { .size = sizes[i] };
                const char *reason;
                char key[32];

                (void)snprintf(key, sizeof(key), "scratch_%u", sizes[i]);
                if (!peer_mimalloc_load(&reason)) {
                        pass_skip(key, "%s", reason);
                        continue;
                }
                our_blocks_take(&ours);
                their_blocks_take(&theirs);
                measure(key, (Side){ our_ring, &ours }, (Side){ their_ring, &theirs });
                our_blocks_free(&ours);
                their_blocks_free(&theirs);
        }
}

/* ------------------------------------------------------------------------------------------------ a batch */

#define ORDERS 8U

typedef struct Batch {
        mh_client *client;
        size_t size;
        unsigned next; /* which order */
        uint16_t order[ORDERS][BLOCKS_BATCH];
        union {
                mh_scratch ours[BLOCKS_BATCH];
                void *theirs[BLOCKS_BATCH];
        };
} Batch;

static Batch *make_batch(mh_client *c, size_t size)
{
        Batch *b = calloc(1, sizeof(*b));
        uint32_t random = 2463534242;

        if (!b)
                die("out of memory");
        b->client = c;
        b->size = size;
        for (unsigned k = 0; k < ORDERS; k++) {
                uint16_t *order = b->order[k];

                for (unsigned i = 0; i < BLOCKS_BATCH; i++) {
                        unsigned j;

                        random ^= random << 13;
                        random ^= random >> 17;
                        random ^= random << 5;
                        j = random % (i + 1);
                        order[i] = order[j];
                        order[j] = (uint16_t)i;
                }
        }
        return b;
}

static void our_batch(void *ctx, unsigned n)
{
        Batch *b = ctx;

        for (; n >= BLOCKS_BATCH; n -= BLOCKS_BATCH) {
                const uint16_t *order = b->order[b->next++ % ORDERS];

                for (unsigned i = 0; i < BLOCKS_BATCH; i++)
                        CHECK(mh_scratch_alloc(b->client, b->size, &b->ours[i]), "mh_scratch_alloc");
                for (unsigned i = 0; i < BLOCKS_BATCH; i++)
                        CHECK(mh_scratch_free(b->client, b->ours[order[i]]), "mh_scratch_free");
        }
}

static void their_batch(void *ctx, unsigned n)
{
        Batch *b = ctx;

        for (; n >= BLOCKS_BATCH; n -= BLOCKS_BATCH) {
                const uint16_t *order = b->order[b->next++ % ORDERS];

                for (unsigned i = 0; i < BLOCKS_BATCH; i++) {
                        b->theirs[i] = peer_mimalloc.malloc(b->size);
                        if (__builtin_expect(!b->theirs[i], 0))
                                die("mi_malloc");
                }
                for (unsigned i = 0; i < BLOCKS_BATCH; i++)
                        peer_mimalloc.free(b->theirs[order[i]]);
        }
}

static void batches(mh_client *c)
{
        const char *reason;
        Batch *ours, *theirs;

        if (!peer_mimalloc_load(&reason)) {
                pass_skip("scratch_batch_256", "%s", reason);
                return;
        }
        ours = make_batch(c, 256);
        theirs = make_batch(NULL, 256);
        measure("scratch_batch_256", (Side){ our_batch, ours, BLOCKS_BATCH },
                (Side){ their_batch, theirs, BLOCKS_BATCH });
        free(ours);
        free(theirs);
}

/* ------------------------------------------------------------------------------------------------ passing on */

static uint64_t our_take(void *ctx)
{
        mh_scratch s;

        CHECK(mh_scratch_alloc(ctx, 64, &s), "mh_scratch_alloc");
        return s;
}

static void our_free(void *ctx, uint64_t item)
{
        CHECK(mh_scratch_free(ctx, item), "mh_scratch_free");
}

static uint64_t their_take(void *ctx)
{
        void *p = peer_mimalloc.malloc(64);

        if (__builtin_expect(!p, 0))
                die("mi_malloc");
        return (uintptr_t)p;
}

static void their_free(void *ctx, uint64_t item)
{
        peer_mimalloc.free((void *)(uintptr_t)item);
}

typedef struct Pair {
        Relay *relay;
        void *client;
} Pair;

static void begin_relay(void *ctx, unsigned n)
{
        relay_begin(((Pair *)ctx)->relay, n);
}

static void our_relay(void *ctx, unsigned n)
{
        Pair *pair = ctx;

        RELAY_SEND(pair->relay, n, our_take, pair->client);
}

static void their_relay(void *ctx, unsigned n)
{
        Pair *pair = ctx;

        RELAY_SEND(pair->relay, n, their_take, NULL);
}

typedef struct Freer {
        Relay *relay;
        const StageDaemon *daemon;
} Freer;

static void our_other_process(int fd, void *ctx)
{
        const Freer *freer = ctx;
        mh_client *c = handles_attach(freer->daemon, 0);
        char ready = 1;

        stage_pin(0, 1);
        stage_tell(fd, &ready, sizeof(ready));
        for (;;)
                RELAY_RECEIVE(freer->relay, our_free, c);
}

static void *their_other_thread(void *ctx)
{
        stage_pin(0, 1);
        while (!relay_is_over(ctx))
                RELAY_RECEIVE((Relay *)ctx, their_free, NULL);
        return NULL;
}

static void relays(const StageDaemon *d, mh_client *c)
{
        Pair ours = { relay_new(), c }, theirs = { relay_new(), NULL };
        Freer freer = { ours.relay, d };
        const char *reason;
        StageChild child;
        pthread_t thread;
        char ready;

        if (!pass_wants("scratch_pass_64"))
                return;
        if (!peer_mimalloc_load(&reason)) {
                pass_skip("scratch_pass_64", "%s", reason);
                return;
        }
        stage_child_start(&child, our_other_process, &freer);
        stage_hear(child.fd, &ready, sizeof(ready));
        CHECK(-pthread_create(&thread, NULL, their_other_thread, theirs.relay), "pthread_create");
        measure_long("scratch_pass_64", (Side){ our_relay, &ours, RELAY_STEP, begin_relay },
                     (Side){ their_relay, &theirs, RELAY_STEP, begin_relay });
        relay_end(theirs.relay);
        (void)pthread_join(thread, NULL);
        stage_child_kill(&child);
}

/* ------------------------------------------------------------------------------------------------ Boost */

#ifdef HAVE_BOOST
static void boost_ring(void *ctx, unsigned n)
{
        BoostBlocks *b = ctx;

        for (unsigned i = 0; i < n; i++) {
                peer_boost_deallocate(b->boost, b->live[b->at]);
                b->live[b->at] = peer_boost_allocate(b->boost, b->size);
                if (__builtin_expect(!b->live[b->at], 0))
                        die("Boost.Interprocess: out of memory");
                b->at = b->at + 1 == BLOCKS_LIVE ? 0 : b->at + 1;
        }
}

static void with_boost(mh_client *c)
{
        OurBlocks ours = { .client = c, .size = 64 };
        BoostBlocks theirs = { .size = 64 };

        if (!pass_wants("scratch_64_boost"))
                return;
        theirs.boost = peer_boost_new(16 << 20);
        if (!theirs.boost)
                die("Boost.Interprocess: no shared memory");
        our_blocks_take(&ours);
        for (unsigned i = 0; i < BLOCKS_LIVE; i++)
                theirs.live[i] = peer_boost_allocate(theirs.boost, theirs.size);
        measure("scratch_64_boost", (Side){ our_ring, &ours }, (Side){ boost_ring, &theirs });
        our_blocks_free(&ours);
        (void)peer_boost_free(theirs.boost);
}
#else
static void with_boost(mh_client *c)
{
        pass_skip("scratch_64_boost", "built without Boost.Interprocess (libboost-dev)");
}
#endif

void run_scratch(void)
{
        StageDaemon daemon;
        mh_client *c;

        if (!pass_wants("scratch_"))
                return;
        stage_daemon_start(&daemon, NULL);
        stage_pin(0, 0);
        c = handles_attach(&daemon, 0);
        rings(c);
        batches(c);
        with_boost(c);
        relays(&daemon, c);
        (void)mh_detach(c);
        stage_daemon_stop(&daemon);
        stage_unpin(0);
}
