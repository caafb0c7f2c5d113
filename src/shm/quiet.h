/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * System calls from the middle of an operation. What src/shm does is called from places that leave no trace: errno stays
 * what it was, and no thread is cancelled there, which would leave a job half done in a process that lives on. So these go
 * past libc, whose sleep is a point where threads are cancelled.
 */

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The result, or -errno. */
#define QUIET_SYSCALL(...)                               \
        ({                                               \
                int _saved = errno;                      \
                long _r = syscall(__VA_ARGS__);          \
                int _result = _r < 0 ? -errno : (int)_r; \
                errno = _saved;                          \
                _result;                                 \
        })

/* For so long, or until a signal comes. */
static inline void quiet_sleep(long nsec)
{
        const struct timespec t = { .tv_nsec = nsec };

        (void)QUIET_SYSCALL(SYS_nanosleep, &t, NULL);
}
