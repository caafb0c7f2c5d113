/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Where the daemon's socket is: what the caller says, or $MONO_HANDLE_D_SOCKET, or the default below $XDG_RUNTIME_DIR.
 *
 * The answer is absolute, because it is needed again whenever the daemon has died, and the program may have changed its
 * working directory by then. A program that runs with more rights than its caller (setuid) does not let the caller's
 * environment choose whom it talks to.
 */

#include <stdbool.h>
#include <sys/un.h>

/* With its final NUL. */
#define PATH_SOCKET_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/*
 * `path` may be NULL. *ret_default: it is the default one, whoever chose it. -EINVAL there is none, -ENAMETOOLONG,
 * -errno.
 */
int path_resolve(const char *path, char ret[static PATH_SOCKET_MAX], bool *ret_default);
