/* SPDX-License-Identifier: MIT */

/* One row for each thing that is wrong; see src/shm/verify-rules.c for what can be. */

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "ctl/source.h"
#include "ctl/table.h"
#include "shm/verify.h"

/* Beyond these, one is only counted: a segment that somebody scribbled over has millions. */
#define SHOW_MAX 1000U

enum {
        COL_RULE,
        COL_FINDING,
};

static const Column columns[] = {
        [COL_RULE] = { "RULE", "name of the invariant that does not hold", 0, SCOLS_JSON_STRING, true },
        [COL_FINDING] = { "FINDING", "what was found, with its numbers", 0, SCOLS_JSON_STRING, true },
};

typedef struct Check {
        Table *table;
        unsigned shown;
} Check;

static void fill_row(const VerifyFinding *f, void *userdata)
{
        Check *c = userdata;

        if (c->shown == SHOW_MAX)
                return;
        c->shown++;
        table_row(c->table);
        table_set(c->table, COL_RULE, f->rule);
        table_set(c->table, COL_FINDING, f->text);
}

/* Last words for people; programs have the exit code. */
static void print_summary(const Options *o, const VerifyStats *stats, unsigned shown)
{
        if (o->json || o->raw || o->noheadings || o->output)
                return;
        if (stats->findings > shown)
                printf("... and %" PRIu64 " more\n", stats->findings - shown);
        if (stats->findings == 0)
                printf("In order: %u clients, %" PRIu64 " handles, %" PRIu64 " scratch blocks\n", stats->clients,
                       stats->handles, stats->blocks);
}

static int run(const Options *o)
{
        _cleanup_(source_close) Source s = SOURCE_NONE;
        _cleanup_(table_done) Table t = {};
        VerifyStats stats = {};
        Check c = { .table = &t };
        int r;

        r = table_init(&t, o, &command_check);
        if (r != CTL_OK)
                return r;
        r = source_open(&s, o);
        if (r != CTL_OK)
                return r;
        r = verify_segment(s.fd, o->at_rest ? VERIFY_AT_REST | VERIFY_NO_DEAD : 0, fill_row, &c, &stats);
        if (r < 0)
                return source_complain(&s, r);
        r = table_print(&t);
        if (r != CTL_OK)
                return r;
        print_summary(o, &stats, c.shown);
        return stats.findings > 0 ? CTL_FINDINGS : CTL_OK;
}

const Command command_check = { "check", "whether all invariants hold", columns, ELEMENTSOF(columns), run };
