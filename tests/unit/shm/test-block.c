/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/block.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/span.h"
#include "unit/shm/two.h"

static uint64_t *word(uint32_t span)
{
        return &f.seg.spans[span].word;
}

/* ---------------------------------------------------------------------------------------------- finding */

Test(block, finding_small_ones)
{
        uint64_t s, base;
        Block found = { .size = 77 };

        open_two();
        s = take(&a, 48);
        base = (uint64_t)span_of(s) * MH_SHM_SPAN_SIZE;
        cr_assert_eq(block_find(&b, scratch_offset(s), &found), 0);
        cr_assert_eq(b.hazard->span, span_of(s) + 1, "nobody takes its memory away");
        cr_assert_eq(found.span, span_of(s));
        cr_assert_eq(found.size, 48);
        cr_assert_eq(found.offset, scratch_offset(s));
        cr_assert_eq(found.owner, &span_owners(&f.seg, found.span)[found.index]);
        cr_assert_eq(owner_who(*found.owner), a.id);
        cr_assert_not(block_is_large(&found));
        block_done(&b);
        cr_assert_eq(b.hazard->span, 0);

        for (uint32_t within = 0; within < MH_SHM_SPAN_SIZE; within++) {
                int r = block_find(&b, base + within, &found);

                if (within % 48 == 0 && within / 48 < class_blocks(2)) {
                        cr_assert_eq(r, 0);
                        cr_assert_eq(found.index, within / 48);
                        block_done(&b);
                } else {
                        cr_assert_eq(r, -ESTALE, "%u bytes in", within);
                }
                cr_assert_eq(b.hazard->span, 0);
        }
        cr_assert_eq(scratch_free(&a, s), 0);
        fixture_done(&f);
}

Test(block, finding_large_ones)
{
        uint64_t s, base;
        Block found;

        open_two();
        s = take(&a, 3 * 65536 - 1);
        base = scratch_offset(s);
        cr_assert_eq(base % MH_SHM_SPAN_SIZE, 0);
        cr_assert_eq(block_find(&b, base, &found), 0);
        cr_assert(block_is_large(&found));
        cr_assert_eq(found.size, 3 * 65536);
        cr_assert_eq(found.index, 0);
        block_done(&b);
        cr_assert_eq(block_find(&b, base + 16, &found), -ESTALE);
        cr_assert_eq(block_find(&b, base + 65536, &found), -ESTALE, "the middle of one is none");
        cr_assert_eq(block_find(&b, base + 2 * 65536, &found), -ESTALE);

        /* Lengths that somebody scribbled. */
        for (unsigned i = 0; i < 3; i++) {
                f.seg.spans[base / 65536].run = (uint32_t[]){ 0, 257, UINT32_MAX }[i];
                cr_assert_eq(block_find(&b, base, &found), -ESTALE);
                cr_assert_eq(b.hazard->span, 0);
        }
        f.seg.spans[base / 65536].run = 3;
        cr_assert_eq(scratch_free(&a, s), 0);
        fixture_done(&f);
}

