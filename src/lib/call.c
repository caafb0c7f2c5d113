/* SPDX-License-Identifier: MIT */

/*
 * A request and its reply, whatever happens in between.
 *
 * One request of a client is under way at a time. If the connection breaks before its reply has come, nobody can tell
 * from here whether it took effect. So it goes out again, with the same number, on the next connection, and the daemon,
 * or its successor, does it or tells again what came of it: it takes effect once.
 *
 * When nobody answers in time the call fails (-ENOTCONN), and its outcome stays open. Nothing is done about that until
 * a later call gets through. Then the daemon tells the number of the last request that took effect, and
 *
 *   - if the later call asks for the very same, it gets the same number, and so the outcome of the failed one, or a
 *     first one;
 *   - else, if the failed one did not take effect, its number is used anew;
 *   - else it did: its outcome is fetched, and what it took (a handle, a reference, a block), for nobody, is given
 *     back. Such a giving back must be done, so it is sent until its outcome is known.
 *
 * So a New, Open or Scratch that failed has not happened, and a Close, ScratchFree or Give that failed may have; who
 * tries it again learns which.
 */

#include "lib/call.h"

#include <string.h>

#include "lib/conn.h"
#include "lib/deadline.h"
#include "lib/handshake.h"

#define DETACH_TIME (2 * DEADLINE_SECOND)
#define PAUSE_MIN   UINT64_C(1000) /* microseconds */
#define PAUSE_MAX   UINT64_C(50000)

static size_t request_size(unsigned type)
{
        switch (type) {
        case MH_WIRE_NEW:
                return sizeof(struct mh_wire_new);
        case MH_WIRE_OPEN:
                return sizeof(struct mh_wire_open);
        case MH_WIRE_CLOSE:
                return sizeof(struct mh_wire_close);
        case MH_WIRE_SCRATCH:
                return sizeof(struct mh_wire_scratch);
        case MH_WIRE_SCRATCH_FREE:
                return sizeof(struct mh_wire_scratch_free);
        case MH_WIRE_GIVE:
                return sizeof(struct mh_wire_give);
        default:
                return sizeof(struct mh_wire_detach);
        }
}

static size_t reply_size(unsigned type)
{
        switch (type) {
        case MH_WIRE_NEW:
        case MH_WIRE_OPEN:
                return sizeof(struct mh_wire_handle);
        case MH_WIRE_CLOSE:
                return sizeof(struct mh_wire_closed);
        case MH_WIRE_SCRATCH:
                return sizeof(struct mh_wire_block);
        default:
                return sizeof(struct mh_wire_header);
        }
}

/*
 * 0: it is the reply, and *ret_error says whether it is an error. These reasons are no outcome of a request, they say
 * that the daemon did not understand us, and have no number.
 */
static int judge(const CallRequest *request, const CallReply *reply, size_t size, int *ret_error)
{
        const struct mh_wire_header *header = &reply->header;

        if (size < sizeof(*header) || header->size != size || header->seq != request->header.seq)
                return -EPROTO;
        if (header->type == MH_WIRE_ERROR && size == sizeof(reply->error)) {
                unsigned reason = reply->error.reason;

                if (reason == 0 || reason >= 4096 || reason == EPROTO || reason == EBADMSG || reason == EOPNOTSUPP)
                        return -EPROTO;
                *ret_error = -(int)reason;
                return 0;
        }
        if (header->type != request->header.type || size != reply_size(header->type))
                return -EPROTO;
        *ret_error = 0;
        return 0;
}

static int try_once(mh_client *c, const CallRequest *request, CallReply *reply, int *ret_error, uint64_t deadline)
{
        size_t size = 0;
        int r;

        if (!guard_holds(&c->socket)) {
                r = handshake_resume(c, deadline);
                if (r < 0)
                        return r;
        }
        r = conn_send(&c->socket, request, request->header.size, deadline);
        if (r >= 0)
                r = conn_receive(&c->socket, reply, sizeof(*reply), &size, NULL, deadline);
        if (r >= 0)
                r = judge(request, reply, size, ret_error);
        /* After anything but a reply the connection is in no state that we know. */
        if (r < 0)
                guard_close(&c->socket);
        return r;
}

/* Until there is a reply, or no hope for one: -ETIMEDOUT, -ESTALE, -errno. *ret_error is 0 or what the reply says. */
static int exchange(mh_client *c, const CallRequest *request, CallReply *reply, int *ret_error, uint64_t deadline)
{
        uint64_t pause = PAUSE_MIN;

        for (;;) {
                int r = try_once(c, request, reply, ret_error, deadline);

                if (r != -ECONNRESET)
                        return r;
                /* The first time at once: that a daemon went is no reason to think ill of the next one. */
                if (deadline_now() >= deadline)
                        return -ETIMEDOUT;
                if (pause > PAUSE_MIN)
                        deadline_sleep(MIN(deadline_in(pause), deadline));
                pause = MIN(pause * 2, PAUSE_MAX);
        }
}

