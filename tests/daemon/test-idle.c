/* SPDX-License-Identifier: MIT */

/* Starting and leaving by hand: one daemon in any race, and no connect that is lost because it leaves. */

#include "harness.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(idle);

static unsigned count_files(const char *pattern)
{
        char command[256];
        unsigned n = 0;
        FILE *f;

        (void)snprintf(command, sizeof(command), "ls -d %s/%s 2>/dev/null | wc -l", the_daemon.directory, pattern);
        f = popen(command, "re");
        cr_assert_not_null(f);
        cr_assert_eq(fscanf(f, "%u", &n), 1);
        (void)pclose(f);
        return n;
}

Test(idle, leaves_when_nobody_was_there_for_a_while)
{
        daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=50ms", NULL });
        cr_expect_eq(daemon_wait(&the_daemon), 0);
        cr_expect_eq(daemon_said(&the_daemon, "Stopping (idle)"), 1);
        cr_expect_eq(count_files("socket"), 0);
        cr_expect_eq(count_files("socket.segment"), 0);
        harness_pass();
}

Test(idle, stays_while_a_client_is_there)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=20ms", NULL });
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        sleep_msec(200);
        cr_expect_eq(raw_new(&r, 1, &handle), 0);

        /* One without a connection is there, too. */
        r.fd = fd_close(r.fd);
        void *p = raw_map(&r);
        sleep_msec(300);
        cr_expect_eq(daemon_said(&the_daemon, "Stopping"), 0);
        (void)p;
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_detach(&r), 0);
        raw_done(&r);
        cr_expect_eq(daemon_wait(&the_daemon), 0);
        cr_expect_eq(count_files("socket.segment"), 0);
        harness_pass();
}

