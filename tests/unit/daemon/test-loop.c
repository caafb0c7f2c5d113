/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/loop.h"
#include "daemon/timer.h"

#define N (3 * LOOP_BATCH)

typedef struct Thing {
        LoopSource source;
        int fd; /* readable for ever */
        unsigned calls;
        struct Thing *victim; /* removed when this one is called */
} Thing;

static Loop loop;
static Thing things[N];
static unsigned n_inner;

static void set_up(void)
{
        cr_assert_eq(loop_init(&loop), 0);
        n_inner = 0;
        for (unsigned i = 0; i < N; i++)
                things[i] = (Thing){ .source = LOOP_SOURCE_NONE, .fd = -1 };
}

static void tear_down(void)
{
        for (unsigned i = 0; i < N; i++) {
                loop_remove(&loop, &things[i].source);
                things[i].fd = fd_close(things[i].fd);
        }
        loop_done(&loop);
        loop_done(&loop);
}

TestSuite(loop, .init = set_up, .fini = tear_down);

static void on_thing(void *userdata, uint32_t revents)
{
        Thing *t = userdata;

        cr_assert(revents & EPOLLIN);
        t->calls++;
        if (t->victim)
                loop_remove(&loop, &t->victim->source);
}

static void add(Thing *t)
{
        t->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        cr_assert_geq(t->fd, 0);
        cr_assert_eq(loop_add(&loop, &t->source, t->fd, EPOLLIN, on_thing, t), 0);
}

static int on_inner(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        n_inner++;
        return 0;
}

static int on_deferred(sd_event_source *source, void *userdata)
{
        n_inner++;
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        *(uint64_t *)userdata = clock_usec();
        return 0;
}

/* Until there is nothing to do. */
static void settle(void)
{
        while (loop_turn(&loop, 0) > 0)
                ;
}

Test(loop, says_when_there_was_nothing)
{
        settle();
        cr_expect_eq(loop_turn(&loop, 0), 0);
        cr_expect_eq(loop_turn(&loop, 1), 0);
}

Test(loop, calls_who_is_ready_and_no_others)
{
        add(&things[0]);
        add(&things[1]);
        loop_set_events(&loop, &things[1].source, 0);
        cr_expect_eq(loop_turn(&loop, -1), 1);
        cr_expect_eq(loop_turn(&loop, -1), 1);
        cr_expect_eq(things[0].calls, 2);
        cr_expect_eq(things[1].calls, 0);
        loop_set_events(&loop, &things[1].source, EPOLLIN);
        loop_remove(&loop, &things[0].source);
        cr_expect_eq(loop_turn(&loop, -1), 1);
        cr_expect_eq(things[0].calls, 2);
        cr_expect_eq(things[1].calls, 1);
}

Test(loop, all_have_their_turn)
{
        for (unsigned i = 0; i < N; i++)
                add(&things[i]);
        for (unsigned turn = 0; turn < 10 * N / LOOP_BATCH; turn++)
                cr_assert_eq(loop_turn(&loop, -1), 1);
        for (unsigned i = 0; i < N; i++)
                cr_expect_eq(things[i].calls, 10, "%u: %u", i, things[i].calls);
}

Test(loop, who_is_removed_is_not_called_in_this_turn_either)
{
        /* Whichever of two is called first removes the other. */
        add(&things[0]);
        add(&things[1]);
        things[0].victim = &things[1];
        things[1].victim = &things[0];
        cr_expect_eq(loop_turn(&loop, -1), 1);
        cr_expect_eq(things[0].calls + things[1].calls, 1);
        cr_expect_eq(loop_turn(&loop, -1), 1, "one is left");
        cr_expect_eq(things[0].calls + things[1].calls, 2);
        cr_expect_eq(MAX(things[0].calls, things[1].calls), 2, "the same");
}

Test(loop, may_be_left_by_who_is_called)
{
        add(&things[0]);
        things[0].victim = &things[0];
        cr_expect_eq(loop_turn(&loop, -1), 1);
        settle();
        cr_expect_eq(things[0].calls, 1);
}

