/* SPDX-License-Identifier: MIT */

#include "daemon/timer.h"

#include <assert.h>

#include "base/clock.h"

int timer_init(Timer *t, Loop *loop, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata)
{
        int r;

        *t = (Timer){ .loop = loop };
        assert(accuracy > 0); /* sd-event would take its default */

        r = sd_event_add_time(loop->event, &t->source, CLOCK_MONOTONIC, UINT64_MAX, accuracy, handler, userdata);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
}

void timer_done(Timer *t)
{
        t->source = sd_event_source_disable_unref(t->source);
}

void timer_arm(Timer *t, uint64_t usec)
{
        uint64_t now = clock_usec();

        assert(t->source);

        /* UINT64_MAX is never, for sd-event, too. */
        (void)sd_event_source_set_time(t->source, usec < UINT64_MAX - now ? now + usec : UINT64_MAX);
        (void)sd_event_source_set_enabled(t->source, SD_EVENT_ONESHOT);
        loop_nudge(t->loop);
}

void timer_disarm(Timer *t)
{
        if (t->source)
                (void)sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
}

bool timer_is_armed(const Timer *t)
{
        return t->source && sd_event_source_get_enabled(t->source, NULL) > 0;
}
