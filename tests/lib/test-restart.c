/* SPDX-License-Identifier: MIT */

/*
 * A daemon that dies, at any time and again and again, and clients that do not notice.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "lib/client.h"
#include "lib/deadline.h"
#include "lib/private.h"
#include "monohandle.h"
#include "tools/say.h"

#define CLIENTS 8
#define HELD    16

TestSuite(restart, PRIVATE_WORLD);

/* What the clients and the test tell each other. */
typedef struct Board {
        unsigned stop;
        unsigned ready;
        unsigned leave;
        uint64_t handles;  /* that they say they hold */
        uint64_t blocks;   /* likewise */
        uint64_t requests; /* that were answered */
} Board;

static Board *board;

static void make_board(void)
{
        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq((void *)board, MAP_FAILED);
}

/* What one client believes to hold. */
typedef struct Belief {
        mh_handle handle;
        unsigned count;
        mh_scratch scratch;
} Belief;

#define TRY(expression)                                                                                              \
        do {                                                                                                         \
                int try_r = (expression);                                                                            \
                if (try_r < 0) {                                                                                     \
                        (void)fprintf(say_stream(), "# %d: line %d: %s: %s\n", (int)getpid(), __LINE__, #expression, \
                                      strerror(-try_r));                                                             \
                        return __LINE__;                                                                             \
                }                                                                                                    \
                board_count();                                                                                       \
        } while (0)

static void board_count(void)
{
        (void)fetch_add_relaxed(&board->requests, 1);
}

/* One request, whichever `n` says, and its effect on what is believed. A request that took effect twice, or not at all,
 * shows in the flags of some later Close, or in the table at the end. */
static int step(mh_client *c, Belief *b, long n)
{
        unsigned flags;

        if (b->count == 0) {
                TRY(mh_new(c, MH_TYPE_EVENT, &b->handle));
                b->count = 1;
        } else if (n % 4 == 0) {
                TRY(mh_open(c, b->handle, NULL));
                b->count++;
        } else if (n % 4 == 1) {
                TRY(mh_close(c, b->handle, &flags));
                b->count--;
                if (flags != (b->count == 0 ? MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE : 0U))
                        return __LINE__;
        } else if (!b->scratch) {
                TRY(mh_scratch_alloc(c, (size_t)(n % 3000) + 1, &b->scratch));
        } else {
                TRY(mh_scratch_free(c, b->scratch));
                b->scratch = 0;
        }
        return 0;
}

static int close_all(mh_client *c, Belief *beliefs)
{
        for (unsigned i = 0; i < HELD; i++) {
                Belief *b = &beliefs[i];

                if (b->scratch)
                        TRY(mh_scratch_free(c, b->scratch));
                while (b->count > 0) {
                        unsigned flags = 77;

                        TRY(mh_close(c, b->handle, &flags));
                        b->count--;
                        if (flags != (b->count == 0 ? MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE : 0U))
                                return __LINE__;
                }
        }
        return 0;
}

static int work(void *arg)
{
        unsigned short seed[3] = { (unsigned short)(uintptr_t)arg, 1, 2 };
        Belief beliefs[HELD] = {};
        mh_client *c = NULL;
        int r;

        TRY(mh_attach(&c, NULL, (uintptr_t)arg % 4 == 3 ? MH_ATTACH_NO_MAP : 0));
        /* On slow machines, too, no call may give up. */
        c->patience = 120 * DEADLINE_SECOND;
        while (!load_relaxed(&board->stop)) {
                r = step(c, &beliefs[nrand48(seed) % HELD], nrand48(seed));
                if (r)
                        return r;
        }
        for (unsigned i = 0; i < HELD; i++) {
                (void)fetch_add_relaxed(&board->handles, beliefs[i].count > 0);
                (void)fetch_add_relaxed(&board->blocks, beliefs[i].scratch != 0);
        }
        (void)fetch_add_sc(&board->ready, 1);
        while (!load_sc(&board->leave))
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        r = close_all(c, beliefs);
        if (r)
                return r;
        (void)fetch_add_sc(&board->ready, 1);
        while (load_sc(&board->leave) < 2)
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        return mh_detach(c) ? __LINE__ : 0;
}

static bool all_ready(void *n)
{
        return load_sc(&board->ready) == (uintptr_t)n;
}

