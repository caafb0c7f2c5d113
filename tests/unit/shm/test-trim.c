/* SPDX-License-Identifier: MIT */

/* The memory of chunks goes back, and the handles that they had stay stale for ever. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/chunk.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/slot.h"
#include "shm/trim.h"
#include "unit/shm/two.h"

#define CHUNK_BLOCKS (512 * 128 / 512U)

static void trim(unsigned keep)
{
        uint32_t cursor = 0;

        for (unsigned i = 0; trim_step(&f.seg, &cursor, keep, 1000) > 0; i++)
                cr_assert_lt(i, 1000);
        cr_assert_eq(cursor, 0);
}

static unsigned chunk(uint32_t i)
{
        return chunk_state(load_sc(&f.seg.chunks[i].word));
}

static uint64_t floor_of(uint32_t i)
{
        return chunk_floor(load_sc(&f.seg.chunks[i].word));
}

/* ---------------------------------------------------------------------------------------------- closing */

Test(trim, nothing_to_do)
{
        uint64_t before;

        fixture_open(&f);
        trim_recover(&f.seg);
        before = fixture_blocks(&f);
        trim(0);
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

Test(trim, memory_comes_back_and_handles_do_not)
{
        static uint64_t old[10 * 600];
        unsigned n = 0;
        uint64_t before, bare;

        open_two();
        cr_assert_eq(slot_close(&a, make(&a), NULL), 0);
        for (uint32_t i = 512; i < 2048; i += 512)
                cr_assert_eq(ledger_reserve_slot(&a, i), 0);
        trim(0);
        bare = fixture_blocks(&f);
        for (unsigned round = 0; round < 10; round++) {
                unsigned first = n;

                for (unsigned i = 0; i < 600; i++)
                        old[n++] = make(&a);
                for (unsigned i = 0; i < n; i++) {
                        if (i < first)
                                cr_assert_eq(slot_open(&b, old[i], NULL), -ESTALE, "round %u", round);
                        else
                                cr_assert(slot_is_alive(&b, old[i], NULL));
                }
                for (unsigned i = first; i < n; i++)
                        cr_assert_eq(slot_close(&a, old[i], NULL), 0);
                before = fixture_blocks(&f);
                trim(0);
                cr_assert_leq(fixture_blocks(&f), before - 2 * CHUNK_BLOCKS);
                cr_assert_leq(fixture_blocks(&f), bare + 2 * 16, "ledger pages of b");
                cr_assert_eq(chunk(0), MH_SHM_CHUNK_HOLE);
                cr_assert_eq(chunk(1), MH_SHM_CHUNK_HOLE);
                cr_assert_gt(floor_of(0), FIXTURE_FIRST + round);
                fixture_verify_rest(&f);
                for (unsigned i = 0; i < n; i++) {
                        cr_assert_not(slot_is_alive(&b, old[i], NULL));
                        cr_assert_eq(slot_open(&b, old[i], NULL), -ESTALE);
                        cr_assert_eq(slot_close(&a, old[i], NULL), -ESTALE);
                }
                cr_assert_leq(fixture_blocks(&f), bare + 2 * 16, "nor does asking take memory");
        }
        fixture_done(&f);
}

Test(trim, the_floor_is_above_the_latest_of_all_slots)
{
        uint64_t h, latest = 0;

        open_two();
        /* One slot has been used more than the others. */
        for (unsigned i = 0; i < 9; i++) {
                latest = make(&a);
                cr_assert_eq(slot_close(&a, latest, NULL), 0);
        }
        cr_assert_eq(handle_generation(latest), FIXTURE_FIRST + 8);
        trim(0);
        cr_assert_eq(floor_of(0), FIXTURE_FIRST + 10, "free with + 9, which nobody can have had, but who knows");
        h = make(&a);
        cr_assert_eq(handle_generation(h), FIXTURE_FIRST + 10);
        for (unsigned i = 0; i < 511; i++)
                cr_assert_eq(handle_generation(make(&b)), FIXTURE_FIRST + 10, "all of them");
        fixture_done(&f);
}

Test(trim, floors_pass_over_zero)
{
        uint32_t slot;

        open_two();
        slot = handle_slot(make(&a));
        cr_assert_eq(slot_close(&a, handle_make(FIXTURE_FIRST, slot), NULL), 0);
        f.seg.slots[slot].state = state_make(MH_SHM_GENERATION_MASK, MH_SHM_PHASE_FREE, 0, 0);
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_HOLE);
        cr_assert_eq(floor_of(0), 1);
        fixture_done(&f);
}

