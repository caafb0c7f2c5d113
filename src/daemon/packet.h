/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One packet in, one packet out. A packet is data, the credentials of who sent it, and descriptors. Whatever else a
 * sender hangs on a packet ends here: descriptors are received close-on-exec, one is kept and the others are closed
 * before anybody looks at them, and their number is told.
 *
 * A SOCK_SEQPACKET socket can carry an empty packet, which recvmsg() tells by the same 0 as the end of the connection.
 * With SO_PASSCRED only the packet has credentials.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/wire.h"

typedef struct Packet {
        uint8_t data[WIRE_BUFFER_SIZE];
        size_t size;
        bool truncated;
        bool has_credentials;
        struct ucred credentials;
        int fd;         /* owned; -1: none came, or it could not be received */
        unsigned n_fds; /* that came */
        bool fds_lost;  /* the kernel could not give us those that came: no free descriptors */
} Packet;

/*
 * 1: a packet, to be released by packet_done(). 0: the other end has gone. -EAGAIN: nothing there.
 * Other negative errnos: the connection is broken.
 */
int packet_receive(int fd, Packet *ret);

/*
 * From now on nothing but data is wanted, and each packet is less work for the kernel: who sends is not told any more,
 * and descriptors that come along it closes. packet_receive_bare() then: as packet_receive(), but an empty packet looks
 * like the end.
 */
void packet_bare(int fd);
int packet_receive_bare(int fd, Packet *ret);
void packet_done(Packet *packet);

/* Never blocks, never raises SIGPIPE. -EAGAIN: no room now. `with_fd` is sent along unless it is -1. */
int packet_send(int fd, const void *data, size_t size, int with_fd);
