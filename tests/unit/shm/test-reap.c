/* SPDX-License-Identifier: MIT */

/* What the dead leave, and that nothing of it stays: whatever they were doing, in slices of any length, and although the
 * one who reaps dies, too, and another one begins again. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/chunk.h"
#include "shm/give.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "shm/totals.h"
#include "shm/trim.h"
#include "tools/under.h"
#include "unit/shm/two.h"

static uint64_t span_word(uint64_t s)
{
        return load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word);
}

static void set_span_word(uint64_t s, uint64_t word)
{
        store_sc(&f.seg.spans[scratch_offset(s) / SPAN].word, word);
}

/* ---------------------------------------------------------------------------------------------- all kinds of things at once */

/* What b keeps, whatever becomes of a. */
typedef struct Kept {
        uint64_t shared, own, s, given, foreign;
} Kept;

/* a has some of everything, and is in the middle of some of it; b shares some. */
static void live_a_life(Kept *k)
{
        uint64_t h[40], s;
        uint32_t slot, chunk;

        k->shared = make(&a);
        cr_assert_eq(slot_open(&b, k->shared, NULL), 0);
        k->own = make(&b);
        cr_assert_eq(slot_open(&a, k->own, NULL), 0);
        k->s = take(&b, 100);
        k->given = take(&a, 100);
        cr_assert_eq(give_block(&a, k->given, k->shared), 0);

        for (unsigned i = 0; i < 40; i++)
                h[i] = make(&a);
        for (unsigned i = 0; i < 40; i += 3)
                cr_assert_eq(slot_close(&a, h[i], NULL), 0);
        cr_assert_eq(give_block(&a, take(&a, 3 * SPAN), h[1]), 0);
        cr_assert_eq(give_block(&a, take(&a, 100), h[1]), 0);
        cr_assert_eq(give_block(&a, take(&a, 100), k->own), 0);
        for (unsigned i = 0; i < 300; i++)
                (void)take(&a, 1 + i * 97 % 20000);
        (void)take(&a, 70 * SPAN);

        cr_assert_eq(reserve_slot(&a, &slot), 0);
        fixture_set_ledger(&a, handle_slot(h[2]), ledger_make(handle_generation(h[2]), MH_SHM_LEDGER_IN_FLIGHT));
        fixture_slot(&f, h[2])->state = state_make(handle_generation(h[2]), MH_SHM_PHASE_DYING, 64, a.id);
        fixture_set_ledger(&a, handle_slot(h[4]), ledger_make(handle_generation(h[4]), MH_SHM_LEDGER_IN_FLIGHT));
        fixture_slot(&f, h[4])->state = state_make(handle_generation(h[4]), MH_SHM_PHASE_DEAD, 64, a.id);
        fixture_set_ledger(&a, 1500, ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT));
        cr_assert_eq(span_claim(&a, 250, 250), 1);

        /* In the middle of freeing a large block of b's. */
        k->foreign = take(&b, 60 * SPAN);
        s = scratch_offset(k->foreign) / SPAN;
        *span_owners(&f.seg, (uint32_t)s) = owner_make(2, MH_SHM_OWNER_FREEING, 0, a.id);
        hazard_set(&a, (uint32_t)s);
        /* And of opening a chunk. */
        chunk = 3;
        f.seg.chunks[chunk].word = chunk_make(0, 0, MH_SHM_CHUNK_OPENING, a.id);
        fixture_verify(&f, 0, NULL);
}

static void expect_b_unharmed(const Kept *k)
{
        cr_assert_eq(slot_held(&b, k->shared, NULL), 0);
        cr_assert_eq(slot_held(&b, k->own, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, k->s, NULL, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, k->given, NULL, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, k->foreign, NULL, NULL), -ESTALE);
}

static void expect_nothing_of_a(void)
{
        VerifyStats stats;

        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_eq(stats.clients, 1);
        cr_assert_eq(stats.handles, 2);
        cr_assert_eq(stats.reserved, 0);
        cr_assert_eq(stats.blocks, 3, "b's own, and one in each of its handles");
}

