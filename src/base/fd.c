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

static int add_flag(int fd, int get, int set, int flag)
{
        int flags;

        flags = fcntl(fd, get);
        if (flags < 0)
                return -errno;
        if (flags & flag)
                return 0;
        if (fcntl(fd, set, flags | flag) < 0)
                return -errno;
        return 0;
}

int fd_set_cloexec(int fd)
{
        return add_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC);
}

int fd_set_nonblock(int fd)
{
        return add_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK);
}

int fd_same(int a, int b)
{
        struct stat sa, sb;

        if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
                return -errno;
        return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}