Test(block, there_is_none)
{
        uint64_t before;
        Block found;

        open_two();
        before = fixture_blocks(&f);
        cr_assert_eq(block_find(&a, 0, &found), -ESTALE, "no span was ever used");
        cr_assert_eq(block_find(&a, 256 * (uint64_t)65536, &found), -ESTALE);
        cr_assert_eq(block_find(&a, UINT64_MAX, &found), -ESTALE);
        cr_assert_eq(fixture_blocks(&f), before);

        cr_assert_eq(span_claim(&a, 0, 0), 1);
        for (unsigned state = 0; state < 16; state++) {
                if (state == MH_SHM_SPAN_SMALL || state == MH_SHM_SPAN_ORPHAN || state == MH_SHM_SPAN_LARGE)
                        continue;
                *word(0) = span_make(0, (enum mh_shm_span_state)state, a.id, 0);
                cr_assert_eq(block_find(&b, 0, &found), -ESTALE, "state %u", state);
                cr_assert_eq(b.hazard->span, 0);
        }
        for (uint32_t class = MH_SHM_CLASSES; class < 70; class ++) {
                *word(0) = span_make(0, MH_SHM_SPAN_SMALL, a.id, class);
                cr_assert_eq(block_find(&b, 0, &found), -ESTALE);
                *word(0) = span_make(0, MH_SHM_SPAN_ORPHAN, a.id, class);
                cr_assert_eq(block_find(&b, 0, &found), -ESTALE);
        }
        *word(0) = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, 0);
        span_release(&a, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- freeing */

Test(block, freeing_compares_the_word)
{
        uint64_t s, owner;
        Block found;

        open_two();
        s = take(&a, 48);
        cr_assert_eq(block_find(&b, scratch_offset(s), &found), 0);
        owner = load_sc(found.owner);
        cr_assert_not(block_free(&b, &found, owner ^ 1));
        cr_assert_eq(load_sc(found.owner), owner);
        f.seg.owners[found.span].hints = 0;
        cr_assert(block_free(&b, &found, owner));
        cr_assert_eq(load_sc(found.owner), owner_make(owner_tag(owner) + 1, MH_SHM_OWNER_FREE, 0, 0));
        cr_assert_eq(f.seg.owners[found.span].hints, UINT64_C(1) << found.index / 64, "the owner is told");
        cr_assert_not(block_free(&b, &found, owner), "once");
        block_done(&b);
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(block, the_last_block_of_an_orphan)
{
        uint64_t s, other, before;
        uint32_t span;
        Block found;

        open_two();
        cr_assert_eq(ledger_reserve_span(&b, 0), 0);
        cr_assert_eq(ledger_reserve_span(&a, 0), 0);
        cr_assert_eq(span_claim(&a, 0, 0), 1);
        span_release(&a, 0);
        before = fixture_blocks(&f);
        s = take(&a, 48);
        other = take(&a, 48);
        span = span_of(s);
        cr_assert_eq(span_of(other), span);
        *word(span) = span_with(*word(span), MH_SHM_SPAN_ORPHAN, 0, 2);
        ledger_clear_span(&a, span);

        cr_assert_eq(block_find(&b, scratch_offset(s), &found), 0);
        cr_assert_not(block_none_used(&f.seg, span, 2));
        cr_assert(block_free(&b, &found, load_sc(found.owner)));
        block_done(&b);
        cr_assert_eq(span_state(*word(span)), MH_SHM_SPAN_ORPHAN, "one lives on");
        cr_assert_eq(block_find(&b, scratch_offset(other), &found), 0);
        cr_assert(block_free(&b, &found, load_sc(found.owner)));
        block_done(&b);
        cr_assert_eq(span_state(*word(span)), MH_SHM_SPAN_FREE);
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

Test(block, orphans_that_are_none)
{
        uint32_t span;
        uint64_t s;

        open_two();
        s = take(&a, 48);
        span = span_of(s);
        hazard_set(&b, span);
        block_release_orphan(&b, span);
        cr_assert_eq(span_state(*word(span)), MH_SHM_SPAN_SMALL);
        cr_assert_eq(scratch_free(&a, s), 0);
        block_release_orphan(&b, span);
        cr_assert_eq(span_state(*word(span)), MH_SHM_SPAN_SMALL, "empty, but somebody's");
        *word(span) = span_with(*word(span), MH_SHM_SPAN_ORPHAN, 0, 70);
        block_release_orphan(&b, span);
        cr_assert_eq(span_state(*word(span)), MH_SHM_SPAN_ORPHAN, "not to be understood");
        hazard_clear(&b);
        fixture_close(&f);
}

/* ---------------------------------------------------------------------------------------------- large ones, in steps */

static void expect_free(uint32_t span, uint32_t n)
{
        for (uint32_t i = span; i < span + n; i++) {
                cr_assert_eq(span_state(*word(i)), MH_SHM_SPAN_FREE, "span %u", i);
                cr_assert_not(f.seg.spanmap[i / 64] >> i % 64 & 1, "span %u", i);
        }
}

Test(block, releasing_in_steps)
{
        uint64_t s, before, tag;
        uint32_t head, steps = 0;

        open_two();
        s = take(&a, 65536);
        cr_assert_eq(scratch_free(&a, s), 0);
        before = fixture_blocks(&f);
        s = take(&a, 100 * 65536);
        head = span_of(s);
        tag = scratch_tag(s);
        /* b has begun to free it. */
        *span_owners(&f.seg, head) = owner_make(tag_after((uint32_t)tag), MH_SHM_OWNER_FREEING, 0, b.id);
        hazard_set(&b, head);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE, "gone for everybody");
        fixture_verify(&f, 0, NULL);
        while (block_resume_free(&b, head, 32) > 0) {
                steps++;
                cr_assert_lt(steps, 10);
                cr_assert_eq(b.hazard->span, head + 1, "and this still leads here");
                cr_assert_eq(f.seg.spans[head].run, steps < 4 ? 100 - steps * 32 : 1);
                expect_free(head + f.seg.spans[head].run, 100 - f.seg.spans[head].run);
                fixture_verify(&f, 0, NULL);
        }
        cr_assert_eq(steps, 4);
        cr_assert_eq(b.hazard->span, 0);
        expect_free(head, 100);
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_geq(f.seg.spans[head].tag_floor, tag);
        fixture_own(&a, 0);
        fixture_done(&f);
}

Test(block, what_is_not_this_clients_to_resume)
{
        uint64_t s, w;
        uint32_t head;

        open_two();
        s = take(&a, 2 * 65536);
        head = span_of(s);
        cr_assert_eq(block_resume_free(&b, head, 32), 0);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), 0, "it lives");
        w = *span_owners(&f.seg, head);
        *span_owners(&f.seg, head) = owner_make(7, MH_SHM_OWNER_FREEING, 0, a.id);
        cr_assert_eq(block_resume_free(&b, head, 32), 0);
        cr_assert_eq(span_state(*word(head)), MH_SHM_SPAN_LARGE, "a is at it");
        *span_owners(&f.seg, head) = w;
        cr_assert_eq(scratch_free(&a, s), 0);

        cr_assert_eq(span_claim(&a, 9, 9), 1);
        cr_assert_eq(block_resume_free(&b, 9, 32), 0);
        cr_assert_eq(span_state(*word(9)), MH_SHM_SPAN_CLAIMED);
        cr_assert_eq(block_resume_free(&a, 9, 32), 0);
        expect_free(9, 1);
        cr_assert_eq(block_resume_free(&a, 200, 32), 0, "no entry");
        cr_assert_eq(block_resume_free(&a, UINT32_MAX, 32), 0);
        fixture_done(&f);
}

