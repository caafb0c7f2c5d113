/* SPDX-License-Identifier: MIT */

/* Requests take effect once: told again when they are asked for again, and finished or taken back when the daemon died
 * at any point of one. What it left at such a point is made by hand, in the order of its writes. */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/chunk.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/request.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "shm/totals.h"
#include "unit/shm/fixture.h"

#define SPAN ((uint64_t)MH_SHM_SPAN_SIZE)

static Fixture f;
static Actor a, b;
static uint64_t seq;

static void open_two(void)
{
        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OF_DAEMON, &a);
        (void)fixture_attach(&f, FIXTURE_OF_DAEMON, &b);
        seq = 0;
}

static struct mh_shm_client *entry(void)
{
        return &f.seg.clients[a.id];
}

static Request request(uint32_t op, uint64_t arg0, uint64_t arg1)
{
        return (Request){ .seq = seq + 1, .op = op, .type = op == MH_WIRE_NEW ? 64 : 0, .arg = { arg0, arg1 } };
}

/* Runs it; it must be accepted. */
static struct mh_shm_outcome run(const Request *r)
{
        struct mh_shm_outcome o = { 0 };

        cr_assert_eq(request_run(&a, r, &o), 0);
        cr_assert_eq(o.seq, r->seq);
        seq = r->seq;
        return o;
}

static struct mh_shm_outcome ask(uint32_t op, uint64_t arg0, uint64_t arg1)
{
        Request r = request(op, arg0, arg1);

        return run(&r);
}

static bool same(const struct mh_shm_outcome *x, const struct mh_shm_outcome *y)
{
        return x->seq == y->seq && x->error == y->error && x->flags == y->flags && x->value[0] == y->value[0] &&
               x->value[1] == y->value[1];
}

/* ---------------------------------------------------------------------------------------------- running */

Test(request, each_kind)
{
        struct mh_shm_outcome o;
        uint64_t h, s;

        open_two();
        cr_assert_eq(request_last(&a), 0);
        o = ask(MH_WIRE_NEW, 0, 0);
        h = o.value[0];
        cr_assert_eq(o.error, 0);
        cr_assert_eq(o.flags, 64);
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_eq(request_last(&a), 1);

        o = ask(MH_WIRE_OPEN, h, 0);
        cr_assert_eq(o.error, 0);
        cr_assert_eq(o.flags, 64);
        cr_assert_eq(o.value[0], h);
        cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 2);

        o = ask(MH_WIRE_SCRATCH, 100, 0);
        s = o.value[0];
        cr_assert_eq(o.error, 0);
        cr_assert_eq(o.value[1], 112);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), 0);
        cr_assert_eq(ask(MH_WIRE_SCRATCH_FREE, s, 0).error, 0);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);

        s = ask(MH_WIRE_SCRATCH, 100000, 0).value[0];
        cr_assert_eq(ask(MH_WIRE_GIVE, s, h).error, 0);
        cr_assert_eq(ask(MH_WIRE_SCRATCH_FREE, s, 0).error, EBUSY);

        o = ask(MH_WIRE_CLOSE, h, 0);
        cr_assert_eq(o.error, 0);
        cr_assert_eq(o.flags, 0);
        cr_assert_eq(slot_open(&b, h, NULL), 0);
        o = ask(MH_WIRE_CLOSE, h, 0);
        cr_assert_eq(o.flags, MH_WIRE_CLOSE_DESTROY);
        cr_assert_eq(ask(MH_WIRE_OPEN, h, 0).error, 0);
        cr_assert_eq(slot_close(&b, h, NULL), 0);
        o = ask(MH_WIRE_CLOSE, h, 0);
        cr_assert_eq(o.flags, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
        cr_assert_eq(entry()->requests, 11);
        cr_assert_eq(entry()->errors, 1);
        cr_assert_null(a.intent);
        fixture_done(&f);
}

