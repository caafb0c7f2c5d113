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

#include "shm/actor.h"

/* Reserves the memory of the word of `slot`, of the bit of `span`. Idempotent, cheap when it was done. -ENOSPC. */
int ledger_reserve_slot(Actor *a, uint32_t slot);
int ledger_reserve_span(Actor *a, uint32_t span);

/* The word, or 0 where it has no memory yet. */
uint64_t ledger_load(const Actor *a, uint32_t slot);

/* One compare-and-swap. Needs ledger_reserve_slot(), or a word that was not 0. */
bool ledger_change(Actor *a, uint32_t slot, uint64_t from, uint64_t to);

/* From IN_FLIGHT or RESERVED, which this thread owns, to `to`; wakes threads that wait. */
void ledger_settle(Actor *a, uint32_t slot, uint64_t to);

/* Waits until the word is no longer `seen`, which has IN_FLIGHT. */
void ledger_wait(Actor *a, uint32_t slot, uint64_t seen);

/* Span bits. ledger_set_span() needs ledger_reserve_span(). */
bool ledger_has_span(const Actor *a, uint32_t span);
void ledger_set_span(Actor *a, uint32_t span);
void ledger_clear_span(Actor *a, uint32_t span);

/* One word of 64 span bits, 0 where it has no memory. */
uint64_t ledger_span_word(const Actor *a, uint32_t word);
