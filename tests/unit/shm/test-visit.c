/* SPDX-License-Identifier: MIT */

/*
 * The owner of a span frees its blocks there by plain stores, until somebody else comes: block_visit(). And what it remembers of
 * blocks that it freed.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "base/cleanup.h"
#include "shm/block.h"
#include "shm/give.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/stock.h"
#include "unit/shm/two.h"

#define BOTH (MH_SHM_VISITORS_EXPECTED | MH_SHM_VISITORS_SEEN)

static Actor twin; /* the second thread of a's client */

static void open_all(bool asymmetric)
{
        open_two();
        f.seg.asymmetric = f.seg.asymmetric && asymmetric;
        twin = a;
        actor_set_thread(&twin, 1);
}

static void need_membarrier(void)
{
        if (!f.seg.asymmetric)
                cr_skip_test("membarrier(2) is missing");
}

static uint32_t visitors(uint64_t s)
{
        return load_sc(&f.seg.owners[span_of(s)].visitors);
}

/* ---------------------------------------------------------------------------------------------- one after the other */

Test(visit, who_comes_says_so)
{
        uint64_t s, t, u, h;

        open_all(true);
        need_membarrier();
        s = take(&a, 100);
        t = take(&a, 100);
        u = take(&a, 100);
        h = make(&b);
        cr_assert_eq(visitors(s), 0);
        cr_assert_eq(scratch_free(&a, s), 0);
        cr_assert_eq(a.hazard->freeing, 0);
        cr_assert_eq(scratch_free(&a, s), -ESTALE);
        cr_assert_eq(scratch_lookup(&b, t, NULL, NULL), 0);
        cr_assert_eq(give_block(&b, t, h), -EBADF);
        cr_assert_eq(visitors(t), 0, "who only looks is no visitor");
        cr_assert_eq(scratch_free(&b, t), 0);
        cr_assert_eq(visitors(t), BOTH);
        cr_assert_eq(scratch_free(&a, t), -ESTALE);
        cr_assert_eq(scratch_free(&a, u), 0);
        cr_assert_eq(a.hazard->freeing, 0);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        fixture_done(&f);
}

Test(visit, without_membarrier_they_are_always_expected)
{
        uint64_t s, t;

        open_all(false);
        s = take(&a, 100);
        t = take(&a, 100);
        cr_assert_eq(visitors(s), BOTH);
        cr_assert_eq(scratch_free(&b, s), 0);
        cr_assert_eq(scratch_free(&a, s), -ESTALE);
        cr_assert_eq(scratch_free(&a, t), 0);
        fixture_done(&f);
}

/* What its thread is just freeing is as good as free, and nothing else is. */
Test(visit, what_is_just_being_freed)
{
        uint64_t s, t, h;

        open_all(true);
        s = take(&a, 100);
        t = take(&a, 100);
        h = make(&a);
        store_sc(&a.hazard->freeing, s);
        cr_assert_eq(scratch_free(&b, s), -ESTALE);
        cr_assert_eq(scratch_free(&twin, s), -ESTALE);
        cr_assert_eq(give_block(&twin, s, h), -ESTALE);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], 0);
        cr_assert_eq(scratch_free(&b, t), 0);
        store_sc(&a.hazard->freeing, 0);
        cr_assert_eq(give_block(&twin, s, h), 0);
        cr_assert_eq(scratch_free(&a, s), -EBUSY);
        cr_assert_eq(a.hazard->freeing, 0);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(scratch_free(&a, s), -ESTALE);
        fixture_done(&f);
}

/* It died before it freed, and so does the free of whoever came then; but its end frees the block, and the line is clear. */
Test(visit, who_dies_while_it_frees)
{
        uint64_t s;

        open_all(true);
        s = take(&a, 100);
        store_sc(&a.hazard->freeing, s);
        cr_assert_eq(scratch_free(&b, s), -ESTALE);
        cr_assert_eq(fixture_reap(&f, a.id).scratch_bytes, 112);
        cr_assert_eq(a.hazard->freeing, 0);
        fixture_done(&f);
}

/*
 * A span that its client takes anew expects nobody again. But who came for a block that was there before may still be about to say
 * that it was seen: then the span's frees must go on expecting somebody.
 */
