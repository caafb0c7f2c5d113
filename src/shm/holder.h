/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who holds a handle: one bit per client. Those of the first 64 are in the slot itself, the others in arrays of their own, which get
 * memory chunk by chunk. See slot.c for when they are set, cleared and looked at, and why that is sequentially consistent.
 */

#include "base/likely.h"
#include "shm/actor.h"
#include "shm/words.h"

/* The word with the bits of 64 clients. */
static inline uint64_t *holder_word(Segment *seg, uint32_t slot, unsigned group)
{
        return group == 0 ? &seg->slots[slot].holders : &seg->holders[holder_index(seg->n_slots, slot, group)];
}

static inline void holder_set(Actor *a, uint32_t slot)
{
        if (likely(a->bit))
                (void)fetch_or_sc(&a->slots[slot].holders, a->bit);
        else
                (void)fetch_or_sc(holder_word(a->seg, slot, a->id / MH_SHM_GROUP_CLIENTS),
                                  UINT64_C(1) << a->id % MH_SHM_GROUP_CLIENTS);
}

/* For a client whose bit is not in the slot. */
_noinline_ uint64_t holder_clear_in_group(Actor *a, uint32_t slot);

/* What is left of the word: not 0 if others of this group hold the handle. */
static inline uint64_t holder_clear(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];

        if (unlikely(!a->bit))
                return holder_clear_in_group(a, slot);
        /* Two instructions, where one that also tells the rest would have to be tried again when others are at it. */
        (void)fetch_and_sc(&s->holders, ~a->bit);
        return load_sc(&s->holders);
}

/* The words beyond the first: are they all zero but for `own` in that of `group`? */
_cold_ bool holder_rest_is(Segment *seg, uint32_t slot, unsigned groups, unsigned group, uint64_t own);

/* Does nobody else hold it? Who reads the words of the groups has said DYING before: their number is raised before a bit in them is set. */
static inline bool holder_alone(Actor *a, uint32_t slot)
{
        unsigned groups = chunk_groups(load_sc(&a->seg->chunks[slot / MH_SHM_CHUNK_SLOTS].word));
        unsigned group = a->id / MH_SHM_GROUP_CLIENTS;
        uint64_t own = UINT64_C(1) << a->id % MH_SHM_GROUP_CLIENTS;

        if (load_sc(&a->slots[slot].holders) != (group == 0 ? own : 0))
                return false;
        return likely(groups == 0) || holder_rest_is(a->seg, slot, groups, group, own);
}

static inline bool holder_any(Segment *seg, uint32_t slot)
{
        unsigned groups = chunk_groups(load_sc(&seg->chunks[slot / MH_SHM_CHUNK_SLOTS].word));

        if (load_sc(&seg->slots[slot].holders))
                return true;
        return unlikely(groups > 0) && !holder_rest_is(seg, slot, groups, 0, 0);
}

/* What is seen at a glance: this client holds it, and none of those whose bits are in the slot. */
static inline bool holder_seems_alone(const Actor *a, uint32_t slot)
{
        /*
         * Relaxed: only which way to go. Who destroys looks again, in order, after it has said DYING, and who does
         * not clears its bit and then looks at all.
         */
        return load_relaxed(&a->slots[slot].holders) == a->bit;
}
