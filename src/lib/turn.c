/* SPDX-License-Identifier: MIT */

#include "lib/turn.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "lib/deadline.h"

/* On the stack of who waits. Each has a condition of its own, so that exactly that one is woken. */
struct TurnWaiter {
        pthread_cond_t wake;
        bool granted;
        TurnWaiter *next;
};

void turn_init(Turn *t)
{
        (void)pthread_mutex_init(&t->lock, NULL);
        t->taken = false;
        t->first = NULL;
        t->last = &t->first;
}

void turn_done(Turn *t)
{
        (void)pthread_mutex_destroy(&t->lock);
}

static void leave_queue(Turn *t, TurnWaiter *w)
{
        TurnWaiter **p = &t->first;

        while (*p != w)
                p = &(*p)->next;
        *p = w->next;
        if (!w->next)
                t->last = p;
}

/* The turn is somebody's. */
static int wait_in_queue(Turn *t, uint64_t deadline)
{
        const struct timespec until = deadline_timespec(deadline);
        TurnWaiter w = {};
        pthread_condattr_t monotonic;
        int r = 0;

        (void)pthread_condattr_init(&monotonic);
        (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&w.wake, &monotonic);
        (void)pthread_condattr_destroy(&monotonic);

        *t->last = &w;
        t->last = &w.next;
        while (!w.granted && r == 0)
                r = pthread_cond_timedwait(&w.wake, &t->lock, &until);
        if (!w.granted)
                leave_queue(t, &w);
        (void)pthread_cond_destroy(&w.wake);
        return w.granted ? 0 : -ETIMEDOUT;
}

int turn_take(Turn *t, uint64_t deadline)
{
        int r = 0;

        (void)pthread_mutex_lock(&t->lock);
        if (t->taken)
                r = wait_in_queue(t, deadline);
        else
                t->taken = true;
        (void)pthread_mutex_unlock(&t->lock);
        return r;
}

void turn_end(Turn *t)
{
        TurnWaiter *w;

        (void)pthread_mutex_lock(&t->lock);
        assert(t->taken);
        w = t->first;
        if (w) {
                t->first = w->next;
                if (!t->first)
                        t->last = &t->first;
                /* It stays taken, by that one. Signalled with the lock held, because it is gone once it was seen. */
                w->granted = true;
                (void)pthread_cond_signal(&w->wake);
        } else
                t->taken = false;
        (void)pthread_mutex_unlock(&t->lock);
}
