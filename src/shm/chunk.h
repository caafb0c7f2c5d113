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

#include "base/likely.h"
#include "shm/actor.h"
#include "shm/words.h"

/* Has this chunk a descriptor? Before its word and its hints are looked at. */
static inline bool chunk_exists(const Segment *seg, uint32_t chunk)
{
        /* Acquire: descriptors below the mark have their pages. Pairs with raise_mark(). */
        return chunk < seg->n_chunks && chunk < load_acquire(&seg->shared->chunk_hwm);
}

/* The chunks of all slots before this one have descriptors. */
static inline uint32_t chunk_slots_end(const Segment *seg)
{
        uint32_t n = load_acquire(&seg->shared->chunk_hwm); /* as in chunk_exists() */

        return (n < seg->n_chunks ? n : seg->n_chunks) * MH_SHM_CHUNK_SLOTS;
}

/*
 * The word of the slot's chunk, if the slot's memory is there; 0, which no OPEN chunk has, if not. The ledger word of the slot
 * is not 0, and hazard_order() came after.
 */
static inline uint64_t chunk_look(const Actor *a, uint32_t slot)
{
        uint32_t chunk = slot / MH_SHM_CHUNK_SLOTS;
        uint64_t word;

        if (unlikely(!chunk_exists(a->seg, chunk)))
                return 0;
        word = load_sc(&a->seg->chunks[chunk].word);
        return likely(chunk_state(word) == MH_SHM_CHUNK_OPEN) ? word : 0;
}

/* Gives memory to a chunk that has none. -ENOSPC. */
int chunk_open(Actor *a, uint32_t *ret_chunk);

/* Makes sure that the holder bits of this client have memory in the chunk, of which chunk_look() gave the word. -ENOSPC. */
int chunk_raise_groups(Actor *a, uint32_t slot);

static inline int chunk_reserve_holders(Actor *a, uint32_t slot, uint64_t word)
{
        return likely(a->id / MH_SHM_GROUP_CLIENTS <= chunk_groups(word)) ? 0 : chunk_raise_groups(a, slot);
}

/* Hints: this slot was taken, was freed; a chunk has no free slot (looks once more after it said so). */
void chunk_note_taken(Segment *seg, uint32_t slot);
void chunk_note_free(Segment *seg, uint32_t slot);
void chunk_note_full(Segment *seg, uint32_t chunk);
bool chunk_looks_full(const Segment *seg, uint32_t chunk);

/* For the reaper: a chunk that a dead client was opening becomes a hole again, and hints that it may have spoiled are put right. */
void chunk_abandon(Actor *dead);
