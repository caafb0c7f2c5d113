/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scratch memory: blocks that belong to a client, or to a handle. See scratch.c, stock.c (where free blocks are found), give.c
 * (handles that own blocks), block.c (owner words) and span.c (64 KiB spans).
 */

#include "shm/actor.h"
#include "shm/block.h"

/* *ret_size (may be NULL): bytes that can be used. -EINVAL size 0 or over 2^40, -ENOSPC, -EDQUOT. */
int scratch_alloc(Actor *a, uint64_t size, uint64_t *ret_scratch, uint64_t *ret_size);

/* The same for who does not ask how much there is. */
int scratch_take(Actor *a, uint64_t size, uint64_t *ret_scratch);

/* -EINVAL, -ESTALE, -EBUSY it belongs to a handle. */
int scratch_free(Actor *a, uint64_t scratch);

/* The block that this index names, alive, and its owner word. -EINVAL, -ESTALE; block_done() must follow a success. */
int scratch_find(Actor *a, uint64_t scratch, Block *ret, uint64_t *ret_owner);

/* Where a living block is and how large. Outputs may be NULL. -EINVAL, -ESTALE. */
int scratch_lookup(Actor *a, uint64_t scratch, void **ret_data, uint64_t *ret_size);

/* The owner word of a living block. -EINVAL, -ESTALE. */
int scratch_owner(Actor *a, uint64_t scratch, uint64_t *ret_owner);

/* Bytes in this span, which this client's ledger names, that are this client's. */
uint64_t scratch_owned_in(Actor *a, uint32_t span);

/* For recovery: finishes or takes back claims that this client, whose actor is lost, was making. Repeatable. */
void scratch_tidy(Actor *a);
