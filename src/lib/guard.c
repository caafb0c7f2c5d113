/* SPDX-License-Identifier: MIT */

#include "lib/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* The lowest number that we keep: those below are stdin, stdout and stderr. */
#define FD_FIRST 3

int guard_take(int fd, Guard *ret)
{
        struct stat st;

        if (fd < FD_FIRST) {
                int low = fd;

                fd = fcntl(low, F_DUPFD_CLOEXEC, FD_FIRST);
                fd_discard(low);
                if (fd < 0)
                        return -errno;
        }
        if (fstat(fd, &st) < 0) {
                fd_discard(fd);
                return -errno;
        }
        *ret = (Guard){ .fd = fd, .dev = st.st_dev, .ino = st.st_ino };
        return 0;
}

bool guard_holds(const Guard *g)
{
        struct stat st;

        return g->fd >= 0 && fstat(g->fd, &st) == 0 && st.st_dev == g->dev && st.st_ino == g->ino;
}

void guard_close(Guard *g)
{
        if (guard_holds(g))
                fd_discard(g->fd);
        *g = GUARD_NONE;
}
