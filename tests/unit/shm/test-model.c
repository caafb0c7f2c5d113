/* SPDX-License-Identifier: MIT */

/* Random operations of several clients, some by calls and some by requests, with deaths, trimming and changes of the
 * daemon in between; and a model of what must come of each, kept in plain arrays. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/give.h"
#include "shm/request.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/stock.h"
#include "shm/totals.h"
#include "shm/trim.h"
#include "unit/shm/fixture.h"

#define CLIENTS 8U
#define HANDLES 700U
#define BLOCKS  500U
#define STALE   512U

static const SegmentConfig config = {
        .n_slots = 2048,
        .n_clients = 140,
        .scratch_bytes = 2048 * (uint64_t)MH_SHM_SPAN_SIZE,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
        .first_generation = FIXTURE_FIRST,
};

/* ---------------------------------------------------------------------------------------------- the model */

typedef struct ModelHandle {
        uint64_t h; /* 0: none */
        unsigned type, held[CLIENTS], refs;
        uint8_t payload;
} ModelHandle;

typedef struct ModelBlock {
        uint64_t s, size; /* 0: none */
        int client;       /* whose it is, or -1: */
        int handle;       /* this one's */
} ModelBlock;

static ModelHandle handles[HANDLES];
static ModelBlock blocks[BLOCKS];
static uint64_t stale_handles[STALE], stale_blocks[STALE], n_stale_handles, n_stale_blocks, chance;

static uint64_t random_below(uint64_t n)
{
        return fixture_random(&chance) % n;
}

static bool is_held(const ModelHandle *h)
{
        for (unsigned c = 0; c < CLIENTS; c++)
                if (h->held[c])
                        return true;
        return false;
}

static void forget_block(ModelBlock *b)
{
        stale_blocks[n_stale_blocks++ % STALE] = b->s;
        *b = (ModelBlock){ 0 };
}

/* Nobody holds it any more: with its blocks it is gone. */
static void end_handle(unsigned i)
{
        stale_handles[n_stale_handles++ % STALE] = handles[i].h;
        handles[i] = (ModelHandle){ 0 };
        for (unsigned k = 0; k < BLOCKS; k++)
                if (blocks[k].s && blocks[k].client < 0 && blocks[k].handle == (int)i)
                        forget_block(&blocks[k]);
}

/* ---------------------------------------------------------------------------------------------- clients */

typedef struct Client {
        Actor a;
        bool wire;
        uint64_t seq;
        Request last;
        struct mh_shm_outcome outcome;
} Client;

static Fixture f;
static Client clients[CLIENTS];

/* Who does nothing, but has an id between those of the others, so that their holder bits are in several words. */
static uint32_t others[140], n_others;

static void attach(Client *c, bool wire)
{
        *c = (Client){ .wire = wire };
        (void)fixture_attach(&f, wire ? FIXTURE_OF_DAEMON : FIXTURE_OWN, &c->a);
}

static int ask(Client *c, uint32_t op, uint32_t type, uint64_t arg0, uint64_t arg1)
{
        c->last = (Request){ .seq = ++c->seq, .op = op, .type = type, .arg = { arg0, arg1 } };
        cr_assert_eq(request_run(&c->a, &c->last, &c->outcome), 0);
        return -c->outcome.error;
}

static int do_new(Client *c, unsigned type, uint64_t *ret)
{
        int r;

        if (!c->wire)
                return slot_new(&c->a, type, ret);
        r = ask(c, MH_WIRE_NEW, type, 0, 0);
        *ret = c->outcome.value[0];
        return r;
}

static int do_open(Client *c, uint64_t h, unsigned *ret_type)
{
        int r;

        if (!c->wire)
                return slot_open(&c->a, h, ret_type);
        r = ask(c, MH_WIRE_OPEN, 0, h, 0);
        *ret_type = c->outcome.flags;
        return r;
}

static int do_close(Client *c, uint64_t h, bool *ret_here, bool *ret_gone)
{
        unsigned flags = 0;
        int r;

        if (!c->wire) {
                r = slot_close(&c->a, h, &flags);
                *ret_here = flags & SLOT_CLOSED_HERE;
                *ret_gone = flags & SLOT_CLOSED_EVERYWHERE;
                return r;
        }
        r = ask(c, MH_WIRE_CLOSE, 0, h, 0);
        *ret_here = c->outcome.flags & MH_WIRE_CLOSE_DESTROY;
        *ret_gone = c->outcome.flags & MH_WIRE_CLOSE_GONE;
        return r;
}

