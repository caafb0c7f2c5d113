/* SPDX-License-Identifier: MIT */

#include "daemon/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "base/process.h"
#include "daemon/adopt.h"
#include "daemon/server.h"
#include "shm/request.h"

#define BAD_PACKETS_MAX 64U

/* How long a Hello that finds all ids in use waits for the reaper. */
#define HURRY_USEC UINT64_C(20000)

static SessionVerdict refuse(Connection *c, const WireMessage *m, int error, bool end, WireReply *reply)
{
        c->n_bad++;
        if (c->n_bad >= BAD_PACKETS_MAX)
                end = true;
        report_refused(c, m->type, error, end);
        wire_reply_error(reply, m->type, m->seq, -error);
        return end ? SESSION_END : SESSION_REPLY;
}

/* The kernel vouches for the credentials of a packet as it does for those of the connection. */
static int check_credentials(const Connection *c, const Packet *packet)
{
        if (!packet->has_credentials)
                return -EPERM;
        if (packet->credentials.pid != c->pid || packet->credentials.uid != geteuid())
                return -EPERM;
        return 0;
}

static void bind_connection(Connection *c, Attachment *a)
{
        c->state = CONNECTION_ATTACHED;
        c->attachment = a;
        timer_disarm(&c->timer);
        attachment_bind(a, c);
        server_changed(c->server);
}

static void welcome(Connection *c, uint16_t type, WireReply *reply)
{
        const Attachment *a = c->attachment;
        const Segment *seg = &c->server->store.segment;

        /* Relaxed: `epoch` is written by this process alone, in sign(). */
        wire_reply_welcome(reply, type,
                           &(WireWelcome){
                                   .client = a->id,
                                   .flags = (attachment_maps(a) ? MH_WIRE_HELLO_MAPS : 0U) |
                                            (attachment_is_direct(a) ? MH_WIRE_HELLO_LEDGER : 0U),
                                   .epoch = load_relaxed(&seg->shared->epoch),
                                   .seq = request_last(&a->actor),
                                   .segment_size = seg->total_size,
                                   .segment = seg->id,
                           });
        c->reply_segment = type == MH_WIRE_HELLO;
}

/* ------------------------------------------------------------------------------------------------ hello */

/* An id for a new client. When the table is full, the dead in it may be about to leave. */
static int take_id(Server *s, const ClientInfo *info, uint32_t *ret_id)
{
        int r;

        server_mend_table(s);
        r = client_attach(&s->store.segment, info, ret_id);
        if (r == -EUSERS && reaper_hurry(&s->reaper, false, HURRY_USEC))
                r = client_attach(&s->store.segment, info, ret_id);
        if (r == -EUSERS) {
                server_look_at_lost(s);
                return -EUSERS;
        }
        if (r < 0)
                return r;
        /* Someone scribbled over the table while we looked at it. */
        return *ret_id == MH_SHM_CLIENT_DAEMON || *ret_id >= s->n_ids || s->attachments[*ret_id] ? -EIO : 0;
}

static uint32_t client_flags(const struct mh_wire_hello *hello)
{
        return (hello->flags & MH_WIRE_HELLO_MAPS ? MH_SHM_CLIENT_MAPS : 0) |
               (hello->flags & MH_WIRE_HELLO_LEDGER ? MH_SHM_CLIENT_LEDGER : 0);
}

static int attach(Connection *c, const struct mh_wire_hello *hello, Peer *peer, Attachment **ret)
{
        Server *s = c->server;
        ClientInfo info = {
                .pid = (uint32_t)peer->pid,
                .start_time = peer->start_time,
                .nonce = hello->nonce,
                .life = hello->life,
                .life_fd = hello->life_fd,
                /* Without a process to watch, its connection has to speak for its life. */
                .flags = peer->pidfd >= 0 ? client_flags(hello) : 0,
        };
        Attachment *a;
        uint32_t id;
        int r;

        memcpy(info.name, hello->name, sizeof(info.name));
        r = take_id(s, &info, &id);
        if (r < 0)
                return r;
        r = attachment_new(&a, s, id, &info, peer);
        if (r < 0) {
                server_drop_entry(s, id);
                return r;
        }
        server_add(s, a);
        report_attached(a);
        *ret = a;
        return 0;
}

static int do_hello(Connection *c, const struct mh_wire_hello *hello)
{
        _cleanup_(peer_done) Peer peer = PEER_NONE;
        Server *s = c->server;
        Attachment *a;
        int r;

        if (hello->nonce == 0)
                return -EINVAL;
        if ((hello->flags & MH_WIRE_HELLO_LEDGER) && !(hello->flags & MH_WIRE_HELLO_MAPS))
                return -EINVAL;

        r = peer_identify(c->fd, hello->start_time, &peer);
        if (r < 0)
                return r;
        r = server_need_segment(s);
        if (r < 0)
                return r;
        a = server_find_nonce(s, (uint32_t)peer.pid, peer.start_time, hello->nonce);
        if (!a) {
                r = attach(c, hello, &peer, &a);
                if (r < 0)
                        return r;
        }
        attachment_set_process(a, &peer);
        bind_connection(c, a);
        return 0;
}

/* ------------------------------------------------------------------------------------------------ resume */

/*
 * A client brings the segment that it is attached to, and ours is another one, or we have none. An empty one yields.
 * Another daemon may serve what it brings, at another socket: there it stays.
 */
