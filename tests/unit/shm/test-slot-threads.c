/* SPDX-License-Identifier: MIT */

/* Races for handles: of clients, of threads of one client, for many handles and for one. Nothing may be lost, nothing
 * may go that is held, and in the end nothing may be left. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "shm/slot.h"
#include "shm/totals.h"
#include "unit/shm/two.h"

static const SegmentConfig roomy = {
        .n_slots = 4096,
        .n_clients = 8,
        .scratch_bytes = MH_SHM_SPAN_SIZE,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
        .first_generation = FIXTURE_FIRST,
};

/* ---------------------------------------------------------------------------------------------- threads */

#define CELLS 4U

/* Handles that all threads know, by number of place. */
typedef struct Race {
        uint64_t cells[CELLS];
        uint32_t errors;
        uint32_t go;
        unsigned rounds;
} Race;

typedef struct Racer {
        Race *race;
        Actor a;
        uint64_t seed;
        uint64_t opened, stale, ended;
} Racer;

static void check(Race *race, bool good)
{
        if (!good)
                (void)fetch_add_relaxed(&race->errors, 1);
}

static void close_it(Racer *r, uint64_t h)
{
        unsigned flags = 0;
        int k = slot_close(&r->a, h, &flags);

        check(r->race, k == 0);
        r->ended += k == 0 && flags & SLOT_CLOSED_EVERYWHERE;
}

/* Opens what it finds, and now and then puts a new one there and closes the one that was there, in the name of who made it. */
static void *open_and_close(void *userdata)
{
        Racer *r = userdata;
        Race *race = r->race;

        while (!load_acquire(&race->go))
                (void)sched_yield();
        for (unsigned i = 0; i < race->rounds; i++) {
                uint64_t *cell = &race->cells[fixture_random(&r->seed) % CELLS], h = load_acquire(cell);
                unsigned type = 0;
                int k = h ? slot_open(&r->a, h, &type) : -ESTALE;

                if (k == 0) {
                        struct mh_shm_slot *s = NULL;

                        r->opened++;
                        check(race, type == 5);
                        check(race, slot_held(&r->a, h, &s) == 0 && s);
                        /* Held, so it lives and keeps its generation. */
                        check(race, state_generation(load_sc(&r->a.seg->slots[handle_slot(h)].state)) ==
                                            handle_generation(h));
                        check(race, slot_open(&r->a, h, NULL) == 0);
                        close_it(r, h);
                        close_it(r, h);
                        if (i % 64 == 0)
                                (void)sched_yield();
                        continue;
                }
                check(race, k == -ESTALE);
                r->stale++;
                /* Not there, or gone: a new one, as long as nobody else was quicker. It lives while others hold it. */
                uint64_t fresh;
                check(race, slot_new(&r->a, 5, &fresh) == 0);
                (void)cas_sc(cell, &h, fresh);
                if (i % 3 == 0)
                        (void)sched_yield();
                close_it(r, fresh);
        }
        return NULL;
}

static void run(Race *race, Racer *racers, unsigned n)
{
        pthread_t threads[8];

        /* A chunk to begin with: while all of the few chunks are being opened by others, there would be none to be had. */
        (void)closed(&racers[0].a, make(&racers[0].a));
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, &racers[i]), 0);
        store_release(&race->go, 1);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(race->errors, 0);
}

/* Each handle that was made has ended, once. */
static void expect_all_over(Race *race, Racer *racers, unsigned n)
{
        uint64_t opened = 0, ended = 0, created = 0, destroyed = 0;
        VerifyStats stats;
        Totals totals;

        for (unsigned i = 0; i < n; i++) {
                opened += racers[i].opened;
                ended += racers[i].ended;
                created += racers[i].a.account->created;
                destroyed += racers[i].a.account->destroyed;
        }
        cr_assert_gt(opened, 0);
        totals_read(&f.seg, &totals);
        cr_assert_eq(totals.handles, 0);
        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_eq(stats.handles, 0);
        cr_assert_eq(stats.reserved, 0);
        cr_assert_eq(destroyed, created, "each once");
        cr_assert_gt(ended, 0); /* a handle's end may be told to several, or to none but an opener who came too late */
        for (unsigned i = 0; i < CELLS; i++)
                if (race->cells[i])
                        cr_assert_eq(slot_open(&racers[0].a, race->cells[i], NULL), -ESTALE);
}

Test(slot, races_of_clients, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(60000) };
        Racer racers[4] = { 0 };

        fixture_open(&f);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        run(&race, racers, 4);
        expect_all_over(&race, racers, 4);
        fixture_done(&f);
}

Test(slot, races_of_clients_in_several_words, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(30000) };
        Racer racers[3] = { 0 };

        fixture_open(&f);
        for (unsigned i = 0; i < 3; i++) {
                racers[i] = (Racer){ .race = &race, .seed = 100 + i };
                while (fixture_attach(&f, FIXTURE_OWN, &racers[i].a) % 64 != 1)
                        ;
        }
        cr_assert_eq(racers[2].a.id, 129);
        run(&race, racers, 3);
        expect_all_over(&race, racers, 3);
        fixture_done(&f);
}

