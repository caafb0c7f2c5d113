/* SPDX-License-Identifier: MIT */

#include "packets.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "base/random.h"
#include "monohandle.h"
#include "proto/wire.h"

static int connect_to(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        (void)strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_with_credentials(int fd, const void *data, size_t size)
{
        struct ucred cred = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(sizeof(cred))];
        } control = {};
        struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        struct msghdr mh = { .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buffer,
                             .msg_controllen = sizeof(control.buffer) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_CREDENTIALS,
                               .cmsg_len = CMSG_LEN(sizeof(cred)) };
        memcpy(CMSG_DATA(c), &cred, sizeof(cred));
        return sendmsg(fd, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int packets_attach(Packets *ret, const char *path)
{
        struct mh_wire_hello hello = {
                .header = { .type = MH_WIRE_HELLO, .size = sizeof(hello) },
                .magic = MH_WIRE_MAGIC,
                .version_min = MH_WIRE_VERSION_MIN,
                .version_max = MH_WIRE_VERSION_MAX,
                .name = "bench",
        };
        struct mh_wire_welcome welcome;
        _cleanup_close_ int fd = -1;
        ssize_t n;
        int r;

        r = process_start_time(getpid(), &hello.start_time);
        if (r >= 0)
                r = random_u64(&hello.nonce);
        if (r < 0)
                return r;
        hello.nonce |= 1;
        fd = connect_to(path);
        if (fd < 0)
                return fd;
        r = send_with_credentials(fd, &hello, sizeof(hello));
        if (r < 0)
                return r;
        /* The segment's descriptor comes with it; without room for it, it does not arrive. */
        n = recv(fd, &welcome, sizeof(welcome), 0);
        if (n < 0)
                return -errno;
        if (n == 0)
                return -ECONNRESET;
        if ((size_t)n != sizeof(welcome) || welcome.header.type != MH_WIRE_HELLO)
                return -EPROTO;
        *ret = (Packets){ .fd = TAKE_FD(fd) };
        return 0;
}

void packets_close(Packets *p)
{
        p->fd = fd_close(p->fd);
}

static void ask(int fd, const void *request, size_t size, void *reply, size_t reply_size)
{
        ssize_t n = send(fd, request, size, MSG_NOSIGNAL);

        if (n == (ssize_t)size)
                n = recv(fd, reply, reply_size, 0);
        if (__builtin_expect(n != (ssize_t)reply_size, 0))
                die("a request is answered with %zd bytes", n);
}

void packets_new_close(Packets *p)
{
        struct mh_wire_new new = { .header = { .type = MH_WIRE_NEW, .size = sizeof(new), .seq = ++p->seq },
                                   .type = MH_TYPE_EVENT };
        struct mh_wire_close close = { .header = { .type = MH_WIRE_CLOSE, .size = sizeof(close) } };
        struct mh_wire_handle handle;
        struct mh_wire_closed closed;

        ask(p->fd, &new, sizeof(new), &handle, sizeof(handle));
        close.header.seq = ++p->seq;
        close.handle = handle.handle;
        ask(p->fd, &close, sizeof(close), &closed, sizeof(closed));
}

static void echo(int fd, void *ctx)
{
        union {
                struct mh_wire_header header;
                struct mh_wire_new new;
                struct mh_wire_close close;
        } request;
        union {
                struct mh_wire_header header;
                struct mh_wire_handle handle;
                struct mh_wire_closed closed;
        } reply = {};
        int theirs, epoll = -1;

        stage_hear(fd, &theirs, sizeof(theirs)); /* which descriptor of ours is the other end */
        if (*(const bool *)ctx) {
                struct epoll_event event = { .events = EPOLLIN };

                epoll = epoll_create1(EPOLL_CLOEXEC);
                if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, theirs, &event) < 0)
                        die("epoll: %s", strerror(errno));
        }
        for (;;) {
                struct epoll_event event;
                size_t size;
                ssize_t n;

                if (epoll >= 0)
                        (void)epoll_wait(epoll, &event, 1, -1);
                n = recv(theirs, &request, sizeof(request), 0);
                if (n <= 0)
                        _exit(0);
                size = request.header.type == MH_WIRE_NEW ? sizeof(reply.handle) : sizeof(reply.closed);
                reply.header = (struct mh_wire_header){ .type = request.header.type,
                                                        .size = (uint32_t)size,
                                                        .seq = request.header.seq };
                if (send(theirs, &reply, size, MSG_NOSIGNAL) < 0)
                        _exit(0);
        }
}

void packets_echo_start(StageChild *child, Packets *ret, bool with_epoll)
{
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair: %s", strerror(errno));
        stage_child_start(child, echo, &with_epoll);
        stage_tell(child->fd, &fds[1], sizeof(fds[1]));
        (void)fd_close(fds[1]);
        *ret = (Packets){ .fd = fds[0] };
}

int packets_ping(const char *path)
{
        _cleanup_close_ int fd = connect_to(path);
        char c = 0;
        ssize_t n;

        if (fd < 0)
                return fd;
        if (send(fd, &c, sizeof(c), MSG_NOSIGNAL) < 0)
                return -errno;
        n = recv(fd, &c, sizeof(c), 0);
        return n > 0 ? 0 : n == 0 ? -ECONNRESET : -errno;
}
