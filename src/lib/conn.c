/* SPDX-License-Identifier: MIT */

#include "lib/conn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "lib/deadline.h"

/* So many descriptors are taken out of one packet, to be closed but for the first; the kernel drops the rest. */
#define FDS_MAX 4

/* The many names of "there is nobody at the other end any more". */
static int lost(int error)
{
        switch (error) {
        case EPIPE:
        case ENOTCONN:
        case ECONNREFUSED: /* of some kernels, at the very moment that it goes */
        case EBADF:        /* closed under us, */
        case ENOTSOCK:     /* and the number taken */
        case EDESTADDRREQ:
                return -ECONNRESET;
        default:
                return -error;
        }
}

/* Whoever listens there must be us: the owner of a directory that others can write to is not enough of a proof. */
static int check_peer(int fd)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return lost(errno);
        return peer.uid == geteuid() ? 0 : -EPERM;
}

int conn_open(const char *path, Guard *ret)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd, r;

        memcpy(sa.sun_path, path, strnlen(path, sizeof(sa.sun_path) - 1));

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        r = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : check_peer(fd);
        if (r < 0) {
                fd_discard(fd);
                return r;
        }
        return guard_take(fd, ret);
}

/* Waits until the socket can be read or written. Hang-ups are left to the call that follows. */
static int wait_for(const Guard *g, short events, uint64_t deadline)
{
        struct pollfd p = { .fd = g->fd, .events = events };
        int r;

        do {
                r = poll(&p, 1, deadline_poll_msec(deadline));
        } while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        if (r > 0)
                return 0;
        return -ETIMEDOUT;
}

static int send_message(const Guard *g, const struct msghdr *m, uint64_t deadline)
{
        for (;;) {
                int r;

                /* Each time: whoever waited may have waited for long. */
                if (!guard_holds(g))
                        return -ECONNRESET;
                /* A packet is sent whole or not at all. */
                if (sendmsg(g->fd, m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
                        return 0;
                if (errno == EINTR)
                        continue;
                if (errno != EAGAIN)
                        return lost(errno);
                r = wait_for(g, POLLOUT, deadline);
                if (r < 0)
                        return r;
        }
}

int conn_send(const Guard *g, const void *packet, size_t size, uint64_t deadline)
{
        struct iovec iov = { .iov_base = (void *)(uintptr_t)packet, .iov_len = size };

        return send_message(g, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 }, deadline);
}

bool conn_stands(const Guard *g)
{
        struct pollfd p = { .fd = g->fd, .events = POLLRDHUP };

        return guard_holds(g) && poll(&p, 1, 0) == 0;
}

int conn_send_hello(const Guard *g, const void *packet, size_t size, int fd, uint64_t deadline)
{
        struct iovec iov = { .iov_base = (void *)(uintptr_t)packet, .iov_len = size };
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
        } control = {};
        struct msghdr m = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control.space),
        };
        /* The ids that SO_PEERCRED shows to the other side; what the kernel would fill in are the real ones. */
        struct ucred self = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&m);

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_CREDENTIALS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(self));
        memcpy(CMSG_DATA(cmsg), &self, sizeof(self));

        if (fd >= 0) {
                cmsg = CMSG_NXTHDR(&m, cmsg);
                cmsg->cmsg_level = SOL_SOCKET;
                cmsg->cmsg_type = SCM_RIGHTS;
                cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
                memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
        } else
                m.msg_controllen = CMSG_SPACE(sizeof(self));

        return send_message(g, &m, deadline);
}

/* The first descriptor that came; the others are closed. */
static int take_fd(struct msghdr *m)
{
        int first = -1;

        for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(m); cmsg; cmsg = CMSG_NXTHDR(m, cmsg)) {
                if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= cmsg->cmsg_len; at += sizeof(int)) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
                        if (first < 0)
                                first = fd;
                        else
                                fd_discard(fd);
                }
        }
        return first;
}

/* One packet, when there is one: -EAGAIN otherwise. */
static int receive_now(const Guard *g, struct msghdr *m, size_t *ret_size)
{
        ssize_t n;

        do {
                if (!guard_holds(g))
                        return -ECONNRESET;
                n = recvmsg(g->fd, m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return lost(errno);
        /* No packet of ours is empty, so this is the end. */
        if (n == 0)
                return -ECONNRESET;
        *ret_size = (size_t)n;
        return 0;
}

int conn_receive(const Guard *g, void *buffer, size_t size, size_t *ret_size, int *ret_fd, uint64_t deadline)
{
        struct iovec iov = { .iov_base = buffer, .iov_len = size };
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control;
        struct msghdr m;
        size_t received = 0;
        int fd, r;

        for (;;) {
                m = (struct msghdr){
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control.space),
                };
                r = receive_now(g, &m, &received);
                if (r != -EAGAIN)
                        break;
                r = wait_for(g, POLLIN, deadline);
                if (r < 0)
                        break;
        }
        if (r < 0)
                return r;

        fd = take_fd(&m);
        if (m.msg_flags & MSG_TRUNC) {
                fd_discard(fd);
                return -EBADMSG;
        }
        *ret_size = received;
        if (ret_fd)
                *ret_fd = fd;
        else
                fd_discard(fd);
        /* Descriptors that do not fit into our table are left out. */
        return ret_fd && fd < 0 && m.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}
