/* SPDX-License-Identifier: MIT */

#include "daemon/lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* How often a file that was replaced between open and flock is opened anew. */
#define TRIES_MAX 16

/* What the holder wrote about himself: nothing depends on it. */
static pid_t read_holder(int fd)
{
        char text[32];
        ssize_t n;
        long pid;

        n = pread(fd, text, sizeof(text) - 1, 0);
        if (n <= 0)
                return 0;
        text[n] = '\0';
        pid = strtol(text, NULL, 10);
        return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* A full disk does not keep the daemon from running. */
static void write_holder(int fd)
{
        char text[32];
        int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
                (void)ftruncate(fd, 0);
}

/* Is `fd` still what the path names? A lock on a file that nobody finds keeps nobody out. */
static int is_named(int fd, const char *path)
{
        struct stat a, b;

        if (fstat(fd, &a) < 0)
                return -errno;
        if (lstat(path, &b) < 0)
                return errno == ENOENT ? 0 : -errno;
        return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* 1, 0 or -errno as lock_acquire(); -EAGAIN: the file was replaced meanwhile. */
static int try_once(const char *path, int *ret_fd, pid_t *ret_holder)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        /* O_NONBLOCK: a FIFO in its place does not stop us. */
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
                return -EPERM;

        do
                r = flock(fd, LOCK_EX | LOCK_NB);
        while (r < 0 && errno == EINTR);
        if (r < 0 && errno != EWOULDBLOCK)
                return -errno;
        if (r < 0) {
                *ret_holder = read_holder(fd);
                return 0;
        }

        r = is_named(fd, path);
        if (r <= 0)
                return r < 0 ? r : -EAGAIN;
        write_holder(fd);
        *ret_fd = TAKE_FD(fd);
        return 1;
}

int lock_acquire(const char *socket_path, int *ret_fd, pid_t *ret_holder)
{
        char path[PATH_MAX];
        int r = -EAGAIN;

        assert(socket_path && ret_fd && ret_holder);

        if (snprintf(path, sizeof(path), "%s.lock", socket_path) >= (int)sizeof(path))
                return -ENAMETOOLONG;
        for (unsigned i = 0; i < TRIES_MAX && r == -EAGAIN; i++)
                r = try_once(path, ret_fd, ret_holder);
        return r;
}
