/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Looking at memory that somebody else may give back.
 *
 * Two sides that each write one word and then read the other's: who looks first announces it (a ledger word for a slot, a
 * hazard word for a foreign span) and then checks that the memory is still in use; who gives back first makes it unusable and
 * then looks for announcements. At least one of the two sees the other: the looker stays away, or the memory stays.
 *
 * That needs a full barrier on both sides. Looking is frequent and giving back is rare, so the rare side pays for both:
 * membarrier(2) makes every running thread of every registered process pass a barrier, and the looker needs none of
 * its own (the asymmetric barrier of Dice, Huang and Yang, "Asymmetric Dekker Synchronization", 2001, as Linux offers it since
 * 4.16). Where membarrier(2) is missing for the looker it uses a fence; where it is missing for the giver, nothing
 * is given back.
 */

#include "base/atomics.h"
#include "shm/actor.h"

/* After the announcement, before the check. */
static inline void hazard_order(const Actor *a)
{
        if (a->seg->asymmetric)
                __atomic_signal_fence(__ATOMIC_SEQ_CST);
        else
                fence_sc();
}

/* Before anything in a foreign span is touched; then check its word. */
static inline void hazard_set(Actor *a, uint32_t span)
{
        /* Relaxed: hazard_order() and the barrier of who gives back order it. Pairs with hazard_seen(). */
        store_relaxed(&a->hazard->span, (uint64_t)span + 1);
        hazard_order(a);
}

/* After the last touch. */
static inline void hazard_clear(Actor *a)
{
        /* Release: what was read or changed in the span comes before. Pairs with hazard_seen(). */
        store_release(&a->hazard->span, 0);
}

/* For who made something unusable: false if announcements cannot be looked for, and nothing may be given back. */
bool hazard_barrier(const Segment *seg);

/* After hazard_barrier(): does anybody else look at this span? */
bool hazard_seen(const Actor *a, uint32_t span);
