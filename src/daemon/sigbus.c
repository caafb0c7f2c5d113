/* SPDX-License-Identifier: MIT */

#include "daemon/sigbus.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/atomics.h"

/*
 * The handler runs in the thread that touched the segment, between two of its instructions: that of the event loop, which also
 * writes these words, or the worker's, which finds them as they were before it was started or given its job, because the segment
 * changes only while there is no job. So what it needs is that each of these is one word, and that the compiler keeps to what is
 * written. The size is stored last and cleared first.
 *
 * Relaxed: `sigbus_was_hit` goes from 0 to 1, by whichever thread; who asks after the touch in the same thread sees it, and the event
 * loop asks about the worker's after that has said that it is done.
 */
static uint64_t sigbus_base;
static uint64_t sigbus_size;
static uint32_t sigbus_was_hit;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
        uint64_t size = load_acquire(&sigbus_size); /* pairs with sigbus_watch() */
        uint64_t base = load_relaxed(&sigbus_base);
        uint64_t address = (uint64_t)(uintptr_t)info->si_addr;
        struct sigaction deflt = { .sa_handler = SIG_DFL };
        int saved = errno;

        /* si_code says that it was a fault and not a kill(), whose si_addr means nothing. */
        if (info->si_code > 0 && address - base < size) {
                store_relaxed(&sigbus_was_hit, 1);
                /* The whole at once: page by page could need more mappings than a process may have. mmap() is a plain
                 * system call here. */
                if (mmap((void *)(uintptr_t)base, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
                        errno = saved;
                        return;
                }
        }

        /* As if there were no handler: a fault comes again on return, a signal that somebody sent is sent once more. */
        (void)sigaction(sig, &deflt, NULL);
        if (info->si_code <= 0)
                (void)raise(sig);
        errno = saved;
}

int sigbus_install(void)
{
        struct sigaction action = {
                .sa_sigaction = on_sigbus,
                .sa_flags = SA_SIGINFO,
        };

        (void)sigemptyset(&action.sa_mask);
        return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

void sigbus_watch(void *base, size_t size)
{
        assert(base || size == 0);

        store_release(&sigbus_size, 0); /* none while the two do not belong together */
        store_relaxed(&sigbus_was_hit, 0);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        store_relaxed(&sigbus_base, (uint64_t)(uintptr_t)base);
        store_release(&sigbus_size, size); /* pairs with on_sigbus() */
}

bool sigbus_hit(void)
{
        return load_relaxed(&sigbus_was_hit) != 0;
}
