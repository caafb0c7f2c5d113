/* SPDX-License-Identifier: MIT */

/* Where small blocks come from: groups, spans, empty spans that are kept or given back. */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/span.h"
#include "shm/stock.h"
#include "unit/shm/two.h"

static uint64_t span_word(uint32_t span)
{
        return load_sc(&f.seg.spans[span].word);
}

/* ---------------------------------------------------------------------------------------------- which block is next */

#define BLOCKS (SPAN / 64) /* of 64 bytes in a span */

static void fill_span(uint64_t s[BLOCKS])
{
        for (unsigned i = 0; i < BLOCKS; i++) {
                s[i] = take(&a, 64);
                cr_assert_eq(span_of(s[i]), span_of(s[0]));
        }
}

/* What was freed last is in the cache. */
Test(stock, the_last_one_is_the_next_one)
{
        uint64_t s[10], t;

        open_two();
        for (unsigned i = 0; i < 10; i++)
                s[i] = take(&a, 64);
        for (unsigned i = 0; i < 10; i++) {
                cr_assert_eq(scratch_free(&a, s[i]), 0);
                t = take(&a, 64);
                cr_assert_eq(scratch_offset(t), scratch_offset(s[i]));
                cr_assert_eq(scratch_tag(t), scratch_tag(s[i]) + 1);
                cr_assert_eq(scratch_free(&a, s[i]), -ESTALE);
                s[i] = t;
        }
        /* Several: each comes once. */
        for (unsigned i = 0; i < 5; i++)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        for (unsigned i = 0; i < 5; i++) {
                s[i] = take(&a, 64);
                for (unsigned k = 0; k < i; k++)
                        cr_assert_neq(scratch_offset(s[i]), scratch_offset(s[k]));
        }
        fixture_done(&f);
}

/* The one that is next is not lost when its span is left, nor when there is a limit from now on. */
Test(stock, the_next_one_is_not_lost)
{
        static uint64_t s[BLOCKS];

        open_two();
        fill_span(s);
        cr_assert_eq(scratch_free(&a, s[BLOCKS - 1]), 0);
        (void)stock_trim(&a);
        cr_assert_eq(scratch_offset(take(&a, 64)), scratch_offset(s[BLOCKS - 1]));

        s[0] = take(&a, 64);
        cr_assert_eq(scratch_free(&a, s[0]), 0);
        f.seg.shared->limit_client_scratch = 100 * SPAN;
        cr_assert_eq(scratch_offset(take(&a, 64)), scratch_offset(s[0]));
        fixture_done(&f);
}

/* Others free, one after the other: nobody goes after them for each single block. */
Test(stock, what_others_free_is_taken_back_by_groups)
{
        static uint64_t s[BLOCKS];
        uint32_t first, second;

        open_two();
        fill_span(s);
        first = span_of(s[0]);
        for (unsigned i = 0; i < 31; i++)
                cr_assert_eq(scratch_free(&b, s[i]), 0);
        second = span_of(take(&a, 64));
        cr_assert_neq(second, first, "31 of 64 are free");

        /* When it is left, the group is half empty, or more. */
        cr_assert_eq(scratch_free(&b, s[31]), 0);
        for (unsigned i = 1; i < BLOCKS; i++)
                cr_assert_eq(span_of(take(&a, 64)), second);
        for (unsigned i = 0; i < 32; i++)
                cr_assert_eq(span_of(take(&a, 64)), first);
        cr_assert_neq(span_of(take(&a, 64)), first);
        fixture_done(&f);
}

/* But before there is nothing left at all, each single one is good. */
Test(stock, the_last_blocks_that_others_freed)
{
        static uint64_t s[BLOCKS];
        uint32_t first;

        open_two();
        fill_span(s);
        first = span_of(s[0]);
        for (unsigned i = 0; i < BLOCKS; i += 64)
                cr_assert_eq(scratch_free(&b, s[i]), 0);
        fixture_fail_reserve(0);
        for (unsigned i = 0; i < BLOCKS; i += 64)
                cr_assert_eq(span_of(take(&a, 64)), first);
        cr_assert_eq(scratch_alloc(&a, 64, &s[0], NULL), -ENOSPC);
        fixture_fail_nothing();
        fixture_done(&f);
}

