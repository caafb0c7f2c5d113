/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

Test(fd, close_answers_minus_one_and_keeps_errno)
{
        int fd = dup(STDERR_FILENO);

        errno = EPROTO;
        cr_assert_eq(fd_close(fd), -1);
        cr_assert_eq(fd_close(-1), -1);
        cr_assert_eq(fd_close(-EBADF), -1);
        cr_assert_eq(errno, EPROTO);
        cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

Test(fd, closing_twice_ends_the_program, .signal = SIGABRT)
{
        int fd = dup(STDERR_FILENO);

        (void)fd_close(fd);
        (void)fd_close(fd);
}

Test(fd, close_many)
{
        int fds[3], copy[3];

        fds[0] = dup(STDERR_FILENO);
        fds[1] = -1;
        fds[2] = dup(STDERR_FILENO);
        for (size_t i = 0; i < 3; i++)
                copy[i] = fds[i];

        fd_close_many(fds, 3);
        for (size_t i = 0; i < 3; i++) {
                cr_assert_eq(fds[i], -1);
                cr_assert_eq(fcntl(copy[i], F_GETFD), -1);
        }
        fd_close_many(NULL, 0);
}

Test(fd, the_flag_is_added)
{
        int fds[2];

        cr_assert_eq(pipe(fds), 0);
        cr_assert_eq(fd_set_nonblock(fds[1]), 0);
        cr_assert_eq(fd_set_nonblock(fds[1]), 0);
        cr_assert_eq(fcntl(fds[1], F_GETFL), O_WRONLY | O_NONBLOCK);
        cr_assert_eq(fcntl(fds[0], F_GETFL), O_RDONLY);
        fd_close_many(fds, 2);
        cr_assert_eq(fd_set_nonblock(-1), -EBADF);
}

Test(fd, same_file)
{
        int a = memfd_create("a", MFD_CLOEXEC);
        int b = memfd_create("a", MFD_CLOEXEC);
        int again = dup(a);

        cr_assert_eq(fd_same(a, again), 1);
        cr_assert_eq(fd_same(a, a), 1);
        cr_assert_eq(fd_same(a, b), 0);
        cr_assert_eq(fd_same(a, -1), -EBADF);
        cr_assert_eq(fd_same(-1, a), -EBADF);
        (void)fd_close(a);
        (void)fd_close(b);
        (void)fd_close(again);
}
