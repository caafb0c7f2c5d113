/* SPDX-License-Identifier: MIT */

#include "lib/path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DEFAULT_BELOW "/mono-handle-d/socket"

/* A variable that is set and not empty, else NULL. */
static const char *environment(const char *name)
{
        const char *value = secure_getenv(name);

        return value && *value ? value : NULL;
}

static int join(const char *a, const char *b, char ret[static PATH_SOCKET_MAX])
{
        size_t n = strlen(a), m = strlen(b);

        if (n + m >= PATH_SOCKET_MAX)
                return -ENAMETOOLONG;
        memcpy(ret, a, n);
        memcpy(ret + n, b, m + 1);
        return 0;
}

/*
 * -EINVAL if the environment gives none. The specification of the variable says that one that is not absolute is
 * ignored.
 */
static int default_path(char ret[static PATH_SOCKET_MAX])
{
        const char *runtime = environment("XDG_RUNTIME_DIR");

        if (!runtime || runtime[0] != '/')
                return -EINVAL;
        return join(runtime, DEFAULT_BELOW, ret);
}

static int absolute(const char *path, char ret[static PATH_SOCKET_MAX])
{
        char directory[PATH_MAX];

        if (path[0] == '/')
                return join(path, "", ret);
        if (!getcwd(directory, sizeof(directory) - 1))
                return errno == ERANGE ? -ENAMETOOLONG : -errno;
        if (strcmp(directory, "/") != 0)
                (void)strcat(directory, "/");
        return join(directory, path, ret);
}

int path_resolve(const char *path, char ret[static PATH_SOCKET_MAX], bool *ret_default)
{
        char fallback[PATH_SOCKET_MAX], chosen[PATH_SOCKET_MAX];
        int has_default, r;

        has_default = default_path(fallback);
        if (!path)
                path = environment("MONO_HANDLE_D_SOCKET");
        if (path && !*path)
                return -EINVAL;

        if (path) {
                r = absolute(path, chosen);
                if (r < 0)
                        return r;
        } else {
                if (has_default < 0)
                        return has_default;
                (void)strcpy(chosen, fallback);
        }

        (void)strcpy(ret, chosen);
        *ret_default = has_default >= 0 && strcmp(chosen, fallback) == 0;
        return 0;
}
