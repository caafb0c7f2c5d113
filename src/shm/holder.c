/* SPDX-License-Identifier: MIT */

#include "shm/holder.h"

#include "base/atomics.h"

uint64_t holder_clear_in_group(Actor *a, uint32_t slot)
{
        unsigned group = a->id / MH_SHM_GROUP_CLIENTS;
        uint64_t bit = UINT64_C(1) << a->id % MH_SHM_GROUP_CLIENTS;

        /* Without memory for the bit it was never set. */
        if (group > chunk_groups(load_sc(&a->seg->chunks[slot / MH_SHM_CHUNK_SLOTS].word)))
                return 0;
        return fetch_and_sc(holder_word(a->seg, slot, group), ~bit) & ~bit;
}

bool holder_rest_is(Segment *seg, uint32_t slot, unsigned groups, unsigned group, uint64_t own)
{
        for (unsigned g = 1; g <= groups && g < seg->n_groups; g++)
                if (load_sc(holder_word(seg, slot, g)) != (g == group ? own : 0))
                        return false;
        return true;
}