Test(request, failures_count_too)
{
        static const struct {
                uint32_t op;
                uint64_t arg[2];
                int error;
        } tries[] = {
                { MH_WIRE_OPEN, { 0, 0 }, EINVAL },
                { MH_WIRE_OPEN, { UINT64_MAX, 0 }, ESTALE },
                { MH_WIRE_CLOSE, { 0, 0 }, EINVAL },
                { MH_WIRE_CLOSE, { UINT64_C(1000) << 24, 0 }, ESTALE },
                { MH_WIRE_SCRATCH, { 0, 0 }, EINVAL },
                { MH_WIRE_SCRATCH, { UINT64_MAX, 0 }, EINVAL },
                { MH_WIRE_SCRATCH, { 1 << 30, 0 }, ENOSPC },
                { MH_WIRE_SCRATCH_FREE, { 0, 0 }, EINVAL },
                { MH_WIRE_SCRATCH_FREE, { UINT64_MAX, 0 }, ESTALE },
                { MH_WIRE_GIVE, { 0, 0 }, EINVAL },
                { MH_WIRE_GIVE, { UINT64_MAX, UINT64_MAX }, ESTALE },
                { MH_WIRE_HELLO, { 0, 0 }, EOPNOTSUPP },
                { 0, { 0, 0 }, EOPNOTSUPP },
                { UINT32_MAX, { 0, 0 }, EOPNOTSUPP },
        };

        open_two();
        for (unsigned i = 0; i < ELEMENTSOF(tries); i++) {
                Request r = request(tries[i].op, tries[i].arg[0], tries[i].arg[1]);
                struct mh_shm_outcome o = run(&r), again = { 0 };

                cr_assert_eq(o.error, tries[i].error, "try %u: %d", i, o.error);
                cr_assert_eq(o.flags, 0);
                cr_assert_eq(o.value[0], 0);
                cr_assert_eq(request_last(&a), i + 1);
                cr_assert_eq(request_run(&a, &r, &again), 0);
                cr_assert(same(&o, &again));
        }
        for (uint32_t type = 0; type < 300; type += 11) {
                Request r = request(MH_WIRE_NEW, 0, 0);

                r.type = type;
                cr_assert_eq(run(&r).error, (type >= 1 && type <= 10) || (type >= 64 && type <= 255) ? 0 : EINVAL);
        }
        fixture_done(&f);
}

Test(request, told_again)
{
        struct mh_shm_outcome first, again;
        uint64_t h, s, handles;
        Request r;

        open_two();
        for (unsigned i = 0; i < 6; i++) {
                h = ask(MH_WIRE_NEW, 0, 0).value[0];
                s = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
                r = (Request[]){ request(MH_WIRE_NEW, 0, 0),          request(MH_WIRE_OPEN, h, 0),
                                 request(MH_WIRE_CLOSE, h, 0),        request(MH_WIRE_SCRATCH, 5000, 0),
                                 request(MH_WIRE_SCRATCH_FREE, s, 0), request(MH_WIRE_GIVE, s, h) }[i];
                first = run(&r);
                handles = a.account->handles;
                for (unsigned k = 0; k < 3; k++) {
                        memset(&again, 0xee, sizeof(again));
                        cr_assert_eq(request_run(&a, &r, &again), 0);
                        cr_assert(same(&first, &again), "kind %u", i);
                }
                cr_assert_eq(a.account->handles, handles);
                cr_assert_eq(request_last(&a), r.seq);
        }
        /* Although things have changed since. */
        r = request(MH_WIRE_OPEN, ask(MH_WIRE_NEW, 0, 0).value[0], 0);
        r.seq = seq + 1;
        first = run(&r);
        cr_assert_eq(slot_close(&a, r.arg[0], NULL), 0);
        cr_assert_eq(slot_close(&a, r.arg[0], NULL), 0);
        cr_assert_eq(request_run(&a, &r, &again), 0);
        cr_assert(same(&first, &again));
        fixture_done(&f);
}

Test(request, out_of_order)
{
        struct mh_shm_outcome o = { .seq = 77 };
        Request r;

        open_two();
        for (unsigned i = 0; i < 3; i++) {
                static const int64_t off[] = { -2, -1, 2, 3, 1000, INT64_MAX };

                for (unsigned k = 0; k < ELEMENTSOF(off); k++) {
                        r = request(MH_WIRE_NEW, 0, 0);
                        r.seq = seq + (uint64_t)off[k];
                        cr_assert_eq(request_run(&a, &r, &o), -EPROTO, "%lld after %llu", (long long)off[k],
                                     (unsigned long long)seq);
                }
                r.seq = 0;
                cr_assert_eq(request_run(&a, &r, &o), -EPROTO);
                cr_assert_eq(o.seq, 77);
                cr_assert_eq(a.account->handles, i);
                cr_assert_eq(request_last(&a), i);
                (void)ask(MH_WIRE_NEW, 0, 0);
        }
        fixture_done(&f);
}

