/* SPDX-License-Identifier: MIT */

/* Scratch memory: taking, freeing, giving. */

#include "crash/fail.h"
#include "crash/scenarios.h"
#include "crash/setup.h"
#include "shm/hazard.h"
#include "shm/words.h"

#define TAGS_A_STOP 256U

/* ---------------------------------------------------------------------------------------------- alloc */

void scenario_alloc_first(World *w)
{
        setup_begin(w, false);
        setup_job(w, OP_ALLOC, 64, 0);
}

void scenario_alloc_next(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        world_track_block(w, world_alloc(w, WHO_A, 64));
        setup_job(w, OP_ALLOC, 64, 0);
}

/* What was looked at before is used up: the next group, or what others freed. */
void scenario_alloc_next_group(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        for (unsigned i = 0; i < 64; i++)
                (void)world_alloc(w, WHO_A, 64);
        setup_job(w, OP_ALLOC, 64, 0);
}

/* The span at hand is full, but there is another one of one's own. */
void scenario_alloc_other_span(World *w)
{
        uint64_t first;

        setup_begin(w, false);
        setup_furnish(w);
        first = world_alloc(w, WHO_A, 32768);
        for (unsigned i = 0; i < 3; i++)
                (void)world_alloc(w, WHO_A, 32768);
        world_free(w, WHO_A, first);
        setup_job(w, OP_ALLOC, 32768, 0);
}

void scenario_alloc_next_span(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        (void)world_alloc(w, WHO_A, 32768);
        (void)world_alloc(w, WHO_A, 32768);
        setup_job(w, OP_ALLOC, 32768, 0);
}

/* C's span with a block of a handle of B: anybody may have it. */
static void make_orphan(World *w, uint64_t size)
{
        uint64_t handle = world_new(w, WHO_B, 1);

        world_open(w, WHO_C, handle);
        world_track_block(w, world_alloc(w, WHO_C, size));
        world_give(w, WHO_C, w->block[w->n_blocks - 1], handle);
        setup_with(w, handle);
}

void scenario_alloc_adopting(World *w)
{
        setup_begin(w, true);
        make_orphan(w, 200);
        world_kill(w, WHO_C);
        world_reap(w, WHO_C);
        setup_job(w, OP_ALLOC, 200, 0);
        setup_other(w, WHO_B, OP_ALLOC, 200, 0);
}

/* The same while C is not reaped yet. */
void scenario_alloc_beside_dead(World *w)
{
        setup_begin(w, true);
        make_orphan(w, 200);
        setup_kill_c(w);
        setup_job(w, OP_ALLOC, 200, 0);
}

/* An own span of another class is empty, and nothing else is left to claim. */
static void make_spares(World *w, unsigned n)
{
        uint64_t blocks[2 * ACTOR_SPARE_SPANS + 4];
        unsigned count = 0;

        for (unsigned i = 0; i < 2 * n + 2; i++)
                blocks[count++] = world_alloc(w, WHO_A, 32768);
        for (unsigned i = 0; i < 2 * n; i++)
                world_free(w, WHO_A, blocks[i]);
}

void scenario_alloc_from_spare(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        make_spares(w, 1);
        setup_job(w, OP_ALLOC, 16, 0);
}

/* A free span whose owner words were kept, because somebody was looking at them. */
void scenario_alloc_from_kept(World *w)
{
        uint64_t block;

        setup_begin(w, true);
        setup_furnish(w);
        block = world_alloc(w, WHO_C, 16);
        hazard_set(&w->shared->actor[WHO_B], (uint32_t)(scratch_offset(block) / MH_SHM_SPAN_SIZE));
        world_kill(w, WHO_C);
        world_reap(w, WHO_C);
        hazard_clear(&w->shared->actor[WHO_B]);
        setup_job(w, OP_ALLOC, 16, 0);
}

static void fill_scratch(World *w, unsigned leave)
{
        for (uint32_t i = 0; i < w->shared->seg.n_spans; i++) {
                Job job = world_job(w, WHO_B, OP_ALLOC, MH_SHM_SPAN_SIZE, 0);

                world_run(w, &job);
                if (job.result < 0)
                        break;
                world_track_stale(w, 0);
                if (i < leave)
                        w->own = job.value[0];
        }
        w->full = true;
}

void scenario_alloc_when_full(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        fill_scratch(w, 0);
        w->n_stale = 0;
        setup_job(w, OP_ALLOC, 64, 0);
}

/* Every so often a block has a tag at which who takes or frees it stops its thread, so that something else is seen to: see
 * actor_stop(). A block whose tag is so many before such a one. */
static uint64_t alloc_before_stop(World *w, Who who, unsigned before)
{
        for (unsigned i = 0; i < 2 * TAGS_A_STOP; i++) {
                uint64_t block = world_alloc(w, who, 64);

                if ((scratch_tag(block) + before) % TAGS_A_STOP == 0)
                        return block;
                world_free(w, who, block);
        }
        fail_hard("no block has such a tag");
}

void scenario_alloc_stopping(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        world_free(w, WHO_A, alloc_before_stop(w, WHO_A, 1));
        setup_job(w, OP_ALLOC, 64, 0);
}

