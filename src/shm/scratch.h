/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scratch memory: blocks that belong to a client, or to a handle. See scratch.c, block.c (owner words) and
 * span.c (64 KiB spans).
 */

#include "shm/actor.h"

/* *ret_size (may be NULL): bytes that can be used. -EINVAL size 0 or over 2^40, -ENOSPC, -EDQUOT. */
int scratch_alloc(Actor *a, uint64_t size, uint64_t *ret_scratch, uint64_t *ret_size);

/* The same for who does not ask how much there is. */
int scratch_take(Actor *a, uint64_t size, uint64_t *ret_scratch);

/* -EINVAL, -ESTALE, -EBUSY it belongs to a handle. */
int scratch_free(Actor *a, uint64_t scratch);

/* -EINVAL, -ESTALE, -EBADF, -EBUSY, -ENOSPC, -EOVERFLOW. */
int scratch_give(Actor *a, uint64_t scratch, uint64_t handle);

/* Where a living block is and how large. Outputs may be NULL. -EINVAL, -ESTALE. */
int scratch_lookup(Actor *a, uint64_t scratch, void **ret_data, uint64_t *ret_size);

/* The owner word of a living block. -EINVAL, -ESTALE. */
int scratch_owner(Actor *a, uint64_t scratch, uint64_t *ret_owner);

/* Bytes in this span, which this client's ledger names, that are this client's. */
uint64_t scratch_owned_in(Actor *a, uint32_t span);

/*
 * Gives back spans of this client in which nothing is in use, also those kept for the next time, and those that others emptied: a
 * client that takes blocks which others free does not come by there by itself. Says whether there were any.
 */
bool scratch_trim(Actor *a);

/* For recovery: finishes or takes back claims that this client, whose actor is lost, was making. Repeatable. */
void scratch_tidy(Actor *a);

/* For the end of a handle: frees the blocks that it owns, then empties its references. Repeatable. */
void scratch_drop_refs(Actor *a, uint32_t slot);

/* For the reaper: empties references of the slot whose giver is dead and whose block does not name them. Repeatable. */
void scratch_drop_unused_refs(Actor *a, uint32_t slot, uint32_t giver);