/*
 * Wire-only clients cannot be among those that resume after the daemon's death unless it knows that they live; they are
 * here because it does.
 */
Test(restart, every_request_takes_effect_once)
{
        pid_t pids[CLIENTS];
        unsigned kills = 0;
        VerifyStats stats;
        uint64_t deadline, before = 0;

        make_board();
        for (uintptr_t i = 0; i < CLIENTS; i++)
                pids[i] = private_fork(work, (void *)i);

        /* At least so many times, and each time something was done in between. */
        deadline = private_deadline(60);
        while (kills < 60 && deadline_now() < deadline) {
                uint64_t now = load_relaxed(&board->requests);

                if (now < before + 20) {
                        deadline_sleep(deadline_in(DEADLINE_SECOND / 1000));
                        continue;
                }
                before = now;
                kills += private_kill_daemon();
        }
        cr_expect_geq(kills, 20);
        store_relaxed(&board->stop, 1);
        cr_assert(private_poll(all_ready, (void *)(uintptr_t)CLIENTS), "%u of them are well", board->ready);

        /* What they believe is what there is. */
        cr_expect(private_settled(CLIENTS, board->handles));
        cr_expect_eq(private_verify(&stats), 0);
        cr_expect_eq(stats.handles, board->handles);
        cr_expect_eq(stats.blocks, board->blocks);
        cr_expect_gt(board->handles, 0);

        store_sc(&board->leave, 1);
        cr_assert(private_poll(all_ready, (void *)(uintptr_t)(2 * CLIENTS)));
        cr_expect(private_settled(CLIENTS, 0));
        cr_expect_eq(private_verify(&stats), 0);
        cr_expect_eq(stats.blocks, 0);
        store_sc(&board->leave, 2);
        for (unsigned i = 0; i < CLIENTS; i++)
                cr_expect_eq(private_wait(pids[i]), 0);
        cr_expect(private_settled(0, 0));
        cr_expect_leq(private_daemons(), 1);
        (void)fprintf(say_stream(), "# %u kills, %llu requests\n", kills, (unsigned long long)board->requests);
}

/* A daemon that is there and does not move: who asks it waits, and then gives up the connection, and with it, without a map of the
 * segment, all it held. Nothing leaks by that. */
Test(restart, a_frozen_daemon)
{
        mh_handle h, g = 77;
        mh_client *c = NULL;
        pid_t daemon;

        cr_assert_eq(mh_attach(&c, NULL, MH_ATTACH_NO_MAP), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        daemon = private_daemon();
        cr_assert_gt(daemon, 0);
        c->patience = DEADLINE_SECOND / 5;
        cr_assert_eq(kill(daemon, SIGSTOP), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &g), -ENOTCONN);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &g), -ENOTCONN);
        cr_assert_eq(mh_open(c, h, NULL), -ENOTCONN);
        cr_assert_eq(g, 77);
        cr_assert_eq(kill(daemon, SIGCONT), 0);

        c->patience = 60 * DEADLINE_SECOND;
        cr_assert_eq(mh_close(c, h, NULL), -ESTALE);
        cr_assert_eq(mh_close(c, h, NULL), -ENOTCONN);
        cr_assert(private_settled(0, 0));
        c = mh_detach(c);
}

/* Who works on the segment itself does not care. */
Test(restart, nobody_waits_for_a_frozen_daemon)
{
        mh_client *c = NULL;
        uint64_t begin;
        mh_scratch s;
        mh_handle h;
        pid_t daemon;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        daemon = private_daemon();
        cr_assert_gt(daemon, 0);
        c->patience = 3600 * DEADLINE_SECOND;
        cr_assert_eq(kill(daemon, SIGSTOP), 0);
        /* Longer than it takes until somebody looks after the connection. */
        begin = deadline_now();
        while (deadline_now() < begin + 3 * DEADLINE_SECOND) {
                cr_assert_eq(mh_open(c, h, NULL), 0);
                cr_assert_eq(mh_close(c, h, NULL), 0);
                cr_assert_eq(mh_scratch_alloc(c, 100, &s), 0);
                cr_assert_eq(mh_scratch_give(c, s, h), 0);
                cr_assert_eq(mh_scratch_free(c, s), -EBUSY);
                cr_assert_eq(mh_close(c, h, NULL), 0);
                cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        }
        cr_assert_eq(kill(daemon, SIGCONT), 0);
        cr_assert_eq(private_daemon(), daemon);
        c = mh_detach(c);
        cr_assert(private_settled(0, 0));
}

