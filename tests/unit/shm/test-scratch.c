/* SPDX-License-Identifier: MIT */

/* Taking and freeing scratch memory. Giving it to handles is in test-give.c, threads in test-scratch-threads.c. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "unit/shm/two.h"

static uint64_t span_word(uint32_t span)
{
        return load_sc(&f.seg.spans[span].word);
}

/* ---------------------------------------------------------------------------------------------- sizes */

Test(scratch, each_size)
{
        open_two();
        for (uint64_t size = 1; size <= 5 * SPAN; size += size < 1100 ? 1 : size < 33000 ? 101 : 4099) {
                uint64_t s = 0, usable = 0, again = 0;
                void *data = NULL;

                cr_assert_eq(scratch_alloc(&a, size, &s, &usable), 0);
                cr_assert_neq(s, 0);
                cr_assert_neq(scratch_tag(s), 0);
                cr_assert_geq(usable, size);
                cr_assert_eq(scratch_offset(s) % MH_SHM_BLOCK_ALIGN, 0);
                if (size <= MH_SHM_SMALL_MAX)
                        cr_assert_leq(usable, size <= 16 ? 16 : size + size / 4 + 15, "%llu", (unsigned long long)size);
                else
                        cr_assert_lt(usable, size + SPAN);
                cr_assert_eq(scratch_lookup(&b, s, &data, &again), 0);
                cr_assert_eq(again, usable);
                cr_assert_eq((uint8_t *)data, f.seg.scratch + scratch_offset(s));
                memset(data, 0xee, usable);
                cr_assert_eq(scratch_free(&a, s), 0);
                cr_assert_eq(scratch_lookup(&b, s, &data, &again), -ESTALE);
        }
        fixture_done(&f);
}

