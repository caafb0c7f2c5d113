/* SPDX-License-Identifier: MIT */

#include "peer-mimalloc.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

PeerMimalloc peer_mimalloc;

/* Does it say of itself that this block is one of its own? */
static bool knows(void *library, const void *p)
{
        bool (*is_in_heap_region)(const void *) = NULL;
        void *symbol = dlsym(library, "mi_is_in_heap_region");

        *(void **)(void *)&is_in_heap_region = symbol;
        return symbol && is_in_heap_region(p);
}

bool peer_mimalloc_load(const char **ret_reason)
{
        static const char *const names[] = { "libmimalloc.so.2", "libmimalloc.so.3", "libmimalloc.so" };
        void *library = NULL, *ours, *its;
        bool mixed;

        if (peer_mimalloc.malloc)
                return true;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !library; i++)
                library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
                *ret_reason = "mimalloc is not installed (libmimalloc2.0)";
                return false;
        }
        *(void **)(void *)&peer_mimalloc.free = dlsym(library, "mi_free");
        *(void **)(void *)&peer_mimalloc.malloc = dlsym(library, "mi_malloc");
        if (!peer_mimalloc.free || !peer_mimalloc.malloc) {
                peer_mimalloc = (PeerMimalloc){};
                *ret_reason = "the mimalloc that is installed has no mi_malloc()";
                return false;
        }

        /* malloc() is still that of the C library, and mi_malloc() is not. */
        ours = malloc(64);
        its = peer_mimalloc.malloc(64);
        mixed = knows(library, ours) || !its;
        free(ours);
        peer_mimalloc.free(its);
        if (mixed) {
                peer_mimalloc = (PeerMimalloc){};
                *ret_reason = "mimalloc has taken the place of malloc()";
                return false;
        }
        return true;
}
