/* SPDX-License-Identifier: MIT */

#include "daemon/reaper.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/server.h"
#include "daemon/sigbus.h"
#include "shm/trim.h"

/* A turn ends when this time is over; a step in it is far shorter. */
#define TURN_USEC  UINT64_C(400)
#define STEP_UNITS 100U

/* Empty chunks that are kept, 64 KiB each: handles that come and go shall not cost a system call. */
#define TRIM_KEEP  4U
#define TRIM_UNITS 500U

#define LATER_USEC    UINT64_C(1000000)
#define ACCURACY_USEC UINT64_C(500)

/* A large block is given back in many turns without leaving its place: so this comes late, and begins gently. */
#define STALLED_TURNS     256U
#define STALLED_USEC      UINT64_C(1000)
#define STALLED_DOUBLINGS 10U

static void append(Reaper *r, Attachment *a)
{
        a->reap_next = NULL;
        if (r->last)
                r->last->reap_next = a;
        else
                r->first = a;
        r->last = a;
        r->n++;
}

static Attachment *take_first(Reaper *r)
{
        Attachment *a = r->first;

        r->first = a->reap_next;
        if (!r->first)
                r->last = NULL;
        r->n--;
        return a;
}

void reaper_add(Reaper *r, Attachment *a)
{
        assert(a->dead);

        client_kill(&r->server->store.segment, a->id);
        append(r, a);
        (void)sd_event_source_set_enabled(r->work, SD_EVENT_ON);
}

static void finish_first(Reaper *r)
{
        Attachment *a = take_first(r);

        if (r->n == 0) {
                (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
                reaper_trim(r);
        }
        server_reaped(r->server, a);
}

static void pause_for(Reaper *r, uint64_t usec)
{
        (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
        timer_arm(&r->later, usec);
}

/* False: there is no memory to begin with it now. It goes to the end of the queue; when all are there, later is soon
 * enough. */
static bool begin_first(Reaper *r)
{
        Attachment *a = r->first;

        if (a->reaping)
                return true;
        if (reap_init(&a->reap, &r->server->store.segment, a->id) >= 0) {
                a->reaping = true;
                r->n_postponed = 0;
                return true;
        }
        append(r, take_first(r));
        r->n_postponed++;
        if (r->n_postponed >= r->n) {
                r->n_postponed = 0;
                pause_for(r, LATER_USEC);
        }
        return false;
}

static int on_later(sd_event_source *source, uint64_t usec, void *userdata)
{
        Reaper *r = userdata;

        return sd_event_source_set_enabled(r->work, r->first ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* Until the time is over, `n` entries are done or none is left. What is read from a segment that was pulled away is
 * not to be believed: whoever called sees to that. */
static unsigned work(Reaper *r, uint64_t deadline, unsigned n)
{
        unsigned done = 0;

        while (r->first && done < n && !sigbus_hit()) {
                if (begin_first(r) && reap_step(&r->first->reap, STEP_UNITS) == 0) {
                        if (sigbus_hit())
                                break;
                        finish_first(r);
                        done++;
                }
                if (clock_usec() >= deadline)
                        break;
        }
        return done;
}

/*
 * In a segment that somebody scribbles over, a step may find each time that others keep something busy. That must not
 * take the processor from everybody else: who stands at the same place for many turns is looked at less often, and
 * less often still.
 */
static void watch_progress(Reaper *r, const Attachment *before, unsigned stage, uint64_t position)
{
        uint64_t pause;

        if (r->first != before || !before || !before->reaping || before->reap.stage != stage ||
            before->reap.position != position) {
                r->n_stalled = 0;
                return;
        }
        if (++r->n_stalled < STALLED_TURNS)
                return;
        pause = STALLED_USEC << MIN(r->n_stalled / STALLED_TURNS - 1, STALLED_DOUBLINGS);
        append(r, take_first(r));
        pause_for(r, pause);
}

static int on_work(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Reaper *r = userdata;
        const Attachment *a = r->first;
        unsigned stage = a ? a->reap.stage : 0;
        uint64_t position = a ? a->reap.position : 0;

        (void)work(r, clock_usec() + TURN_USEC, UINT32_MAX);
        watch_progress(r, a, stage, position);
        server_check_segment(r->server);
        return 0;
}

bool reaper_hurry(Reaper *r, bool all, uint64_t usec)
{
        unsigned done = work(r, clock_usec() + usec, all ? UINT32_MAX : 1);

        return all ? r->n == 0 : done > 0;
}

static int on_trim(sd_event_source *source, void *userdata)
{
        Reaper *r = userdata;
        Segment *seg = &r->server->store.segment;

        if (!store_is_open(&r->server->store))
                return 0;
        if (trim_step(seg, &r->trim_cursor, TRIM_KEEP, TRIM_UNITS) > 0)
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        /* What was looked at stays mapped here and would count as ours. */
        segment_relax(seg);
        server_check_segment(r->server);
        return 0;
}

void reaper_trim(Reaper *r)
{
        r->trim_cursor = 0;
        (void)sd_event_source_set_enabled(r->trim, SD_EVENT_ONESHOT);
        loop_nudge(&r->server->loop);
}

int reaper_init(Reaper *r, Server *server)
{
        int k;

        *r = (Reaper){ .server = server, .kick = -1 };

        r->kick = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r->kick < 0)
                return -errno;
        k = sd_event_add_io(server->loop.event, &r->work, r->kick, EPOLLIN, on_work, r);
        if (k < 0)
                return k;
        k = sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
        if (k < 0)
                return k;
        k = timer_init(&r->later, &server->loop, ACCURACY_USEC, on_later, r);
        if (k < 0)
                return k;
        k = sd_event_add_defer(server->loop.event, &r->trim, on_trim, r);
        if (k < 0)
                return k;
        k = sd_event_source_set_priority(r->trim, SD_EVENT_PRIORITY_IDLE);
        if (k < 0)
                return k;
        return sd_event_source_set_enabled(r->trim, SD_EVENT_OFF);
}

void reaper_forget(Reaper *r)
{
        r->first = r->last = NULL;
        r->n = 0;
        r->n_postponed = 0;
        r->n_stalled = 0;
        timer_disarm(&r->later);
        if (r->work)
                (void)sd_event_source_set_enabled(r->work, SD_EVENT_OFF);
        if (r->trim)
                (void)sd_event_source_set_enabled(r->trim, SD_EVENT_OFF);
}

void reaper_done(Reaper *r)
{
        reaper_forget(r);
        r->work = sd_event_source_disable_unref(r->work);
        timer_done(&r->later);
        r->trim = sd_event_source_disable_unref(r->trim);
        r->kick = fd_close(r->kick);
}
