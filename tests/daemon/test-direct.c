/* SPDX-License-Identifier: MIT */

/*
 * Clients that work on the segment themselves, as the library's do: the daemon sees no request of them. What it tells is
 * true all the same, what they give back is given back, and they are reaped when they are dead and not before.
 */

#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "monohandle.h"

#define DIRECT (MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER)

DAEMON_SUITE(direct);

static mh_client *attach(void)
{
        mh_client *c = NULL;

        cr_assert_eq(mh_attach(&c, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_not_null(mh_scratch_base(c));
        return c;
}

static void make(mh_client *c, mh_handle *handles, size_t n)
{
        for (size_t i = 0; i < n; i++)
                cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &handles[i]), 0, "handle %zu", i);
}

static void drop(mh_client *c, const mh_handle *handles, size_t n)
{
        for (size_t i = 0; i < n; i++)
                cr_assert_eq(mh_close(c, handles[i], NULL), 0, "handle %zu", i);
}

/* ------------------------------------------------------------------------------------------------ status */

/* Where the daemon sends what it would tell the service manager. */
static int listen_as_manager(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        cr_assert_geq(fd, 0);
        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/notify", the_daemon.directory);
        cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(setenv("NOTIFY_SOCKET", sa.sun_path, 1), 0);
        return fd;
}

typedef struct Status {
        int fd;
        char text[128];
        unsigned n; /* how often it was told */
} Status;

/* Takes what has come. */
static const char *status_now(Status *s)
{
        char packet[512];
        ssize_t n;

        while ((n = recv(s->fd, packet, sizeof(packet) - 1, 0)) > 0) {
                packet[n] = 0;
                if (strncmp(packet, "STATUS=", 7) != 0)
                        continue;
                (void)snprintf(s->text, sizeof(s->text), "%.127s", packet + 7);
                s->n++;
        }
        return s->text;
}

Test(direct, the_status_is_true)
{
        Status s = { .fd = listen_as_manager() };
        mh_handle handles[100];
        mh_scratch block;
        uint64_t begin;
        mh_client *c;

        begin = now_msec();
        daemon_start(&the_daemon, NULL);
        WAIT_FOR(strcmp(status_now(&s), "0 clients, 0 handles, 0 B scratch") == 0);
        c = attach();
        WAIT_FOR(strcmp(status_now(&s), "1 client, 0 handles, 0 B scratch") == 0);
        for (unsigned round = 0; round < 2; round++) {
                make(c, handles, 100);
                cr_assert_eq(mh_scratch_alloc(c, 65536, &block), 0);
                WAIT_FOR(strcmp(status_now(&s), "1 client, 100 handles, 64.0 KiB scratch") == 0);
                drop(c, handles, 99);
                WAIT_FOR(strcmp(status_now(&s), "1 client, 1 handle, 64.0 KiB scratch") == 0);
                cr_assert_eq(mh_scratch_free(c, block), 0);
                drop(c, handles + 99, 1);
                WAIT_FOR(strcmp(status_now(&s), "1 client, 0 handles, 0 B scratch") == 0);
        }
        (void)mh_detach(c);
        WAIT_FOR(strcmp(status_now(&s), "0 clients, 0 handles, 0 B scratch") == 0);
        /* Once a second at most, but for the first. */
        cr_expect_leq(s.n, (now_msec() - begin) / 950 + 2);
        (void)fd_close(s.fd);
        harness_pass();
}

/* That somebody asked for the status by a signal must not keep it from the manager. */
Test(direct, sighup_does_not_hide_a_status)
{
        Status s = { .fd = listen_as_manager() };
        mh_handle handle;
        mh_client *c;

        daemon_start(&the_daemon, NULL);
        c = attach();
        WAIT_FOR(strcmp(status_now(&s), "1 client, 0 handles, 0 B scratch") == 0);
        make(c, &handle, 1);
        cr_assert_eq(kill(the_daemon.pid, SIGHUP), 0);
        WAIT_FOR(daemon_said(&the_daemon, "1 client, 1 handle, 0 B scratch") == 1);
        WAIT_FOR(strcmp(status_now(&s), "1 client, 1 handle, 0 B scratch") == 0);
        (void)mh_detach(c);
        (void)fd_close(s.fd);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ sleep */

/* How often it went to sleep so far, which is how often it woke. */
static uint64_t naps(void)
{
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[256];
        unsigned long n = 0;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)the_daemon.pid);
        f = fopen(path, "re");
        cr_assert_not_null(f);
        while (fgets(line, sizeof(line), f))
                (void)sscanf(line, "voluntary_ctxt_switches: %lu", &n);
        cr_assert_gt(n, 0);
        return n;
}

