/* SPDX-License-Identifier: MIT */

/* Races for scratch memory: blocks that others free, large ones, those of handles, spans of the dead. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/give.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/stock.h"
#include "shm/totals.h"
#include "unit/shm/fixture.h"

#define SPAN  ((uint64_t)MH_SHM_SPAN_SIZE)
#define CELLS 64U

static Fixture f;

/* Blocks pass from thread to thread through cells; who takes one out checks it, and frees it. */
typedef struct Race {
        uint64_t cells[CELLS];
        uint32_t errors, go;
        unsigned rounds;
        bool coarse; /* few size classes, so that spans change hands */
} Race;

typedef struct Racer {
        Race *race;
        Actor a;
        uint64_t seed, allocated, freed, given;
} Racer;

static void check(Race *race, bool good)
{
        if (!good)
                (void)fetch_add_relaxed(&race->errors, 1);
}

/* What stands in a block: its own index, at both ends. So nobody else wrote there, and the size is what it was. */
static void mark(Racer *r, uint64_t s)
{
        uint64_t size = 0, *data = NULL;

        check(r->race, scratch_lookup(&r->a, s, (void **)&data, &size) == 0);
        if (!data)
                return;
        store_relaxed(&data[0], s);
        store_relaxed(&data[size / 8 - 1], s);
}

static bool is_marked(Racer *r, uint64_t s)
{
        uint64_t size = 0, *data = NULL;

        return scratch_lookup(&r->a, s, (void **)&data, &size) == 0 && load_relaxed(&data[0]) == s &&
               load_relaxed(&data[size / 8 - 1]) == s;
}

static uint64_t some_size(Racer *r)
{
        uint64_t n = fixture_random(&r->seed);

        if (r->race->coarse)
                return n % 4 ? 30000 : 1 + n / 32 % (3 * SPAN);
        switch (n % 32) {
        case 0:
                return SPAN / 2 + 1 + n / 32 % (3 * SPAN);
        case 1 ... 8:
                return 1 + n / 32 % MH_SHM_SMALL_MAX;
        default:
                return 16 + n / 32 % 4 * 64;
        }
}

static void *pass_blocks(void *userdata)
{
        Racer *r = userdata;
        Race *race = r->race;

        while (!load_acquire(&race->go))
                (void)sched_yield();
        for (unsigned i = 0; i < race->rounds; i++) {
                uint64_t *cell = &race->cells[fixture_random(&r->seed) % CELLS], fresh = 0, old;
                int k = scratch_alloc(&r->a, some_size(r), &fresh, NULL);

                if (race->coarse && i % 16 == 0)
                        (void)stock_trim(&r->a);
                check(race, k == 0 || k == -ENOSPC);
                if (k == 0) {
                        r->allocated++;
                        mark(r, fresh);
                }
                old = load_relaxed(cell);
                while (!cas_sc(cell, &old, fresh))
                        ;
                if (!old)
                        continue;
                /* Now it is ours alone, whoever took it. */
                check(race, is_marked(r, old));
                check(race, scratch_free(&r->a, old) == 0);
                check(race, scratch_free(&r->a, old) == -ESTALE);
                r->freed++;
        }
        return NULL;
}

static void run(Race *race, Racer *racers, unsigned n, void *(*fn)(void *))
{
        pthread_t threads[8];

        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, fn, &racers[i]), 0);
        store_release(&race->go, 1);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(race->errors, 0);
}

/* Not each of them: what a client has that does not run at this moment, others cannot have. */
static void expect_busy(const Racer *racers, unsigned n)
{
        uint64_t allocated = 0, freed = 0;

        for (unsigned i = 0; i < n; i++) {
                allocated += racers[i].allocated;
                freed += racers[i].freed;
        }
        cr_assert_gt(allocated, racers[0].race->rounds / 4);
        cr_assert_gt(freed, racers[0].race->rounds / 4);
}

static void empty_cells(Race *race, Racer *r)
{
        for (unsigned i = 0; i < CELLS; i++)
                if (race->cells[i]) {
                        cr_assert(is_marked(r, race->cells[i]));
                        cr_assert_eq(scratch_free(&r->a, race->cells[i]), 0);
                }
}

static void expect_nothing_left(void)
{
        VerifyStats stats;
        Totals totals;

        totals_read(&f.seg, &totals);
        cr_assert_eq(totals.scratch_bytes, 0);
        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_eq(stats.blocks, 0);
}

/* All that they had goes, and then each span can be had again. */
static void expect_all_memory_back(const Actor *first, unsigned n)
{
        uint64_t s;
        Actor a;

        for (unsigned i = 0; i < n; i++)
                (void)fixture_reap(&f, first->id + i);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(scratch_alloc(&a, f.seg.n_spans * SPAN, &s, NULL), 0);
        cr_assert_eq(scratch_free(&a, s), 0);
        fixture_verify_rest(&f);
}

Test(scratch_threads, clients_free_what_others_took, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(50000) };
        Racer racers[4] = { 0 };

        fixture_open(&f);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        run(&race, racers, 4, pass_blocks);
        expect_busy(racers, ELEMENTSOF(racers));
        fixture_verify(&f, VERIFY_NO_DEAD, NULL);
        empty_cells(&race, &racers[0]);
        expect_nothing_left();
        expect_all_memory_back(&racers[0].a, 4);
        fixture_done(&f);
}

