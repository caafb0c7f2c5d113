/* SPDX-License-Identifier: MIT */

#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/give.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/totals.h"
#include "unit/shm/two.h"

static void expect(uint32_t clients, uint64_t handles, uint64_t bytes)
{
        Totals t = { 77, 77, 77 };

        totals_read(&f.seg, &t);
        cr_assert_eq(t.clients, clients);
        cr_assert_eq(t.handles, handles, "%llu handles", (unsigned long long)t.handles);
        cr_assert_eq(t.scratch_bytes, bytes, "%llu bytes", (unsigned long long)t.scratch_bytes);
}

Test(totals, what_everybody_does)
{
        uint64_t h[3], s[3];

        fixture_open(&f);
        expect(0, 0, 0);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        expect(2, 0, 0);
        for (unsigned i = 0; i < 3; i++) {
                h[i] = make(&a);
                s[i] = take(&a, 100);
        }
        expect(2, 3, 3 * 112);
        cr_assert_eq(slot_open(&b, h[0], NULL), 0);
        expect(2, 3, 3 * 112);
        cr_assert_eq(slot_close(&a, h[0], NULL), 0);
        cr_assert_eq(slot_close(&b, h[0], NULL), 0); /* ended by another than made it */
        cr_assert_eq(scratch_free(&b, s[0]), 0);
        (void)take(&b, 2 * SPAN);
        expect(2, 2, 2 * 112 + 2 * SPAN);
        cr_assert_eq(give_block(&a, s[1], h[1]), 0);
        expect(2, 2, 2 * 112 + 2 * SPAN);
        cr_assert_eq(slot_close(&a, h[1], NULL), 0);
        expect(2, 1, 112 + 2 * SPAN);
        (void)fixture_reap(&f, b.id);
        expect(1, 1, 112);
        fixture_kill(&f, a.id);
        expect(0, 1, 112);
        (void)fixture_reap_dead(&f, a.id);
        expect(0, 0, 0);
        (void)fixture_attach(&f, 0, &a);
        (void)make(&a);
        expect(1, 1, 0);
        fixture_done(&f);
}

Test(totals, threads_add_up)
{
        uint64_t h, s;
        Actor second;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        second = a;
        actor_set_thread(&second, MH_SHM_THREADS - 1);
        h = make(&a);
        s = take(&a, 100);
        (void)make(&second);
        cr_assert_eq(slot_close(&second, h, NULL), 0);
        cr_assert_eq(scratch_free(&second, s), 0);
        expect(1, 1, 0);
        (void)fixture_reap(&f, a.id);
        expect(0, 0, 0);
        fixture_done(&f);
}

Test(totals, never_more_than_there_can_be)
{
        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        a.account->created = UINT64_MAX / 2;
        a.account->alloc_bytes = UINT64_MAX / 2;
        expect(1, 2048, 256 * SPAN);
        a.account->created = 0;
        a.account->destroyed = 5;
        a.account->alloc_bytes = 0;
        a.account->free_bytes = 5;
        expect(1, 0, 0);
        memset(a.account, 0, sizeof(*a.account));
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- counting anew */

Test(totals, counted_anew)
{
        uint64_t h[4], s, given;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        for (unsigned i = 0; i < 4; i++)
                h[i] = make(i % 2 ? &a : &b);
        cr_assert_eq(slot_open(&a, h[0], NULL), 0);
        s = take(&a, 100);
        (void)take(&a, 3 * SPAN);
        (void)take(&b, 200);
        given = take(&b, 300);
        cr_assert_eq(give_block(&b, given, h[0]), 0);
        totals_recount(&f.seg);
        expect(2, 4, 112 + 3 * SPAN + 224 + 320);
        cr_assert_eq(a.account->handles, 3);
        cr_assert_eq(account_owned(a.account), 112 + 3 * SPAN);

        /* What was being written when the daemon died is wrong. */
        a.account->handles = 9;
        fixture_own(&a, 0);
        a.account->created += 7;
        a.account->alloc_bytes += 1000;
        ((struct mh_shm_account *)segment_ledger(&f.seg, 0))->line[0].destroyed = 5;
        totals_recount(&f.seg);
        expect(2, 4, 112 + 3 * SPAN + 224 + 320);
        cr_assert_eq(a.account->handles, 3);
        cr_assert_eq(account_owned(a.account), 112 + 3 * SPAN);
        fixture_verify_rest(&f);
        cr_assert_eq(scratch_free(&a, s), 0);
        cr_assert_eq(slot_close(&a, h[1], NULL), 0);
        expect(2, 3, 3 * SPAN + 224 + 320);

        /* b keeps its own account, and is not at rest when it is looked at. */
        cr_assert_eq(b.account->handles, 2);
        (void)fixture_reap(&f, b.id);
        expect(1, 2, 3 * SPAN + 320);
        totals_recount(&f.seg);
        expect(1, 2, 3 * SPAN + 320);
        (void)fixture_reap(&f, a.id);
        expect(0, 0, 0);
        fixture_done(&f);
}

Test(totals, orphans_are_counted)
{
        uint64_t h;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, 0, &b);
        h = make(&a);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(give_block(&b, take(&b, 100), h), 0);
        cr_assert_eq(give_block(&b, take(&b, 5 * SPAN), h), 0);
        (void)fixture_reap(&f, b.id);
        expect(1, 1, 112 + 5 * SPAN);
        totals_recount(&f.seg);
        expect(1, 1, 112 + 5 * SPAN);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        expect(1, 0, 0);
        fixture_done(&f);
}

