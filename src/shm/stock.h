/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The spans of an actor, from which it takes small blocks. See stock.c.
 */

#include "base/likely.h"
#include "shm/actor.h"

/* Finds candidates for the class, which has none, and no hot one either. -ENOSPC. */
_cold_ int stock_refill(Actor *a, unsigned class);

/* The hot block is a candidate like others. */
static inline void stock_cool(ActorClass *k)
{
        if (k->hot)
                k->candidates |= UINT64_C(1) << (k->hot - k->owner);
        k->hot = NULL;
}

/*
 * A span of this actor's, of that class, and not the one blocks are taken from, may be empty now: then it is kept or given back. To
 * look costs a pass over its owner words, so it is not done with each free: when some are found in use, at least so many frees must
 * come before it is worth to look again.
 */
void stock_consider(Actor *a, unsigned class, uint32_t span);

/*
 * Gives back spans of this client in which nothing is in use, also those kept for the next time, and those that others emptied: a
 * client that takes blocks which others free does not come by there by itself. Says whether there were any.
 */
bool stock_trim(Actor *a);

/* Where there is none left: the same, and then whoever else there is to be asked. False: there is nothing to be had. */
bool stock_find_memory(Actor *a);
