/* SPDX-License-Identifier: MIT */

#include "crash/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/atomics.h"
#include "crash/fail.h"
#include "shm/chunk.h"
#include "shm/client.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/totals.h"
#include "shm/verify.h"
#include "shm/words.h"

#define REST (VERIFY_AT_REST | VERIFY_NO_DEAD)

/* ---------------------------------------------------------------------------------------------- verify */

/* Memory for holder bits that was reserved, and then somebody died before he said so. It is no data until this test
 * looks at it, and the next client who needs it finds it there: nothing is lost. */
static bool is_harmless(const VerifyFinding *f)
{
        char text[64];

        (void)snprintf(text, sizeof(text), "region %u:", (unsigned)MH_SHM_REGION_HOLDERS);
        return strcmp(f->rule, "memory-in-hole") == 0 && strncmp(f->text, text, strlen(text)) == 0;
}

typedef struct Findings {
        unsigned harmless;
} Findings;

static void on_finding(const VerifyFinding *f, void *userdata)
{
        Findings *findings = userdata;

        if (is_harmless(f))
                findings->harmless++;
        else
                fail("%s: %s", f->rule, f->text);
}

static bool verify(World *w, unsigned flags, VerifyStats *ret)
{
        Findings findings = {};
        int r = verify_segment(w->fd, flags, on_finding, &findings, ret);
        long pages = memory_check(&w->memory);

        if (pages != 0) {
                memory_forgive(&w->memory);
                return fail("%ld pages are there that nobody reserved", pages);
        }
        if (r < 0)
                return fail("verify: %s", strerror(-r));
        return (unsigned)r == findings.harmless;
}

bool check_verify(World *w, unsigned flags)
{
        return verify(w, flags, NULL);
}

bool check_adopted(World *w)
{
        VerifyStats stats = {};
        bool good = verify(w, REST, &stats);
        Totals totals;

        totals_read(&w->shared->seg, &totals);
        if (totals.clients != stats.clients || totals.handles != stats.handles ||
            totals.scratch_bytes != stats.scratch_bytes)
                return fail("the accounts say %u clients, %llu handles, %llu bytes, and there are %u, %llu, %llu",
                            totals.clients, (unsigned long long)totals.handles,
                            (unsigned long long)totals.scratch_bytes, stats.clients, (unsigned long long)stats.handles,
                            (unsigned long long)stats.scratch_bytes);
        return good;
}

/* ---------------------------------------------------------------------------------------------- what there is */

static bool is_attached(World *w, Who who)
{
        return w->shared->id[who] && client_state(&w->shared->seg, w->shared->id[who]) == MH_SHM_CLIENT_ATTACHED;
}

static uint64_t read_word(World *w, enum mh_shm_region_id region, uint64_t offset)
{
        uint64_t word = 0;

        (void)segment_read(&w->shared->seg, region, offset, &word, sizeof(word));
        return word;
}

static uint32_t count_of(World *w, Who who, uint64_t handle)
{
        const Segment *seg = &w->shared->seg;
        uint64_t word;

        if (!is_attached(w, who))
                return 0;
        word = read_word(w, MH_SHM_REGION_LEDGERS,
                         w->shared->id[who] * seg->ledger_stride + seg->ledger_slots + handle_slot(handle) * 8);
        return ledger_generation(word) == handle_generation(handle) ? ledger_count(word) : 0;
}

static void take_handle(World *w, unsigned i, Abstract *ret)
{
        struct mh_shm_slot s;

        (void)segment_read(&w->shared->seg, MH_SHM_REGION_SLOTS, handle_slot(w->handle[i]) * sizeof(s), &s, sizeof(s));
        if (state_generation(s.state) != handle_generation(w->handle[i]) ||
            (state_phase(s.state) != MH_SHM_PHASE_LIVE && state_phase(s.state) != MH_SHM_PHASE_DYING))
                return;
        ret->handle[i].type = (uint8_t)state_type(s.state);
        ret->handle[i].payload = s.payload[0] == 0x40 + i && s.payload[MH_SHM_PAYLOAD_SIZE - 1] == 0x77;
        for (unsigned who = 0; who < WHO_COUNT; who++)
                ret->handle[i].count[who] = (uint8_t)count_of(w, (Who)who, w->handle[i]);
}

