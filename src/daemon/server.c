/* SPDX-License-Identifier: MIT */

#include "daemon/server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/format.h"
#include "base/parse.h"
#include "base/process.h"
#include "shm/totals.h"

/* Connections that are accepted in one turn. */
#define ACCEPT_MAX 8U

/* How long the listener rests when a connection could not be accepted for want of something. */
#define REST_USEC (500 * UINT64_C(1000))

/* A service manager counts how often it starts us, and gives up at a number of starts in a time (StartLimitBurst= of the
 * unit), also if all ended well: so clients that come and go must not be able to reach that. */
#define INHERITED_USEC (100 * UINT64_C(1000))

#define STATUS_USEC   UINT64_C(1000000)
#define FIRST_USEC    UINT64_C(1000000)       /* for the first one to come, however short the idle time is */
#define STOP_USEC     (2 * UINT64_C(1000000)) /* for reaping the dead before leaving */
#define ACCURACY_USEC (10 * UINT64_C(1000))

/* ------------------------------------------------------------------------------------------------ accepting */

static void rest(Server *s, uint64_t usec)
{
        (void)sd_event_source_set_enabled(s->accept_source, SD_EVENT_OFF);
        timer_arm(&s->rest_timer, usec);
}

static bool is_full(const Server *s)
{
        return s->n_connections >= s->options->connections;
}

static void go_on(Server *s)
{
        timer_disarm(&s->rest_timer);
        (void)sd_event_source_set_enabled(s->accept_source, SD_EVENT_ON);
}

static int on_rest(sd_event_source *source, uint64_t usec, void *userdata)
{
        Server *s = userdata;

        if (is_full(s))
                rest(s, REST_USEC);
        else
                go_on(s);
        return 0;
}

/* Whoever is not the user himself is shown out before a byte of his is read. */
static void welcome_or_not(Server *s, int fd)
{
        uid_t uid = (uid_t)-1;
        pid_t pid = 0;
        int r;

        r = peer_credentials(fd, &uid, &pid);
        if (r < 0 || uid != geteuid()) {
                report_other_user(uid, pid);
                (void)fd_close(fd);
                return;
        }
        s->seen_anybody = true;
        r = connection_new(s, fd, pid);
        if (r < 0)
                report_accept(r);
}

/* 1: one was accepted; 0: none is there; -errno: the listener had better rest. */
static int accept_one(Server *s)
{
        int fd;

        fd = accept4(s->listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
                welcome_or_not(s, fd);
                return 1;
        }
        switch (errno) {
        case EAGAIN:
                return 0;
        case EINTR:
        case ECONNABORTED:
                return 1;
        default:
                return -errno;
        }
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Server *s = userdata;
        int r = 1;

        for (unsigned i = 0; i < ACCEPT_MAX && r > 0; i++) {
                if (is_full(s)) {
                        report_connections(s);
                        rest(s, REST_USEC);
                        break;
                }
                r = accept_one(s);
        }
        if (r < 0) {
                report_accept(r);
                rest(s, REST_USEC);
        }
        server_changed(s);
        return 0;
}

void server_connection_gone(Server *s)
{
        if (timer_is_armed(&s->rest_timer) && !is_full(s))
                go_on(s);
        server_changed(s);
}

