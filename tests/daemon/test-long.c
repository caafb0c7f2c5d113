/* SPDX-License-Identifier: MIT */

/* Requests that take long, because they need much memory: others do not wait for them, and whatever happens meanwhile
 * is right. */

#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/under.h"

DAEMON_SUITE(longer);

#define LARGE (UINT64_C(192) << 20)

static const char *const arguments[] = { "--scratch=400M", NULL };

static void start(void)
{
        struct statvfs fs;

        if (statvfs("/dev/shm", &fs) < 0 || fs.f_bavail * fs.f_frsize < 3 * LARGE)
                cr_skip_test("/dev/shm is too small");
        daemon_start(&the_daemon, arguments);
}

/* Sends the request and does not wait for the reply. */
static void ask(Raw *r, uint16_t type, uint64_t argument)
{
        struct mh_wire_scratch request = { .length = argument };

        r->seq++;
        request.header = (struct mh_wire_header){ .type = type, .size = sizeof(request), .seq = r->seq };
        cr_assert_eq(raw_send(r->fd, &request, sizeof(request), NULL, 0, false), 0);
}

static bool has_reply(const Raw *r)
{
        uint8_t byte;

        return recv(r->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static uint64_t take_block(Raw *r)
{
        struct mh_wire_block reply;

        cr_assert_eq(raw_receive(r->fd, &reply, sizeof(reply), NULL), (ssize_t)sizeof(reply));
        cr_assert_eq(reply.header.type, MH_WIRE_SCRATCH);
        cr_assert_eq(reply.header.seq, r->seq);
        cr_assert_geq(reply.size, LARGE);
        return reply.idx;
}

/* How many requests of somebody else are answered before the reply to this one comes. */
static unsigned count_served(const Raw *busy, Raw *other)
{
        unsigned n = 0;
        uint64_t handle;

        while (!has_reply(busy)) {
                cr_assert_eq(raw_new(other, 1, &handle), 0);
                cr_assert_eq(raw_close(other, handle, NULL), 0);
                n++;
        }
        return n;
}

static void finish(void)
{
        VerifyStats stats;

        WAIT_FOR(daemon_said(&the_daemon, "attached: pid") ==
                 daemon_said(&the_daemon, "died holding") + daemon_said(&the_daemon, " detached"));
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks + stats.spans + stats.reserved, 0);
        WAIT_FOR(daemon_segment_kib(&the_daemon) < 4096);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

Test(longer, others_are_served_meanwhile)
{
        unsigned during_alloc, during_free, during_close;
        uint64_t idx, handle;
        Raw r, other;

        start();
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        during_alloc = count_served(&r, &other);
        idx = take_block(&r);
        daemon_verify(&the_daemon, NULL);

        ask(&r, MH_WIRE_SCRATCH_FREE, idx);
        during_free = count_served(&r, &other);
        struct mh_wire_header reply;
        cr_assert_eq(raw_receive(r.fd, &reply, sizeof(reply), NULL), (ssize_t)sizeof(reply));
        cr_assert_eq(reply.type, MH_WIRE_SCRATCH_FREE);

        /* One that goes with its handle. */
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        idx = take_block(&r);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        cr_assert_eq(raw_give(&r, idx, handle), 0);
        ask(&r, MH_WIRE_CLOSE, handle);
        during_close = count_served(&r, &other);
        struct mh_wire_closed closed;
        cr_assert_eq(raw_receive(r.fd, &closed, sizeof(closed), NULL), (ssize_t)sizeof(closed));
        cr_expect_eq(closed.destroy, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);

        harness_note("%u served during a Scratch, %u during a ScratchFree, %u during a Close", during_alloc,
                     during_free, during_close);
        cr_expect_geq(during_alloc, 3);
        cr_expect_geq(during_free, 2);
        cr_expect_geq(during_close, 2);
        raw_done(&r);
        raw_done(&other);
        finish();
}

Test(longer, those_of_several_clients_come_one_after_the_other)
{
        enum {
                N = 5
        };
        Raw r[N];

        start();
        for (unsigned i = 0; i < N; i++)
                cr_assert_eq(raw_attach(&r[i], &the_daemon, i % 2 ? MH_WIRE_HELLO_MAPS : 0), 0);
        for (unsigned i = 0; i < N; i++)
                ask(&r[i], MH_WIRE_SCRATCH, UINT64_C(64) << 20);
        for (unsigned i = 0; i < N; i++) {
                struct mh_wire_block reply;

                cr_assert_eq(raw_receive(r[i].fd, &reply, sizeof(reply), NULL), (ssize_t)sizeof(reply));
                cr_assert_eq(reply.header.type, MH_WIRE_SCRATCH);
        }
        daemon_verify(&the_daemon, NULL);
        for (unsigned i = 0; i < N; i++) {
                cr_assert_eq(raw_detach(&r[i]), 0);
                raw_done(&r[i]);
        }
        finish();
}

Test(longer, requests_that_follow_wait_in_turn)
{
        struct mh_wire_new request = { .header = { .type = MH_WIRE_NEW, .size = sizeof(request) }, .type = 1 };
        struct mh_wire_handle reply;
        Raw r;

        start();
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        for (unsigned i = 0; i < 10; i++) {
                request.header.seq = ++r.seq;
                cr_assert_eq(raw_send(r.fd, &request, sizeof(request), NULL, 0, false), 0);
        }
        r.seq -= 10;
        (void)take_block(&r);
        for (unsigned i = 0; i < 10; i++) {
                cr_assert_eq(raw_receive(r.fd, &reply, sizeof(reply), NULL), (ssize_t)sizeof(reply));
                cr_assert_eq(reply.header.type, MH_WIRE_NEW);
                cr_assert_eq(reply.header.seq, ++r.seq);
        }
        raw_done(&r);
        finish();
}

Test(longer, a_client_that_hangs_up_meanwhile_is_reaped_afterwards)
{
        Raw r;

        start();
        for (unsigned round = 0; round < 6; round++) {
                cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                sleep_msec(round * 4);
                raw_done(&r);
        }
        finish();
}

static int ask_and_wait(const Daemon *d, int tell, void *argument)
{
        char one = 1;
        Raw r;

        if (raw_attach(&r, d, MH_WIRE_HELLO_MAPS) != 0)
                return 10;
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        child_tell(tell, &one, 1);
        return 0;
}

Test(longer, one_that_is_killed_meanwhile)
{
        Child victim;
        char one;

        start();
        for (unsigned round = 0; round < 6; round++) {
                child_start(&victim, &the_daemon, ask_and_wait, NULL);
                child_hear(&victim, &one, 1);
                sleep_msec(round * 4);
                child_kill(&victim);
        }
        finish();
}

Test(longer, a_resume_meanwhile_gets_the_outcome_of_the_first_time)
{
        uint64_t idx;
        VerifyStats stats;
        Raw r;

        start();
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        for (unsigned round = 0; round < 4; round++) {
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                sleep_msec(round * 5);
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
                cr_assert(r.last == r.seq || r.last == r.seq - 1);
                r.seq--;
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                idx = take_block(&r);
                daemon_verify(&the_daemon, &stats);
                cr_expect_eq(stats.blocks, 1);
                cr_assert_eq(raw_scratch_free(&r, idx), 0);
        }
        cr_assert_eq(raw_detach(&r), 0);
        raw_done(&r);
        finish();
}

Test(longer, the_daemon_is_killed_meanwhile)
{
        uint64_t idx;
        VerifyStats stats;
        Raw r;

        start();
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        for (unsigned round = 0; round < 4; round++) {
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                sleep_msec(round * 10);
                daemon_kill(&the_daemon);
                daemon_start(&the_daemon, arguments);
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
                r.seq--;
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                idx = take_block(&r);
                daemon_verify(&the_daemon, &stats);
                cr_expect_eq(stats.blocks, 1);
                ask(&r, MH_WIRE_SCRATCH_FREE, idx);
                sleep_msec(round * 3);
                daemon_kill(&the_daemon);
                daemon_start(&the_daemon, arguments);
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
                struct mh_wire_scratch_free request = { .idx = idx };
                struct mh_wire_header reply;
                cr_assert_eq(raw_call_again(&r, MH_WIRE_SCRATCH_FREE, &request, sizeof(request), &reply, sizeof(reply)),
                             0);
                daemon_verify(&the_daemon, &stats);
                cr_expect_eq(stats.blocks, 0);
        }
        raw_done(&r);
        harness_pass();
}

Test(longer, the_daemon_is_stopped_meanwhile)
{
        Raw r;

        start();
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        sleep_msec(5);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        daemon_start(&the_daemon, arguments);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        r.seq--;
        ask(&r, MH_WIRE_SCRATCH, LARGE);
        (void)take_block(&r);
        cr_assert_eq(raw_detach(&r), 0);
        raw_done(&r);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

Test(longer, the_segment_is_truncated_meanwhile)
{
        uint64_t handle;
        Raw r, other;

        skip_under("tsan", "waits for itself where a signal comes in the middle of an atomic access");
        start();
        for (unsigned round = 0; round < 4; round++) {
                cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
                cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
                ask(&r, MH_WIRE_SCRATCH, LARGE);
                sleep_msec(round * 5);
                cr_assert_eq(ftruncate(r.segment_fd, 0), 0);
                (void)raw_new(&other, 1, &handle);
                WAIT_FOR(daemon_said(&the_daemon, "it was cut short") == round + 1);
                raw_done(&r);
                raw_done(&other);
        }
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_expect_eq(raw_new(&r, 1, &handle), 0);
        raw_done(&r);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}
