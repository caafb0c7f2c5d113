/* SPDX-License-Identifier: MIT */

#include "lib/fork.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"

/* What the first word of the wiped page says where it was not wiped. */
#define ALIVE UINT64_C(0x6e6f7469616d6170)

static size_t page_size(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t mapping_size(size_t size)
{
        return page_size() + ALIGN_UP(size, page_size());
}

/* The wiped page lies before the object. */
static uint64_t *alive_word(const void *object)
{
        return (uint64_t *)(void *)((uint8_t *)(uintptr_t)object - page_size());
}

void *fork_alloc(size_t size)
{
        uint8_t *p;

        assert(size > 0);

        p = mmap(NULL, mapping_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return NULL;
        if (madvise(p, page_size(), MADV_WIPEONFORK) < 0) {
                int saved = errno;

                (void)munmap(p, mapping_size(size));
                errno = saved;
                return NULL;
        }
        /* Relaxed: who is handed the object was handed it in an orderly way. */
        store_relaxed((uint64_t *)(void *)p, ALIVE);
        return p + page_size();
}

bool fork_crossed(const void *object)
{
        return load_relaxed(alive_word(object)) != ALIVE;
}

void fork_free(void *object, size_t size)
{
        (void)munmap(alive_word(object), mapping_size(size));
}
