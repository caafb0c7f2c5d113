/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/span.h"
#include "unit/shm/two.h"

#define SPAN_BLOCKS (MH_SHM_SPAN_SIZE / 512)

static uint64_t word(uint32_t span)
{
        return load_sc(&f.seg.spans[span].word);
}

static bool mapped(uint32_t span)
{
        return f.seg.spanmap[span / 64] >> span % 64 & 1;
}

static void expect_free(uint32_t span, uint32_t incarnation)
{
        cr_assert_eq(word(span), span_make(incarnation, MH_SHM_SPAN_FREE, 0, 0), "span %u", span);
        cr_assert_not(mapped(span), "span %u", span);
        cr_assert_not(ledger_has_span(&a, span), "span %u", span);
}

/* ---------------------------------------------------------------------------------------------- claiming */

Test(span, claiming_one)
{
        uint64_t before;

        open_two();
        before = fixture_blocks(&f);
        cr_assert_null(span_entry(&f.seg, 0));
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_eq(span_claim(&a, 5, 5), 1);
        cr_assert_eq(f.seg.shared->span_hwm, 128);
        cr_assert_eq(span_entry(&f.seg, 5), &f.seg.spans[5]);
        cr_assert_null(span_entry(&f.seg, 128));
        cr_assert_null(span_entry(&f.seg, UINT32_MAX));
        cr_assert_eq(word(5), span_make(0, MH_SHM_SPAN_CLAIMED, a.id, 5));
        cr_assert(ledger_has_span(&a, 5));
        cr_assert(mapped(5));
        cr_assert_eq(a.hazard->span, 0);

        cr_assert_eq(span_claim(&b, 5, 5), 0, "it is taken");
        cr_assert_not(ledger_has_span(&b, 5));
        cr_assert_eq(span_claim(&a, 5, 5), 0);
        cr_assert(ledger_has_span(&a, 5), "its own stays");

        span_release(&a, 5);
        expect_free(5, 1);
        cr_assert_eq(span_claim(&b, 5, 5), 1);
        cr_assert_eq(word(5), span_make(1, MH_SHM_SPAN_CLAIMED, b.id, 5));
        span_release(&b, 5);
        fixture_done(&f);
}

Test(span, the_mark_grows_by_pages)
{
        open_two();
        cr_assert_eq(span_claim(&a, 200, 200), 1);
        cr_assert_eq(f.seg.shared->span_hwm, 256);
        cr_assert_not_null(span_entry(&f.seg, 255));
        f.seg.shared->span_hwm = UINT32_MAX; /* a scribble */
        cr_assert_null(span_entry(&f.seg, 256));
        f.seg.shared->span_hwm = 256;
        span_release(&a, 200);
        fixture_done(&f);
}

Test(span, incarnations_come_round)
{
        open_two();
        cr_assert_eq(span_claim(&a, 0, 0), 1);
        f.seg.spans[0].word = span_make(0xfffff, MH_SHM_SPAN_CLAIMED, a.id, 0);
        span_release(&a, 0);
        expect_free(0, 0);
        fixture_done(&f);
}

Test(span, runs)
{
        uint32_t head = 77, other = 77;

        open_two();
        cr_assert_eq(span_claim_run(&a, 3, &head), 0);
        cr_assert_eq(head, 0);
        for (uint32_t i = 0; i < 3; i++)
                cr_assert_eq(word(i), span_make(0, MH_SHM_SPAN_CLAIMED, a.id, 0), "each names the head");
        cr_assert_eq(span_claim_run(&b, 4, &other), 0);
        cr_assert_eq(other, 3);
        span_release_run(&a, head, 3);
        for (uint32_t i = 0; i < 3; i++)
                expect_free(i, 1);
        cr_assert_eq(span_claim_run(&a, 1, &head), 0);
        cr_assert_eq(head, 0, "single ones from below");
        cr_assert_eq(span_claim_run(&a, 2, &other), 0);
        cr_assert_eq(other, 7, "runs go on where the last one ended");

        /* Around the end. */
        f.seg.shared->span_cursor = 255;
        cr_assert_eq(span_claim_run(&a, 2, &other), 0);
        cr_assert_eq(other, 1);
        f.seg.shared->span_cursor = UINT32_MAX;
        cr_assert_eq(span_claim_run(&a, 5, &other), 0);
        cr_assert_eq(other, 9);
        fixture_close(&f);
}

