/* SPDX-License-Identifier: MIT */

/*
 * Clients that write nonsense over all of the segment that they can write, and die. The daemon reaps each of them by what it
 * finds there, and is restarted over it now and then. It must not crash, nor spin, nor take anything from others: what
 * was not hit stays right.
 */

#include "harness.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "base/random.h"
#include "lib/client.h"
#include "monohandle.h"
#include "shm/words.h"
#include "tools/under.h"

#define ROUNDS         10000U
#define BATCH          50U /* rounds of one scribbler, unless it is one that goes on until it is killed */
#define KILL_EVERY     3U  /* batches */
#define RESTART_EVERY  8U  /* batches */
#define WRITES         12U /* of a round, at most */
#define OBJECTS        24U /* of each kind, of each who is not to suffer */
#define BATCH_CPU_MSEC 4000U

TestSuite(scribble, .init = harness_init, .fini = harness_fini, .timeout = 900);

static const char *const arguments[] = { "--handles=4096", "--clients=64", "--scratch=8M", NULL };

/* ------------------------------------------------------------------------------------------------ whom it shall not hit */

typedef struct Victims {
        bool spare;     /* write where their objects are not */
        bool endless;   /* go on until killed */
        uint64_t *done; /* rounds, in memory that the scribbler shares with the test */
        uint32_t direct, wire;
        mh_handle handles[2 * OBJECTS];
        mh_scratch blocks[2 * OBJECTS];
        uint64_t sizes[2 * OBJECTS];
        uint64_t seed;
} Victims;

