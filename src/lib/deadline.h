/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Points in time on the monotonic clock, in microseconds. Whatever waits takes the point at which it gives up, not a
 * length, so that nested waits add up to no more than the outermost allows.
 */

#include <stdint.h>
#include <time.h>

#include "base/clock.h"

#define DEADLINE_SECOND USEC_PER_SEC

static inline uint64_t deadline_now(void)
{
        return clock_usec();
}

static inline uint64_t deadline_in(uint64_t usec)
{
        return deadline_now() + usec;
}

/* What is left of it, for poll(2): rounded up, so that no wait ends just before the point. */
static inline int deadline_poll_msec(uint64_t deadline)
{
        uint64_t now = deadline_now();

        return now >= deadline ? 0 : (int)((deadline - now + 999) / 1000);
}

static inline struct timespec deadline_timespec(uint64_t deadline)
{
        return (struct timespec){
                .tv_sec = (time_t)(deadline / DEADLINE_SECOND),
                .tv_nsec = (long)(deadline % DEADLINE_SECOND) * 1000,
        };
}

/* Sleeps until the point, interrupted or not. */
static inline void deadline_sleep(uint64_t deadline)
{
        struct timespec ts = deadline_timespec(deadline);

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0 && deadline_now() < deadline)
                ;
}