Test(trim, no_generation_is_left)
{
        uint32_t slot;

        open_two();
        slot = handle_slot(make(&a));
        cr_assert_eq(slot_close(&a, handle_make(FIXTURE_FIRST, slot), NULL), 0);
        f.seg.slots[slot].state = state_make(FIXTURE_FIRST - 1, MH_SHM_PHASE_FREE, 0, 0);
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN, "or the floor would have come round");
        cr_assert_eq(f.seg.slots[slot].state, state_make(FIXTURE_FIRST - 1, MH_SHM_PHASE_FREE, 0, 0));
        fixture_done(&f);
}

/* To give memory back takes some for the ledger of who does it. */
Test(trim, where_there_is_no_memory_at_all)
{
        static uint64_t h[2000];
        uint64_t before, page = 0;

        fixture_open_tmpfs(&f, &fixture_config, UINT64_C(4) << 20);
        trim_recover(&f.seg);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (unsigned i = 0; i < ELEMENTSOF(h); i++)
                h[i] = make(&a);
        while (segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, page * MH_SHM_PAGE, MH_SHM_PAGE) == 0)
                page++;
        for (unsigned i = 0; i < ELEMENTSOF(h); i++)
                cr_assert_eq(slot_close(&a, h[i], NULL), 0);
        before = fixture_blocks(&f);
        trim(0);
        cr_assert_leq(fixture_blocks(&f), before - 3 * CHUNK_BLOCKS);
        cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_SCRATCH, 0, page * MH_SHM_PAGE), 0);
        fixture_done(&f);
}

Test(trim, some_are_kept)
{
        uint64_t h[2048], before;

        open_two();
        for (unsigned i = 0; i < 2048; i++)
                h[i] = make(&a);
        for (unsigned i = 0; i < 2048; i++)
                cr_assert_eq(slot_close(&a, h[i], NULL), 0);
        trim_recover(&f.seg);
        before = fixture_blocks(&f);
        trim(4);
        cr_assert_eq(fixture_blocks(&f), before);
        trim(3);
        cr_assert_eq(fixture_blocks(&f), before - CHUNK_BLOCKS);
        for (uint32_t i = 0; i < 4; i++)
                cr_assert_eq(chunk(i), i < 3 ? MH_SHM_CHUNK_OPEN : MH_SHM_CHUNK_HOLE, "the first ones stay");
        trim(1);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN);
        cr_assert_eq(chunk(1), MH_SHM_CHUNK_HOLE);
        fixture_done(&f);
}

Test(trim, in_slices)
{
        uint64_t h[2048];
        uint32_t cursor = 0;
        unsigned steps = 0;

        open_two();
        for (unsigned i = 0; i < 2048; i++)
                h[i] = make(&a);
        for (unsigned i = 0; i < 2048; i++)
                cr_assert_eq(slot_close(&a, h[i], NULL), 0);
        while (trim_step(&f.seg, &cursor, 1, 1) > 0) {
                cr_assert_leq(cursor, 4);
                fixture_verify_rest(&f);
                cr_assert_lt(++steps, 20);
        }
        cr_assert_geq(steps, 3);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN, "what is kept does not depend on where it goes on");
        for (uint32_t i = 1; i < 4; i++)
                cr_assert_eq(chunk(i), MH_SHM_CHUNK_HOLE);
        cursor = UINT32_MAX; /* as it were scribbled over */
        cr_assert_eq(trim_step(&f.seg, &cursor, 0, 1000), 0);
        cr_assert_eq(cursor, 0);
        fixture_done(&f);
}

Test(trim, holder_bits_go_too)
{
        uint64_t h, before;
        Actor high;

        open_two();
        while (fixture_attach(&f, FIXTURE_OWN, &high) < 199)
                ;
        cr_assert_eq(slot_close(&high, make(&high), NULL), 0);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 3);
        trim_recover(&f.seg);
        before = fixture_blocks(&f);
        trim(0);
        cr_assert_eq(fixture_blocks(&f), before - CHUNK_BLOCKS - 3 * 8);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 0);
        h = make(&a);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 0);
        cr_assert_eq(slot_open(&high, h, NULL), 0);
        cr_assert_eq(chunk_groups(f.seg.chunks[0].word), 3);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- what must not be closed */

