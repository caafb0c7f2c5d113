/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scratch blocks that belong to handles. See give.c.
 */

#include "shm/actor.h"

/* -EINVAL, -ESTALE, -EBADF, -EBUSY, -ENOSPC, -EOVERFLOW. */
int give_block(Actor *a, uint64_t scratch, uint64_t handle);

/* For the end of a handle: frees the blocks that it owns, then empties its references. Repeatable. 1: there is more to do, as
 * may be where the actor works piecemeal. */
int give_drop_refs(Actor *a, uint32_t slot);

/* For the reaper: empties references of the slot whose giver is dead and whose block does not name them. Repeatable. */
void give_drop_unused_refs(Actor *a, uint32_t slot, uint32_t giver);
