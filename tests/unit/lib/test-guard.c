/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/guard.h"

static int some_file(void)
{
        int fd = memfd_create("some", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        return fd;
}

Test(guard, takes_and_closes)
{
        Guard g = GUARD_NONE;
        int fd = some_file();

        cr_assert_eq(guard_take(fd, &g), 0);
        cr_assert_eq(g.fd, fd);
        cr_assert(guard_holds(&g));

        errno = EPROTO;
        guard_close(&g);
        cr_assert_eq(errno, EPROTO);
        cr_assert_eq(g.fd, -1);
        cr_assert_eq(fcntl(fd, F_GETFD), -1);

        guard_close(&g);
        cr_assert_not(guard_holds(&g));
}

Test(guard, nothing_is_not_held)
{
        Guard g = GUARD_NONE;

        cr_assert_not(guard_holds(&g));
        cr_assert_eq(guard_take(-1, &g), -EBADF);
        cr_assert_eq(g.fd, -1);
}

Test(guard, keeps_away_from_the_standard_descriptors)
{
        Guard g = GUARD_NONE;
        int fd;

        (void)close(STDIN_FILENO);
        fd = some_file();
        cr_assert_eq(fd, STDIN_FILENO);

        cr_assert_eq(guard_take(fd, &g), 0);
        cr_assert_gt(g.fd, STDERR_FILENO);
        cr_assert_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
        cr_assert_eq(fcntl(g.fd, F_GETFD), FD_CLOEXEC);
        guard_close(&g);
}

Test(guard, sees_that_it_was_closed)
{
        Guard g = GUARD_NONE;

        cr_assert_eq(guard_take(some_file(), &g), 0);
        (void)close(g.fd);
        cr_assert_not(guard_holds(&g));
        guard_close(&g);
        cr_assert_eq(g.fd, -1);
}

Test(guard, never_closes_what_has_the_number_now)
{
        Guard g = GUARD_NONE;
        int theirs = some_file(), number;

        cr_assert_eq(guard_take(some_file(), &g), 0);
        number = g.fd;
        cr_assert_eq(dup2(theirs, number), number);

        cr_assert_not(guard_holds(&g));
        guard_close(&g);
        cr_assert_eq(g.fd, -1);
        cr_assert_eq(fcntl(number, F_GETFD), 0, "somebody else's descriptor was closed");
}

Test(guard, tells_sockets_apart)
{
        int a[2], b[2], number;
        Guard g = GUARD_NONE;

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a), 0);
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, b), 0);
        cr_assert_eq(guard_take(a[0], &g), 0);
        number = g.fd;
        cr_assert(guard_holds(&g));
        cr_assert_eq(dup2(b[0], number), number);
        cr_assert_not(guard_holds(&g));
        cr_assert_eq(dup2(a[1], number), number);
        cr_assert_not(guard_holds(&g), "the other end is another socket");
}
