/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "base/atomics.h"
#include "lib/deadline.h"
#include "lib/turn.h"

#define THREADS 6

#define SOON  deadline_in(DEADLINE_SECOND / 20)
#define LATER deadline_in(60 * DEADLINE_SECOND)

static Turn turn;
static unsigned waiting, served;

TestSuite(turn, .timeout = 60);

Test(turn, one_at_a_time)
{
        turn_init(&turn);
        for (unsigned i = 0; i < 3; i++) {
                cr_assert_eq(turn_take(&turn, 0), 0);
                cr_assert_eq(turn_take(&turn, SOON), -ETIMEDOUT);
                cr_assert_eq(turn_take(&turn, 0), -ETIMEDOUT);
                turn_end(&turn);
        }
        turn_done(&turn);
}

/* Waits until `n` threads said that they are about to take their turn, and a little more, so that they do. */
static void wait_for(unsigned n)
{
        while (load_sc(&waiting) < n)
                deadline_sleep(deadline_in(DEADLINE_SECOND / 1000));
        deadline_sleep(SOON);
}

static void *take_and_note(void *arg)
{
        unsigned *place = arg;

        (void)fetch_add_sc(&waiting, 1);
        cr_assert_eq(turn_take(&turn, LATER), 0);
        *place = fetch_add_relaxed(&served, 1);
        turn_end(&turn);
        return NULL;
}

Test(turn, in_the_order_of_arrival)
{
        pthread_t threads[THREADS];
        unsigned places[THREADS];

        turn_init(&turn);
        cr_assert_eq(turn_take(&turn, 0), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                cr_assert_eq(pthread_create(&threads[i], NULL, take_and_note, &places[i]), 0);
                wait_for(i + 1);
        }
        turn_end(&turn);
        /* Comes after all of them, though it was here first. */
        cr_assert_eq(turn_take(&turn, LATER), 0);
        cr_assert_eq(served, THREADS);
        turn_end(&turn);
        for (unsigned i = 0; i < THREADS; i++) {
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(places[i], i);
        }
        turn_done(&turn);
}

static void *take_in_vain(void *arg)
{
        (void)fetch_add_sc(&waiting, 1);
        cr_assert_eq(turn_take(&turn, SOON), -ETIMEDOUT);
        return NULL;
}

/* First, middle and last of the queue: whoever leaves it, the others stay in. */
Test(turn, some_give_up)
{
        for (unsigned impatient = 0; impatient < 7; impatient++) {
                pthread_t threads[3];
                unsigned places[3];

                turn_init(&turn);
                waiting = served = 0;
                cr_assert_eq(turn_take(&turn, 0), 0);
                for (unsigned i = 0; i < 3; i++) {
                        void *(*fn)(void *) = impatient >> i & 1 ? take_in_vain : take_and_note;

                        cr_assert_eq(pthread_create(&threads[i], NULL, fn, &places[i]), 0);
                        while (load_sc(&waiting) <= i)
                                deadline_sleep(deadline_in(DEADLINE_SECOND / 1000));
                }
                for (unsigned i = 0; i < 3; i++)
                        if (impatient >> i & 1)
                                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                turn_end(&turn);
                for (unsigned i = 0; i < 3; i++)
                        if (!(impatient >> i & 1))
                                cr_assert_eq(pthread_join(threads[i], NULL), 0);
                cr_assert_eq(served, 3 - (unsigned)__builtin_popcount(impatient));
                cr_assert_eq(turn_take(&turn, 0), 0);
                turn_end(&turn);
                turn_done(&turn);
        }
}

static uint64_t counter; /* not atomic: the turn is all that protects it */

static void *count(void *arg)
{
        for (unsigned i = 0; i < 2000; i++) {
                cr_assert_eq(turn_take(&turn, LATER), 0);
                counter++;
                turn_end(&turn);
        }
        return NULL;
}

Test(turn, excludes)
{
        pthread_t threads[THREADS];

        turn_init(&turn);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(counter, 2000 * THREADS);
        turn_done(&turn);
}
