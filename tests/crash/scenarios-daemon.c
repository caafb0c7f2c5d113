/* SPDX-License-Identifier: MIT */

/* What the daemon does in its own name: reaping, trimming, attaching. */

#include "base/atomics.h"
#include "crash/fail.h"
#include "crash/scenarios.h"
#include "crash/setup.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "shm/words.h"

/* ---------------------------------------------------------------------------------------------- the daemon's */

/* Something of everything that a client can leave. B holds some of it too. */
static void leave_all(World *w)
{
        Actor *c = &w->shared->actor[WHO_C];
        uint64_t shared, alone;
        uint32_t slot;

        shared = world_new(w, WHO_B, 1);
        world_open(w, WHO_C, shared);
        world_open(w, WHO_C, shared);
        alone = world_new(w, WHO_C, 2);
        world_track_block(w, world_alloc(w, WHO_C, 64));
        world_track_block(w, world_alloc(w, WHO_C, 64));
        world_track_block(w, world_alloc(w, WHO_C, 64));
        world_track_block(w, world_alloc(w, WHO_C, 128));
        world_track_block(w, world_alloc(w, WHO_C, 2 * MH_SHM_SPAN_SIZE));
        world_track_block(w, world_alloc(w, WHO_C, 3 * MH_SHM_SPAN_SIZE));
        world_give(w, WHO_C, w->block[1], shared);
        world_give(w, WHO_C, w->block[2], alone);
        world_give(w, WHO_C, w->block[5], shared);
        (void)reserve_slot(c, &slot);
        setup_with(w, shared);
        world_track_handle(w, alone);
}

void scenario_reap_all(World *w)
{
        setup_begin(w, true);
        leave_all(w);
        world_kill(w, WHO_C);
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

void scenario_reap_dying(World *w)
{
        setup_begin(w, true);
        setup_with(w, world_new(w, WHO_C, 6));
        setup_leave_dying(w, w->handle[0]);
        w->n_others = 0;
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

/* It died in the middle of freeing something of somebody else that takes more than one step. */
void scenario_reap_freeing(World *w)
{
        uint64_t *owner;
        uint32_t span;

        setup_begin(w, true);
        world_track_block(w, world_alloc(w, WHO_B, SETUP_MANY_SPANS * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        span = (uint32_t)(scratch_offset(w->block[0]) / MH_SHM_SPAN_SIZE);
        hazard_set(&w->shared->actor[WHO_C], span);
        owner = span_owners(&w->shared->seg, span);
        store_sc(owner, owner_make(tag_after(owner_tag(*owner)), MH_SHM_OWNER_FREEING, 0, w->shared->id[WHO_C]));
        world_kill(w, WHO_C);
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

void scenario_reap_large(World *w)
{
        setup_begin(w, true);
        world_track_block(w, world_alloc(w, WHO_C, SETUP_MANY_SPANS * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        world_kill(w, WHO_C);
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

/* A handle goes with it that owns more than is given back in one step: so that it is DEAD over several. */
void scenario_reap_owning_many(World *w)
{
        uint64_t handle;

        setup_begin(w, true);
        handle = world_new(w, WHO_C, 1);
        world_track_block(w, world_alloc(w, WHO_C, SETUP_MANY_SPANS * MH_SHM_SPAN_SIZE));
        world_give(w, WHO_C, w->block[0], handle);
        world_track_block(w, world_alloc(w, WHO_C, 2 * MH_SHM_SPAN_SIZE));
        world_give(w, WHO_C, w->block[1], handle);
        setup_with(w, handle);
        world_kill(w, WHO_C);
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

/* Its span would be left to anyone, because of one block; and that may go at any moment. */
void scenario_reap_orphan(World *w)
{
        uint64_t handle;

        setup_begin(w, true);
        handle = world_new(w, WHO_B, 1);
        world_open(w, WHO_C, handle);
        world_track_block(w, world_alloc(w, WHO_C, 32768));
        world_give(w, WHO_C, w->block[0], handle);
        setup_with(w, handle);
        world_close(w, WHO_C, handle);
        world_kill(w, WHO_C);
        setup_other(w, WHO_B, OP_CLOSE, handle, 0);
        setup_job(w, OP_REAP, w->shared->id[WHO_C], 0);
}

void scenario_trim_empty(World *w)
{
        setup_begin(w, false);
        world_track_stale(w, world_new(w, WHO_A, 1));
        world_close(w, WHO_A, w->stale[0]);
        setup_job(w, OP_TRIM, 0, 0);
}

/* The first chunk is in use, the second is not. */
void scenario_trim_second(World *w)
{
        uint64_t last = 0;

        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                last = world_new(w, WHO_B, 1);
        if (handle_slot(last) < MH_SHM_CHUNK_SLOTS)
                fail_hard("the first chunk is larger than it should be");
        world_close(w, WHO_B, last);
        world_track_stale(w, last);
        w->last_hole = true;
        setup_job(w, OP_TRIM, 0, 0);
}

/* Somebody is about to look at a slot of it, and so it cannot be closed. */
void scenario_trim_watched(World *w)
{
        uint64_t old;

        scenario_trim_empty(w);
        old = w->stale[0];
        if (ledger_reserve_slot(&w->shared->actor[WHO_A], handle_slot(old)) < 0 ||
            !ledger_change(&w->shared->actor[WHO_A], handle_slot(old), 0,
                           ledger_make(handle_generation(old), MH_SHM_LEDGER_IN_FLIGHT)))
                fail_hard("the ledger word is in use");
        world_kill(w, WHO_A);
}

void scenario_attach(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_ATTACH, 0, 0);
}

void scenario_attach_again(World *w)
{
        setup_begin(w, true);
        setup_furnish(w);
        world_kill(w, WHO_C);
        world_reap(w, WHO_C);
        setup_job(w, OP_ATTACH, 0, 0);
}
