/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the service manager is told, and what it keeps for us. Without one all of this does nothing, and is no error: 0.
 * With one, 1: it was sent; or -errno.
 *
 * How often the status is told is for the caller to bound: each costs the manager a wake-up.
 */

#define NOTIFY_SEGMENT "segment" /* in the fd store: the segment */

/* Serving: whoever waits for the start to be complete may go on. */
int notify_ready(void);

/* One line for `systemctl --user status`. */
int notify_status(const char *text);

int notify_stopping(void);

/*
 * Into the fd store, under a name: a duplicate of `fd` comes back to the next daemon that is started. There can be several
 * of one name. -EINVAL: not a name. How many fit is FileDescriptorStoreMax= of the unit; what is beyond is not kept, which
 * nobody tells us.
 */
int notify_store_fd(const char *name, int fd);

/* Out of it: all of that name. */
int notify_remove_fd(const char *name);
