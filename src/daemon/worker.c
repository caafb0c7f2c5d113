/* SPDX-License-Identifier: MIT */

#include "daemon/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "daemon/server.h"
#include "shm/block.h"
#include "shm/scratch.h"
#include "shm/slot.h"

/* More than about a millisecond of clearing pages. */
#define LONG_BYTES (UINT64_C(4) << 20)

static void append(Attachment **first, Attachment **last, Attachment *a)
{
        a->job_next = NULL;
        if (*last)
                (*last)->job_next = a;
        else
                *first = a;
        *last = a;
}

static Attachment *take_first(Attachment **first, Attachment **last)
{
        Attachment *a = *first;

        if (!a)
                return NULL;
        *first = a->job_next;
        if (!*first)
                *last = NULL;
        return a;
}

/* ------------------------------------------------------------------------------------------------ the thread */

static void *run(void *userdata)
{
        Worker *w = userdata;

        (void)pthread_mutex_lock(&w->lock);
        for (;;) {
                Attachment *a = take_first(&w->todo_first, &w->todo_last);

                if (!a) {
                        if (w->stop)
                                break;
                        (void)pthread_cond_wait(&w->changed, &w->lock);
                        continue;
                }
                w->working = true;
                (void)pthread_mutex_unlock(&w->lock);
                a->job_result = request_run(&a->actor, &a->job, &a->job_outcome);
                (void)pthread_mutex_lock(&w->lock);
                w->working = false;
                append(&w->done_first, &w->done_last, a);
                (void)pthread_cond_broadcast(&w->changed);
                (void)eventfd_write(w->done_fd, 1);
        }
        (void)pthread_mutex_unlock(&w->lock);
        return NULL;
}

/* Signals are for the event loop's thread. Faults are the thread's own all the same: see sigbus.h. */
static int start(Worker *w)
{
        sigset_t all, before;
        int r;

        if (w->started)
                return 0;
        (void)sigfillset(&all);
        (void)sigdelset(&all, SIGBUS);
        (void)sigdelset(&all, SIGSEGV);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r > 0)
                return -r;
        r = pthread_create(&w->thread, NULL, run, w);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r > 0)
                return -r;
        w->started = true;
        return 0;
}

/* ------------------------------------------------------------------------------------------------ the event loop */

static bool owns_long_block(Attachment *a, uint64_t handle)
{
        struct mh_shm_slot *slot;
        bool found = false;

        if (slot_held(&a->actor, handle, &slot) < 0)
                return false;
        for (unsigned i = 0; i < MH_SHM_SLOT_REFS; i++) {
                /* Relaxed: a guess whether this takes long; block_find() does not trust it, nor does who closes it. */
                uint64_t ref = load_relaxed(&slot->refs[i]);
                Block b;

                if (ref == 0 || block_find(&a->actor, ref_offset(ref), &b) < 0)
                        continue;
                found = found || b.size > LONG_BYTES;
                block_done(&a->actor);
        }
        return found;
}

bool worker_is_for(Attachment *a, const Request *request)
{
        uint64_t size;

        switch (request->op) {
        case MH_WIRE_SCRATCH:
                return request->arg[0] > LONG_BYTES;
        case MH_WIRE_SCRATCH_FREE:
                return scratch_lookup(&a->actor, request->arg[0], NULL, &size) == 0 && size > LONG_BYTES;
        case MH_WIRE_CLOSE:
                return owns_long_block(a, request->arg[0]);
        default:
                return false;
        }
}

int worker_submit(Worker *w, Attachment *a, const Request *request)
{
        int r;

        assert(!a->busy && !a->dead);

        r = start(w);
        if (r < 0)
                return r;
        a->busy = true;
        a->job = *request;
        (void)pthread_mutex_lock(&w->lock);
        append(&w->todo_first, &w->todo_last, a);
        (void)pthread_cond_broadcast(&w->changed);
        (void)pthread_mutex_unlock(&w->lock);
        return 0;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Worker *w = userdata;
        eventfd_t n;

        (void)eventfd_read(fd, &n);
        for (;;) {
                Attachment *a;

                (void)pthread_mutex_lock(&w->lock);
                a = take_first(&w->done_first, &w->done_last);
                (void)pthread_mutex_unlock(&w->lock);
                if (!a)
                        return 0;
                a->busy = false;
                server_worked(w->server, a);
        }
}

void worker_settle(Worker *w)
{
        Attachment *a;

        (void)pthread_mutex_lock(&w->lock);
        while ((a = take_first(&w->todo_first, &w->todo_last)))
                a->busy = false;
        while (w->working)
                (void)pthread_cond_wait(&w->changed, &w->lock);
        while ((a = take_first(&w->done_first, &w->done_last)))
                a->busy = false;
        (void)pthread_mutex_unlock(&w->lock);
}

int worker_init(Worker *w, Server *server)
{
        int r;

        w->server = server;
        w->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->done_fd < 0)
                return -errno;
        r = sd_event_add_io(server->loop.event, &w->source, w->done_fd, EPOLLIN, on_done, w);
        return r < 0 ? r : 0;
}

void worker_done(Worker *w)
{
        if (w->started) {
                (void)pthread_mutex_lock(&w->lock);
                w->stop = true;
                (void)pthread_cond_broadcast(&w->changed);
                (void)pthread_mutex_unlock(&w->lock);
                (void)pthread_join(w->thread, NULL);
                w->started = false;
        }
        w->source = sd_event_source_disable_unref(w->source);
        w->done_fd = fd_close(w->done_fd);
}
