/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A timer of the event loop, set for a time from now, which goes off once.
 *
 * From now, and not from when sd-event was last awake, which is what it takes for "now" itself: packets do not wake it
 * (see loop.h), and a timer that counts from an hour ago has gone off before it is set.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/loop.h"

typedef struct Timer {
        Loop *loop;
        sd_event_source *source; /* NULL: there is none (yet) */
} Timer;

/* Not armed. It may be late by `accuracy` microseconds, which is not 0. -errno. */
int timer_init(Timer *t, Loop *loop, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata);

/* Fine for a timer of zeroes, and twice. */
void timer_done(Timer *t);

/* In so many microseconds from now, whatever it was set to before. */
void timer_arm(Timer *t, uint64_t usec);

void timer_disarm(Timer *t);

bool timer_is_armed(const Timer *t);
