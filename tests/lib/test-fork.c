/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomics.h"
#include "lib/private.h"
#include "monohandle.h"

static mh_client *client;
static mh_handle handle;
static mh_scratch string;
static void *payload;

static void set_up(void)
{
        private_set_up();
        cr_assert_eq(mh_attach(&client, NULL, 0), 0);
        cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &handle), 0);
        cr_assert_eq(mh_payload(client, handle, &payload, NULL), 0);
        cr_assert_eq(mh_scratch_store_string(client, "parent", &string), 0);
}

static void clean_up(void)
{
        client = mh_detach(client);
        private_clean_up();
}

TestSuite(fork, .init = set_up, .fini = clean_up, .timeout = 120);

static pid_t plain_clone(void)
{
        return (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0UL);
}

static bool all_say_child(void)
{
        static const char *const words[] = { NULL };
        const char *text;
        mh_scratch s;
        mh_handle h;
        char **strv;
        void *p;

        return mh_client_id(client) == -ECHILD && mh_new(client, MH_TYPE_EVENT, &h) == -ECHILD &&
               mh_open(client, handle, NULL) == -ECHILD && mh_close(client, handle, NULL) == -ECHILD &&
               mh_payload(client, handle, &p, NULL) == -ECHILD && mh_scratch_alloc(client, 1, &s) == -ECHILD &&
               mh_scratch_free(client, string) == -ECHILD && mh_scratch_data(client, string, &p, NULL) == -ECHILD &&
               mh_scratch_give(client, string, handle) == -ECHILD && mh_scratch_base(client) == NULL &&
               mh_scratch_store(client, "x", 1, &s) == -ECHILD && mh_scratch_store_string(client, "x", &s) == -ECHILD &&
               mh_scratch_get_string(client, string, &text) == -ECHILD &&
               mh_scratch_store_strv(client, words, &s) == -ECHILD &&
               mh_scratch_get_strv(client, string, &strv) == -ECHILD;
}

static void expect_parent_unaffected(void)
{
        const char *text = NULL;
        unsigned flags = 77;

        cr_assert_eq(mh_open(client, handle, NULL), 0);
        cr_assert_eq(mh_close(client, handle, &flags), 0);
        cr_assert_eq(flags, 0);
        cr_assert_eq(mh_scratch_get_string(client, string, &text), 0);
        cr_assert_str_eq(text, "parent");
}

/* The C library's state is not sound in a child of _Fork() or clone(): nothing but the library is called there. */
static void expect_child_errors(pid_t (*make)(void))
{
        pid_t pid = make();

        cr_assert_geq(pid, 0);
        if (pid == 0) {
                bool good = all_say_child();

                _exit(good && !mh_detach(client) ? 0 : 1);
        }
        cr_assert_eq(private_wait(pid), 0);
        expect_parent_unaffected();
}

Test(fork, the_child_gets_echild)
{
        expect_child_errors(fork);
        expect_child_errors(_Fork);
        expect_child_errors(plain_clone);
}

static int attach_in_child(void *arg)
{
        mh_client *own = NULL;
        const char *text = NULL;

        if (arg && mh_detach(client))
                return 1;
        if (mh_attach(&own, NULL, 0) < 0 || mh_open(own, handle, NULL) < 0)
                return 2;
        if (mh_scratch_get_string(own, string, &text) < 0 || strcmp(text, "parent") != 0)
                return 3;
        /* The other one stays what it was. */
        if (!arg && !all_say_child())
                return 4;
        if (mh_close(own, handle, NULL) < 0 || mh_close(own, handle, NULL) != -EBADF)
                return 5;
        own = mh_detach(own);
        if (!arg && mh_detach(client))
                return 6;
        return 0;
}

Test(fork, the_child_attaches_for_itself)
{
        for (unsigned i = 0; i < 10; i++) {
                cr_assert_eq(private_wait(private_fork(attach_in_child, i % 2 ? client : NULL)), 0);
                expect_parent_unaffected();
        }
        cr_assert(private_settled(1, 1));
}

static int touch_payload(void *arg)
{
        return *(volatile char *)payload;
}

Test(fork, the_segment_is_not_mapped_in_the_child)
{
        int status;

        /* A sanitizer's handler would only say at length what is meant to happen. */
        (void)signal(SIGSEGV, SIG_DFL);
        status = private_wait(private_fork(touch_payload, NULL));
        cr_assert(WIFSIGNALED(status));
        cr_assert_eq(WTERMSIG(status), SIGSEGV);
        expect_parent_unaffected();
}

static int linger(void *arg)
{
        (void)pause();
        return 0;
}

/* The child shares the socket and all else that a fork shares, and means nothing for the life of its parent. */
static int attach_fork_and_wait(void *arg)
{
        int *fds = arg;
        mh_handle held;
        pid_t child;

        client = NULL;
        if (mh_attach(&client, NULL, 0) < 0 || mh_new(client, MH_TYPE_EVENT, &held) < 0)
                return 1;
        child = private_fork(linger, NULL);
        if (write(fds[1], &child, sizeof(child)) != sizeof(child))
                return 2;
        return linger(NULL);
}

Test(fork, the_parent_dies_and_the_child_lives_on)
{
        pid_t parent, child;
        int fds[2], status;

        cr_assert_eq(pipe(fds), 0);
        parent = private_fork(attach_fork_and_wait, fds);
        cr_assert_eq(read(fds[0], &child, sizeof(child)), sizeof(child));
        cr_assert(private_settled(2, 2));
        cr_assert_eq(kill(parent, SIGKILL), 0);
        status = private_wait(parent);
        cr_assert(WIFSIGNALED(status));
        cr_expect(private_settled(1, 1), "what the dead one held is not reclaimed");
        (void)kill(child, SIGKILL);
}

/* Threads that are in the middle of a call hold locks that nobody in the child will ever release. */
static unsigned done;

static void *hammer(void *arg)
{
        mh_handle h;
        void *p;

        while (!load_relaxed(&done)) {
                cr_assert_eq(mh_new(client, MH_TYPE_EVENT, &h), 0);
                cr_assert_eq(mh_scratch_data(client, string, &p, NULL), 0);
                cr_assert_eq(mh_close(client, h, NULL), 0);
        }
        return NULL;
}

Test(fork, in_the_middle_of_calls)
{
        pthread_t threads[4];

        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, hammer, NULL), 0);
        for (unsigned i = 0; i < 30; i++) {
                expect_child_errors(_Fork);
                expect_child_errors(plain_clone);
                cr_assert_eq(private_wait(private_fork(attach_in_child, i % 2 ? client : NULL)), 0);
        }
        store_relaxed(&done, 1);
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert(private_settled(1, 1));
}

Test(fork, a_grandchild_too)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(all_say_child() && private_wait(private_fork(attach_in_child, client)) == 0 ? 0 : 1);
        cr_assert_eq(private_wait(pid), 0);
        expect_parent_unaffected();
}

/* A child that closes what it inherited, by the number, after it put something else there. */
static int reuse_numbers(void *arg)
{
        int fds[2];

        if (close_range(3, ~0U, 0) < 0 || pipe(fds) < 0)
                return 1;
        for (int fd = 5; fd < 30; fd++)
                if (dup2(fds[1], fd) < 0)
                        return 2;
        if (mh_detach(client))
                return 3;
        for (int fd = 5; fd < 30; fd++)
                if (write(fd, "x", 1) != 1)
                        return 4;
        return 0;
}

Test(fork, detaching_in_the_child_closes_nothing_of_its)
{
        cr_assert_eq(private_wait(private_fork(reuse_numbers, NULL)), 0);
        expect_parent_unaffected();
}