Test(slot, races_of_clients_that_keep_slots, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(60000) };
        Racer racers[5] = { 0 };

        fixture_open_as(&f, &roomy);
        for (unsigned i = 0; i < 5; i++) {
                racers[i] = (Racer){ .race = &race, .seed = 300 + i };
                if (i < 3)
                        (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        for (unsigned i = 3; i < 5; i++) {
                racers[i].a = racers[0].a;
                actor_set_thread(&racers[i].a, i);
        }
        for (unsigned i = 0; i < 5; i++)
                slot_keep(&racers[i].a);
        run(&race, racers, 5);
        fixture_verify_rest(&f);
        for (unsigned i = 0; i < 5; i++)
                slot_keep_none(&racers[i].a);
        expect_all_over(&race, racers, 5);
        fixture_done(&f);
}

/* Threads of one client, and of another one. A count may then end in another thread than it began. */
Test(slot, races_of_threads_of_one_client, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(40000) };
        Racer racers[5] = { 0 };

        fixture_open(&f);
        for (unsigned i = 0; i < 5; i++)
                racers[i] = (Racer){ .race = &race, .seed = 200 + i };
        (void)fixture_attach(&f, FIXTURE_OWN, &racers[0].a);
        (void)fixture_attach(&f, FIXTURE_OWN, &racers[4].a);
        for (unsigned i = 1; i < 4; i++) {
                racers[i].a = racers[0].a;
                actor_set_thread(&racers[i].a, i);
        }
        run(&race, racers, 5);
        expect_all_over(&race, racers, 5);
        fixture_done(&f);
}

/* Everybody opens and closes one handle that somebody holds throughout: it must not go. */
static void *use_what_lives(void *userdata)
{
        Racer *r = userdata;

        for (unsigned i = 0; i < r->race->rounds; i++) {
                uint64_t h = r->race->cells[0];

                check(r->race, slot_open(&r->a, h, NULL) == 0);
                if (i % 100 == 0)
                        (void)sched_yield();
                close_it(r, h);
        }
        return NULL;
}

Test(slot, what_is_held_does_not_go, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(60000) };
        Racer racers[4] = { 0 };
        pthread_t threads[4];

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        race.cells[0] = make(&a);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = i };
                if (i < 2)
                        (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
        }
        racers[2].a = racers[1].a;
        actor_set_thread(&racers[2].a, 1);
        racers[3].a = a; /* the holder's second thread */
        actor_set_thread(&racers[3].a, 1);
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, use_what_lives, &racers[i]), 0);
        for (unsigned i = 0; i < 4; i++) {
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(racers[i].ended, 0);
        }
        cr_assert_eq(race.errors, 0);
        cr_assert_eq(ledger_load(&a, handle_slot(race.cells[0])), ledger_make(FIXTURE_FIRST, 1));
        cr_assert_eq(closed(&a, race.cells[0]), GONE);
        fixture_done(&f);
}

/* All want the few slots that there are. */
static void *fight_for_slots(void *userdata)
{
        Racer *r = userdata;
        uint64_t mine[200];
        unsigned n = 0;

        for (unsigned i = 0; i < r->race->rounds; i++) {
                int k = n < ELEMENTSOF(mine) ? slot_new(&r->a, 5, &mine[n]) : -ENOSPC;

                check(r->race, k == 0 || k == -ENOSPC);
                if (k == 0)
                        n++;
                else
                        r->stale++;
                while (n > 0 && (k < 0 || fixture_random(&r->seed) % 4 == 0))
                        close_it(r, mine[--n]);
        }
        while (n > 0)
                close_it(r, mine[--n]);
        return NULL;
}

Test(slot, scarce, .timeout = 100)
{
        Race race = { .rounds = fixture_scaled(20000) };
        SegmentConfig config = fixture_config;
        Racer racers[4] = { 0 };
        pthread_t threads[4];
        uint64_t h;

        config.n_slots = 512;
        fixture_open_as(&f, &config);
        for (unsigned i = 0; i < 4; i++) {
                racers[i] = (Racer){ .race = &race, .seed = i };
                (void)fixture_attach(&f, FIXTURE_OWN, &racers[i].a);
                cr_assert_eq(pthread_create(&threads[i], NULL, fight_for_slots, &racers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(race.errors, 0);
        fixture_verify_rest(&f);
        /* No slot was lost on the way. */
        for (unsigned i = 0; i < 512; i++)
                cr_assert_eq(slot_new(&racers[0].a, 5, &h), 0);
        cr_assert_eq(slot_new(&racers[1].a, 5, &h), -ENOSPC);
        fixture_done(&f);
}
