/* SPDX-License-Identifier: MIT */

/* Many connections, silent ones, frozen ones: what they cost the others is nothing. */

#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(crowd);

/* Somebody is served: asks as often as that. */
static void expect_served(Raw *r)
{
        uint64_t handle;

        for (unsigned i = 0; i < 50; i++) {
                cr_assert_eq(raw_new(r, 1, &handle), 0);
                cr_assert_eq(raw_close(r, handle, NULL), 0);
        }
}

Test(crowd, a_client_that_never_reads_its_replies)
{
        struct mh_wire_new request = { .header = { .type = MH_WIRE_NEW, .size = sizeof(request) }, .type = 1 };
        uint64_t sent = 0, received = 0;
        Raw deaf, other;
        unsigned fds;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&deaf, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        fds = daemon_fds(&the_daemon);

        /* Until neither buffer takes any more, for as long as the daemon could have made room. */
        cr_assert_eq(fcntl(deaf.fd, F_SETFL, O_NONBLOCK), 0);
        for (unsigned stuck = 0; stuck < 50;) {
                request.header.seq = sent + 1;
                if (send(deaf.fd, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t)sizeof(request)) {
                        sent++;
                        stuck = 0;
                } else {
                        cr_assert_eq(errno, EAGAIN);
                        stuck++;
                        sleep_msec(2);
                }
                cr_assert_lt(sent, 1000000, "there is no end of it");
        }
        expect_served(&other);
        cr_expect_eq(daemon_fds(&the_daemon), fds);

        /* When it reads at last, all is there, in order, and nothing is missing. */
        while (received < sent) {
                struct mh_wire_handle reply;

                cr_assert_eq(raw_receive(deaf.fd, &reply, sizeof(reply), NULL), (ssize_t)sizeof(reply));
                cr_assert_eq(reply.header.type, MH_WIRE_NEW);
                cr_assert_eq(reply.header.seq, ++received);
        }
        harness_note("%lu requests had been sent", sent);
        raw_done(&deaf);
        raw_done(&other);
        harness_pass();
}

Test(crowd, one_that_never_reads_is_reaped_like_any_other)
{
        struct mh_wire_new request = { .header = { .type = MH_WIRE_NEW, .size = sizeof(request) }, .type = 1 };
        uint64_t seq = 0;
        Raw deaf;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&deaf, &the_daemon, 0), 0);
        cr_assert_eq(fcntl(deaf.fd, F_SETFL, O_NONBLOCK), 0);
        for (unsigned stuck = 0; stuck < 20;) {
                request.header.seq = seq + 1;
                if (send(deaf.fd, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t)sizeof(request))
                        seq++;
                else {
                        stuck++;
                        sleep_msec(2);
                }
        }
        raw_done(&deaf);
        WAIT_FOR(daemon_said(&the_daemon, "died holding") == 1);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

static int freeze(const Daemon *d, int tell, void *argument)
{
        Raw r;
        int k = raw_attach(&r, d, MH_WIRE_HELLO_MAPS);

        child_tell(tell, &k, sizeof(k));
        (void)raise(SIGSTOP);
        return 0;
}

Test(crowd, a_frozen_client)
{
        Child frozen;
        Raw other;
        int k;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        child_start(&frozen, &the_daemon, freeze, NULL);
        child_hear(&frozen, &k, sizeof(k));
        cr_assert_eq(k, 0);
        expect_served(&other);
        cr_expect_eq(daemon_said(&the_daemon, "died"), 0);
        child_kill(&frozen);
        WAIT_FOR(daemon_said(&the_daemon, "died") == 1);
        raw_done(&other);
        harness_pass();
}

Test(crowd, two_thousand_idle_connections)
{
        enum {
                N = 2000
        };
        static int fds[N];
        struct rlimit limit;
        unsigned before;
        Raw r, late;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < N + 100)
                cr_skip_test("the hard limit of open files is too low");
        limit.rlim_cur = N + 100;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);

        daemon_start(&the_daemon, (const char *const[]){ "--hello-timeout=infinity", NULL });
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        before = daemon_fds(&the_daemon);
        for (unsigned i = 0; i < N; i++)
                fds[i] = raw_connect(&the_daemon);
        WAIT_FOR(daemon_fds(&the_daemon) == before + N);
        expect_served(&r);
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        expect_served(&late);
        fd_close_many(fds, N);
        raw_done(&late);
        WAIT_FOR(daemon_fds(&the_daemon) == before);
        expect_served(&r);
        raw_done(&r);
        harness_pass();
}

Test(crowd, connections_beyond_the_limit_wait)
{
        uint64_t handle;
        int fds[8];
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--connections=8", "--hello-timeout=infinity", NULL });
        for (unsigned i = 0; i < 8; i++)
                fds[i] = raw_connect(&the_daemon);
        WAIT_FOR(daemon_said(&the_daemon, "connections are in use") >= 1 || daemon_fds(&the_daemon) >= 8);

        /* This one is in the queue, and comes in when another one leaves. */
        r = (Raw){ .fd = raw_connect(&the_daemon), .segment_fd = -1, .nonce = 1 };
        WAIT_FOR(daemon_said(&the_daemon, "connections are in use") >= 1);
        (void)fd_close(fds[3]);
        cr_assert_eq(raw_hello(&r), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        raw_done(&r);
        for (unsigned i = 0; i < 8; i++)
                if (i != 3)
                        (void)fd_close(fds[i]);
        harness_pass();
}

/* No descriptor is free: whoever is there is served, whoever comes waits, and the daemon does not spin. */
Test(crowd, out_of_descriptors)
{
        enum {
                N = 60
        };
        struct rlimit limit, low;
        uint64_t ticks, handle;
        int fds[N];
        Raw r, late;

        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = (struct rlimit){ .rlim_cur = 40, .rlim_max = 40 };
        daemon_start(&the_daemon, (const char *const[]){ "--hello-timeout=infinity", NULL });
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_NOFILE, &low, NULL), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        for (unsigned i = 0; i < N; i++)
                fds[i] = raw_connect(&the_daemon);
        WAIT_FOR(daemon_said(&the_daemon, "A connection has to wait") >= 1);
        expect_served(&r);

        ticks = now_msec();
        sleep_msec(300);
        cr_expect_geq(now_msec(), ticks + 300);
        cr_expect_leq(daemon_said(&the_daemon, "A connection has to wait"), 4, "it rests in between");

        fd_close_many(fds, N);
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&late, 1, &handle), 0);
        raw_done(&late);
        raw_done(&r);
        harness_pass();
}