Test(idle, infinity_is_for_ever)
{
        daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=infinity", NULL });
        sleep_msec(100);
        cr_expect_eq(daemon_said(&the_daemon, "Stopping"), 0);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

#define LEFT_MIN 5U /* daemons that have left, before it was worth it */

/* Comes again and again, each time in the instant in which the daemon is about to leave. For two seconds, or longer on a slow
 * machine. */
static int come_and_go(const Daemon *d, int tell, void *argument)
{
        unsigned rounds = 0, seed = (unsigned)getpid();
        uint64_t end = now_msec() + 2000, give_up = end + WAIT_MSEC, handle;
        Raw r;

        while (now_msec() < end ||
               ((rounds < 10 || daemon_said(d, "Stopping (idle)") < LEFT_MIN) && now_msec() < give_up)) {
                if (raw_attach(&r, d, rounds % 2 ? MH_WIRE_HELLO_MAPS : 0) != 0)
                        return 30;
                if (raw_new(&r, 1, &handle) != 0)
                        return 31;
                if (raw_detach(&r) != 0)
                        return 32;
                raw_done(&r);
                rounds++;
                seed = seed * 1103515245 + 12345;
                sleep_msec(seed >> 16 & 31);
        }
        child_tell(tell, &rounds, sizeof(rounds));
        return 0;
}

/* What the library does when nothing listens. */
static int start_again_and_again(const Daemon *d, int tell, void *argument)
{
        char one = 1;

        child_tell(tell, &one, 1);
        for (;;) {
                if (access(d->socket, F_OK) == 0) {
                        sleep_msec(1);
                        continue;
                }
                pid_t pid = daemon_spawn(d, (const char *const[]){ "--idle-timeout=2ms", NULL });
                int status;

                if (pid < 0 || waitpid(pid, &status, 0) != pid)
                        return 40;
                if (status != 0)
                        return 41;
        }
        return 0;
}

Test(idle, no_connect_is_lost_to_one_that_leaves)
{
        enum {
                CLIENTS = 3,
                STARTERS = 2
        };
        Child clients[CLIENTS], starters[STARTERS];
        unsigned rounds, total = 0;
        char one;

        for (unsigned i = 0; i < STARTERS; i++) {
                child_start(&starters[i], &the_daemon, start_again_and_again, NULL);
                child_hear(&starters[i], &one, 1);
        }
        for (unsigned i = 0; i < CLIENTS; i++)
                child_start(&clients[i], &the_daemon, come_and_go, NULL);
        for (unsigned i = 0; i < CLIENTS; i++) {
                child_hear(&clients[i], &rounds, sizeof(rounds));
                total += rounds;
                child_kill(&clients[i]);
        }
        for (unsigned i = 0; i < STARTERS; i++) {
                cr_expect_eq(waitpid(starters[i].pid, NULL, WNOHANG), 0, "each start ended well");
                child_kill(&starters[i]);
        }
        cr_expect_geq(total, 30);
        cr_expect_geq(daemon_said(&the_daemon, "Stopping (idle)"), LEFT_MIN);
        harness_note("%u attachments, %u daemons that left", total, daemon_said(&the_daemon, "Stopping (idle)"));
        harness_pass();
}

/* Whoever started it comes a little later. */
Test(idle, the_first_client_is_waited_for)
{
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=0", NULL });
        sleep_msec(200);
        r = (Raw){ .fd = raw_try_connect(the_daemon.socket), .segment_fd = -1, .nonce = 1 };
        cr_assert_geq(r.fd, 0);
        cr_assert_eq(raw_hello(&r), 0);
        cr_assert_eq(raw_detach(&r), 0);
        raw_done(&r);
        cr_expect_eq(daemon_wait(&the_daemon), 0);
        harness_pass();
}

/* Who knocked before the name went is let in, by this daemon and at the first try. */
Test(idle, who_came_in_the_last_instant_is_served)
{
        Raw r;

        for (unsigned round = 0; round < 2; round++) {
                daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=1s", NULL });
                (void)kill(the_daemon.pid, SIGSTOP);
                sleep_msec(1200);
                r = (Raw){ .fd = raw_try_connect(the_daemon.socket), .segment_fd = -1, .nonce = 1 };
                cr_assert_geq(r.fd, 0);
                /* By now its time is over, and somebody is at the door. */
                (void)kill(the_daemon.pid, SIGCONT);
                cr_assert_eq(raw_hello(&r), 0, "round %u", round);
                cr_assert_eq(access(the_daemon.socket, F_OK), 0, "and others find it, too");
                cr_assert_eq(raw_detach(&r), 0);
                raw_done(&r);
                cr_expect_eq(daemon_wait(&the_daemon), 0);
        }
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ starting */

Test(idle, exactly_one_of_twenty)
{
        enum {
                N = 20
        };
        unsigned winners = 0, losers = 0;
        pid_t pids[N];
        Raw r;

        for (unsigned round = 0; round < 3; round++) {
                winners = losers = 0;
                for (unsigned i = 0; i < N; i++)
                        pids[i] = daemon_spawn(&the_daemon, NULL);
                cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
                uint64_t deadline = deadline_msec(WAIT_MSEC);
                while (losers < N - 1 && now_msec() < deadline) {
                        for (unsigned i = 0; i < N; i++) {
                                int status;

                                if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
                                        cr_assert_eq(status, 0, "who finds one serving leaves, and that is no failure");
                                        pids[i] = 0;
                                        losers++;
                                }
                        }
                        sleep_msec(2);
                }
                for (unsigned i = 0; i < N; i++)
                        if (pids[i] > 0) {
                                winners++;
                                the_daemon.pid = pids[i];
                        }
                cr_assert_eq(winners, 1);
                uint64_t handle;
                cr_expect_eq(raw_new(&r, 1, &handle), 0);
                raw_done(&r);
                daemon_kill(&the_daemon);
        }
        harness_pass();
}

Test(idle, a_frozen_holder_of_the_lock_is_reported_and_not_overtaken)
{
        unsigned before;
        int status;
        pid_t pid;

        daemon_start(&the_daemon, NULL);
        /* Its socket is gone, so that nobody finds it; it still has the lock. */
        (void)kill(the_daemon.pid, SIGSTOP);
        cr_assert_eq(unlink(the_daemon.socket), 0);
        before = daemon_said(&the_daemon, "Ready at");
        pid = daemon_spawn(&the_daemon, NULL);
        WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        cr_expect_eq(daemon_said(&the_daemon, "is it stopped?"), 1);
        cr_expect_eq(daemon_said(&the_daemon, "Ready at"), before);
        (void)kill(the_daemon.pid, SIGCONT);
        harness_pass();
}

static const char *proc_file(pid_t pid, const char *name)
{
        static char text[4096];
        char path[64];
        size_t n;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        f = fopen(path, "re");
        cr_assert_not_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = '\0';
        (void)fclose(f);
        return text;
}

/* As long as it waits for some of them, /proc tells that only the others are blocked: SIGHUP is. */
static bool has_set_up_signals(pid_t pid)
{
        const char *blocked = strstr(proc_file(pid, "status"), "SigBlk:\t");

        return blocked && (strtoull(blocked + 8, NULL, 16) & 1);
}

Test(idle, who_waits_for_the_lock_can_be_stopped)
{
        static const int signals[] = { SIGTERM, SIGINT };
        int status;
        pid_t pid;

        daemon_start(&the_daemon, NULL);
        (void)kill(the_daemon.pid, SIGSTOP);
        cr_assert_eq(unlink(the_daemon.socket), 0);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                pid = daemon_spawn(&the_daemon, NULL);
                WAIT_FOR(has_set_up_signals(pid));
                (void)kill(pid, signals[i]);
                WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
                cr_expect_eq(status, 0);
        }
        cr_expect_eq(daemon_said(&the_daemon, "is it stopped?"), 0, "it did not wait to the end");
        (void)kill(the_daemon.pid, SIGCONT);
        harness_pass();
}