Test(request, another_one_with_the_same_number)
{
        struct mh_shm_outcome o = { .seq = 77 };
        uint64_t h, s;
        Request r;

        open_two();
        h = ask(MH_WIRE_NEW, 0, 0).value[0];
        s = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
        r = request(MH_WIRE_GIVE, s, h);
        (void)run(&r);
#define OTHER(field, value)                                                  \
        do {                                                                 \
                Request other_ = r;                                          \
                other_.field = value;                                        \
                cr_assert_eq(request_run(&a, &other_, &o), -EPROTO, #field); \
        } while (0)
        OTHER(op, MH_WIRE_OPEN);
        OTHER(type, 64);
        OTHER(arg[0], s + 1);
        OTHER(arg[1], h + 1);
        cr_assert_eq(o.seq, 77);
        cr_assert_eq(request_run(&a, &r, &o), 0);
        fixture_done(&f);
}

Test(request, without_memory)
{
        struct mh_shm_outcome o, again;
        Request r;

        open_two();
        fixture_fail_reserve(0);
        r = request(MH_WIRE_NEW, 0, 0);
        o = run(&r);
        cr_assert_eq(o.error, ENOSPC);
        cr_assert_eq(ask(MH_WIRE_SCRATCH, 100, 0).error, ENOSPC);
        fixture_fail_nothing();
        cr_assert_eq(ask(MH_WIRE_NEW, 0, 0).error, 0);
        r = request(MH_WIRE_SCRATCH, 100, 0);
        o = run(&r);
        cr_assert_eq(o.error, 0);
        cr_assert_eq(request_run(&a, &r, &again), 0);
        cr_assert(same(&o, &again));
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- the daemon dies */

/* The intent as it is written before anything is done. */
static Request begin(uint32_t op, uint64_t arg0, uint64_t arg1)
{
        struct mh_shm_intent *in = &entry()->intent;
        Request r = request(op, arg0, arg1);
        uint64_t handle = op == MH_WIRE_GIVE ? arg1 : arg0, owner = 0;

        *in = (struct mh_shm_intent){ .op = r.op, .type = r.type, .arg = { arg0, arg1 } };
        if (op == MH_WIRE_OPEN || op == MH_WIRE_CLOSE || op == MH_WIRE_GIVE)
                in->old_word = ledger_load(&a, handle_slot(handle));
        if (op == MH_WIRE_GIVE || op == MH_WIRE_SCRATCH_FREE)
                (void)scratch_owner(&a, arg0, &owner);
        if (op == MH_WIRE_GIVE)
                in->new_word = owner;
        else
                in->old_word |= op == MH_WIRE_SCRATCH_FREE ? owner : 0;
        in->seq = r.seq;
        return r;
}

/* The next daemon comes; then all is in order. Whether it finds that the request was done. */
static bool recover(void)
{
        bool done;

        fixture_forget(&f, &a);
        fixture_forget(&f, &b);
        fixture_verify(&f, 0, NULL);
        request_recover(&a);
        request_recover(&b);
        totals_recount(&f.seg);
        fixture_verify_rest(&f);
        done = request_last(&a) == seq + 1;
        cr_assert(done || request_last(&a) == seq);
        cr_assert_eq(entry()->intent.seq, request_last(&a));

        /* Once more is not once too often. */
        request_recover(&a);
        fixture_verify_rest(&f);
        cr_assert_eq(request_last(&a), seq + done);
        return done;
}

Test(request, nothing_was_in_flight)
{
        uint64_t h, s;

        open_two();
        cr_assert_not(recover());
        h = ask(MH_WIRE_NEW, 0, 0).value[0];
        s = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
        (void)recover();
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), 0);
        cr_assert_eq(ask(MH_WIRE_CLOSE, h, 0).error, 0);
        fixture_done(&f);
}

