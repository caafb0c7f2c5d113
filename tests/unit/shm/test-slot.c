/* SPDX-License-Identifier: MIT */

/* Handles: what each call answers, to whom, and what it leaves. */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/slot.h"
#include "unit/shm/two.h"

#define GEN_MAX MH_SHM_GENERATION_MASK

static void expect_gone(uint64_t h)
{
        cr_assert_not(slot_is_alive(&a, h, NULL));
        cr_assert_eq(slot_open(&a, h, NULL), -ESTALE);
        cr_assert_eq(slot_close(&a, h, NULL), -ESTALE);
        cr_assert_eq(slot_held(&a, h, NULL), -ESTALE);
        cr_assert_eq(slot_open(&b, h, NULL), -ESTALE);
}

/* ---------------------------------------------------------------------------------------------- new */

Test(slot, types)
{
        open_two();
        for (unsigned type = 0; type < 300; type++) {
                bool good = (type >= 1 && type <= 10) || (type >= 64 && type <= 255);
                uint64_t h = 77;
                unsigned told = 777;

                cr_assert_eq(slot_new(&a, type, &h), good ? 0 : -EINVAL, "type %u", type);
                if (!good) {
                        cr_assert_eq(h, 77);
                        continue;
                }
                cr_assert(slot_is_alive(&b, h, &told));
                cr_assert_eq(told, type);
                cr_assert_eq(slot_open(&b, h, &told), 0);
                cr_assert_eq(told, type);
        }
        cr_assert_eq(slot_new(&a, UINT32_MAX, &(uint64_t){ 0 }), -EINVAL);
        cr_assert_eq(slot_new(&a, 256 + 5, &(uint64_t){ 0 }), -EINVAL, "not the low bits of it");
        fixture_done(&f);
}

Test(slot, what_a_new_one_looks_like)
{
        struct mh_shm_slot *s = NULL;
        uint64_t h;

        open_two();
        h = make(&a);
        cr_assert_eq(handle_generation(h), FIXTURE_FIRST);
        cr_assert_eq(slot_held(&a, h, &s), 0);
        cr_assert_eq(s, &f.seg.slots[handle_slot(h)]);
        cr_assert_eq(s->state, state_make(FIXTURE_FIRST, MH_SHM_PHASE_LIVE, TYPE, 0));
        cr_assert_eq(s->holders, UINT64_C(1) << a.id);
        cr_assert_eq(ledger_load(&a, handle_slot(h)), ledger_make(FIXTURE_FIRST, 1));
        cr_assert_eq(a.account->handles, 1);
        cr_assert_eq(a.account->created, 1);
        for (unsigned i = 0; i < sizeof(s->payload); i++)
                cr_assert_eq(s->payload[i], 0);
        fixture_done(&f);
}

