/* SPDX-License-Identifier: MIT */

/*
 * A request takes effect exactly once, although the daemon may die at any instruction of it and the client asks again.
 *
 * The entry of the client holds two sequence numbers: that of the intent, written before anything is done, and that of the
 * outcome, written when all is done. Equal: nothing is in flight. If they differ when a new daemon looks, it can tell
 * how far the former one got: the operations change one word that decides (a ledger word, an owner word), the intent
 * says what it was before, and which one it is where the operation itself chose it.
 *
 *   New          the slot noted as target: our ledger counts it and it is LIVE: done; else taken back
 *   Open, Close  our ledger word: as before: not done; IN_FLIGHT: an open is taken back, a close is finished; else done
 *   Scratch      the block noted as target: its owner word names us: done; else claims are taken back
 *   ScratchFree  its owner word: as before: not done; else done, and spans are given back
 *   Give         its owner word names the handle: done; else the entry is emptied. Then the pin goes
 *
 * What was not done is done when the client asks again, and what was done is told again.
 *
 * Intent and outcome are written by the daemon alone, field by field without order, and then their numbers, sequentially
 * consistent: a daemon that finds a number after a crash finds the fields that go with it, because all that its predecessor stored
 * is there, and stores are not seen before those that came before a release.
 *
 * Relaxed: therefore the fields of both, `requests` and `errors`, which the daemon alone reads back, and the hazard of a client that only
 * the daemon works for.
 */

#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/block.h"
#include "shm/chunk.h"
#include "shm/give.h"
#include "shm/ledger.h"
#include "shm/request.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/words.h"

static struct mh_shm_client *entry_of(const Actor *a)
{
        return &a->seg->clients[a->id];
}

uint64_t request_last(const Actor *a)
{
        return load_sc(&entry_of(a)->outcome.seq);
}

/* ------------------------------------------------------------------------------------------------ running */

static uint64_t ledger_word_of(Actor *a, uint64_t handle)
{
        return handle_slot(handle) < a->seg->n_slots ? ledger_load(a, handle_slot(handle)) : 0;
}

static uint64_t owner_word_of(Actor *a, uint64_t scratch)
{
        uint64_t owner;

        return scratch_owner(a, scratch, &owner) == 0 ? owner : 0;
}

static void write_intent(Actor *a, const Request *request)
{
        struct mh_shm_intent *in = &entry_of(a)->intent;

        store_relaxed(&in->op, request->op);
        store_relaxed(&in->type, request->type);
        store_relaxed(&in->arg[0], request->arg[0]);
        store_relaxed(&in->arg[1], request->arg[1]);
        store_relaxed(&in->target, 0);
        store_relaxed(&in->old_word, 0);
        store_relaxed(&in->new_word, 0);
        switch (request->op) {
        case MH_WIRE_OPEN:
        case MH_WIRE_CLOSE:
                store_relaxed(&in->old_word, ledger_word_of(a, request->arg[0]));
                break;
        case MH_WIRE_SCRATCH_FREE:
                store_relaxed(&in->old_word, owner_word_of(a, request->arg[0]));
                break;
        case MH_WIRE_GIVE:
                store_relaxed(&in->old_word, ledger_word_of(a, request->arg[1]));
                store_relaxed(&in->new_word, owner_word_of(a, request->arg[0]));
                break;
        default:
                break;
        }
        /* The number last: until then the intent is no intent. */
        store_sc(&in->seq, request->seq);
}

static void write_outcome(Actor *a, const struct mh_shm_outcome *outcome)
{
        struct mh_shm_client *c = entry_of(a);

        store_relaxed(&c->outcome.error, outcome->error);
        store_relaxed(&c->outcome.flags, outcome->flags);
        store_relaxed(&c->outcome.value[0], outcome->value[0]);
        store_relaxed(&c->outcome.value[1], outcome->value[1]);
        store_relaxed(&c->requests, load_relaxed(&c->requests) + 1);
        if (outcome->error)
                store_relaxed(&c->errors, load_relaxed(&c->errors) + 1);
        store_sc(&c->outcome.seq, outcome->seq);
}

