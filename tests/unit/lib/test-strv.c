/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "lib/deadline.h"
#include "lib/strv.h"

/* On the heap and no byte too large, so that AddressSanitizer and valgrind see each step beyond. */
static void *pack(const char *const *strv, size_t *ret_size)
{
        size_t size;
        void *block;

        cr_assert_eq(strv_packed_size(strv, &size), 0);
        block = malloc(size);
        cr_assert_eq(strv_pack(strv, block, size), 0);
        *ret_size = size;
        return block;
}

static void expect_round_trip(const char *const *strv)
{
        char **copy = NULL;
        size_t size, i;
        void *block = pack(strv, &size);

        cr_assert_eq(strv_unpack(block, size, &copy), 0);
        free(block);
        for (i = 0; strv[i]; i++)
                cr_assert_str_eq(copy[i], strv[i]);
        cr_assert_null(copy[i]);
        free(copy);
}

Test(strv, round_trips)
{
        expect_round_trip((const char *const[]){ NULL });
        expect_round_trip((const char *const[]){ "", NULL });
        expect_round_trip((const char *const[]){ "one", NULL });
        expect_round_trip((const char *const[]){ "one", "", "two and a half", "\x01\xff", "", NULL });
}

Test(strv, a_larger_block_does_not_matter)
{
        static const char *const strv[] = { "a", "bc", NULL };
        size_t size;
        char **copy = NULL, *block;

        cr_assert_eq(strv_packed_size(strv, &size), 0);
        cr_assert_eq(size, 8 + 16 + 2 + 3);
        block = calloc(1, 4096);
        cr_assert_eq(strv_pack(strv, block, 4096), 0);
        cr_assert_eq(strv_unpack(block, 4096, &copy), 0);
        cr_assert_str_eq(copy[1], "bc");
        free(copy);
        free(block);
}

Test(strv, a_smaller_one_does)
{
        static const char *const strv[] = { "a", "bc", NULL };
        char block[29];
        size_t size;

        cr_assert_eq(strv_packed_size(strv, &size), 0);
        cr_assert_eq(size, sizeof(block));
        for (size_t less = 0; less < size; less++) {
                memset(block, 'x', sizeof(block));
                cr_assert_eq(strv_pack(strv, block, less), -EINVAL);
                for (size_t i = less; i < sizeof(block); i++)
                        cr_assert_eq(block[i], 'x');
        }
}

static int unpack_words(const uint64_t *words, size_t size)
{
        void *block = malloc(size ?: 1);
        char **copy = NULL;
        int r;

        memcpy(block, words, size);
        r = strv_unpack(block, size, &copy);
        cr_assert_eq(r == 0, copy != NULL);
        free(block);
        free(copy);
        return r;
}

Test(strv, damage_is_told)
{
        uint64_t words[4];

        for (size_t size = 0; size < 8; size++)
                cr_assert_eq(unpack_words(words, size), -EBADMSG);

        memset(words, 0, sizeof(words));
        cr_assert_eq(unpack_words(words, sizeof(words)), 0);

        words[0] = 4; /* more than there is room for */
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        words[0] = UINT64_MAX;
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        words[0] = UINT64_C(1) << 61; /* times 8 is 0 */
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);

        words[0] = 1;
        words[1] = 16;
        cr_assert_eq(unpack_words(words, sizeof(words)), 0);
        words[1] = 8; /* into the offsets */
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        words[1] = 0;
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        words[1] = 32; /* behind the end */
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        words[1] = UINT64_MAX;
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);

        words[1] = 24; /* a string without an end */
        memset(&words[3], 'x', 8);
        cr_assert_eq(unpack_words(words, sizeof(words)), -EBADMSG);
        ((char *)&words[3])[7] = 0;
        cr_assert_eq(unpack_words(words, sizeof(words)), 0);
}

/* Whatever is in a block: an error, or strings that lie in the copy. */
Test(strv, scribbles)
{
        static const char *const strv[] = { "one", "two", "three", "", NULL };
        unsigned good = 0, bad = 0;
        unsigned short seed[3] = { 1, 2, 3 };
        size_t size;
        char *block = pack(strv, &size), *damaged = malloc(size);

        for (unsigned i = 0; i < 20000; i++) {
                char **copy = NULL;

                memcpy(damaged, block, size);
                for (unsigned n = 0; n < 1 + i % 4; n++)
                        damaged[(size_t)nrand48(seed) % size] = (char)nrand48(seed);
                if (strv_unpack(damaged, size, &copy) < 0) {
                        cr_assert_null(copy);
                        bad++;
                        continue;
                }
                for (size_t k = 0; copy[k]; k++)
                        cr_assert_lt(strlen(copy[k]), size);
                free(copy);
                good++;
        }
        cr_assert_gt(good, 100);
        cr_assert_gt(bad, 100);
        free(block);
        free(damaged);
}

static unsigned done;

static void *toggle(void *arg)
{
        uint64_t *count = arg;

        /* By chance: valgrind lets a thread run for a fixed number of branches, and would always stop at the same value. */
        for (uint32_t chance = 1; !load_relaxed(&done); chance = chance * 1664525 + 1013904223)
                store_relaxed(count, chance >> 31 ? 1 : UINT64_C(1) << 61); /* times 8 is 0 */
        return NULL;
}

/* Another process writes to the block between our looks at it. */
Test(strv, changes_while_it_is_read)
{
        static const char *const strv[] = { "one", NULL };
        unsigned good = 0, bad = 0;
        pthread_t thread;
        uint64_t deadline;
        size_t size;
        void *block = pack(strv, &size);

        cr_assert_eq(pthread_create(&thread, NULL, toggle, block), 0);
        deadline = deadline_in(20 * DEADLINE_SECOND);
        while ((good < 5000 || bad < 5000) && deadline_now() < deadline) {
                char **copy = NULL;

                if (strv_unpack(block, size, &copy) < 0)
                        bad++;
                else
                        good++;
                free(copy);
        }
        store_relaxed(&done, 1);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_geq(good, 1);
        cr_assert_geq(bad, 1);
        free(block);
}