Test(loop, neither_keeps_the_other_waiting)
{
        sd_event_source *inner = NULL;
        int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

        cr_assert_geq(fd, 0);
        cr_assert_geq(sd_event_add_io(loop.event, &inner, fd, EPOLLIN, on_inner, NULL), 0);
        add(&things[0]);
        for (unsigned i = 0; i < 100; i++)
                cr_assert_eq(loop_turn(&loop, -1), 1);
        cr_expect_eq(things[0].calls, 100);
        cr_expect_geq(n_inner, 99);
        cr_assert_null(sd_event_source_disable_unref(inner));
        (void)fd_close(fd);
}

Test(loop, a_descriptor_that_comes_later_is_seen)
{
        sd_event_source *inner = NULL;
        int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

        cr_assert_geq(fd, 0);
        settle();
        cr_assert_geq(sd_event_add_io(loop.event, &inner, fd, EPOLLIN, on_inner, NULL), 0);
        while (n_inner == 0)
                cr_assert_eq(loop_turn(&loop, 10000), 1);
        cr_assert_null(sd_event_source_disable_unref(inner));
        (void)fd_close(fd);
}

Test(loop, all_that_is_deferred_is_done_after_one_nudge)
{
        sd_event_source *deferred[5] = {};

        settle();
        for (unsigned i = 0; i < 5; i++)
                cr_assert_geq(sd_event_add_defer(loop.event, &deferred[i], on_deferred, NULL), 0);
        loop_nudge(&loop);
        while (n_inner < 5)
                cr_assert_eq(loop_turn(&loop, 0), 1);
        settle();
        cr_expect_eq(n_inner, 5);
        for (unsigned i = 0; i < 5; i++)
                cr_assert_null(sd_event_source_unref(deferred[i]));
}

static int on_exit_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        return sd_event_exit(loop.event, -ENOTTY);
}

Test(loop, runs_until_the_exit_and_returns_its_code)
{
        Timer t;

        cr_assert_eq(timer_init(&t, &loop, 1, on_exit_timer, NULL), 0);
        timer_arm(&t, 1000);
        add(&things[0]);
        cr_expect_eq(loop_run(&loop), -ENOTTY);
        cr_expect_gt(things[0].calls, 0);
        timer_done(&t);
}

/* ------------------------------------------------------------------------------------------------ timers */

static void wait_for(const uint64_t *when)
{
        uint64_t give_up = clock_usec() + 20 * USEC_PER_SEC;

        while (*when == 0 && clock_usec() < give_up)
                cr_assert_geq(loop_turn(&loop, 100), 0);
        cr_assert_neq(*when, 0);
}

Test(loop, a_timer_goes_off_once_and_not_before_its_time)
{
        uint64_t when = 0, set;
        Timer t;

        cr_assert_eq(timer_init(&t, &loop, 1, on_timer, &when), 0);
        cr_expect(!timer_is_armed(&t));
        settle();
        set = clock_usec();
        timer_arm(&t, 20000);
        cr_expect(timer_is_armed(&t));
        wait_for(&when);
        cr_expect_geq(when, set + 20000);
        cr_expect(!timer_is_armed(&t));
        when = 0;
        settle();
        cr_expect_eq(loop_turn(&loop, 30), 0);
        cr_expect_eq(when, 0);
        timer_done(&t);
        timer_done(&t);
}

/* sd-event believes that it is as late as when it was last awake. */
Test(loop, a_timer_counts_from_now_however_long_sd_event_has_slept)
{
        uint64_t when = 0, set;
        Timer t;

        cr_assert_eq(timer_init(&t, &loop, 1, on_timer, &when), 0);
        settle();
        add(&things[0]);
        for (set = clock_usec(); clock_usec() < set + 60000;)
                cr_assert_eq(loop_turn(&loop, -1), 1);
        set = clock_usec();
        timer_arm(&t, 30000);
        wait_for(&when);
        cr_expect_geq(when, set + 30000);
        timer_done(&t);
}

Test(loop, a_timer_can_be_set_anew_and_taken_back)
{
        uint64_t when = 0, set;
        Timer t;

        cr_assert_eq(timer_init(&t, &loop, 1, on_timer, &when), 0);
        timer_arm(&t, 1000);
        timer_disarm(&t);
        cr_expect(!timer_is_armed(&t));
        settle();
        cr_expect_eq(loop_turn(&loop, 5), 0);
        cr_expect_eq(when, 0);

        timer_arm(&t, UINT64_MAX);
        settle();
        set = clock_usec();
        timer_arm(&t, 1000);
        wait_for(&when);
        cr_expect_geq(when, set + 1000);
        timer_done(&t);
}