static void read_outcome(const Actor *a, struct mh_shm_outcome *ret)
{
        const struct mh_shm_outcome *o = &entry_of(a)->outcome;

        *ret = (struct mh_shm_outcome){
                .seq = load_sc(&o->seq),
                .error = load_relaxed(&o->error),
                .flags = load_relaxed(&o->flags),
                .value = { load_relaxed(&o->value[0]), load_relaxed(&o->value[1]) },
        };
}

static bool is_same(const Actor *a, const Request *request)
{
        const struct mh_shm_intent *in = &entry_of(a)->intent;

        return load_relaxed(&in->seq) == request->seq && load_relaxed(&in->op) == request->op &&
               load_relaxed(&in->type) == request->type && load_relaxed(&in->arg[0]) == request->arg[0] &&
               load_relaxed(&in->arg[1]) == request->arg[1];
}

static int perform(Actor *a, const Request *request, struct mh_shm_outcome *o)
{
        unsigned flags;
        int r;

        switch (request->op) {
        case MH_WIRE_NEW:
                o->flags = request->type;
                return slot_new(a, request->type, &o->value[0]);
        case MH_WIRE_OPEN:
                o->value[0] = request->arg[0];
                return slot_open(a, request->arg[0], &o->flags);
        case MH_WIRE_CLOSE:
                r = slot_close(a, request->arg[0], &flags);
                if (r == 0)
                        o->flags = (flags & SLOT_CLOSED_HERE ? MH_WIRE_CLOSE_DESTROY : 0U) |
                                   (flags & SLOT_CLOSED_EVERYWHERE ? MH_WIRE_CLOSE_GONE : 0U);
                return r;
        case MH_WIRE_SCRATCH:
                return scratch_alloc(a, request->arg[0], &o->value[0], &o->value[1]);
        case MH_WIRE_SCRATCH_FREE:
                return scratch_free(a, request->arg[0]);
        case MH_WIRE_GIVE:
                return give_block(a, request->arg[0], request->arg[1]);
        default:
                return -EOPNOTSUPP;
        }
}

int request_run(Actor *a, const Request *request, struct mh_shm_outcome *ret)
{
        uint64_t last = request_last(a);
        struct mh_shm_outcome o = { .seq = request->seq };
        int r;

        if (last && request->seq == last) {
                if (!is_same(a, request))
                        return -EPROTO;
                read_outcome(a, ret);
                return 0;
        }
        if (request->seq != last + 1)
                return -EPROTO;

        write_intent(a, request);
        a->intent = &entry_of(a)->intent;
        r = perform(a, request, &o);
        a->intent = NULL;
        if (r < 0)
                o = (struct mh_shm_outcome){ .seq = request->seq, .error = -r };
        write_outcome(a, &o);
        *ret = o;
        return 0;
}

/* ------------------------------------------------------------------------------------------------ recovering */

/* Frees that were cut short. */
static void finish_frees(Actor *a)
{
        uint64_t span = load_relaxed(&a->hazard->span);

        if (span && span <= a->seg->n_spans)
                while (block_resume_free(a, (uint32_t)(span - 1), UINT32_MAX) > 0)
                        ;
        store_sc(&a->hazard->span, 0);
        store_sc(&a->hazard->freeing, 0);
}

/* Each of these says whether the request was done, and then fills in what came of it. */

static bool was_new_done(Actor *a, const struct mh_shm_intent *in, struct mh_shm_outcome *o)
{
        uint64_t slot = in->target - 1, word;

        if (!in->target || slot >= a->seg->n_slots)
                return false;
        word = ledger_load(a, (uint32_t)slot);
        if (!word)
                return false;
        o->flags = in->type;
        o->value[0] = handle_make(ledger_generation(word), (uint32_t)slot);
        if (ledger_count(word) && slot_is_alive(a, o->value[0], NULL))
                return true;
        (void)slot_abandon(a, (uint32_t)slot);
        return false;
}

