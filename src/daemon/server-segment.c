/* SPDX-License-Identifier: MIT */

/* The server and its segment: whose it is, who is in it, and what happens when it is lost. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "daemon/server.h"
#include "daemon/sigbus.h"

/* ------------------------------------------------------------------------------------------------ clients */

void server_add(Server *s, Attachment *a)
{
        assert(a->id < s->n_ids && !s->attachments[a->id]);

        s->attachments[a->id] = a;
        s->n_attachments++;
        s->client_end = MAX(s->client_end, a->id + 1);
        server_changed(s);
}

void server_reaped(Server *s, Attachment *a)
{
        Connection *c = STEAL(a->connection, NULL);

        assert(s->attachments[a->id] == a);

        s->attachments[a->id] = NULL;
        s->n_attachments--;
        report_reaped(a);
        if (c)
                connection_detached(c);
        (void)attachment_free(a);
        server_changed(s);
}

void server_worked(Server *s, Attachment *a)
{
        /* What came of it is in the segment; if that is gone, it is told to nobody. */
        if (sigbus_hit()) {
                server_check_segment(s);
                return;
        }
        if (a->dead)
                attachment_die(a);
        else if (a->connection)
                connection_worked(a->connection);
        server_changed(s);
}

Attachment *server_find_id(const Server *s, uint32_t id)
{
        Attachment *a = id < s->n_ids ? s->attachments[id] : NULL;

        return a && !a->dead ? a : NULL;
}

Attachment *server_find_nonce(const Server *s, uint32_t pid, uint64_t start_time, uint64_t nonce)
{
        for (uint32_t id = 0; id < s->n_ids; id++) {
                Attachment *a = server_find_id(s, id);

                if (a && a->info.nonce == nonce && a->info.pid == pid && a->info.start_time == start_time)
                        return a;
        }
        return NULL;
}

void server_drop_entry(Server *s, uint32_t id)
{
        Segment *seg = &s->store.segment;
        Reap reap;

        /* It holds nothing yet, so this is short; the bound is for a segment that somebody scribbles over. */
        if (client_state(seg, id) != MH_SHM_CLIENT_ATTACHED)
                return;
        client_kill(seg, id);
        if (reap_init(&reap, seg, id) < 0)
                return; /* DEAD it stays, until the next daemon */
        for (unsigned i = 0; i < 1000 && reap_step(&reap, 1000) > 0; i++)
                ;
}

void server_mend_table(Server *s)
{
        Segment *seg = &s->store.segment;

        if (client_end(seg) != s->client_end)
                store_sc(&seg->shared->client_hwm, s->client_end);
        for (uint32_t id = 1; id < s->client_end; id++) {
                const Attachment *a = s->attachments[id];
                uint32_t state;

                if (!a)
                        continue;
                state = a->dead ? MH_SHM_CLIENT_DEAD : MH_SHM_CLIENT_ATTACHED;
                if (client_state(seg, id) != state) {
                        store_release(&seg->clients[id].state, state); /* pairs with client_state() */
                        report_scribbled(a);
                }
        }
}

void server_look_at_lost(Server *s)
{
        for (uint32_t id = 1; id < s->n_ids; id++)
                if (s->attachments[id])
                        attachment_look_soon(s->attachments[id]);
}

/* ------------------------------------------------------------------------------------------------ the segment */

int server_open_tables(Server *s)
{
        assert(!s->attachments);

        s->attachments = calloc(s->store.segment.n_clients, sizeof(*s->attachments));
        if (!s->attachments)
                return -ENOMEM;
        s->n_ids = s->store.segment.n_clients;
        s->client_end = client_end(&s->store.segment);
        return 0;
}

static void close_tables(Server *s)
{
        worker_settle(&s->worker);
        /* Their connections speak for clients of that segment and can speak for nobody else. */
        for (Connection *c = s->connections, *next; c; c = next) {
                next = c->next;
                if (c->attachment) {
                        c->attachment->connection = NULL;
                        c->attachment = NULL;
                        connection_close(c);
                }
        }
        reaper_forget(&s->reaper);
        for (uint32_t id = 0; id < s->n_ids; id++)
                (void)attachment_free(s->attachments[id]);
        free(s->attachments);
        s->attachments = NULL;
        s->n_ids = 0;
        s->n_attachments = 0;
}

void server_leave_segment(Server *s)
{
        close_tables(s);
        store_leave(&s->store);
        server_changed(s);
}

void server_drop_empty_segment(Server *s)
{
        if (!store_is_open(&s->store))
                return;
        assert(s->n_attachments == 0);

        close_tables(s);
        store_discard(&s->store, true);
        (void)notify_remove_fd(NOTIFY_SEGMENT);
        server_changed(s);
}

void server_check_segment(Server *s)
{
        int r;

        if (!store_is_open(&s->store))
                return;
        r = store_check(&s->store);
        if (r >= 0)
                return;

        report_lost_segment(s, r);
        close_tables(s);
        /* Who has it mapped keeps it until he goes. A header that says something else is not ours to write to. */
        store_discard(&s->store, false);
        (void)notify_remove_fd(NOTIFY_SEGMENT);
        server_changed(s);
}

int server_need_segment(Server *s)
{
        int r;

        server_check_segment(s);
        if (store_is_open(&s->store))
                return 0;
        r = store_create(&s->store, &s->options->segment);
        if (r < 0)
                return r;
        return adopt_segment(s, ADOPT_NEW);
}

void server_keep_segment(Server *s)
{
        /* Whatever it holds under that name: now it is this one, and once. */
        (void)notify_remove_fd(NOTIFY_SEGMENT);
        (void)notify_store_fd(NOTIFY_SEGMENT, s->store.fd);
}
