/* SPDX-License-Identifier: MIT */

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "shm/hazard.h"
#include "unit/shm/fixture.h"

Test(hazard, who_looks_is_seen)
{
        Fixture f;
        Actor a, b;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, 0, &b);
        cr_assert_not(hazard_seen(&a, 0));
        hazard_set(&b, 0);
        cr_assert_eq(f.seg.hazards[b.id].line[0].span, 1, "the number plus one");
        cr_assert(hazard_seen(&a, 0));
        cr_assert_not(hazard_seen(&a, 1));
        cr_assert_not(hazard_seen(&b, 0), "one's own look is no hindrance");
        hazard_set(&b, 255);
        cr_assert_not(hazard_seen(&a, 0));
        cr_assert(hazard_seen(&a, 255));
        hazard_clear(&b);
        cr_assert_not(hazard_seen(&a, 255));
        cr_assert_eq(f.seg.hazards[b.id].line[0].span, 0);
        fixture_done(&f);
}

Test(hazard, threads_of_one_client_have_lines_of_their_own)
{
        Fixture f;
        Actor a, b;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        b = a;
        actor_set_thread(&b, MH_SHM_THREADS - 1);
        hazard_set(&b, 9);
        cr_assert_eq(f.seg.hazards[a.id].line[0].span, 0);
        cr_assert_eq(f.seg.hazards[a.id].line[7].span, 10);
        cr_assert(hazard_seen(&a, 9));
        cr_assert_not(hazard_seen(&b, 9));
        hazard_clear(&b);
        fixture_done(&f);
}

Test(hazard, the_daemons_own_line)
{
        Fixture f;
        Actor a, d;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        actor_init(&d, &f.seg, 0, segment_ledger(&f.seg, 0));
        hazard_set(&d, 3);
        cr_assert(hazard_seen(&a, 3));
        hazard_clear(&d);
        fixture_done(&f);
}

Test(hazard, the_last_client_too)
{
        Fixture f;
        Actor a, b;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        while (fixture_attach(&f, 0, &b) < f.seg.n_clients - 1)
                ;
        hazard_set(&b, 5);
        cr_assert(hazard_seen(&a, 5));
        hazard_clear(&b);

        /* A mark that somebody scribbled over leads nowhere else. */
        f.seg.shared->client_hwm = UINT32_MAX;
        cr_assert_not(hazard_seen(&a, 5));
        f.seg.shared->client_hwm = f.seg.n_clients;
        fixture_done(&f);
}

Test(hazard, without_membarrier_nothing_is_given_back)
{
        Fixture f;

        fixture_open(&f);
        if (f.seg.asymmetric)
                cr_assert(hazard_barrier(&f.seg));
        f.seg.asymmetric = false;
        cr_assert_not(hazard_barrier(&f.seg));
        fixture_close(&f);
}

/* ---------------------------------------------------------------------------------------------- one of the two looks last */

/* On a machine with other things to do, two threads that take turns may need a slice of time for each: then fewer rounds
 * must be enough. */
#define RACE_SECONDS 3
#define RACE_OVER    UINT32_MAX

typedef struct Race {
        Actor looker, giver;
        uint32_t usable;
        uint32_t round, given, over; /* the last round of which each was said */
        uint32_t both;               /* rounds in which neither saw the other */
} Race;

static void *look(void *userdata)
{
        Race *race = userdata;

        for (uint32_t i = 1;; i++) {
                uint32_t round;
                bool used;

                while ((round = load_acquire(&race->round)) != i && round != RACE_OVER)
                        (void)sched_yield();
                if (round == RACE_OVER)
                        break;
                hazard_set(&race->looker, 3);
                used = load_sc(&race->usable);
                while (load_acquire(&race->given) >> 1 != i)
                        (void)sched_yield();
                if (used && load_acquire(&race->given) & 1)
                        race->both++;
                hazard_clear(&race->looker);
                store_release(&race->over, i);
        }
        return NULL;
}

static void race(Race *race)
{
        uint32_t rounds = fixture_scaled(20000);
        time_t end = time(NULL) + RACE_SECONDS;
        pthread_t thread;

        cr_assert_eq(pthread_create(&thread, NULL, look, race), 0);
        for (uint32_t i = 1; i <= rounds && time(NULL) < end; i++) {
                bool clear;

                store_sc(&race->usable, 1);
                store_release(&race->round, i);
                store_sc(&race->usable, 0);
                if (race->giver.seg->asymmetric)
                        (void)hazard_barrier(race->giver.seg);
                else
                        (void)fetch_add_sc(&race->usable, 0);
                clear = !hazard_seen(&race->giver, 3);
                store_release(&race->given, i << 1 | clear);
                while (load_acquire(&race->over) != i)
                        (void)sched_yield();
        }
        store_release(&race->round, RACE_OVER);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(race->both, 0);
}

Test(hazard, never_both_unseen)
{
        Race r = { 0 };
        Fixture f;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &r.looker);
        (void)fixture_attach(&f, 0, &r.giver);
        race(&r);
        fixture_done(&f);
}

Test(hazard, never_both_unseen_with_fences)
{
        Race r = { 0 };
        Fixture f;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &r.looker);
        (void)fixture_attach(&f, 0, &r.giver);
        f.seg.asymmetric = false;
        race(&r);
        fixture_done(&f);
}
