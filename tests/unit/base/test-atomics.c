/* SPDX-License-Identifier: MIT */

/* The orders themselves no test on one machine can prove. Here: each operation does what its name says on words of
 * both sizes, read-modify-writes lose nothing between threads, release and acquire carry what they should (with
 * ThreadSanitizer looking), and an sc store before an sc load is not reordered, which x86 does to all weaker ones. */

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

#include "base/atomics.h"

#define ROUNDS 20000

Test(atomics, each_operation_64)
{
        uint64_t word = 1, expected;

        cr_assert_eq(load_relaxed(&word), 1);
        store_relaxed(&word, UINT64_MAX);
        cr_assert_eq(load_acquire(&word), UINT64_MAX);
        store_release(&word, 3);
        cr_assert_eq(load_sc(&word), 3);
        store_sc(&word, UINT64_C(0xf0f0f0f0f0f0f0f0));
        cr_assert_eq(fetch_or_sc(&word, 0x0f), UINT64_C(0xf0f0f0f0f0f0f0f0));
        cr_assert_eq(fetch_and_sc(&word, 0xff), UINT64_C(0xf0f0f0f0f0f0f0ff));
        store_sc(&word, 10);
        cr_assert_eq(fetch_add_relaxed(&word, 5), 10);
        cr_assert_eq(fetch_sub_relaxed(&word, 1), 15);
        cr_assert_eq(word, 14);

        expected = 13;
        cr_assert_not(cas_sc(&word, &expected, 20));
        cr_assert_eq(expected, 14, "what was found");
        cr_assert(cas_sc(&word, &expected, 20));
        cr_assert_eq(word, 20);
        expected = 20;
        cr_assert(cas_acq_rel(&word, &expected, UINT64_C(1) << 40));
        cr_assert_not(cas_acq_rel(&word, &expected, 2));
        cr_assert_eq(expected, UINT64_C(1) << 40);
        cpu_relax();
}

Test(atomics, each_operation_32)
{
        uint32_t words[2] = { 1, 77 }, expected;

        store_sc(&words[0], UINT32_MAX);
        cr_assert_eq(fetch_add_relaxed(&words[0], 1), UINT32_MAX);
        cr_assert_eq(load_sc(&words[0]), 0);
        cr_assert_eq(fetch_or_sc(&words[0], 6), 0);
        cr_assert_eq(fetch_and_sc(&words[0], 3), 6);
        expected = 2;
        cr_assert(cas_sc(&words[0], &expected, 9));
        cr_assert_eq(load_relaxed(&words[0]), 9);
        cr_assert_eq(words[1], 77, "the neighbour");
}

static uint64_t shared[2], data, flag;
static unsigned lost;

static void *add(void *arg)
{
        for (unsigned i = 0; i < ROUNDS; i++) {
                uint64_t expected = load_relaxed(&shared[1]);

                (void)fetch_add_relaxed(&shared[0], 1);
                while (!cas_sc(&shared[1], &expected, expected + 1))
                        cpu_relax();
        }
        return NULL;
}

Test(atomics, nothing_is_lost_between_threads)
{
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, add, NULL), 0);
        for (size_t i = 0; i < 4; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(shared[0], 4 * ROUNDS);
        cr_assert_eq(shared[1], 4 * ROUNDS);
}

/* Gives way now and then: valgrind, and a machine of one processor, run one thread at a time. */
static void wait_for(uint64_t value)
{
        for (unsigned i = 1; load_acquire(&flag) != value; i++)
                if (i % 64 == 0)
                        (void)sched_yield();
                else
                        cpu_relax();
}

static void *publish(void *arg)
{
        for (uint64_t i = 1; i <= ROUNDS; i++) {
                data = i * 3; /* plain: ordered by the flag alone */
                store_release(&flag, i);
                wait_for(0);
        }
        return NULL;
}

Test(atomics, release_is_seen_by_acquire)
{
        pthread_t thread;

        cr_assert_eq(pthread_create(&thread, NULL, publish, NULL), 0);
        for (uint64_t i = 1; i <= ROUNDS; i++) {
                wait_for(i);
                cr_assert_eq(data, i * 3);
                store_release(&flag, 0);
        }
        cr_assert_eq(pthread_join(thread, NULL), 0);
}

/* Two write one word each, and read the other's: with sc at least one sees what the other wrote. */
static uint64_t mine[2], saw[2];
static pthread_barrier_t barrier;

static void *write_and_look(void *arg)
{
        size_t me = (size_t)(uintptr_t)arg;

        for (unsigned i = 0; i < ROUNDS / 10; i++) {
                (void)pthread_barrier_wait(&barrier);
                store_sc(&mine[me], 1);
                saw[me] = load_sc(&mine[!me]);
                (void)pthread_barrier_wait(&barrier);
                if (me == 0) {
                        lost += saw[0] == 0 && saw[1] == 0;
                        mine[0] = mine[1] = 0;
                }
        }
        return NULL;
}

Test(atomics, one_of_two_looks_last)
{
        pthread_t threads[2];

        cr_assert_eq(pthread_barrier_init(&barrier, NULL, 2), 0);
        for (size_t i = 0; i < 2; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, write_and_look, (void *)(uintptr_t)i), 0);
        for (size_t i = 0; i < 2; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(lost, 0);
}