static int listen_on(Server *s)
{
        static const int one = 1;
        int fd = s->listener->fd;
        int r;

        /* Accepted sockets inherit it, so that no packet can come before it is set. */
        if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
                return -errno;
        s->accept_source = sd_event_source_disable_unref(s->accept_source);
        r = sd_event_add_io(s->loop.event, &s->accept_source, fd, EPOLLIN, on_accept, s);
        return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------------------------------------ status */

static void make_status(Server *s)
{
        char bytes[FORMAT_MAX];
        Totals totals = {};

        if (store_is_open(&s->store))
                totals_read(&s->store.segment, &totals);
        (void)snprintf(s->status, sizeof(s->status), "%" PRIu32 " client%s, %" PRIu64 " handle%s, %s scratch",
                       s->n_attachments, s->n_attachments == 1 ? "" : "s", totals.handles,
                       totals.handles == 1 ? "" : "s", format_bytes(bytes, totals.scratch_bytes));

        /* Handles are gone, though others may have come since: chunks may have become empty. */
        if (totals.destroyed != s->last_destroyed)
                reaper_trim(&s->reaper);
        s->last_destroyed = totals.destroyed;
}

static void tell_status(Server *s)
{
        make_status(s);
        if (strcmp(s->status, s->told_status) == 0)
                return;
        memcpy(s->told_status, s->status, sizeof(s->told_status));
        (void)notify_status(s->status);
}

static int on_status(sd_event_source *source, uint64_t usec, void *userdata)
{
        Server *s = userdata;
        uint64_t again;

        s->status_due = false;
        server_check_segment(s);
        tell_status(s);
        again = watch_look(s);
        if (again > 0 && !s->status_due)
                timer_arm(&s->status_timer, again);
        return 0;
}

static bool is_inherited(const Server *s)
{
        return listener_is_inherited(s->listener);
}

static bool is_idle(const Server *s)
{
        return s->n_attachments == 0 && s->n_connections == 0;
}

static void consider_idle(Server *s)
{
        uint64_t timeout = s->options->idle_timeout_usec;

        if (!is_idle(s)) {
                timer_disarm(&s->idle_timer);
                return;
        }
        if (timeout == PARSE_INFINITY || timer_is_armed(&s->idle_timer))
                return;
        /* Who started us is on his way. */
        if (!s->seen_anybody)
                timeout = MAX(timeout, FIRST_USEC);
        if (is_inherited(s))
                timeout = MAX(timeout, INHERITED_USEC);
        timer_arm(&s->idle_timer, timeout);
}

void server_changed(Server *s)
{
        if (!s->idle_timer.source || !s->status_timer.source)
                return; /* being made, or being taken apart */
        consider_idle(s);
        s->watch.pause = 0; /* where something happens, more may follow that we do not see */
        if (s->status_due)
                return;
        s->status_due = true;
        timer_arm(&s->status_timer, STATUS_USEC);
}

/* ------------------------------------------------------------------------------------------------ leaving */

/*
 * Somebody may have knocked while the time ran out. A socket of our own is hidden first, so that nobody can knock at a
 * door behind which nobody is; if one did before that, everything begins again. One that the service manager owns
 * stays, and whoever knocks there later makes it start the next daemon. 0: nobody did; 1: somebody is here now.
 */
static int look_outside(Server *s)
{
        bool inherited = is_inherited(s);
        int r;

        if (!inherited) {
                r = listener_unlink(s->listener);
                if (r < 0)
                        return r;
        }
        do
                r = accept_one(s);
        while (r > 0 && !is_full(s));
        if (r == 0 && is_idle(s))
                return 0;
        if (inherited)
                return 1;

        s->accept_source = sd_event_source_disable_unref(s->accept_source);
        r = listener_bind_again(s->listener);
        if (r < 0)
                return r;
        r = listen_on(s);
        return r < 0 ? r : 1;
}

/*
 * Nobody finds us any more, and somebody else is to serve those who look there now: he waits for the lock. Who is
 * attached sees the connection end and connects to him, as when a daemon dies.
 */
static void on_name_lost(void *userdata)
{
        Server *s = userdata;

        s->stop_reason = "socket removed or replaced";
        (void)sd_event_exit(s->loop.event, 0);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
        Server *s = userdata;
        int r;

        if (!is_idle(s))
                return 0;
        r = look_outside(s);
        if (r == -EADDRINUSE || r == -EEXIST) {
                /* Somebody took the name in the moment in which it was free. */
                on_name_lost(s);
                return 0;
        }
        if (r < 0)
                return sd_event_exit(s->loop.event, r);
        if (r > 0) {
                server_changed(s);
                return 0;
        }
        s->stop_reason = "idle";
        return sd_event_exit(s->loop.event, 0);
}

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
        Server *s = userdata;

        s->stop_reason = si->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
        return sd_event_exit(s->loop.event, 0);
}