Test(visit, who_came_for_a_block_that_was_there_before)
{
        uint64_t s, t, u;
        Block found;

        for (unsigned release = 0; release < 2; release++)
                for (unsigned stays = 0; stays < 2; stays++) {
                        open_all(true);
                        need_membarrier();
                        s = take(&a, 30000);
                        t = take(&a, 30000);
                        cr_assert_eq(span_of(s), span_of(t));
                        cr_assert_eq(block_find(&b, scratch_offset(s), &found), 0);
                        /* The first step of its visit. */
                        (void)fetch_or_sc(&f.seg.owners[found.span].visitors, MH_SHM_VISITORS_EXPECTED);
                        if (!stays)
                                block_done(&b);
                        (void)take(&a, 30000); /* elsewhere from now on */
                        cr_assert_eq(scratch_free(&a, s), 0);
                        cr_assert_eq(scratch_free(&a, t), 0);
                        if (release)
                                cr_assert(stock_trim(&a));
                        else
                                cr_assert_neq(a.spare[0], 0);
                        cr_assert_eq(f.seg.spans[found.span].kept != 0, release && stays);

                        (void)take(&a, 30000);
                        u = take(&a, 20000); /* takes that span */
                        cr_assert_eq(span_of(u), found.span);
                        cr_assert_eq(visitors(u), stays ? MH_SHM_VISITORS_EXPECTED : 0U);
                        if (stays) {
                                cr_assert_not(block_free(&b, &found,
                                                         owner_make(scratch_tag(s), MH_SHM_OWNER_CLIENT, 0, a.id)));
                                block_done(&b);
                        }
                        cr_assert_eq(scratch_free(&a, u), 0);
                        cr_assert_eq(a.hazard->freeing, 0);
                        (void)fixture_reap(&f, a.id);
                        fixture_done(&f);
                }
}