/* The owner word of a block, found without the code that is tested. 0: there is no such block. */
static uint64_t owner_of(World *w, uint64_t scratch)
{
        uint32_t span = (uint32_t)(scratch_offset(scratch) / MH_SHM_SPAN_SIZE), index = 0;
        uint64_t word = read_word(w, MH_SHM_REGION_SPANS, span * sizeof(struct mh_shm_span)), owner;

        switch (span_state(word)) {
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                index = (uint32_t)(scratch_offset(scratch) % MH_SHM_SPAN_SIZE) / class_size(span_arg(word));
                break;
        case MH_SHM_SPAN_LARGE:
                break;
        default:
                return 0;
        }
        owner = read_word(w, MH_SHM_REGION_OWNERS,
                          span * sizeof(struct mh_shm_owners) + offsetof(struct mh_shm_owners, word) + index * 8);
        return owner_tag(owner) == scratch_tag(scratch) ? owner : 0;
}

static uint8_t who_of(World *w, uint32_t id)
{
        for (unsigned who = 0; who < WHO_COUNT; who++)
                if (w->shared->id[who] == id)
                        return (uint8_t)who;
        return 0xff;
}

static void take_block(World *w, unsigned i, Abstract *ret)
{
        uint64_t owner = owner_of(w, w->block[i]);
        const uint8_t *data = w->shared->seg.scratch + scratch_offset(w->block[i]);

        ret->block[i].kind = (uint8_t)owner_kind(owner);
        ret->block[i].who = 0xff;
        switch (owner_kind(owner)) {
        case MH_SHM_OWNER_CLIENT:
                ret->block[i].who = who_of(w, owner_who(owner));
                break;
        case MH_SHM_OWNER_SLOT:
                for (unsigned h = 0; h < w->n_handles; h++)
                        if (handle_slot(w->handle[h]) == owner_who(owner) && ret->handle[h].type)
                                ret->block[i].who = (uint8_t)h;
                break;
        default:
                return;
        }
        ret->block[i].data = 1;
        for (unsigned b = 0; b < MH_SHM_BLOCK_ALIGN; b++)
                if (data[b] != 0x80 + i)
                        ret->block[i].data = 0;
}

static void take(World *w, const VerifyStats *stats, Abstract *ret)
{
        memset(ret, 0, sizeof(*ret));
        for (unsigned who = 0; who < WHO_COUNT; who++)
                ret->attached[who] = is_attached(w, (Who)who);
        ret->clients = (uint8_t)stats->clients;
        for (unsigned i = 0; i < w->n_handles; i++)
                take_handle(w, i, ret);
        for (unsigned i = 0; i < w->n_blocks; i++)
                take_block(w, i, ret);
        ret->handles = stats->handles;
        ret->blocks = stats->blocks;
        ret->bytes = stats->scratch_bytes;
}

static bool reap_all(World *w)
{
        Segment *seg = &w->shared->seg;
        bool good = true;

        for (uint32_t id = 1; id < client_end(seg); id++)
                if (client_state(seg, id) == MH_SHM_CLIENT_DEAD) {
                        Job job = { .op = OP_REAP, .arg = { id } };

                        world_run(w, &job);
                        if (job.result < 0)
                                good = fail("reaping client %u: %s", id, strerror(-job.result));
                }
        return good;
}

bool check_settle(World *w, Abstract *ret)
{
        VerifyStats stats = {};
        bool good = reap_all(w);

        good = verify(w, REST, &stats) && good;
        take(w, &stats, ret);
        return good;
}

/* ---------------------------------------------------------------------------------------------- results */

