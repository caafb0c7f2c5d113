/* SPDX-License-Identifier: MIT */

/*
 * Sums over what many write. Each number is read in one piece and in no order with the others, so a sum is right when nobody works, and
 * at other times it is near. Where it is made anew, others may work as ever: what is counted then is believed only if nothing was done
 * meanwhile, and a span is looked into as anybody does who does not own it.
 *
 * Relaxed: therefore all numbers, and the words that are only counted. The accounts that are written here are the daemon's own and those
 * of clients for which nobody but the daemon works.
 */

#include "shm/totals.h"
#include "base/atomics.h"
#include "shm/chunk.h"
#include "shm/client.h"
#include "shm/hazard.h"
#include "shm/scratch.h"
#include "shm/span.h"
#include "shm/words.h"

typedef struct Sum {
        uint64_t handles;
        uint64_t bytes;
        uint64_t destroyed;
        uint64_t activity;
} Sum;

/* Where the daemon keeps an account that it keeps itself. */
static struct mh_shm_account_line *line_of(const Segment *seg, uint32_t id)
{
        return &((struct mh_shm_account *)segment_ledger(seg, id))->line[0];
}

static void add_account(const struct mh_shm_account *account, Sum *sum)
{
        struct mh_shm_account_line a = account_sum(account);

        /* Unsigned and wrapping: a single account may well have destroyed more than it created. */
        sum->handles += a.created - a.destroyed;
        sum->bytes += a.alloc_bytes - a.free_bytes;
        sum->destroyed += a.destroyed;
        sum->activity += a.handles + a.created + a.destroyed + a.alloc_bytes + a.free_bytes;
}

/* It has no memory any more if a former daemon died in the last step of reaping: read, not looked at. */
static void add_account_of_dead(const Segment *seg, uint32_t id, Sum *sum)
{
        struct mh_shm_account account;

        if (segment_read(seg, MH_SHM_REGION_LEDGERS, id * seg->ledger_stride, &account, sizeof(account)) == 0)
                add_account(&account, sum);
}

/* Of all clients; those that are attached have an account with memory. */
static Sum add_accounts(const Segment *seg, uint32_t *ret_clients)
{
        uint32_t end = client_end(seg), clients = 0;
        Sum sum = { 0 };

        for (uint32_t id = 1; id < end; id++) {
                switch (client_state(seg, id)) {
                case MH_SHM_CLIENT_ATTACHED:
                        clients++;
                        add_account(segment_ledger(seg, id), &sum);
                        break;
                case MH_SHM_CLIENT_DEAD:
                        add_account_of_dead(seg, id, &sum);
                        break;
                default:
                        break;
                }
        }
        if (ret_clients)
                *ret_clients = clients;
        return sum;
}

/* What clients wrote is not believed beyond what can be: a sum below zero is none, one above the capacity is full. */
static uint64_t bounded(uint64_t n, uint64_t max)
{
        return (int64_t)n < 0 ? 0 : n < max ? n : max;
}

void totals_read(const Segment *seg, Totals *ret)
{
        uint32_t clients;
        Sum sum = add_accounts(seg, &clients);

        add_account(segment_ledger(seg, MH_SHM_CLIENT_DAEMON), &sum);
        *ret = (Totals){
                .clients = clients,
                .handles = bounded(sum.handles, seg->n_slots),
                .scratch_bytes = bounded(sum.bytes, (uint64_t)seg->n_spans * MH_SHM_SPAN_SIZE),
                .destroyed = sum.destroyed,
                .activity = sum.activity,
        };
}

/* ------------------------------------------------------------------------------------------------ nothing left */

bool totals_no_slot(const Segment *seg)
{
        for (uint32_t chunk = 0; chunk < seg->n_chunks; chunk++) {
                if (!chunk_exists(seg, chunk) || chunk_state(load_sc(&seg->chunks[chunk].word)) != MH_SHM_CHUNK_OPEN)
                        return false;
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++)
                        if (~load_relaxed(&seg->chunks[chunk].taken[i]))
                                return false;
        }
        return true;
}

bool totals_no_span(const Segment *seg)
{
        for (uint32_t span = 0; span < seg->n_spans; span += 64) {
                uint64_t all = seg->n_spans - span < 64 ? (UINT64_C(1) << (seg->n_spans - span)) - 1 : UINT64_MAX;

                if (all & ~load_relaxed(&seg->spanmap[span / 64]))
                        return false;
        }
        return true;
}

/* ------------------------------------------------------------------------------------------------ counting anew */

static uint64_t count_handles(const Segment *seg)
{
        uint64_t n = 0;

        for (uint32_t chunk = 0; chunk_exists(seg, chunk); chunk++) {
                if (chunk_state(load_sc(&seg->chunks[chunk].word)) != MH_SHM_CHUNK_OPEN)
                        continue;
                for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                        unsigned phase = state_phase(
                                load_relaxed(&seg->slots[(size_t)chunk * MH_SHM_CHUNK_SLOTS + i].state));

                        n += phase == MH_SHM_PHASE_LIVE || phase == MH_SHM_PHASE_DYING;
                }
        }
        return n;
}

