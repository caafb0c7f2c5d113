/* SPDX-License-Identifier: MIT */

#include "daemon/packet.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* One is expected at most. With room for some more, too many can be told from none to be had. */
#define FDS_MAX 4U

static void take_fds(Packet *p, const struct cmsghdr *c)
{
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n; i++) {
                int fd;

                memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                if (p->n_fds++ == 0)
                        p->fd = fd;
                else
                        (void)fd_close(fd);
        }
}

static void take_control(Packet *p, struct msghdr *mh)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_RIGHTS)
                        take_fds(p, c);
                else if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(p->credentials))) {
                        memcpy(&p->credentials, CMSG_DATA(c), sizeof(p->credentials));
                        p->has_credentials = true;
                }
        }

        if (!(mh->msg_flags & MSG_CTRUNC))
                return;
        /* Some were left behind by the kernel: because we had no room for so many, or no free descriptors. */
        if (p->n_fds >= FDS_MAX)
                p->n_fds++;
        else
                p->fds_lost = true;
}

static void begin(Packet *p, size_t length)
{
        p->size = MIN(length, sizeof(p->data));
        p->truncated = length > sizeof(p->data);
        p->has_credentials = false;
        p->fd = -1;
        p->n_fds = 0;
        p->fds_lost = false;
}

static int receive_errno(void)
{
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

int packet_receive(int fd, Packet *ret)
{
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control;
        struct iovec iov = { .iov_base = ret->data, .iov_len = sizeof(ret->data) };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        ssize_t n;

        assert(fd >= 0 && ret);

        do
                n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return receive_errno();
        begin(ret, (size_t)n);
        take_control(ret, &mh);
        if (ret->size == 0 && !ret->has_credentials) {
                packet_done(ret);
                return 0;
        }
        return 1;
}

void packet_bare(int fd)
{
        static const int zero;

        /* If that fails, the credentials that come are not taken. */
        (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &zero, sizeof(zero));
}

int packet_receive_bare(int fd, Packet *ret)
{
        ssize_t n;

        assert(fd >= 0 && ret);

        do
                n = recv(fd, ret->data, sizeof(ret->data), MSG_DONTWAIT | MSG_TRUNC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return receive_errno();
        begin(ret, (size_t)n);
        return n > 0;
}

void packet_done(Packet *packet)
{
        packet->fd = fd_close(packet->fd);
}

static ssize_t send_with(int fd, const void *data, size_t size, int with_fd)
{
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &with_fd, sizeof(int));
        return sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int packet_send(int fd, const void *data, size_t size, int with_fd)
{
        ssize_t n;

        assert(fd >= 0 && data);

        do
                n = with_fd >= 0 ? send_with(fd, data, size, with_fd)
                                 : send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return 0;
}
