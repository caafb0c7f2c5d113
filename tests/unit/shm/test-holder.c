/* SPDX-License-Identifier: MIT */

/* Holder bits in all their words. */

#include "base/cleanup.h"
#include "shm/holder.h"
#include "shm/ledger.h"
#include "shm/slot.h"
#include "unit/shm/two.h"

/* Each bit is seen by each of the questions that are asked. */
Test(holder, each_word)
{
        static const uint32_t ids[] = { 1, 63, 64, 127, 128, 130 };
        Actor actors[131];
        uint32_t slot;
        uint64_t h;

        fixture_open(&f);
        for (uint32_t id = 1; id <= 130; id++)
                cr_assert_eq(fixture_attach(&f, FIXTURE_OWN, &actors[id]), id);
        h = make(&actors[1]);
        slot = handle_slot(h);
        for (size_t i = 1; i < ELEMENTSOF(ids); i++)
                cr_assert_eq(slot_open(&actors[ids[i]], h, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                Actor *it = &actors[ids[i]];
                bool last = i + 1 == ELEMENTSOF(ids);

                cr_assert(holder_any(&f.seg, slot));
                cr_assert_eq(holder_alone(it, slot), last, "client %u", ids[i]);
                (void)holder_clear(it, slot);
                cr_assert_not(fixture_holds(&f, slot, ids[i]));
                cr_assert_eq(holder_any(&f.seg, slot), !last, "client %u", ids[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                holder_set(&actors[ids[i]], slot);
                holder_set(&actors[ids[i]], slot); /* can be repeated */
                cr_assert(holder_alone(&actors[ids[i]], slot));
                cr_assert_eq(holder_seems_alone(&actors[ids[i]], slot), true);
                (void)holder_clear(&actors[ids[i]], slot);
                (void)holder_clear(&actors[ids[i]], slot);
                cr_assert_not(holder_any(&f.seg, slot));
        }
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                holder_set(&actors[ids[i]], slot);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                cr_assert_eq(closed(&actors[ids[i]], h), i + 1 == ELEMENTSOF(ids) ? GONE : SLOT_CLOSED_HERE);
        fixture_done(&f);
}

Test(holder, bits_of_clients_beyond_the_first_word)
{
        uint64_t h, before;
        Actor high, middle;

        open_two();
        while (fixture_attach(&f, FIXTURE_OWN, &middle) < 63)
                ;
        h = make(&a);
        cr_assert_eq(slot_open(&middle, h, NULL), 0);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 0);
        cr_assert_eq(fixture_slot(&f, h)->holders, UINT64_C(1) << 63 | UINT64_C(1) << a.id);
        while (fixture_attach(&f, FIXTURE_OWN, &high) < 130)
                ;
        cr_assert_eq(ledger_reserve_slot(&high, 0), 0);
        before = fixture_blocks(&f);
        cr_assert_eq(slot_open(&high, h, NULL), 0);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 2);
        cr_assert_eq(fixture_blocks(&f), before + 16, "a page for each of the two words, in this chunk");
        cr_assert(fixture_holds(&f, handle_slot(h), 130));
        cr_assert_eq(fixture_slot(&f, h)->holders, UINT64_C(1) << 63 | UINT64_C(1) << a.id);

        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&middle, h), SLOT_CLOSED_HERE, "130 is seen");
        cr_assert_eq(closed(&high, h), GONE);
        h = make(&high);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        cr_assert_eq(closed(&high, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&a, h), GONE);
        fixture_done(&f);
}

Test(holder, a_thousand_clients)
{
        static Actor actors[1000];
        SegmentConfig config = fixture_config;
        uint64_t h;

        config.n_clients = 1001;
        fixture_open_as(&f, &config);
        for (unsigned i = 0; i < 1000; i++)
                cr_assert_eq(fixture_attach(&f, FIXTURE_OWN, &actors[i]), i + 1);
        h = make(&actors[0]);
        for (unsigned i = 1; i < 1000; i++)
                cr_assert_eq(slot_open(&actors[i], h, NULL), 0);
        for (unsigned i = 1; i <= 1000; i++)
                cr_assert(fixture_holds(&f, handle_slot(h), i));
        fixture_verify_rest(&f);
        /* Some close it, some die; the last one ends it. */
        for (unsigned i = 0; i < 999; i++) {
                if (i % 2)
                        cr_assert_eq(closed(&actors[i], h), SLOT_CLOSED_HERE, "client %u", i + 1);
                else
                        cr_assert_eq(fixture_reap(&f, i + 1).destroyed, 0);
        }
        cr_assert(slot_is_alive(&actors[999], h, NULL));
        cr_assert_eq(closed(&actors[999], h), GONE);
        fixture_done(&f);
}