/* The next intent was begun, but not its number: then there is none. */
Test(request, half_an_intent)
{
        struct mh_shm_outcome o;
        uint64_t h;

        open_two();
        h = ask(MH_WIRE_NEW, 0, 0).value[0];
        entry()->intent.op = MH_WIRE_CLOSE;
        entry()->intent.arg[0] = h;
        cr_assert_not(recover());
        cr_assert_eq(slot_held(&a, h, NULL), 0);
        o = ask(MH_WIRE_CLOSE, h, 0);
        cr_assert_eq(o.error, 0);
        cr_assert_eq(o.flags, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
        fixture_done(&f);
}

Test(request, new_cut_short)
{
        for (unsigned point = 0; point <= 7; point++) {
                struct mh_shm_outcome o;
                struct mh_shm_slot *s;
                uint64_t other, h;
                uint32_t slot;
                bool done;
                Request r;

                open_two();
                other = ask(MH_WIRE_NEW, 0, 0).value[0];
                slot = handle_slot(other) + 1;
                s = &f.seg.slots[slot];
                r = begin(MH_WIRE_NEW, 0, 0);
                if (point >= 1)
                        entry()->intent.target = slot + 1;
                if (point >= 2)
                        a.ledger[slot] = MH_SHM_LEDGER_RESERVED;
                if (point >= 3)
                        s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_RESERVED, 0, point == 7 ? b.id : a.id);
                if (point == 7) { /* another was quicker */
                        fixture_set_ledger(&b, slot, ledger_make(FIXTURE_FIRST, 1));
                        fixture_set_holder(&f, slot, b.id, true);
                        s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_LIVE, 5, 0);
                } else {
                        if (point >= 4)
                                fixture_set_holder(&f, slot, a.id, true);
                        if (point >= 5)
                                a.ledger[slot] = ledger_make(FIXTURE_FIRST, 1);
                        if (point >= 6)
                                s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_LIVE, 64, 0);
                }
                done = recover();
                cr_assert_eq(done, point == 6, "point %u", point);
                o = run(&r);
                h = o.value[0];
                cr_assert_eq(o.error, 0);
                cr_assert_eq(o.flags, 64);
                cr_assert_eq(slot_held(&a, h, NULL), 0);
                cr_assert_neq(h, other);
                if (done)
                        cr_assert_eq(h, handle_make(FIXTURE_FIRST, slot));
                cr_assert_eq(a.account->handles, 2, "one and not two");
                fixture_done(&f);
        }
}

Test(request, open_cut_short)
{
        for (unsigned point = 0; point <= 5; point++) {
                struct mh_shm_outcome o;
                struct mh_shm_slot *s;
                uint32_t slot;
                uint64_t h;
                bool done;
                Request r;

                open_two();
                cr_assert_eq(slot_new(&b, 64, &h), 0);
                slot = handle_slot(h);
                s = &f.seg.slots[slot];
                cr_assert_eq(ledger_reserve_slot(&a, slot), 0);
                r = begin(MH_WIRE_OPEN, h, 0);
                if (point >= 1)
                        a.ledger[slot] = ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT);
                if (point >= 2)
                        fixture_set_holder(&f, slot, a.id, true);
                if (point == 3) /* b has let go since, and left it to who has the bit */
                        cr_assert_eq(slot_close(&b, h, NULL), 0);
                if (point >= 4)
                        a.ledger[slot] = ledger_make(FIXTURE_FIRST, 1);
                if (point == 5) /* and here, too */
                        cr_assert_eq(slot_close(&b, h, NULL), 0);
                done = recover();
                cr_assert_eq(done, point >= 4, "point %u", point);
                o = run(&r);
                if (point == 3) {
                        cr_assert_eq(o.error, ESTALE);
                        cr_assert_eq(state_phase(s->state), MH_SHM_PHASE_FREE, "it took the last one along");
                } else {
                        cr_assert_eq(o.error, 0);
                        cr_assert_eq(o.flags, 64);
                        cr_assert_eq(o.value[0], h);
                        cr_assert_eq(ledger_load(&a, slot), ledger_make(FIXTURE_FIRST, 1));
                }
                fixture_done(&f);
        }
}