static int do_alloc(Client *c, uint64_t size, uint64_t *ret, uint64_t *ret_size)
{
        int r;

        if (!c->wire)
                return scratch_alloc(&c->a, size, ret, ret_size);
        r = ask(c, MH_WIRE_SCRATCH, 0, size, 0);
        *ret = c->outcome.value[0];
        *ret_size = c->outcome.value[1];
        return r;
}

static int do_free(Client *c, uint64_t s)
{
        return c->wire ? ask(c, MH_WIRE_SCRATCH_FREE, 0, s, 0) : scratch_free(&c->a, s);
}

static int do_give(Client *c, uint64_t s, uint64_t h)
{
        return c->wire ? ask(c, MH_WIRE_GIVE, 0, s, h) : give_block(&c->a, s, h);
}

/* ---------------------------------------------------------------------------------------------- operations on handles */

static void op_new(Client *c)
{
        unsigned type = 64 + (unsigned)random_below(192), i = (unsigned)random_below(HANDLES);
        ModelHandle *m = &handles[i];
        struct mh_shm_slot *s;

        if (m->h)
                return;
        cr_assert_eq(do_new(c, type, &m->h), 0);
        for (unsigned k = 0; k < HANDLES; k++)
                cr_assert(k == i || handles[k].h != m->h);
        m->type = type;
        m->held[c - clients] = 1;
        cr_assert_eq(slot_held(&c->a, m->h, &s), 0);
        for (unsigned k = 0; k < MH_SHM_PAYLOAD_SIZE; k++)
                cr_assert_eq(s->payload[k], 0);
}

static void op_open(Client *c)
{
        ModelHandle *m = &handles[random_below(HANDLES)];
        unsigned type = 0;

        if (!m->h)
                return;
        cr_assert_eq(do_open(c, m->h, &type), 0);
        cr_assert_eq(type, m->type);
        m->held[c - clients]++;
}

static void op_close(Client *c)
{
        unsigned i = (unsigned)random_below(HANDLES);
        ModelHandle *m = &handles[i];
        bool here = false, gone = false;
        int r;

        if (!m->h)
                return;
        r = do_close(c, m->h, &here, &gone);
        if (!m->held[c - clients]) {
                cr_assert_eq(r, -EBADF);
                return;
        }
        cr_assert_eq(r, 0);
        m->held[c - clients]--;
        cr_assert_eq(here, m->held[c - clients] == 0);
        cr_assert_eq(gone, !is_held(m));
        if (gone)
                end_handle(i);
}

static void op_payload(Client *c)
{
        ModelHandle *m = &handles[random_below(HANDLES)];
        struct mh_shm_slot *s;

        if (!m->h)
                return;
        if (!m->held[c - clients]) {
                cr_assert_eq(slot_held(&c->a, m->h, &s), -EBADF);
                return;
        }
        cr_assert_eq(slot_held(&c->a, m->h, &s), 0);
        cr_assert_eq(s->payload[63], m->payload);
        s->payload[63] = m->payload = (uint8_t)random_below(256);
}

static void op_stale_handle(Client *c)
{
        uint64_t h = stale_handles[random_below(STALE)];
        unsigned type;
        bool here, gone;

        if (!h)
                return;
        cr_assert_eq(do_open(c, h, &type), -ESTALE);
        cr_assert_eq(do_close(c, h, &here, &gone), -ESTALE);
        cr_assert_eq(slot_held(&c->a, h, NULL), -ESTALE);
}

/* ---------------------------------------------------------------------------------------------- operations on blocks */

static uint64_t some_size(void)
{
        switch (random_below(16)) {
        case 0:
                return 1 + random_below(5 * MH_SHM_SPAN_SIZE);
        case 1 ... 3:
                return 1 + random_below(MH_SHM_SMALL_MAX);
        default:
                return 1 + random_below(300);
        }
}

static uint64_t *data_of(Client *c, const ModelBlock *m)
{
        uint64_t size = 0;
        void *data = NULL;

        cr_assert_eq(scratch_lookup(&c->a, m->s, &data, &size), 0);
        cr_assert_eq(size, m->size);
        return data;
}

