/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The life of a handle: new, open, close. See slot.c for the protocol. All handles come from outside and are checked.
 */

#include "shm/actor.h"

#define SLOT_CLOSED_HERE       (1U << 0)
#define SLOT_CLOSED_EVERYWHERE (1U << 1)

/* -EINVAL type, -ENOSPC, -EDQUOT; -EIO as slot_publish(). */
int slot_new(Actor *a, unsigned type, uint64_t *ret_handle);

/* *ret_type may be NULL. -EINVAL, -ESTALE, -EDQUOT, -EOVERFLOW, -ENOSPC. */
int slot_open(Actor *a, uint64_t handle, unsigned *ret_type);

/* *ret_flags may be NULL. -EINVAL, -ESTALE, -EBADF alive but not held by this client; -EAGAIN others keep it busy without
 * end, and nothing has happened. */
int slot_close(Actor *a, uint64_t handle, unsigned *ret_flags);

/* 0 if this client holds the handle, else -EINVAL, -ESTALE or -EBADF. *ret_slot may be NULL. */
int slot_held(Actor *a, uint64_t handle, struct mh_shm_slot **ret_slot);

/* Is it alive, whoever holds it? Touches nothing. *ret_type may be NULL. */
bool slot_is_alive(const Actor *a, uint64_t handle, unsigned *ret_type);

/*
 * From now on this actor keeps slots of handles that it destroyed, and reserves several at once. All actors of all clients
 * together never keep more than half of the capacity. slot_keep_none() gives them back.
 */
void slot_keep(Actor *a);
void slot_keep_none(Actor *a);

/* What is left of slot_new() once a slot is reserved: see reserve.h. -EIO: somebody scribbled over the slot. */
int slot_publish(Actor *a, uint32_t slot, unsigned type, uint64_t *ret_handle);

/*
 * For reaping and recovery: gives up whatever this client's ledger says about the slot, in whatever state a death left
 * it, and clears the ledger word, which has memory, last. Repeatable. Only where nobody else acts for that client. Says whether the
 * handle was destroyed; -EAGAIN: others kept it busy, or the actor works piecemeal and there is more to give back, and nothing is
 * lost by doing it again later.
 */
int slot_abandon(Actor *a, uint32_t slot);
