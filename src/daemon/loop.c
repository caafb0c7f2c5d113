/* SPDX-License-Identifier: MIT */

#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>

#include "base/cleanup.h"

static void on_inner(void *userdata, uint32_t revents)
{
        loop_nudge(userdata);
}

int loop_init(Loop *l)
{
        int r;

        *l = LOOP_NONE;
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (l->epoll < 0)
                return -errno;
        r = sd_event_new(&l->event);
        if (r >= 0)
                r = loop_add(l, &l->inner, sd_event_get_fd(l->event), EPOLLIN, on_inner, l);
        if (r < 0)
                loop_done(l);
        else
                l->nudged = true;
        return r;
}

void loop_done(Loop *l)
{
        loop_remove(l, &l->inner);
        l->event = sd_event_unref(l->event);
        l->epoll = fd_close(l->epoll);
}

void loop_nudge(Loop *l)
{
        l->nudged = true;
}

int loop_turn(Loop *l, int timeout_ms)
{
        int r = 0, n;

        n = epoll_wait(l->epoll, l->ready, LOOP_BATCH, l->nudged ? 0 : timeout_ms);
        if (n < 0 && errno != EINTR)
                return -errno;
        l->n = MAX(n, 0);
        for (l->at = 0; l->at < l->n; l->at++) {
                const LoopSource *s = l->ready[l->at].data.ptr;

                if (s) /* else it was removed since the turn began */
                        s->handler(s->userdata, l->ready[l->at].events);
        }
        l->n = 0;

        if (l->nudged) {
                r = sd_event_run(l->event, 0);
                if (r < 0)
                        return r;
                /* It dispatches one thing in a turn, and it alone knows whether there are more. */
                l->nudged = r > 0;
        }
        return n > 0 || r > 0;
}

int loop_run(Loop *l)
{
        int r, code;

        while (sd_event_get_state(l->event) != SD_EVENT_FINISHED) {
                r = loop_turn(l, -1);
                if (r < 0)
                        return r;
        }
        r = sd_event_get_exit_code(l->event, &code);
        return r < 0 ? r : code;
}

int loop_add(Loop *l, LoopSource *s, int fd, uint32_t events, LoopHandler handler, void *userdata)
{
        struct epoll_event e = { .events = events, .data.ptr = s };

        assert(fd >= 0 && handler);

        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
                return -errno;
        *s = (LoopSource){ .fd = fd, .events = events, .handler = handler, .userdata = userdata };
        return 0;
}

void loop_set_events(Loop *l, LoopSource *s, uint32_t events)
{
        struct epoll_event e = { .events = events, .data.ptr = s };

        if (s->fd < 0 || s->events == events)
                return;
        s->events = events;
        (void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &e);
}

void loop_remove(Loop *l, LoopSource *s)
{
        if (s->fd < 0)
                return;
        (void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
        for (int i = l->at + 1; i < l->n; i++)
                if (l->ready[i].data.ptr == s)
                        l->ready[i].data.ptr = NULL;
        *s = LOOP_SOURCE_NONE;
}
