/* SPDX-License-Identifier: MIT */

/* Blocks of handles: given by who owns them, freed with the handle, whoever ends it. */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/give.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "unit/shm/two.h"

static uint64_t given(Actor *by, uint64_t size, uint64_t h)
{
        uint64_t s = take(by, size);

        cr_assert_eq(give_block(by, s, h), 0);
        return s;
}

static unsigned span_state_of(uint64_t s)
{
        return span_state(load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word));
}

static uint64_t *owner_of(uint64_t s, uint32_t size)
{
        return &span_owners(&f.seg, (uint32_t)(scratch_offset(s) / SPAN))[scratch_offset(s) % SPAN / size];
}

/* ---------------------------------------------------------------------------------------------- giving */

Test(give, what_it_looks_like)
{
        uint64_t s, h, owner = 0;

        open_two();
        h = make(&a);
        s = take(&a, 100);
        cr_assert_eq(account_owned(a.account), 112);
        cr_assert_eq(give_block(&a, s, h), 0);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], ref_make(s, a.id));
        cr_assert_eq(scratch_owner(&b, s, &owner), 0);
        cr_assert_eq(owner, owner_make(scratch_tag(s), MH_SHM_OWNER_SLOT, 0, handle_slot(h)));
        cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 1, "the pin is gone");
        cr_assert_eq(account_owned(a.account), 0);
        cr_assert_eq(a.hazard->span, 0);
        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), 0);
        fixture_verify_rest(&f);

        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), -ESTALE);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], 0);
        cr_assert_eq(a.account->free_bytes, 112);
        fixture_done(&f);
}

Test(give, errors)
{
        uint64_t s, h, others, stale, freed, foreign;

        open_two();
        h = make(&a);
        others = make(&b);
        stale = make(&a);
        cr_assert_eq(slot_close(&a, stale, NULL), 0);
        s = take(&a, 100);
        freed = take(&a, 100);
        cr_assert_eq(scratch_free(&a, freed), 0);
        foreign = take(&b, 100);

        cr_assert_eq(give_block(&a, 0, h), -EINVAL);
        cr_assert_eq(give_block(&a, s, 0), -EINVAL);
        cr_assert_eq(give_block(&a, freed, h), -ESTALE);
        cr_assert_eq(give_block(&a, s + 16, h), -ESTALE);
        cr_assert_eq(give_block(&a, s, stale), -ESTALE);
        cr_assert_eq(give_block(&a, s, others), -EBADF, "not held");
        cr_assert_eq(give_block(&a, foreign, h), -EBADF, "not one's own");
        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++)
                cr_assert_eq(fixture_slot(&f, h)->refs[e], 0);
        a.ledger[handle_slot(h)] = ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_COUNT_MASK);
        cr_assert_eq(give_block(&a, s, h), -EOVERFLOW, "no room for the pin");
        a.ledger[handle_slot(h)] = ledger_make(FIXTURE_FIRST, 1);

        cr_assert_eq(give_block(&a, s, h), 0);
        cr_assert_eq(give_block(&a, s, h), -EBUSY);
        cr_assert_eq(give_block(&b, s, others), -EBUSY);
        cr_assert_eq(scratch_free(&a, s), -EBUSY);
        cr_assert_eq(scratch_free(&b, s), -EBUSY);
        cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 1);
        cr_assert_eq(a.hazard->span, 0);
        cr_assert_eq(b.hazard->span, 0);
        fixture_verify_rest(&f);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(scratch_free(&a, s), -ESTALE);
        cr_assert_eq(give_block(&a, s, h), -ESTALE);
        fixture_done(&f);
}

Test(give, four_and_no_more)
{
        uint64_t s[5], h;

        open_two();
        h = make(&a);
        for (unsigned e = 0; e < 4; e++) {
                s[e] = given(&a, 100, h);
                cr_assert_eq(owner_entry(*owner_of(s[e], 112)), e);
        }
        s[4] = take(&a, 100);
        cr_assert_eq(give_block(&a, s[4], h), -ENOSPC);
        cr_assert_eq(scratch_lookup(&a, s[4], NULL, NULL), 0);
        cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 1);
        cr_assert_eq(scratch_free(&a, s[4]), 0, "still one's own");
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        for (unsigned e = 0; e < 4; e++)
                cr_assert_eq(scratch_lookup(&a, s[e], NULL, NULL), -ESTALE);
        h = make(&a);
        for (unsigned e = 0; e < 4; e++)
                (void)given(&a, 40000 * e + 1, h);
        fixture_done(&f);
}