/* With b's death all is as it was in the beginning: but for marks and descriptors. */
static void expect_all_back(uint64_t first_blocks)
{
        uint32_t cursor = 0;
        Totals totals;

        (void)fixture_reap(&f, b.id);
        while (trim_step(&f.seg, &cursor, 0, 1000) > 0)
                ;
        fixture_verify_rest(&f);
        totals_recount(&f.seg);
        totals_read(&f.seg, &totals);
        cr_assert_eq(totals.handles, 0);
        cr_assert_eq(totals.scratch_bytes, 0);
        /* Entries and hazards of two clients, two pages of span entries, one of chunk descriptors. */
        cr_assert_leq(fixture_blocks(&f), first_blocks + 5 * 8);
}

Test(reap, in_slices_of_any_length)
{
        static const unsigned units[] = { 1, 2, 3, 7, 64, 100, 1000, 2000, 1000000, INT32_MAX };

        for (unsigned i = 0; i < ELEMENTSOF(units); i++) {
                unsigned steps = 0;
                uint64_t first;
                Kept kept;
                Reap reap;

                fixture_open(&f);
                first = fixture_blocks(&f);
                (void)fixture_attach(&f, FIXTURE_OWN, &a);
                (void)fixture_attach(&f, FIXTURE_OWN, &b);
                live_a_life(&kept);
                fixture_kill(&f, a.id);
                fixture_verify(&f, VERIFY_AT_REST, NULL);
                cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
                while (reap_step(&reap, units[i]) > 0) {
                        cr_assert_eq(client_state(&f.seg, a.id), MH_SHM_CLIENT_DEAD);
                        cr_assert_lt(++steps, 100000, "%u units: it gets nowhere", units[i]);
                }
                if (units[i] <= 7)
                        cr_assert_gt(steps, 50);
                if (units[i] >= 1000000)
                        cr_assert_lt(steps, 10);
                cr_assert_eq(client_state(&f.seg, a.id), MH_SHM_CLIENT_FREE);
                expect_b_unharmed(&kept);
                expect_nothing_of_a();
                expect_all_back(first);
                fixture_done(&f);
        }
}

/* The daemon dies after each step, and the next one begins again; all of it stays in order in between. */
Test(reap, again_from_the_start)
{
        for (unsigned units = 1; units < 600; units = units * 3 + 1) {
                unsigned lives = 0;
                uint64_t first;
                Kept kept;
                Reap reap;

                fixture_open(&f);
                first = fixture_blocks(&f);
                (void)fixture_attach(&f, FIXTURE_OWN, &a);
                (void)fixture_attach(&f, FIXTURE_OWN, &b);
                live_a_life(&kept);
                fixture_kill(&f, a.id);
                for (;;) {
                        unsigned steps = 0, n = 1 + lives; /* it lives longer each time, or it would never get on */
                        int r = 1;

                        cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
                        while (steps++ < n && r > 0)
                                r = reap_step(&reap, units);
                        if (r == 0)
                                break;
                        if (lives % 16 == 0)
                                fixture_verify(&f, VERIFY_AT_REST, NULL);
                        cr_assert_lt(++lives, 100000);
                }
                cr_assert_gt(lives, 2);
                expect_b_unharmed(&kept);
                expect_nothing_of_a();
                expect_all_back(first);
                fixture_done(&f);
        }
}