static int on_hangup_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
        Server *s = userdata;

        make_status(s);
        report_status(s);
        return 0;
}

/* The end of a session kills everybody at once: those who are dead by now are not left to a successor that may never
 * come. */
static void bury(Server *s)
{
        worker_settle(&s->worker);
        for (uint32_t id = 1; id < s->n_ids; id++) {
                Attachment *a = s->attachments[id];

                if (a && (a->dead || (a->pidfd >= 0 && process_pidfd_dead(a->pidfd) == 1)))
                        attachment_die(a);
        }
        (void)reaper_hurry(&s->reaper, true, STOP_USEC);
        server_check_segment(s);
}

static void stop(Server *s)
{
        (void)notify_stopping();
        bury(s);
        report_stopping(s);
        if (s->n_attachments == 0)
                server_drop_empty_segment(s);
        else
                server_leave_segment(s);
        (void)listener_unlink(s->listener); /* if it is ours */
}

int server_run(Server *s)
{
        int r;

        tell_status(s);
        (void)notify_ready();
        report_ready(s);
        server_changed(s);
        r = loop_run(&s->loop);
        stop(s);
        return r;
}

/* ------------------------------------------------------------------------------------------------ making */

static int add_sources(Server *s)
{
        int r;

        r = sd_event_set_watchdog(s->loop.event, true);
        if (r < 0)
                return r;
        log_attach_loop(&s->loop);
        r = sd_event_add_signal(s->loop.event, NULL, SIGTERM, on_stop_signal, s);
        if (r < 0)
                return r;
        r = sd_event_add_signal(s->loop.event, NULL, SIGINT, on_stop_signal, s);
        if (r < 0)
                return r;
        r = sd_event_add_signal(s->loop.event, NULL, SIGHUP, on_hangup_signal, s);
        if (r < 0)
                return r;
        r = timer_init(&s->rest_timer, &s->loop, ACCURACY_USEC, on_rest, s);
        if (r < 0)
                return r;
        r = timer_init(&s->idle_timer, &s->loop, ACCURACY_USEC, on_idle, s);
        if (r < 0)
                return r;
        r = timer_init(&s->status_timer, &s->loop, ACCURACY_USEC, on_status, s);
        if (r < 0)
                return r;
        r = worker_init(&s->worker, s);
        if (r < 0)
                return r;
        r = reaper_init(&s->reaper, s);
        if (r < 0)
                return r;
        r = name_watch_init(&s->name_watch, &s->loop, s->listener, on_name_lost, s);
        return r < 0 ? r : listen_on(s);
}

int server_new(Server **ret, const Options *options, Listener *listener)
{
        _cleanup_(server_freep) Server *s = NULL;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->options = options;
        s->listener = listener;
        s->reaper.kick = -1;
        s->worker.done_fd = -1;
        s->loop = LOOP_NONE;
        (void)pthread_mutex_init(&s->worker.lock, NULL);
        (void)pthread_cond_init(&s->worker.changed, NULL);
        s->stop_reason = "error";
        s->daemon_pid = (uint32_t)getpid();
        (void)process_start_time(getpid(), &s->daemon_start_time); /* 0, where /proc does not tell */
        process_place(&s->place);
        r = store_init(&s->store, listener->path);
        if (r < 0)
                return r;
        r = loop_init(&s->loop);
        if (r < 0)
                return r;
        r = add_sources(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Server *server_free(Server *s)
{
        if (!s)
                return NULL;

        name_watch_done(&s->name_watch);
        timer_done(&s->rest_timer);
        timer_done(&s->idle_timer);
        timer_done(&s->status_timer);
        s->accept_source = sd_event_source_disable_unref(s->accept_source);
        server_leave_segment(s);
        while (s->connections)
                connection_close(s->connections);
        reaper_done(&s->reaper);
        worker_done(&s->worker);
        log_attach_loop(NULL);
        loop_done(&s->loop);
        free(s);
        return NULL;
}