/* One of B, with a free that stops its thread; and A has freed something there before, as it must for the quick way. */
static uint64_t foreign_before_stop(World *w)
{
        uint64_t block = alloc_before_stop(w, WHO_B, 0);

        world_free(w, WHO_A, world_alloc(w, WHO_B, 64));
        return block;
}

/* Who was stopped comes the slow way. */
void scenario_alloc_stopped(World *w)
{
        setup_begin(w, false);
        (void)world_alloc(w, WHO_A, 64);
        world_free(w, WHO_A, foreign_before_stop(w));
        setup_furnish(w);
        if (w->shared->library.mine.serial != ACTOR_NO_PASS)
                fail_hard("its thread was not stopped");
        setup_job(w, OP_ALLOC, 64, 0);
}

void scenario_alloc_large(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        setup_job(w, OP_ALLOC, 3 * MH_SHM_SPAN_SIZE - 5, 0);
}

void scenario_alloc_large_first(World *w)
{
        setup_begin(w, false);
        setup_job(w, OP_ALLOC, 40000, 0);
}

/* Not all of them are free that look so. */
void scenario_alloc_large_with_wrong_hints(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        (void)world_alloc(w, WHO_B, 2 * MH_SHM_SPAN_SIZE);
        w->shared->seg.spanmap[0] = 1;
        w->shared->seg.shared->span_cursor = 0;
        setup_job(w, OP_ALLOC, 3 * MH_SHM_SPAN_SIZE, 0);
}

/* Only if the spares go there is room. */
void scenario_alloc_large_without_spares(World *w)
{
        setup_begin(w, false);
        setup_furnish(w);
        make_spares(w, 2);
        fill_scratch(w, 0);
        w->n_stale = 0;
        setup_job(w, OP_ALLOC, 2 * MH_SHM_SPAN_SIZE, 0);
}

/* ---------------------------------------------------------------------------------------------- free */

void scenario_free_own(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, 64));
        setup_furnish(w);
        (void)world_alloc(w, WHO_A, 64);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_foreign_stopping(World *w)
{
        setup_begin(w, false);
        world_track_block(w, foreign_before_stop(w));
        setup_furnish(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

/* The last block of a span that is not the one at hand: the span is kept, or given back. */
static void free_last_of_span(World *w, unsigned spares)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, 20480));
        setup_furnish(w);
        for (unsigned i = 0; i < 3; i++)
                world_track_block(w, world_alloc(w, WHO_A, 20480));
        make_spares(w, spares);
        for (unsigned i = 2; i < 4; i++)
                world_free(w, WHO_A, w->block[i]);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_to_spare(World *w)
{
        free_last_of_span(w, 1);
}

void scenario_free_to_nobody(World *w)
{
        free_last_of_span(w, ACTOR_SPARE_SPANS);
}

void scenario_free_foreign(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_B, 64));
        setup_furnish(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

/* Its owner is dead, and not reaped yet. */
void scenario_free_of_dead(World *w)
{
        setup_begin(w, true);
        world_track_block(w, world_alloc(w, WHO_C, 64));
        setup_furnish(w);
        setup_kill_c(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_stale(World *w)
{
        scenario_free_foreign(w);
        world_free(w, WHO_B, w->block[0]);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_given(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_B, 64));
        setup_with(w, world_new(w, WHO_B, 1));
        world_give(w, WHO_B, w->block[0], w->handle[0]);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_large(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, 3 * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_large_foreign(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_B, 3 * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_large_foreign_many(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_B, SETUP_MANY_SPANS * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

void scenario_free_large_of_dead(World *w)
{
        setup_begin(w, true);
        world_track_block(w, world_alloc(w, WHO_C, 3 * MH_SHM_SPAN_SIZE));
        setup_furnish(w);
        setup_kill_c(w);
        setup_job(w, OP_FREE, w->block[0], 0);
}

/* ---------------------------------------------------------------------------------------------- give */

static void give_to(World *w, uint64_t size)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, size));
        setup_with(w, world_new(w, WHO_B, 1));
        world_open(w, WHO_A, w->handle[0]);
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give(World *w)
{
        give_to(w, 64);
}

void scenario_give_large(World *w)
{
        give_to(w, 2 * MH_SHM_SPAN_SIZE);
}

void scenario_give_to_own(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, 64));
        setup_with(w, world_new(w, WHO_A, 1));
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give_to_full(World *w)
{
        give_to(w, 64);
        for (unsigned i = 0; i < MH_SHM_SLOT_REFS; i++)
                world_give(w, WHO_B, world_alloc(w, WHO_B, 64), w->handle[0]);
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give_foreign(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_B, 64));
        setup_with(w, world_new(w, WHO_A, 1));
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give_to_unheld(World *w)
{
        setup_begin(w, false);
        world_track_block(w, world_alloc(w, WHO_A, 64));
        setup_with(w, world_new(w, WHO_B, 1));
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give_again(World *w)
{
        give_to(w, 64);
        world_give(w, WHO_A, w->block[0], w->handle[0]);
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_give_freed(World *w)
{
        give_to(w, 64);
        world_free(w, WHO_B, w->block[0]);
        setup_job(w, OP_GIVE, w->block[0], w->handle[0]);
}

void scenario_lookup(World *w)
{
        scenario_free_foreign(w);
        setup_job(w, OP_LOOKUP, w->block[0], 0);
}