Test(scratch, each_class_at_its_borders)
{
        open_two();
        for (unsigned k = 0; k < MH_SHM_CLASSES; k++) {
                uint64_t s[4], usable[4];
                const uint64_t sizes[4] = { k > 0 ? class_size(k - 1) + 1 : 1, class_size(k) - 1, class_size(k),
                                            class_size(k) + 1 };

                for (unsigned i = 0; i < 4; i++)
                        cr_assert_eq(scratch_alloc(&a, sizes[i], &s[i], &usable[i]), 0);
                for (unsigned i = 0; i < 3; i++)
                        cr_assert_eq(usable[i], class_size(k), "%llu bytes", (unsigned long long)sizes[i]);
                cr_assert_eq(usable[3], k + 1 < MH_SHM_CLASSES ? class_size(k + 1) : SPAN);
                for (unsigned i = 0; i < 4; i++)
                        cr_assert_eq(scratch_free(&b, s[i]), 0);
        }
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(scratch, sizes_that_cannot_be)
{
        uint64_t s = 77, usable = 78;

        open_two();
        cr_assert_eq(scratch_alloc(&a, 0, &s, &usable), -EINVAL);
        cr_assert_eq(scratch_alloc(&a, (UINT64_C(1) << 40) + 1, &s, &usable), -EINVAL);
        cr_assert_eq(scratch_alloc(&a, UINT64_MAX, &s, &usable), -EINVAL);
        cr_assert_eq(scratch_alloc(&a, UINT64_C(1) << 40, &s, &usable), -ENOSPC);
        cr_assert_eq(scratch_alloc(&a, 256 * SPAN + 1, &s, &usable), -ENOSPC);
        cr_assert_eq(s, 77);
        cr_assert_eq(usable, 78);
        cr_assert_eq(a.account->alloc_bytes, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- contents */

typedef struct Held {
        uint64_t s, size, seed;
} Held;

/* Each block is full of numbers that only it has. */
static void fill(const Held *h)
{
        uint64_t state = h->seed, *data = NULL;

        cr_assert_eq(scratch_lookup(&a, h->s, (void **)&data, NULL), 0);
        for (uint64_t i = 0; i < h->size / 8; i++)
                data[i] = fixture_random(&state);
}

static bool is_filled(const Held *h)
{
        uint64_t state = h->seed, *data = NULL;

        if (scratch_lookup(&a, h->s, (void **)&data, NULL) < 0)
                return false;
        for (uint64_t i = 0; i < h->size / 8; i++)
                if (data[i] != fixture_random(&state))
                        return false;
        return true;
}

static uint64_t some_size(uint64_t *state)
{
        uint64_t n = fixture_random(state);

        switch (n % 16) {
        case 0:
                return 1 + n / 16 % (4 * SPAN);
        case 1 ... 4:
                return 1 + n / 16 % MH_SHM_SMALL_MAX;
        default:
                return 1 + n / 16 % 600;
        }
}

Test(scratch, blocks_do_not_overlap)
{
        static Held held[300];
        uint64_t state = 1, full = 0;

        open_two();
        for (unsigned i = 0, rounds = fixture_scaled(20000); i < rounds; i++) {
                Held *h = &held[fixture_random(&state) % ELEMENTSOF(held)];
                Actor *by = i % 3 ? &a : &b;

                if (h->s) {
                        cr_assert(is_filled(h));
                        cr_assert_eq(scratch_free(by, h->s), 0);
                        cr_assert_eq(scratch_free(by, h->s), -ESTALE);
                        h->s = 0;
                } else {
                        int r = scratch_alloc(by, some_size(&state), &h->s, &h->size);

                        cr_assert(r == 0 || r == -ENOSPC);
                        full += r < 0;
                        if (r < 0)
                                continue;
                        h->seed = i;
                        fill(h);
                }
        }
        for (unsigned i = 0; i < ELEMENTSOF(held); i++)
                if (held[i].s) {
                        cr_assert(is_filled(&held[i]));
                        cr_assert_eq(scratch_free(&a, held[i].s), 0);
                }
        cr_assert_lt(full, 1000);
        fixture_own(&a, 0);
        fixture_own(&b, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- tags */

Test(scratch, an_index_is_good_once)
{
        uint64_t s, last;

        open_two();
        s = take(&a, 100);
        last = s;
        for (unsigned i = 0; i < 1000; i++) {
                cr_assert_eq(scratch_free(i % 2 ? &a : &b, s), 0);
                cr_assert_eq(scratch_free(&a, s), -ESTALE);
                cr_assert_eq(scratch_free(&b, s), -ESTALE);
                cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
                cr_assert_eq(scratch_owner(&a, s, &(uint64_t){ 0 }), -ESTALE);
                s = take(&a, 100);
                cr_assert_neq(s, last);
                if (scratch_offset(s) == scratch_offset(last))
                        cr_assert_gt(scratch_tag(s), scratch_tag(last));
                last = s;
        }
        cr_assert_eq(scratch_free(&a, s), 0);
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(scratch, tags_pass_over_zero)
{
        uint64_t s;

        open_two();
        s = take(&a, 100);
        span_owners(&f.seg, span_of(s))[0] = owner_make(0xffffff, MH_SHM_OWNER_CLIENT, 0, a.id);
        s = scratch_make(0xffffff, scratch_offset(s));
        cr_assert_eq(scratch_free(&a, s), 0);
        s = take(&a, 100);
        cr_assert_eq(scratch_tag(s), 1);
        cr_assert_eq(scratch_free(&a, s), 0);
        fixture_done(&f);
}

/* A span that is given back and taken again, for other sizes: what was there before stays stale. */
Test(scratch, tags_outlive_the_memory)
{
        static uint64_t old[20000];
        unsigned n = 0, rounds = fixture_scaled(200);
        uint64_t state = 7;

        open_two();
        for (unsigned round = 0; round < rounds; round++) {
                uint64_t now[40];
                const uint64_t size = (uint64_t[]){
                        16, 32768, 1000, 65536, 20000, 3 * SPAN
                }[fixture_random(&state) % 6];
                unsigned count = size < 40000 ? 40 : 3;

                for (unsigned i = 0; i < count; i++)
                        now[i] = take(&a, size);
                for (unsigned i = 0; i < n; i++) {
                        cr_assert_eq(scratch_lookup(&a, old[i], NULL, NULL), -ESTALE, "round %u", round);
                        cr_assert_eq(scratch_free(&a, old[i]), -ESTALE);
                }
                for (unsigned i = 0; i < count; i++) {
                        cr_assert_eq(scratch_free(&a, now[i]), 0);
                        if (n < ELEMENTSOF(old))
                                old[n++] = now[i];
                }
                if (round % 10 == 9) { /* all of it goes back */
                        (void)fixture_reap(&f, a.id);
                        (void)fixture_attach(&f, FIXTURE_OWN, &a);
                }
        }
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- wrong indexes */

Test(scratch, nonsense)
{
        uint64_t other, small, large, owner = 77, size = 78;
        void *data = &f;

        open_two();
        other = take(&a, 100);
        small = take(&a, 100);
        large = take(&a, 3 * SPAN);
        const struct {
                uint64_t s;
                int error;
        } tries[] = {
                { 0, -EINVAL },
                { scratch_offset(small), -ESTALE }, /* without a tag */
                { small + 1, -ESTALE },
                { small + 16, -ESTALE },
                { small + class_size(class_of(100)), -ESTALE }, /* the next block, which is free */
                { small + (UINT64_C(1) << 40), -ESTALE },
                { small - (UINT64_C(1) << 40), -ESTALE },
                { small ^ UINT64_C(0xffffff) << 40, -ESTALE },
                { large + 16, -ESTALE },
                { large + SPAN, -ESTALE },
                { large + 2 * SPAN, -ESTALE },
                { scratch_make(1, 200 * SPAN), -ESTALE },
                { scratch_make(1, 256 * SPAN), -ESTALE },
                { scratch_make(0xffffff, MH_SHM_SCRATCH_OFFSET_MASK), -ESTALE },
                { UINT64_MAX, -ESTALE },
        };

        for (unsigned i = 0; i < ELEMENTSOF(tries); i++)
                for (unsigned k = 0; k < 2; k++) {
                        Actor *by = k ? &a : &b;

                        cr_assert_eq(scratch_free(by, tries[i].s), tries[i].error, "try %u", i);
                        cr_assert_eq(scratch_lookup(by, tries[i].s, &data, &size), tries[i].error, "try %u", i);
                        cr_assert_eq(scratch_owner(by, tries[i].s, &owner), tries[i].error, "try %u", i);
                        cr_assert_eq(by->hazard->span, 0);
                }
        cr_assert_eq(owner, 77);
        cr_assert_eq(size, 78);
        cr_assert_eq(data, &f);
        cr_assert_eq(scratch_lookup(&b, small, NULL, NULL), 0);
        cr_assert_eq(scratch_owner(&b, small, &owner), 0);
        cr_assert_eq(owner, owner_make(scratch_tag(small), MH_SHM_OWNER_CLIENT, 0, a.id));
        cr_assert_eq(scratch_free(&a, other), 0);
        cr_assert_eq(scratch_free(&a, small), 0);
        cr_assert_eq(scratch_free(&a, large), 0);
        fixture_done(&f);
}

static int compare(const void *x, const void *y)
{
        uint64_t l = *(const uint64_t *)x, r = *(const uint64_t *)y;

        return l < r ? -1 : l > r;
}

/* Whatever number comes: a success means that exactly this one is alive. */
Test(scratch, garbage)
{
        static uint64_t alive[2000];
        uint64_t state = 99, before;
        unsigned n = 0;

        open_two();
        while (n < ELEMENTSOF(alive) && scratch_alloc(&a, some_size(&state) % 9000 + 1, &alive[n], NULL) == 0)
                n++;
        qsort(alive, n, sizeof(alive[0]), compare);
        before = fixture_blocks(&f);
        for (unsigned i = 0, rounds = fixture_scaled(300000); i < rounds; i++) {
                uint64_t s = fixture_random(&state), pick = alive[fixture_random(&state) % n];
                int r;

                /* All of it random; near one that lives; one that lives, with another tag. */
                if (i % 4 == 1)
                        s = scratch_make((uint32_t)(s & 7), s >> 8 & (300 * SPAN - 1) & ~UINT64_C(15));
                else if (i % 4 == 2)
                        s = pick + (s % 64 - 32) * 16;
                else if (i % 4 == 3)
                        s = pick + (s % 9 << 40);
                r = scratch_lookup(&b, s, NULL, NULL);
                cr_assert(r == 0 || r == -ESTALE || (r == -EINVAL && !s));
                cr_assert_eq(r == 0, bsearch(&s, alive, n, sizeof(alive[0]), compare) != NULL);
                if (r < 0)
                        cr_assert_eq(scratch_free(i % 8 < 4 ? &a : &b, s), r);
        }
        cr_assert_eq(fixture_blocks(&f), before, "looking takes no memory");
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(scratch_free(&a, alive[i]), 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- accounts and limits */

Test(scratch, accounts)
{
        uint64_t small, large;

        open_two();
        small = take(&a, 100);
        large = take(&a, SPAN + 1);
        cr_assert_eq(a.account->alloc_bytes, 112 + 2 * SPAN);
        cr_assert_eq(account_owned(a.account), 112 + 2 * SPAN);
        cr_assert_eq(scratch_free(&a, large), 0);
        cr_assert_eq(a.account->free_bytes, 2 * SPAN);
        cr_assert_eq(account_owned(a.account), 112);
        cr_assert_eq(scratch_free(&b, small), 0);
        cr_assert_eq(b.account->free_bytes, 112);
        cr_assert_eq(account_owned(b.account), 0);
        cr_assert_eq(account_owned(a.account), 112, "it cannot know");
        fixture_done(&f);
}

Test(scratch, quota)
{
        uint64_t s[10], untouched = 77;

        open_two();
        f.seg.shared->limit_client_scratch = 3 * SPAN;
        s[0] = take(&a, 2 * SPAN);
        cr_assert_eq(scratch_alloc(&a, SPAN + 1, &untouched, NULL), -EDQUOT);
        cr_assert_eq(scratch_alloc(&a, 4 * SPAN, &untouched, NULL), -EDQUOT);
        s[1] = take(&a, 32768);
        s[2] = take(&a, 32768);
        cr_assert_eq(scratch_alloc(&a, 1, &untouched, NULL), -EDQUOT);
        cr_assert_eq(untouched, 77);
        s[3] = take(&b, 3 * SPAN);
        /* What others free is found out when it matters. */
        cr_assert_eq(scratch_free(&b, s[1]), 0);
        s[1] = take(&a, 32768);
        cr_assert_eq(scratch_free(&b, s[0]), 0);
        s[0] = take(&a, 2 * SPAN);
        cr_assert_eq(scratch_alloc(&a, 1, &untouched, NULL), -EDQUOT);
        cr_assert_eq(scratch_free(&a, s[2]), 0);
        s[2] = take(&a, 20000);
        f.seg.shared->limit_client_scratch = 0;
        cr_assert_eq(scratch_alloc(&b, 1, &untouched, NULL), -EDQUOT);
        fixture_done(&f);
}

/* The limit is the client's, not that of each of its threads, whoever of them takes and frees. */
Test(scratch, quota_of_several_threads)
{
        struct mh_shm_account_line sum;
        uint64_t s[10], untouched = 77;
        Actor second;

        open_two();
        second = a;
        actor_set_thread(&second, 1);
        f.seg.shared->limit_client_scratch = 8 * SPAN;
        for (unsigned i = 0; i < 4; i++) {
                s[i] = take(&a, SPAN);
                s[4 + i] = take(&second, SPAN);
        }
        cr_assert_eq(scratch_alloc(&a, 16, &untouched, NULL), -EDQUOT);
        cr_assert_eq(scratch_alloc(&second, SPAN, &untouched, NULL), -EDQUOT);
        /* One takes and the other one frees, again and again: neither line may come to stand for more than there is. */
        for (unsigned i = 0; i < 100; i++) {
                cr_assert_eq(scratch_free(&second, s[i % 4]), 0);
                s[i % 4] = take(&a, SPAN);
                cr_assert_eq(scratch_alloc(&second, SPAN, &untouched, NULL), -EDQUOT);
        }
        /* Freed by somebody else: a count finds it, and is not wrong from then on. */
        cr_assert_eq(scratch_free(&b, s[0]), 0);
        s[0] = take(&second, SPAN);
        sum = account_sum(a.page);
        cr_assert_eq(account_owned(&sum), 8 * SPAN);
        cr_assert_eq(scratch_alloc(&a, 16, &untouched, NULL), -EDQUOT);
        fixture_done(&f);
}

/* A limit that is none must not cost a count of all that one owns, each time. */
Test(scratch, no_limit_costs_nothing)
{
        open_two();
        (void)take(&a, 100);
        cr_assert_eq(account_owned(a.account), 112);
        fixture_own(&a, 1000); /* more than there is, until somebody counts */
        (void)take(&a, 100);
        cr_assert_eq(account_owned(a.account), 1112, "not counted anew");
        fixture_done(&f);
}

Test(scratch, what_is_owned_in_a_span)
{
        uint64_t s[3], large;
        uint32_t span;

        open_two();
        for (unsigned i = 0; i < 3; i++)
                s[i] = take(&a, 100);
        span = span_of(s[0]);
        cr_assert_eq(scratch_owned_in(&a, span), 3 * 112);
        cr_assert_eq(scratch_owned_in(&b, span), 0);
        cr_assert_eq(scratch_free(&b, s[1]), 0);
        cr_assert_eq(scratch_owned_in(&a, span), 2 * 112);
        large = take(&a, 2 * SPAN);
        cr_assert_eq(scratch_owned_in(&a, span_of(large)), 2 * SPAN);
        cr_assert_eq(scratch_owned_in(&b, span_of(large)), 0);
        cr_assert_eq(scratch_owned_in(&a, span_of(large) + 1), 0);
        cr_assert_eq(scratch_owned_in(&a, 250), 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- large blocks */

Test(scratch, large_ones)
{
        static const uint64_t sizes[] = { 32769, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN, 100 * SPAN, 256 * SPAN };

        open_two();
        for (unsigned i = 0; i < ELEMENTSOF(sizes); i++) {
                uint64_t s = 0, usable = 0, n = (sizes[i] + SPAN - 1) / SPAN, before = fixture_blocks(&f);
                uint32_t head;
                void *data;

                cr_assert_eq(scratch_alloc(&a, sizes[i], &s, &usable), 0);
                cr_assert_eq(usable, n * SPAN);
                head = span_of(s);
                cr_assert_eq(scratch_offset(s) % SPAN, 0);
                cr_assert_eq(span_state(span_word(head)), MH_SHM_SPAN_LARGE);
                cr_assert_eq(span_client(span_word(head)), a.id);
                cr_assert_eq(f.seg.spans[head].run, n);
                cr_assert_eq(f.seg.spans[head].size, sizes[i]);
                for (uint32_t k = 1; k < n; k++) {
                        cr_assert_eq(span_word(head + k) & ~(UINT64_MAX << 44),
                                     span_make(0, MH_SHM_SPAN_CONT, 0, head));
                        cr_assert_not(ledger_has_span(&a, head + k), "the head leads there");
                }
                cr_assert(ledger_has_span(&a, head));
                cr_assert_eq(scratch_lookup(&b, s, &data, NULL), 0);
                memset(data, 0xee, usable);
                fixture_verify_rest(&f);
                cr_assert_geq(fixture_blocks(&f), before + n * SPAN / 512);
                cr_assert_eq(scratch_free(i % 2 ? &a : &b, s), 0);
                cr_assert_leq(fixture_blocks(&f), before + 64, "entries and ledger at most");
                cr_assert_eq(scratch_free(&a, s), -ESTALE);
                for (uint32_t k = 0; k < n; k++)
                        cr_assert_eq(span_state(span_word(head + k)), MH_SHM_SPAN_FREE);
        }
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(scratch, fragments)
{
        uint64_t s[64], big;

        open_two();
        for (unsigned i = 0; i < 64; i++)
                s[i] = take(&a, 4 * SPAN);
        cr_assert_eq(scratch_alloc(&b, SPAN, &big, NULL), -ENOSPC);
        for (unsigned i = 0; i < 64; i += 2)
                cr_assert_eq(scratch_free(&b, s[i]), 0);
        cr_assert_eq(scratch_alloc(&b, 5 * SPAN, &big, NULL), -ENOSPC, "there is enough, but not in a row");
        for (unsigned i = 0; i < 64; i += 2)
                s[i] = take(&b, 4 * SPAN);
        cr_assert_eq(scratch_alloc(&b, SPAN, &big, NULL), -ENOSPC);
        for (unsigned i = 30; i < 33; i++)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        cr_assert_eq(scratch_alloc(&b, 12 * SPAN, &big, NULL), 0);
        fixture_own(&a, 256 * SPAN);
        fixture_done(&f);
}

/* A new actor for the same client, as after the daemon died: what was free is found, what was half done is put right. */
Test(scratch, tidying)
{
        uint64_t s[100], large, t;
        uint32_t span;

        open_two();
        for (unsigned i = 0; i < 100; i++)
                s[i] = take(&a, 100);
        span = span_of(s[0]);
        large = take(&a, 5 * SPAN);
        for (unsigned i = 0; i < 100; i += 2)
                cr_assert_eq(scratch_free(&a, s[i]), 0);
        (void)take(&a, 200);
        cr_assert_eq(span_claim(&a, 50, 50), 1); /* on its way to something */
        cr_assert_eq(span_claim(&a, 60, 59), 1); /* a run without its head */
        f.seg.spans[span_of(large) + 3].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id,
                                                         span_of(large)); /* not yet joined */
        f.seg.spans[span_of(large) + 4].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, span_of(large));
        ledger_set_span(&a, span_of(large) + 3);
        ledger_set_span(&a, span_of(large) + 4);
        ledger_set_span(&a, 70); /* before the claim */
        f.seg.spanmap[1] |= UINT64_C(1) << 6;
        fixture_forget(&f, &a);
        scratch_tidy(&a);
        scratch_tidy(&a);
        fixture_verify_rest(&f);
        cr_assert_eq(span_state(span_word(50)), MH_SHM_SPAN_FREE);
        cr_assert_eq(span_state(span_word(60)), MH_SHM_SPAN_FREE);
        cr_assert_eq(span_state(span_word(span_of(large) + 4)), MH_SHM_SPAN_CONT);
        cr_assert_not(ledger_has_span(&a, 70));
        for (unsigned i = 0; i < 50; i++) {
                t = take(&a, 100);
                cr_assert_eq(span_of(t), span, "where there was room");
        }
        cr_assert_eq(scratch_free(&a, large), 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- without memory */

Test(scratch, without_memory)
{
        static const uint64_t sizes[] = { 16, 32768, SPAN, 7 * SPAN };
        static const unsigned places[] = { 4, 4, 4, 4 }; /* entries, ledger bits, data, owner words */

        for (unsigned i = 0; i < ELEMENTSOF(sizes); i++) {
                unsigned n;
                int r;

                for (n = 0;; n++) {
                        uint64_t s = 77, usable = 78, before;

                        open_two();
                        before = fixture_blocks(&f);
                        fixture_fail_reserve(n);
                        r = scratch_alloc(&a, sizes[i], &s, &usable);
                        fixture_fail_nothing();
                        fixture_verify_rest(&f);
                        if (r == 0)
                                break;
                        cr_assert_eq(r, -ENOSPC);
                        cr_assert_eq(s, 77);
                        cr_assert_eq(usable, 78);
                        cr_assert_leq(fixture_blocks(&f), before + 8 + 16, "a page of entries, one of ledger bits");
                        cr_assert_eq(a.account->alloc_bytes, 0);
                        cr_assert_eq(scratch_free(&a, take(&a, sizes[i])), 0, "later there is some");
                        fixture_done(&f);
                }
                cr_assert_eq(n, places[i], "%llu bytes", (unsigned long long)sizes[i]);
                fixture_done(&f);
        }
}

Test(scratch, freeing_needs_none)
{
        uint64_t s[3];

        open_two();
        s[0] = take(&a, 100);
        s[1] = take(&a, 100);
        s[2] = take(&a, 5 * SPAN);
        fixture_fail_reserve(0);
        cr_assert_eq(scratch_free(&a, s[0]), 0);
        cr_assert_eq(scratch_free(&b, s[1]), 0);
        cr_assert_eq(scratch_free(&b, s[2]), 0);
        cr_assert_eq(fixture_reserved(), 0);
        fixture_done(&f);
}

Test(scratch, on_a_file_system_that_is_full)
{
        static uint64_t s[4096];
        unsigned n = 0;
        uint64_t large;
        int r;

        fixture_open_tmpfs(&f, &fixture_config, 2 * 1024 * 1024);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        while ((r = scratch_alloc(n % 2 ? &a : &b, 8192, &s[n], NULL)) == 0) {
                void *data;

                cr_assert_eq(scratch_lookup(&a, s[n], &data, NULL), 0);
                memset(data, 0xee, 8192); /* what was given can be written: no SIGBUS */
                n++;
        }
        cr_assert_eq(r, -ENOSPC);
        cr_assert_geq(n, 100);
        cr_assert_eq(scratch_alloc(&a, 40 * SPAN, &large, NULL), -ENOSPC);
        fixture_verify_rest(&f);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(scratch_free(i % 2 ? &a : &b, s[i]), 0);
        fixture_verify_rest(&f);
        (void)fixture_reap(&f, b.id);
        cr_assert_eq(scratch_alloc(&a, 16 * SPAN, &large, NULL), 0, "all of it is there again");
        fixture_done(&f);
}
