/* SPDX-License-Identifier: MIT */

#include <errno.h>

#include "shm/chunk.h"
#include "shm/ledger.h"
#include "shm/slot.h"
#include "shm/trim.h"
#include "unit/shm/fixture.h"

#define CHUNK_BLOCKS (512 * 128 / 512U)

static uint64_t word(Fixture *f, uint32_t chunk)
{
        return load_sc(&f->seg.chunks[chunk].word);
}

static void expect(Fixture *f, uint32_t chunk, enum mh_shm_chunk_state state, uint32_t owner)
{
        cr_assert_eq(chunk_state(word(f, chunk)), state);
        cr_assert_eq(chunk_owner(word(f, chunk)), owner);
}

Test(chunk, opening)
{
        uint64_t before;
        uint32_t chunk = 77;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        before = fixture_blocks(&f);
        cr_assert_not(chunk_exists(&f.seg, 0));
        cr_assert_not(chunk_look(&a, 0) != 0);
        cr_assert_eq(fixture_blocks(&f), before, "a hole is not touched to see that it is one");

        cr_assert_eq(chunk_open(&a, &chunk), 0);
        cr_assert_eq(chunk, 0);
        cr_assert_eq(f.seg.shared->chunk_hwm, 32);
        cr_assert(chunk_exists(&f.seg, 0));
        cr_assert(chunk_exists(&f.seg, 3));
        cr_assert_not(chunk_exists(&f.seg, 4), "a descriptor, but no such chunk");
        cr_assert(chunk_look(&a, 0) != 0);
        cr_assert(chunk_look(&a, 511) != 0);
        cr_assert_not(chunk_look(&a, 512) != 0);
        expect(&f, 0, MH_SHM_CHUNK_OPEN, 0);
        cr_assert_eq(fixture_blocks(&f), before + 8 + CHUNK_BLOCKS);
        for (unsigned i = 0; i < 512; i++)
                cr_assert_eq(f.seg.slots[i].state, state_make(FIXTURE_FIRST, MH_SHM_PHASE_FREE, 0, 0));

        for (uint32_t i = 1; i < 4; i++) {
                cr_assert_eq(chunk_open(&a, &chunk), 0);
                cr_assert_eq(chunk, i);
        }
        chunk = 77;
        cr_assert_eq(chunk_open(&a, &chunk), -ENOSPC);
        cr_assert_eq(chunk, 77);
        cr_assert_not(chunk_look(&a, 0xffffff) != 0);
        fixture_done(&f);
}