Test(request, open_of_a_held_one_cut_short)
{
        for (unsigned point = 0; point <= 1; point++) {
                uint64_t h;
                Request r;

                open_two();
                h = ask(MH_WIRE_NEW, 0, 0).value[0];
                r = begin(MH_WIRE_OPEN, h, 0);
                if (point == 1)
                        a.ledger[handle_slot(h)]++;
                cr_assert_eq(recover(), point == 1);
                cr_assert_eq(run(&r).flags, 64);
                cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 2);
                fixture_done(&f);
        }
}

Test(request, open_that_fails_cut_short)
{
        uint64_t h;
        Request r;

        open_two();
        h = ask(MH_WIRE_NEW, 0, 0).value[0];
        cr_assert_eq(ask(MH_WIRE_CLOSE, h, 0).error, 0);
        r = begin(MH_WIRE_OPEN, h, 0);
        a.ledger[handle_slot(h)] = ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT);
        fixture_set_holder(&f, handle_slot(h), a.id, true);
        cr_assert_not(recover());
        cr_assert_eq(run(&r).error, ESTALE);
        fixture_done(&f);
}

Test(request, close_cut_short)
{
        for (unsigned shared = 0; shared < 2; shared++)
                for (unsigned point = 0; point <= 8; point++) {
                        struct mh_shm_outcome o;
                        struct mh_shm_slot *s;
                        uint32_t slot;
                        uint64_t h;
                        Request r;

                        if (shared && point >= 4 && point <= 6)
                                continue;
                        open_two();
                        h = ask(MH_WIRE_NEW, 0, 0).value[0];
                        slot = handle_slot(h);
                        s = &f.seg.slots[slot];
                        if (shared)
                                cr_assert_eq(slot_open(&b, h, NULL), 0);
                        s->payload[5] = 9;
                        r = begin(MH_WIRE_CLOSE, h, 0);
                        if (point >= 1)
                                a.ledger[slot] = ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT);
                        if (point == 2) /* with the bit set */
                                s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_DYING, 64, a.id);
                        if (point >= 3)
                                fixture_set_holder(&f, slot, a.id, false);
                        if (point == 4)
                                s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_DYING, 64, a.id);
                        if (point == 5)
                                s->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_DEAD, 64, a.id);
                        if (point >= 6 && !shared) {
                                s->payload[5] = 0;
                                s->state = state_make(FIXTURE_FIRST + 1, MH_SHM_PHASE_FREE, 0, 0);
                        }
                        if (point >= 7) {
                                if (!shared)
                                        chunk_note_free(&f.seg, slot);
                                a.ledger[slot] = 0;
                        }
                        if (point == 8 && !shared) /* and somebody has it for something else by now */
                                cr_assert_eq(slot_new(&b, 5, &(uint64_t){ 0 }), 0);
                        cr_assert_eq(recover(), point >= 1, "point %u", point);
                        o = run(&r);
                        cr_assert_eq(o.error, 0);
                        cr_assert_eq(o.flags,
                                     shared ? MH_WIRE_CLOSE_DESTROY : MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE,
                                     "point %u", point);
                        cr_assert_eq(ledger_load(&a, slot), 0);
                        cr_assert_eq(slot_is_alive(&a, h, NULL), shared);
                        if (shared) {
                                cr_assert_eq(s->payload[5], 9);
                                cr_assert_eq(slot_close(&b, h, NULL), 0);
                        } else {
                                cr_assert_eq(s->payload[5], 0);
                        }
                        fixture_done(&f);
                }
}

Test(request, close_of_one_of_several_cut_short)
{
        for (unsigned point = 0; point <= 1; point++) {
                uint64_t h;
                Request r;

                open_two();
                h = ask(MH_WIRE_NEW, 0, 0).value[0];
                (void)ask(MH_WIRE_OPEN, h, 0);
                r = begin(MH_WIRE_CLOSE, h, 0);
                if (point == 1)
                        a.ledger[handle_slot(h)]--;
                cr_assert_eq(recover(), point == 1);
                cr_assert_eq(run(&r).flags, 0);
                cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 1);
                fixture_done(&f);
        }
}

