/* SPDX-License-Identifier: MIT */

/* Handles: open, close, new. */

#include "crash/scenarios.h"
#include "crash/setup.h"
#include "shm/words.h"

/* ---------------------------------------------------------------------------------------------- open */

void scenario_open_first(World *w)
{
        setup_begin(w, false);
        setup_with(w, world_new(w, WHO_B, 6));
        setup_job(w, OP_OPEN, w->handle[0], 0);
}

/* Its thread has done something before. */
void scenario_open_second(World *w)
{
        scenario_open_first(w);
        (void)world_new(w, WHO_A, 2);
        setup_job(w, OP_OPEN, w->handle[0], 0);
}

void scenario_open_again(World *w)
{
        scenario_open_first(w);
        world_open(w, WHO_A, w->handle[0]);
        setup_job(w, OP_OPEN, w->handle[0], 0);
}

void scenario_open_stale(World *w)
{
        scenario_open_first(w);
        world_close(w, WHO_B, w->handle[0]);
        setup_job(w, OP_OPEN, w->handle[0], 0);
}

/* Another handle lives where the one that is asked for was. */
void scenario_open_old(World *w)
{
        uint64_t old, now;

        setup_begin(w, false);
        old = world_new(w, WHO_B, 6);
        world_close(w, WHO_B, old);
        do {
                now = world_new(w, WHO_B, 6);
        } while (handle_slot(now) != handle_slot(old));
        world_track_handle(w, now);
        world_track_stale(w, old);
        setup_job(w, OP_OPEN, old, 0);
}

void scenario_open_beyond(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_OPEN, handle_make(77, MH_SHM_CHUNK_SLOTS + 3), 0);
}

void scenario_open_dying(World *w)
{
        setup_begin(w, true);
        setup_with(w, world_new(w, WHO_C, 6));
        setup_leave_dying(w, w->handle[0]);
        setup_job(w, OP_OPEN, w->handle[0], 0);
}

/* ---------------------------------------------------------------------------------------------- close */