/* Of one that is dead, of whose ledger nothing is left: no page of it may be touched. */
Test(totals, no_hole_is_touched)
{
        uint64_t before;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, 0, &b);
        (void)make(&b);
        (void)fixture_reap(&f, a.id);
        f.seg.clients[a.id].state = MH_SHM_CLIENT_DEAD; /* the daemon died before it wrote FREE */
        before = fixture_blocks(&f);
        expect(1, 1, 0);
        totals_recount(&f.seg);
        expect(1, 1, 0);
        cr_assert_eq(fixture_blocks(&f), before);
        (void)fixture_reap_dead(&f, a.id);
        fixture_done(&f);
}

/* What somebody who looks from time to time goes by. */
Test(totals, what_happened_in_between_is_seen)
{
        Totals before, after;
        uint64_t h, s;

        fixture_open(&f);
        (void)fixture_attach(&f, MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER, &a);
        (void)fixture_attach(&f, 0, &b);
        totals_read(&f.seg, &before);
        totals_read(&f.seg, &after);
        cr_expect_eq(after.activity, before.activity);

        /* As many as before, and yet others. */
        h = make(&a);
        totals_read(&f.seg, &after);
        cr_expect_neq(after.activity, before.activity);
        before = after;
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        totals_read(&f.seg, &after);
        cr_expect_neq(after.activity, before.activity);
        cr_expect_eq(after.destroyed, before.destroyed);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        before = after;
        totals_read(&f.seg, &after);
        cr_expect_neq(after.activity, before.activity);
        cr_expect_eq(after.destroyed, before.destroyed + 1);
        s = take(&a, 100);
        cr_assert_eq(scratch_free(&a, s), 0);
        before = after;
        totals_read(&f.seg, &after);
        cr_expect_neq(after.activity, before.activity);
        cr_expect_eq(after.destroyed, before.destroyed);

        /* The dead leave it to the daemon. */
        before = after;
        (void)fixture_reap(&f, a.id);
        totals_read(&f.seg, &after);
        cr_expect_eq(after.destroyed, before.destroyed);
        fixture_done(&f);
}

Test(totals, nothing_left)
{
        uint64_t handles[4096], h = 0, s = 0, more;
        size_t n = 0;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        cr_assert_leq(f.seg.n_slots, ELEMENTSOF(handles));
        cr_assert_not(totals_no_slot(&f.seg));
        cr_assert_not(totals_no_span(&f.seg));
        for (int r = 0; (r = slot_new(&a, 1, &h)) == 0;)
                handles[n++] = h;
        cr_assert_eq(n, f.seg.n_slots);
        cr_assert(totals_no_slot(&f.seg));
        cr_assert_eq(slot_close(&a, handles[n / 2], NULL), 0);
        cr_assert_not(totals_no_slot(&f.seg));
        cr_assert_eq(slot_new(&a, 1, &h), 0);
        cr_assert(totals_no_slot(&f.seg));

        cr_assert_not(totals_no_span(&f.seg));
        while (scratch_alloc(&a, SPAN, &more, NULL) == 0)
                s = more;
        cr_assert(totals_no_span(&f.seg));
        cr_assert_eq(scratch_free(&a, s), 0);
        cr_assert_not(totals_no_span(&f.seg));
        (void)fixture_reap(&f, a.id);
        fixture_done(&f);
}

/* ------------------------------------------------------------------------------------------------ while others work */

#define TAKEN 150U

static unsigned ended;

/* Takes many spans and gives them all back. */
static void *work(void *arg)
{
        uint64_t s[TAKEN];

        for (unsigned i = 0; i < TAKEN; i++)
                s[i] = take(arg, i % 2 ? 30000 : SPAN);
        for (unsigned i = 0; i < TAKEN; i++)
                cr_assert_eq(scratch_free(arg, s[i]), 0);
        store_release(&ended, 1); /* pairs with the look of who counts */
        return NULL;
}

/* To count is to look into spans of others, which may lose their memory meanwhile, and what was looked at must not get it again. */
Test(totals, counted_while_others_work)
{
        uint64_t h, kept;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        h = make(&a);
        kept = take(&a, 100);
        for (unsigned i = 0; i < fixture_scaled(100); i++) {
                pthread_t thread;

                ended = 0;
                cr_assert_eq(pthread_create(&thread, NULL, work, &b), 0);
                while (!load_acquire(&ended))
                        totals_recount(&f.seg);
                cr_assert_eq(pthread_join(thread, NULL), 0);
                fixture_verify_rest(&f);
        }
        totals_recount(&f.seg);
        expect(2, 1, 112);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(scratch_free(&a, kept), 0);
        fixture_done(&f);
}