/* One more time when all was done but the entry. */
Test(reap, the_last_step_again)
{
        uint64_t first;
        Kept kept;

        fixture_open(&f);
        first = fixture_blocks(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
        live_a_life(&kept);
        (void)fixture_reap(&f, a.id);
        f.seg.clients[a.id].state = MH_SHM_CLIENT_DEAD;
        (void)fixture_reap_dead(&f, a.id);
        expect_b_unharmed(&kept);
        expect_nothing_of_a();
        expect_all_back(first);
        fixture_done(&f);
}

Test(reap, without_memory)
{
        Kept kept;
        Reap reap;

        open_two();
        live_a_life(&kept);
        fixture_kill(&f, a.id);
        /* Its account has gone already; there is none to be had for a new one. */
        fixture_fail_reserve(0);
        cr_assert_eq(reap_init(&reap, &f.seg, a.id), -ENOSPC);
        cr_assert_eq(client_state(&f.seg, a.id), MH_SHM_CLIENT_DEAD);
        fixture_fail_nothing();
        cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
        fixture_fail_reserve(0);
        while (reap_step(&reap, 2000) > 0)
                ;
        fixture_fail_nothing();
        expect_b_unharmed(&kept);
        expect_nothing_of_a();
        fixture_done(&f);
}

/* Pages that do not go leave zeros for the next client of that number. */
Test(reap, when_punching_fails)
{
        Kept kept;
        uint32_t id;
        Actor c;

        open_two();
        live_a_life(&kept);
        id = a.id;
        fixture_fail_punch(true);
        (void)fixture_reap(&f, a.id);
        fixture_fail_punch(false);
        expect_b_unharmed(&kept);
        cr_assert_eq(fixture_attach(&f, FIXTURE_OWN, &c), id);
        cr_assert_eq(c.account->created, 0);
        for (uint32_t i = 0; i < f.seg.n_slots; i++)
                cr_assert_eq(c.ledger[i], 0);
        for (uint32_t i = 0; i < f.seg.n_spans / 64; i++)
                cr_assert_eq(c.span_bits[i], 0);
        for (unsigned i = 0; i < 50; i++)
                cr_assert_eq(slot_close(&c, make(&c), NULL), 0);
        for (unsigned i = 0; i < 50; i++)
                cr_assert_eq(scratch_free(&c, take(&c, i * 5000 + 1)), 0);
        fixture_verify(&f, 0, NULL);
        fixture_close(&f);
}

/* ---------------------------------------------------------------------------------------------- what it tells */

Test(reap, statistics)
{
        ReapStats stats;
        uint64_t h[3];

        open_two();
        for (unsigned i = 0; i < 3; i++)
                h[i] = make(&a);
        cr_assert_eq(slot_open(&b, h[0], NULL), 0);
        cr_assert_eq(slot_open(&a, h[1], NULL), 0);
        (void)take(&a, 100);
        (void)take(&a, 2 * SPAN);
        cr_assert_eq(give_block(&a, take(&a, 200), h[0]), 0);
        stats = fixture_reap(&f, a.id);
        cr_assert_eq(stats.handles, 3);
        cr_assert_eq(stats.destroyed, 2);
        cr_assert_eq(stats.scratch_bytes, 112 + 2 * SPAN);
        fixture_done(&f);
}

Test(reap, nothing)
{
        ReapStats stats;
        uint64_t before;

        fixture_open(&f);
        (void)fixture_attach(&f, 0, &a);
        (void)fixture_reap(&f, a.id);
        before = fixture_blocks(&f);
        (void)fixture_attach(&f, 0, &a);
        stats = fixture_reap(&f, a.id);
        cr_assert_eq(stats.handles, 0);
        cr_assert_eq(stats.scratch_bytes, 0);
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- spans, state by state */

Test(reap, claims_for_a_large_block)
{
        uint64_t first = 0;
        uint32_t head;

        /* So many spans are claimed, of so many that have memory. */
        for (uint32_t n = 1; n < 8; n++)
                for (uint32_t populated = 0; populated < 2; populated++) {
                        open_two();
                        if (!first) {
                                cr_assert_eq(scratch_free(&a, take(&a, SPAN)), 0);
                                first = fixture_blocks(&f);
                        }
                        cr_assert_eq(span_claim_run(&a, n, &head), 0);
                        if (populated)
                                cr_assert_eq(span_populate(&a, head, n, 1), 0);
                        (void)fixture_reap(&f, a.id);
                        for (uint32_t i = 0; i < n; i++)
                                cr_assert_eq(span_state(f.seg.spans[head + i].word), MH_SHM_SPAN_FREE);
                        cr_assert_lt(fixture_blocks(&f), first);
                        fixture_done(&f);
                }
}

Test(reap, a_large_block_that_was_being_made)
{
        /* Published; so many of the others say so. */
        for (uint32_t joined = 0; joined < 5; joined++) {
                uint64_t s;
                uint32_t head;

                open_two();
                s = take(&a, 5 * SPAN);
                head = (uint32_t)(scratch_offset(s) / SPAN);
                for (uint32_t i = joined + 1; i < 5; i++) {
                        f.seg.spans[head + i].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, head);
                        ledger_set_span(&a, head + i);
                }
                fixture_verify(&f, 0, NULL);
                (void)fixture_reap(&f, a.id);
                for (uint32_t i = 0; i < 5; i++)
                        cr_assert_eq(span_state(f.seg.spans[head + i].word), MH_SHM_SPAN_FREE);
                fixture_done(&f);
        }
}

Test(reap, a_large_block_that_it_was_freeing)
{
        /* Its own, or another's; so much of it has gone. */
        for (unsigned own = 0; own < 2; own++)
                for (uint32_t gone = 0; gone < 5; gone++) {
                        uint64_t s;
                        uint32_t head;

                        open_two();
                        s = take(own ? &a : &b, 5 * SPAN);
                        head = (uint32_t)(scratch_offset(s) / SPAN);
                        *span_owners(&f.seg, head) = owner_make(2, MH_SHM_OWNER_FREEING, 0, a.id);
                        hazard_set(&a, head);
                        for (uint32_t i = 5 - gone; i < 5; i++)
                                f.seg.spans[head + i].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, head);
                        if (gone)
                                span_release_run(&a, head + 5 - gone, gone);
                        if (gone == 4) {
                                f.seg.spans[head].run = 1;
                                set_span_word(s, span_make(0, MH_SHM_SPAN_CLAIMED, a.id, head));
                        }
                        fixture_verify(&f, 0, NULL);
                        (void)fixture_reap(&f, a.id);
                        for (uint32_t i = 0; i < 5; i++)
                                cr_assert_eq(span_state(f.seg.spans[head + i].word), MH_SHM_SPAN_FREE);
                        fixture_own(&b, 0);
                        fixture_done(&f);
                }
}