/* What was counted in one span. */
typedef struct SpanCount {
        uint64_t used;
        uint32_t client; /* whose span it is */
        uint64_t owned;  /* of what is used, what belongs to a client */
} SpanCount;

static void count_large(const Segment *seg, uint32_t span, SpanCount *ret)
{
        uint64_t owner = load_relaxed(span_owners(seg, span));
        uint64_t size = (uint64_t)load_relaxed(&seg->spans[span].run) * MH_SHM_SPAN_SIZE;

        if (owner_kind(owner) != MH_SHM_OWNER_FREE)
                ret->used = size;
        if (owner_kind(owner) == MH_SHM_OWNER_CLIENT)
                ret->owned = size;
}

static void count_small(const Segment *seg, uint32_t span, unsigned class, SpanCount *ret)
{
        for (uint32_t i = 0, n = class_blocks(class); i < n; i++) {
                uint64_t owner = load_relaxed(&span_owners(seg, span)[i]);

                if (owner_kind(owner) != MH_SHM_OWNER_FREE)
                        ret->used += class_size(class);
                if (owner_kind(owner) == MH_SHM_OWNER_CLIENT)
                        ret->owned += class_size(class);
        }
}

/* With a hazard, because its client may be about to give it back. */
static SpanCount count_span(Actor *daemon, uint32_t span)
{
        const Segment *seg = daemon->seg;
        SpanCount count = { 0 };
        uint64_t word;

        hazard_set(daemon, span);
        word = load_sc(&seg->spans[span].word);
        count.client = span_client(word);
        switch (span_state(word)) {
        case MH_SHM_SPAN_LARGE:
                count_large(seg, span, &count);
                break;
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                if (span_arg(word) < MH_SHM_CLASSES)
                        count_small(seg, span, span_arg(word), &count);
                break;
        default:
                break;
        }
        hazard_clear(daemon);
        return count;
}

/* Does the daemon write this client's ledger, and so its account? */
static bool is_ours(const Segment *seg, uint32_t id)
{
        return client_state(seg, id) == MH_SHM_CLIENT_ATTACHED &&
               !(load_relaxed(&seg->clients[id].flags) & MH_SHM_CLIENT_LEDGER);
}

static uint64_t count_ledger(const Segment *seg, uint32_t id)
{
        uint64_t base = seg->regions[MH_SHM_REGION_LEDGERS].offset + id * seg->ledger_stride + seg->ledger_slots;
        uint64_t end = base + (uint64_t)seg->n_slots * sizeof(uint64_t), at = base, from, to, n = 0;

        while (segment_next_data(seg, at, end, &from, &to) > 0) {
                const uint64_t *words = (const uint64_t *)(const void *)(seg->base + from);

                for (uint64_t i = 0; i < (to - from) / sizeof(uint64_t); i++)
                        n += load_relaxed(&words[i]) != 0;
                at = to;
        }
        return n;
}

/* So often, if others go on working. */
#define RECOUNTS 3U

/* The accounts of clients that send requests, and what all spans hold. */
static uint64_t recount_clients(Actor *daemon)
{
        Segment *seg = daemon->seg;
        uint32_t end = client_end(seg);
        uint64_t bytes = 0;

        for (uint32_t id = 1; id < end; id++)
                if (is_ours(seg, id)) {
                        struct mh_shm_account_line *line = line_of(seg, id);

                        /* For now it owns nothing. */
                        store_relaxed(&line->lost_bytes, load_relaxed(&line->alloc_bytes) -
                                                                 load_relaxed(&line->free_bytes) -
                                                                 load_relaxed(&line->disowned_bytes));
                        store_relaxed(&line->handles, count_ledger(seg, id));
                }
        for (uint32_t span = 0; span_entry(seg, span); span++) {
                SpanCount count = count_span(daemon, span);

                bytes += count.used;
                if (count.owned && is_ours(seg, count.client))
                        (void)fetch_sub_relaxed(&line_of(seg, count.client)->lost_bytes, count.owned);
        }
        return bytes;
}

void totals_recount(Segment *seg)
{
        struct mh_shm_account_line *line = line_of(seg, MH_SHM_CLIENT_DAEMON);
        Actor daemon;

        actor_init(&daemon, seg, MH_SHM_CLIENT_DAEMON, segment_ledger(seg, MH_SHM_CLIENT_DAEMON));
        (void)recount_clients(&daemon); /* which corrects what is summed up below */
        for (unsigned i = 0; i < RECOUNTS; i++) {
                Sum before = add_accounts(seg, NULL), after;
                uint64_t bytes = recount_clients(&daemon), handles = count_handles(seg);

                after = add_accounts(seg, NULL);
                if (after.activity != before.activity)
                        continue;
                store_relaxed(&line->created, handles - after.handles);
                store_relaxed(&line->destroyed, 0);
                store_relaxed(&line->alloc_bytes, bytes - after.bytes);
                store_relaxed(&line->free_bytes, 0);
                return;
        }
        /* Somebody always works. What the account says is what the daemon before wrote, which can be wrong only if it died
         * while it took over the account of a dead client. */
}