static void op_alloc(Client *c)
{
        ModelBlock *m = &blocks[random_below(BLOCKS)];
        uint64_t size = some_size(), *data;

        if (m->s)
                return;
        cr_assert_eq(do_alloc(c, size, &m->s, &m->size), 0);
        cr_assert_geq(m->size, size);
        m->client = (int)(c - clients);
        data = data_of(c, m);
        data[0] = data[m->size / 8 - 1] = m->s;
}

static void op_look(Client *c)
{
        ModelBlock *m = &blocks[random_below(BLOCKS)];
        uint64_t *data, owner;

        if (!m->s)
                return;
        data = data_of(c, m);
        cr_assert_eq(data[0], m->s);
        cr_assert_eq(data[m->size / 8 - 1], m->s);
        cr_assert_eq(scratch_owner(&c->a, m->s, &owner), 0);
        if (m->client >= 0) {
                cr_assert_eq(owner_kind(owner), MH_SHM_OWNER_CLIENT);
                cr_assert_eq(owner_who(owner), clients[m->client].a.id);
        } else {
                cr_assert_eq(owner_kind(owner), MH_SHM_OWNER_SLOT);
                cr_assert_eq(owner_who(owner), handle_slot(handles[m->handle].h));
        }
}

static void op_free(Client *c)
{
        ModelBlock *m = &blocks[random_below(BLOCKS)];

        if (!m->s)
                return;
        op_look(c);
        cr_assert_eq(do_free(c, m->s), m->client >= 0 ? 0 : -EBUSY);
        if (m->client >= 0)
                forget_block(m);
}

static void op_give(Client *c)
{
        unsigned i = (unsigned)random_below(HANDLES);
        ModelBlock *m = &blocks[random_below(BLOCKS)];
        ModelHandle *h = &handles[i];
        int expected = 0;

        if (!m->s || !h->h)
                return;
        if (!h->held[c - clients])
                expected = -EBADF;
        else if (m->client < 0)
                expected = -EBUSY;
        else if (m->client != (int)(c - clients))
                expected = -EBADF;
        else if (h->refs == MH_SHM_SLOT_REFS)
                expected = -ENOSPC;
        cr_assert_eq(do_give(c, m->s, h->h), expected);
        if (expected == 0) {
                h->refs++;
                m->client = -1;
                m->handle = (int)i;
        }
}

static void op_stale_block(Client *c)
{
        uint64_t s = stale_blocks[random_below(STALE)];
        ModelHandle *h = &handles[random_below(HANDLES)];

        if (!s)
                return;
        cr_assert_eq(scratch_lookup(&c->a, s, NULL, NULL), -ESTALE);
        cr_assert_eq(do_free(c, s), -ESTALE);
        if (h->h && h->held[c - clients])
                cr_assert_eq(do_give(c, s, h->h), -ESTALE);
}

/* ---------------------------------------------------------------------------------------------- the world around */

static void op_die(Client *c)
{
        unsigned who = (unsigned)(c - clients);
        ReapStats expected = { 0 }, stats;

        for (unsigned i = 0; i < BLOCKS; i++)
                if (blocks[i].s && blocks[i].client == (int)who) {
                        expected.scratch_bytes += blocks[i].size;
                        forget_block(&blocks[i]);
                }
        for (unsigned i = 0; i < HANDLES; i++)
                if (handles[i].h && handles[i].held[who]) {
                        expected.handles++;
                        handles[i].held[who] = 0;
                        if (!is_held(&handles[i])) {
                                expected.destroyed++;
                                end_handle(i);
                        }
                }
        stats = fixture_reap(&f, c->a.id);
        cr_assert_eq(stats.handles, expected.handles);
        cr_assert_eq(stats.destroyed, expected.destroyed);
        cr_assert_eq(stats.scratch_bytes, expected.scratch_bytes);
        attach(c, random_below(2));
}

static void op_ask_again(Client *c)
{
        struct mh_shm_outcome again = { 0 };

        if (!c->wire || !c->seq)
                return;
        cr_assert_eq(request_run(&c->a, &c->last, &again), 0);
        cr_assert_eq(memcmp(&again, &c->outcome, sizeof(again)), 0);
}