/* The taker dies while another client frees its block. */
Test(reap, a_large_block_that_another_one_frees)
{
        uint64_t s;
        uint32_t head;

        open_two();
        s = take(&a, 5 * SPAN);
        head = (uint32_t)(scratch_offset(s) / SPAN);
        *span_owners(&f.seg, head) = owner_make(2, MH_SHM_OWNER_FREEING, 0, b.id);
        hazard_set(&b, head);
        cr_assert_eq(fixture_reap(&f, a.id).scratch_bytes, 0, "it is b's to give back");
        cr_assert_eq(span_state(span_word(s)), MH_SHM_SPAN_LARGE);
        fixture_verify(&f, 0, NULL);
        (void)fixture_reap(&f, b.id);
        cr_assert_eq(span_state(span_word(s)), MH_SHM_SPAN_FREE);
        fixture_done(&f);
}

/* What happens when somebody is about to write to a page: there he stands still, and others go on. */
static struct {
        uint8_t *page;
        uint64_t handle;
        unsigned flags, times;
} before_write;

static void let_b_close(int sig)
{
        (void)sig;
        if (++before_write.times > 1 || mprotect(before_write.page, MH_SHM_PAGE, PROT_READ | PROT_WRITE) < 0)
                _exit(1);
        (void)slot_close(&b, before_write.handle, &before_write.flags);
}

/* Blocks of handles live in a dead client's span. Between the look that finds them there and the word that leaves the span to anyone,
 * the last of them is freed, by somebody who still sees whose the span was and leaves it alone. */
Test(reap, the_last_block_just_before_its_span_is_an_orphan)
{
        struct sigaction action = { .sa_handler = let_b_close }, old;
        uint64_t s;

        skip_under("tsan", "waits for itself where a signal comes in the middle of an atomic access");
        open_two();
        before_write.handle = make(&b);
        cr_assert_eq(slot_open(&a, before_write.handle, NULL), 0);
        s = take(&a, 100);
        cr_assert_eq(give_block(&a, s, before_write.handle), 0);
        cr_assert_eq(slot_close(&a, before_write.handle, NULL), 0);
        fixture_kill(&f, a.id);

        before_write.page = (uint8_t *)&f.seg.spans[span_of(s)];
        before_write.page -= (uintptr_t)before_write.page % MH_SHM_PAGE;
        before_write.times = 0;
        cr_assert_eq(sigaction(SIGSEGV, &action, &old), 0);
        cr_assert_eq(mprotect(before_write.page, MH_SHM_PAGE, PROT_READ), 0);
        (void)fixture_reap_dead(&f, a.id);
        cr_assert_eq(sigaction(SIGSEGV, &old, NULL), 0);

        cr_assert_eq(before_write.times, 1);
        cr_assert_eq(before_write.flags, GONE);
        cr_assert_eq(span_state(span_word(s)), MH_SHM_SPAN_FREE);
        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, NULL);
        fixture_own(&b, 0);
        fixture_done(&f);
}

static uint32_t spans_free(void)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < f.seg.n_spans; i++) {
                const struct mh_shm_span *entry = span_entry(&f.seg, i);

                n += !entry || span_state(load_sc(&entry->word)) == MH_SHM_SPAN_FREE;
        }
        return n;
}

