/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mimalloc, for which libmimalloc.so is loaded late and privately: Debian's also defines malloc() and free(), and
 * would, if this program were linked with it, be used by everything that is measured here, instead of by mi_malloc() alone.
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct PeerMimalloc {
        void *(*malloc)(size_t size);
        void (*free)(void *p);
} PeerMimalloc;

extern PeerMimalloc peer_mimalloc;

/* False and a reason, if it is not installed, or has got between this program and its malloc() in spite of that. */
bool peer_mimalloc_load(const char **ret_reason);
