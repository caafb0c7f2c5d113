/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Noticing a fork.
 *
 * The child of a fork() has a copy of our private memory, but not the parent's identity: what it sent over the
 * inherited socket would be taken for the parent's. pthread_atfork() misses _Fork() and clone(2), and a comparison of
 * pids costs a system call and is fooled when numbers come round. The kernel does it for us: MADV_WIPEONFORK makes a
 * page read as zeros in every child that gets a copy of it, however it was made.
 *
 * An object taken here lies on pages of its own behind such a page, and not in the heap: a child made by _Fork() while
 * another thread was inside malloc() must not call free(), but it can give these pages back.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomics.h"

/* The end of the wiped page, directly before the object. All zeros in a child. */
typedef struct ForkHead {
        uint64_t word;  /* for the owner of the object */
        uint64_t alive; /* FORK_ALIVE where nothing was wiped */
} ForkHead;

#define FORK_ALIVE UINT64_C(0x6e6f7469616d6170)

static inline ForkHead *fork_head(const void *object)
{
        return (ForkHead *)(uintptr_t)object - 1;
}

/* Zeroed, or NULL with errno set. */
void *fork_alloc(size_t size);

/* Is this process a child of the one that took the object? */
static inline bool fork_crossed(const void *object)
{
        /* Relaxed: who is handed the object was handed it in an orderly way. */
        return load_relaxed(&fork_head(object)->alive) != FORK_ALIVE;
}

/* In the one that took it as well as in its children, where it gives back the child's copy. */
void fork_free(void *object, size_t size);
