/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A server in the fuzzer's own process: everything but main(). Its record stands in /dev/shm under the fuzzer's pid,
 * its socket has no name, and time-outs are infinite.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "daemon/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* More turns than any work can need: who takes more has no end. */
#define TURNS_MAX 100000U

typedef struct End {
        int fd;
        uint64_t seq;
} End;

static Server *server;
static Options options;
static Listener listener;

/* Assertions that are there in every build. */
static void demand(bool condition, const char *what)
{
        if (condition)
                return;
        (void)fprintf(stderr, "fuzz: %s\n", what);
        abort();
}

static void end_server(void)
{
        if (server && server->n_attachments == 0)
                server_drop_empty_segment(server);
        server = server_free(server);
        (void)listener_close_unlink(&listener);
}

static void begin_server(const SegmentConfig *segment)
{
        char directory[] = "/tmp/fuzz-server-XXXXXX";
        sigset_t set, before;

        demand(mkdtemp(directory) != NULL, "no directory");
        options = (Options){
                .idle_timeout_usec = PARSE_INFINITY,
                .hello_timeout_usec = PARSE_INFINITY,
                .connections = 16,
                .segment = *segment,
        };
        (void)log_open(LOG_TARGET_STDERR, LOG_CRIT);
        (void)snprintf(options.socket, sizeof(options.socket), "%s/socket", directory);
        demand(listener_bind(&listener, options.socket) >= 0, "cannot listen");
        /* The names are needed no longer, so nothing stays if this process crashes but the segment. */
        (void)listener_unlink(&listener);
        /* An event loop wants its signals blocked; who fuzzes wants to interrupt it. */
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &set, &before);
        demand(server_new(&server, &options, &listener) >= 0, "no server");
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        (void)rmdir(directory);
        (void)snprintf(server->store.record_path, sizeof(server->store.record_path), "/dev/shm/fuzz-server.%d.segment",
                       (int)getpid());
        (void)atexit(end_server);
}

static bool is_busy(void)
{
        for (uint32_t id = 0; id < server->n_ids; id++)
                if (server->attachments[id] && server->attachments[id]->busy)
                        return true;
        return false;
}

/* Until the server has nothing to do. */
static void turn(void)
{
        unsigned n = 0;

        while (loop_turn(&server->loop, is_busy() ? 1 : 0) > 0 || is_busy())
                demand(++n < TURNS_MAX, "there is no end of it");
}

static void hang_up(End *end)
{
        end->fd = fd_close(end->fd);
        end->seq = 0;
        turn();
}

static void connect_end(End *end)
{
        int fds[2];

        demand(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0, "no sockets");
        end->fd = fds[0];
        end->seq = 0;
        demand(connection_new(server, fds[1], getpid()) >= 0, "no connection");
}

static void send_packet(const End *end, const void *packet, size_t size, int with_fd)
{
        struct ucred cred = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (void *)(uintptr_t)packet, .iov_len = size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buffer };
        struct cmsghdr *c;

        mh.msg_controllen = CMSG_SPACE(sizeof(cred)) + (with_fd >= 0 ? CMSG_SPACE(sizeof(int)) : 0);
        c = CMSG_FIRSTHDR(&mh);
        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_CREDENTIALS,
                               .cmsg_len = CMSG_LEN(sizeof(cred)) };
        memcpy(CMSG_DATA(c), &cred, sizeof(cred));
        if (with_fd >= 0) {
                c = CMSG_NXTHDR(&mh, c);
                *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(sizeof(int)) };
                memcpy(CMSG_DATA(c), &with_fd, sizeof(int));
        }
        (void)sendmsg(end->fd, &mh, MSG_NOSIGNAL);
}

/* Everybody has hung up, but who maps the segment may come back. Not here. */
static void kill_all(void)
{
        for (uint32_t id = 0; id < server->n_ids; id++)
                if (server->attachments[id])
                        attachment_die(server->attachments[id]);
        turn();
}
