/* SPDX-License-Identifier: MIT */

/*
 * Starting the daemon: exactly one, and unnoticed by the program that does it.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomics.h"
#include "lib/deadline.h"
#include "lib/private.h"
#include "monohandle.h"
#include "tools/say.h"

#define PROCESSES 20

TestSuite(start, PRIVATE_WORLD);

typedef struct Board {
        unsigned go;
        unsigned attached;
        unsigned leave;
        mh_handle handles[PROCESSES];
} Board;

static Board *board;

static bool all_attached(void *arg)
{
        return load_sc(&board->attached) == PROCESSES;
}

static int attach_at_once(void *arg)
{
        uintptr_t me = (uintptr_t)arg;
        mh_client *c = NULL;

        while (!load_sc(&board->go))
                cpu_relax();
        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        if (mh_new(c, MH_TYPE_EVENT, &board->handles[me]) < 0)
                return 2;
        (void)fetch_add_sc(&board->attached, 1);
        while (!load_sc(&board->leave))
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        /* One world: each sees what all others made. */
        for (unsigned i = 0; i < PROCESSES; i++)
                if (mh_open(c, board->handles[i], NULL) < 0)
                        return 3;
        (void)fetch_sub_sc(&board->attached, 1);
        while (load_sc(&board->attached) > 0)
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        return mh_detach(c) ? 4 : 0;
}

static bool one_daemon(void *arg)
{
        return private_daemons() == 1;
}

Test(start, a_race_has_one_winner)
{
        pid_t pids[PROCESSES];

        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq((void *)board, MAP_FAILED);
        for (uintptr_t i = 0; i < PROCESSES; i++)
                pids[i] = private_fork(attach_at_once, (void *)i);
        store_sc(&board->go, 1);
        cr_assert(private_poll(all_attached, NULL), "%u of %u are attached", board->attached, PROCESSES);
        cr_expect(private_poll(one_daemon, NULL), "%u daemons", private_daemons());
        cr_expect(private_settled(PROCESSES, PROCESSES));
        store_sc(&board->leave, 1);
        for (unsigned i = 0; i < PROCESSES; i++)
                cr_expect_eq(private_wait(pids[i]), 0, "%u", i);
        cr_expect(private_settled(0, 0));
}

Test(start, not_if_told_not_to)
{
        mh_client *c = NULL;
        mh_handle h;

        cr_assert_eq(mh_attach(&c, NULL, MH_ATTACH_NO_SPAWN), -ENOTCONN);
        cr_assert_eq(private_daemons(), 0);
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        c = mh_detach(c);
        cr_assert_eq(mh_attach(&c, NULL, MH_ATTACH_NO_SPAWN), 0);
        c = mh_detach(c);
}

static volatile sig_atomic_t children;

static void on_child(int s)
{
        children++;
}

Test(start, the_program_does_not_notice)
{
        mh_client *c = NULL;
        mh_handle h;

        (void)sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = on_child }, NULL);
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        for (unsigned i = 0; i < 5; i++) {
                cr_assert(private_kill_daemon());
                cr_assert_eq(private_work_until_served(c, h), 0);
        }
        cr_assert_eq(children, 0);
        cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
        cr_assert_eq(errno, ECHILD);
        cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1);
        cr_assert_eq(errno, ECHILD);
        c = mh_detach(c);
}

/* The daemon outlives who started it, and its terminal, its group, and its session. */
static int start_and_end(void *arg)
{
        mh_client *c = NULL;

        (void)setsid();
        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        (void)kill(0, SIGKILL);
        return 2;
}

Test(start, it_outlives_who_started_it)
{
        mh_client *c = NULL;
        pid_t daemon;
        int status;

        status = private_wait(private_fork(start_and_end, NULL));
        cr_assert(WIFSIGNALED(status));
        daemon = private_daemon();
        cr_assert_gt(daemon, 0);
        cr_assert_neq(getsid(daemon), getsid(0));
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(private_daemon(), daemon);
        cr_assert(private_settled(1, 0));
        c = mh_detach(c);
}

/* A program that dies of the first daemon, then one that can be found: calls that fail, then calls that do not. */
Test(start, a_daemon_that_ends_at_once)
{
        char broken[128];
        mh_client *c = NULL;
        uint64_t start;
        int fd;

        (void)snprintf(broken, sizeof(broken), "%s/daemon", private_directory);
        fd = open(broken, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
        cr_assert_geq(fd, 0);
        cr_assert_eq(write(fd, "#!/bin/sh\nexit 1\n", 17), 17);
        (void)close(fd);
        (void)setenv("MONO_HANDLE_D_BINARY", broken, 1);
        start = deadline_now();
        cr_assert_eq(mh_attach(&c, NULL, 0), -ENOTCONN);
        cr_assert_geq(deadline_now() - start, 5 * DEADLINE_SECOND, "it was tried for a while");
        cr_assert_null(c);
        (void)setenv("MONO_HANDLE_D_BINARY", getenv("MONO_HANDLE_TEST_DAEMON"), 1);
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        c = mh_detach(c);
}

/* Leaves when idle, and is started again, over and over, while clients come and go: nobody is turned away. */
static int come_and_go(void *arg)
{
        for (unsigned i = 0; i < 25; i++) {
                mh_client *c = NULL;
                mh_handle h;
                int r = mh_attach(&c, NULL, 0);

                if (r < 0 || mh_new(c, MH_TYPE_EVENT, &h) < 0) {
                        (void)fprintf(say_stream(), "# %u: %s\n", i, strerror(-r));
                        return 1;
                }
                if (mh_detach(c))
                        return 2;
        }
        return 0;
}

Test(start, a_daemon_that_leaves_whenever_it_can)
{
        pid_t pids[4];

        (void)setenv("MONO_HANDLE_D_IDLE_TIMEOUT", "0", 1);
        for (unsigned i = 0; i < 4; i++)
                pids[i] = private_fork(come_and_go, NULL);
        for (unsigned i = 0; i < 4; i++)
                cr_expect_eq(private_wait(pids[i]), 0);
        cr_expect(private_settled(0, 0));
}
