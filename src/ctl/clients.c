/* SPDX-License-Identifier: MIT */

/* One row for each client that is attached, or dead and not reaped yet. */

#include "base/cleanup.h"
#include "ctl/source.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/usage.h"
#include "shm/words.h"

enum {
        COL_CLIENT,
        COL_PID,
        COL_ALIVE,
        COL_NAME,
        COL_KIND,
        COL_STATE,
        COL_HANDLES,
        COL_REFS,
        COL_RESERVED,
        COL_BLOCKS,
        COL_SCRATCH,
        COL_CREATED,
        COL_DESTROYED,
        COL_REQUESTS,
        COL_ERRORS,
        COL_SINCE,
};

static const Column columns[] = {
        [COL_CLIENT] = { "CLIENT", "client id", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_PID] = { "PID", "process id, 0 where the daemon cannot see it", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_ALIVE] = { "ALIVE", "is that process there: yes, no, unknown", 0, SCOLS_JSON_STRING, true },
        [COL_NAME] = { "NAME", "what it called itself", 0, SCOLS_JSON_STRING, true },
        [COL_KIND] = { "KIND", "wire (not mapped), mapped, direct (keeps its own ledger)", 0, SCOLS_JSON_STRING, true },
        [COL_STATE] = { "STATE", "attached, or dead (being reaped)", 0, SCOLS_JSON_STRING, false },
        [COL_HANDLES] = { "HANDLES", "handles that it holds", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_REFS] = { "REFS", "its references to them, in all", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_RESERVED] = { "RESERVED", "slots that it keeps ready for new handles", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                           false },
        [COL_BLOCKS] = { "BLOCKS", "scratch blocks that are its own", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_SCRATCH] = { "SCRATCH", "bytes in them", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_CREATED] = { "CREATED", "handles that it made since it attached", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                          false },
        [COL_DESTROYED] = { "DESTROYED", "handles that it was the last to close", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                            false },
        [COL_REQUESTS] = { "REQUESTS", "requests of it that the daemon answered", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                           true },
        [COL_ERRORS] = { "ERRORS", "of those, answered with an error", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_SINCE] = { "SINCE", "when it attached", 0, SCOLS_JSON_STRING, true },
};

static const char *kind(uint32_t flags)
{
        if (flags & MH_SHM_CLIENT_LEDGER)
                return "direct";
        return flags & MH_SHM_CLIENT_MAPS ? "mapped" : "wire";
}

static void fill_row(Table *t, View *v, uint32_t id, const ClientUsage *u)
{
        const struct mh_shm_client *c = &v->clients[id];
        struct mh_shm_account page;
        struct mh_shm_account_line account;
        char text[TEXT_MAX];

        view_account(v, id, &page);
        account = account_sum(&page);
        table_row(t);
        table_set_number(t, COL_CLIENT, id);
        table_set_number(t, COL_PID, c->pid);
        table_set(t, COL_ALIVE, text_alive(&v->shared, c->pid, c->start_time));
        table_set(t, COL_NAME, text_escape(text, c->name, sizeof(c->name)));
        table_set(t, COL_KIND, kind(c->flags));
        table_set(t, COL_STATE, c->state == MH_SHM_CLIENT_DEAD ? "dead" : "attached");
        table_set_number(t, COL_HANDLES, u->handles);
        table_set_number(t, COL_REFS, u->refs);
        table_set_number(t, COL_RESERVED, u->reserved);
        table_set_number(t, COL_BLOCKS, u->blocks);
        table_set_bytes(t, COL_SCRATCH, u->bytes);
        table_set_number(t, COL_CREATED, account.created);
        table_set_number(t, COL_DESTROYED, account.destroyed);
        table_set_number(t, COL_REQUESTS, c->requests);
        table_set_number(t, COL_ERRORS, c->errors);
        table_set(t, COL_SINCE, text_time(text, c->attached_usec));
}

static int run(const Options *o)
{
        _cleanup_(source_close) Source s = SOURCE_NONE;
        _cleanup_(usage_done) Usage u = {};
        _cleanup_(table_done) Table t = {};
        int r;

        r = table_init(&t, o, &command_clients);
        if (r != CTL_OK)
                return r;
        r = source_open(&s, o);
        if (r != CTL_OK)
                return r;
        r = usage_count(&u, &s.view);
        if (r < 0)
                return source_complain(&s, r);
        for (uint32_t id = 1; id < s.view.client_hwm; id++)
                if (s.view.clients[id].state == MH_SHM_CLIENT_ATTACHED ||
                    s.view.clients[id].state == MH_SHM_CLIENT_DEAD)
                        fill_row(&t, &s.view, id, &u.of[id]);
        r = source_check(&s);
        return r != CTL_OK ? r : table_print(&t);
}

const Command command_clients = { "clients", "who is attached, and what each has", columns, ELEMENTSOF(columns), run };
