/* SPDX-License-Identifier: MIT */

#include "crash/setup.h"

#include "base/atomics.h"
#include "base/cleanup.h"
#include "crash/fail.h"
#include "shm/words.h"

/* B was there before, and has something of its own that must stay as it is. A and B are attached, and C if there is
 * one. */
void setup_begin(World *w, bool with_c)
{
        world_attach(w, WHO_B);
        world_attach(w, WHO_A);
        if (with_c)
                world_attach(w, WHO_C);
        world_attached(w);
}

void setup_furnish(World *w)
{
        w->own = world_alloc(w, WHO_B, 64);
        world_track_handle(w, world_new(w, WHO_B, 5));
        world_track_block(w, w->own);
}

void setup_with(World *w, uint64_t handle)
{
        world_track_handle(w, handle);
        setup_furnish(w);
}

void setup_job(World *w, Op op, uint64_t arg0, uint64_t arg1)
{
        w->job = world_job(w, WHO_A, op, arg0, arg1);
}

void setup_other(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1)
{
        if (w->n_others >= ELEMENTSOF(w->others))
                fail_hard("too many others");
        w->others[w->n_others++] = world_job(w, who, op, arg0, arg1);
}

/* C is dead, and reaping it is one of the things that may happen meanwhile. */
void setup_kill_c(World *w)
{
        world_kill(w, WHO_C);
        setup_other(w, WHO_B, OP_REAP, w->shared->id[WHO_C], 0);
}

/* The one who was the last to hold it died in the middle of destroying it. */
void setup_leave_dying(World *w, uint64_t handle)
{
        struct mh_shm_slot *s = &w->shared->seg.slots[handle_slot(handle)];
        uint32_t c = w->shared->id[WHO_C];
        uint64_t *holders = c < MH_SHM_GROUP_CLIENTS
                                    ? &s->holders
                                    : &w->shared->seg.holders[holder_index(w->shared->seg.n_slots, handle_slot(handle),
                                                                           c / MH_SHM_GROUP_CLIENTS)];

        store_sc(&w->shared->actor[WHO_C].ledger[handle_slot(handle)],
                 ledger_make(handle_generation(handle), MH_SHM_LEDGER_IN_FLIGHT));
        (void)fetch_and_sc(holders, ~(UINT64_C(1) << c % MH_SHM_GROUP_CLIENTS));
        store_sc(&s->state, state_make(handle_generation(handle), MH_SHM_PHASE_DYING, state_type(s->state), c));
        setup_kill_c(w);
}