Test(slot, nothing_is_left_of_the_one_before)
{
        struct mh_shm_slot *s;
        uint64_t h, again;

        open_two();
        h = make(&a);
        s = fixture_slot(&f, h);
        memset(s->payload, 0xee, sizeof(s->payload));
        s->wait[0] = s->wait[1] = 9;
        cr_assert_eq(closed(&a, h), GONE);
        cr_assert_eq(s->state, state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_eq(s->holders, 0);
        again = make(&a);
        cr_assert_eq(handle_slot(again), handle_slot(h), "the place is used again");
        cr_assert_eq(handle_generation(again), FIXTURE_FIRST + 1);
        for (unsigned i = 0; i < sizeof(s->payload); i++)
                cr_assert_eq(s->payload[i], 0);
        cr_assert_eq(s->wait[0], 0);
        cr_assert_eq(s->wait[1], 0);
        expect_gone(h);
        cr_assert_eq(slot_held(&a, again, NULL), 0, "the stale one changed nothing here");
        cr_assert_eq(s->holders, UINT64_C(1) << a.id);
        fixture_done(&f);
}

Test(slot, reserved_for_later)
{
        uint32_t slot = 77777, other = 77777;
        uint64_t h = 0;

        open_two();
        cr_assert_eq(reserve_slot(&a, &slot), 0);
        cr_assert_eq(reserve_slot(&b, &other), 0);
        cr_assert_neq(slot, other);
        cr_assert_eq(f.seg.slots[slot].state, state_make(FIXTURE_FIRST, MH_SHM_PHASE_RESERVED, 0, a.id));
        cr_assert_eq(ledger_load(&a, slot), MH_SHM_LEDGER_RESERVED);
        fixture_verify_rest(&f);
        h = handle_make(FIXTURE_FIRST, slot);
        expect_gone(h);
        cr_assert_eq(ledger_load(&a, slot), MH_SHM_LEDGER_RESERVED, "asking for it changed nothing");

        cr_assert_eq(slot_publish(&a, slot, 64, &h), 0);
        cr_assert_eq(h, handle_make(FIXTURE_FIRST, slot));
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_eq(closed(&a, h), GONE);

        reserve_undo(&b, other);
        cr_assert_eq(f.seg.slots[other].state, state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_eq(ledger_load(&b, other), 0);
        cr_assert_eq(b.account->handles, 0);
        fixture_done(&f);
}

Test(slot, all_of_them)
{
        static uint64_t handles[2048];
        uint64_t h = 77, seen[2048 / 64] = { 0 };

        open_two();
        for (unsigned i = 0; i < 2048; i++) {
                handles[i] = make(i % 3 ? &a : &b);
                cr_assert_not(seen[handle_slot(handles[i]) / 64] >> handle_slot(handles[i]) % 64 & 1);
                seen[handle_slot(handles[i]) / 64] |= UINT64_C(1) << handle_slot(handles[i]) % 64;
        }
        cr_assert_eq(slot_new(&a, 5, &h), -ENOSPC);
        cr_assert_eq(slot_new(&b, 5, &h), -ENOSPC);
        cr_assert_eq(h, 77);
        fixture_verify_rest(&f);

        /* Whichever becomes free is found, by whom ever. */
        for (unsigned i = 0; i < 2048; i += 37) {
                cr_assert_eq(closed(i % 3 ? &a : &b, handles[i]), GONE);
                h = make(&b);
                cr_assert_eq(handle_slot(h), handle_slot(handles[i]));
                cr_assert_eq(slot_new(&a, 5, &(uint64_t){ 0 }), -ENOSPC);
        }
        fixture_done(&f);
}

Test(slot, hints_that_lie)
{
        uint64_t h[512];

        open_two();
        for (unsigned i = 0; i < 512; i++)
                h[i] = make(&a);
        cr_assert_eq(handle_slot(h[511]) / 512, 0, "one chunk");
        /* All looks free, and nothing is. */
        memset(f.seg.chunks[0].taken, 0, sizeof(f.seg.chunks[0].taken));
        f.seg.chunkmap[0] = 0;
        cr_assert_eq(handle_slot(make(&b)) / 512, 1);
        cr_assert_eq(f.seg.chunks[0].taken[3], UINT64_MAX, "put right on the way");
        cr_assert_eq(f.seg.chunkmap[0] & 1, 1);
        (void)closed(&a, h[100]);
        b.chunk = 0;
        cr_assert_eq(handle_slot(make(&b)), handle_slot(h[100]));
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- open and close */

Test(slot, counting)
{
        unsigned type = 0, flags = 77;
        uint64_t h;

        open_two();
        h = make(&a);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        cr_assert_eq(slot_open(&a, h, &type), 0);
        cr_assert_eq(type, (int)TYPE);
        cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 3);
        cr_assert_eq(a.account->handles, 1, "one handle, however often");
        cr_assert_eq(closed(&a, h), 0);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_eq(closed(&a, h), GONE);
        cr_assert_eq(slot_close(&a, h, &flags), -ESTALE);
        cr_assert_eq(flags, 77);
        cr_assert_eq(a.account->handles, 0);
        cr_assert_eq(a.account->destroyed, 1);
        fixture_done(&f);
}

Test(slot, shared)
{
        uint64_t h;

        open_two();
        h = make(&a);
        cr_assert_eq(slot_close(&b, h, NULL), -EBADF);
        cr_assert_eq(slot_held(&b, h, NULL), -EBADF);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(slot_held(&b, h, NULL), 0);
        cr_assert(fixture_holds(&f, handle_slot(h), b.id));
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE, "alive elsewhere");
        cr_assert_not(fixture_holds(&f, handle_slot(h), a.id));
        cr_assert_eq(slot_held(&a, h, NULL), -EBADF);
        cr_assert_eq(slot_close(&a, h, NULL), -EBADF);
        cr_assert_eq(slot_open(&a, h, NULL), 0, "and can be had again");
        cr_assert_eq(closed(&b, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&a, h), GONE);
        expect_gone(h);
        cr_assert_eq(a.account->destroyed, 1);
        cr_assert_eq(b.account->destroyed, 0);
        fixture_done(&f);
}

Test(slot, nonsense)
{
        uint64_t h, before;
        unsigned type = 77;

        open_two();
        h = make(&a);
        before = fixture_blocks(&f);
        const struct {
                uint64_t handle;
                int error;
        } tries[] = {
                { 0, -EINVAL },
                { handle_slot(h), -ESTALE }, /* generation 0 */
                { handle_make(FIXTURE_FIRST, 2048), -ESTALE },
                { handle_make(FIXTURE_FIRST, 0xffffff), -ESTALE },
                { UINT64_MAX, -ESTALE },
                { h + (UINT64_C(1) << 24), -ESTALE },
                { h - (UINT64_C(1) << 24), -ESTALE },
                { handle_make(FIXTURE_FIRST, handle_slot(h) + 1),
                  -ESTALE },                                   /* free, of the generation that it will have */
                { handle_make(FIXTURE_FIRST, 2047), -ESTALE }, /* in a chunk without memory */
        };

        for (unsigned i = 0; i < ELEMENTSOF(tries); i++) {
                Actor *each[] = { &a, &b };

                for (unsigned k = 0; k < 2; k++) {
                        cr_assert_eq(slot_open(each[k], tries[i].handle, &type), tries[i].error, "try %u", i);
                        cr_assert_eq(slot_close(each[k], tries[i].handle, &type), tries[i].error, "try %u", i);
                        cr_assert_eq(slot_held(each[k], tries[i].handle, NULL), tries[i].error, "try %u", i);
                        cr_assert_not(slot_is_alive(each[k], tries[i].handle, &type));
                }
                cr_assert_eq(type, 77);
        }
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_leq(fixture_blocks(&f), before + 16, "the ledger page that b needs for the first chunk");
        fixture_done(&f);
}

Test(slot, asking_for_what_never_was_takes_no_memory)
{
        uint64_t before;

        open_two();
        (void)make(&a);
        before = fixture_blocks(&f);
        for (uint32_t slot = 512; slot < 2048; slot++) {
                cr_assert_eq(slot_open(&b, handle_make(FIXTURE_FIRST, slot), NULL), -ESTALE);
                cr_assert_eq(slot_close(&b, handle_make(FIXTURE_FIRST, slot), NULL), -ESTALE);
                cr_assert_eq(slot_held(&b, handle_make(FIXTURE_FIRST, slot), NULL), -ESTALE);
        }
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

Test(slot, overflow)
{
        uint64_t h, full;

        open_two();
        h = make(&a);
        full = ledger_make(handle_generation(h), MH_SHM_LEDGER_COUNT_MASK);
        a.ledger[handle_slot(h)] = full;
        cr_assert_eq(slot_open(&a, h, NULL), -EOVERFLOW);
        cr_assert_eq(ledger_load(&a, handle_slot(h)), full);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        cr_assert_eq(ledger_load(&a, handle_slot(h)), full);
        a.ledger[handle_slot(h)] = full - MH_SHM_LEDGER_COUNT_MASK + 1;
        cr_assert_eq(closed(&a, h), GONE);
        fixture_done(&f);
}

Test(slot, quota)
{
        uint64_t h[4], other, untouched = 77;
        uint32_t slot = 77;

        open_two();
        f.seg.shared->limit_client_handles = 3;
        other = make(&b);
        h[0] = make(&a);
        h[1] = make(&a);
        cr_assert_eq(slot_open(&a, other, NULL), 0);
        cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
        cr_assert_eq(reserve_slot(&a, &slot), -EDQUOT);
        cr_assert_eq(untouched, 77);
        cr_assert_eq(slot, 77);
        cr_assert_eq(slot_open(&a, h[0], NULL), 0, "one that is held already");
        cr_assert_eq(slot_close(&a, h[0], NULL), 0);

        h[2] = make(&b);
        cr_assert_eq(slot_open(&a, h[2], NULL), -EDQUOT);
        cr_assert_eq(ledger_load(&a, handle_slot(h[2])), 0);
        cr_assert_not(fixture_holds(&f, handle_slot(h[2]), a.id));
        cr_assert_eq(closed(&a, other), SLOT_CLOSED_HERE);
        cr_assert_eq(slot_open(&a, h[2], NULL), 0, "there is room again");
        cr_assert_eq(closed(&a, h[1]), GONE);
        h[1] = make(&a);
        f.seg.shared->limit_client_handles = 0;
        cr_assert_eq(closed(&a, h[1]), GONE, "closing is always possible");
        cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
        fixture_done(&f);
}

/* One thread opens and another one closes: what counts is what the client holds. */
Test(slot, quota_of_threads)
{
        uint64_t h[10], other, untouched = 77;
        Actor second;

        open_two();
        actor_init(&second, &f.seg, a.id, segment_ledger(&f.seg, a.id));
        actor_set_thread(&second, 1);
        f.seg.shared->limit_client_handles = 10;
        for (unsigned round = 0; round < 5; round++) {
                for (unsigned i = 0; i < 10; i++)
                        h[i] = make(&a);
                cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
                for (unsigned i = 0; i < 10; i++)
                        cr_assert_eq(closed(&second, h[i]), GONE);
        }
        /* What one holds is held by the other one. */
        for (unsigned i = 0; i < 10; i++)
                h[i] = make(i < 5 ? &a : &second);
        other = make(&b);
        cr_assert_eq(slot_open(&a, other, NULL), -EDQUOT);
        cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
        for (unsigned i = 0; i < 10; i++)
                cr_assert_eq(closed(&a, h[i]), GONE);
        fixture_done(&f);
}

/* Slots that are kept for the next handle are in the ledger, and are nobody's handles. */
Test(slot, quota_and_kept_slots)
{
        uint64_t h[20], other[20], untouched = 77;
        unsigned n;

        open_two();
        a.max_kept = 8;
        h[0] = make(&a);
        cr_assert_gt(a.n_kept, 0);
        f.seg.shared->limit_client_handles = 10; /* by the next daemon */
        for (n = 1; n < 10; n++) {
                other[n] = make(&b);
                cr_assert_eq(slot_open(&a, other[n], NULL), 0, "%u", n);
        }
        other[n] = make(&b);
        cr_assert_eq(slot_open(&a, other[n], NULL), -EDQUOT);
        cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
        cr_assert_eq(closed(&a, h[0]), GONE);
        cr_assert_eq(slot_open(&a, other[n], NULL), 0);
        slot_keep_none(&a);
        fixture_done(&f);
}

/* Where there is a limit, none is kept: they would help one thread and hinder the others. */
Test(slot, quota_of_threads_that_keep_slots)
{
        uint64_t h[10], untouched = 77;
        Actor second;

        open_two();
        actor_init(&second, &f.seg, a.id, segment_ledger(&f.seg, a.id));
        actor_set_thread(&second, 1);
        a.max_kept = second.max_kept = 8;
        f.seg.shared->limit_client_handles = 10;
        h[0] = make(&a);
        for (unsigned i = 1; i < 10; i++)
                h[i] = make(&second);
        cr_assert_eq(slot_new(&a, 5, &untouched), -EDQUOT);
        for (unsigned i = 0; i < 10; i++)
                cr_assert_eq(closed(&second, h[i]), GONE);
        for (unsigned i = 0; i < 10; i++)
                h[i] = make(&a);
        cr_assert_eq(slot_new(&second, 5, &untouched), -EDQUOT);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- generations */

Test(slot, a_slot_whose_generations_came_round_is_retired)
{
        uint64_t h, last;
        uint32_t slot;

        open_two();
        h = make(&a);
        slot = handle_slot(h);
        (void)closed(&a, h);
        /* The last generation before the first one. */
        f.seg.slots[slot].state = state_make(FIXTURE_FIRST - 1, MH_SHM_PHASE_FREE, 0, 0);
        last = make(&a);
        cr_assert_eq(last, handle_make(FIXTURE_FIRST - 1, slot));
        cr_assert_eq(closed(&a, last), GONE);
        cr_assert_eq(f.seg.slots[slot].state, 0);
        cr_assert_eq(slot_open(&a, last, NULL), -ESTALE);
        cr_assert_eq(slot_open(&a, handle_make(FIXTURE_FIRST, slot), NULL), -ESTALE);
        for (unsigned i = 0; i < 2047; i++)
                cr_assert_neq(handle_slot(make(&a)), slot, "never again");
        cr_assert_eq(slot_new(&a, 5, &h), -ENOSPC);
        cr_assert_eq(f.seg.slots[slot].state, 0);
        fixture_done(&f);
}

Test(slot, a_reservation_can_be_the_last_generation_too)
{
        uint32_t slot;

        open_two();
        cr_assert_eq(reserve_slot(&a, &slot), 0);
        reserve_undo(&a, slot);
        f.seg.slots[slot].state = state_make(FIXTURE_FIRST - 1, MH_SHM_PHASE_FREE, 0, 0);
        cr_assert_eq(reserve_slot(&a, &slot), 0);
        cr_assert_eq(state_generation(f.seg.slots[slot].state), FIXTURE_FIRST - 1);
        reserve_undo(&a, slot);
        cr_assert_eq(f.seg.slots[slot].state, 0);
        fixture_done(&f);
}

Test(slot, generations_pass_over_zero)
{
        uint64_t h;
        uint32_t slot;

        open_two();
        h = make(&a);
        slot = handle_slot(h);
        (void)closed(&a, h);
        f.seg.slots[slot].state = state_make(GEN_MAX, MH_SHM_PHASE_FREE, 0, 0);
        h = make(&a);
        cr_assert_eq(h, handle_make(GEN_MAX, slot));
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&b, h), GONE);
        cr_assert_eq(f.seg.slots[slot].state, state_make(1, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_eq(make(&a), handle_make(1, slot));
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- kept slots */

static const SegmentConfig roomy = {
        .n_slots = 4096,
        .n_clients = 8,
        .scratch_bytes = MH_SHM_SPAN_SIZE,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
        .first_generation = FIXTURE_FIRST,
};

static void open_roomy(void)
{
        fixture_open_as(&f, &roomy);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
}

Test(slot, how_many_are_kept)
{
        Actor c;

        open_two();
        slot_keep(&a);
        cr_assert_eq(a.max_kept, 0, "with so many clients there is none to spare");
        fixture_done(&f);

        open_roomy();
        cr_assert_eq(a.max_kept, 0, "only who wants to");
        slot_keep(&a);
        cr_assert_eq(a.max_kept, 32);
        /* All actors of all clients never keep more than half. */
        cr_assert_leq(f.seg.n_clients * MH_SHM_THREADS * a.max_kept, f.seg.n_slots / 2);
        c = a;
        cr_assert_eq(c.n_kept, 0);
        fixture_done(&f);
}

Test(slot, a_kept_slot_is_used_again)
{
        uint64_t h, again;
        uint32_t slot;

        open_roomy();
        slot_keep(&a);
        h = make(&a);
        slot = handle_slot(h);
        memset(fixture_slot(&f, h)->payload, 0xee, MH_SHM_PAYLOAD_SIZE);
        cr_assert_eq(a.n_kept, 16, "several are reserved at once");
        fixture_verify_rest(&f);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(closed(&b, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&a, h), GONE);
        cr_assert_eq(a.n_kept, 17);
        cr_assert_eq(f.seg.slots[slot].state, state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_RESERVED, 0, a.id));
        cr_assert_eq(ledger_load(&a, slot), MH_SHM_LEDGER_RESERVED);
        cr_assert_eq(a.account->handles, 17, "words that are not zero");
        cr_assert_eq(slot_open(&a, h, NULL), -ESTALE);
        cr_assert_eq(slot_open(&b, h, NULL), -ESTALE);
        cr_assert_eq(slot_open(&b, handle_make(FIXTURE_FIRST + 1, slot), NULL), -ESTALE);
        cr_assert_eq(slot_close(&a, h, NULL), -ESTALE);
        fixture_verify_rest(&f);

        again = make(&a);
        cr_assert_eq(again, handle_make(FIXTURE_FIRST + 1, slot));
        cr_assert_eq(fixture_slot(&f, again)->holders, UINT64_C(1) << a.id);
        for (unsigned i = 0; i < MH_SHM_PAYLOAD_SIZE; i++)
                cr_assert_eq(fixture_slot(&f, again)->payload[i], 0);
        cr_assert_eq(closed(&a, again), GONE);

        slot_keep_none(&a);
        cr_assert_eq(a.account->handles, 0);
        cr_assert_eq(a.n_kept, 0);
        for (unsigned i = 0; i < 512; i++) {
                cr_assert_eq(state_phase(f.seg.slots[i].state), MH_SHM_PHASE_FREE);
                cr_assert_eq(f.seg.slots[i].holders, 0);
        }
        h = make(&a);
        cr_assert_eq(a.n_kept, 0, "from now on none are kept");
        fixture_done(&f);
}

Test(slot, no_more_are_kept_than_there_is_room_for)
{
        uint64_t h[100];

        open_roomy();
        slot_keep(&a);
        for (unsigned i = 0; i < 100; i++)
                h[i] = make(&a);
        for (unsigned i = 0; i < 100; i++)
                cr_assert_eq(closed(&a, h[i]), GONE);
        cr_assert_eq(a.n_kept, 32);
        cr_assert_eq(a.account->handles, 32);
        cr_assert_eq(a.account->destroyed, 100);
        fixture_verify_rest(&f);
        cr_assert_eq(fixture_reap(&f, a.id).handles, 0, "what was only kept ready was no handle");
        fixture_done(&f);
}

Test(slot, the_last_generation_is_not_kept)
{
        uint64_t h;
        uint32_t slot;

        open_roomy();
        h = make(&a);
        slot = handle_slot(h);
        (void)closed(&a, h);
        f.seg.slots[slot].state = state_make(FIXTURE_FIRST - 1, MH_SHM_PHASE_FREE, 0, 0);
        h = make(&a);
        cr_assert_eq(h, handle_make(FIXTURE_FIRST - 1, slot));
        slot_keep(&a);
        cr_assert_eq(closed(&a, h), GONE);
        cr_assert_eq(a.n_kept, 0);
        cr_assert_eq(f.seg.slots[slot].state, 0);
        cr_assert_eq(f.seg.slots[slot].holders, 0);
        fixture_done(&f);
}

Test(slot, what_another_one_holds_is_not_kept)
{
        uint64_t h;

        open_roomy();
        slot_keep(&a);
        h = make(&a);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(a.n_kept, 16);
        cr_assert_not(fixture_holds(&f, handle_slot(h), a.id));
        cr_assert_eq(closed(&b, h), GONE);
        cr_assert_eq(fixture_phase(&f, h), MH_SHM_PHASE_FREE, "b keeps none");
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- without memory */

Test(slot, new_without_memory)
{
        uint64_t h = 77;
        unsigned n;
        int r;

        for (n = 0;; n++) {
                fixture_open(&f);
                while (fixture_attach(&f, FIXTURE_OWN, &a) < 65)
                        ;
                fixture_fail_reserve(n);
                r = slot_new(&a, 5, &h);
                fixture_fail_nothing();
                fixture_verify_rest(&f);
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(h, 77);
                cr_assert_eq(a.account->handles, 0);
                cr_assert_eq(slot_new(&a, 5, &h), 0, "later there is some");
                cr_assert_eq(closed(&a, h), GONE);
                fixture_done(&f);
                h = 77;
        }
        cr_assert_eq(n, 4, "descriptors, slots, ledger, holder bits");
        fixture_done(&f);
}

Test(slot, open_without_memory)
{
        unsigned n, type = 77;
        uint64_t h;
        int r;

        for (n = 0;; n++) {
                fixture_open(&f);
                (void)fixture_attach(&f, FIXTURE_OWN, &b);
                while (fixture_attach(&f, FIXTURE_OWN, &a) < 65)
                        ;
                h = make(&b);
                fixture_fail_reserve(n);
                r = slot_open(&a, h, &type);
                fixture_fail_nothing();
                fixture_verify_rest(&f);
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(type, 77);
                cr_assert_eq(a.account->handles, 0);
                cr_assert_eq(slot_open(&a, h, NULL), 0, "later there is some");
                fixture_done(&f);
        }
        cr_assert_eq(n, 2, "ledger, holder bits");
        cr_assert_eq(closed(&b, h), SLOT_CLOSED_HERE);
        cr_assert_eq(closed(&a, h), GONE);
        fixture_done(&f);
}

/* Where this client has no memory, it looks on where it has some. */
Test(slot, free_where_there_is_memory)
{
        uint64_t h, other;

        open_two();
        for (unsigned i = 0; i < 2 * 512; i++)
                h = make(&a);
        other = make(&b); /* in the third chunk, whose ledger words lie in another unit */
        cr_assert_eq(handle_slot(h) / 512, 1);
        cr_assert_eq(handle_slot(other) / 512, 2);
        cr_assert_eq(closed(&a, h), GONE);
        a.chunk = 2;
        fixture_fail_reserve(0);
        cr_assert_eq(slot_new(&a, 5, &other), 0);
        fixture_fail_nothing();
        cr_assert_eq(handle_slot(other), handle_slot(h));
        fixture_done(&f);
}

/* Closing needs none, whatever happens. */
Test(slot, close_without_memory)
{
        uint64_t h;

        open_two();
        h = make(&a);
        fixture_fail_reserve(0);
        cr_assert_eq(slot_open(&a, h, NULL), 0);
        cr_assert_eq(closed(&a, h), 0);
        cr_assert_eq(closed(&a, h), GONE);
        cr_assert_eq(fixture_reserved(), 0);
        fixture_done(&f);
}

Test(slot, on_a_file_system_that_is_full)
{
        SegmentConfig config = fixture_config;
        uint64_t h = 0, first = 0;
        unsigned n = 0;
        int r;

        config.n_slots = 1 << 16;
        fixture_open_tmpfs(&f, &config, 512 * 1024);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (;; n++) {
                r = slot_new(&a, 5, &h);
                if (r < 0)
                        break;
                if (n == 0)
                        first = h;
        }
        cr_assert_eq(r, -ENOSPC);
        cr_assert_geq(n, 512);
        cr_assert_lt(n, 65536);
        fixture_verify_rest(&f);
        cr_assert_eq(closed(&a, first), GONE);
        cr_assert_eq(slot_new(&a, 5, &h), 0, "what is there is used");
        fixture_verify_rest(&f);
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, n);
        fixture_done(&f);
}
