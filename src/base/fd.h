/* SPDX-License-Identifier: MIT */
#pragma once

/* File descriptors: closed once, and compared by what they refer to.
 *
 * A descriptor that nobody holds is -1, and closing -1 does nothing. Closing one that is not open is a bug that
 * would close somebody else's descriptor the next time, and ends the program. */

#include <stddef.h>

/* Closes `fd` unless it is negative; errno stays. Always -1: `fd = fd_close(fd)`. */
int fd_close(int fd);

/* Without that opinion, for what a library calls: another thread of the program may have closed it with closefrom(). */
void fd_discard(int fd);

/* Closes all of them, and leaves -1 in each. */
void fd_close_many(int *fds, size_t n);

/* Sets the flag of the open file, which whoever shares it sees too. */
int fd_set_nonblock(int fd);

/* 1 if both are the same file (device and inode), 0 if not, or a negative errno. */
int fd_same(int a, int b);
