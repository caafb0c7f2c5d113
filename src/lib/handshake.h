/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * From a path to a connection on which requests can be sent. See handshake.c.
 */

#include "lib/client.h"

/* What a Hello brings: the Welcome, a connection, and the segment's descriptor, which may be missing. */
typedef struct Handshake {
        struct mh_wire_welcome welcome;
        Guard socket;
        Guard segment_fd;
} Handshake;

/*
 * Attaches anew, with c->nonce, asking for `flags` (enum mh_wire_hello_flags). -ENOTCONN nobody listens, and none may
 * or can be started; -ETIMEDOUT; what the daemon says; -errno.
 */
int handshake_hello(mh_client *c, uint32_t flags, uint64_t deadline, Handshake *ret);

/* Goes on with the attachment on a new connection: c->socket, c->daemon_seq. -ESTALE it is gone; -ETIMEDOUT; -errno. */
int handshake_resume(mh_client *c, uint64_t deadline);