Test(request, close_with_blocks_cut_short)
{
        for (unsigned point = 0; point <= 3; point++) {
                uint64_t h, s[2];
                Request r;

                open_two();
                h = ask(MH_WIRE_NEW, 0, 0).value[0];
                s[0] = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
                s[1] = ask(MH_WIRE_SCRATCH, 3 * SPAN, 0).value[0];
                for (unsigned i = 0; i < 2; i++)
                        cr_assert_eq(ask(MH_WIRE_GIVE, s[i], h).error, 0);
                r = begin(MH_WIRE_CLOSE, h, 0);
                a.ledger[handle_slot(h)] = ledger_make(FIXTURE_FIRST, MH_SHM_LEDGER_IN_FLIGHT);
                fixture_set_holder(&f, handle_slot(h), a.id, false);
                fixture_slot(&f, h)->state = state_make(FIXTURE_FIRST, MH_SHM_PHASE_DEAD, 64, a.id);
                if (point >= 1) { /* the block is free, the reference is there */
                        uint32_t span = (uint32_t)(scratch_offset(s[0]) / SPAN);

                        span_owners(&f.seg, span)[scratch_offset(s[0]) % SPAN / 112] = owner_make(
                                scratch_tag(s[0]) + 1, MH_SHM_OWNER_FREE, 0, 0);
                }
                if (point >= 2)
                        fixture_slot(&f, h)->refs[0] = 0;
                if (point >= 3) { /* the large one is half gone */
                        uint32_t span = (uint32_t)(scratch_offset(s[1]) / SPAN);

                        *span_owners(&f.seg, span) = owner_make(scratch_tag(s[1]) + 1, MH_SHM_OWNER_FREEING, 0, a.id);
                        hazard_set(&a, span);
                }
                cr_assert(recover());
                cr_assert_eq(run(&r).flags, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
                for (unsigned i = 0; i < 2; i++)
                        cr_assert_eq(scratch_lookup(&a, s[i], NULL, NULL), -ESTALE);
                cr_assert_eq(span_state(f.seg.spans[scratch_offset(s[1]) / SPAN].word), MH_SHM_SPAN_FREE);
                fixture_done(&f);
        }
}

Test(request, scratch_cut_short)
{
        for (unsigned point = 0; point <= 2; point++) {
                struct mh_shm_outcome o;
                uint64_t first, target, *owner;
                Request r;

                open_two();
                first = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
                target = first + 112;
                owner = &span_owners(&f.seg,
                                     (uint32_t)(scratch_offset(first) / SPAN))[scratch_offset(target) % SPAN / 112];
                r = begin(MH_WIRE_SCRATCH, 100, 0);
                if (point >= 1)
                        entry()->intent.target = target;
                if (point >= 2)
                        *owner = owner_make(scratch_tag(target), MH_SHM_OWNER_CLIENT, 0, a.id);
                cr_assert_eq(recover(), point == 2, "point %u", point);
                o = run(&r);
                cr_assert_eq(o.error, 0);
                cr_assert_eq(o.value[0], target, "nothing was lost on the way");
                cr_assert_eq(o.value[1], 112);
                cr_assert_eq(account_owned(a.account), 2 * 112);
                fixture_done(&f);
        }
}

Test(request, scratch_of_a_large_block_cut_short)
{
        /* Claimed; with memory; the target noted; published; joined. */
        for (unsigned point = 0; point <= 5; point++) {
                struct mh_shm_outcome o;
                uint32_t head = 0;
                Request r;

                open_two();
                r = begin(MH_WIRE_SCRATCH, 3 * SPAN, 0);
                if (point >= 1)
                        cr_assert_eq(span_claim_run(&a, 3, &head), 0);
                if (point >= 2)
                        cr_assert_eq(span_populate(&a, head, 3, 1), 0);
                if (point >= 3)
                        entry()->intent.target = scratch_make(1, head * SPAN);
                if (point >= 4) {
                        f.seg.spans[head].run = 3;
                        f.seg.spans[head].size = 3 * SPAN;
                        *span_owners(&f.seg, head) = owner_make(1, MH_SHM_OWNER_CLIENT, 0, a.id);
                        f.seg.spans[head].word = span_make(0, MH_SHM_SPAN_LARGE, a.id, 0);
                }
                if (point >= 5)
                        f.seg.spans[head + 1].word = span_make(0, MH_SHM_SPAN_CONT, 0, head);
                cr_assert_eq(recover(), point >= 4, "point %u", point);
                o = run(&r);
                cr_assert_eq(o.error, 0);
                cr_assert_eq(o.value[1], 3 * SPAN);
                cr_assert_eq(scratch_lookup(&b, o.value[0], NULL, NULL), 0);
                for (uint32_t i = 0; i < f.seg.shared->span_hwm; i++)
                        cr_assert_eq(span_state(f.seg.spans[i].word) == MH_SHM_SPAN_FREE,
                                     i < scratch_offset(o.value[0]) / SPAN ||
                                             i > scratch_offset(o.value[0]) / SPAN + 2);
                fixture_done(&f);
        }
}

Test(request, free_cut_short)
{
        for (unsigned large = 0; large < 2; large++)
                for (unsigned point = 0; point <= 2; point++) {
                        uint64_t s, *owner;
                        uint32_t span;
                        Request r;

                        open_two();
                        (void)ask(MH_WIRE_SCRATCH, 100, 0);
                        s = ask(MH_WIRE_SCRATCH, large ? 3 * SPAN : 100, 0).value[0];
                        span = (uint32_t)(scratch_offset(s) / SPAN);
                        owner = &span_owners(&f.seg, span)[large ? 0 : scratch_offset(s) % SPAN / 112];
                        r = begin(MH_WIRE_SCRATCH_FREE, s, 0);
                        if (large && point >= 1) {
                                hazard_set(&a, span);
                                *owner = owner_make(scratch_tag(s) + 1, MH_SHM_OWNER_FREEING, 0, a.id);
                        } else if (point >= 1) {
                                *owner = owner_make(scratch_tag(s) + 1, MH_SHM_OWNER_FREE, 0, 0);
                        }
                        if (large && point == 2) {
                                f.seg.spans[span + 2].word = span_make(0, MH_SHM_SPAN_CLAIMED, a.id, span);
                                span_release_run(&a, span + 2, 1);
                        }
                        if (!large && point == 2) /* it has been taken for something else, by the same client */
                                *owner = owner_make(scratch_tag(s) + 1, MH_SHM_OWNER_CLIENT, 0, a.id);
                        cr_assert_eq(recover(), point >= 1, "point %u", point);
                        cr_assert_eq(run(&r).error, 0);
                        cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
                        if (large)
                                for (uint32_t i = 0; i < 3; i++)
                                        cr_assert_eq(span_state(f.seg.spans[span + i].word), MH_SHM_SPAN_FREE);
                        fixture_done(&f);
                }
}

/* Of a block that another client took: there only the hazard leads the next daemon to what is left. */
Test(request, free_of_a_foreign_block_cut_short)
{
        uint64_t s;
        uint32_t span;
        Request r;

        open_two();
        cr_assert_eq(scratch_alloc(&b, 50 * SPAN, &s, NULL), 0);
        span = (uint32_t)(scratch_offset(s) / SPAN);
        r = begin(MH_WIRE_SCRATCH_FREE, s, 0);
        hazard_set(&a, span);
        *span_owners(&f.seg, span) = owner_make(scratch_tag(s) + 1, MH_SHM_OWNER_FREEING, 0, a.id);
        cr_assert(recover());
        cr_assert_eq(run(&r).error, 0);
        for (uint32_t i = 0; i < 50; i++)
                cr_assert_eq(span_state(f.seg.spans[span + i].word), MH_SHM_SPAN_FREE);
        fixture_done(&f);
}

Test(request, free_of_what_is_not_ones_to_free_cut_short)
{
        uint64_t s, h;
        Request r;

        open_two();
        h = ask(MH_WIRE_NEW, 0, 0).value[0];
        s = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
        (void)ask(MH_WIRE_GIVE, s, h);
        r = begin(MH_WIRE_SCRATCH_FREE, s, 0);
        cr_assert_not(recover());
        cr_assert_eq(run(&r).error, EBUSY);
        r = begin(MH_WIRE_SCRATCH_FREE, s + 16, 0);
        cr_assert_not(recover());
        cr_assert_eq(run(&r).error, ESTALE);
        fixture_done(&f);
}

Test(request, give_cut_short)
{
        for (unsigned point = 0; point <= 5; point++) {
                uint64_t h, s, *owner;
                Request r;
                bool done;

                open_two();
                h = ask(MH_WIRE_NEW, 0, 0).value[0];
                s = ask(MH_WIRE_SCRATCH, 100, 0).value[0];
                owner = &span_owners(&f.seg, (uint32_t)(scratch_offset(s) / SPAN))[scratch_offset(s) % SPAN / 112];
                r = begin(MH_WIRE_GIVE, s, h);
                hazard_set(&a, (uint32_t)(scratch_offset(s) / SPAN));
                if (point >= 1)
                        a.ledger[handle_slot(h)]++;
                if (point >= 2)
                        fixture_slot(&f, h)->refs[0] = ref_make(s, a.id);
                if (point >= 3)
                        *owner = owner_make(scratch_tag(s), MH_SHM_OWNER_SLOT, 0, handle_slot(h));
                if (point >= 4)
                        a.ledger[handle_slot(h)]--;
                if (point >= 5)
                        hazard_clear(&a);
                done = recover();
                cr_assert_eq(done, point >= 3, "point %u", point);
                cr_assert_eq(ledger_count(ledger_load(&a, handle_slot(h))), 1, "the pin is gone");
                cr_assert_eq(fixture_slot(&f, h)->refs[0], done ? ref_make(s, a.id) : 0);
                cr_assert_eq(run(&r).error, 0);
                cr_assert_eq(fixture_slot(&f, h)->refs[0], ref_make(s, a.id));
                cr_assert_eq(fixture_slot(&f, h)->refs[1], 0);
                cr_assert_eq(ask(MH_WIRE_CLOSE, h, 0).flags, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
                cr_assert_eq(scratch_lookup(&a, s, NULL, NULL), -ESTALE);
                fixture_done(&f);
        }
}

/* ---------------------------------------------------------------------------------------------- scribbles */

/* Whatever stands in an entry: recovery ends, and b is unharmed. */
Test(request, garbage_in_the_intent)
{
        uint64_t state = 11, h, s, mine;

        open_two();
        cr_assert_eq(slot_new(&b, 5, &h), 0);
        cr_assert_eq(scratch_alloc(&b, 100, &s, NULL), 0);
        mine = ask(MH_WIRE_NEW, 0, 0).value[0];
        for (unsigned i = 0, rounds = fixture_scaled(3000); i < rounds; i++) {
                struct mh_shm_intent *in = &entry()->intent;
                static const uint32_t ops[] = {
                        MH_WIRE_NEW, MH_WIRE_OPEN, MH_WIRE_CLOSE, MH_WIRE_SCRATCH, MH_WIRE_SCRATCH_FREE, MH_WIRE_GIVE,
                        99
                };
                const uint64_t values[] = { 0, 1,    UINT64_MAX,         fixture_random(&state),          h,
                                            s, mine, handle_slot(h) + 1, handle_make(FIXTURE_FIRST, 2047) };

                *in = (struct mh_shm_intent){ .op = ops[fixture_random(&state) % 7], .type = (uint32_t)i };
                in->arg[0] = values[fixture_random(&state) % ELEMENTSOF(values)];
                in->arg[1] = values[fixture_random(&state) % ELEMENTSOF(values)];
                in->target = values[fixture_random(&state) % ELEMENTSOF(values)];
                in->old_word = values[fixture_random(&state) % ELEMENTSOF(values)];
                in->new_word = values[fixture_random(&state) % ELEMENTSOF(values)];
                in->seq = i % 5 ? request_last(&a) + 1 : fixture_random(&state);
                f.seg.hazards[a.id].line[0].span = i % 3 ? 0 : values[fixture_random(&state) % ELEMENTSOF(values)];
                fixture_forget(&f, &a);
                request_recover(&a);
                cr_assert_eq(slot_held(&b, h, NULL), 0);
                cr_assert_eq(scratch_lookup(&b, s, NULL, NULL), 0);
        }
        totals_recount(&f.seg);
        fixture_verify_rest(&f);
        fixture_done(&f);
}