/* Another daemon: all that it knows of its clients is lost. */
static void change_daemon(void)
{
        trim_recover(&f.seg);
        for (unsigned i = 0; i < CLIENTS; i++)
                if (clients[i].wire) {
                        fixture_forget(&f, &clients[i].a);
                        request_recover(&clients[i].a);
                }
        totals_recount(&f.seg);
}

static void compare(void)
{
        uint64_t n_handles = 0, n_blocks = 0, bytes = 0;
        VerifyStats stats;
        Totals totals;

        for (unsigned i = 0; i < HANDLES; i++)
                n_handles += handles[i].h != 0;
        for (unsigned i = 0; i < BLOCKS; i++) {
                n_blocks += blocks[i].s != 0;
                bytes += blocks[i].size;
        }
        fixture_verify(&f, VERIFY_AT_REST | VERIFY_NO_DEAD, &stats);
        cr_assert_eq(stats.clients, CLIENTS + n_others);
        cr_assert_eq(stats.handles, n_handles);
        cr_assert_eq(stats.blocks, n_blocks);
        cr_assert_eq(stats.scratch_bytes, bytes);
        totals_read(&f.seg, &totals);
        cr_assert_eq(totals.handles, n_handles);
        cr_assert_eq(totals.scratch_bytes, bytes);
}

/* ---------------------------------------------------------------------------------------------- */

static void (*const operations[])(Client *) = {
        op_new,   op_new,   op_new,   op_open,  op_open,         op_open,        op_close,     op_close,
        op_close, op_close, op_close, op_close, op_payload,      op_alloc,       op_alloc,     op_alloc,
        op_free,  op_free,  op_look,  op_give,  op_stale_handle, op_stale_block, op_ask_again,
};

static void live(unsigned rounds)
{
        for (unsigned i = 1; i <= rounds; i++) {
                Client *c = &clients[random_below(CLIENTS)];

                operations[random_below(ELEMENTSOF(operations))](c);
                if (i % 1009 == 0)
                        op_die(c);
                if (i % 3001 == 0) {
                        uint32_t cursor = 0;

                        (void)trim_step(&f.seg, &cursor, 0, 5000);
                }
                if (i % 5003 == 0)
                        change_daemon();
                if (i % 7001 == 0 && !c->wire)
                        (void)stock_trim(&c->a);
                if (i % 10007 == 0)
                        compare();
        }
        compare();
}

/* All die; then there is nothing, and all memory is back but that of tables. */
static void end(uint64_t first_blocks)
{
        uint32_t cursor = 0;

        for (unsigned i = 0; i < CLIENTS; i++)
                op_die(&clients[i]);
        for (unsigned i = 0; i < HANDLES; i++)
                cr_assert_eq(handles[i].h, 0);
        compare();
        for (unsigned i = 0; i < CLIENTS; i++)
                (void)fixture_reap(&f, clients[i].a.id);
        for (unsigned i = 0; i < n_others; i++)
                (void)fixture_reap(&f, others[i]);
        while (trim_step(&f.seg, &cursor, 0, 5000) > 0)
                ;
        fixture_verify_rest(&f);
        /* 140 entries and their hazards, 2,048 span entries, a page of chunk descriptors. */
        cr_assert_leq(fixture_blocks(&f), first_blocks + (18 + 18 + 16 + 1) * 8);
        fixture_done(&f);
}

static void run(uint64_t seed, unsigned gap, unsigned rounds)
{
        uint64_t first;
        Actor other;

        chance = seed;
        n_others = 0;
        memset(stale_handles, 0, sizeof(stale_handles));
        memset(stale_blocks, 0, sizeof(stale_blocks));
        fixture_open_as(&f, &config);
        first = fixture_blocks(&f);
        for (unsigned i = 0; i < CLIENTS; i++) {
                attach(&clients[i], i % 2);
                for (unsigned k = 0; k < gap; k++)
                        others[n_others++] = fixture_attach(&f, FIXTURE_OF_DAEMON, &other);
        }
        live(rounds);
        end(first);
}

Test(model, clients_side_by_side, .timeout = 110)
{
        run(1, 0, fixture_scaled(200000));
}

Test(model, clients_far_apart, .timeout = 110)
{
        run(2, 16, fixture_scaled(100000));
}

Test(model, other_chances, .timeout = 110)
{
        for (uint64_t seed = 3; seed < 7; seed++)
                run(seed, 0, fixture_scaled(40000));
}
