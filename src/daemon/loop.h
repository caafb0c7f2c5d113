/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The event loop: sd-event, and a short way past it for packets.
 *
 * sd-event has all that happens now and then: signals, timers, processes that end, who knocks, the watchdog. A turn of
 * it costs half a microsecond, which is nothing for those, and a tenth of what a whole request over the wire takes,
 * next to the three system calls that no server of several clients can do without. So the sockets of clients stand in
 * an epoll set of our own, where sd-event's descriptor is one more member (as sd_event_get_fd(3) has it).
 *
 * A turn: each source that is ready is called once, and then sd-event dispatches one thing, if it has any. So neither
 * of the two can keep the other waiting for more than one round.
 *
 * What sd-event is to wait for it finds out when it has its turn. A descriptor that is added to it between its turns is
 * seen, because the kernel watches it from then on. A timer that is set, or a thing that is put off, is not: who does
 * that says loop_nudge(), and all timers (timer.h) do so of themselves.
 *
 * In one thread; nothing here is safe to call from another one.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

/* Sources that are called in one turn; with more, the others have theirs in the next one. */
#define LOOP_BATCH 32

typedef struct Loop Loop;

/* May remove any source, also its own. */
typedef void (*LoopHandler)(void *userdata, uint32_t revents);

typedef struct LoopSource {
        int fd; /* borrowed; -1: not in the loop */
        uint32_t events;
        LoopHandler handler;
        void *userdata;
} LoopSource;

#define LOOP_SOURCE_NONE ((LoopSource){ .fd = -1 })

struct Loop {
        sd_event *event; /* for what belongs there */
        int epoll;
        LoopSource inner; /* sd-event */
        bool nudged;      /* sd-event may have something to do */
        int n, at;        /* of this turn: how many are ready, and which one is being called */
        struct epoll_event ready[LOOP_BATCH];
};

#define LOOP_NONE ((Loop){ .epoll = -1, .inner = LOOP_SOURCE_NONE })

/* -errno; then it is as LOOP_NONE. */
int loop_init(Loop *l);

/* Fine for LOOP_NONE and twice. Whatever was added has been removed before. */
void loop_done(Loop *l);

/* One turn, which waits for something to happen for at most so many milliseconds (-1: for ever). 1: something was done;
 * 0: nothing was there; -errno. */
int loop_turn(Loop *l, int timeout_ms);

/* Turns until sd_event_exit() was called. The code that it got, or -errno. */
int loop_run(Loop *l);

/* sd-event has its turn, though none of its descriptors is ready. */
void loop_nudge(Loop *l);

/* `s` stays where it is until it is removed. `events` as in epoll_ctl(2), level-triggered. -errno. */
int loop_add(Loop *l, LoopSource *s, int fd, uint32_t events, LoopHandler handler, void *userdata);

/* From now on it waits for these. EPOLLHUP and EPOLLERR are told always. */
void loop_set_events(Loop *l, LoopSource *s, uint32_t events);

/* It is not called any more, not even in this turn. Before its descriptor is closed. Fine if it is not there. */
void loop_remove(Loop *l, LoopSource *s);