/* A little at a time, so that others have their turn; and whoever reaps may die in between. */
Test(reap, large_blocks_of_a_handle)
{
        for (unsigned lives = 1; lives <= 8; lives++) {
                uint64_t h, s, kept;
                unsigned steps = 0;
                Reap reap;

                open_two();
                kept = take(&b, 3 * SPAN);
                h = make(&a);
                for (unsigned i = 0; i < 3; i++)
                        cr_assert_eq(give_block(&a, take(&a, (uint64_t)(60 + 10 * i) * SPAN), h), 0);
                if (lives % 2) { /* what it gave away, and what others did */
                        cr_assert_eq(slot_open(&b, h, NULL), 0);
                        cr_assert_eq(give_block(&b, take(&b, 5 * SPAN), h), 0);
                        cr_assert_eq(slot_close(&b, h, NULL), 0);
                }
                s = scratch_make(1, ref_offset(fixture_slot(&f, h)->refs[2]));
                fixture_kill(&f, a.id);
                cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
                for (;;) {
                        uint32_t before = spans_free();
                        int r = reap_step(&reap, 2000);

                        cr_assert_leq(spans_free(), before + 33, "in one step");
                        if (r == 0)
                                break;
                        fixture_verify(&f, 0, NULL);
                        cr_assert_neq(fixture_phase(&f, h), MH_SHM_PHASE_LIVE);
                        if (++steps % lives == 0)
                                cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
                        cr_assert_lt(steps, 1000);
                }
                cr_assert_gt(steps, 210 / 32);
                cr_assert_eq(span_state(span_word(s)), MH_SHM_SPAN_FREE);
                cr_assert_eq(scratch_free(&b, kept), 0);
                fixture_done(&f);
        }
}

Test(reap, a_small_span_in_any_state)
{
        uint64_t s, given, h;
        uint32_t span;

        for (unsigned state = 0; state < 4; state++) {
                open_two();
                h = make(&b);
                cr_assert_eq(slot_open(&a, h, NULL), 0);
                s = take(&a, 100);
                given = take(&a, 100);
                span = (uint32_t)(scratch_offset(s) / SPAN);
                if (state >= 1) /* a block of a handle is in it */
                        cr_assert_eq(give_block(&a, given, h), 0);
                if (state >= 2) { /* reaped so far before: an orphan, and the bit is still there */
                        cr_assert_eq(scratch_free(&a, s), 0);
                        set_span_word(s, span_with(span_word(s), MH_SHM_SPAN_ORPHAN, 0, class_of(100)));
                }
                if (state == 3) { /* and its last block was freed by one who saw it before */
                        *span_owners(&f.seg, span) = 0;
                        for (uint32_t i = 0; i < class_blocks(class_of(100)); i++)
                                span_owners(&f.seg, span)[i] = 0;
                        fixture_slot(&f, h)->refs[0] = 0;
                }
                (void)fixture_reap(&f, a.id);
                cr_assert_eq(span_state(span_word(s)),
                             state == 1 || state == 2 ? MH_SHM_SPAN_ORPHAN : MH_SHM_SPAN_FREE);
                if (state == 1 || state == 2) {
                        cr_assert_eq(scratch_lookup(&b, given, NULL, NULL), 0);
                        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), -ESTALE);
                }
                cr_assert_eq(slot_close(&b, h, NULL), 0);
                cr_assert_eq(span_state(span_word(s)), MH_SHM_SPAN_FREE);
                fixture_done(&f);
        }
}