/* Each state that a death can leave while the other spans are given back: by hand, span by span. */
Test(block, resumed_from_whatever_was_left)
{
        for (uint32_t done = 0; done < 6; done++)
                for (uint32_t claimed = 0; done + claimed < 6; claimed++) {
                        uint64_t s;
                        uint32_t head;

                        open_two();
                        s = take(&a, 6 * 65536);
                        head = span_of(s);
                        *span_owners(&f.seg, head) = owner_make(7, MH_SHM_OWNER_FREEING, 0, b.id);
                        hazard_set(&b, head);
                        /* From the end: some are free again, some are on their way. The length still says all. */
                        for (uint32_t i = 0; i < done + claimed; i++)
                                *word(head + 5 - i) = span_make(0, MH_SHM_SPAN_CLAIMED, b.id, head);
                        if (done > 0)
                                span_release_run(&b, head + 6 - done, done);
                        /* And one of those has been taken by a for something else since. */
                        if (done > 1)
                                cr_assert_eq(span_claim(&a, head + 5, head + 5), 1);

                        fixture_verify(&f, 0, NULL);
                        for (unsigned i = 0; block_resume_free(&b, head, 2) > 0; i++)
                                cr_assert_lt(i, 10);
                        expect_free(head, done > 1 ? 5 : 6);
                        if (done > 1) {
                                cr_assert_eq(span_state(*word(head + 5)), MH_SHM_SPAN_CLAIMED);
                                cr_assert_eq(span_client(*word(head + 5)), a.id);
                                span_release(&a, head + 5);
                        }
                        fixture_own(&a, 0);
                        fixture_done(&f);
                }
}

/* A length that cannot be: the head goes, nothing else is touched. */
Test(block, a_scribbled_length)
{
        uint64_t s, other;
        uint32_t head;

        open_two();
        s = take(&a, 2 * 65536);
        other = take(&a, 2 * 65536);
        head = span_of(s);
        cr_assert_eq(span_of(other), head + 2);
        *span_owners(&f.seg, head) = owner_make(7, MH_SHM_OWNER_FREEING, 0, a.id);
        f.seg.spans[head].run = 100000;
        cr_assert_eq(block_resume_free(&a, head, 32), 0);
        cr_assert_eq(span_state(*word(head)), MH_SHM_SPAN_FREE);
        cr_assert_eq(scratch_lookup(&a, other, NULL, NULL), 0);

        /* One that reaches into another's block takes nothing of it. */
        s = take(&b, 2 * 65536);
        head = span_of(s);
        f.seg.spans[span_of(other)].run = head + 2 - span_of(other);
        *span_owners(&f.seg, span_of(other)) = owner_make(7, MH_SHM_OWNER_FREEING, 0, a.id);
        for (unsigned i = 0; block_resume_free(&a, span_of(other), 32) > 0; i++)
                cr_assert_lt(i, 10);
        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), 0);
        fixture_close(&f);
}
