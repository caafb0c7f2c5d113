/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * There is one daemon for a socket: the one that holds an exclusive flock() on "<socket>.lock". Nobody opens or adopts a
 * segment, binds or unlinks a socket without it.
 *
 * The kernel releases it when its holder ends, however that ends, and never before. So a lock that is held means a
 * daemon that lives, be it frozen; it is reported, and never overtaken. The file stays for ever: unlinking it would let
 * two hold two locks of one name. Its descriptor belongs to the lock alone: it is never sent, stored or inherited,
 * because whoever shared it would share the lock. What stands in the file, the holder's pid, is for people.
 */

#include <sys/types.h>

/*
 * 1: ours; *ret_fd is the lock, as long as it is open. 0: somebody holds it; *ret_holder is his pid, or 0 if that cannot
 * be told. -ENAMETOOLONG, -EPERM if the file is not ours or is no regular file, -ELOOP a symbolic link, -EAGAIN if it is
 * replaced all the time, -errno.
 */
int lock_acquire(const char *socket_path, int *ret_fd, pid_t *ret_holder);