/* Ways to do nothing but take and free scratch. */
static void pairs(mh_client *c, mh_scratch *s, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                cr_assert_eq(mh_scratch_alloc(c, 64, s), 0);
                cr_assert_eq(mh_scratch_free(c, *s), 0);
        }
}

static void batches(mh_client *c, mh_scratch *s, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(mh_scratch_alloc(c, 256, &s[i]), 0);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(mh_scratch_free(c, s[(i * 7) % n]), 0);
}

static void large(mh_client *c, mh_scratch *s, unsigned n)
{
        cr_assert_eq(mh_scratch_alloc(c, 100000, s), 0);
        cr_assert_eq(mh_scratch_free(c, *s), 0);
}

/* Who does nothing else passes no place where it could count, and yet sees to it that somebody is there to reap the dead. */
Test(restart, scratch_alone_brings_the_next_daemon)
{
        static void (*const ways[])(mh_client *, mh_scratch *, unsigned) = { pairs, batches, large };
        static mh_scratch s[1000];
        mh_client *c = NULL;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        for (unsigned i = 0; i < ELEMENTSOF(ways); i++) {
                uint64_t give_up = deadline_in(60 * DEADLINE_SECOND);

                cr_assert(private_kill_daemon());
                while (private_daemon() <= 0) {
                        ways[i](c, s, ELEMENTSOF(s));
                        cr_assert_lt(deadline_now(), give_up, "way %u", i);
                }
        }
        c = mh_detach(c);
}

/* Its name in the file system is gone: the client brings the segment along. */
Test(restart, the_segment_lost_its_name)
{
        mh_client *c = NULL;
        const char *text;
        mh_scratch s;
        mh_handle h;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_scratch_store_string(c, "kept", &s), 0);
        for (unsigned i = 0; i < 3; i++) {
                cr_assert(private_kill_daemon());
                private_forget_segment();
                cr_assert_eq(mh_open(c, h, NULL), 0);
                cr_assert_eq(private_work_until_served(c, h), 0);
                cr_assert_eq(mh_scratch_get_string(c, s, &text), 0);
                cr_assert_str_eq(text, "kept");
        }
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(mh_close(c, h, NULL), 0);
        cr_assert_eq(mh_close(c, h, NULL), -ESTALE);
        c = mh_detach(c);
}

