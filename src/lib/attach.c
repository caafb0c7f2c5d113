/* SPDX-License-Identifier: MIT */

/*
 * Beginning and end of an attachment.
 *
 * Whether this client maps the segment is decided before anything is done with it, because it decides what its death
 * is: a client that maps lives as long as its process, one that does not, as long as its connection. So the segment is
 * mapped as soon as its descriptor is there, and where that fails (ulimit -v), this attachment is given back, and
 * another one is made that does not claim to map.
 *
 * Before it is mapped, we look like one that has called execve(): should the connection end just then, because the daemon
 * died, the next one may take us for gone, and give our id to somebody else. So the connection is looked at once more when the
 * segment is mapped. A daemon says "gone" only when it has no connection of ours, and then looks whether we map; we map,
 * and then look whether the connection stands. One of the two looks last.
 */

#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "base/random.h"
#include "lib/call.h"
#include "lib/client.h"
#include "lib/deadline.h"
#include "lib/handshake.h"

#define PATIENCE     (10 * DEADLINE_SECOND)
#define ATTACH_PAUSE (DEADLINE_SECOND / 100)
#define ATTACH_FLAGS (MH_ATTACH_NO_SPAWN | MH_ATTACH_NO_MAP)
/* Who maps the segment also works on it. */
#define DIRECT_FLAGS (MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER)

static void client_free(mh_client *c)
{
        if (!c)
                return;
        direct_close(&c->direct);
        segment_unmap_client(&c->segment, c->ledger);
        guard_close(&c->socket);
        guard_close(&c->segment_fd);
        guard_close(&c->life);
        turn_done(&c->turn);
        fork_free(c, sizeof(*c));
}

static void client_freep(mh_client **c)
{
        client_free(*c);
}

static mh_client *client_new(void)
{
        mh_client *c = fork_alloc(sizeof(*c));

        if (!c)
                return NULL;
        turn_init(&c->turn);
        c->socket = GUARD_NONE;
        c->segment_fd = GUARD_NONE;
        c->life = GUARD_NONE;
        return c;
}

/* 1 mapped; 0 it cannot be mapped here; -EAGAIN this segment was just left, ask for the next; -errno. */
static int map_segment(mh_client *c)
{
        int r;

        if (c->segment_fd.fd < 0)
                return -EMFILE;
        r = segment_load(&c->segment, c->segment_fd.fd);
        if (r < 0)
                return r == -ESTALE ? -EAGAIN : r;
        if (memcmp(c->segment.id, c->segment_id, sizeof(c->segment_id)) != 0)
                return -EBADMSG;
        if (segment_map_client(&c->segment, c->id, &c->ledger) < 0)
                return 0;

        if (direct_open(&c->direct, &c->segment, c->id, c->ledger) < 0) {
                segment_unmap_client(&c->segment, c->ledger);
                c->ledger = NULL;
                return 0;
        }
        c->mapped = true;
        client_set_direct(c, true);
        return 1;
}

/* 1: no daemon has given us up before we mapped the segment, and none will; -EAGAIN one has; -ENOTCONN, -errno. */
static int make_sure(mh_client *c, uint64_t deadline)
{
        int r = call_look(c, deadline);

        if (r >= 0)
                return 1;
        client_set_direct(c, false);
        direct_close(&c->direct);
        segment_unmap_client(&c->segment, c->ledger);
        c->ledger = NULL;
        c->mapped = false;
        return r == -ESTALE ? -EAGAIN : r == -ETIMEDOUT ? -ENOTCONN : r;
}

/* One attachment, mapped if that was granted. Returns as map_segment() does. */
static int attach_once(mh_client *c, uint32_t flags, uint64_t deadline)
{
        Handshake hello;
        int r;

        c->gone = false; /* that was another attachment */
        do {
                r = random_u64(&c->nonce);
                if (r < 0)
                        return r;
        } while (c->nonce == 0);
        r = handshake_hello(c, flags, deadline, &hello);
        if (r < 0)
                return r == -ETIMEDOUT ? -ENOTCONN : r;

        c->id = hello.welcome.client;
        c->seq = c->daemon_seq = hello.welcome.seq;
        memcpy(c->segment_id, hello.welcome.segment, sizeof(c->segment_id));
        c->socket = hello.socket;
        c->segment_fd = hello.segment_fd;
        if (hello.welcome.flags == 0)
                return 1;

        r = hello.welcome.flags == DIRECT_FLAGS ? map_segment(c) : 0;
        if (r > 0)
                r = make_sure(c, deadline);
        /* If nobody is there, there is nobody to tell. */
        if (r <= 0 && r != -ENOTCONN) {
                call_detach(c);
                guard_close(&c->segment_fd);
        }
        return r;
}

static int attach(mh_client *c, uint64_t deadline)
{
        uint32_t flags = c->flags & MH_ATTACH_NO_MAP ? 0 : DIRECT_FLAGS;

        for (;;) {
                int r = attach_once(c, flags, deadline);

                if (r > 0)
                        return 0;
                if (r == 0)
                        flags = 0;
                else if (r != -EAGAIN)
                        return r;
                else if (deadline_now() >= deadline)
                        return -ENOTCONN;
                else
                        deadline_sleep(MIN(deadline_in(ATTACH_PAUSE), deadline));
        }
}

int mh_attach(mh_client **ret, const char *path, uint64_t flags)
{
        BORDER;
        _cleanup_(client_freep) mh_client *c = NULL;
        int r;

        if (!ret || (flags & ~ATTACH_FLAGS))
                return -EINVAL;
        c = client_new();
        if (!c)
                return -errno;
        r = path_resolve(path, c->path, &c->path_is_default);
        if (r < 0)
                return r;
        c->flags = flags;
        c->patience = PATIENCE;
        /* 0 if there is no /proc: then the daemon finds out for itself, or cannot either. */
        (void)process_start_time(getpid(), &c->start_time);

        r = attach(c, deadline_in(c->patience));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

/*
 * In the child of a fork() nothing is mapped at the addresses of the segment but what the child put there, and a lock
 * may be held by a thread that is not there: neither is touched.
 */
static void free_in_child(mh_client *c)
{
        guard_close(&c->socket);
        guard_close(&c->segment_fd);
        guard_close(&c->life);
        fork_free(c, sizeof(*c));
}

mh_client *mh_detach(mh_client *c)
{
        BORDER;

        if (!c)
                return NULL;
        if (fork_crossed(c)) {
                free_in_child(c);
                return NULL;
        }

        /* First, so that "detached" means that nobody there can write to the segment any more. */
        direct_close(&c->direct);
        segment_unmap_client(&c->segment, c->ledger);
        c->ledger = NULL;
        call_detach(c);
        client_free(c);
        return NULL;
}

int mh_client_id(mh_client *c)
{
        BORDER;
        int r = client_check(c);

        return r < 0 ? r : (int)c->id;
}
