/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "unit/shm/fixture.h"

#define GEN FIXTURE_FIRST

/* ---------------------------------------------------------------------------------------------- memory */

#define UNIT 1024U /* words */

/* Where plain stores are enough: all parts that have memory next to each other, and no further than there are descriptors of chunks. */
Test(ledger, window)
{
        static const struct {
                uint32_t slot, begin, end, descriptors;
        } tries[] = {
                { 4 * UNIT + 7, 3, 6, 256 },
                { 3 * UNIT, 3, 6, 256 },
                { 6 * UNIT - 1, 3, 6, 256 },
                { 64 * UNIT, 63, 128, 256 },
                { 63 * UNIT, 63, 128, 256 },
                { 127 * UNIT, 63, 128, 256 },
                { 0, 0, 1, 256 },
                { 4 * UNIT, 3, 5, 10 },
                { 64 * UNIT, 63, 65, 130 },
                { 5 * UNIT, 3, 3, 10 },
        };
        SegmentConfig config = fixture_config;
        Fixture f;
        Actor a;

        config.n_slots = 128 * UNIT;
        fixture_open_as(&f, &config);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (uint32_t unit = 0; unit < 128; unit++)
                if (unit == 0 || (unit >= 3 && unit < 6) || unit >= 63)
                        cr_assert_eq(ledger_reserve_slot(&a, unit * UNIT), 0);
        for (unsigned i = 0; i < ELEMENTSOF(tries); i++) {
                uint32_t slot = tries[i].slot;

                store_relaxed(&f.seg.shared->chunk_hwm, tries[i].descriptors);
                a.ledger_unit = 0;
                actor_close_window(&a);
                actor_set_alone(&a, true);
                cr_assert_eq(ledger_load(&a, slot), 0);
                cr_expect_eq(ledger_in_window(&a, slot), tries[i].begin < tries[i].end, "%u", i);
                if (tries[i].begin < tries[i].end) {
                        cr_expect_eq(a.window, tries[i].begin * UNIT, "%u: from %u", i, a.window);
                        cr_expect_eq(a.window_size, (tries[i].end - tries[i].begin) * UNIT, "%u: %u", i, a.window_size);
                }
                actor_set_alone(&a, false);
                actor_close_window(&a);
        }
        store_relaxed(&f.seg.shared->chunk_hwm, 0);
        fixture_close(&f);
}

Test(ledger, memory_comes_a_unit_at_a_time)
{
        uint64_t before;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        before = fixture_blocks(&f);
        cr_assert_eq(ledger_load(&a, 5), 0);
        cr_assert_eq(ledger_load(&a, 2047), 0);
        cr_assert_eq(ledger_span_word(&a, 0), 0);
        cr_assert_not(ledger_has_span(&a, 255));
        cr_assert_eq(fixture_blocks(&f), before, "looking takes no memory");

        fixture_fail_nothing();
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        cr_assert_eq(fixture_blocks(&f), before + 16, "8 KiB");
        cr_assert_eq(a.page->reserved[0], 1);
        cr_assert_eq(ledger_reserve_slot(&a, 0), 0);
        cr_assert_eq(ledger_reserve_slot(&a, 1023), 0);
        cr_assert_eq(fixture_reserved(), 1, "what is known to be there is not asked for again");
        cr_assert_eq(ledger_reserve_slot(&a, 1024), 0);
        cr_assert_eq(fixture_reserved(), 2);
        cr_assert_eq(a.page->reserved[0], 3);
        cr_assert_eq(ledger_reserve_span(&a, 0), 0);
        cr_assert_eq(a.page->reserved[0], 7, "the span bits are behind the words");
        cr_assert_eq(ledger_reserve_span(&a, 255), 0);
        cr_assert_eq(fixture_reserved(), 3);
        cr_assert_eq(fixture_blocks(&f), before + 48);
        fixture_done(&f);
}

Test(ledger, each_has_its_own)
{
        Fixture f;
        Actor a, b;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        cr_assert_eq(ledger_reserve_slot(&a, 7), 0);
        cr_assert_eq(ledger_reserve_span(&a, 7), 0);
        cr_assert_eq(ledger_reserve_slot(&b, 7), 0);
        cr_assert_eq(ledger_reserve_span(&b, 7), 0);
        cr_assert(ledger_change(&a, 7, 0, MH_SHM_LEDGER_RESERVED));
        ledger_set_span(&a, 7);
        cr_assert_eq(ledger_load(&b, 7), 0);
        cr_assert_not(ledger_has_span(&b, 7));
        cr_assert_eq(ledger_load(&a, 6), 0);
        cr_assert_eq(ledger_load(&a, 8), 0);
        ledger_settle(&a, 7, 0);
        ledger_clear_span(&a, 7);
        fixture_done(&f);
}

