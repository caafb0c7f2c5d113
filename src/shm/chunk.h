/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Chunks: 512 slots that get and lose their memory together.
 *
 * A slot's generation must outlive its memory, or an old handle could come back to life. So when a chunk's memory is given
 * back, its word keeps a floor above every generation that its slots ever had, and they start there the next time.
 *
 *   HOLE -> OPENING(c) -> OPEN -> CLOSING -> PUNCHING -> HOLE (with a higher floor)
 *
 * The last three steps are the daemon's (trim.c). A slot may be touched by who first made the ledger word for it non-zero and
 * then found the chunk OPEN: see hazard.h.
 */

#include "shm/actor.h"

/* Is the slot's memory there? The ledger word of the slot is not 0, and hazard_order() came after. */
bool chunk_is_open(const Actor *a, uint32_t slot);

/* Has this chunk a descriptor? Before chunk_word() and the hints. */
bool chunk_exists(const Segment *seg, uint32_t chunk);

/* Gives memory to a chunk that has none. -ENOSPC. */
int chunk_open(Actor *a, uint32_t *ret_chunk);

/* Makes sure that the holder bits of this client have memory in the chunk: after chunk_is_open(). -ENOSPC. */
int chunk_reserve_holders(Actor *a, uint32_t slot);

/* Hints: this slot was taken, was freed; a chunk has no free slot (looks once more after it said so). */
void chunk_note_taken(Segment *seg, uint32_t slot);
void chunk_note_free(Segment *seg, uint32_t slot);
void chunk_note_full(Segment *seg, uint32_t chunk);
bool chunk_looks_full(const Segment *seg, uint32_t chunk);

/* For the reaper: a chunk that a dead client was opening becomes a hole again, and hints that it may have spoiled are put right. */
void chunk_abandon(Actor *dead);
