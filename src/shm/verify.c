/* SPDX-License-Identifier: MIT */

/* Checking a whole segment.
 *
 * This is the second opinion on what the rest of src/shm does, so it shares nothing with it but the layout: it follows from
 * the equations of shm-layout.h, and reads through a View, as a stranger would. It is also what adoption, crash tests and people
 * ask about a segment that may be damaged in any way: every index is checked before it is followed, and every loop
 * ends by what there is, not by what a word says.
 *
 * The work is divided by what has to be seen together. A chunk's slots, their holder bits, and the words that each
 * ledger has for them (one page each) make one unit; a span and its blocks make another; the daemon's tables are the
 * third. References between handles and blocks, and from a span to its owner's ledger, are followed as single words.
 *
 * In a segment that is in use these words change while they are read. What then looks wrong is kept with its numbers,
 * and its unit is looked at again, several times and a while apart; what is not found each time with the same
 * numbers was somebody at work. A process may also be frozen half way for ever, so what is half done is wrong only
 * at rest, where the caller says that nobody is at work.
 *
 * Unlike the rest of src/shm this allocates memory: it runs on no fast path. */

#include "shm/verify.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "shm/verify-internal.h"

/* How often something is looked at again, and how long after the last time. */
#define LOOKS   8U
#define LOOK_NS 1000000L

/* Findings of a segment in use that are kept: enough to see what is wrong, and a bound on what damage can cost. */
#define KEEP_MAX 65536U

#define TEXT_MAX 256U

/* ---------------------------------------------------------------------------------------------- findings */

static void tell(Verify *v, const Finding *f)
{
        char text[TEXT_MAX];

        v->stats.findings++;
        if (!v->fn)
                return;
        rule_text((Rule)f->rule, f->args, text, sizeof(text));
        v->fn(&(VerifyFinding){ .rule = rule_name((Rule)f->rule), .text = text }, v->userdata);
}

static void keep(Verify *v, const Finding *f)
{
        if (v->n_found == v->n_allocated) {
                size_t n = v->n_allocated > 0 ? v->n_allocated * 2 : 64;
                Finding *more = n <= KEEP_MAX ? reallocarray(v->found, n, sizeof(*more)) : NULL;

                if (!more)
                        return;
                v->found = more;
                v->n_allocated = n;
        }
        v->found[v->n_found++] = *f;
}

void verify_finding(Verify *v, Rule rule, const uint64_t args[static RULE_ARGS])
{
        Finding f = { .unit = v->unit, .index = v->index, .rule = rule };

        if (rule_at_rest(rule) && !verify_at_rest(v))
                return;
        /* What could not be read was read as zeros, from which nothing follows. */
        if (v->view.error < 0)
                return;
        memcpy(f.args, args, sizeof(f.args));
        if (verify_at_rest(v))
                tell(v, &f);
        else
                keep(v, &f);
}

static int compare(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(Finding));
}

static_assert(sizeof(Finding) == 16 + RULE_ARGS * 8, "no padding, which would be compared");

/* Keeps of `old` what is found again. Both are sorted. */
static size_t intersect(Finding *old, size_t n_old, const Finding *found, size_t n_found)
{
        size_t kept = 0, j = 0;

        for (size_t i = 0; i < n_old; i++) {
                while (j < n_found && compare(&found[j], &old[i]) < 0)
                        j++;
                if (j < n_found && compare(&found[j], &old[i]) == 0)
                        old[kept++] = old[i];
        }
        return kept;
}

/* ---------------------------------------------------------------------------------------------- clients */

bool verify_client_in_use(const Verify *v, uint32_t client)
{
        unsigned state = view_client_state(&v->view, client);

        return client == MH_SHM_CLIENT_DAEMON || state == MH_SHM_CLIENT_ATTACHED || state == MH_SHM_CLIENT_DEAD;
}

bool verify_client_dead(const Verify *v, uint32_t client)
{
        return client != MH_SHM_CLIENT_DAEMON && view_client_state(&v->view, client) == MH_SHM_CLIENT_DEAD;
}

bool verify_pending(const Verify *v, uint32_t client)
{
        return verify_at_rest(v) && (v->flags & VERIFY_NO_DEAD || !verify_client_dead(v, client));
}

/* ---------------------------------------------------------------------------------------------- looking */

