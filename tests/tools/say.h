/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Where a test writes what people are to read: its seed, what a daemon said. Criterion gives the tests /dev/null for
 * standard error when its own output is for machines. So the process that starts them keeps what it had, and tells where.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SAY_VARIABLE "MONO_HANDLE_TEST_STDERR"

/* Before Criterion does anything. The tests find it done, by their environment. */
static __attribute__((constructor)) void say_prepare(void)
{
        char path[64];
        int fd;

        if (getenv(SAY_VARIABLE))
                return;
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
        (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
        if (fd >= 0)
                (void)setenv(SAY_VARIABLE, path, 1);
}

static inline FILE *say_stream(void)
{
        static FILE *stream;
        const char *path = getenv(SAY_VARIABLE);

        if (!stream && path) {
                stream = fopen(path, "ae");
                if (stream)
                        (void)setvbuf(stream, NULL, _IOLBF, 0);
        }
        return stream ?: stderr;
}