Test(give, by_several_holders)
{
        uint64_t s[3], h;

        open_two();
        h = make(&a);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        s[0] = given(&a, 100, h);
        s[1] = given(&b, 100, h);
        s[2] = given(&b, 3 * SPAN, h);
        cr_assert_eq(ref_giver(fixture_slot(&f, h)->refs[1]), b.id);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(scratch_lookup(&b, s[i], NULL, NULL), 0, "as long as the handle lives");
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(scratch_lookup(&b, s[i], NULL, NULL), -ESTALE);
        cr_assert_eq(a.account->free_bytes, 2 * 112 + 3 * SPAN);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- the giver dies */

Test(give, survives_the_giver)
{
        uint64_t s, large, own, h;
        void *data;

        open_two();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        s = given(&a, 100, h);
        large = given(&a, 2 * SPAN, h);
        own = take(&a, 100);
        cr_assert_eq(scratch_lookup(&b, s, &data, NULL), 0);
        strcpy(data, "still here");
        cr_assert_eq(fixture_reap(&f, a.id).scratch_bytes, 112, "its own");
        cr_assert_eq(scratch_lookup(&b, own, NULL, NULL), -ESTALE);
        cr_assert_eq(scratch_lookup(&b, s, &data, NULL), 0);
        cr_assert_str_eq(data, "still here");
        cr_assert_eq(scratch_lookup(&b, large, NULL, NULL), 0);
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_ORPHAN);
        cr_assert_eq(span_state_of(large), MH_SHM_SPAN_LARGE);
        fixture_verify_rest(&f);

        cr_assert_eq(slot_close(&b, h, NULL), 0);
        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), -ESTALE);
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_FREE, "the last one in it");
        cr_assert_eq(span_state_of(large), MH_SHM_SPAN_FREE);
        fixture_done(&f);
}

Test(give, dies_with_the_handle_that_dies_with_the_giver)
{
        uint64_t s[4], h;

        open_two();
        h = make(&a);
        s[0] = given(&a, 100, h);
        s[1] = given(&a, 5 * SPAN, h);
        s[2] = given(&a, 32768, h);
        s[3] = given(&a, 16, h);
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, 1);
        for (unsigned i = 0; i < 4; i++) {
                cr_assert_eq(scratch_lookup(&b, s[i], NULL, NULL), -ESTALE);
                cr_assert_eq(span_state_of(s[i]), MH_SHM_SPAN_FREE);
        }
        fixture_done(&f);
}

Test(give, to_the_handle_of_another_who_dies)
{
        uint64_t s, h;

        open_two();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        s = given(&a, 100, h);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(fixture_reap(&f, b.id).destroyed, 1);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_SMALL, "a's, who lives");
        /* And a finds the place again. */
        for (unsigned i = 0; i < class_blocks(class_of(100)); i++)
                cr_assert_eq(scratch_offset(take(&a, 100)) / SPAN, scratch_offset(s) / SPAN);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- orphans */

Test(give, orphans_are_adopted)
{
        uint64_t s, t, h;
        uint32_t inc;

        open_two();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        s = given(&a, 100, h);
        (void)take(&a, 100);
        (void)fixture_reap(&f, a.id);
        inc = span_incarnation(load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word));
        cr_assert_eq(f.seg.shared->orphan[class_of(100)], scratch_offset(s) / SPAN + 1);

        t = take(&b, 64);
        cr_assert_neq(scratch_offset(t) / SPAN, scratch_offset(s) / SPAN, "of another class");
        t = take(&b, 112);
        cr_assert_eq(scratch_offset(t) / SPAN, scratch_offset(s) / SPAN);
        cr_assert_neq(scratch_offset(t), scratch_offset(s));
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_SMALL);
        cr_assert_eq(span_client(load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word)), b.id);
        cr_assert_eq(span_incarnation(load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word)), inc + 1);
        cr_assert(ledger_has_span(&b, (uint32_t)(scratch_offset(s) / SPAN)));
        cr_assert_eq(f.seg.shared->orphan[class_of(100)], 0);
        for (unsigned i = 2; i < class_blocks(class_of(100)); i++)
                cr_assert_eq(scratch_offset(take(&b, 100)) / SPAN, scratch_offset(s) / SPAN, "all that is free there");
        cr_assert_neq(scratch_offset(take(&b, 100)) / SPAN, scratch_offset(s) / SPAN);
        fixture_verify_rest(&f);
        cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), 0);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_SMALL);
        fixture_done(&f);
}

Test(give, hints_of_orphans_that_lie)
{
        uint64_t s, h;

        open_two();
        h = make(&b);
        s = given(&b, 100, h);
        /* Of somebody; of another class; free; none; beyond the last. */
        const uint32_t lies[] = { (uint32_t)(scratch_offset(s) / SPAN) + 1, 100, 200, 257, UINT32_MAX };

        for (unsigned i = 0; i < ELEMENTSOF(lies); i++) {
                f.seg.shared->orphan[class_of(200)] = lies[i];
                (void)take(&a, 200 + i % 2);
                a.classes[class_of(200)].candidates = 0; /* look for more next time */
                a.classes[class_of(200)].span = 0;
                memset(&f.seg.owners[0].hints, 0, 8);
                fixture_verify_rest(&f);
        }
        f.seg.shared->orphan[class_of(300)] = (uint32_t)(scratch_offset(s) / SPAN) + 1;
        (void)take(&a, 300);
        cr_assert_eq(span_state_of(s), MH_SHM_SPAN_SMALL);
        cr_assert_eq(span_client(load_sc(&f.seg.spans[scratch_offset(s) / SPAN].word)), b.id);
        fixture_done(&f);
}

