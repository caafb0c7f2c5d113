/* SPDX-License-Identifier: MIT */

/* Handles that another client left half-way, or is half-way with at this moment: made by hand, in the order of the
 * words, because no schedule of threads would reach each of them. */

#include <errno.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/slot.h"
#include "unit/shm/two.h"

static uint64_t state_of(uint64_t h)
{
        return load_sc(&fixture_slot(&f, h)->state);
}

static void set_state(uint64_t h, enum mh_shm_phase phase, uint32_t owner)
{
        unsigned type = phase == MH_SHM_PHASE_FREE || phase == MH_SHM_PHASE_RESERVED ? 0 : 5;

        store_sc(&fixture_slot(&f, h)->state, state_make(handle_generation(h), phase, type, owner));
}

/* ---------------------------------------------------------------------------------------------- others in the middle */

/* `other` closes the handle as the last one, and is stopped after it said DYING. */
static void begin_to_destroy(Actor *other, uint64_t h)
{
        fixture_set_ledger(other, handle_slot(h), ledger_make(handle_generation(h), MH_SHM_LEDGER_IN_FLIGHT));
        fixture_set_holder(&f, handle_slot(h), other->id, false);
        set_state(h, MH_SHM_PHASE_DYING, other->id);
}

Test(slot, who_opens_what_is_being_destroyed_rescues_it)
{
        uint64_t h;

        open_two();
        h = make(&a);
        begin_to_destroy(&a, h);
        cr_assert(slot_is_alive(&b, h, NULL), "nothing is decided yet");
        cr_assert_eq(slot_close(&b, h, NULL), -EBADF);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(state_of(h), state_make(FIXTURE_FIRST, MH_SHM_PHASE_LIVE, 5, 0));

        /* Now the destroyer goes on: its compare-and-swap fails, and its ledger word goes. As the reaper does for it. */
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, 0);
        cr_assert_eq(slot_held(&b, h, NULL), 0);
        cr_assert_eq(closed(&b, h), GONE);
        fixture_done(&f);
}

Test(slot, a_destroyer_that_died_before_anybody_came)
{
        uint64_t h;

        open_two();
        h = make(&a);
        begin_to_destroy(&a, h);
        fixture_verify(&f, 0, NULL);
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, 1);
        cr_assert_eq(state_of(h), state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_eq(slot_open(&b, h, NULL), -ESTALE);
        fixture_done(&f);
}

Test(slot, what_another_one_buries_is_gone)
{
        uint64_t h;

        open_two();
        h = make(&a);
        begin_to_destroy(&a, h);
        set_state(h, MH_SHM_PHASE_DEAD, a.id);
        cr_assert_not(slot_is_alive(&b, h, NULL));
        cr_assert_eq(slot_open(&b, h, NULL), -ESTALE);
        cr_assert_eq(slot_close(&b, h, NULL), -ESTALE);
        cr_assert_not(fixture_holds(&f, handle_slot(h), b.id));
        cr_assert_eq(ledger_load(&b, handle_slot(h)), 0);
        cr_assert_eq(state_of(h), state_make(FIXTURE_FIRST, MH_SHM_PHASE_DEAD, 5, a.id), "left to who is at it");
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, 1);
        fixture_done(&f);
}

Test(slot, what_is_reserved_is_no_handle_yet)
{
        uint64_t h;
        uint32_t slot;

        open_two();
        cr_assert_eq(reserve_slot(&a, &slot), 0);
        h = handle_make(FIXTURE_FIRST, slot);
        cr_assert_eq(slot_open(&b, h, NULL), -ESTALE);
        cr_assert_eq(slot_held(&b, h, NULL), -ESTALE);
        cr_assert_not(fixture_holds(&f, slot, b.id));
        cr_assert_eq(ledger_load(&b, slot), 0);
        cr_assert_eq(state_of(h), state_make(FIXTURE_FIRST, MH_SHM_PHASE_RESERVED, 0, a.id));
        reserve_undo(&a, slot);
        fixture_done(&f);
}

