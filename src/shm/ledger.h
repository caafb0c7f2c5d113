/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A client's ledger: what it has to do with each slot and each span.
 *
 * Ledger first, ledger last: a word here is not zero before its client first writes to the slot, and until after its
 * last write. So whatever a client was doing when it died, its ledger names all that it can have touched.
 *
 * The words belong to one client; only its own threads change them. IN_FLIGHT is the short lock between those threads: it
 * needs no recovery, because a process dies as a whole.
 */

#include "base/likely.h"
#include "shm/actor.h"

/* Reserves the memory of the word of `slot`, of the bit of `span`. Idempotent, cheap when it was done. -ENOSPC. */
int ledger_reserve_slot(Actor *a, uint32_t slot);
int ledger_reserve_span(Actor *a, uint32_t span);

/* Has the part of the ledger at `offset` (from ledger_slots) memory? */
bool ledger_is_reserved(const Actor *a, uint64_t offset);

/* Goes to the part with this slot's word, and its window. False: it has no memory. */
bool ledger_move(Actor *a, uint32_t slot);

/* The word, or 0 where it has no memory yet. */
static inline uint64_t ledger_load(Actor *a, uint32_t slot)
{
        /* Relaxed: this thread's own, but that others close the window, which barriers order: see actor_set_alone(). */
        if (unlikely(a->ledger_unit != (uint64_t)slot * sizeof(uint64_t) / MH_SHM_LEDGER_UNIT + 1) ||
            unlikely(!load_relaxed(&a->window_size) && load_relaxed(&a->alone)))
                if (!ledger_move(a, slot))
                        return 0;
        return load_sc(&a->ledger[slot]);
}

/* Can the slot's word be changed by plain stores? Relaxed: who closes the window passes a barrier in every thread after that. */
static inline bool ledger_in_window(const Actor *a, uint32_t slot)
{
        return likely(slot - a->window < load_relaxed(&a->window_size));
}

/* One compare-and-swap. Needs ledger_reserve_slot(), or a word that was not 0. */
static inline bool ledger_change(Actor *a, uint32_t slot, uint64_t from, uint64_t to)
{
        uint64_t *word = &a->ledger[slot];

        /* Acquire: pairs with actor_set_alone(), which may be a thread's that was here until now. */
        if (likely(load_acquire(&a->alone))) {
                if (unlikely(load_relaxed(word) != from))
                        return false;
                /* Release: pairs with the look of the reaper, and of the thread that comes when this one is not alone any more. What is
                 * done to the slot next is a locked instruction, which no store passes, or follows hazard_order(). */
                store_release(word, to);
                return true;
        }
        return cas_sc(word, &from, to);
}

/* Wakes threads that sleep on the word. */
void ledger_wake(Actor *a, uint32_t slot);

/*
 * From IN_FLIGHT or RESERVED, which this thread owns, to `to`; wakes threads that wait. A store, where an exchange would be a
 * locked instruction on every way: a thread that says WAITERS just between the load and the store is
 * not woken, and looks again by itself soon, see ledger_wait().
 */
static inline void ledger_settle(Actor *a, uint32_t slot, uint64_t to)
{
        uint64_t old = load_relaxed(&a->ledger[slot]); /* relaxed: for WAITERS alone, and who is missed looks again */

        /* Release: all that was done to the slot comes first. Pairs with ledger_load() of another thread, and with the reaper's. */
        store_release(&a->ledger[slot], to);
        if (unlikely(old & MH_SHM_LEDGER_WAITERS))
                ledger_wake(a, slot);
}

/* Waits until the word is no longer `seen`, which has IN_FLIGHT. */
void ledger_wait(Actor *a, uint32_t slot, uint64_t seen);

/* Span bits. ledger_set_span() needs ledger_reserve_span(). */
bool ledger_has_span(Actor *a, uint32_t span);
void ledger_set_span(Actor *a, uint32_t span);
void ledger_clear_span(Actor *a, uint32_t span);

/* One word of 64 span bits, 0 where it has no memory. */
uint64_t ledger_span_word(Actor *a, uint32_t word);