/* All is as it was, and each slot can still be had. */
static void expect_still_open(uint32_t in_use)
{
        uint64_t h;

        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN);
        for (unsigned i = 0; i < 512 - in_use; i++)
                cr_assert_eq(handle_slot(make(&b)) / 512, 0);
        h = make(&b);
        cr_assert_eq(handle_slot(h) / 512, 1);
        for (unsigned i = 0; i < 512; i++)
                cr_assert_eq(f.seg.slots[i].state & 0x1fff, 0);
}

Test(trim, a_handle_lives)
{
        uint64_t h;

        open_two();
        h = make(&a);
        trim(0);
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        /* Nor if the hint says that there is none. */
        memset(f.seg.chunks[0].taken, 0, sizeof(f.seg.chunks[0].taken));
        trim(0);
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_eq(floor_of(0), 0);
        f.seg.chunks[0].taken[handle_slot(h) / 64] |= UINT64_C(1) << handle_slot(h) % 64;
        expect_still_open(1);
        fixture_done(&f);
}

Test(trim, a_slot_is_reserved)
{
        uint32_t slot;

        open_two();
        cr_assert_eq(reserve_slot(&a, &slot), 0);
        memset(f.seg.chunks[0].taken, 0, sizeof(f.seg.chunks[0].taken));
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN);
        cr_assert_eq(state_phase(f.seg.slots[slot].state), MH_SHM_PHASE_RESERVED);
        reserve_undo(&a, slot);
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_HOLE);
        fixture_done(&f);
}

/* Somebody opens a stale handle at this moment: its ledger word is all that can be seen of that. */
Test(trim, somebody_looks_at_a_slot)
{
        static const uint32_t slots[] = { 0, 77, 511 };

        for (unsigned i = 0; i < ELEMENTSOF(slots); i++)
                for (unsigned dead = 0; dead < 2; dead++) {
                        open_two();
                        cr_assert_eq(slot_close(&b, make(&b), NULL), 0);
                        fixture_set_ledger(&a, slots[i], ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT));
                        if (dead)
                                fixture_kill(&f, a.id);
                        trim(0);
                        cr_assert_eq(floor_of(0), 0);
                        expect_still_open(0);
                        if (dead)
                                (void)fixture_reap_dead(&f, a.id);
                        else
                                fixture_set_ledger(&a, slots[i], 0);
                        fixture_done(&f);
                }
}

Test(trim, words_for_other_chunks_do_not_matter)
{
        open_two();
        cr_assert_eq(slot_close(&b, make(&b), NULL), 0);
        fixture_set_ledger(&a, 512, ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT));
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_HOLE);
        fixture_set_ledger(&a, 512, 0);
        fixture_done(&f);
}

Test(trim, somebody_closed_it_before_and_retired_slots_stay)
{
        uint64_t h;

        open_two();
        h = make(&a);
        cr_assert_eq(slot_close(&a, h, NULL), 0);
        f.seg.slots[handle_slot(h)].state = 0;
        memset(f.seg.chunks[0].taken, 0, sizeof(f.seg.chunks[0].taken));
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN, "what is retired would come back to life");
        f.seg.chunks[0].taken[handle_slot(h) / 64] |= UINT64_C(1) << handle_slot(h) % 64;
        expect_still_open(1);
        fixture_done(&f);
}

Test(trim, without_membarrier)
{
        open_two();
        cr_assert_eq(slot_close(&a, make(&a), NULL), 0);
        f.seg.asymmetric = false;
        trim(0);
        expect_still_open(0);
        fixture_done(&f);
}

Test(trim, without_memory_for_the_daemons_ledger)
{
        open_two();
        cr_assert_eq(slot_close(&a, make(&a), NULL), 0);
        fixture_fail_reserve(0);
        trim(0);
        fixture_fail_nothing();
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_OPEN);
        trim(0);
        cr_assert_eq(chunk(0), MH_SHM_CHUNK_HOLE);
        fixture_done(&f);
}

