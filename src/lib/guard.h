/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Descriptors that the application may close under us.
 *
 * A library's descriptors lie open in somebody else's program. There, closefrom() or a loop that closes "all the rest"
 * takes them away, and the next open() of anybody gets the number. To write to such a number is to write into somebody
 * else's file, and to close it is to close somebody else's. So a Guard remembers not only the number but the file
 * (device and inode; a socket has an inode of its own), and each use compares first.
 *
 * Between the comparison and the use another thread may still close; nothing in user space can shut that window. It is
 * a microsecond wide, and who closes descriptors of others while they are in use has chosen to live with that.
 */

#include <stdbool.h>
#include <sys/types.h>

typedef struct Guard {
        int fd; /* -1: none */
        dev_t dev;
        ino_t ino;
} Guard;

#define GUARD_NONE ((Guard){ .fd = -1 })

/*
 * Takes over `fd`, whose number becomes one above 2 if it is not: what a program writes to a stdout that it closed must
 * not end up in our packets. On failure `fd` is closed. -errno.
 */
int guard_take(int fd, Guard *ret);

/* Is the descriptor still there, and still what it was? */
bool guard_holds(const Guard *g);

/* Closes it if it is, and forgets it anyhow. */
void guard_close(Guard *g);
