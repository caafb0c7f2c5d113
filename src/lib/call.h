/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A request and its reply, whatever happens in between. See call.c.
 */

#include "lib/client.h"

/* Bare replies are the header alone. */
typedef union CallReply {
        struct mh_wire_header header;
        struct mh_wire_error error;
        struct mh_wire_handle handle;
        struct mh_wire_closed closed;
        struct mh_wire_block block;
        uint8_t data[MH_WIRE_PACKET_MAX];
} CallReply;

/*
 * Runs a request of `type`; the rest of its header is filled in here. Returns 0 and the reply, or the error that was
 * the reply, or -ENOTCONN, -ESTALE. *ret may be NULL.
 */
int call_run(mh_client *c, enum mh_wire_type type, CallRequest request, CallReply *ret);

/*
 * Connects anew if the other side has hung up, or starts a daemon if nobody listens: for a client that has nothing to ask. 0 if
 * the connection stands now; -ESTALE and the client is of no more use; -errno.
 */
int call_look(mh_client *c, uint64_t deadline);

/* Says goodbye, for a limited time. No other call may run. */
void call_detach(mh_client *c);