Test(span, as_many_as_there_are)
{
        uint32_t head = 77, all;

        open_two();
        all = f.seg.n_spans;
        cr_assert_eq(span_claim_run(&a, all + 1, &head), -ENOSPC);
        cr_assert_eq(span_claim_run(&a, UINT32_MAX, &head), -ENOSPC);
        cr_assert_eq(head, 77);
        cr_assert_eq(span_claim_run(&a, all, &head), 0);
        cr_assert_eq(head, 0);
        cr_assert_eq(span_claim_run(&b, 1, &head), -ENOSPC);
        span_release_run(&a, 0, all);
        for (uint32_t i = 0; i < all; i++)
                expect_free(i, 1);
        fixture_done(&f);
}

Test(span, gaps)
{
        uint32_t head;

        open_two();
        cr_assert_eq(span_claim_run(&a, f.seg.n_spans, &head), 0);
        /* Gaps of 1 at 10, of 2 at 20, of 3 at 63 (over a word of the map), of 2 at the end. */
        span_release_run(&a, 10, 1);
        span_release_run(&a, 20, 2);
        span_release_run(&a, 63, 3);
        span_release_run(&a, 254, 2);
        cr_assert_eq(span_claim_run(&b, 4, &head), -ENOSPC);
        cr_assert_eq(span_claim_run(&b, 3, &head), 0);
        cr_assert_eq(head, 63);
        f.seg.shared->span_cursor = 100;
        cr_assert_eq(span_claim_run(&b, 2, &head), 0);
        cr_assert_eq(head, 254);
        cr_assert_eq(span_claim_run(&b, 2, &head), 0);
        cr_assert_eq(head, 20);
        cr_assert_eq(span_claim_run(&b, 2, &head), -ENOSPC);
        cr_assert_eq(span_claim_run(&b, 1, &head), 0);
        cr_assert_eq(head, 10);
        fixture_close(&f);
}

/* The map says free, and they are not: what was claimed of the run goes back. */
Test(span, a_map_that_lags_behind)
{
        uint32_t head;

        open_two();
        cr_assert_eq(span_claim(&b, 2, 2), 1);
        cr_assert_eq(span_claim(&b, 7, 7), 1);
        f.seg.spanmap[0] = 0;
        cr_assert_eq(span_claim_run(&a, 4, &head), 0);
        cr_assert_eq(head, 3);
        expect_free(0, 1);
        expect_free(1, 1);
        cr_assert_eq(span_claim_run(&a, 5, &head), 0);
        cr_assert_eq(head, 8);
        cr_assert_eq(word(2), span_make(0, MH_SHM_SPAN_CLAIMED, b.id, 2));
        fixture_close(&f);
}

