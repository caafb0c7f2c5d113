/* SPDX-License-Identifier: MIT */
#pragma once

/* Boost.Interprocess: a heap in shared memory, behind a library border like ours. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct PeerBoost PeerBoost;

/* NULL on failure. */
PeerBoost *peer_boost_new(size_t bytes);
PeerBoost *peer_boost_free(PeerBoost *p);

/* NULL when it is full. */
void *peer_boost_allocate(PeerBoost *p, size_t size);
void peer_boost_deallocate(PeerBoost *p, void *block);

#ifdef __cplusplus
}
#endif