Result check_result(World *w, const Job *job)
{
        Result r;

        memset(&r, 0, sizeof(r));
        r.result = job->result;
        if (job->result != 0)
                return r;
        switch (job->op) {
        case OP_NEW:
                r.flags = job->flags;
                r.object = count_of(w, job->who, job->value[0]) == 1;
                break;
        case OP_OPEN:
                r.flags = job->flags;
                r.object = count_of(w, job->who, job->value[0]) > 0;
                break;
        case OP_CLOSE:
                r.flags = job->flags & SLOT_CLOSED_HERE;
                if (job->flags & SLOT_CLOSED_EVERYWHERE)
                        r.object = !slot_is_alive(&w->shared->actor[job->who], job->arg[0], NULL);
                else
                        r.object = 1;
                break;
        case OP_ALLOC:
                r.flags = (uint32_t)job->value[1];
                r.object = owner_kind(owner_of(w, job->value[0])) == MH_SHM_OWNER_CLIENT &&
                           owner_who(owner_of(w, job->value[0])) == w->shared->id[job->who];
                break;
        case OP_ATTACH:
                r.object = client_state(&w->shared->seg, (uint32_t)job->value[0]) == MH_SHM_CLIENT_ATTACHED;
                break;
        default:
                break;
        }
        return r;
}

/* ---------------------------------------------------------------------------------------------- life goes on */

static bool expect(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1, int result, Job *ret)
{
        Job job = { .op = op, .who = who, .arg = { arg0, arg1 } };

        world_run(w, &job);
        if (ret)
                *ret = job;
        if (job.result != result)
                return fail("afterwards, %s by client %u: %s instead of %s", job_name(op), w->shared->id[who],
                            strerror(-job.result), strerror(-result));
        return true;
}

/* A bit of everything. */
static bool live(World *w, Who who)
{
        Job made, small, large;

        if (!expect(w, who, OP_NEW, 1, 0, 0, &made) || !expect(w, who, OP_ALLOC, 64, 0, 0, &small) ||
            !expect(w, who, OP_ALLOC, 2 * MH_SHM_SPAN_SIZE, 0, 0, &large))
                return false;
        if (!expect(w, who, OP_OPEN, made.value[0], 0, 0, NULL) ||
            !expect(w, who, OP_GIVE, small.value[0], made.value[0], 0, NULL) ||
            !expect(w, who, OP_GIVE, large.value[0], made.value[0], 0, NULL) ||
            !expect(w, who, OP_CLOSE, made.value[0], 0, 0, NULL) ||
            !expect(w, who, OP_LOOKUP, large.value[0], 0, 0, NULL) ||
            !expect(w, who, OP_CLOSE, made.value[0], 0, 0, &made) ||
            !expect(w, who, OP_LOOKUP, small.value[0], 0, -ESTALE, NULL) ||
            !expect(w, who, OP_LOOKUP, large.value[0], 0, -ESTALE, NULL))
                return false;
        if (made.flags != (SLOT_CLOSED_HERE | SLOT_CLOSED_EVERYWHERE))
                return fail("afterwards, the last close says 0x%x", made.flags);
        return expect(w, who, OP_ALLOC, 16, 0, 0, &small) && expect(w, who, OP_FREE, small.value[0], 0, 0, NULL);
}

/* B still has what it had. */
static bool use_up(World *w, const Abstract *now)
{
        bool good = true;

        for (unsigned i = 0; i < w->n_handles; i++)
                for (unsigned n = now->handle[i].count[WHO_B]; n > 0; n--)
                        good = expect(w, WHO_B, OP_CLOSE, w->handle[i], 0, 0, NULL) && good;
        for (unsigned i = 0; i < w->n_blocks; i++)
                if (now->block[i].kind == MH_SHM_OWNER_CLIENT && now->block[i].who == WHO_B)
                        good = expect(w, WHO_B, OP_FREE, w->block[i], 0, 0, NULL) && good;
        return good;
}

static bool nothing_is_left(World *w)
{
        VerifyStats stats = {};
        bool good = verify(w, REST, &stats);

        if (stats.handles || stats.reserved || stats.blocks || stats.spans)
                return fail("when all are gone, there are %llu handles, %llu reserved slots, %llu blocks, %llu spans",
                            (unsigned long long)stats.handles, (unsigned long long)stats.reserved,
                            (unsigned long long)stats.blocks, (unsigned long long)stats.spans);
        return good;
}

