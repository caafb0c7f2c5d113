/* SPDX-License-Identifier: MIT */

#include "daemon/attachment.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "daemon/server.h"

/* A process that is being killed loses its connection a little before it has ended; and one that was adopted may be
 * about to map the segment. So the first look is not the first thing that is done. */
#define LOOK_AFTER_HANGUP_USEC (100 * UINT64_C(1000))
#define LOOK_AFTER_ADOPT_USEC  (2 * UINT64_C(1000000))
#define LOOK_BACKOFF_USEC      UINT64_C(1000000) /* then twice as long each time */
#define LOOK_BACKOFF_DOUBLINGS 6U
#define GRACE_USEC             (30 * UINT64_C(1000000)) /* for a client without a process that we know */

/* A coarse clock is good enough. */
#define ACCURACY_USEC (10 * UINT64_C(1000))

static int on_death(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        attachment_die(userdata);
        return 0;
}

static int watch_process(Attachment *a)
{
        return sd_event_add_io(a->server->loop.event, &a->death, a->pidfd, EPOLLIN, on_death, a);
}

/*
 * Every client needs a connection, too. Of those that were found, with whom no connection came, so many get a descriptor
 * that as many are left for connections; the others are only looked at now and then. A new one has the lowest number that
 * is free, so the number tells how many there are.
 */
static bool may_keep(int fd)
{
        struct rlimit limit;

        return getrlimit(RLIMIT_NOFILE, &limit) < 0 || (rlim_t)fd < limit.rlim_cur / 2;
}

/* Finds the process of a client that another daemon attached. 0 if it is there or that cannot be told now; -ESRCH. */
static int find_process(Attachment *a)
{
        _cleanup_close_ int fd = -1;
        if (a->info.pid == 0 || a->pidfd >= 0)
                return 0;
        fd = process_pidfd_started((pid_t)a->info.pid, a->info.start_time);
        if (fd < 0)
                return fd == -ESRCH ? -ESRCH : 0;
        if (!may_keep(fd))
                return 0;
        a->pidfd = TAKE_FD(fd);
        if (watch_process(a) < 0)
                a->pidfd = fd_close(a->pidfd);
        return 0;
}

static void look_in(Attachment *a, uint64_t usec)
{
        timer_arm(&a->timer, usec);
}

/*
 * 1 if its process may still have the segment mapped, 0 if it certainly has not. A program that took the place of another one in
 * the same process may have attached in its turn before anybody looks. What it cannot have mapped is the ledger of the
 * one before it, so that is looked for where a client must have mapped it.
 */
static int still_maps(Attachment *a)
{
        const Segment *seg = &a->server->store.segment;
        struct stat st;
        int r;

        if (fstat(a->server->store.fd, &st) < 0)
                return 1;
        if (attachment_is_direct(a))
                r = process_maps_file_at((pid_t)a->info.pid, st.st_dev, st.st_ino,
                                         seg->regions[MH_SHM_REGION_LEDGERS].offset + a->id * seg->ledger_stride);
        else
                r = process_maps_file((pid_t)a->info.pid, st.st_dev, st.st_ino);
        return r != 0;
}

/* By wire only, and we can see whether its process still means to use it. */
static bool has_life(const Attachment *a)
{
        return !attachment_maps(a) && a->info.life != 0 && a->info.pid != 0;
}

/* By wire only, of a process that we do not know and cannot ask. */
static bool is_unknown(const Attachment *a)
{
        return !attachment_maps(a) && a->info.pid == 0;
}

/* While it has no connection: nothing will tell us that it is gone, or not all that may happen to it. */
static bool needs_looks(const Attachment *a)
{
        return attachment_maps(a) || has_life(a) || a->pidfd < 0;
}

