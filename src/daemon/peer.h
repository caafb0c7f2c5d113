/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who is at the other end of a connection. The kernel remembers who called connect(); that process is named by its pid
 * and its start time, and held by a pidfd, which cannot come to mean another one. Where one of the three cannot be
 * had, because the process lives in another pid namespace or /proc does not show it, it has no identity here: pid 0.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Peer {
        uid_t uid;
        pid_t pid;           /* 0: no identity, and then the two below are 0 and -1 */
        uint64_t start_time; /* clock ticks since boot */
        int pidfd;           /* owned */
} Peer;

#define PEER_NONE ((Peer){ .uid = (uid_t)-1, .pidfd = -1 })

/* The uid and the pid as the kernel tells them; nothing is looked up. */
int peer_credentials(int socket, uid_t *ret_uid, pid_t *ret_pid);

/*
 * `claimed` is the start time that the process tells of itself, 0: none. -EMFILE, -ENFILE, -ENOMEM: it could not be
 * found out for want of something; to be released by peer_done().
 */
int peer_identify(int socket, uint64_t claimed, Peer *ret);
void peer_done(Peer *peer);