static bool sleeps_for(unsigned msec)
{
        uint64_t before = naps();

        sleep_msec(msec);
        return naps() == before;
}

Test(direct, who_does_nothing_does_not_wake_the_daemon)
{
        mh_client *c;
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--idle-timeout=infinity", NULL });
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        WAIT_FOR(sleeps_for(2500));
        /* Looks at one that does nothing become rare. */
        c = attach();
        WAIT_FOR(sleeps_for(3000));
        (void)mh_detach(c);
        WAIT_FOR(sleeps_for(9000));
        raw_done(&r);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ limits */

Test(direct, limits_are_reported)
{
        mh_handle handles[100], more;
        mh_scratch blocks[32], block;
        Status s = { .fd = listen_as_manager() };
        mh_client *c;

        daemon_start(&the_daemon, (const char *const[]){ "--client-handles=100", "--client-scratch=1M", NULL });
        c = attach();
        make(c, handles, 50);
        for (unsigned i = 0; i < 16; i++)
                cr_assert_eq(mh_scratch_alloc(c, 32768, &blocks[i]), 0);
        sleep_msec(2500);
        cr_expect_eq(daemon_said(&the_daemon, "reached its limit"), 0);

        make(c, handles + 50, 50);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &more), -EDQUOT);
        for (unsigned i = 16; i < 32; i++)
                cr_assert_eq(mh_scratch_alloc(c, 32768, &blocks[i]), 0);
        cr_assert_eq(mh_scratch_alloc(c, 32768, &block), -EDQUOT);
        WAIT_FOR(daemon_said(&the_daemon, "reached its limit of 100 (client-handles)") == 1);
        WAIT_FOR(daemon_said(&the_daemon, "reached its limit of 1048576 (client-scratch)") == 1);

        /* Below it and there once more is news; to stay there is not. */
        sleep_msec(2500);
        cr_expect_eq(daemon_said(&the_daemon, "reached its limit"), 2);
        drop(c, handles, 100);
        cr_assert_eq(mh_scratch_free(c, blocks[0]), 0);
        cr_assert_eq(mh_scratch_free(c, blocks[1]), 0);
        cr_assert_eq(mh_scratch_free(c, blocks[2]), 0);
        WAIT_FOR(strcmp(status_now(&s), "1 client, 0 handles, 928.0 KiB scratch") == 0);
        make(c, handles, 100);
        WAIT_FOR(daemon_said(&the_daemon, "reached its limit of 100 (client-handles)") == 2);
        cr_expect_eq(daemon_said(&the_daemon, "reached its limit of 1048576 (client-scratch)"), 1);
        (void)fd_close(s.fd);
        (void)mh_detach(c);
        harness_pass();
}

Test(direct, a_full_segment_is_reported)
{
        mh_scratch block;
        mh_handle h;
        unsigned n;
        mh_client *c;
        int r;

        daemon_start(&the_daemon, (const char *const[]){ "--handles=1024", "--clients=8", "--scratch=1M", NULL });
        c = attach();
        for (n = 0; (r = mh_new(c, MH_TYPE_EVENT, &h)) == 0; n++)
                ;
        cr_assert_eq(r, -ENOSPC);
        cr_expect_eq(n, 1024);
        WAIT_FOR(daemon_said(&the_daemon, "The segment is full: calls for more handles fail") == 1);
        cr_expect_eq(daemon_said(&the_daemon, "calls for more scratch fail"), 0);
        for (n = 0; (r = mh_scratch_alloc(c, 65536, &block)) == 0; n++)
                ;
        cr_assert_eq(r, -ENOSPC);
        cr_expect_eq(n, 16);
        WAIT_FOR(daemon_said(&the_daemon, "The segment is full: calls for more scratch fail") == 1);
        cr_expect_eq(daemon_said(&the_daemon, "is full: calls for more handles fail"), 1);
        (void)mh_detach(c);
        harness_pass();
}