static bool is_gone(Attachment *a)
{
        if (is_unknown(a))
                return true; /* the time of grace is over */
        if (find_process(a) == -ESRCH)
                return true;
        if (a->pidfd >= 0 && process_pidfd_dead(a->pidfd) == 1)
                return true;
        if (attachment_maps(a))
                return still_maps(a) == 0;
        return has_life(a) && process_has_socket((pid_t)a->info.pid, (int)a->info.life_fd, (ino_t)a->info.life) == 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Attachment *a = userdata;

        if (a->connection || a->dead)
                return 0;
        if (is_gone(a)) {
                attachment_die(a);
                return 0;
        }
        /* Who does not map has lost nothing: its last daemon ended, and it has had nothing to ask since. */
        if (!a->told_lost && attachment_maps(a)) {
                a->told_lost = true;
                report_lost(a);
        }
        if (needs_looks(a))
                look_in(a, LOOK_BACKOFF_USEC << MIN(a->looks, LOOK_BACKOFF_DOUBLINGS));
        a->looks++;
        return 0;
}

int attachment_new(Attachment **ret, Server *server, uint32_t id, const ClientInfo *info, Peer *peer)
{
        _cleanup_(attachment_freep) Attachment *a = NULL;
        int r;

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->server = server;
        a->id = id;
        a->info = *info;
        a->pidfd = peer ? TAKE_FD(peer->pidfd) : -1;
        if (info->pid == 0 || process_comm((pid_t)info->pid, a->comm) < 0)
                (void)snprintf(a->comm, sizeof(a->comm), "%s", info->name);
        actor_init(&a->actor, &server->store.segment, id, segment_ledger(&server->store.segment, id));
        a->actor.intent = &server->store.segment.clients[id].intent;

        r = timer_init(&a->timer, &server->loop, ACCURACY_USEC, on_timer, a);
        if (r < 0)
                return r;
        r = peer ? (a->pidfd >= 0 ? watch_process(a) : 0) : find_process(a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

static void stop_watching(Attachment *a)
{
        timer_done(&a->timer);
        a->death = sd_event_source_disable_unref(a->death);
        a->pidfd = fd_close(a->pidfd);
}

Attachment *attachment_free(Attachment *a)
{
        if (!a)
                return NULL;
        stop_watching(a);
        free(a);
        return NULL;
}

void attachment_bind(Attachment *a, Connection *c)
{
        Connection *older = a->connection;

        assert(!a->dead);

        a->connection = c;
        if (older && older != c)
                connection_close(older);
        timer_disarm(&a->timer);
        a->looks = 0;
        a->told_lost = false;
}

void attachment_hangup(Attachment *a)
{
        a->connection = NULL;
        if (a->dead)
                return;
        if (!attachment_maps(a) || (a->pidfd >= 0 && process_pidfd_dead(a->pidfd) == 1))
                attachment_die(a);
        else
                look_in(a, LOOK_AFTER_HANGUP_USEC);
}

void attachment_set_process(Attachment *a, Peer *peer)
{
        if (a->pidfd >= 0 || peer->pidfd < 0)
                return;
        a->pidfd = TAKE_FD(peer->pidfd);
        if (watch_process(a) < 0)
                a->pidfd = fd_close(a->pidfd);
}

void attachment_set_life(Attachment *a, uint64_t life, uint32_t life_fd)
{
        if (life == a->info.life && life_fd == a->info.life_fd)
                return;
        a->info.life = life;
        a->info.life_fd = life_fd;
        client_set_life(&a->server->store.segment, a->id, life, life_fd);
}

void attachment_wait(Attachment *a)
{
        if (is_unknown(a))
                look_in(a, GRACE_USEC);
        else if (needs_looks(a))
                look_in(a, LOOK_AFTER_ADOPT_USEC);
}

void attachment_look_soon(Attachment *a)
{
        if (!a->dead && !a->connection && !is_unknown(a) && needs_looks(a))
                look_in(a, 0);
}

void attachment_die(Attachment *a)
{
        Connection *c = a->connection;

        if (!a->dead) {
                a->dead = true;
                stop_watching(a);
                if (c && !a->detached) {
                        a->connection = NULL;
                        connection_close(c);
                }
        }
        /* Nobody is reaped while a request of his is being run. When it is done, this is called once more. */
        if (!a->busy && !a->in_reaper) {
                a->in_reaper = true;
                reaper_add(&a->server->reaper, a);
        }
}