Test(ledger, without_memory)
{
        uint64_t before;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        before = fixture_blocks(&f);
        fixture_fail_reserve(0);
        cr_assert_eq(ledger_reserve_slot(&a, 5), -ENOSPC);
        cr_assert_eq(ledger_reserve_span(&a, 5), -ENOSPC);
        fixture_fail_nothing();
        cr_assert_eq(a.page->reserved[0], 0, "not remembered as if it were there");
        cr_assert_eq(ledger_load(&a, 5), 0);
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        cr_assert_eq(fixture_blocks(&f), before + 16);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- words */

Test(ledger, words_change_only_from_what_was_seen)
{
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        cr_assert(ledger_change(&a, 5, 0, ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT)));
        cr_assert_not(ledger_change(&a, 5, 0, MH_SHM_LEDGER_RESERVED));
        cr_assert_not(ledger_change(&a, 5, ledger_make(GEN + 1, MH_SHM_LEDGER_IN_FLIGHT), 0), "the generation counts");
        cr_assert_eq(ledger_load(&a, 5), ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT));
        ledger_settle(&a, 5, ledger_make(GEN, 1));
        cr_assert_eq(ledger_load(&a, 5), ledger_make(GEN, 1));
        ledger_settle(&a, 5, 0);
        cr_assert_eq(ledger_load(&a, 5), 0);
        fixture_done(&f);
}

Test(ledger, waiting_ends_at_once_when_it_changed)
{
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        a.ledger[5] = ledger_make(GEN, 1);
        ledger_wait(&a, 5, ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT));
        cr_assert_eq(a.ledger[5], ledger_make(GEN, 1), "left alone");
        a.ledger[5] = 0;
        fixture_done(&f);
}

typedef struct Waiter {
        Actor a;
        uint32_t back;
} Waiter;

static void *wait_for_it(void *userdata)
{
        Waiter *w = userdata;
        uint64_t word;

        while ((word = ledger_load(&w->a, 5)) & MH_SHM_LEDGER_IN_FLIGHT)
                ledger_wait(&w->a, 5, word);
        store_release(&w->back, 1);
        return NULL;
}

Test(ledger, settling_wakes_all_who_wait, .timeout = 60)
{
        Waiter w[4] = { 0 };
        pthread_t threads[4];
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        for (unsigned round = 0; round < 20; round++) {
                store_sc(&a.ledger[5], ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT));
                for (unsigned i = 0; i < 4; i++) {
                        w[i] = (Waiter){ .a = a };
                        cr_assert_eq(pthread_create(&threads[i], NULL, wait_for_it, &w[i]), 0);
                }
                while (!(ledger_load(&a, 5) & MH_SHM_LEDGER_WAITERS))
                        (void)sched_yield();
                for (unsigned i = 0; i < 4; i++)
                        cr_assert_not(load_acquire(&w[i].back));
                cr_assert_eq(ledger_load(&a, 5), ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_WAITERS));
                ledger_settle(&a, 5, ledger_make(GEN, 3));
                for (unsigned i = 0; i < 4; i++)
                        cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(ledger_load(&a, 5), ledger_make(GEN, 3), "and the mark of those who waited is gone");
        }
        ledger_settle(&a, 5, 0);
        fixture_done(&f);
}

/* IN_FLIGHT as a lock: a plain counter behind it, which only one thread at a time changes. */
typedef struct Locker {
        Actor a;
        uint64_t *counter;
        unsigned rounds;
} Locker;

static void *lock_and_count(void *userdata)
{
        Locker *l = userdata;
        uint64_t word;

        for (unsigned i = 0; i < l->rounds; i++) {
                for (;;) {
                        word = ledger_load(&l->a, 5);
                        if (word & MH_SHM_LEDGER_IN_FLIGHT)
                                ledger_wait(&l->a, 5, word);
                        else if (ledger_change(&l->a, 5, word, ledger_make(GEN, MH_SHM_LEDGER_IN_FLIGHT)))
                                break;
                }
                ++*l->counter;
                if (i % 64 == 0)
                        (void)sched_yield(); /* long enough for others to fall asleep */
                ledger_settle(&l->a, 5, ledger_make(GEN, 1));
        }
        return NULL;
}

Test(ledger, in_flight_is_a_lock, .timeout = 100)
{
        uint64_t counter = 0;
        Locker l[4];
        pthread_t threads[4];
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(ledger_reserve_slot(&a, 5), 0);
        for (unsigned i = 0; i < 4; i++) {
                l[i] = (Locker){ .a = a, .counter = &counter, .rounds = fixture_scaled(20000) };
                cr_assert_eq(pthread_create(&threads[i], NULL, lock_and_count, &l[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(counter, 4 * (uint64_t)l[0].rounds);
        ledger_settle(&a, 5, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- spans */

Test(ledger, span_bits)
{
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        ledger_clear_span(&a, 100); /* without memory: nothing to clear, and nothing is touched */
        cr_assert_eq(ledger_reserve_span(&a, 100), 0);
        ledger_set_span(&a, 100);
        ledger_set_span(&a, 127);
        ledger_set_span(&a, 128);
        cr_assert(ledger_has_span(&a, 100));
        cr_assert_not(ledger_has_span(&a, 101));
        cr_assert_eq(ledger_span_word(&a, 1), UINT64_C(1) << 36 | UINT64_C(1) << 63);
        cr_assert_eq(ledger_span_word(&a, 2), 1);
        cr_assert_eq(ledger_span_word(&a, 4), 0, "beyond the last");
        cr_assert_eq(ledger_span_word(&a, UINT32_MAX), 0);
        ledger_set_span(&a, 100);
        ledger_clear_span(&a, 100);
        cr_assert_not(ledger_has_span(&a, 100));
        ledger_clear_span(&a, 100);
        cr_assert_eq(ledger_span_word(&a, 1), UINT64_C(1) << 63);
        ledger_clear_span(&a, 127);
        ledger_clear_span(&a, 128);
        fixture_done(&f);
}