static void *scribble_hints(void *stop)
{
        while (!load_acquire((uint32_t *)stop))
                for (uint32_t span = 0; span < 4; span++)
                        store_relaxed(&f.seg.owners[span].hints, UINT64_MAX);
        return NULL;
}

/* Somebody says all the time that blocks are free where none are: they are looked for, and not for ever. */
Test(stock, hints_that_lie)
{
        static uint64_t s[4 * BLOCKS];
        uint32_t stop = 0;
        pthread_t thread;

        open_two();
        for (unsigned i = 0; i < 4 * BLOCKS; i++)
                s[i] = take(&a, 64);
        cr_assert_lt(span_of(s[4 * BLOCKS - 1]), 4);
        cr_assert_eq(pthread_create(&thread, NULL, scribble_hints, &stop), 0);
        for (unsigned i = 0; i < 4 * BLOCKS; i++)
                cr_assert_geq(span_of(take(&a, 64)), 4);
        fixture_fail_reserve(0);
        for (unsigned i = 0; i < 10; i++) {
                int r = scratch_alloc(&a, 100, &s[0], NULL);

                cr_assert(r == 0 || r == -ENOSPC);
        }
        fixture_fail_nothing();
        store_release(&stop, 1U);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- spans */

Test(stock, all_of_it_in_small_blocks)
{
        uint64_t per = class_blocks(class_of(20000)), untouched = 77, s;
        static uint64_t all[3 * 256];
        unsigned n = 0;

        open_two();
        while (scratch_alloc(&a, 20000, &all[n], NULL) == 0)
                n++;
        cr_assert_eq(n, 256 * per);
        cr_assert_eq(scratch_alloc(&a, 20000, &untouched, NULL), -ENOSPC);
        cr_assert_eq(scratch_alloc(&a, 16, &untouched, NULL), -ENOSPC);
        cr_assert_eq(scratch_alloc(&b, 16, &untouched, NULL), -ENOSPC);
        cr_assert_eq(untouched, 77);
        /* Whichever is freed, by whomever, is found again. */
        for (unsigned i = 0; i < n; i += 41) {
                cr_assert_eq(scratch_free(i % 2 ? &a : &b, all[i]), 0);
                s = take(&a, 20000);
                cr_assert_eq(scratch_offset(s), scratch_offset(all[i]));
                all[i] = s;
        }
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(scratch_free(&b, all[i]), 0);
        for (unsigned i = 0; i < n; i++)
                all[i] = take(&a, 20000);
        cr_assert_eq(scratch_alloc(&a, 20000, &untouched, NULL), -ENOSPC);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(scratch_free(&a, all[i]), 0);
        /* And for other sizes, by others. */
        while (scratch_alloc(&b, 16, &untouched, NULL) == 0 && span_of(untouched) < 200)
                ;
        cr_assert_gt(account_owned(b.account), 190 * SPAN);
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(stock, empty_spans_are_given_back)
{
        static uint64_t s[20 * 2];
        uint64_t before;

        open_two();
        cr_assert_eq(scratch_free(&a, take(&a, 32768)), 0);
        before = fixture_blocks(&f);
        for (unsigned i = 0; i < 40; i++)
                s[i] = take(&a, 32768);
        cr_assert_geq(fixture_blocks(&f), before + 18 * 128);
        for (unsigned i = 0; i < 40; i++)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        cr_assert_leq(fixture_blocks(&f), before + (ACTOR_SPARE_SPANS + 1) * (128 + 16), "all but a few");
        fixture_verify_rest(&f);
        (void)fixture_reap(&f, a.id);
        cr_assert_leq(fixture_blocks(&f), before - 128);
        fixture_done(&f);
}

Test(stock, a_span_serves_another_class_later)
{
        static uint64_t s[4096 + 1];
        uint64_t t[8];

        open_two();
        for (unsigned i = 0; i < 4096 + 1; i++)
                s[i] = take(&a, 16);
        for (unsigned i = 0; i < 4096; i++)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        for (unsigned i = 0; i < 3; i++)
                t[i] = take(&a, 32768);
        cr_assert_eq(span_of(t[0]), span_of(s[0]), "the one that was kept");
        for (unsigned i = 0; i < 4096; i++)
                cr_assert_eq(scratch_lookup(&a, s[i], NULL, NULL), -ESTALE);
        cr_assert_gt(scratch_tag(t[0]), scratch_tag(s[0]) + 1);
        fixture_verify_rest(&f);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(scratch_free(&a, t[i]), 0);
        fixture_done(&f);
}

/* When memory is short, all empty spans of a client serve it, whatever they were for. */
Test(stock, empty_spans_for_large_blocks)
{
        static uint64_t s[3 * 4096];
        uint64_t large, t;

        open_two();
        for (unsigned i = 0; i < 3 * 4096; i++)
                s[i] = take(&a, 16);
        for (unsigned i = 0; i < 3 * 4096; i++)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        cr_assert_eq(span_state(span_word(0)), MH_SHM_SPAN_SMALL, "kept");
        cr_assert_eq(scratch_alloc(&b, 254 * SPAN, &large, NULL), -ENOSPC, "a's, not b's");
        t = take(&a, 16);
        cr_assert_eq(scratch_alloc(&a, 256 * SPAN, &large, NULL), -ENOSPC, "one is in use");
        cr_assert_eq(scratch_free(&a, t), 0);
        cr_assert_eq(scratch_alloc(&a, 256 * SPAN, &large, NULL), 0);
        cr_assert_eq(scratch_free(&a, large), 0);
        fixture_done(&f);
}

Test(stock, empty_spans_for_other_sizes)
{
        static uint64_t s[256 * 2];
        unsigned n = 0;
        uint64_t t;

        open_two();
        while (n < ELEMENTSOF(s) && scratch_alloc(&a, 32768, &s[n], NULL) == 0)
                n++;
        cr_assert_eq(n, ELEMENTSOF(s));
        cr_assert_eq(scratch_alloc(&a, 100, &t, NULL), -ENOSPC);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(scratch_free(&b, s[i]), 0);
        cr_assert_eq(scratch_alloc(&a, 100, &t, NULL), 0, "others emptied them");
        cr_assert_eq(scratch_free(&a, t), 0);
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(stock, trimming)
{
        static uint64_t s[20 * 2];
        uint64_t before, small, t;

        open_two();
        small = take(&a, 100);
        t = take(&a, 100);
        before = fixture_blocks(&f);
        cr_assert_not(stock_trim(&a));
        for (unsigned i = 0; i < ELEMENTSOF(s); i++)
                s[i] = take(&a, 32768);
        for (unsigned i = 0; i < ELEMENTSOF(s); i++)
                cr_assert_eq(scratch_free(&b, s[i]), 0);
        cr_assert_geq(fixture_blocks(&f), before + 20 * 128, "a was not there to see it");
        cr_assert_not(stock_trim(&b));
        cr_assert(stock_trim(&a));
        cr_assert_not(stock_trim(&a));
        cr_assert_eq(fixture_blocks(&f), before);
        /* What was known to be free is found again. */
        cr_assert_eq(scratch_free(&a, t), 0);
        for (unsigned i = 1; i < class_blocks(class_of(100)); i++)
                cr_assert_eq(span_of(take(&a, 100)), span_of(small));
        cr_assert_neq(span_of(take(&a, 100)), span_of(small));
        fixture_own(&a, 1 << 30);
        fixture_done(&f);
}
