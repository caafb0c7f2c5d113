/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

static int freed;

static void *count_free(int *p)
{
        freed += *p;
        errno = ENOTTY;
        return NULL;
}

DEFINE_CLEANUP(int *, count_free)

Test(cleanup, close_at_end_of_scope)
{
        int copy;

        {
                _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                copy = fd;
                cr_assert_geq(fcntl(copy, F_GETFD), 0);
        }
        cr_assert_eq(fcntl(copy, F_GETFD), -1);
}

Test(cleanup, taken_is_not_closed)
{
        int copy;

        {
                _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                copy = TAKE_FD(fd);
                cr_assert_eq(fd, -1);
        }
        cr_assert_geq(fcntl(copy, F_GETFD), 0);
        cr_assert_eq(fd_close(copy), -1);
}

Test(cleanup, function_is_called_once_and_keeps_errno)
{
        int five = 5;

        errno = EPROTO;
        {
                _cleanup_(count_freep) int *p = &five;
                _cleanup_(count_freep) int *q = NULL;

                (void)p;
                (void)q;
        }
        cr_assert_eq(freed, 5);
        cr_assert_eq(errno, EPROTO);

        {
                _cleanup_(count_freep) int *p = &five;

                cr_assert_eq(TAKE_PTR(p), &five);
                cr_assert_null(p);
        }
        cr_assert_eq(freed, 5);
}

Test(cleanup, memory_and_stream)
{
        {
                _cleanup_free_ char *text = strdup("given back");
                _cleanup_fclose_ FILE *f = fopen("/dev/null", "re");
                _cleanup_closedir_ DIR *d = opendir("/");

                cr_assert(text && f && d);
                errno = EPROTO;
        }
        cr_assert_eq(errno, EPROTO);
}

Test(cleanup, steal)
{
        uint64_t word = 7;

        cr_assert_eq(STEAL(word, 9), 7);
        cr_assert_eq(word, 9);
}

Test(cleanup, sizes_and_choices)
{
        int array[7];
        int calls = 3;

        (void)array;
        cr_assert_eq(ELEMENTSOF(array), 7);
        cr_assert_eq(MIN(2, 3), 2);
        cr_assert_eq(MAX(2, 3), 3);
        cr_assert_eq(MAX(-1, -2), -1);
        cr_assert_eq(MIN(calls++, 10), 3);
        cr_assert_eq(calls, 4);
        cr_assert_eq(ALIGN_UP(0u, 64), 0);
        cr_assert_eq(ALIGN_UP(1u, 64), 64);
        cr_assert_eq(ALIGN_UP(64u, 64), 64);
        cr_assert_eq(ALIGN_UP(UINT64_C(0x100000001), 64), UINT64_C(0x100000040));
}

Test(cleanup, checked_arithmetic)
{
        uint64_t v = 42;

        cr_assert_eq(add_u64(UINT64_MAX, 1, &v), -EOVERFLOW);
        cr_assert_eq(mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &v), -EOVERFLOW);
        cr_assert_eq(v, 42, "untouched on failure");
        cr_assert_eq(add_u64(UINT64_MAX - 1, 1, &v), 0);
        cr_assert_eq(v, UINT64_MAX);
        cr_assert_eq(mul_u64(6, 7, &v), 0);
        cr_assert_eq(v, 42);
}