/* Who saw the span an orphan comes unannounced. Its next owner expects that; but it passed no barrier that others could rely on. */
Test(visit, adopted)
{
        uint64_t s, t, h;

        open_all(true);
        need_membarrier();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        s = take(&a, 100);
        cr_assert_eq(give_block(&a, s, h), 0);
        cr_assert_eq(visitors(s), 0);
        (void)fixture_reap(&f, a.id);
        t = take(&b, 100);
        cr_assert_eq(span_of(t), span_of(s));
        cr_assert_eq(visitors(t), MH_SHM_VISITORS_EXPECTED);
        cr_assert_eq(b.hazard->span, 0);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(scratch_free(&a, t), 0);
        cr_assert_eq(visitors(t), BOTH);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- at once */

#define RACERS 3U

enum {
        FREE_OWNER,
        FREE_OTHER,
        GIVE_TWIN,
};

typedef struct Race {
        uint64_t block, handle;
        uint32_t round, done, won[RACERS];
        unsigned rounds, n;
} Race;

typedef struct Racer {
        Race *race;
        unsigned what;
} Racer;

static bool race_once(Race *race, unsigned what)
{
        uint64_t s = load_acquire(&race->block);

        switch (what) {
        case FREE_OWNER:
                return scratch_free(&a, s) == 0;
        case FREE_OTHER:
                return scratch_free(&b, s) == 0;
        default:
                return give_block(&twin, s, load_acquire(&race->handle)) == 0;
        }
}

static void *race_along(void *userdata)
{
        Racer *r = userdata;

        for (unsigned i = 1; i <= r->race->rounds; i++) {
                while (load_acquire(&r->race->round) < i)
                        (void)sched_yield();
                if (race_once(r->race, r->what))
                        (void)fetch_add_sc(&r->race->won[r->what], 1);
                (void)fetch_add_sc(&r->race->done, 1);
        }
        return NULL;
}

/* Half of the rounds in a span where nobody has been yet. */
static void run_race(bool asymmetric, const unsigned *what, unsigned n, unsigned rounds)
{
        Race race = { .rounds = rounds, .n = n };
        Racer racers[RACERS];
        pthread_t threads[RACERS];
        uint32_t won = 0;

        open_all(asymmetric);
        for (unsigned i = 0; i < n; i++) {
                racers[i] = (Racer){ .race = &race, .what = what[i] };
                cr_assert_eq(pthread_create(&threads[i], NULL, race_along, &racers[i]), 0);
        }
        for (unsigned i = 1; i <= rounds; i++) {
                uint64_t h = make(&a), s;

                if (i % 2)
                        (void)stock_trim(&a);
                s = take(&a, 100);
                store_relaxed(&race.handle, h);
                store_release(&race.block, s);
                store_release(&race.round, i);
                while (load_acquire(&race.done) != n * i)
                        (void)sched_yield();
                cr_assert_eq(slot_close(&a, h, NULL), 0);
                cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
                won = race.won[0] + race.won[1] + race.won[2];
                cr_assert_eq(won, i, "%u of %u in round %u", won, i, i);
        }
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        fixture_done(&f);
}

Test(visit, of_the_owners_and_anothers_free_one_succeeds, .timeout = 100)
{
        run_race(true, (const unsigned[]){ FREE_OWNER, FREE_OTHER }, 2, fixture_scaled(4000));
}

Test(visit, the_same_without_membarrier, .timeout = 100)
{
        run_race(false, (const unsigned[]){ FREE_OWNER, FREE_OTHER }, 2, fixture_scaled(4000));
}

Test(visit, of_two_frees_and_a_give_one_succeeds, .timeout = 100)
{
        run_race(true, (const unsigned[]){ FREE_OWNER, FREE_OTHER, GIVE_TWIN }, 3, fixture_scaled(3000));
}

/* ---------------------------------------------------------------------------------------------- blocks remembered */

/* One that was freed elsewhere is taken again first, unless its span has become something else. */
Test(visit, what_was_freed_elsewhere)
{
        unsigned class = class_of(30000);
        uint64_t s[4], t;

        open_all(true);
        for (unsigned i = 0; i < ELEMENTSOF(s); i++)
                s[i] = take(&a, 30000);
        cr_assert_eq(span_of(s[0]), span_of(s[1]));
        cr_assert_eq(span_of(s[2]), span_of(s[3]));
        cr_assert_neq(span_of(s[0]), span_of(s[2]));
        cr_assert_eq(scratch_free(&a, s[0]), 0);
        cr_assert_eq(a.classes[class].n_freed, 1);
        cr_assert_eq(scratch_offset(take(&a, 30000)), scratch_offset(s[0]));
        cr_assert_eq(a.classes[class].n_freed, 0);

        /* Both; then the span is another class's, and its blocks are no more. */
        t = scratch_make(scratch_tag(s[0]) + 1, scratch_offset(s[0]));
        cr_assert_eq(scratch_free(&a, t), 0);
        cr_assert_eq(scratch_free(&a, s[1]), 0);
        cr_assert_eq(a.classes[class].n_freed, 2);
        t = take(&a, 20000);
        cr_assert_eq(span_of(t), span_of(s[0]), "the spare one");
        cr_assert_eq(a.classes[class].n_freed, 2);
        t = take(&a, 30000);
        cr_assert_neq(span_of(t), span_of(s[0]));
        cr_assert_eq(a.classes[class].n_freed, 0);
        fixture_verify_rest(&f);

        (void)fixture_reap(&f, a.id);
        fixture_done(&f);
}

/* Given back, and another client's now, of the same class: its free blocks are not ours. */
Test(visit, what_was_freed_elsewhere_and_is_somebody_elses_now)
{
        unsigned class = class_of(30000);
        uint64_t s[4], t;

        open_all(true);
        for (unsigned i = 0; i < ELEMENTSOF(s); i++)
                s[i] = take(&a, 30000);
        for (unsigned i = 0; i < ACTOR_SPARE_SPANS; i++)
                a.spare[i] = 200 + i; /* enough of them */
        cr_assert_eq(scratch_free(&a, s[0]), 0);
        cr_assert_eq(scratch_free(&a, s[1]), 0);
        cr_assert_eq(span_state(f.seg.spans[span_of(s[0])].word), MH_SHM_SPAN_FREE);
        cr_assert_eq(a.classes[class].n_freed, 2);
        t = take(&b, 30000);
        cr_assert_eq(span_of(t), span_of(s[0]));
        cr_assert_eq(scratch_free(&b, t), 0);
        t = take(&a, 30000);
        cr_assert_neq(span_of(t), span_of(s[0]));
        cr_assert_eq(a.classes[class].n_freed, 0);
        fixture_verify_rest(&f);

        (void)fixture_reap(&f, a.id);
        fixture_done(&f);
}