Test(direct, a_full_dev_shm_is_reported)
{
        mh_scratch block;
        mh_client *c;
        int r;

        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", "/dev/shm", "tmpfs", 0, "size=4M,mode=1777") < 0)
                cr_skip_test("a small /dev/shm cannot be mounted here");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=64M", NULL });
        c = attach();
        sleep_msec(1500);
        cr_expect_eq(daemon_said(&the_daemon, "is full"), 0);
        while ((r = mh_scratch_alloc(c, 32768, &block)) == 0)
                ;
        cr_assert_eq(r, -ENOSPC);
        WAIT_FOR(daemon_said(&the_daemon, "Shared memory as a whole is full: calls for more memory fail") == 1);
        (void)mh_detach(c);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Between two looks of the daemon, so that it finds as many as before, and no less. */
Test(direct, memory_is_given_back)
{
        enum {
                N = 100000
        };
        static mh_handle handles[N];
        uint64_t before, peak;
        VerifyStats stats;
        mh_client *c;

        daemon_start(&the_daemon, NULL);
        c = attach();
        make(c, handles, 1);
        before = daemon_segment_kib(&the_daemon);
        for (unsigned round = 0; round < 2; round++) {
                make(c, handles + 1, N - 1);
                peak = daemon_segment_kib(&the_daemon);
                cr_expect_gt(peak, before + 12000);
                drop(c, handles + 1, N - 1);
                /* What stays: the ledger, 8 bytes for each; a few chunks that are kept; those with slots that are kept. */
                WAIT_FOR(daemon_segment_kib(&the_daemon) <= before + 800 + 1024);
        }
        harness_note("%llu KiB, at most %llu, then %llu", (unsigned long long)before, (unsigned long long)peak,
                     (unsigned long long)daemon_segment_kib(&the_daemon));
        (void)mh_detach(c);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 0);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ not mapped yet */

static int say_hello_and_stand_still(const Daemon *d, int tell, void *argument)
{
        Raw r;
        int k = raw_attach(&r, d, DIRECT);

        if (k != 0)
                return 10;
        child_tell(tell, &r, sizeof(r));
        return 0;
}

static unsigned clients_attached(void)
{
        _cleanup_close_ int fd = daemon_segment(&the_daemon);
        VerifyStats stats = {};

        cr_assert_geq(fd, 0);
        cr_assert_geq(verify_segment(fd, VERIFY_AT_REST, NULL, NULL, &stats), 0);
        return (unsigned)stats.clients;
}

Test(direct, killed_before_it_maps)
{
        Child victim;
        Raw witness, told;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&witness, &the_daemon, 0), 0);
        child_start(&victim, &the_daemon, say_hello_and_stand_still, NULL);
        child_hear(&victim, &told, sizeof(told));
        cr_assert_eq(clients_attached(), 2);
        child_kill(&victim);
        WAIT_FOR(clients_attached() == 1);
        daemon_verify(&the_daemon, NULL);
        raw_done(&witness);
        harness_pass();
}

/* As long as it has its connection it may take its time. */
Test(direct, alive_and_slow_to_map)
{
        uint64_t begin;
        Raw slow;
        int k;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&slow, &the_daemon, DIRECT), 0);
        sleep_msec(3000);
        cr_expect_eq(clients_attached(), 1);
        daemon_kill(&the_daemon);
        begin = now_msec();
        daemon_start(&the_daemon, NULL);
        /* The next daemon waits for it for two seconds, whether it maps or not. */
        k = raw_resume(&slow, &the_daemon);
        if (k == -ESTALE && now_msec() - begin >= 2000)
                harness_skip("this machine is too slow to come back in time");
        cr_assert_eq(k, 0);
        cr_expect_eq(slow.granted, DIRECT);
        sleep_msec(3000);
        cr_expect_eq(clients_attached(), 1);
        cr_expect_eq(raw_detach(&slow), 0);
        raw_done(&slow);
        harness_pass();
}

/* It has no connection, and maps nothing: whoever it is, it cannot have begun, and finds that out when it comes back. */
Test(direct, one_that_hangs_up_before_it_maps_is_not_kept)
{
        Raw gone, lost;
        void *p;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&gone, &the_daemon, DIRECT), 0);
        gone.fd = fd_close(gone.fd);
        WAIT_FOR(clients_attached() == 0);
        cr_expect_eq(raw_resume(&gone, &the_daemon), -ESTALE);
        raw_done(&gone);

        /* One that maps is kept. */
        cr_assert_eq(raw_attach(&lost, &the_daemon, DIRECT), 0);
        p = raw_map(&lost);
        lost.fd = fd_close(lost.fd);
        WAIT_FOR(daemon_said(&the_daemon, "it keeps what it holds") == 1);
        sleep_msec(500);
        cr_expect_eq(clients_attached(), 1);
        cr_expect_eq(raw_resume(&lost, &the_daemon), 0);
        cr_assert_not_null(p);
        raw_done(&lost);
        harness_pass();
}

