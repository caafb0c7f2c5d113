/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What an mh_client is, and the border that each public call crosses.
 *
 * A client is an attachment (what the daemon knows of it, the mapped segment), a connection, which may have to be made
 * anew at any time, and the state of the conversation on it. All of it is private memory; nothing in it is needed to
 * clean up after us.
 *
 * Where the segment is mapped, this process works on it itself, each thread with an actor of its own (direct.c), and asks
 * the daemon for nothing but the attachment. Where it is not, each operation is a request (call.c). Threads take turns
 * at requests; a turn can take as long as the daemon is away, but who waits for one waits no longer than its own deadline. No
 * lock is ever taken in the child of a fork(), where its holder may not exist.
 */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "lib/direct.h"
#include "lib/fork.h"
#include "lib/guard.h"
#include "lib/path.h"
#include "lib/turn.h"
#include "monohandle.h"
#include "proto/wire.h"
#include "shm/actor.h"

/* Any request but Hello and Resume. */
typedef union CallRequest {
        struct mh_wire_header header;
        struct mh_wire_detach detach;
        struct mh_wire_new new;
        struct mh_wire_open open;
        struct mh_wire_close close;
        struct mh_wire_scratch scratch;
        struct mh_wire_scratch_free scratch_free;
        struct mh_wire_give give;
} CallRequest;

struct mh_client {
        /* set by mh_attach(), then constant */
        char path[PATH_SOCKET_MAX];
        bool path_is_default;
        uint64_t flags;    /* MH_ATTACH_* */
        uint64_t patience; /* microseconds that a call waits for the daemon */
        uint32_t id;
        uint64_t start_time;
        uint64_t nonce;
        uint8_t segment_id[16];
        Guard segment_fd;
        Guard life;  /* if it does not map: while this is open, the attachment is in use; see handshake.c */
        bool mapped; /* and so this process works on it */
        void *ledger;

        Segment segment;
        Direct direct;    /* where mapped */
        uint64_t look_at; /* when to look after the connection, on the monotonic clock */
        uint64_t look_pause;

        Turn turn; /* whose it is may look at the rest */
        Guard socket;
        uint64_t seq;        /* of the last request whose outcome we know */
        uint64_t daemon_seq; /* of the last that took effect, as the last Welcome said */
        bool gone;           /* the segment is not there any more; no call can succeed */
        bool gone_told;

        /* a request whose outcome we did not wait for; see call.c */
        bool unsettled;
        bool unsettled_must;
        CallRequest unsettled_request;
};

/* ------------------------------------------------------------------------------------------------ the border */

/*
 * The first line of every public function: `BORDER;`. The program's errno stays what it was, and no call that waits in
 * here is a point where a thread can be cancelled, which would leave a lock locked.
 */
typedef struct Border {
        int saved_errno;
        int cancel_state;
} Border;

static inline Border border_enter(void)
{
        Border b = { .saved_errno = errno };

        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &b.cancel_state);
        return b;
}

static inline void border_leave(const Border *b)
{
        (void)pthread_setcancelstate(b->cancel_state, NULL);
        errno = b->saved_errno;
}

#define BORDER _cleanup_(border_leave) _unused_ const Border border = border_enter()

/* What mh_attach() and mh_detach() ask next, and what needs neither daemon nor segment: may this process use this client at all? */
static inline int client_check(const mh_client *c)
{
        if (!c)
                return -EINVAL;
        return fork_crossed(c) ? -ECHILD : 0;
}

/* ------------------------------------------------------------------------------------------------ the segment */

/*
 * A way to this thread's actor, until client_leave(), or none: then the operation is done again on the slow way. Nearly always it is
 * one comparison: the word before the object is the serial number of the attachment where this process may work on the segment,
 * and 0 in a child, and in a client that asks the daemon. Relaxed: see client_set_direct(). This way needs no BORDER, because src/shm leaves errno alone
 * and is nowhere cancelled.
 */
static inline DirectPass client_enter(mh_client *c)
{
        return likely(c) ? direct_enter(load_relaxed(&fork_head(c)->word)) : (DirectPass){ 0 };
}

/*
 * The same for taking and freeing scratch, which leaves the ledger's words of slots alone. It does not end, and is not counted.
 * Relaxed, as there: the seat that goes with the serial number was made by this thread, or nothing is found.
 */
static inline Actor *client_use(mh_client *c)
{
        return likely(c) ? direct_use(load_relaxed(&fork_head(c)->word)) : NULL;
}

static inline void client_leave(DirectPass pass)
{
        direct_leave(pass);
}

/* 1: *ret is this thread's actor, until client_leave_slowly(); 0: this client asks the daemon; -EINVAL, -ECHILD. */
int client_enter_slowly(mh_client *c, Actor **ret);

static inline void client_leave_slowly(mh_client *c, Actor *a)
{
        direct_leave_anyhow(&c->direct, a);
}

/*
 * What a public function does: `here`, with this thread's actor in a variable called `a`, or else `slowly`. That is a function of its
 * own, so that this one has nothing to save and nothing to restore; it does the same, or asks the daemon.
 */
#define CLIENT_RUN(c, a, here, slowly)              \
        ({                                          \
                DirectPass _pass = client_enter(c); \
                Actor *a = _pass.actor;             \
                int _r;                             \
                if (likely(a)) {                    \
                        _r = (here);                \
                        client_leave(_pass);        \
                } else                              \
                        _r = (slowly);              \
                _r;                                 \
        })

#define CLIENT_RUN_SLOWLY(c, a, here, ask)           \
        ({                                           \
                Actor *a;                            \
                int _r = client_enter_slowly(c, &a); \
                if (_r == 0)                         \
                        _r = (ask);                  \
                else if (_r > 0) {                   \
                        _r = (here);                 \
                        client_leave_slowly(c, a);   \
                }                                    \
                _r;                                  \
        })

/* Why a client that asks the daemon cannot be shown memory. */
int client_no_memory(const mh_client *c, bool valid);

/* Lets direct use begin, or end for good because the segment is not there any more. */
void client_set_direct(mh_client *c, bool on);

static inline bool client_is_direct(const mh_client *c)
{
        /* Relaxed: a thread that sees late that this has ended does one operation more, see client_set_direct(). */
        return load_relaxed(&fork_head(c)->word) != 0;
}