static void prepare(const mh_client *c, CallRequest *request, unsigned type)
{
        request->header = (struct mh_wire_header){
                .type = (uint16_t)type,
                .size = (uint32_t)request_size(type),
                .seq = c->seq + 1,
        };
}

/* Runs a prepared request. If its outcome is not learnt, it is unsettled from now on. */
static int run_numbered(mh_client *c, const CallRequest *request, bool must, CallReply *reply, int *ret_error,
                        uint64_t deadline)
{
        int r = exchange(c, request, reply, ret_error, deadline);

        c->unsettled = r < 0 && r != -ESTALE;
        if (c->unsettled) {
                c->unsettled_request = *request;
                c->unsettled_must = must;
        }
        if (r < 0)
                return r;
        c->seq = request->header.seq;
        return 0;
}

/* What gives back what this one took. */
static bool make_undo(const CallRequest *done, const CallReply *reply, CallRequest *ret, unsigned *ret_type)
{
        *ret = (CallRequest){};

        switch (done->header.type) {
        case MH_WIRE_NEW:
        case MH_WIRE_OPEN:
                ret->close.handle = reply->handle.handle;
                *ret_type = MH_WIRE_CLOSE;
                return true;
        case MH_WIRE_SCRATCH:
                ret->scratch_free.idx = reply->block.idx;
                *ret_type = MH_WIRE_SCRATCH_FREE;
                return true;
        default:
                return false;
        }
}

/* Brings what an earlier call left open to an end, unless `next` is the same again. */
static int settle(mh_client *c, const CallRequest *next, uint64_t deadline)
{
        while (c->unsettled) {
                CallRequest old = c->unsettled_request, undo;
                CallReply reply;
                unsigned type;
                int error, r;

                if (!c->unsettled_must) {
                        if (memcmp(&old, next, next->header.size) == 0)
                                return 0;
                        r = guard_holds(&c->socket) ? 0 : handshake_resume(c, deadline);
                        if (r < 0)
                                return r;
                        if (c->daemon_seq < old.header.seq) {
                                c->unsettled = false;
                                break;
                        }
                }
                r = run_numbered(c, &old, c->unsettled_must, &reply, &error, deadline);
                if (r < 0)
                        return r;
                if (error == 0 && make_undo(&old, &reply, &undo, &type)) {
                        prepare(c, &undo, type);
                        c->unsettled = true;
                        c->unsettled_must = true;
                        c->unsettled_request = undo;
                }
        }
        return 0;
}

/* There is another segment now. What is mapped stays where it is, but nobody else will see it, so nothing is done there. */
static void note_gone(mh_client *c)
{
        c->gone = true;
        c->unsettled = false;
        if (c->mapped)
                client_set_direct(c, false);
}

static int run_in_turn(mh_client *c, unsigned type, CallRequest *request, CallReply *reply, uint64_t deadline)
{
        int error, r;

        if (c->gone) {
                r = c->gone_told ? -ENOTCONN : -ESTALE;
                c->gone_told = true;
                return r;
        }

        prepare(c, request, type);
        r = settle(c, request, deadline);
        if (r >= 0) {
                prepare(c, request, type); /* settling takes numbers */
                r = run_numbered(c, request, false, reply, &error, deadline);
        }
        if (r >= 0)
                return error;

        if (r != -ESTALE)
                return -ENOTCONN;
        note_gone(c);
        c->gone_told = true;
        return -ESTALE;
}

int call_run(mh_client *c, enum mh_wire_type type, CallRequest request, CallReply *ret)
{
        uint64_t deadline = deadline_in(c->patience);
        CallReply reply;
        int r;

        /* The others may all be waiting for a daemon that does not come: then so do we, but not one after the other. */
        r = turn_take(&c->turn, deadline);
        if (r < 0)
                return -ENOTCONN;
        r = run_in_turn(c, type, &request, &reply, deadline);
        turn_end(&c->turn);
        if (r >= 0 && ret)
                *ret = reply;
        return r;
}

int call_look(mh_client *c, uint64_t deadline)
{
        int r = turn_take(&c->turn, deadline);

        if (r < 0)
                return r;
        if (!c->gone && !conn_stands(&c->socket)) {
                guard_close(&c->socket);
                r = handshake_resume(c, deadline);
                if (r == -ESTALE)
                        note_gone(c);
        }
        turn_end(&c->turn);
        return r;
}

void call_detach(mh_client *c)
{
        CallRequest request = {
                .header = { .type = MH_WIRE_DETACH, .size = sizeof(struct mh_wire_detach) },
        };
        CallReply reply;
        int error;

        /* If it fails, the end of this process says the same, only later. */
        if (!c->gone)
                (void)exchange(c, &request, &reply, &error, deadline_in(DETACH_TIME));
        guard_close(&c->socket);
}