/* And somebody else was there first: there is another segment now, and the old one is gone for good. */
Test(restart, the_segment_is_gone)
{
        mh_client *old = NULL, *new = NULL;
        unsigned char *p;
        mh_handle h, g;
        void *payload;
        int r;

        cr_assert_eq(mh_attach(&old, NULL, 0), 0);
        cr_assert_eq(mh_new(old, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_payload(old, h, &payload, NULL), 0);
        cr_assert(private_kill_daemon());
        private_forget_segment();

        cr_assert_eq(mh_attach(&new, NULL, 0), 0);
        cr_assert_eq(mh_new(new, MH_TYPE_EVENT, &g), 0);
        r = 0;
        while (r == 0)
                r = private_work_until_served(old, h);
        cr_assert_eq(r, -ESTALE);
        cr_assert_eq(mh_open(old, h, NULL), -ENOTCONN);
        cr_assert_eq(mh_new(old, MH_TYPE_EVENT, &h), -ENOTCONN);
        cr_assert_eq(mh_payload(old, h, &payload, NULL), -ESTALE);

        /* What it pointed to stays mapped. */
        p = payload;
        p[3] = 5;
        cr_assert_eq(p[3], 5);
        old = mh_detach(old);
        cr_assert_null(old);
        cr_assert(private_settled(1, 1));
        new = mh_detach(new);
}

static int stay(void *arg)
{
        mh_client *c = NULL;
        mh_handle h;

        TRY(mh_attach(&c, NULL, 0));
        TRY(mh_new(c, MH_TYPE_EVENT, &h));
        TRY(mh_open(c, (mh_handle)(uintptr_t)arg, NULL));
        (void)fetch_add_sc(&board->ready, 1);
        (void)pause();
        return 0;
}

/* Clients and daemon die together: the next daemon reaps what is left of them. */
Test(restart, clients_die_while_there_is_no_daemon)
{
        mh_client *c = NULL;
        pid_t pids[CLIENTS];
        unsigned flags;
        mh_handle h;

        make_board();
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        for (unsigned i = 0; i < CLIENTS; i++)
                pids[i] = private_fork(stay, (void *)(uintptr_t)h);
        cr_assert(private_poll(all_ready, (void *)(uintptr_t)CLIENTS));
        cr_assert(private_settled(CLIENTS + 1, CLIENTS + 1));

        cr_assert(private_kill_daemon());
        for (unsigned i = 0; i < CLIENTS; i++) {
                cr_assert_eq(kill(pids[i], SIGKILL), 0);
                (void)private_wait(pids[i]);
        }
        cr_assert_eq(mh_open(c, h, NULL), 0);
        cr_assert_eq(private_work_until_served(c, h), 0);
        cr_assert(private_settled(1, 1));
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        c = mh_detach(c);
}

/* Nobody is there who could see that its connection ends; and its process goes on. */
Test(restart, detaching_in_vain)
{
        mh_client *c = NULL, *idle = NULL, *witness = NULL;
        mh_handle h, kept, own;
        uint64_t end;
        pid_t daemon;

        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &own), 0);
        cr_assert_eq(mh_attach(&idle, NULL, MH_ATTACH_NO_MAP), 0);
        cr_assert_eq(mh_new(idle, MH_TYPE_EVENT, &kept), 0);
        cr_assert_eq(mh_attach(&c, NULL, MH_ATTACH_NO_MAP), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        daemon = private_daemon();
        cr_assert_gt(daemon, 0);
        cr_assert_eq(kill(daemon, SIGSTOP), 0);
        c = mh_detach(c);
        cr_assert(private_kill_daemon());
        cr_assert_eq(private_work_until_served(witness, own), 0);
        cr_assert(private_settled(2, 2));

        /* That is not what it is to have nothing to ask for a while, however often the daemon looks. */
        end = deadline_now() + 8 * DEADLINE_SECOND;
        while (deadline_now() < end) {
                cr_assert_eq(mh_open(witness, kept, NULL), 0);
                cr_assert_eq(mh_close(witness, kept, NULL), 0);
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        }
        cr_assert_eq(mh_open(idle, kept, NULL), 0);
        cr_assert_eq(mh_open(idle, own, NULL), 0);
        cr_assert(private_settled(2, 2));
        idle = mh_detach(idle);
        cr_assert(private_settled(1, 1));
        witness = mh_detach(witness);
}

/* A client that does not map, and whose program closes what is not its own; while there is no daemon, nobody sees that. */
Test(restart, closing_everything_while_there_is_no_daemon)
{
        mh_client *idle = NULL, *witness = NULL;
        mh_handle own, kept;

        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &own), 0);
        cr_assert_eq(mh_attach(&idle, NULL, MH_ATTACH_NO_MAP), 0);
        cr_assert_eq(mh_new(idle, MH_TYPE_EVENT, &kept), 0);
        cr_assert(private_kill_daemon());
        cr_assert_eq(close(idle->socket.fd), 0);
        cr_assert_eq(close(idle->life.fd), 0);
        cr_assert_eq(mh_open(idle, kept, NULL), 0);

        /* It has another socket by which the third daemon knows that it is there. */
        cr_assert(private_kill_daemon());
        cr_assert_eq(private_work_until_served(witness, own), 0);
        deadline_sleep(deadline_in(5 * DEADLINE_SECOND));
        cr_assert_eq(mh_close(idle, kept, NULL), 0);
        cr_assert_eq(mh_close(idle, kept, NULL), 0);
        idle = mh_detach(idle);
        witness = mh_detach(witness);
}

Test(restart, detaching_while_there_is_no_daemon)
{
        mh_client *c = NULL, *other = NULL;
        mh_handle h;

        cr_assert_eq(mh_attach(&other, NULL, 0), 0);
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        cr_assert(private_kill_daemon());
        c = mh_detach(c);
        cr_assert_eq(mh_open(other, h, NULL), -ESTALE);
        cr_assert(private_settled(1, 0));
        other = mh_detach(other);
}
