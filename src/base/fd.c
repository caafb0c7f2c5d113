/* SPDX-License-Identifier: MIT */

#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_close(int fd)
{
        int saved = errno;

        if (fd < 0)
                return -1;

        /* On Linux the descriptor is gone whatever close() says, EINTR included: never a second try. */
        if (close(fd) < 0)
                assert(errno != EBADF);

        errno = saved;
        return -1;
}

void fd_discard(int fd)
{
        int saved = errno;

        if (fd >= 0)
                (void)close(fd);
        errno = saved;
}

void fd_close_many(int *fds, size_t n)
{
        assert(fds || n == 0);

        for (size_t i = 0; i < n; i++)
                fds[i] = fd_close(fds[i]);
}

int fd_set_nonblock(int fd)
{
        int flags;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return -errno;
        return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int fd_same(int a, int b)
{
        struct stat sa, sb;

        if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
                return -errno;
        return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}