/* b is stopped in open(), with its bit set; a closes. b's bit keeps the handle, until b goes on or dies. */
Test(slot, a_frozen_opener_delays_the_end)
{
        uint64_t h;

        open_two();
        h = make(&a);
        fixture_set_ledger(&b, handle_slot(h), ledger_make(handle_generation(h), MH_SHM_LEDGER_IN_FLIGHT));
        fixture_set_holder(&f, handle_slot(h), b.id, true);
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(fixture_phase(&f, h), MH_SHM_PHASE_LIVE);
        fixture_verify(&f, 0, NULL);
        cr_assert_eq(slot_open(&a, h, NULL), 0, "it can be had as long as it lives");
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(fixture_reap(&f, b.id).destroyed, 1);
        cr_assert_eq(fixture_phase(&f, h), MH_SHM_PHASE_FREE);
        fixture_done(&f);
}

/* The same, but b wants a generation that was there before: it drops what it kept alive. */
Test(slot, a_stale_opener_sees_to_what_it_kept)
{
        uint64_t h;

        open_two();
        h = make(&a);
        fixture_set_ledger(&b, handle_slot(h), ledger_make(handle_generation(h) - 1, MH_SHM_LEDGER_IN_FLIGHT));
        fixture_set_holder(&f, handle_slot(h), b.id, true);
        cr_assert_eq(closed(&a, h), SLOT_CLOSED_HERE);
        cr_assert_eq(slot_abandon(&b, handle_slot(h)), 1, "it was the last one");
        cr_assert_eq(fixture_phase(&f, h), MH_SHM_PHASE_FREE);
        b.account->handles = 0;
        fixture_done(&f);
}

/* LIVE, nobody holds it, and a closes it while its own word is the only thing that keeps it: the destroyer between its bit and DYING. */
Test(slot, between_the_bit_and_the_end)
{
        uint64_t h;

        open_two();
        h = make(&a);
        fixture_set_ledger(&a, handle_slot(h), ledger_make(handle_generation(h), MH_SHM_LEDGER_IN_FLIGHT));
        fixture_set_holder(&f, handle_slot(h), a.id, false);
        fixture_verify(&f, 0, NULL);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        cr_assert_eq(closed(&b, h), GONE, "b is the last one who looks");
        cr_assert_eq(fixture_reap(&f, a.id).destroyed, 0);
        fixture_done(&f);
}

