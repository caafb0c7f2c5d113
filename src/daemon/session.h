/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a packet means to the connection that it came on: Hello and Resume tie the connection to a client, requests are
 * run in that client's name, Detach ends it. Everything else is answered with an error.
 */

#include "daemon/packet.h"
#include "daemon/wire.h"

typedef struct Connection Connection;

typedef enum SessionVerdict {
        SESSION_REPLY, /* send the reply and go on */
        SESSION_END,   /* send the reply, it is the last */
        SESSION_WAIT,  /* the reply comes later, by connection_worked() or connection_detached() */
} SessionVerdict;

/* *reply is filled in except for SESSION_WAIT. The packet's descriptor is the caller's, unless it was taken and is -1
 * now. */
SessionVerdict session_packet(Connection *c, Packet *packet, WireReply *reply);

/* The same for a request that took long, and is done. */
SessionVerdict session_worked(Connection *c, WireReply *reply);