static bool was_open_done(Actor *a, const struct mh_shm_intent *in, struct mh_shm_outcome *o)
{
        uint64_t word = ledger_word_of(a, in->arg[0]);

        if (word & MH_SHM_LEDGER_IN_FLIGHT) {
                (void)slot_abandon(a, handle_slot(in->arg[0]));
                return false;
        }
        o->value[0] = in->arg[0];
        return word != in->old_word && ledger_generation(word) == handle_generation(in->arg[0]) &&
               slot_is_alive(a, in->arg[0], &o->flags);
}

static bool was_close_done(Actor *a, const struct mh_shm_intent *in, struct mh_shm_outcome *o)
{
        uint64_t word = ledger_word_of(a, in->arg[0]);

        if (word == in->old_word)
                return false;
        if (word & MH_SHM_LEDGER_IN_FLIGHT) {
                (void)slot_abandon(a, handle_slot(in->arg[0]));
                word = 0;
        }
        o->flags = word ? 0 : MH_WIRE_CLOSE_DESTROY;
        if (!word && !slot_is_alive(a, in->arg[0], NULL))
                o->flags |= MH_WIRE_CLOSE_GONE;
        return true;
}

static bool was_scratch_done(Actor *a, const struct mh_shm_intent *in, struct mh_shm_outcome *o)
{
        uint64_t owner = in->target ? owner_word_of(a, in->target) : 0, size;

        if (owner_kind(owner) != MH_SHM_OWNER_CLIENT || owner_who(owner) != a->id ||
            scratch_lookup(a, in->target, NULL, &size) < 0)
                return false;
        o->value[0] = in->target;
        o->value[1] = size;
        return true;
}

static bool was_free_done(Actor *a, const struct mh_shm_intent *in)
{
        /* A free that could not succeed changed nothing, and fails again in the same way. */
        return owner_kind(in->old_word) == MH_SHM_OWNER_CLIENT && owner_word_of(a, in->arg[0]) != in->old_word;
}

static bool was_give_done(Actor *a, const struct mh_shm_intent *in)
{
        uint64_t owner = owner_word_of(a, in->arg[0]), word = ledger_word_of(a, in->arg[1]);
        uint32_t slot = handle_slot(in->arg[1]);

        if (!ledger_count(in->old_word) || !word || slot >= a->seg->n_slots)
                return false;
        give_drop_unused_refs(a, slot, a->id);
        if (word == in->old_word + 1)
                (void)slot_close(a, in->arg[1], NULL);
        return owner_kind(in->new_word) == MH_SHM_OWNER_CLIENT && owner_kind(owner) == MH_SHM_OWNER_SLOT &&
               owner_who(owner) == slot;
}

static bool was_done(Actor *a, const struct mh_shm_intent *in, struct mh_shm_outcome *o)
{
        switch (in->op) {
        case MH_WIRE_NEW:
                return was_new_done(a, in, o);
        case MH_WIRE_OPEN:
                return was_open_done(a, in, o);
        case MH_WIRE_CLOSE:
                return was_close_done(a, in, o);
        case MH_WIRE_SCRATCH:
                return was_scratch_done(a, in, o);
        case MH_WIRE_SCRATCH_FREE:
                return was_free_done(a, in);
        case MH_WIRE_GIVE:
                return was_give_done(a, in);
        default:
                return false;
        }
}

void request_recover(Actor *a)
{
        struct mh_shm_client *c = entry_of(a);
        struct mh_shm_intent in =
                c->intent; /* only the daemon writes entries; all numbers in it are checked all the same */
        struct mh_shm_outcome o = { .seq = in.seq };

        /* First, because what follows sets hazards of its own. */
        finish_frees(a);
        scratch_tidy(a);
        if (in.seq == request_last(a))
                return;
        chunk_abandon(a);
        if (in.seq == request_last(a) + 1 && was_done(a, &in, &o))
                write_outcome(a, &o);
        else
                /* It will be asked for again. Until then others go on, so no later daemon may judge by what they did. */
                store_sc(&c->intent.seq, request_last(a));
}
