/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <stdbool.h>

#include "base/random.h"

Test(random, two_numbers_differ)
{
        uint64_t a = 0, b = 0;

        cr_assert_eq(random_u64(&a), 0);
        cr_assert_eq(random_u64(&b), 0);
        cr_assert_neq(a, b);
}

Test(random, all_bytes_are_filled_and_no_more)
{
        /* More than getrandom() gives in one piece when a signal comes, and a guard behind. */
        static unsigned char buffer[5000 + 8];
        bool seen[256] = {};
        unsigned kinds = 0;

        memset(buffer, 0xAA, sizeof(buffer));
        cr_assert_eq(random_bytes(buffer, 5000), 0);
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
