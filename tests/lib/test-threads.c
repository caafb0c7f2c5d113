/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/atomics.h"
#include "lib/deadline.h"
#include "lib/private.h"
#include "monohandle.h"

#define THREADS 8
#define ROUNDS  150

TestSuite(threads, PRIVATE_WORLD);

static mh_client *client;
static mh_handle common;

static void run_threads(void *(*fn)(void *))
{
        pthread_t threads[THREADS];

        for (uintptr_t i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
}

/* All that can be done, each thread on things of its own and on one that all share. */
static void *hammer(void *arg)
{
        uint64_t me = (uintptr_t)arg + 1;

        for (unsigned i = 0; i < ROUNDS; i++) {
                const char *string;
                unsigned flags;
                uint64_t *word;
                mh_scratch s;
                mh_handle h;
                void *p;

                cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &h), 0);
                cr_assert_eq(mh_payload(client, h, &p, NULL), 0);
                word = p;
                cr_assert_eq(*word, 0);
                *word = me;
                cr_assert_eq(mh_open(client, common, NULL), 0);
                cr_assert_eq(mh_scratch_store_string(client, "threads", &s), 0);
                cr_assert_eq(mh_scratch_get_string(client, s, &string), 0);
                cr_assert_str_eq(string, "threads");
                if (i % 2)
                        cr_assert_eq(mh_scratch_give(client, s, h), 0);
                else
                        cr_assert_eq(mh_scratch_free(client, s), 0);
                cr_assert_eq(mh_close(client, common, &flags), 0);
                cr_assert_eq(flags, 0, "somebody closed too often");
                cr_assert_eq(*word, me, "two threads got the same handle");
                cr_assert_eq(mh_close(client, h, &flags), 0);
                cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
                if (i % 2)
                        cr_assert_eq(mh_scratch_data(client, s, &p, NULL), -ESTALE);
        }
        return NULL;
}

Test(threads, share_a_client)
{
        VerifyStats stats;
        unsigned flags;

        cr_assert_eq(mh_attach(&client, NULL, 0), 0);
        cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &common), 0);
        run_threads(hammer);
        cr_assert_eq(private_verify(&stats), 0);
        cr_assert_eq(stats.handles, 1);
        cr_assert_eq(stats.blocks, 0);
        cr_assert_eq(mh_close(client, common, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        client = mh_detach(client);
}

static void *attach_and_detach(void *arg)
{
        for (unsigned i = 0; i < 20; i++) {
                mh_client *own = NULL;
                mh_handle h;

                cr_assert_eq(mh_attach(&own, NULL, (i + (uintptr_t)arg) % 3 ? 0 : MH_ATTACH_NO_MAP), 0);
                cr_assert_eq(mh_new(own, MH_TYPE_EVENT, &h), 0);
                own = mh_detach(own);
                cr_assert_null(own);
        }
        return NULL;
}

/* They may also be the ones who start the daemon, all at once. */
Test(threads, attach_for_themselves)
{
        run_threads(attach_and_detach);
        cr_assert(private_settled(0, 0));
        cr_assert_eq(private_daemons(), 1);
}

/* One thread's handle, closed by all others too: one of them wins. */
static unsigned closed;

static void *close_it(void *arg)
{
        int r = mh_close(client, common, NULL);

        if (r == 0)
                (void)fetch_add_relaxed(&closed, 1);
        else
                cr_assert_eq(r, -ESTALE);
        return NULL;
}

Test(threads, one_wins)
{
        cr_assert_eq(mh_attach(&client, NULL, 0), 0);
        for (unsigned i = 0; i < 20; i++) {
                closed = 0;
                cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &common), 0);
                run_threads(close_it);
                cr_assert_eq(closed, 1);
        }
        client = mh_detach(client);
}

/*
 * Threads that open and close one handle wait for each other, in the kernel, too; a futex says in errno how that went. No
 * operation lets it be seen. Where they never had to wait this proves nothing: so they go on until some did.
 */
static unsigned disturbed, waited;
static uint64_t give_up;

static bool has_waited(void)
{
        struct rusage usage;

        cr_assert_eq(getrusage(RUSAGE_THREAD, &usage), 0);
        return usage.ru_nvcsw > 20;
}

static void errno_stays(int r)
{
        cr_assert(r == 0 || r == -EAGAIN, "%s", strerror(-r));
        if (errno != EXDEV)
                (void)fetch_add_relaxed(&disturbed, 1); /* a count */
        errno = EXDEV;
}

static void *open_and_close(void *arg)
{
        errno = EXDEV;
        /* Relaxed: only a flag. */
        while (!load_relaxed(&waited) && deadline_now() < give_up) {
                for (unsigned i = 0; i < 20 * ROUNDS; i++) {
                        int r = mh_open(client, common, NULL);

                        errno_stays(r);
                        if (r == 0)
                                errno_stays(mh_close(client, common, NULL));
                }
                if (has_waited())
                        store_relaxed(&waited, 1);
        }
        return NULL;
}

Test(threads, errno_is_left_alone)
{
        mh_client *holder;

        cr_assert_eq(mh_attach(&client, NULL, 0), 0);
        cr_assert_eq(mh_attach(&holder, NULL, 0), 0);
        cr_assert_eq(mh_new(holder, MH_TYPE_EVENT, &common), 0);
        give_up = private_deadline(20);
        run_threads(open_and_close);
        cr_assert_eq(disturbed, 0, "errno was changed %u times", disturbed);
        if (!waited)
                cr_skip_test("no thread ever had to wait here");
        client = mh_detach(client);
        holder = mh_detach(holder);
}

static unsigned done;

static void *hammer_until_done(void *arg)
{
        mh_handle h;

        while (!load_relaxed(&done)) {
                cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &h), 0);
                cr_assert_eq(mh_close(client, h, NULL), 0);
        }
        return NULL;
}

Test(threads, while_the_daemon_is_killed)
{
        pthread_t threads[THREADS];
        VerifyStats stats;

        cr_assert_eq(mh_attach(&client, NULL, 0), 0);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, hammer_until_done, NULL), 0);
        for (unsigned i = 0; i < 5;)
                i += private_kill_daemon();
        store_relaxed(&done, 1);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert(private_settled(1, 0));
        cr_assert_eq(private_verify(&stats), 0);
        client = mh_detach(client);
}