Test(reap, bits_of_spans_that_are_others)
{
        uint64_t s[3];

        open_two();
        s[0] = take(&b, 100);
        s[1] = take(&b, 3 * SPAN);
        cr_assert_eq(span_claim(&b, 200, 200), 1);
        cr_assert_eq(ledger_reserve_span(&a, 0), 0);
        for (uint32_t i = 0; i < 256; i += 1)
                ledger_set_span(&a, i);
        (void)fixture_reap(&f, a.id);
        cr_assert_eq(scratch_lookup(&b, s[0], NULL, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, s[1], NULL, NULL), 0);
        cr_assert_eq(span_state(f.seg.spans[200].word), MH_SHM_SPAN_CLAIMED);
        span_release(&b, 200);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- scribbles */

/* Whatever a dead client wrote where it could: reaping comes to an end, and does not touch what is not there. */
Test(reap, garbage_in_ledger_and_hazards)
{
        uint64_t state = 5, s, h;

        for (unsigned round = 0; round < fixture_scaled(50) + 1; round++) {
                open_two();
                h = make(&b);
                s = take(&b, 100);
                for (uint32_t i = 0; i < 2048; i += 1 + fixture_random(&state) % 100)
                        fixture_set_ledger(&a, i, fixture_random(&state));
                cr_assert_eq(ledger_reserve_span(&a, 0), 0);
                for (unsigned i = 0; i < 4; i++)
                        a.span_bits[i] = fixture_random(&state);
                for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                        f.seg.hazards[a.id].line[i].span = round % 2 ? fixture_random(&state)
                                                                     : fixture_random(&state) % 300;
                memset(a.account, (int)fixture_random(&state), sizeof(*a.account));
                memset(a.page->reserved, round % 3 ? 0xff : 0, sizeof(a.page->reserved));
                (void)fixture_reap(&f, a.id);
                cr_assert_eq(slot_held(&b, h, NULL), 0);
                cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), 0);
                fixture_verify_rest(&f);
                fixture_done(&f);
        }
}

/* ---------------------------------------------------------------------------------------------- while others go on */

typedef struct Busy {
        Actor a;
        uint64_t handles[8], seed;
        uint32_t errors;
        uint32_t *stop;
} Busy;

static void *be_busy(void *userdata)
{
        Busy *w = userdata;

        for (unsigned i = 0; !load_acquire(w->stop); i++) {
                uint64_t h = w->handles[fixture_random(&w->seed) % ELEMENTSOF(w->handles)], fresh, s;

                if (slot_open(&w->a, h, NULL) == 0)
                        w->errors += slot_close(&w->a, h, NULL) != 0;
                if (slot_new(&w->a, 64, &fresh) == 0) {
                        if (scratch_alloc(&w->a, 100 + i % 9 * 4000, &s, NULL) == 0)
                                w->errors += give_block(&w->a, s, fresh) != 0;
                        w->errors += slot_close(&w->a, fresh, NULL) != 0;
                }
                if (scratch_alloc(&w->a, 100, &s, NULL) == 0)
                        w->errors += scratch_free(&w->a, s) != 0;
        }
        return NULL;
}

/* Clients come, share handles with those who go on, and die; a reaper sees to each. */
Test(reap, while_others_go_on, .timeout = 100)
{
        Busy busy[2] = { 0 };
        pthread_t threads[2];
        uint32_t stop = 0;
        Actor holder;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &holder);
        for (unsigned i = 0; i < 2; i++) {
                (void)fixture_attach(&f, FIXTURE_OWN, &busy[i].a);
                busy[i].stop = &stop;
                busy[i].seed = i;
        }
        for (unsigned k = 0; k < 8; k++)
                busy[0].handles[k] = busy[1].handles[k] = make(&holder);
        for (unsigned i = 0; i < 2; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, be_busy, &busy[i]), 0);

        for (unsigned round = 0, rounds = fixture_scaled(300) + 2; round < rounds; round++) {
                uint64_t h = 0, s;
                Reap reap;

                (void)fixture_attach(&f, FIXTURE_OWN, &a);
                for (unsigned k = 0; k < 8; k++)
                        cr_assert_eq(slot_open(&a, busy[0].handles[k], NULL), 0);
                for (unsigned k = 0; k < 20; k++)
                        h = make(&a);
                for (unsigned k = 0; k < 20; k++) {
                        if (scratch_alloc(&a, 100 + k % 9 * 4000, &s, NULL) < 0)
                                continue;
                        if (k % 8 == 0)
                                cr_assert_eq(give_block(&a, s, h), 0);
                        else if (k % 8 == 4) /* of those that live on, until they have enough */
                                (void)give_block(&a, s, busy[0].handles[round % 8]);
                }
                fixture_kill(&f, a.id);
                cr_assert_eq(reap_init(&reap, &f.seg, a.id), 0);
                while (reap_step(&reap, 100) > 0)
                        ;
        }
        store_release(&stop, 1);
        for (unsigned i = 0; i < 2; i++) {
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(busy[i].errors, 0);
        }
        for (unsigned k = 0; k < 8; k++)
                cr_assert_eq(slot_close(&holder, busy[0].handles[k], NULL), 0);
        fixture_done(&f);
}
