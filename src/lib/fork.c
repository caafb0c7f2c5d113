/* SPDX-License-Identifier: MIT */

#include "lib/fork.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

static size_t page_size(void)
{
        return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t mapping_size(size_t size)
{
        return page_size() + ALIGN_UP(size, page_size());
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
        p += page_size();
        /* Relaxed: nobody else has it yet, and the kernel wipes it. */
        store_relaxed(&fork_head(p)->alive, FORK_ALIVE);
        return p;
}

void fork_free(void *object, size_t size)
{
        (void)munmap((uint8_t *)object - page_size(), mapping_size(size));
}
