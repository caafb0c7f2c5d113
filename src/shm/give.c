/* SPDX-License-Identifier: MIT */

/*
 * Giving makes a handle the owner of a block, and takes two words that must agree: the handle's reference entry, and the block's
 * owner word. The entry comes first and goes last; it counts only while the owner word names it.
 */

#include <errno.h>

#include "base/atomics.h"
#include "shm/block.h"
#include "shm/give.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/words.h"

/* The handle is pinned. */
static int give_pinned(Actor *a, const Block *b, uint64_t scratch, uint64_t owner, uint32_t slot)
{
        uint64_t *refs = a->seg->slots[slot].refs, ref = ref_make(scratch, a->id);

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t seen = 0;

                if (!cas_sc(&refs[e], &seen, ref))
                        continue;
                if (block_visit(a, b, owner) &&
                    cas_sc(b->owner, &owner, owner_make(owner_tag(owner), MH_SHM_OWNER_SLOT, e, slot)))
                        return 0;
                /* Freed by somebody in this moment. The entry is ours to empty, because we filled it. */
                seen = ref;
                (void)cas_sc(&refs[e], &seen, 0);
                return -ESTALE;
        }
        return -ENOSPC;
}

int give_block(Actor *a, uint64_t scratch, uint64_t handle)
{
        uint64_t owner;
        Block b;
        int r;

        r = slot_held(a, handle, NULL);
        if (r < 0)
                return r;
        r = scratch_find(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        if (owner_kind(owner) == MH_SHM_OWNER_SLOT) {
                r = -EBUSY;
        } else if (owner_who(owner) != a->id) {
                r = -EBADF;
        } else {
                /* One more reference, so that the handle cannot go while the block is on its way to it. */
                r = slot_open(a, handle, NULL);
                if (r == 0) {
                        r = give_pinned(a, &b, scratch, owner, handle_slot(handle));
                        (void)slot_close(a, handle, NULL);
                        if (r == 0)
                                actor_count(&a->account->disowned_bytes, b.size);
                }
        }
        block_done(a);
        return r;
}

static bool is_named(uint64_t owner, uint32_t slot, unsigned entry)
{
        return owner_kind(owner) == MH_SHM_OWNER_SLOT && owner_who(owner) == slot && owner_entry(owner) == entry;
}

/* As give_drop_refs(), for one block that was found. */
static int drop_block(Actor *a, const Block *b, uint32_t slot, unsigned entry)
{
        uint64_t owner = load_sc(b->owner);

        if (is_named(owner, slot, entry) && block_free(a, b, owner))
                actor_count_free(a, b->size, false);
        else if (!block_is_large(b))
                block_release_orphan(a, b->span); /* freed before, by one who died before it looked */
        /* Or begun before. Nobody but the reaper acts for the dead, so nobody else is at it. */
        return a->piecemeal && block_is_large(b) ? block_resume_free(a, b->span, a->piecemeal) : 0;
}

int give_drop_refs(Actor *a, uint32_t slot)
{
        uint64_t *refs = a->seg->slots[slot].refs;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t ref = load_sc(&refs[e]);
                int more;
                Block b;

                if (!ref)
                        continue;
                if (block_find(a, ref_offset(ref), &b) == 0) {
                        more = drop_block(a, &b, slot, e);
                        if (more)
                                return 1; /* the hazard stays: see block_resume_free() */
                        block_done(a);
                }
                /* The owner word first, the entry last: in this order it can be done again. */
                store_sc(&refs[e], 0);
        }
        return 0;
}

void give_drop_unused_refs(Actor *a, uint32_t slot, uint32_t giver)
{
        uint64_t *refs = a->seg->slots[slot].refs;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t ref = load_sc(&refs[e]);
                bool used;
                Block b;

                if (!ref || ref_giver(ref) != giver)
                        continue;
                used = false;
                if (block_find(a, ref_offset(ref), &b) == 0) {
                        used = is_named(load_sc(b.owner), slot, e);
                        block_done(a);
                }
                if (!used)
                        (void)cas_sc(&refs[e], &ref, 0);
        }
}
