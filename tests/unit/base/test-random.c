/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/random.h"

/* In the place of the C library's. With answers to give, it gives those, one a call: a negative errno, or how much of what
 * was asked for comes at most; then it asks the kernel. */
static const int *answers;
static unsigned n_answers, n_calls;
static unsigned last_flags;

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
        n_calls++;
        last_flags = flags;
        if (n_answers > 0) {
                int answer = *answers++;

                n_answers--;
                if (answer < 0) {
                        errno = -answer;
                        return -1;
                }
                size = (size_t)answer < size ? (size_t)answer : size;
        }
        return syscall(SYS_getrandom, buffer, size, flags);
}

static void answer(const int *list, unsigned n)
{
        answers = list;
        n_answers = n;
        n_calls = 0;
}

Test(random, two_numbers_differ)
{
        uint64_t a = 0, b = 0;

        cr_assert_eq(random_u64(&a), 0);
        cr_assert_eq(random_u64(&b), 0);
        cr_assert_neq(a, b);
}

Test(random, all_bytes_are_filled_and_no_more)
{
        static const int pieces[] = { 1, -EINTR, 256, 7 };
        static unsigned char buffer[5000 + 8];
        bool seen[256] = {};
        unsigned kinds = 0;

        memset(buffer, 0xAA, sizeof(buffer));
        answer(pieces, 4);
        cr_assert_eq(random_bytes(buffer, 5000), 0);
        cr_assert_eq(n_calls, 5);
        for (size_t i = 0; i < 5000; i++)
                seen[buffer[i]] = true;
        for (size_t i = 0; i < 256; i++)
                kinds += seen[i];
        /* Each value is missing with a probability of e^-19.5: more than a few missing is not chance. */
        cr_assert_geq(kinds, 250);
        for (size_t i = 5000; i < sizeof(buffer); i++)
                cr_assert_eq(buffer[i], 0xAA);
        cr_assert_eq(random_bytes(NULL, 0), 0);
}

Test(random, does_not_wait_for_the_pool)
{
        static const int not_seeded[] = { -EAGAIN };
        uint64_t a = 0;

        answer(not_seeded, 1);
        cr_assert_eq(random_u64(&a), 0);
        cr_assert_eq(n_calls, 2);
        cr_assert_eq(last_flags, 4, "GRND_INSECURE");
        cr_assert_neq(a, 0);
}

Test(random, none_is_an_error)
{
        static const int forbidden[] = { 3, -EPERM }, never[] = { -EAGAIN, -EINVAL }, empty[] = { 0 };
        uint64_t a = 42;

        answer(forbidden, 2);
        cr_assert_eq(random_u64(&a), -EPERM);
        answer(never, 2);
        cr_assert_eq(random_u64(&a), -EINVAL);
        answer(empty, 1);
        cr_assert_eq(random_u64(&a), -EIO);
        cr_assert_eq(a, 42, "untouched on failure");
}