static int pass_what_is_closed(const Daemon *d, int tell, void *argument)
{
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        if (close_range(3, UINT_MAX, 0) < 0)
                return 126;
        daemon_become(d, NULL);
}

/* 2 would say that it is of no use to try again. */
Test(idle, what_cannot_be_taken_at_present_is_no_wrong_option)
{
        Child c;

        child_start(&c, &the_daemon, pass_what_is_closed, NULL);
        cr_expect_eq(child_wait(&c), 1);
        cr_expect_eq(daemon_said(&the_daemon, "Cannot take what was passed at start: Bad file descriptor"), 1);
        harness_pass();
}

Test(idle, a_path_that_is_too_long)
{
        char path[200];
        Daemon d = the_daemon;

        (void)memset(path, 'x', sizeof(path));
        (void)memcpy(path, "--socket=/tmp/", 14);
        path[150] = '\0';
        d.pid = daemon_spawn(&d, (const char *const[]){ path, NULL });
        cr_expect_eq(daemon_wait(&d), 2);
        cr_expect_eq(daemon_said(&the_daemon, "Ready at"), 0);
        harness_pass();
}

/* Whatever it inherits, it becomes the same daemon. */
Test(idle, what_it_inherits_does_not_matter)
{
        struct rlimit limit, hard;
        char cwd[128] = "";
        sigset_t all;
        ssize_t n;
        char path[64];

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        hard = limit;
        limit.rlim_cur = MIN((rlim_t)64, limit.rlim_max);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        (void)sigfillset(&all);
        (void)sigprocmask(SIG_BLOCK, &all, NULL);
        (void)signal(SIGTERM, SIG_IGN);
        (void)umask(0);
        cr_assert_eq(chdir(the_daemon.directory), 0);
        daemon_start(&the_daemon, NULL);
        (void)sigemptyset(&all);
        (void)sigprocmask(SIG_SETMASK, &all, NULL);

        (void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)the_daemon.pid);
        n = readlink(path, cwd, sizeof(cwd) - 1);
        cr_expect_eq(n, 1);
        cr_expect_str_eq(cwd, "/");
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_NOFILE, NULL, &limit), 0);
        cr_expect_eq(limit.rlim_cur, hard.rlim_max);
        /* SIGHUP, SIGINT and SIGTERM, which its event loop reads. */
        cr_expect_not_null(strstr(proc_file(the_daemon.pid, "status"), "SigBlk:\t0000000000004003"));

        Raw r;
        struct stat st;
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(stat(the_daemon.socket, &st), 0);
        cr_expect_eq(st.st_mode & 0777, 0600);
        cr_assert_eq(fstat(r.segment_fd, &st), 0);
        cr_expect_eq(st.st_mode & 0777, 0600);
        raw_done(&r);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

Test(idle, sighup_tells_the_status_and_changes_nothing)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        (void)kill(the_daemon.pid, SIGHUP);
        WAIT_FOR(daemon_said(&the_daemon, "1 client, 1 handle, 0 B scratch, 1 connections") == 1);
        cr_expect_eq(raw_close(&r, handle, NULL), 0);
        raw_done(&r);
        harness_pass();
}