Test(span, threads_of_one_client)
{
        Actor second;

        open_two();
        second = a;
        actor_set_thread(&second, 1);
        cr_assert_eq(span_claim(&a, 5, 5), 1);
        cr_assert_eq(span_claim(&second, 5, 5), 0);
        cr_assert(ledger_has_span(&a, 5), "who did not get it does not clear the bit of who did");
        span_forget(&second, 5);
        cr_assert(ledger_has_span(&a, 5), "nor is it forgotten while it is the client's");
        cr_assert(span_is_own(&second, 5));
        cr_assert_not(span_is_own(&b, 5));
        cr_assert_not(span_is_own(&a, 6));
        cr_assert_not(span_is_own(&a, 250));
        span_release(&second, 5);
        expect_free(5, 1);
        /* A stale bit goes when asked, but not while the hazard is needed for something else. */
        ledger_set_span(&a, 6);
        hazard_set(&a, 9);
        span_forget(&a, 6);
        cr_assert(ledger_has_span(&a, 6));
        cr_assert_eq(a.hazard->span, 10);
        hazard_clear(&a);
        span_forget(&a, 6);
        cr_assert_not(ledger_has_span(&a, 6));
        cr_assert_eq(a.hazard->span, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- memory */

Test(span, memory_comes_and_goes)
{
        uint64_t before, owners;

        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        before = fixture_blocks(&f);
        for (unsigned i = 0; i < 2; i++) {
                static const uint32_t blocks[] = { 2, 4096 };

                cr_assert_eq(span_populate(&a, 3, 1, blocks[i]), 0);
                owners = (64 + (uint64_t)blocks[i] * 8 + 4095) / 4096 * 8;
                cr_assert_eq(fixture_blocks(&f), before + SPAN_BLOCKS + owners);
                for (uint32_t k = 0; k < blocks[i]; k++)
                        cr_assert_eq(span_owners(&f.seg, 3)[k], 0);
                memset(f.seg.scratch + 3 * 65536, 0xee, 65536);
                span_owners(&f.seg, 3)[blocks[i] - 1] = owner_make(9 + i, MH_SHM_OWNER_FREE, 0, 0);
                span_release(&a, 3);
                cr_assert_eq(fixture_blocks(&f), before);
                cr_assert_eq(f.seg.spans[3].kept, 0);
                cr_assert_eq(f.seg.spans[3].tag_floor, 9 + i);
                cr_assert_eq(span_claim(&a, 3, 3), 1);
        }
        span_release(&a, 3);
        fixture_done(&f);
}

Test(span, memory_of_runs)
{
        uint64_t before;
        uint32_t head;

        open_two();
        cr_assert_eq(span_claim_run(&a, 5, &head), 0);
        before = fixture_blocks(&f);
        cr_assert_eq(span_populate(&a, head, 5, 1), 0);
        cr_assert_eq(fixture_blocks(&f), before + 5 * SPAN_BLOCKS + 8, "owner words for the first only");
        span_release_run(&a, head + 1, 4);
        cr_assert_eq(fixture_blocks(&f), before + SPAN_BLOCKS + 8);
        span_release(&a, head);
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

Test(span, without_memory)
{
        unsigned n;
        int r;

        for (n = 0;; n++) {
                uint32_t head = 77;

                open_two();
                fixture_fail_reserve(n);
                r = span_claim_run(&a, 200, &head);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(head, 77);
                fixture_done(&f);
        }
        cr_assert_eq(n, 3, "two pages of entries, ledger bits");
        for (n = 0;; n++) {
                uint64_t before = fixture_blocks(&f);

                fixture_fail_reserve(n);
                r = span_populate(&a, 0, 3, 1);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                span_release(&a, 0);
                cr_assert_lt(fixture_blocks(&f), before + 3 * SPAN_BLOCKS);
                cr_assert_eq(span_claim(&a, 0, 0), 1);
        }
        cr_assert_eq(n, 2, "data, owner words");
        span_release_run(&a, 1, 199);
        span_release(&a, 0);
        fixture_done(&f);
}

Test(span, what_somebody_looks_at_keeps_its_words)
{
        uint64_t before;

        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        before = fixture_blocks(&f);
        cr_assert_eq(span_populate(&a, 3, 1, 4096), 0);
        span_owners(&f.seg, 3)[7] = owner_make(5, MH_SHM_OWNER_FREE, 0, 0);
        hazard_set(&b, 3);
        span_release(&a, 3);
        cr_assert_eq(fixture_blocks(&f), before + 9 * 8, "the data goes, the words stay");
        cr_assert_eq(f.seg.spans[3].kept, 1);
        cr_assert_eq(span_owners(&f.seg, 3)[7], owner_make(5, MH_SHM_OWNER_FREE, 0, 0));
        hazard_clear(&b);
        fixture_verify_rest(&f);

        cr_assert_eq(span_claim(&b, 3, 3), 1);
        cr_assert_eq(span_populate(&b, 3, 1, 4096), 0);
        cr_assert_eq(span_owners(&f.seg, 3)[7], 0, "zeros for who takes it next");
        cr_assert_eq(f.seg.spans[3].kept, 0);
        cr_assert_eq(span_first_tag(&f.seg.spans[3]), 6);
        span_release(&b, 3);
        cr_assert_eq(fixture_blocks(&f), before + 16, "b has a page of its ledger");
        fixture_done(&f);
}

Test(span, without_membarrier_words_stay)
{
        open_two();
        f.seg.asymmetric = false;
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 2), 0);
        span_release(&a, 3);
        cr_assert_eq(f.seg.spans[3].kept, 1);
        fixture_done(&f);
}

Test(span, when_punching_fails)
{
        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 100), 0);
        span_owners(&f.seg, 3)[7] = owner_make(5, MH_SHM_OWNER_FREE, 0, 0);
        fixture_fail_punch(true);
        span_release(&a, 3);
        fixture_fail_punch(false);
        expect_free(3, 1);
        cr_assert_eq(f.seg.spans[3].kept, 1);
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 100), 0);
        cr_assert_eq(span_owners(&f.seg, 3)[7], 0);
        span_release(&a, 3);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- tags */

