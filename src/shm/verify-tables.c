/* SPDX-License-Identifier: MIT */

/* What the daemon writes: marks, the client table, hazards; and the accounts, which are sums of all else. */

#include <string.h>

#include "base/cleanup.h"
#include "shm/verify-internal.h"
#include "shm/words.h"

/* Marks are raised by pages of the table that they belong to, so the last one may lie past its end. */
static void check_mark(Verify *v, enum mh_shm_region_id region, uint32_t mark, uint32_t n, uint32_t step)
{
        if (mark > ALIGN_UP(n, step) || (mark < n && mark % step != 0))
                FINDING(v, RULE_HWM_RANGE, region, mark, n);
}

static void check_entry(Verify *v, uint32_t id, const struct mh_shm_client *c)
{
        if (c->state > MH_SHM_CLIENT_DEAD) {
                FINDING(v, RULE_CLIENT_STATE, id, c->state);
                return;
        }
        if (id == MH_SHM_CLIENT_DAEMON || c->state == MH_SHM_CLIENT_FREE)
                return;

        if (!v->again)
                v->stats.clients++;
        if (v->flags & VERIFY_NO_DEAD && c->state != MH_SHM_CLIENT_ATTACHED)
                FINDING(v, RULE_CLIENT_PENDING, id, c->state);
        if (c->state == MH_SHM_CLIENT_ATTACHING)
                return; /* being written */

        if (c->flags & ~(MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER) ||
            (c->flags & MH_SHM_CLIENT_LEDGER && !(c->flags & MH_SHM_CLIENT_MAPS)))
                FINDING(v, RULE_CLIENT_FLAGS, id, c->flags);
        if (!memchr(c->name, 0, sizeof(c->name)))
                FINDING(v, RULE_CLIENT_NAME, id);

        /* One request at a time: the intent is of the last one that was answered, or of the one after it. */
        if (c->intent.seq != c->outcome.seq && c->intent.seq != c->outcome.seq + 1)
                FINDING(v, RULE_INTENT_SEQUENCE, id, c->intent.seq, c->outcome.seq);
        else if (c->intent.seq != c->outcome.seq && verify_pending(v, id))
                FINDING(v, RULE_INTENT_PENDING, id, c->intent.seq);
}

static void check_entries_beyond(Verify *v)
{
        const uint64_t each = sizeof(struct mh_shm_client);
        uint64_t end = v->view.seg.n_clients * each, start, stop;
        struct mh_shm_client c;

        for (uint64_t at = v->view.client_hwm * each;
             view_data(&v->view, MH_SHM_REGION_CLIENTS, at, end, &start, &stop); at = stop)
                for (uint64_t i = start / each; i < stop / each; i++) {
                        view_read(&v->view, MH_SHM_REGION_CLIENTS, i * each, &c, sizeof(c));
                        if (c.state != MH_SHM_CLIENT_FREE)
                                FINDING(v, RULE_CLIENT_BEYOND_HWM, i, v->view.client_hwm);
                }
}

static void check_hazards(Verify *v, uint32_t id)
{
        struct mh_shm_hazard h;
        uint64_t used;

        view_read(&v->view, MH_SHM_REGION_HAZARDS, id * sizeof(h), &h, sizeof(h));
        /* Who gives memory back looks at as many, and a hazard that nobody sees protects nothing. */
        used = MAX(h.line[0].used, UINT64_C(1));
        for (unsigned i = 0; i < MH_SHM_THREADS; i++) {
                if (h.line[i].span == 0)
                        continue;
                if (h.line[i].span > v->view.seg.n_spans)
                        FINDING(v, RULE_HAZARD_RANGE, id, i, h.line[i].span - 1, v->view.seg.n_spans);
                else if (i >= used)
                        FINDING(v, RULE_HAZARD_UNCOUNTED, id, i, used);
                else if (verify_pending(v, id))
                        FINDING(v, RULE_HAZARD_LEFT, id, i, h.line[i].span - 1);
        }
}

void verify_tables(Verify *v)
{
        const View *view = &v->view;

        check_mark(v, MH_SHM_REGION_CLIENTS, view->shared.client_hwm, view->seg.n_clients, 1);
        check_mark(v, MH_SHM_REGION_CHUNKS, view->shared.chunk_hwm, view->seg.n_chunks, 32);
        check_mark(v, MH_SHM_REGION_SPANS, view->shared.span_hwm, view->seg.n_spans, 128);

        for (uint32_t i = 0; i < view->client_hwm; i++) {
                check_entry(v, i, &view->clients[i]);
                check_hazards(v, i);
        }
        check_entries_beyond(v);
}

/* An account that its client writes is only a hint; the daemon's own says what is missing from the others' sums. */
void verify_accounts(Verify *v)
{
        struct mh_shm_account page;
        struct mh_shm_account_line account;

        for (uint32_t i = 1; i < v->view.client_hwm; i++) {
                if (v->view.clients[i].state != MH_SHM_CLIENT_ATTACHED ||
                    v->view.clients[i].flags & MH_SHM_CLIENT_LEDGER)
                        continue;
                view_account(&v->view, i, &page);
                account = account_sum(&page);
                if (account.handles != v->words[i])
                        FINDING(v, RULE_ACCOUNT_DRIFT, i, account.handles, v->words[i]);
                if (account_owned(&account) < v->owned[i])
                        FINDING(v, RULE_ACCOUNT_SCRATCH, i, account_owned(&account), v->owned[i]);
        }
}
