/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/path.h"

static char result[PATH_SOCKET_MAX];
static bool is_default;

static void environment(const char *socket, const char *runtime)
{
        (void)unsetenv("MONO_HANDLE_D_SOCKET");
        (void)unsetenv("XDG_RUNTIME_DIR");
        if (socket)
                cr_assert_eq(setenv("MONO_HANDLE_D_SOCKET", socket, 1), 0);
        if (runtime)
                cr_assert_eq(setenv("XDG_RUNTIME_DIR", runtime, 1), 0);
        (void)strcpy(result, "untouched");
        is_default = false;
}

Test(path, the_argument_comes_first)
{
        environment("/run/env", "/run/user/1");
        cr_assert_eq(path_resolve("/run/arg", result, &is_default), 0);
        cr_assert_str_eq(result, "/run/arg");
        cr_assert_not(is_default);
}

Test(path, then_the_variable)
{
        environment("/run/env", "/run/user/1");
        cr_assert_eq(path_resolve(NULL, result, &is_default), 0);
        cr_assert_str_eq(result, "/run/env");
        cr_assert_not(is_default);
}

Test(path, then_the_default)
{
        environment(NULL, "/run/user/1");
        cr_assert_eq(path_resolve(NULL, result, &is_default), 0);
        cr_assert_str_eq(result, "/run/user/1/mono-handle-d/socket");
        cr_assert(is_default);

        environment("", "/run/user/1");
        cr_assert_eq(path_resolve(NULL, result, &is_default), 0);
        cr_assert_str_eq(result, "/run/user/1/mono-handle-d/socket");
        cr_assert(is_default);
}

Test(path, the_default_by_another_way_is_the_default)
{
        environment("/run/user/1/mono-handle-d/socket", "/run/user/1");
        cr_assert_eq(path_resolve(NULL, result, &is_default), 0);
        cr_assert(is_default);
        is_default = false;
        cr_assert_eq(path_resolve("/run/user/1/mono-handle-d/socket", result, &is_default), 0);
        cr_assert(is_default);
}

Test(path, there_may_be_none)
{
        static const char *const useless[] = { NULL, "", "relative/run" };

        for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++) {
                environment(NULL, useless[i]);
                cr_assert_eq(path_resolve(NULL, result, &is_default), -EINVAL);
                cr_assert_str_eq(result, "untouched");
        }
        environment("/run/env", "/run/user/1");
        cr_assert_eq(path_resolve("", result, &is_default), -EINVAL);
        environment("/run/env", NULL);
        cr_assert_eq(path_resolve(NULL, result, &is_default), 0);
        cr_assert_not(is_default);
}

Test(path, the_longest_that_a_socket_can_have)
{
        char path[PATH_SOCKET_MAX + 1];

        environment(NULL, NULL);
        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[PATH_SOCKET_MAX - 1] = 0;
        cr_assert_eq(strlen(path), 107);
        cr_assert_eq(path_resolve(path, result, &is_default), 0);
        cr_assert_str_eq(result, path);

        path[PATH_SOCKET_MAX - 1] = 'x';
        path[PATH_SOCKET_MAX] = 0;
        (void)strcpy(result, "untouched");
        cr_assert_eq(path_resolve(path, result, &is_default), -ENAMETOOLONG);
        cr_assert_str_eq(result, "untouched");

        environment(NULL, path);
        cr_assert_eq(path_resolve(NULL, result, &is_default), -ENAMETOOLONG);
        /* Nobody needs the default if there is something else. */
        cr_assert_eq(path_resolve("/run/arg", result, &is_default), 0);
}

Test(path, a_relative_one_becomes_absolute)
{
        char expected[PATH_MAX];

        environment(NULL, NULL);
        cr_assert_eq(chdir("/tmp"), 0);
        cr_assert_eq(path_resolve("a/socket", result, &is_default), 0);
        cr_assert_not_null(getcwd(expected, sizeof(expected) - 16));
        (void)strcat(expected, "/a/socket");
        cr_assert_str_eq(result, expected);

        cr_assert_eq(chdir("/"), 0);
        cr_assert_eq(path_resolve("a/socket", result, &is_default), 0);
        cr_assert_str_eq(result, "/a/socket");
}

Test(path, a_relative_one_far_down_is_too_long)
{
        char directory[] = "/tmp/mh-path-XXXXXX", below[120];

        environment(NULL, NULL);
        cr_assert_not_null(mkdtemp(directory));
        memset(below, 'd', sizeof(below) - 1);
        below[sizeof(below) - 1] = 0;
        cr_assert_eq(chdir(directory), 0);
        cr_assert_eq(mkdir(below, 0700), 0);
        cr_assert_eq(chdir(below), 0);
        cr_expect_eq(path_resolve("socket", result, &is_default), -ENAMETOOLONG);

        cr_assert_eq(chdir(".."), 0);
        (void)rmdir(below);
        (void)rmdir(directory);
}
