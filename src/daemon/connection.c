/* SPDX-License-Identifier: MIT */

#include "daemon/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "daemon/packet.h"
#include "daemon/server.h"
#include "daemon/session.h"
#include "daemon/sigbus.h"

#define LINGER_USEC   (2 * UINT64_C(1000000)) /* how long the end may take */
#define ACCURACY_USEC (50 * UINT64_C(1000))

/* Who is busy is not listened to. */
static uint32_t events_to_read(const Connection *c)
{
        return c->attachment && c->attachment->busy ? 0 : EPOLLIN;
}

static void set_events(Connection *c, uint32_t events)
{
        loop_set_events(&c->server->loop, &c->io, events);
}

static void connection_free(Connection *c)
{
        Server *s = c->server;

        loop_remove(&s->loop, &c->io);
        timer_done(&c->timer);
        c->fd = fd_close(c->fd);

        if (c->next)
                c->next->previous = c->previous;
        if (c->previous)
                c->previous->next = c->next;
        else
                s->connections = c->next;
        s->n_connections--;
        free(c);
        server_connection_gone(s);
}

/* Its client is told once, and first: it must not find a connection that is half closed. */
static void drop_attachment(Connection *c)
{
        Attachment *a = STEAL(c->attachment, NULL);

        if (a && a->connection == c)
                attachment_hangup(a);
}

void connection_close(Connection *c)
{
        drop_attachment(c);
        connection_free(c);
}

/* No more is wanted from the other end; it may take its time to read what it got, but not for ever. */
static void begin_ending(Connection *c)
{
        c->state = CONNECTION_ENDING;
        drop_attachment(c);
        timer_arm(&c->timer, LINGER_USEC);
}

/* 0, or -errno: the connection was closed and is no more. */
static int flush(Connection *c)
{
        int r;

        r = packet_send(c->fd, c->reply.data, c->reply.size, c->reply_segment ? c->server->store.fd : -1);
        if (r == -EAGAIN) {
                c->reply_waits = true;
                set_events(c, EPOLLOUT);
                return 0;
        }
        if (r < 0) {
                connection_close(c);
                return r;
        }
        c->reply_waits = false;
        c->reply_segment = false;
        if (c->state == CONNECTION_ENDING)
                (void)shutdown(c->fd, SHUT_WR);
        set_events(c, events_to_read(c));
        return 0;
}

static void discard(Connection *c)
{
        Packet packet;
        int r;

        r = packet_receive(c->fd, &packet);
        if (r > 0)
                packet_done(&packet);
        else if (r != -EAGAIN)
                connection_close(c);
}

static void handle(Connection *c, Packet *packet)
{
        SessionVerdict verdict;
        Server *s = c->server;

        verdict = session_packet(c, packet, &c->reply);
        packet_done(packet);

        /* What was read from a segment that is gone is not told to anybody: all who had to do with it lose their
         * connection. */
        if (store_is_open(&s->store) && sigbus_hit()) {
                if (!c->attachment)
                        connection_close(c);
                server_check_segment(s);
                return;
        }

        switch (verdict) {
        case SESSION_WAIT:
                c->state = c->attachment->busy ? CONNECTION_WORKING : CONNECTION_DETACHING;
                set_events(c, 0);
                break;
        case SESSION_END:
                begin_ending(c);
                (void)flush(c);
                break;
        case SESSION_REPLY:
                if (c->state == CONNECTION_ATTACHED && !c->bare) {
                        packet_bare(c->fd); /* we know who it is */
                        c->bare = true;
                }
                (void)flush(c);
                break;
        }
}

static void on_io(void *userdata, uint32_t revents)
{
        Connection *c = userdata;
        Packet packet;
        int r;

        if (c->reply_waits) {
                (void)flush(c); /* which notices the end, too */
                return;
        }
        if (c->state == CONNECTION_DETACHING || events_to_read(c) == 0) {
                connection_close(c); /* nothing was waited for but the end */
                return;
        }
        if (c->state == CONNECTION_ENDING) {
                discard(c);
                return;
        }

        r = c->bare ? packet_receive_bare(c->fd, &packet) : packet_receive(c->fd, &packet);
        if (r == -EAGAIN)
                return;
        /* Who has hung up is reported as such; else nothing was in the packet. */
        if (r < 0 || (r == 0 && (!c->bare || revents & EPOLLHUP))) {
                connection_close(c);
                return;
        }
        handle(c, &packet);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Connection *c = userdata;

        if (c->state == CONNECTION_NEW)
                report_hello_timeout(c);
        connection_close(c);
        return 0;
}

static int prepare(Connection *c)
{
        static const int one = 1;
        uint64_t hello = c->server->options->hello_timeout_usec;
        int r;

        /* Who sends is told with each packet. The listening socket has it set too, for packets that came before this. */
        if (setsockopt(c->fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
                return -errno;
        r = loop_add(&c->server->loop, &c->io, c->fd, EPOLLIN, on_io, c);
        if (r < 0)
                return r;
        r = timer_init(&c->timer, &c->server->loop, ACCURACY_USEC, on_timer, c);
        if (r < 0)
                return r;
        if (hello != PARSE_INFINITY)
                timer_arm(&c->timer, hello);
        return 0;
}

int connection_new(Server *server, int fd, pid_t pid)
{
        Connection *c;
        int r;

        c = calloc(1, sizeof(*c));
        if (!c) {
                (void)fd_close(fd);
                return -ENOMEM;
        }
        c->server = server;
        c->fd = fd;
        c->io = LOOP_SOURCE_NONE;
        c->pid = pid;
        c->state = CONNECTION_NEW;
        c->next = server->connections;
        if (c->next)
                c->next->previous = c;
        server->connections = c;
        server->n_connections++;

        r = prepare(c);
        if (r < 0) {
                connection_free(c);
                return r;
        }
        return 0;
}

void connection_worked(Connection *c)
{
        if (c->state != CONNECTION_WORKING) {
                /* It came meanwhile, by a Resume; its client will ask for the outcome. */
                if (!c->reply_waits)
                        set_events(c, EPOLLIN);
                return;
        }
        c->state = CONNECTION_ATTACHED;
        if (session_worked(c, &c->reply) == SESSION_END)
                begin_ending(c);
        (void)flush(c);
}

void connection_detached(Connection *c)
{
        assert(c->state == CONNECTION_DETACHING);

        c->attachment = NULL;
        wire_reply_bare(&c->reply, MH_WIRE_DETACH, 0);
        begin_ending(c);
        (void)flush(c);
}
