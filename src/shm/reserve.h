/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Slots that have no handle in them: to find one, to reserve it for a client, and to give it back. See slot.c for the states.
 */

#include "base/likely.h"
#include "shm/actor.h"
#include "shm/words.h"

static inline bool reserve_is_limited(const Actor *a)
{
        /* Relaxed: as in reserve_check_limit(). */
        return load_relaxed(&a->shared->limit_client_handles) != UINT64_MAX;
}

/* -EDQUOT at the limit. */
_cold_ int reserve_check_limit(const Actor *a);

/*
 * A line is one thread's, and may be below zero or far above what the client holds, where one thread opens and another one
 * closes: where there is a limit, all are summed up. Threads that come to it in the same instant may pass it by one handle each,
 * because what is taken is counted afterwards.
 */
static inline int reserve_check_quota(const Actor *a)
{
        return likely(!reserve_is_limited(a)) ? 0 : reserve_check_limit(a);
}

/* The state of the next handle here: FREE, or 0 when the generations have come round once. */
static inline uint64_t reserve_state_after(const Segment *seg, uint64_t state)
{
        uint64_t gen = generation_after(state_generation(state));

        return gen == seg->first_generation ? 0 : state_make(gen, MH_SHM_PHASE_FREE, 0, 0);
}

/* A slot that is this client's alone: its bit is set, and its ledger says so. -ENOSPC, -EDQUOT. */
int reserve_slot(Actor *a, uint32_t *ret_slot);

/* Undoes that. */
void reserve_undo(Actor *a, uint32_t slot);

/* RESERVED or DEAD, and this client's, so that nobody else changes the state: FREE for the next handle. */
void reserve_release(Actor *a, uint32_t slot);