Test(give, an_orphan_is_freed_by_the_handles_end_in_whose_name_ever)
{
        uint64_t s[2], h[2];

        open_two();
        h[0] = make(&b);
        h[1] = make(&b);
        cr_assert_eq(slot_open(&a, h[0], NULL), 0);
        cr_assert_eq(slot_open(&a, h[1], NULL), 0);
        s[0] = given(&a, 100, h[0]);
        s[1] = given(&a, 100, h[1]);
        (void)fixture_reap(&f, a.id);
        cr_assert_eq(slot_close(&b, h[0], NULL), 0);
        cr_assert_eq(span_state_of(s[0]), MH_SHM_SPAN_ORPHAN);
        (void)fixture_reap(&f, b.id);
        cr_assert_eq(span_state_of(s[0]), MH_SHM_SPAN_FREE);
        cr_assert_eq(f.seg.spans[scratch_offset(s[0]) / SPAN].kept, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- half given */

Test(give, an_entry_without_its_block)
{
        uint64_t s, h;

        open_two();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        cr_assert_eq(slot_open(&a, h, NULL), 0); /* the pin */
        s = take(&a, 100);
        fixture_slot(&f, h)->refs[0] = ref_make(s, a.id);
        fixture_verify(&f, 0, NULL);
        cr_assert_eq(scratch_free(&b, s), 0, "it is a's still, and may be freed");
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
        (void)fixture_reap(&f, a.id);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], 0);
        cr_assert_eq(slot_held(&b, h, NULL), 0);
        fixture_done(&f);
}

Test(give, entries_of_others_are_left_alone)
{
        uint64_t mine, theirs, h;

        open_two();
        h = make(&b);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        theirs = take(&b, 100);
        mine = given(&a, 100, h);
        fixture_slot(&f, h)->refs[1] = ref_make(theirs, b.id); /* b is about to give it */
        give_drop_unused_refs(&a, handle_slot(h), a.id);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], ref_make(mine, a.id), "named by its block");
        cr_assert_eq(fixture_slot(&f, h)->refs[1], ref_make(theirs, b.id), "not a's");
        give_drop_unused_refs(&b, handle_slot(h), b.id);
        cr_assert_eq(fixture_slot(&f, h)->refs[0], ref_make(mine, a.id));
        cr_assert_eq(fixture_slot(&f, h)->refs[1], 0);
        cr_assert_eq(scratch_free(&b, theirs), 0);
        fixture_done(&f);
}

/* Two entries of the same block: only the one that the block names counts. */
Test(give, only_the_entry_that_is_named)
{
        uint64_t s, h, other;

        open_two();
        h = make(&a);
        other = make(&a);
        s = given(&a, 100, h);
        fixture_slot(&f, h)->refs[2] = ref_make(s, a.id);
        fixture_slot(&f, other)->refs[0] = ref_make(s, a.id);
        cr_assert_eq(slot_close(&a, other, NULL), 0);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), 0, "of another handle");
        cr_assert_eq(fixture_slot(&f, other)->refs[0], 0);
        give_drop_unused_refs(&a, handle_slot(h), a.id);
        cr_assert_eq(fixture_slot(&f, h)->refs[2], 0);
        cr_assert_neq(fixture_slot(&f, h)->refs[0], 0);
        give_drop_refs(&a, handle_slot(h));
        give_drop_refs(&a, handle_slot(h));
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
        cr_assert_eq(a.account->free_bytes, 112, "once");
        fixture_done(&f);
}

Test(give, references_that_are_scribbles)
{
        static const uint64_t refs[] = { 1,
                                         UINT64_MAX,
                                         UINT64_C(1) << 28,
                                         UINT64_C(0xfffffffff) << 28,
                                         0x7fff,
                                         UINT64_C(0x1fff) << 15,
                                         (UINT64_C(4096) * 300 + 1) << 28,
                                         UINT64_C(2) << 28 | 5 };
        uint64_t h, s;

        for (unsigned i = 0; i < ELEMENTSOF(refs); i++) {
                open_two();
                h = make(&a);
                s = take(&a, 100);
                fixture_slot(&f, h)->refs[i % 4] = refs[i];
                give_drop_unused_refs(&a, handle_slot(h), a.id);
                give_drop_unused_refs(&b, handle_slot(h), 0x1fff);
                cr_assert_eq(slot_close(&a, h, NULL), 0);
                cr_assert_eq(fixture_slot(&f, h)->refs[i % 4], 0);
                cr_assert_eq(scratch_free(&a, s), 0);
                fixture_done(&f);
        }
}
