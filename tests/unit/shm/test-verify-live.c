/* SPDX-License-Identifier: MIT */

/* The verifier against the real thing: a segment in which threads of several clients do all that they can, as fast as they
 * can, is in order whenever it is looked at, and at rest when they have stopped; and so it is after each of them is dead. */

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "shm/client.h"
#include "shm/give.h"
#include "shm/reap.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/trim.h"
#include "shm/verify.h"
#include "tools/say.h"

#define WORKERS 4U
#define POOL    64U
#define OWN     128U
#define ROUNDS  12U
#define LOOKS   10U

typedef struct Worker {
        pthread_t thread;
        struct World *world;
        Actor actor;
        uint64_t random;
        uint64_t handles[OWN]; /* references that it has */
        uint64_t done;
} Worker;

typedef struct World {
        int fd;
        Segment seg;
        uint32_t stop;
        uint64_t handles[POOL]; /* where they tell each other what there is */
        uint64_t blocks[POOL];
        Worker workers[WORKERS];
} World;

static void show(const VerifyFinding *f, void *userdata)
{
        (void)fprintf(say_stream(), "# %s: %s\n", f->rule, f->text);
}

static void expect_in_order(const World *world, unsigned flags, VerifyStats *ret)
{
        int r = verify_segment(world->fd, flags, show, NULL, ret);

        cr_assert_eq(r, 0, "%d findings", r);
}

static uint64_t next(Worker *w)
{
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return w->random;
}

static void take_handle(Worker *w, uint64_t *own)
{
        uint64_t *pool = &w->world->handles[next(w) % POOL], h = load_relaxed(pool);

        if (*own) {
                (void)slot_close(&w->actor, *own, NULL);
                *own = 0;
        } else if (next(w) % 2 && slot_open(&w->actor, h, NULL) == 0) {
                *own = h;
        } else if (slot_new(&w->actor, 7, own) == 0) {
                store_relaxed(pool, *own);
        }
}

static void take_block(Worker *w)
{
        static const uint32_t sizes[] = { 1, 16, 100, 1000, 5000, 32768, 40000, 300000 };
        uint64_t *pool = &w->world->blocks[next(w) % POOL], old = load_relaxed(pool), scratch;

        if (old)
                (void)scratch_free(&w->actor, old);
        if (scratch_alloc(&w->actor, sizes[next(w) % ELEMENTSOF(sizes)], &scratch, NULL) < 0)
                return;
        store_relaxed(pool, scratch);
        if (next(w) % 2 == 0)
                (void)give_block(&w->actor, scratch, w->handles[next(w) % OWN]);
}

static void *work(void *userdata)
{
        Worker *w = userdata;

        while (!load_acquire(&w->world->stop)) {
                if (next(w) % 2)
                        take_handle(w, &w->handles[next(w) % OWN]);
                else
                        take_block(w);
                store_relaxed(&w->done, w->done + 1);
        }
        return NULL;
}

static void make(World *world, uint64_t seed)
{
        const SegmentConfig config = { .n_slots = 2048,
                                       .n_clients = 80,
                                       .scratch_bytes = UINT64_C(64) << 20,
                                       .limit_client_handles = UINT64_MAX,
                                       .limit_client_scratch = UINT64_MAX };
        const ClientInfo info = { .flags = MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER, .name = "live" };
        uint32_t id, other;

        world->fd = memfd_create("live", MFD_CLOEXEC);
        cr_assert_eq(segment_format(world->fd, &config), 0);
        cr_assert_eq(segment_load(&world->seg, world->fd), 0);
        cr_assert_eq(segment_map(&world->seg), 0);

        /* Two threads of one client, one each of two others, of which one has its holder bits in another word. */
        for (unsigned i = 0; i < WORKERS; i++) {
                if (i != 1)
                        cr_assert_eq(client_attach(&world->seg, &info, &id), 0);
                for (; i == 3 && id < MH_SHM_GROUP_CLIENTS; id = other)
                        cr_assert_eq(client_attach(&world->seg, &info, &other), 0);
                world->workers[i].world = world;
                world->workers[i].random = seed * WORKERS + i;
                actor_init(&world->workers[i].actor, &world->seg, id, segment_ledger(&world->seg, id));
                if (i == 1)
                        actor_set_thread(&world->workers[i].actor, 1);
        }
}

static void reap(World *world, uint32_t id)
{
        Reap r;

        client_kill(&world->seg, id);
        cr_assert_eq(reap_init(&r, &world->seg, id), 0);
        while (reap_step(&r, 100) > 0)
                ;
}

static void start(World *world)
{
        for (unsigned i = 0; i < WORKERS; i++)
                cr_assert_eq(pthread_create(&world->workers[i].thread, NULL, work, &world->workers[i]), 0);
        /* Until all are at it. */
        for (unsigned i = 0; i < WORKERS; i++)
                while (load_relaxed(&world->workers[i].done) < 100)
                        (void)sched_yield();
}

static void stop(World *world)
{
        store_release(&world->stop, 1);
        for (unsigned i = 0; i < WORKERS; i++) {
                cr_assert_eq(pthread_join(world->workers[i].thread, NULL), 0);
        }
}

static void work_and_look(uint64_t seed)
{
        World *world = calloc(1, sizeof(*world));
        uint32_t cursor = 0;
        VerifyStats stats;

        cr_assert_not_null(world);
        make(world, seed);
        start(world);
        for (unsigned i = 0; i < LOOKS; i++) {
                expect_in_order(world, 0, NULL);
                if (i % 4 == 0)
                        (void)trim_step(&world->seg, &cursor, 0, 2000);
        }
        stop(world);
        expect_in_order(world, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_gt(stats.handles, 0);
        cr_assert_gt(stats.blocks, 0);

        for (unsigned i = 0; i < WORKERS; i++) {
                if (world->workers[i].actor.thread > 0)
                        continue;
                reap(world, world->workers[i].actor.id);
                expect_in_order(world, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        }
        cr_assert_eq(stats.handles, 0);
        cr_assert_eq(stats.blocks, 0);
        cr_assert_eq(stats.spans, 0);
        segment_unmap(&world->seg);
        world->fd = fd_close(world->fd);
        free(world);
}

/* Most races are met at the beginning, when all want memory at once. */
Test(verify_live, work_and_look, .timeout = 100)
{
        for (unsigned i = 1; i <= ROUNDS; i++)
                work_and_look(i);
}