static uint64_t random_of(uint64_t *state)
{
        uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

static uint64_t below(uint64_t *state, uint64_t n)
{
        return random_of(state) % n;
}

/* ------------------------------------------------------------------------------------------------ the scribbler */

static bool slot_is_theirs(const Victims *v, uint64_t slot)
{
        for (unsigned i = 0; i < ELEMENTSOF(v->handles); i++)
                if (v->handles[i] && handle_slot(v->handles[i]) == slot)
                        return true;
        return false;
}

static bool chunk_is_theirs(const Victims *v, uint64_t chunk)
{
        for (unsigned i = 0; i < ELEMENTSOF(v->handles); i++)
                if (v->handles[i] && handle_slot(v->handles[i]) / MH_SHM_CHUNK_SLOTS == chunk)
                        return true;
        return false;
}

static bool span_is_theirs(const Victims *v, uint64_t span)
{
        for (unsigned i = 0; i < ELEMENTSOF(v->blocks); i++) {
                uint64_t first = scratch_offset(v->blocks[i]) / MH_SHM_SPAN_SIZE;

                if (v->blocks[i] && span >= first && span <= first + (v->sizes[i] - 1) / MH_SHM_SPAN_SIZE)
                        return true;
        }
        return false;
}

static bool data_is_theirs(const Victims *v, uint64_t offset)
{
        for (unsigned i = 0; i < ELEMENTSOF(v->blocks); i++) {
                uint64_t first = scratch_offset(v->blocks[i]);

                if (v->blocks[i] && offset + 8 > first && offset < first + v->sizes[i])
                        return true;
        }
        return false;
}

/* Word `index` of the owner words of a span. */
static bool owner_is_theirs(const Segment *seg, const Victims *v, uint64_t span, uint64_t index)
{
        uint64_t word = load_relaxed(&seg->spans[span].word), size;

        if (!span_is_theirs(v, span))
                return false;
        if (span_state(word) != MH_SHM_SPAN_SMALL && span_state(word) != MH_SHM_SPAN_ORPHAN)
                return index == 0;
        size = class_size(span_arg(word) % MH_SHM_CLASSES);
        for (unsigned i = 0; i < ELEMENTSOF(v->blocks); i++)
                if (v->blocks[i] && scratch_offset(v->blocks[i]) == span * MH_SHM_SPAN_SIZE + index * size)
                        return true;
        return false;
}

/* Words that could well stand there, but that they name what is not the scribbler's. */
static uint64_t some_client(const Segment *seg, const Victims *v, uint64_t *r)
{
        const uint64_t ids[] = { 0, v->direct, v->wire, seg->ledger_id, 63, 0x1fff, below(r, 64) };

        return ids[below(r, ELEMENTSOF(ids))];
}

static uint64_t some_slot(const Segment *seg, const Victims *v, uint64_t *r)
{
        switch (below(r, 4)) {
        case 0:
                return handle_slot(v->handles[below(r, ELEMENTSOF(v->handles))]);
        case 1:
                return below(r, 64);
        case 2:
                return random_of(r) & 0xffffff;
        default:
                return below(r, seg->n_slots);
        }
}

static uint64_t some_span(const Segment *seg, const Victims *v, uint64_t *r)
{
        switch (below(r, 4)) {
        case 0:
                return scratch_offset(v->blocks[below(r, ELEMENTSOF(v->blocks))]) / MH_SHM_SPAN_SIZE;
        case 1:
                return below(r, 8);
        case 2:
                return random_of(r) & 0xffffff;
        default:
                return below(r, seg->n_spans);
        }
}

static uint64_t some_generation(const Segment *seg, const Victims *v, uint64_t *r)
{
        switch (below(r, 3)) {
        case 0:
                return seg->first_generation + below(r, 20);
        case 1:
                return handle_generation(v->handles[below(r, ELEMENTSOF(v->handles))]);
        default:
                return random_of(r) & MH_SHM_GENERATION_MASK;
        }
}

static uint64_t nonsense(uint64_t old, uint64_t plausible, uint64_t *r)
{
        switch (below(r, 6)) {
        case 0:
                return random_of(r);
        case 1:
                return old ^ UINT64_C(1) << below(r, 64);
        case 2:
                return 0;
        case 3:
                return below(r, 2) ? UINT64_MAX : old + below(r, 3) - 1;
        default:
                return plausible;
        }
}

static void write_word(uint64_t *word, uint64_t plausible, uint64_t *r)
{
        uint64_t value = nonsense(load_relaxed(word), plausible, r);

        if (below(r, 8) == 0)
                ((uint8_t *)word)[below(r, 8)] = (uint8_t)value;
        else
                store_sc(word, value);
}

static void hit_slot(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t slot = below(r, 2) ? below(r, 512) : below(r, seg->n_slots),
                 at = below(r, sizeof(struct mh_shm_slot) / 8);
        uint64_t block = v->blocks[below(r, ELEMENTSOF(v->blocks))];

        if (v->spare && slot_is_theirs(v, slot))
                return;
        if (below(r, 2))
                at = below(r, 3) * 3; /* state, or a reference */
        write_word((uint64_t *)&seg->slots[slot] + at,
                   at == 0   ? state_make(some_generation(seg, v, r), (enum mh_shm_phase)below(r, 8),
                                          (unsigned)below(r, 256), (uint32_t)some_client(seg, v, r))
                   : at == 1 ? UINT64_C(1) << some_client(seg, v, r) % 64
                             : ref_make(block ?: 16, (uint32_t)some_client(seg, v, r)),
                   r);
}

static void hit_chunk(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t chunk = below(r, seg->n_chunks), at = below(r, 3) ? 0 : 8 + below(r, 8);

        if (at == 0 && v->spare && chunk_is_theirs(v, chunk))
                return;
        write_word((uint64_t *)&seg->chunks[chunk] + at,
                   chunk_make(some_generation(seg, v, r), (unsigned)below(r, 4), (enum mh_shm_chunk_state)below(r, 6),
                              (uint32_t)some_client(seg, v, r)),
                   r);
}

static void hit_ledger(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint8_t *ledger = seg->ledger;
        uint64_t *words = (uint64_t *)(void *)(ledger + seg->ledger_slots);
        const uint64_t bits[] = { MH_SHM_LEDGER_IN_FLIGHT, MH_SHM_LEDGER_RESERVED, MH_SHM_LEDGER_WAITERS, 1, 2,
                                  MH_SHM_LEDGER_COUNT_MASK };
        uint64_t slot = some_slot(seg, v, r) % seg->n_slots;

        if (below(r, 6) == 0)
                write_word((uint64_t *)(void *)ledger + below(r, MH_SHM_PAGE / 8), random_of(r), r);
        else if (below(r, 4) == 0)
                write_word((uint64_t *)(void *)(ledger + seg->ledger_spans) + below(r, (seg->n_spans + 63) / 64),
                           UINT64_C(1) << some_span(seg, v, r) % 64, r);
        else
                write_word(&words[slot], ledger_make(some_generation(seg, v, r), bits[below(r, ELEMENTSOF(bits))]), r);
}

static void hit_span(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t span = below(r, 2) ? below(r, 32) : below(r, seg->n_spans), at = below(r, 4);

        if (v->spare && span_is_theirs(v, span))
                return;
        if (below(r, 2))
                at = 0;
        write_word((uint64_t *)&seg->spans[span] + at,
                   at == 0 ? span_make((uint32_t)below(r, 4), (enum mh_shm_span_state)below(r, 8),
                                       (uint32_t)some_client(seg, v, r), (uint32_t)some_span(seg, v, r))
                           : below(r, 256),
                   r);
}

static void hit_owner(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t span = below(r, 2) ? below(r, 16) : below(r, seg->n_spans);
        uint64_t index = below(r, 2) ? below(r, 16) : below(r, MH_SHM_SPAN_BLOCKS_MAX);
        enum mh_shm_owner_kind kind = (enum mh_shm_owner_kind)below(r, 6);

        if (below(r, 16) == 0)
                write_word(below(r, 2) ? &seg->owners[span].hints : (uint64_t *)(void *)&seg->owners[span].countdown,
                           random_of(r), r);
        else if (!v->spare || !owner_is_theirs(seg, v, span, index))
                write_word(&seg->owners[span].word[index],
                           owner_make((uint32_t)below(r, 4), kind, (unsigned)below(r, 8),
                                      (uint32_t)(kind == MH_SHM_OWNER_SLOT ? some_slot(seg, v, r)
                                                                           : some_client(seg, v, r))),
                           r);
}

static void hit_hazard(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t *lines = (uint64_t *)&seg->hazards[below(r, 2) ? seg->ledger_id : below(r, 64)];

        write_word(&lines[below(r, 8) * 8 + below(r, 2)], some_span(seg, v, r) + 1, r);
}

static void hit_shared(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t *words = (uint64_t *)(void *)seg->shared;
        uint64_t at = below(r, 3) ? 16 + below(r, 40) : below(r, sizeof(*seg->shared) / 8);

        /* What their objects are found by; and what the daemon says of itself. */
        if (v->spare && at < 16)
                return;
        write_word(&words[at], below(r, 2) ? some_span(seg, v, r) : below(r, 4096), r);
}

static void hit_hint(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t *map = below(r, 2) ? seg->chunkmap : seg->spanmap;

        write_word(&map[below(r, map == seg->chunkmap ? 1 : seg->n_spans / 64)], random_of(r), r);
}

static void hit_data(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t offset = below(r, (uint64_t)seg->n_spans * MH_SHM_SPAN_SIZE / 8) * 8;

        if (!v->spare || !data_is_theirs(v, offset))
                write_word((uint64_t *)(void *)(seg->scratch + offset), random_of(r), r);
}

/* Several words that fit: a large block of the scribbler's own, half freed perhaps, which reaches over the spans of others. */
static void forge_large(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t span = some_span(seg, v, r) % seg->n_spans, back = below(r, 6);
        bool freeing = below(r, 2) == 0;

        span -= MIN(span, back);
        if (v->spare && span_is_theirs(v, span))
                return;
        seg->spans[span].run = (uint32_t)(1 + below(r, 40));
        seg->spans[span].size = random_of(r);
        store_sc(&seg->owners[span].word[0],
                 owner_make(1, freeing ? MH_SHM_OWNER_FREEING : MH_SHM_OWNER_CLIENT, 0, seg->ledger_id));
        ((uint64_t *)(void *)((uint8_t *)seg->ledger + seg->ledger_spans))[span / 64] |= UINT64_C(1) << span % 64;
        if (freeing)
                store_sc(&seg->hazards[seg->ledger_id].line[0].span, span + 1);
        store_sc(&seg->spans[span].word, span_make(1, MH_SHM_SPAN_LARGE, seg->ledger_id, 0));
}

/* And a slot of its own, about to go, to which the blocks of others are said to belong. */
static void forge_slot(const Segment *seg, const Victims *v, uint64_t *r)
{
        uint64_t slot = below(r, seg->n_slots), gen = some_generation(seg, v, r);
        uint64_t *words = (uint64_t *)(void *)((uint8_t *)seg->ledger + seg->ledger_slots);

        if (v->spare && slot_is_theirs(v, slot))
                return;
        for (unsigned i = 0; i < MH_SHM_SLOT_REFS; i++)
                seg->slots[slot].refs[i] = ref_make(v->blocks[below(r, ELEMENTSOF(v->blocks))] ?: 16, seg->ledger_id);
        seg->slots[slot].holders = below(r, 2) ? UINT64_C(1) << seg->ledger_id % 64 : 0;
        words[slot] = ledger_make(gen, below(r, 2) ? MH_SHM_LEDGER_IN_FLIGHT : 1);
        store_sc(&seg->slots[slot].state,
                 state_make(gen, below(r, 2) ? MH_SHM_PHASE_LIVE : MH_SHM_PHASE_DEAD, 1, seg->ledger_id));
}

static void scribble_round(const Segment *seg, const Victims *v, uint64_t *r)
{
        static void (*const hits[])(const Segment *seg, const Victims *v, uint64_t *r) = {
                hit_slot,   hit_slot, hit_slot,   hit_chunk, hit_ledger,  hit_ledger, hit_ledger,
                hit_span,   hit_span, hit_span,   hit_owner, hit_owner,   hit_owner,  hit_hazard,
                hit_shared, hit_hint, hit_hazard, hit_data,  forge_large, forge_slot,
        };

        for (uint64_t n = 1 + below(r, WRITES); n > 0; n--)
                hits[below(r, ELEMENTSOF(hits))](seg, v, r);
}

/* What it works on itself makes no sense to it either, so it may well crash; that is its own business. */
static int scribble(const Daemon *d, int tell, void *argument)
{
        const Victims *v = argument;
        uint64_t r = v->seed;
        mh_client *c = NULL;
        mh_handle h = 0;
        mh_scratch s = 0;

        if (mh_attach(&c, d->socket, MH_ATTACH_NO_SPAWN) < 0 || !c->mapped)
                return 10;
        child_tell(tell, &c->id, sizeof(c->id));
        (void)alarm(60);
        for (unsigned i = 0; i < 10; i++) {
                (void)mh_new(c, 1, &h);
                (void)mh_scratch_alloc(c, 1 + below(&r, 100000), &s);
                if (i % 3 == 0)
                        (void)mh_scratch_give(c, s, h);
        }
        while (v->endless || load_relaxed(v->done) < BATCH) {
                scribble_round(&c->segment, v, &r);
                (void)fetch_add_relaxed(v->done, 1); /* read by the test, which wants no order */
        }
        child_tell(tell, &c->id, sizeof(c->id));
        return 0;
}

/* ------------------------------------------------------------------------------------------------ the others */

typedef struct Others {
        mh_client *direct;
        Raw wire;
        Victims v;
        uint64_t random;
        uint64_t rounds;                    /* that were done, of batches with an end */
        uint64_t more;                      /* of endless ones */
        unsigned finished, killed, crashed; /* batches */
} Others;

static void fill_block(uint8_t *data, uint64_t size, uint64_t seed)
{
        for (uint64_t i = 0; i < size; i++)
                data[i] = (uint8_t)(seed + i * 7);
}

static bool is_filled(const uint8_t *data, uint64_t size, uint64_t seed)
{
        for (uint64_t i = 0; i < size; i++)
                if (data[i] != (uint8_t)(seed + i * 7))
                        return false;
        return true;
}

static void prepare_direct(Others *o)
{
        for (unsigned i = 0; i < OBJECTS; i++) {
                uint64_t size = i % 8 == 7 ? 100000 + i : 16U << i % 8;
                size_t got;
                void *data;

                cr_assert_eq(mh_new(o->direct, 64 + (int)i, &o->v.handles[i]), 0);
                cr_assert_eq(mh_payload(o->direct, o->v.handles[i], &data, NULL), 0);
                fill_block(data, MH_PAYLOAD_SIZE, i);
                cr_assert_eq(mh_scratch_alloc(o->direct, size, &o->v.blocks[i]), 0);
                cr_assert_eq(mh_scratch_data(o->direct, o->v.blocks[i], &data, &got), 0);
                fill_block(data, got, i);
                o->v.sizes[i] = got;
        }
        /* These live as long as their handles. */
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(mh_scratch_give(o->direct, o->v.blocks[i], o->v.handles[i]), 0);
}

static void prepare_wire(Others *o)
{
        for (unsigned i = OBJECTS; i < 2 * OBJECTS; i++) {
                uint64_t size = i % 8 == 7 ? 70000 + i : 16U << i % 8;

                cr_assert_eq(raw_new(&o->wire, 64 + i, &o->v.handles[i]), 0);
                cr_assert_eq(raw_scratch(&o->wire, size, &o->v.blocks[i], &o->v.sizes[i]), 0);
        }
}

/* Another one each time, so that there is something to find each time; MONO_HANDLE_TEST_SEED replays one. */
static void choose_seed(Others *o)
{
        const char *seed = getenv("MONO_HANDLE_TEST_SEED");

        if (seed)
                o->random = strtoull(seed, NULL, 0);
        else
                cr_assert_geq(random_u64(&o->random), 0);
        harness_note("MONO_HANDLE_TEST_SEED=%" PRIu64, o->random);
}

static void prepare(Others *o, bool spare)
{
        mh_scratch gap;

        *o = (Others){ .v = { .spare = spare } };
        choose_seed(o);
        o->v.done = mmap(NULL, MH_SHM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(o->v.done, MAP_FAILED);
        daemon_start(&the_daemon, arguments);
        cr_assert_eq(mh_attach(&o->direct, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert(o->direct->mapped);
        cr_assert_eq(raw_attach(&o->wire, &the_daemon, 0), 0);
        o->v.direct = o->direct->id;
        o->v.wire = o->wire.id;
        /* Spans before those of the others, too, are somebody else's later. */
        cr_assert_eq(mh_scratch_alloc(o->direct, 4 * MH_SHM_SPAN_SIZE, &gap), 0);
        prepare_direct(o);
        prepare_wire(o);
        cr_assert_eq(mh_scratch_free(o->direct, gap), 0);
}

/* What was not hit is as it was: held once, of that type, with that content, and closing it once too often does not work. */
static void check_direct(Others *o)
{
        for (unsigned i = 0; i < OBJECTS; i++) {
                mh_handle h = o->v.handles[i];
                unsigned flags = 77;
                int type = 0;
                size_t size;
                void *data;

                cr_assert_eq(mh_open(o->direct, h, &type), 0, "handle %u", i);
                cr_assert_eq(type, 64 + (int)i);
                cr_assert_eq(mh_close(o->direct, h, &flags), 0, "handle %u", i);
                cr_assert_eq(flags, 0, "handle %u", i);
                cr_assert_eq(mh_payload(o->direct, h, &data, NULL), 0);
                cr_assert(is_filled(data, MH_PAYLOAD_SIZE, i), "payload %u", i);
                cr_assert_eq(mh_scratch_data(o->direct, o->v.blocks[i], &data, &size), 0, "block %u", i);
                cr_assert_eq(size, o->v.sizes[i]);
                cr_assert(is_filled(data, size, i), "content of block %u", i);
                if (i < 4)
                        cr_assert_eq(mh_scratch_free(o->direct, o->v.blocks[i]), -EBUSY, "block %u", i);
        }
}

static void check_wire(Others *o)
{
        for (unsigned i = OBJECTS; i < 2 * OBJECTS; i++) {
                unsigned type = 0, flags = 77;

                cr_assert_eq(raw_open(&o->wire, o->v.handles[i], &type), 0, "handle %u", i);
                cr_assert_eq(type, 64 + i);
                cr_assert_eq(raw_close(&o->wire, o->v.handles[i], &flags), 0, "handle %u", i);
                cr_assert_eq(flags, 0, "handle %u", i);
        }
}

/* Each block is there exactly once, and each handle still goes with its last reference. */
static void check_end(Others *o)
{
        for (unsigned i = 0; i < 2 * OBJECTS; i++) {
                bool direct = i < OBJECTS;
                unsigned flags = 77;

                if (i >= 4)
                        cr_assert_eq(direct ? mh_scratch_free(o->direct, o->v.blocks[i])
                                            : raw_scratch_free(&o->wire, o->v.blocks[i]),
                                     0, "block %u", i);
                cr_assert_eq(direct ? mh_close(o->direct, o->v.handles[i], &flags)
                                    : raw_close(&o->wire, o->v.handles[i], &flags),
                             0, "handle %u", i);
                cr_assert_eq(flags, 3, "handle %u", i);
                cr_assert_eq(mh_scratch_free(o->direct, o->v.blocks[i]), -ESTALE, "block %u", i);
        }
}

/* Whatever comes of it: it comes to an end, and the daemon answers. */
static void work_on_it(Others *o)
{
        uint64_t handle, idx;

        for (unsigned i = 0; i < 5; i++) {
                int k = raw_new(&o->wire, 1, &handle);

                if (k == 0)
                        k = raw_close(&o->wire, handle, NULL);
                cr_assert(k != -ETIMEDOUT && k != -ECONNRESET, "new and close: %d", k);
                k = raw_scratch(&o->wire, 1U << i * 4, &idx, NULL);
                if (k == 0)
                        k = raw_scratch_free(&o->wire, idx);
                cr_assert(k != -ETIMEDOUT && k != -ECONNRESET, "scratch and free: %d", k);
        }
}

static unsigned burials(void)
{
        return daemon_said(&the_daemon, "died holding");
}

/* Waits for its last word, or its end. Did it get so far? */
static bool hear_end(const Child *c)
{
        struct pollfd p = { .fd = c->ready, .events = POLLIN };
        uint64_t deadline = deadline_msec(3 * WAIT_MSEC);
        uint32_t id;

        while (poll(&p, 1, 20) <= 0)
                cr_assert_leq(now_msec(), deadline, "a scribbler neither ends nor crashes");
        return read(c->ready, &id, sizeof(id)) == sizeof(id);
}

/* It has no end of its own: so it dies in the middle of a round, after so many. */
static void let_work(const Others *o, const Child *c, uint64_t rounds)
{
        struct pollfd p = { .fd = c->ready, .events = POLLIN };
        uint64_t deadline = deadline_msec(3 * WAIT_MSEC);

        while (load_relaxed(o->v.done) < rounds && poll(&p, 1, 0) == 0) {
                cr_assert_leq(now_msec(), deadline, "a scribbler neither writes nor crashes");
                (void)sched_yield();
        }
}

static void end_batch(Others *o, Child *c)
{
        bool finished = false;
        int status;

        if (o->v.endless)
                let_work(o, c, 1 + below(&o->random, BATCH));
        else
                finished = hear_end(c);
        (void)kill(c->pid, SIGKILL);
        status = child_wait(c);
        *(o->v.endless ? &o->more : &o->rounds) += load_relaxed(o->v.done);
        o->finished += finished;
        o->killed += !finished && status == 128 + SIGKILL;
        o->crashed += !finished && status != 128 + SIGKILL;
}

static void one_batch(Others *o)
{
        _cleanup_close_ int fd = -1;
        unsigned before = burials();
        uint64_t cpu = daemon_cpu_msec(&the_daemon);
        uint32_t id = 0;
        VerifyStats stats;
        Child c;

        o->v.seed = random_of(&o->random);
        store_relaxed(o->v.done, 0); /* nobody else is there yet */
        child_start(&c, &the_daemon, scribble, &o->v);
        child_hear(&c, &id, sizeof(id));
        work_on_it(o);
        end_batch(o, &c);
        WAIT_FOR(burials() > before);
        work_on_it(o);
        /* Nor do those who only look come to grief. */
        fd = daemon_segment(&the_daemon);
        cr_assert_geq(verify_segment(fd, 0, NULL, NULL, &stats), 0);
        cr_assert_leq(daemon_cpu_msec(&the_daemon) - cpu, BATCH_CPU_MSEC * under_slowness(), "the daemon spins");
}

static void restart(Others *o)
{
        int r;

        daemon_kill(&the_daemon);
        daemon_start(&the_daemon, arguments);
        r = raw_resume(&o->wire, &the_daemon);
        if (r == 0)
                return;
        /* Where it had written down who was attached, somebody else has written. */
        cr_assert(!o->v.spare, "resume: %d", r);
        cr_assert_eq(r, -ESTALE);
        raw_done(&o->wire);
        cr_assert_eq(raw_attach(&o->wire, &the_daemon, 0), 0);
}

static void check_all(Others *o)
{
        if (o->v.spare) {
                check_direct(o);
                check_wire(o);
        }
}

/* A scribbler may crash, of what it wrote itself; but then its rounds have to be done by others. */
static void scribble_all(Others *o)
{
        unsigned rounds = MAX(ROUNDS / under_slowness(), 5 * BATCH), most = 3 * rounds / BATCH, n = 0;

        for (; o->rounds < rounds && n < most; n++) {
                o->v.endless = n % KILL_EVERY == KILL_EVERY - 1;
                one_batch(o);
                check_all(o);
                if (n % RESTART_EVERY == RESTART_EVERY - 1) {
                        restart(o);
                        check_all(o);
                }
        }
        daemon_check_idle(&the_daemon);
        harness_note("%" PRIu64 " rounds, and %" PRIu64 " of those killed; batches: %u finished, %u killed, %u crashed",
                     o->rounds, o->more, o->finished, o->killed, o->crashed);
        cr_assert_geq(o->rounds, rounds);
        cr_assert_geq(o->finished, rounds / BATCH / 2, "too many crashed");
        cr_assert_geq(o->killed, n / KILL_EVERY / 2, "too few were killed");
        cr_assert_eq(o->finished + o->killed + o->crashed, n);
        cr_assert_eq(munmap(o->v.done, MH_SHM_PAGE), 0);
}

Test(scribble, what_was_not_hit_stays_right)
{
        Others o;

        prepare(&o, true);
        scribble_all(&o);
        check_end(&o);
        o.direct = mh_detach(o.direct);
        raw_done(&o.wire);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* Everybody's words are hit: then everybody's objects may be spoiled, and the daemon goes on. */
Test(scribble, anything_at_all)
{
        Others o;

        prepare(&o, false);
        scribble_all(&o);
        o.direct = mh_detach(o.direct);
        raw_done(&o.wire);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ the header */

/* Its mapping of the header cannot be written to, its descriptor can, as by any process of the user. */
Test(scribble, a_destroyed_header_is_noticed_and_a_segment_begun_afresh)
{
        uint64_t deadline, handle;
        mh_client *bad = NULL, *good = NULL, *late = NULL;
        mh_handle h, g;
        int r = 0;
        Raw wire;

        daemon_start(&the_daemon, arguments);
        cr_assert_eq(mh_attach(&bad, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_eq(mh_attach(&good, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_eq(raw_attach(&wire, &the_daemon, 0), 0);
        cr_assert_eq(mh_new(good, 1, &h), 0);
        cr_assert_eq(pwrite(bad->segment_fd.fd, "\0\0\0\0\0\0\0\0", 8, offsetof(struct mh_shm_header, magic)), 8);

        /* The next who asks for something makes it look. */
        (void)raw_new(&wire, 1, &handle);
        WAIT_FOR(daemon_said(&the_daemon, "its header is damaged") == 1);
        cr_assert_eq(mh_attach(&late, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_neq(memcmp(late->segment_id, good->segment_id, 16), 0);
        cr_assert_eq(mh_new(late, 1, &g), 0);

        /* Who had the old one mapped learns it when it looks after its connection. */
        deadline = deadline_msec(WAIT_MSEC);
        while (r == 0 && now_msec() < deadline) {
                r = mh_open(good, h, NULL);
                if (r == 0)
                        r = mh_close(good, h, NULL);
        }
        cr_expect_eq(r, -ESTALE);
        bad = mh_detach(bad);
        good = mh_detach(good);
        cr_assert_eq(mh_close(late, g, NULL), 0);
        late = mh_detach(late);
        raw_done(&wire);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_stop(&the_daemon), 0, "the same daemon all the time");
        harness_pass();
}
