/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/packet.h"
#include "tools/under.h"

static int ends[2];

static void set_up(void)
{
        static const int one = 1;

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        cr_assert_eq(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
}

static void tear_down(void)
{
        fd_close_many(ends, 2);
}

TestSuite(packet, .init = set_up, .fini = tear_down);

static void send_fds(const char *data, size_t size, unsigned n)
{
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(250 * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buffer };
        struct cmsghdr *c;

        mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&mh);
        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN(n * sizeof(int)) };
        for (unsigned i = 0; i < n; i++)
                memcpy(CMSG_DATA(c) + i * sizeof(int), &(int){ STDERR_FILENO }, sizeof(int));
        cr_assert_eq(sendmsg(ends[0], &mh, 0), (ssize_t)size);
}

/* The lowest number that is free: if it is what it was, nothing leaked. */
static int next_fd(void)
{
        int fd = dup(STDERR_FILENO);

        (void)fd_close(fd);
        return fd;
}

Test(packet, arrives_with_the_credentials_of_its_sender)
{
        Packet p;

        cr_expect_eq(packet_receive(ends[1], &p), -EAGAIN);
        cr_assert_eq(packet_send(ends[0], "hello", 5, -1), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_expect_eq(p.size, 5);
        cr_expect_eq(memcmp(p.data, "hello", 5), 0);
        cr_expect(!p.truncated);
        cr_expect(p.has_credentials);
        cr_expect_eq(p.credentials.pid, getpid());
        cr_expect_eq(p.credentials.uid, getuid());
        cr_expect_eq(p.fd, -1);
        cr_expect_eq(p.n_fds, 0);
        packet_done(&p);
}

Test(packet, an_empty_one_is_not_the_end)
{
        Packet p;

        cr_assert_eq(packet_send(ends[0], "", 0, -1), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_expect_eq(p.size, 0);
        ends[0] = fd_close(ends[0]);
        cr_expect_eq(packet_receive(ends[1], &p), 0);
        cr_expect_eq(packet_receive(ends[1], &p), 0);
}

Test(packet, one_that_is_too_long_says_so)
{
        char data[WIRE_BUFFER_SIZE + 1] = {};
        Packet p;

        cr_assert_eq(packet_send(ends[0], data, MH_WIRE_PACKET_MAX, -1), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_expect(!p.truncated);
        cr_assert_eq(packet_send(ends[0], data, sizeof(data), -1), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_expect(p.truncated);
        cr_expect_eq(p.size, WIRE_BUFFER_SIZE);
}

Test(packet, of_many_descriptors_one_is_kept)
{
        static const unsigned numbers[] = { 1, 2, 3, 4, 5, 6, 100, 250 };
        int before = next_fd();
        Packet p;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                send_fds("x", 1, numbers[i]);
                cr_assert_eq(packet_receive(ends[1], &p), 1);
                cr_expect_eq(p.fd, before);
                cr_expect_eq(fcntl(p.fd, F_GETFD), FD_CLOEXEC);
                cr_expect_eq(fd_same(p.fd, STDERR_FILENO), 1);
                if (numbers[i] == 1)
                        cr_expect_eq(p.n_fds, 1);
                else
                        cr_expect_geq(p.n_fds, 2);
                cr_expect(!p.fds_lost);
                packet_done(&p);
                cr_expect_eq(p.fd, -1);
                cr_expect_eq(next_fd(), before, "%u descriptors", numbers[i]);
        }
}

Test(packet, descriptors_that_cannot_be_had_are_told_from_none)
{
        struct rlimit limit, low;
        int before = next_fd();
        Packet p;

        skip_under("valgrind", "keeps descriptors of its own below the limit");
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = limit;
        low.rlim_cur = (rlim_t)before;
        send_fds("x", 1, 1);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        cr_expect_eq(p.fd, -1);
        cr_expect(p.fds_lost);
        packet_done(&p);
        cr_expect_eq(next_fd(), before);
}

/* SO_PASSCRED once set, as with the daemon's connections. */
Test(packet, bare_ones_bring_data_and_nothing_else)
{
        char data[WIRE_BUFFER_SIZE + 1] = {};
        int before = next_fd();
        Packet p;

        packet_bare(ends[1]);
        cr_expect_eq(packet_receive_bare(ends[1], &p), -EAGAIN);
        send_fds("hello", 5, 3);
        cr_assert_eq(packet_receive_bare(ends[1], &p), 1);
        cr_expect_eq(p.size, 5);
        cr_expect_eq(memcmp(p.data, "hello", 5), 0);
        cr_expect(!p.truncated && !p.has_credentials && !p.fds_lost);
        cr_expect_eq(p.fd, -1);
        cr_expect_eq(p.n_fds, 0);
        cr_expect_eq(next_fd(), before);

        cr_assert_eq(packet_send(ends[0], data, WIRE_BUFFER_SIZE, -1), 0);
        cr_assert_eq(packet_receive_bare(ends[1], &p), 1);
        cr_expect(!p.truncated);
        cr_assert_eq(packet_send(ends[0], data, sizeof(data), -1), 0);
        cr_assert_eq(packet_receive_bare(ends[1], &p), 1);
        cr_expect(p.truncated);
        cr_expect_eq(p.size, WIRE_BUFFER_SIZE);

        ends[0] = fd_close(ends[0]);
        cr_expect_eq(packet_receive_bare(ends[1], &p), 0);
}

Test(packet, sending_never_waits_and_raises_nothing)
{
        char data[MH_WIRE_PACKET_MAX] = {};
        unsigned n = 0;
        int r;

        while ((r = packet_send(ends[1], data, sizeof(data), -1)) == 0)
                cr_assert_lt(n++, 100000);
        cr_expect_eq(r, -EAGAIN);
        ends[0] = fd_close(ends[0]);
        r = packet_send(ends[1], data, sizeof(data), -1);
        cr_expect(r == -EPIPE || r == -ECONNRESET, "%d", r);
}

Test(packet, a_descriptor_goes_along)
{
        Packet p;

        cr_assert_eq(packet_send(ends[0], "fd", 2, STDERR_FILENO), 0);
        cr_assert_eq(packet_receive(ends[1], &p), 1);
        cr_expect_eq(p.n_fds, 1);
        cr_expect_eq(fd_same(p.fd, STDERR_FILENO), 1);
        packet_done(&p);
}
