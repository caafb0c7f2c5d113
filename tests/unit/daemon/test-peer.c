/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "daemon/peer.h"

Test(peer, is_who_connected)
{
        uint64_t start_time = 0;
        Peer peer = PEER_NONE;
        int ends[2];
        uid_t uid;
        pid_t pid;

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        cr_assert_eq(peer_credentials(ends[0], &uid, &pid), 0);
        cr_expect_eq(uid, geteuid());
        cr_expect_eq(pid, getpid());

        cr_assert_eq(process_start_time(getpid(), &start_time), 0);
        cr_assert_eq(peer_identify(ends[0], start_time, &peer), 0);
        cr_expect_eq(peer.pid, getpid());
        cr_expect_eq(peer.start_time, start_time);
        cr_assert_geq(peer.pidfd, 0);
        cr_expect_eq(process_pidfd_dead(peer.pidfd), 0);
        peer_done(&peer);
        cr_expect_eq(peer.pidfd, -1);
        fd_close_many(ends, 2);
}

/* A child connects and is killed before it is asked about; its connection is kept by this process. */
Test(peer, that_has_ended_has_no_identity)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int listening, ends[2], fd, status;
        uint64_t start_time = 0;
        Peer peer = PEER_NONE;
        char byte;
        pid_t pid;

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/mhd-peer.%d", (int)getpid());
        (void)unlink(sa.sun_path);
        listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(listening, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(listen(listening, 5), 0);
        cr_assert_eq(pipe(ends), 0);
        pid = fork();
        if (pid == 0) {
                fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || write(ends[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        cr_assert_eq(read(ends[0], &byte, 1), 1);
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(process_start_time(pid, &start_time), 0);
        (void)kill(pid, SIGKILL);
        cr_assert_eq(waitpid(pid, &status, 0), pid);

        cr_assert_eq(peer_identify(fd, start_time, &peer), 0);
        cr_expect_eq(peer.pid, 0);
        cr_expect_eq(peer.start_time, 0);
        cr_expect_eq(peer.pidfd, -1);
        peer_done(&peer);
        (void)unlink(sa.sun_path);
        (void)fd_close(fd);
        (void)fd_close(listening);
        fd_close_many(ends, 2);
}