static int take_segment(Server *s, const struct mh_wire_hello *hello, int *fd)
{
        Segment probe;
        int r;

        if (*fd < 0 || s->n_attachments > 0)
                return -ESTALE;
        r = segment_load(&probe, *fd);
        if (r < 0)
                return r == -EAGAIN ? -ESTALE : r; /* unfinished: nobody can be attached to that */
        if (memcmp(probe.id, hello->segment, sizeof(probe.id)) != 0)
                return -ESTALE;
        r = adopt_is_served(&probe);
        if (r != 0)
                return r < 0 ? r : -ESTALE;

        server_drop_empty_segment(s);
        r = store_open_fd(&s->store, *fd);
        if (r < 0)
                return r;
        (void)TAKE_FD(*fd);
        return adopt_segment(s, ADOPT_BROUGHT);
}

/*
 * What is told to whoever brought it. For us it may be the wrong moment, or the wrong place, and the same Resume may succeed
 * later. ESTALE is for ever: a client that reads it gives up what it holds.
 */
static int why_not_taken(int error)
{
        switch (error) {
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case -EAGAIN:
                return error;
        case -EREMOTE:
        case -EXDEV:
        case -EBUSY:
                return -EAGAIN;
        default:
                return -ESTALE;
        }
}

static bool is_ours(const Server *s, const struct mh_wire_hello *hello)
{
        return store_is_open(&s->store) && memcmp(s->store.segment.id, hello->segment, sizeof(hello->segment)) == 0;
}

static int do_resume(Connection *c, const struct mh_wire_hello *hello, Packet *packet)
{
        _cleanup_(peer_done) Peer peer = PEER_NONE;
        Server *s = c->server;
        Attachment *a;
        int r;

        r = peer_identify(c->fd, hello->start_time, &peer);
        if (r < 0)
                return r;
        server_check_segment(s);
        if (!is_ours(s, hello)) {
                /* It did come, but we could not have it; the next time perhaps. */
                if (packet->fds_lost)
                        return -EMFILE;
                r = take_segment(s, hello, &packet->fd);
                if (r < 0) {
                        report_not_taken(c, r);
                        return why_not_taken(r);
                }
        }
        a = server_find_id(s, hello->client);
        if (!a || a->info.nonce != hello->nonce || a->info.pid != (uint32_t)peer.pid ||
            a->info.start_time != peer.start_time)
                return -ESTALE;
        attachment_set_process(a, &peer);
        attachment_set_life(a, hello->life, hello->life_fd);
        bind_connection(c, a);
        return 0;
}

/* ------------------------------------------------------------------------------------------------ all others */

static SessionVerdict greet(Connection *c, const WireMessage *m, Packet *packet, WireReply *reply)
{
        int r;

        if (c->state != CONNECTION_NEW)
                return refuse(c, m, -EPROTO, true, reply);
        r = check_credentials(c, packet);
        if (r < 0)
                return refuse(c, m, r, true, reply);

        if (m->type == MH_WIRE_HELLO)
                r = do_hello(c, &m->hello);
        else
                r = do_resume(c, &m->hello, packet);
        if (r < 0) {
                report_not_attached(c, m->type, r);
                wire_reply_error(reply, m->type, m->seq, -r);
                return SESSION_REPLY;
        }
        welcome(c, m->type, reply);
        return SESSION_REPLY;
}

static SessionVerdict detach(Connection *c)
{
        c->attachment->detached = true;
        attachment_die(c->attachment);
        return SESSION_WAIT;
}

static SessionVerdict answer(Connection *c, const Request *request, int result, const struct mh_shm_outcome *outcome,
                             WireReply *reply)
{
        if (result < 0)
                return refuse(c, &(WireMessage){ .type = (uint16_t)request->op, .seq = request->seq }, result, true,
                              reply);
        if (outcome->error != 0)
                report_failed(c->attachment, request, outcome->error);
        wire_reply_outcome(reply, request, outcome);
        server_changed(c->server);
        return SESSION_REPLY;
}

static SessionVerdict run(Connection *c, const Request *request, WireReply *reply)
{
        struct mh_shm_outcome outcome = {};
        Attachment *a = c->attachment;
        int r;

        /* Two that write one ledger would spoil it. */
        if (attachment_is_direct(a))
                return refuse(c, &(WireMessage){ .type = (uint16_t)request->op, .seq = request->seq }, -EPROTO, true,
                              reply);
        /* Without a thread it takes as long, and others wait. */
        if (worker_is_for(a, request) && worker_submit(&c->server->worker, a, request) >= 0)
                return SESSION_WAIT;
        r = request_run(&a->actor, request, &outcome);
        return answer(c, request, r, &outcome, reply);
}

SessionVerdict session_worked(Connection *c, WireReply *reply)
{
        const Attachment *a = c->attachment;

        return answer(c, &a->job, a->job_result, &a->job_outcome, reply);
}

SessionVerdict session_packet(Connection *c, Packet *packet, WireReply *reply)
{
        WireMessage m;
        int r;

        r = wire_parse(&(WirePacket){ .data = packet->data,
                                      .size = packet->size,
                                      .truncated = packet->truncated,
                                      .n_fds = packet->n_fds + (packet->fds_lost ? 1 : 0) },
                       &m);
        if (r < 0)
                return refuse(c, &m, r, r == -EPROTO || r == -EPROTONOSUPPORT, reply);
        if (m.type == MH_WIRE_HELLO || m.type == MH_WIRE_RESUME)
                return greet(c, &m, packet, reply);
        if (c->state != CONNECTION_ATTACHED)
                return refuse(c, &m, -EPROTO, true, reply);
        if (m.type == MH_WIRE_DETACH)
                return detach(c);
        return run(c, &m.request, reply);
}
