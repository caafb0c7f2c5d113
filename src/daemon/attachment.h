/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A client, from its attach until it is found to be dead: the daemon's own record of it. What the client table in the
 * segment says is for the next daemon; this one believes what it wrote down for itself.
 *
 * To reap somebody who still runs would be worse than a leak, so there are few ways to die:
 *
 *   its process has ended           the pidfd says so, and it speaks for all threads, not for the first one
 *   it said Detach
 *   it does not map the segment, and its connection ended, however
 *   it maps the segment, its connection ended, and now no thread of its process maps it any more: it called exec()
 *
 * A client that maps the segment and whose connection ended otherwise is lost: it may have called closefrom(), or
 * handed its socket to somebody who closed it. It can resume; meanwhile we look again from time to time whether its
 * process still maps the segment. Where we cannot look, it stays lost until its process ends.
 *
 * A client that was adopted has no connection yet. If it maps the segment it is lost, as above. If not, it is waited
 * for as long as its process lives and has the socket that it named when it attached, or for a while where we do not know
 * its process: that one, too, may have called exec(), or have closed its connection while nobody was at the other end.
 *
 * Not all of them need have a pidfd: there may be none to be had, and some are kept for connections. Whether such a
 * process lives is looked at from time to time, until it resumes.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "daemon/peer.h"
#include "daemon/timer.h"
#include "shm/client.h"
#include "shm/reap.h"
#include "shm/request.h"

typedef struct Attachment Attachment;
typedef struct Connection Connection;
typedef struct Server Server;

struct Attachment {
        Server *server;
        uint32_t id;
        ClientInfo info;
        char comm[PROCESS_COMM_MAX]; /* for people: of its process, or else what it calls itself */
        Connection *connection;      /* NULL: none at present */
        int pidfd;                   /* -1: its process is not known, or cannot be watched at present */
        sd_event_source *death;      /* of its process */
        Timer timer;                 /* to look again */
        unsigned looks;              /* how often we did, since the connection ended */
        bool told_lost;
        unsigned told_limits; /* see watch.h */
        Actor actor;          /* acts in its name */

        /* a request of it that takes long, see worker.h */
        bool busy;
        Request job;
        int job_result;
        struct mh_shm_outcome job_outcome;
        Attachment *job_next;

        bool dead;
        bool detached;  /* by its own wish */
        bool in_reaper; /* in its queue */
        bool reaping;   /* the next one is in use */
        Reap reap;
        Attachment *reap_next;
};

/*
 * For a client whose entry in the client table is ATTACHED. If `peer` is not NULL its pidfd is taken, on failure too.
 * Otherwise the process is looked for: -ESRCH if it has ended.
 */
int attachment_new(Attachment **ret, Server *server, uint32_t id, const ClientInfo *info, Peer *peer);
Attachment *attachment_free(Attachment *a);
DEFINE_CLEANUP(Attachment *, attachment_free)

/* It has a connection (again); the older one, if there is one, is closed. */
void attachment_bind(Attachment *a, Connection *c);

/* Its connection has ended. May free it, sooner or later. */
void attachment_hangup(Attachment *a);

/* It came back: from now on its process is watched by the descriptor of `peer`, which is taken, unless it is already. */
void attachment_set_process(Attachment *a, Peer *peer);

/* By what it can be seen that it lives, while it has no connection: see mono-handle-d-wire(7). */
void attachment_set_life(Attachment *a, uint64_t life, uint32_t life_fd);

/* It was adopted, and has no connection yet. */
void attachment_wait(Attachment *a);

/* It is dead: hands it to the reaper, as soon as nobody acts for it. May be called again. */
void attachment_die(Attachment *a);

/* Looks at once whether it is still there, instead of later. */
void attachment_look_soon(Attachment *a);

/* Its process writes its ledger: the daemon does nothing in its name while it lives. */
static inline bool attachment_is_direct(const Attachment *a)
{
        return a->info.flags & MH_SHM_CLIENT_LEDGER;
}

static inline bool attachment_maps(const Attachment *a)
{
        return a->info.flags & MH_SHM_CLIENT_MAPS;
}
