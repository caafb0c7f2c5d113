/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One connection: packets go out and come in, whole or not at all, until a deadline.
 *
 * However a connection ends (the daemon died, it hung up, the application closed the descriptor), it is one error,
 * -ECONNRESET, because what follows is always the same: connect again. The deadline is -ETIMEDOUT. No call raises
 * SIGPIPE, and each goes on after EINTR.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/guard.h"
#include "lib/path.h"

/*
 * Connects, without waiting. -ENOENT, -ECONNREFUSED nobody listens; -EAGAIN many others wait to be accepted; -EPERM the
 * one that listens is of another user; -errno.
 */
int conn_open(const char *path, Guard *ret);

/* Is the connection there, and has the other side not hung up? */
bool conn_stands(const Guard *g);

/* Sends a packet, with our credentials, and with `fd` unless it is negative. */
int conn_send_hello(const Guard *g, const void *packet, size_t size, int fd, uint64_t deadline);

/* Sends a packet. */
int conn_send(const Guard *g, const void *packet, size_t size, uint64_t deadline);

/*
 * Receives a packet and returns its size. One larger than the buffer is -EBADMSG. A descriptor that comes with it goes
 * to *ret_fd (CLOEXEC), or -1 if none did; with a NULL there, and for a second one, it is closed. -EMFILE if one came
 * and we are out of numbers; the packet is there nevertheless and *ret_size tells its size.
 */
int conn_receive(const Guard *g, void *buffer, size_t size, size_t *ret_size, int *ret_fd, uint64_t deadline);
