/* SPDX-License-Identifier: MIT */
#pragma once

/* A client that speaks the wire protocol with bare hands, and one who echoes: both ends do nothing but send() and recv(). */

#include <stdint.h>

#include "stage.h"

typedef struct Packets {
        int fd;
        uint64_t seq;
} Packets;

/* Connects and says Hello, without MAPS and LEDGER. -errno: it is not there, or went away meanwhile. */
int packets_attach(Packets *ret, const char *path);
void packets_close(Packets *p);

/* A New, and a Close of what it gave. */
void packets_new_close(Packets *p);

/*
 * A process that answers packets of these sizes with packets of the same sizes as the daemon does; *ret is the other end. It
 * sleeps in recv(), or, as one with several clients has to, in epoll_wait().
 */
void packets_echo_start(StageChild *child, Packets *ret, bool with_epoll);

/* One connection, one packet, one reply of any kind. 0 or -errno. */
int packets_ping(const char *path);
