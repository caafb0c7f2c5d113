/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Starting the daemon, from inside somebody else's program. See spawn.c.
 */

#include <stdbool.h>

/*
 * Starts somebody who will listen at `path`, and does not wait for it. `is_default`: the path is the one that the unit
 * files listen at, so the user's service manager may be asked. -ENOENT there is nothing to be started; -errno.
 */
int spawn_daemon(const char *path, bool is_default);