/* Threads of one client: while one has the word IN_FLIGHT, the handle is neither held nor not. */
Test(slot, in_flight_is_not_held)
{
        uint64_t h;

        open_two();
        h = make(&a);
        fixture_set_ledger(&a, handle_slot(h), ledger_make(handle_generation(h), MH_SHM_LEDGER_IN_FLIGHT));
        cr_assert_eq(slot_held(&a, h, NULL), -EBADF);
        fixture_set_ledger(&a, handle_slot(h), ledger_make(handle_generation(h), 1));
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- abandoning */

typedef struct Left {
        const char *what;
        uint64_t ledger;         /* without the generation */
        enum mh_shm_phase phase; /* of the slot */
        bool mine;               /* its owner */
        bool held_here, held_there;
        int result; /* of abandoning */
        enum mh_shm_phase after;
        unsigned generations; /* that pass */
} Left;

static const Left left[] = {
#define F MH_SHM_LEDGER_IN_FLIGHT
#define R MH_SHM_LEDGER_RESERVED
        { "reserving, before the state", R, MH_SHM_PHASE_FREE, false, false, false, 0, MH_SHM_PHASE_FREE, 0 },
        { "reserving, lost to another", R, MH_SHM_PHASE_RESERVED, false, false, false, 0, MH_SHM_PHASE_RESERVED, 0 },
        { "reserving, another has it", R, MH_SHM_PHASE_LIVE, false, false, true, 0, MH_SHM_PHASE_LIVE, 0 },
        { "reserved", R, MH_SHM_PHASE_RESERVED, true, false, false, 0, MH_SHM_PHASE_FREE, 1 },
        { "publishing, bit set", R, MH_SHM_PHASE_RESERVED, true, true, false, 0, MH_SHM_PHASE_FREE, 1 },
        { "publishing, counted", 1, MH_SHM_PHASE_RESERVED, true, true, false, 0, MH_SHM_PHASE_FREE, 1 },
        { "held alone", 1, MH_SHM_PHASE_LIVE, false, true, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "held often, alone", 9, MH_SHM_PHASE_LIVE, false, true, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "held with another", 1, MH_SHM_PHASE_LIVE, false, true, true, 0, MH_SHM_PHASE_LIVE, 0 },
        { "opening, before the bit", F, MH_SHM_PHASE_LIVE, false, false, true, 0, MH_SHM_PHASE_LIVE, 0 },
        { "opening, bit set", F, MH_SHM_PHASE_LIVE, false, true, true, 0, MH_SHM_PHASE_LIVE, 0 },
        { "opening, the last by now", F, MH_SHM_PHASE_LIVE, false, true, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "opening what another destroys", F, MH_SHM_PHASE_DYING, false, true, false, 0, MH_SHM_PHASE_DYING, 0 },
        { "opening what another buries", F, MH_SHM_PHASE_DEAD, false, true, false, 0, MH_SHM_PHASE_DEAD, 0 },
        { "opening what is free", F, MH_SHM_PHASE_FREE, false, true, false, 0, MH_SHM_PHASE_FREE, 0 },
        { "opening what another reserved", F, MH_SHM_PHASE_RESERVED, false, true, false, 0, MH_SHM_PHASE_RESERVED, 0 },
        { "closing, bit cleared", F, MH_SHM_PHASE_LIVE, false, false, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "destroying", F, MH_SHM_PHASE_DYING, true, false, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "destroying, another came", F, MH_SHM_PHASE_DYING, true, false, true, 0, MH_SHM_PHASE_LIVE, 0 },
        { "burying", F, MH_SHM_PHASE_DEAD, true, false, false, 1, MH_SHM_PHASE_FREE, 1 },
        { "burying, while another looks", F, MH_SHM_PHASE_DEAD, true, false, true, 1, MH_SHM_PHASE_FREE, 1 },
        { "buried", F, MH_SHM_PHASE_FREE, false, false, false, 0, MH_SHM_PHASE_FREE, 0 },
};

Test(slot, abandoning_whatever_a_death_left)
{
        for (unsigned i = 0; i < ELEMENTSOF(left); i++) {
                const Left *l = &left[i];
                uint64_t h, word;

                open_two();
                h = make(&a);
                cr_assert_eq(slot_open(&b, h, NULL), 0);
                word = l->ledger & R ? R : ledger_make(handle_generation(h), l->ledger);
                fixture_set_ledger(&a, handle_slot(h), word);
                fixture_set_holder(&f, handle_slot(h), a.id, l->held_here);
                fixture_set_holder(&f, handle_slot(h), b.id, l->held_there);
                set_state(h, l->phase,
                          l->phase == MH_SHM_PHASE_LIVE || l->phase == MH_SHM_PHASE_FREE ? 0
                          : l->mine                                                      ? a.id
                                                                                         : b.id);

                for (unsigned twice = 0; twice < 2; twice++) {
                        cr_assert_eq(slot_abandon(&a, handle_slot(h)), twice ? 0 : l->result, "%s", l->what);
                        cr_assert_eq(fixture_phase(&f, h), l->after, "%s", l->what);
                        cr_assert_eq(state_generation(state_of(h)), FIXTURE_FIRST + l->generations, "%s", l->what);
                        cr_assert_eq(ledger_load(&a, handle_slot(h)), 0, "%s", l->what);
                        cr_assert_not(fixture_holds(&f, handle_slot(h), a.id), "%s", l->what);
                        cr_assert_eq(fixture_holds(&f, handle_slot(h), b.id), l->held_there, "%s", l->what);
                        if (l->after == MH_SHM_PHASE_FREE)
                                cr_assert_not(f.seg.chunks[0].taken[handle_slot(h) / 64] >> handle_slot(h) % 64 & 1,
                                              "%s: it can be found", l->what);
                }
                fixture_close(&f);
        }
}

/* The ledger word was written, and the chunk had no memory: nothing of the slot may be touched. */
Test(slot, abandoning_where_there_is_no_slot)
{
        uint64_t before;

        open_two();
        (void)make(&a);
        fixture_set_ledger(&a, 700, ledger_make(FIXTURE_FIRST, F));
        fixture_set_ledger(&a, 2000, ledger_make(FIXTURE_FIRST, F));
        before = fixture_blocks(&f);
        cr_assert_eq(slot_abandon(&a, 700), 0);
        cr_assert_eq(slot_abandon(&a, 2000), 0);
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_eq(ledger_load(&a, 700), 0);
        cr_assert_eq(ledger_load(&a, 2000), 0);
        a.account->handles = 1;
        fixture_done(&f);
}
