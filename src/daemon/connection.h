/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One accepted socket. It has one packet handled in a turn, and at most one reply waits to be taken; while one waits,
 * nothing is read. So a client that sends and never reads fills its own socket buffers, and costs a few hundred bytes
 * here.
 *
 *   NEW        before its Hello; a time-out closes it
 *   ATTACHED   it speaks for a client
 *   WORKING    a request of its client takes long, and no other is read until it is answered
 *   DETACHING  it said Detach and gets the reply when all is given back
 *   ENDING     its last reply is sent, or waits to be; what still comes is thrown away, until the other end closes or
 *              the time is over. If it were closed at once with unread packets in it, the other end would read
 *              ECONNRESET and not the reply
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/loop.h"
#include "daemon/timer.h"
#include "daemon/wire.h"

typedef struct Attachment Attachment;
typedef struct Connection Connection;
typedef struct Server Server;

typedef enum ConnectionState {
        CONNECTION_NEW,
        CONNECTION_ATTACHED,
        CONNECTION_WORKING,
        CONNECTION_DETACHING,
        CONNECTION_ENDING,
} ConnectionState;

struct Connection {
        Server *server;
        Connection *next, *previous;
        int fd;
        LoopSource io;
        Timer timer;
        ConnectionState state;
        pid_t pid; /* of who connected; 0: we cannot see it */
        Attachment *attachment;
        unsigned n_bad; /* packets that were refused */
        bool bare;      /* attached: who sends is known, and not told with each packet any more */
        WireReply reply;
        bool reply_waits;   /* it could not be sent yet */
        bool reply_segment; /* it carries the segment's descriptor */
};

/* Takes over `fd`, on failure too. */
int connection_new(Server *server, int fd, pid_t pid);

/* The end, seen from here. Its client, if it has one, learns it. */
void connection_close(Connection *c);

/* What takes long is done: the reply to it, if this connection asked for it; and the client is no longer busy. */
void connection_worked(Connection *c);

/* All that its client held is given back: the reply to Detach. */
void connection_detached(Connection *c);