static void set_tags(uint32_t span, const uint32_t *tags, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                span_owners(&f.seg, span)[i] = tags[i] ? owner_make(tags[i], MH_SHM_OWNER_FREE, 0, 0) : 0;
}

static uint32_t floor_of(uint32_t span)
{
        return f.seg.spans[span].tag_floor;
}

Test(span, first_tags)
{
        struct mh_shm_span entry = { 0 };

        cr_assert_eq(span_first_tag(&entry), 1);
        entry.tag_floor = 5;
        cr_assert_eq(span_first_tag(&entry), 6);
        entry.tag_floor = 0xffffff;
        cr_assert_eq(span_first_tag(&entry), 1, "0 is no tag");
        entry.tag_floor = UINT32_MAX;
        cr_assert_eq(span_first_tag(&entry), 1);
}

Test(span, the_floor_is_above_all_tags)
{
        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 100), 0);
        set_tags(3, (uint32_t[]){ 4, 0, 9, 7 }, 4);
        span_raise_floor(&f.seg, 3, 3);
        cr_assert_eq(floor_of(3), 9);
        set_tags(3, (uint32_t[]){ 4, 0, 9, 17 }, 4);
        span_raise_floor(&f.seg, 3, 3);
        cr_assert_eq(floor_of(3), 9, "of so many");
        span_raise_floor(&f.seg, 3, 4);
        cr_assert_eq(floor_of(3), 17);
        set_tags(3, (uint32_t[]){ 0, 0, 0, 0 }, 4);
        span_raise_floor(&f.seg, 3, 4);
        cr_assert_eq(floor_of(3), 17, "nothing new");

        /* Tags come round; what is later is told from the floor on. */
        f.seg.spans[3].tag_floor = 0xfffffe;
        set_tags(3, (uint32_t[]){ 0xffffff, 3, 1, 0xfffffe }, 4);
        span_raise_floor(&f.seg, 3, 4);
        cr_assert_eq(floor_of(3), 3);
        span_release(&a, 3);
        fixture_done(&f);
}

/* Words of former use lie behind those that a span has now, and older ones than the floor: it must not go back to them. */
Test(span, the_floor_never_goes_back)
{
        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 4096), 0);
        set_tags(3, (uint32_t[]){ 2, 10, 3, 5, 9 }, 5);
        span_raise_floor(&f.seg, 3, 4096);
        cr_assert_eq(floor_of(3), 10);
        span_raise_floor(&f.seg, 3, 4096);
        cr_assert_eq(floor_of(3), 10, "once more, as after a death");
        f.seg.spans[3].kept = 1;
        cr_assert_eq(span_populate(&a, 3, 1, 2), 0);
        span_release(&a, 3);
        cr_assert_eq(floor_of(3), 10, "the others had been left behind");
        fixture_done(&f);
}

/* A death after the floor was written and before the words were gone. */
Test(span, releasing_twice)
{
        open_two();
        cr_assert_eq(span_claim(&a, 3, 3), 1);
        cr_assert_eq(span_populate(&a, 3, 1, 100), 0);
        set_tags(3, (uint32_t[]){ 2, 10, 3, 5, 9 }, 5);
        for (unsigned i = 0; i < 3; i++) {
                f.seg.spans[3].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, 3);
                ledger_set_span(&a, 3);
                fixture_fail_punch(i < 2);
                span_release(&a, 3);
                cr_assert_eq(floor_of(3), 10);
                expect_free(3, 1);
        }
        fixture_done(&f);
}