/* The same at the next daemon. */
Test(direct, one_that_never_maps_is_not_adopted_for_ever)
{
        Child victim;
        Raw told;

        daemon_start(&the_daemon, NULL);
        child_start(&victim, &the_daemon, say_hello_and_stand_still, NULL);
        child_hear(&victim, &told, sizeof(told));
        daemon_kill(&the_daemon);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 0 died"), 1);
        WAIT_FOR(clients_attached() == 0);
        child_kill(&victim);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ restart */

typedef struct Held {
        mh_handle shared, own;
        mh_scratch given, kept;
} Held;

static int hold(const Daemon *d, int tell, void *argument)
{
        const unsigned *n = argument;
        mh_scratch block;
        mh_client *c;
        Held held;

        if (mh_attach(&c, d->socket, MH_ATTACH_NO_SPAWN) != 0 || !mh_scratch_base(c))
                return 10;
        if (mh_new(c, MH_TYPE_EVENT, &held.shared) != 0 || mh_new(c, MH_TYPE_EVENT, &held.own) != 0 ||
            mh_scratch_alloc(c, 1000, &held.given) != 0 || mh_scratch_give(c, held.given, held.shared) != 0 ||
            mh_scratch_alloc(c, 1000, &held.kept) != 0)
                return 11;
        for (unsigned i = 2; i < *n; i++) {
                mh_handle more;

                if (mh_new(c, MH_TYPE_EVENT, &more) != 0)
                        return 12;
        }
        for (unsigned i = 0; i < 10; i++)
                if (mh_scratch_alloc(c, 65536, &block) != 0)
                        return 13;
        child_tell(tell, &held, sizeof(held));
        return 0;
}

Test(direct, clients_are_adopted_and_go_on)
{
        mh_handle handles[1000], more;
        mh_scratch block;
        VerifyStats stats;
        mh_client *c;

        daemon_start(&the_daemon, NULL);
        c = attach();
        make(c, handles, 500);
        cr_assert_eq(mh_scratch_alloc(c, 100000, &block), 0);
        daemon_kill(&the_daemon);
        /* Nobody is there, and nobody is needed. */
        make(c, handles + 500, 500);
        drop(c, handles, 100);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 0 died; 900 handles"), 1);
        make(c, handles, 100);
        cr_assert_eq(mh_scratch_free(c, block), 0);
        cr_assert_eq(mh_scratch_alloc(c, 100, &block), 0);
        drop(c, handles, 999);
        cr_expect_eq(mh_close(c, handles[0], NULL), -ESTALE);
        /* It stays until its process ends, and its library comes back by itself. */
        sleep_msec(3000);
        for (unsigned i = 0; i < 1000; i++) {
                cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &more), 0);
                cr_assert_eq(mh_close(c, more, NULL), 0);
        }
        cr_expect_eq(clients_attached(), 1);
        (void)mh_detach(c);
        WAIT_FOR(clients_attached() == 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks, 0);
        harness_pass();
}

/* Nobody sees it happen. */
Test(direct, killed_together_with_the_daemon)
{
        unsigned n = 500;
        uint64_t before;
        VerifyStats stats;
        mh_client *c;
        Child victim;
        Held held;

        daemon_start(&the_daemon, NULL);
        c = attach();
        before = daemon_segment_kib(&the_daemon);
        child_start(&victim, &the_daemon, hold, &n);
        child_hear(&victim, &held, sizeof(held));
        cr_assert_eq(mh_open(c, held.shared, NULL), 0);
        (void)kill(the_daemon.pid, SIGKILL);
        (void)kill(victim.pid, SIGKILL);
        (void)daemon_wait(&the_daemon);
        (void)child_wait(&victim);
        cr_expect_eq(mh_open(c, held.own, NULL), 0, "until it is reaped, what it held is there");
        cr_expect_eq(mh_close(c, held.own, NULL), 0);

        daemon_start(&the_daemon, NULL);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 500 handles") == 1);
        cr_expect_eq(mh_open(c, held.own, NULL), -ESTALE);
        cr_expect_eq(mh_scratch_free(c, held.kept), -ESTALE);
        cr_expect_eq(mh_scratch_free(c, held.given), -EBUSY);
        cr_expect_eq(mh_scratch_data(c, held.given, &(void *){ NULL }, NULL), 0);
        cr_expect_eq(mh_close(c, held.shared, NULL), 0);
        cr_expect_eq(mh_scratch_free(c, held.given), -ESTALE);
        WAIT_FOR(daemon_segment_kib(&the_daemon) <= before + 1024);
        (void)mh_detach(c);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks + stats.clients, 0);
        harness_pass();
}

/* One after the other: the daemon that follows dies while it reaps, and so on. */
Test(direct, killed_while_it_reaps_a_direct_client)
{
        unsigned n = 20000;
        VerifyStats stats;
        Child victim;
        Held held;

        daemon_start(&the_daemon, NULL);
        child_start(&victim, &the_daemon, hold, &n);
        child_hear(&victim, &held, sizeof(held));
        child_kill(&victim);
        for (unsigned i = 0; i < 5; i++) {
                sleep_msec(i);
                daemon_kill(&the_daemon);
                daemon_start(&the_daemon, NULL);
        }
        WAIT_FOR(clients_attached() == 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks, 0);
        harness_pass();
}