static bool all_stale(World *w, Who who)
{
        bool good = true;

        for (unsigned i = 0; i < w->n_handles; i++)
                good = expect(w, who, OP_OPEN, w->handle[i], 0, -ESTALE, NULL) && good;
        for (unsigned i = 0; i < w->n_stale; i++)
                good = expect(w, who, OP_OPEN, w->stale[i], 0, -ESTALE, NULL) && good;
        for (unsigned i = 0; i < w->n_blocks; i++)
                good = expect(w, who, OP_FREE, w->block[i], 0, -ESTALE, NULL) && good;
        return good;
}

static bool no_chunk_is_open(World *w)
{
        const Segment *seg = &w->shared->seg;

        for (uint32_t chunk = 0; chunk_exists(seg, chunk); chunk++)
                if (chunk_state(load_sc(&seg->chunks[chunk].word)) != MH_SHM_CHUNK_HOLE)
                        return fail("after trimming, the word of chunk %u is 0x%llx", chunk,
                                    (unsigned long long)seg->chunks[chunk].word);
        return true;
}

bool check_drain(World *w, const Abstract *now)
{
        bool good = true;

        if (now->attached[WHO_B])
                good = use_up(w, now) && (w->full || live(w, WHO_B));
        for (uint32_t id = 1; id < client_end(&w->shared->seg); id++)
                if (client_state(&w->shared->seg, id) == MH_SHM_CLIENT_ATTACHED)
                        client_kill(&w->shared->seg, id);
        good = reap_all(w) && nothing_is_left(w) && good;

        good = expect(w, WHO_B, OP_TRIM, 0, 0, 0, NULL) && nothing_is_left(w) && (w->retired || no_chunk_is_open(w)) &&
               good;

        memset(w->shared->id, 0, sizeof(w->shared->id));
        world_attach(w, WHO_C);
        good = live(w, WHO_C) && all_stale(w, WHO_C) && good;
        world_kill(w, WHO_C);
        return reap_all(w) && nothing_is_left(w) && good;
}

/* ---------------------------------------------------------------------------------------------- messages */

static void explain_handle(unsigned i, const Abstract *is, const Abstract *expected)
{
        printf("#   handle %u: type %u, payload %u, counts %u %u %u instead of type %u, payload %u, counts %u %u %u\n",
               i, is->handle[i].type, is->handle[i].payload, is->handle[i].count[0], is->handle[i].count[1],
               is->handle[i].count[2], expected->handle[i].type, expected->handle[i].payload,
               expected->handle[i].count[0], expected->handle[i].count[1], expected->handle[i].count[2]);
}

void check_explain(const Abstract *is, const Abstract *expected)
{
        if (memcmp(is->attached, expected->attached, sizeof(is->attached)) != 0 || is->clients != expected->clients)
                printf("#   clients: %u (%u %u %u) instead of %u (%u %u %u)\n", is->clients, is->attached[0],
                       is->attached[1], is->attached[2], expected->clients, expected->attached[0],
                       expected->attached[1], expected->attached[2]);
        for (unsigned i = 0; i < TRACKED_MAX; i++) {
                if (memcmp(&is->handle[i], &expected->handle[i], sizeof(is->handle[i])) != 0)
                        explain_handle(i, is, expected);
                if (memcmp(&is->block[i], &expected->block[i], sizeof(is->block[i])) != 0)
                        printf("#   block %u: kind %u of %u, data %u instead of kind %u of %u, data %u\n", i,
                               is->block[i].kind, is->block[i].who, is->block[i].data, expected->block[i].kind,
                               expected->block[i].who, expected->block[i].data);
        }
        if (is->handles != expected->handles || is->blocks != expected->blocks || is->bytes != expected->bytes)
                printf("#   %llu handles, %llu blocks, %llu bytes instead of %llu, %llu, %llu\n",
                       (unsigned long long)is->handles, (unsigned long long)is->blocks, (unsigned long long)is->bytes,
                       (unsigned long long)expected->handles, (unsigned long long)expected->blocks,
                       (unsigned long long)expected->bytes);
}