/* Somebody came by while all slots were the daemon's, and noted that they are taken. */
Test(trim, hints_that_were_set_meanwhile)
{
        Actor d;

        open_two();
        cr_assert_eq(slot_close(&a, make(&a), NULL), 0);
        actor_init(&d, &f.seg, 0, segment_ledger(&f.seg, 0));
        cr_assert_eq(ledger_reserve_slot(&d, 0), 0);
        for (uint32_t i = 0; i < 512; i++) {
                d.ledger[i] = MH_SHM_LEDGER_RESERVED;
                f.seg.slots[i].state = state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_RESERVED, 0, 0);
        }
        cr_assert_eq(handle_slot(make(&a)) / 512, 1);
        cr_assert(chunk_looks_full(&f.seg, 0));
        trim_recover(&f.seg);
        cr_assert_not(chunk_looks_full(&f.seg, 0));
        a.chunk = b.chunk = 0;
        for (uint32_t i = 0; i < 512; i++)
                cr_assert_eq(handle_slot(make(&b)) / 512, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- the daemon died */

/* So many slots were taken; the state of the chunk; and so much of its memory had gone. */
static void leave_half_closed(unsigned taken, enum mh_shm_chunk_state state, bool punched)
{
        Actor d;

        actor_init(&d, &f.seg, 0, segment_ledger(&f.seg, 0));
        cr_assert_eq(ledger_reserve_slot(&d, 0), 0);
        for (uint32_t i = 0; i < taken; i++) {
                d.ledger[i] = MH_SHM_LEDGER_RESERVED;
                if (i + 1 < taken || taken == 512) /* of the last one, only the ledger knows */
                        f.seg.slots[i].state = state_make(state_generation(f.seg.slots[i].state), MH_SHM_PHASE_RESERVED,
                                                          0, 0);
        }
        f.seg.chunks[0].word = chunk_make(state == MH_SHM_CHUNK_PUNCHING || state == MH_SHM_CHUNK_HOLE ? 2000 : 0, 0,
                                          state, 0);
        if (punched)
                cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_SLOTS, 0, 512 * 128), 0);
}

Test(trim, recovery)
{
        static const struct {
                unsigned taken;
                enum mh_shm_chunk_state state;
                bool punched;
                enum mh_shm_chunk_state after;
        } left[] = {
                { 1, MH_SHM_CHUNK_OPEN, false, MH_SHM_CHUNK_OPEN },
                { 300, MH_SHM_CHUNK_OPEN, false, MH_SHM_CHUNK_OPEN },
                { 512, MH_SHM_CHUNK_OPEN, false, MH_SHM_CHUNK_OPEN },
                { 512, MH_SHM_CHUNK_CLOSING, false, MH_SHM_CHUNK_OPEN },
                { 512, MH_SHM_CHUNK_PUNCHING, false, MH_SHM_CHUNK_HOLE },
                { 512, MH_SHM_CHUNK_PUNCHING, true, MH_SHM_CHUNK_HOLE },
                { 512, MH_SHM_CHUNK_HOLE, true, MH_SHM_CHUNK_HOLE },
                { 100, MH_SHM_CHUNK_HOLE, true, MH_SHM_CHUNK_HOLE },
        };

        for (unsigned i = 0; i < ELEMENTSOF(left); i++) {
                uint64_t h, stale;
                Actor d;

                open_two();
                stale = make(&a);
                cr_assert_eq(slot_close(&a, stale, NULL), 0);
                leave_half_closed(left[i].taken, left[i].state, left[i].punched);
                trim_recover(&f.seg);
                trim_recover(&f.seg);
                cr_assert_eq(chunk(0), left[i].after, "%u", i);
                actor_init(&d, &f.seg, 0, segment_ledger(&f.seg, 0));
                for (uint32_t k = 0; k < 512; k++)
                        cr_assert_eq(d.ledger[k], 0);
                fixture_verify_rest(&f);
                cr_assert_eq(slot_open(&a, stale, NULL), -ESTALE);
                h = make(&b);
                cr_assert_eq(handle_slot(h) / 512, 0);
                if (left[i].after == MH_SHM_CHUNK_HOLE) {
                        cr_assert_eq(handle_generation(h), 2000);
                        for (unsigned k = 0; k < 511; k++)
                                cr_assert_eq(handle_slot(make(&b)) / 512, 0);
                } else {
                        cr_assert_eq(slot_close(&b, h, NULL), 0);
                        expect_still_open(0);
                }
                cr_assert_eq(slot_open(&a, stale, NULL), -ESTALE);
                fixture_done(&f);
        }
}