Test(chunk, opening_above_a_floor)
{
        uint32_t chunk;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        f.seg.chunks[1].word = chunk_make(FIXTURE_FIRST + 99, 0, MH_SHM_CHUNK_HOLE, 0);
        f.seg.chunkmap[0] = 2; /* as a chunk that was closed leaves it */
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        cr_assert_eq(chunk, 1);
        cr_assert_eq(chunk_floor(word(&f, 1)), FIXTURE_FIRST + 99, "kept");
        for (unsigned i = 512; i < 1024; i++)
                cr_assert_eq(f.seg.slots[i].state, state_make(FIXTURE_FIRST + 99, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_not(chunk_looks_full(&f.seg, 1));
        fixture_done(&f);
}

Test(chunk, what_others_are_at_is_left_alone)
{
        static const enum mh_shm_chunk_state states[] = { MH_SHM_CHUNK_OPENING, MH_SHM_CHUNK_OPEN, MH_SHM_CHUNK_CLOSING,
                                                          MH_SHM_CHUNK_PUNCHING };
        uint32_t chunk;
        Fixture f;
        Actor a;

        for (unsigned i = 0; i < 4; i++) {
                uint64_t w = chunk_make(5, 1, states[i], 9);

                fixture_open(&f);
                (void)fixture_attach(&f, FIXTURE_OWN, &a);
                cr_assert_eq(chunk_open(&a, &chunk), 0);
                f.seg.chunks[1].word = w;
                cr_assert_eq(chunk_open(&a, &chunk), 0);
                cr_assert_eq(chunk, 2);
                cr_assert_eq(word(&f, 1), w);
                cr_assert_eq(chunk_look(&a, 512) != 0, states[i] == MH_SHM_CHUNK_OPEN);
                fixture_close(&f);
        }
}

Test(chunk, without_memory)
{
        uint64_t before;
        uint32_t chunk = 77;
        unsigned n;
        Fixture f;
        Actor a;
        int r;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        for (n = 0;; n++) {
                before = fixture_blocks(&f);
                fixture_fail_reserve(n);
                r = chunk_open(&a, &chunk);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(chunk, 77);
                cr_assert_leq(fixture_blocks(&f), before + 8, "the descriptors at most");
                fixture_verify_rest(&f);
        }
        cr_assert_eq(n, 2, "the descriptors, the slots");
        cr_assert_eq(chunk, 0);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- holder bits */

static void attach_until(Fixture *f, uint32_t id, Actor *ret)
{
        while (fixture_attach(f, FIXTURE_OWN, ret) < id)
                ;
}

Test(chunk, holder_bits_get_memory_when_needed)
{
        uint64_t before;
        uint32_t chunk;
        Fixture f;
        Actor low, mid, high;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &low);
        attach_until(&f, 64, &mid);
        attach_until(&f, 199, &high);
        cr_assert_eq(chunk_open(&low, &chunk), 0);
        cr_assert_eq(chunk_open(&low, &chunk), 0);
        before = fixture_blocks(&f);

        cr_assert_eq(chunk_raise_groups(&low, 0), 0);
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_eq(chunk_groups(word(&f, 0)), 0);
        cr_assert_eq(chunk_raise_groups(&mid, 511), 0);
        cr_assert_eq(fixture_blocks(&f), before + 8, "one page for 512 words");
        cr_assert_eq(chunk_groups(word(&f, 0)), 1);
        cr_assert_eq(chunk_groups(word(&f, 1)), 0);
        cr_assert_eq(chunk_raise_groups(&high, 5), 0);
        cr_assert_eq(fixture_blocks(&f), before + 24, "those between as well");
        cr_assert_eq(chunk_groups(word(&f, 0)), 3);
        cr_assert_eq(chunk_raise_groups(&mid, 5), 0);
        cr_assert_eq(chunk_groups(word(&f, 0)), 3, "never fewer");
        cr_assert_eq(fixture_blocks(&f), before + 24);
        expect(&f, 0, MH_SHM_CHUNK_OPEN, 0);
        fixture_done(&f);
}

Test(chunk, no_memory_for_holder_bits)
{
        uint32_t chunk;
        unsigned n;
        Fixture f;
        Actor a, high;
        int r;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        attach_until(&f, 199, &high);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        for (n = 0;; n++) {
                fixture_fail_reserve(n);
                r = chunk_raise_groups(&high, 0);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(chunk_groups(word(&f, 0)), 0, "none is promised that is not there");
        }
        cr_assert_eq(n, 3);
        cr_assert_eq(chunk_groups(word(&f, 0)), 3);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- hints */

Test(chunk, hints)
{
        uint32_t chunk;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        chunk_note_taken(&f.seg, 70);
        cr_assert_eq(f.seg.chunks[0].taken[1], 1 << 6);
        chunk_note_free(&f.seg, 70);
        cr_assert_eq(f.seg.chunks[0].taken[1], 0);

        for (unsigned i = 0; i < 8; i++)
                f.seg.chunks[0].taken[i] = UINT64_MAX;
        cr_assert_not(chunk_looks_full(&f.seg, 0));
        chunk_note_full(&f.seg, 0);
        cr_assert(chunk_looks_full(&f.seg, 0));
        cr_assert_not(chunk_looks_full(&f.seg, 1));
        chunk_note_free(&f.seg, 5);
        cr_assert_not(chunk_looks_full(&f.seg, 0), "one was freed");

        chunk_note_full(&f.seg, 0);
        cr_assert_not(chunk_looks_full(&f.seg, 0), "it looks once more after it said so");
        for (unsigned i = 0; i < 8; i++)
                f.seg.chunks[0].taken[i] = 0;
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- after a death */

Test(chunk, one_that_a_dead_client_was_opening)
{
        uint64_t before;
        uint32_t chunk;
        Fixture f;
        Actor a, b;
        uint32_t id;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        id = fixture_attach(&f, FIXTURE_OWN, &b);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        before = fixture_blocks(&f);

        /* Half filled, with a floor; and one that a living client is at. */
        f.seg.chunks[1].word = chunk_make(FIXTURE_FIRST + 5, 0, MH_SHM_CHUNK_OPENING, id);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SLOTS, 512 * 128, 512 * 128), 0);
        f.seg.slots[512].state = state_make(FIXTURE_FIRST + 5, MH_SHM_PHASE_FREE, 0, 0);
        f.seg.chunks[2].word = chunk_make(0, 0, MH_SHM_CHUNK_OPENING, a.id);
        (void)fixture_reap(&f, id);
        cr_assert_eq(word(&f, 1), chunk_make(FIXTURE_FIRST + 5, 0, MH_SHM_CHUNK_HOLE, 0));
        expect(&f, 2, MH_SHM_CHUNK_OPENING, a.id);
        cr_assert_lt(fixture_blocks(&f), before, "also its account went");

        f.seg.chunks[2].word = 0;
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        cr_assert_eq(chunk, 1);
        cr_assert_eq(f.seg.slots[512].state, state_make(FIXTURE_FIRST + 5, MH_SHM_PHASE_FREE, 0, 0));
        fixture_done(&f);
}

Test(chunk, a_hint_that_a_dead_client_left)
{
        uint32_t chunk;
        Fixture f;
        Actor a, b;
        uint32_t id;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        id = fixture_attach(&f, FIXTURE_OWN, &b);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        /* It said that the chunk is full, and died before it looked again. */
        f.seg.chunkmap[0] = 1;
        (void)fixture_reap(&f, id);
        cr_assert_not(chunk_looks_full(&f.seg, 0));
        fixture_done(&f);
}

/* A mark between two pages of descriptors is somebody's scribble, and does no harm. */
Test(chunk, a_spoilt_mark)
{
        uint32_t chunk;
        Fixture f;
        Actor a;

        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        f.seg.shared->chunk_hwm = UINT32_MAX;
        cr_assert_not(chunk_exists(&f.seg, 4));
        cr_assert_not(chunk_exists(&f.seg, UINT32_MAX));
        f.seg.shared->chunk_hwm = 2;
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        cr_assert_eq(chunk_open(&a, &chunk), 0);
        cr_assert_eq(chunk, 2);
        fixture_close(&f);
}