void scenario_close_counted(World *w)
{
        setup_begin(w, false);
        setup_with(w, world_new(w, WHO_A, 1));
        world_open(w, WHO_A, w->handle[0]);
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

void scenario_close_shared(World *w)
{
        setup_begin(w, false);
        setup_with(w, world_new(w, WHO_A, 1));
        world_open(w, WHO_B, w->handle[0]);
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

/* The other holder is dead. */
void scenario_close_with_dead(World *w)
{
        setup_begin(w, true);
        setup_with(w, world_new(w, WHO_A, 1));
        world_open(w, WHO_C, w->handle[0]);
        setup_kill_c(w);
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

void scenario_close_last(World *w)
{
        setup_begin(w, false);
        setup_with(w, world_new(w, WHO_A, 255));
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

void scenario_close_unheld(World *w)
{
        scenario_open_first(w);
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

void scenario_close_stale(World *w)
{
        scenario_open_stale(w);
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

/* The last generation: the slot is used no more. */
void scenario_close_retiring(World *w)
{
        struct mh_shm_slot *s;
        uint64_t handle, last = (w->shared->seg.first_generation - 1) & MH_SHM_GENERATION_MASK;

        setup_begin(w, false);
        handle = world_new(w, WHO_A, 3);
        s = &w->shared->seg.slots[handle_slot(handle)];
        last = last ? last : MH_SHM_GENERATION_MASK;
        s->state = state_make(last, MH_SHM_PHASE_LIVE, 3, 0);
        w->shared->actor[WHO_A].ledger[handle_slot(handle)] = ledger_make(last, 1);
        w->retired = true;
        setup_with(w, handle_make(last, handle_slot(handle)));
        setup_job(w, OP_CLOSE, w->handle[0], 0);
}

/* All that a handle can own: a block of the one who closes it, one of B, the last one in a span that nobody has any
 * more, and a large one of somebody who is gone. */
void scenario_close_owning(World *w)
{
        uint64_t handle;

        setup_begin(w, true);
        handle = world_new(w, WHO_A, 1);
        world_open(w, WHO_B, handle);
        world_open(w, WHO_C, handle);
        world_track_block(w, world_alloc(w, WHO_A, 100));
        world_give(w, WHO_A, w->block[0], handle);
        world_track_block(w, world_alloc(w, WHO_B, 200));
        world_give(w, WHO_B, w->block[1], handle);
        world_track_block(w, world_alloc(w, WHO_C, 300));
        world_give(w, WHO_C, w->block[2], handle);
        world_track_block(w, world_alloc(w, WHO_C, 3 * MH_SHM_SPAN_SIZE));
        world_give(w, WHO_C, w->block[3], handle);
        world_kill(w, WHO_C);
        world_reap(w, WHO_C);
        world_close(w, WHO_B, handle);
        setup_with(w, handle);
        setup_job(w, OP_CLOSE, handle, 0);
}

void scenario_close_owning_many(World *w)
{
        uint64_t handle;

        setup_begin(w, true);
        handle = world_new(w, WHO_A, 1);
        world_open(w, WHO_C, handle);
        world_track_block(w, world_alloc(w, WHO_C, SETUP_MANY_SPANS * MH_SHM_SPAN_SIZE));
        world_give(w, WHO_C, w->block[0], handle);
        world_kill(w, WHO_C);
        world_reap(w, WHO_C);
        setup_with(w, handle);
        setup_job(w, OP_CLOSE, handle, 0);
}

/* ---------------------------------------------------------------------------------------------- new */

void scenario_new_first(World *w)
{
        setup_begin(w, false);
        setup_job(w, OP_NEW, 1, 0);
}

void scenario_new_next(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_NEW, 1, 0);
}

void scenario_new_in_next_chunk(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS - 1; i++)
                (void)world_new(w, WHO_B, 1);
        w->last_hole = true;
        setup_job(w, OP_NEW, 1, 0);
}

void scenario_new_in_full_table(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < 2 * MH_SHM_CHUNK_SLOTS - 1; i++)
                (void)world_new(w, WHO_B, 1);
        w->full = true;
        setup_job(w, OP_NEW, 1, 0);
}

/* The last free slot of a chunk: who looks for another one finds that the chunk is full. */
void scenario_new_last_of_chunk(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS - 2; i++)
                (void)world_new(w, WHO_B, 1);
        w->last_hole = true; /* who keeps slots ready goes on there */
        setup_job(w, OP_NEW, 1, 0);
}

void scenario_new_after_trim(World *w)
{
        uint64_t old;
        Job trim = { .op = OP_TRIM };

        setup_begin(w, false);
        old = world_new(w, WHO_A, 1);
        world_track_stale(w, old);
        world_close(w, WHO_A, old);
        world_run(w, &trim);
        setup_job(w, OP_NEW, 1, 0);
}

/* The hints say that slots are free which are not. */
void scenario_new_with_wrong_hints(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < 4; i++)
                (void)world_new(w, WHO_A, 1);
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++)
                w->shared->seg.chunks[0].taken[i] = 0;
        setup_job(w, OP_NEW, 1, 0);
}

/* There was one before, which may have left its slot. */
void scenario_new_again(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        world_track_stale(w, world_new(w, WHO_A, 9));
        world_close(w, WHO_A, w->stale[0]);
        setup_job(w, OP_NEW, 9, 0);
}

void scenario_new_of_no_type(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_NEW, 11, 0);
}

void scenario_payload(World *w)
{
        setup_begin(w, false);
        setup_with(w, world_new(w, WHO_A, 1));
        world_open(w, WHO_B, w->handle[0]);
        setup_job(w, OP_PAYLOAD, w->handle[0], 0);
}

void scenario_reserve(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_RESERVE, 0, 0);
}