Test(trim, recovery_of_garbage)
{
        uint64_t state = 3, h;
        Actor d;

        open_two();
        h = make(&a);
        actor_init(&d, &f.seg, 0, segment_ledger(&f.seg, 0));
        for (uint32_t i = 0; i < 2048; i += 3) {
                cr_assert_eq(ledger_reserve_slot(&d, i), 0);
                d.ledger[i] = fixture_random(&state);
        }
        trim_recover(&f.seg);
        for (uint32_t i = 0; i < 2048; i++)
                cr_assert_eq(d.ledger[i], 0);
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        fixture_verify_rest(&f);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- while clients go on */

typedef struct Busy {
        Actor a;
        uint64_t seed;
        uint32_t errors, *stop;
        uint64_t *known; /* handles that others made, stale or not */
        uint64_t made;
} Busy;

#define KNOWN 64U

static void *be_busy(void *userdata)
{
        Busy *w = userdata;
        uint64_t mine[600];

        while (!load_acquire(w->stop)) {
                unsigned n = 1 + fixture_random(&w->seed) % ELEMENTSOF(mine), got = 0;

                for (unsigned i = 0; i < n; i++) {
                        int r = slot_new(&w->a, 5, &mine[got]);

                        got += r == 0;
                        w->errors += r != 0 && r != -ENOSPC;
                        if (r == 0 && i % 8 == 0)
                                store_release(&w->known[fixture_random(&w->seed) % KNOWN], mine[got - 1]);
                        uint64_t other = load_acquire(&w->known[fixture_random(&w->seed) % KNOWN]);
                        if (other && slot_open(&w->a, other, NULL) == 0)
                                w->errors += slot_close(&w->a, other, NULL) != 0;
                }
                (void)fetch_add_relaxed(&w->made, got);
                for (unsigned i = 0; i < got; i++) {
                        w->errors += slot_held(&w->a, mine[i], NULL) != 0;
                        w->errors += slot_close(&w->a, mine[i], NULL) != 0;
                }
                (void)sched_yield();
        }
        return NULL;
}

static bool have_all_made_some(const Busy *busy, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (!load_relaxed(&busy[i].made))
                        return false;
        return true;
}

Test(trim, while_clients_go_on, .timeout = 100)
{
        static uint64_t known[KNOWN];
        Busy busy[3] = { 0 };
        pthread_t threads[3];
        uint32_t stop = 0;
        unsigned closed = 0;

        fixture_open(&f);
        for (unsigned i = 0; i < 3; i++) {
                while (fixture_attach(&f, FIXTURE_OWN, &busy[i].a) < 1 + i * 64)
                        ;
                busy[i] = (Busy){ .a = busy[i].a, .seed = i, .stop = &stop, .known = known };
                cr_assert_eq(pthread_create(&threads[i], NULL, be_busy, &busy[i]), 0);
        }
        /* Until everybody has done something, and something was closed meanwhile. */
        for (unsigned i = 0, rounds = fixture_scaled(3000); i < rounds || !closed || !have_all_made_some(busy, 3);
             i++) {
                trim(0);
                for (uint32_t k = 0; chunk_exists(&f.seg, k); k++)
                        closed += chunk(k) == MH_SHM_CHUNK_HOLE && floor_of(k) > 0;
                (void)sched_yield();
        }
        store_release(&stop, 1);
        for (unsigned i = 0; i < 3; i++) {
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(busy[i].errors, 0);
        }
        fixture_verify_rest(&f);
        trim(0);
        for (uint32_t k = 0; k < 4; k++)
                cr_assert_eq(chunk(k), MH_SHM_CHUNK_HOLE);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (unsigned i = 0; i < KNOWN; i++)
                if (known[i])
                        cr_assert_eq(slot_open(&a, known[i], NULL), -ESTALE);
        for (unsigned i = 0; i < 2048; i++)
                (void)make(&a);
        fixture_done(&f);
}