static void look_at(Verify *v, Unit unit, uint32_t index)
{
        v->unit = unit;
        v->index = index;

        switch (unit) {
        case UNIT_TABLES:
                verify_tables(v);
                break;
        case UNIT_CHUNK:
                verify_chunk(v, index);
                break;
        case UNIT_SPAN:
                verify_span(v, index);
                break;
        }
}

/* Spans beyond the mark have no memory unless something is wrong, so only what has some is looked at. */
static void look_at_spans_beyond(Verify *v)
{
        const uint64_t each = sizeof(struct mh_shm_span);
        uint64_t end = v->view.seg.n_spans * each, start, stop;

        for (uint64_t at = v->view.span_hwm * each; view_data(&v->view, MH_SHM_REGION_SPANS, at, end, &start, &stop);
             at = stop)
                for (uint64_t i = start / each; i < stop / each; i++)
                        look_at(v, UNIT_SPAN, (uint32_t)i);
}

static void look_at_all(Verify *v)
{
        look_at(v, UNIT_TABLES, 0);
        if (verify_at_rest(v))
                verify_span_bits(v);
        for (uint32_t i = 0; i < v->view.seg.n_chunks && v->view.error == 0; i++)
                look_at(v, UNIT_CHUNK, i);
        for (uint32_t i = 0; i < v->view.span_hwm && v->view.error == 0; i++)
                look_at(v, UNIT_SPAN, i);
        look_at_spans_beyond(v);
        if (verify_at_rest(v)) {
                verify_memory(v);
                verify_accounts(v);
        }
}

/* Once more at the units in which something was found; then only what was found there again is left. */
static int look_again(Verify *v)
{
        _cleanup_free_ Finding *old = NULL;
        size_t n_old = v->n_found;

        (void)nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
        if (view_refresh(&v->view) < 0)
                return v->view.error;

        old = TAKE_PTR(v->found);
        v->n_found = v->n_allocated = 0;
        for (size_t i = 0; i < n_old; i++)
                if (i == 0 || old[i].unit != old[i - 1].unit || old[i].index != old[i - 1].index)
                        look_at(v, (Unit)old[i].unit, old[i].index);

        if (v->n_found > 0)
                qsort(v->found, v->n_found, sizeof(*v->found), compare);
        n_old = intersect(old, n_old, v->found, v->n_found);
        free(v->found);
        v->found = TAKE_PTR(old);
        v->n_found = v->n_allocated = n_old;
        return v->view.error;
}

static int settle(Verify *v)
{
        int r;

        v->again = true;
        if (v->n_found > 0)
                qsort(v->found, v->n_found, sizeof(*v->found), compare);
        for (unsigned i = 0; i < LOOKS && v->n_found > 0; i++) {
                r = look_again(v);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < v->n_found; i++)
                tell(v, &v->found[i]);
        return 0;
}

static void done(Verify *v)
{
        view_done(&v->view);
        free(v->chunk);
        free(v->named);
        free(v->words);
        free(v->owned);
        free(v->span_named);
        free(v->found);
}

static int run(Verify *v, int fd)
{
        const Segment *seg = &v->view.seg;
        int r;

        r = view_open(&v->view, fd);
        if (r < 0)
                return r;
        v->chunk = view_chunk_new(&v->view);
        v->named = calloc(seg->n_groups, sizeof(*v->named));
        v->words = calloc(seg->n_clients, sizeof(*v->words));
        v->owned = calloc(seg->n_clients, sizeof(*v->owned));
        v->span_named = calloc(((size_t)seg->n_spans + 63) / 64, sizeof(*v->span_named));
        if (!v->chunk || !v->named || !v->words || !v->owned || !v->span_named)
                return -ENOMEM;

        look_at_all(v);
        if (v->view.error < 0)
                return v->view.error;
        return settle(v);
}

int verify_segment(int fd, unsigned flags, VerifyFn fn, void *userdata, VerifyStats *ret)
{
        Verify v = { .flags = flags, .fn = fn, .userdata = userdata };
        int r;

        r = run(&v, fd);
        if (r >= 0) {
                r = (int)MIN(v.stats.findings, (uint64_t)INT_MAX);
                if (ret)
                        *ret = v.stats;
        }
        done(&v);
        return r;
}
