/* SPDX-License-Identifier: MIT */

#include "daemon/peer.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/process.h"

/* Linux 6.5 and later; older headers do not have it. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int peer_credentials(int socket, uid_t *ret_uid, pid_t *ret_pid)
{
        struct ucred cred;
        socklen_t size = sizeof(cred);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        if (size != sizeof(cred))
                return -EIO;
        *ret_uid = cred.uid;
        *ret_pid = cred.pid;
        return 0;
}

/* The pidfd of the very process that connected; -EOPNOTSUPP where the kernel cannot tell. */
static int peer_pidfd(int socket)
{
        int fd;
        socklen_t size = sizeof(fd);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) < 0)
                return errno == ENOPROTOOPT || errno == EINVAL ? -EOPNOTSUPP : -errno;
        return fd;
}

static bool out_of_something(int r)
{
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* *ret_start_time is that of the process behind the returned descriptor, or there is an error. */
static int open_peer(int socket, pid_t pid, uint64_t claimed, uint64_t *ret_start_time)
{
        _cleanup_close_ int fd = -1;
        int r;

        fd = peer_pidfd(socket);
        if (fd == -EOPNOTSUPP) {
                /* The number alone could be somebody else's by now. Its owner says when he began: that settles it. */
                if (claimed == 0)
                        return -EOPNOTSUPP;
                fd = process_pidfd_started(pid, claimed);
                if (fd >= 0)
                        *ret_start_time = claimed;
                return TAKE_FD(fd);
        }
        if (fd < 0)
                return TAKE_FD(fd);

        r = process_start_time(pid, ret_start_time);
        if (r < 0)
                return r;
        /* Alive after /proc was read: so that was about this process. */
        r = process_pidfd_dead(fd);
        if (r != 0)
                return r < 0 ? r : -ESRCH;
        return TAKE_FD(fd);
}

int peer_identify(int socket, uint64_t claimed, Peer *ret)
{
        Peer peer = PEER_NONE;
        uint64_t start_time;
        pid_t pid;
        int fd, r;

        assert(ret);

        r = peer_credentials(socket, &peer.uid, &pid);
        if (r < 0)
                return r;
        if (pid > 0) {
                fd = open_peer(socket, pid, claimed, &start_time);
                if (out_of_something(fd))
                        return fd;
                if (fd >= 0) {
                        peer.pid = pid;
                        peer.start_time = start_time;
                        peer.pidfd = fd;
                }
        }
        *ret = peer;
        return 0;
}

void peer_done(Peer *peer)
{
        peer->pidfd = fd_close(peer->pidfd);
}