Test(scratch_threads, threads_of_one_client, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(50000) };
        Racer racers[4] = { 0 };

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &racers[0].a);
        (void)fixture_attach(&f, FIXTURE_OWN, &racers[3].a);
        for (unsigned i = 0; i < 4; i++) {
                racers[i].race = &race;
                racers[i].seed = 100 + i;
                if (i == 1 || i == 2) {
                        racers[i].a = racers[0].a;
                        actor_set_thread(&racers[i].a, i);
                }
        }
        run(&race, racers, 4, pass_blocks);
        expect_busy(racers, ELEMENTSOF(racers));
        empty_cells(&race, &racers[0]);
        expect_nothing_left();
        expect_all_memory_back(&racers[0].a, 2);
        fixture_done(&f);
}

/* Little memory, so that spans come and go all the time, large blocks too. */
Test(scratch_threads, scarce, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(30000), .coarse = true };
        SegmentConfig config = fixture_config;
        Racer racers[4] = { 0 };

        config.scratch_bytes = 80 * SPAN;
        fixture_open_as(&f, &config);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = 200 + i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        run(&race, racers, 4, pass_blocks);
        expect_busy(racers, ELEMENTSOF(racers));
        empty_cells(&race, &racers[0]);
        expect_nothing_left();
        expect_all_memory_back(&racers[0].a, 4);
        fixture_done(&f);
}

Test(scratch_threads, without_membarrier, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(10000), .coarse = true };
        SegmentConfig config = fixture_config;
        Racer racers[3] = { 0 };

        config.scratch_bytes = 100 * SPAN;
        fixture_open_as(&f, &config);
        f.seg.asymmetric = false;
        for (unsigned i = 0; i < 3; i++) {
                racers[i] = (Racer){ .race = &race, .seed = 300 + i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        run(&race, racers, 3, pass_blocks);
        expect_busy(racers, ELEMENTSOF(racers));
        empty_cells(&race, &racers[0]);
        expect_nothing_left();
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- giving */

static void *give_and_end(void *userdata)
{
        Racer *r = userdata;
        Race *race = r->race;

        for (unsigned i = 0; i < race->rounds; i++) {
                uint64_t *cell = &race->cells[fixture_random(&r->seed) % 4], h = load_acquire(cell), s = 0;
                int k = h ? slot_open(&r->a, h, NULL) : -ESTALE;

                if (k < 0) {
                        check(race, slot_new(&r->a, 70, &h) == 0);
                        uint64_t seen = load_acquire(cell);
                        (void)cas_sc(cell, &seen, h);
                }
                k = scratch_alloc(&r->a, some_size(r), &s, NULL);
                check(race, k == 0 || k == -ENOSPC);
                if (k == 0) {
                        k = give_block(&r->a, s, h);
                        check(race, k == 0 || k == -ENOSPC);
                        r->given += k == 0;
                        check(race, scratch_lookup(&r->a, s, NULL, NULL) == 0);
                        check(race, scratch_free(&r->a, s) == (k == 0 ? -EBUSY : 0));
                }
                check(race, slot_close(&r->a, h, NULL) == 0);
        }
        return NULL;
}

Test(scratch_threads, blocks_of_handles_that_come_and_go, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(30000) };
        Racer racers[4] = { 0 };
        VerifyStats stats;

        fixture_open(&f);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = 400 + i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        cr_assert_eq(slot_new(&racers[0].a, 70, &race.cells[0]), 0);
        cr_assert_eq(slot_close(&racers[0].a, race.cells[0], NULL), 0);
        run(&race, racers, 4, give_and_end);
        for (unsigned i = 0; i < 4; i++)
                cr_assert_gt(racers[i].given, 0);
        expect_nothing_left();
        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_eq(stats.handles, 0);
        expect_all_memory_back(&racers[0].a, 4);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- freed by two at once */

static void *free_the_same(void *userdata)
{
        Racer *r = userdata;
        Race *race = r->race;

        for (unsigned i = 1; i <= race->rounds; i++) {
                uint64_t s;

                while (load_acquire(&race->go) < i)
                        (void)sched_yield();
                s = load_acquire(&race->cells[0]);
                r->freed += scratch_free(&r->a, s) == 0;
                (void)fetch_add_sc(&race->cells[1], 1);
        }
        return NULL;
}

Test(scratch_threads, of_two_frees_one_succeeds, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(5000) };
        Racer racers[2] = { 0 };
        pthread_t threads[2];
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (unsigned i = 0; i < 2; i++) {
                racers[i] = (Racer){ .race = &race };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
                cr_assert_eq(pthread_create(&threads[i], NULL, free_the_same, &racers[i]), 0);
        }
        for (unsigned i = 1; i <= race.rounds; i++) {
                uint64_t s;

                cr_assert_eq(scratch_alloc(&a, i % 4 ? 100 : 3 * SPAN, &s, NULL), 0);
                store_release(&race.cells[0], s);
                store_release(&race.go, i);
                while (load_acquire(&race.cells[1]) != 2 * (uint64_t)i)
                        (void)sched_yield();
        }
        for (unsigned i = 0; i < 2; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(racers[0].freed + racers[1].freed, race.rounds);
        expect_nothing_left();
        fixture_done(&f);
}
