/* SPDX-License-Identifier: MIT */

/*
 * The life of a handle.
 *
 * The truth is the slot's state word, which changes by compare-and-swap and names the generation, the phase and the client
 * that owns the phase:
 *
 *   FREE -> RESERVED(c) -> LIVE <-> DYING(c) -> DEAD(c) -> FREE, next generation
 *
 * Who holds a LIVE handle is told by one bit per client. A bit, not a count, so that setting and clearing it can be
 * repeated after a crash. How often a client holds it is the business of its own ledger word.
 *
 * Opening sets the bit and then looks at the state; destroying makes the state DYING and then looks at the bits. One of the
 * two looks last, so either the opener sees that the handle is going and rescues it, or the destroyer sees the
 * bit and calls it off. Nobody waits: a DYING slot whose destroyer is frozen is rescued by whoever opens it, and a
 * DEAD one is gone for everybody, however long its owner takes to clean it up.
 *
 * The state word and the holder bits are changed with sequentially consistent operations, because the argument above is about
 * the order of accesses to two different words. Weaker ones say why they are enough.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "base/likely.h"
#include "shm/chunk.h"
#include "shm/give.h"
#include "shm/hazard.h"
#include "shm/holder.h"
#include "shm/ledger.h"
#include "shm/reserve.h"
#include "shm/slot.h"
#include "shm/words.h"

/* Each turn of a settling loop means that another client set a holder bit and took it back. Bounded, because the daemon must
 * not be kept busy for ever by a client that does nothing else. */
#define SETTLE_TURNS 10000U

static bool type_is_valid(unsigned type)
{
        return (type >= 1 && type <= 10) || (type >= 64 && type <= 255);
}

/* ------------------------------------------------------------------------------------------------ the end of a handle */

/* DEAD and this client's: what the next handle here must not find. Each step can be repeated. 1: there is more to do, for the
 * reaper alone. */
static inline int clean(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];

        if (unlikely(load_sc(&s->refs[0]) | load_sc(&s->refs[1]) | load_sc(&s->refs[2]) | load_sc(&s->refs[3])) &&
            give_drop_refs(a, slot) > 0)
                return 1;
        memset(s->payload, 0, sizeof(s->payload));
        memset(s->wait, 0, sizeof(s->wait));
        actor_count(&a->account->destroyed, 1);
        return 0;
}

/* DEAD and this client's, whose own bit is clear. 1, or -EAGAIN: there is more to do, for the reaper alone. */
static int bury(Actor *a, uint32_t slot)
{
        if (clean(a, slot) > 0)
                return -EAGAIN;
        reserve_release(a, slot);
        return 1;
}

/*
 * Destroys the handle if it is LIVE and nobody holds it. This client's ledger names the slot and its own bit is clear. Says
 * whether it destroyed it; -EAGAIN when others went on setting and clearing bits for very long, and as bury().
 */
static _noinline_ int destroy_unheld(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];

        for (unsigned turn = 0; turn < SETTLE_TURNS; turn++) {
                uint64_t live = load_sc(&s->state), dying, dead;

                if (state_phase(live) != MH_SHM_PHASE_LIVE || holder_any(a->seg, slot))
                        return 0;
                dying = state_make(state_generation(live), MH_SHM_PHASE_DYING, state_type(live), a->id);
                dead = state_make(state_generation(live), MH_SHM_PHASE_DEAD, state_type(live), a->id);

                uint64_t seen = live;
                if (!cas_sc(&s->state, &seen, dying))
                        return 0; /* somebody else destroys it, or did */
                seen = dying;
                if (!holder_any(a->seg, slot)) {
                        if (!cas_sc(&s->state, &seen, dead))
                                return 0; /* rescued: it is theirs */
                        return bury(a, slot);
                }
                /* Called off. Whoever set that bit may have cleared it again before we could tell: look once more. */
                if (!cas_sc(&s->state, &seen, live))
                        return 0;
        }
        return -EAGAIN;
}

/* Gives up the holder bit; the ledger word is IN_FLIGHT. As destroy_unheld(), which need not look where another bit was seen. */
static inline int drop(Actor *a, uint32_t slot)
{
        return holder_clear(a, slot) ? 0 : destroy_unheld(a, slot);
}

/*
 * The same where this client's bit is still set, and the only one: then it need not be cleared, and the slot can be kept for
 * the next handle. An opener sets its bit and then looks at the state, as ever, so either it is seen here or it sees DYING.
 * False: others hold it too, and drop() is right.
 */
static inline bool destroy_alone(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];
        uint64_t live, dying, seen;

        seen = live = load_sc(&s->state);
        if (unlikely(state_phase(live) != MH_SHM_PHASE_LIVE))
                return false;
        dying = state_with(live, MH_SHM_PHASE_DYING, a->id);
        if (unlikely(!cas_sc(&s->state, &seen, dying)))
                return false;
        seen = dying;
        if (unlikely(!holder_alone(a, slot))) {
                (void)cas_sc(&s->state, &seen, live); /* called off; or rescued, which comes to the same */
                return false;
        }
        return cas_sc(&s->state, &seen, state_with(live, MH_SHM_PHASE_DEAD, a->id));
}

/*
 * DEAD and this client's, its bit set: keeps it as RESERVED. False: it cannot be, or there are enough. What is kept counts as held, and
 * helps no other thread; so where there is a limit, none is.
 */
static inline bool keep(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];
        uint64_t next;

        if (unlikely(a->n_kept >= a->max_kept) || unlikely(reserve_is_limited(a)))
                return false;
        next = reserve_state_after(a->seg, load_relaxed(&s->state)); /* DEAD by us: nobody else changes it */
        if (unlikely(!next))
                return false;
        /* Release: both phases are ours alone to leave. Pairs with the look of a stale opener, which finds another generation. */
        store_release(&s->state, state_with(next, MH_SHM_PHASE_RESERVED, a->id));
        a->kept[a->n_kept++] = slot;
        return true;
}

/* ------------------------------------------------------------------------------------------------ new */

/* The slot is RESERVED by us: nobody else changes its state. `gen` is the next handle's. */
static inline void make_live(Actor *a, uint32_t slot, uint64_t gen, unsigned type, uint64_t *ret_handle)
{
        actor_count(&a->account->created, 1);
        /* Release: RESERVED is ours alone to leave. Who finds it LIVE finds the bit. Pairs with the look in slot_open(). */
        store_release(&a->slots[slot].state, state_make(gen, MH_SHM_PHASE_LIVE, type, 0));
        *ret_handle = handle_make(gen, slot);
}

_noinline_ int slot_publish(Actor *a, uint32_t slot, unsigned type, uint64_t *ret_handle)
{
        /* Relaxed: nobody else changes it, unless somebody scribbles. The reaper puts that right, or verify says so. */
        uint64_t state = load_relaxed(&a->slots[slot].state), gen = state_generation(state);

        if (state_phase(state) != MH_SHM_PHASE_RESERVED || !gen)
                return -EIO;
        ledger_settle(a, slot, ledger_make(gen, 1));
        make_live(a, slot, gen, type, ret_handle);
        return 0;
}

/* Fills half of what may be kept, or takes the one that is needed. -ENOSPC and the like only if there is none at all. */
static int refill(Actor *a)
{
        unsigned n = reserve_is_limited(a) ? 1 : a->max_kept / 2 + 1;
        int r = 0;

        while (a->n_kept < n && r == 0) {
                r = reserve_slot(a, &a->kept[a->n_kept]);
                if (r == 0)
                        a->n_kept++;
        }
        return a->n_kept ? 0 : r;
}

static _cold_ int new_after_refill(Actor *a, unsigned type, uint64_t *ret_handle)
{
        int r = refill(a);

        return r < 0 ? r : slot_publish(a, a->kept[--a->n_kept], type, ret_handle);
}

int slot_new(Actor *a, unsigned type, uint64_t *ret_handle)
{
        uint64_t gen;
        uint32_t slot;

        if (unlikely(!type_is_valid(type)))
                return -EINVAL;
        if (unlikely(!a->n_kept))
                return new_after_refill(a, type, ret_handle);
        slot = a->kept[--a->n_kept];
        if (!ledger_in_window(a, slot))
                return slot_publish(a, slot, type, ret_handle);
        gen = state_generation(load_relaxed(&a->slots[slot].state)); /* RESERVED by us: nobody else changes it */
        store_release(&a->ledger[slot], ledger_make(gen, 1));        /* as in ledger_settle(); nobody waits */
        make_live(a, slot, gen, type, ret_handle);
        return 0;
}

void slot_keep(Actor *a)
{
        const Segment *seg = a->seg;
        uint32_t share = seg->n_slots / (seg->n_clients * MH_SHM_THREADS * 2);

        a->max_kept = share < ACTOR_KEPT_SLOTS ? share : ACTOR_KEPT_SLOTS;
}

void slot_keep_none(Actor *a)
{
        a->max_kept = 0;
        while (a->n_kept > 0)
                reserve_undo(a, a->kept[--a->n_kept]);
}

/* ------------------------------------------------------------------------------------------------ open */

static int check_handle(const Actor *a, uint64_t handle)
{
        if (!handle)
                return -EINVAL;
        return handle_slot(handle) < a->seg->n_slots && handle_generation(handle) ? 0 : -ESTALE;
}

/* Memory for the ledger word; none for numbers that never were handles. The look at the chunk that counts comes later. */
static int make_room(Actor *a, uint32_t slot)
{
        if (likely(a->ledger_unit == (uint64_t)slot * sizeof(uint64_t) / MH_SHM_LEDGER_UNIT + 1))
                return 0;
        return chunk_look(a, slot) ? ledger_reserve_slot(a, slot) : -ESTALE;
}

/* The ledger word is IN_FLIGHT, this client's bit is set. 0 and it is ours; -ESTALE and nothing is, the bit neither. */
static inline int look_again(Actor *a, uint64_t handle, unsigned *ret_type)
{
        struct mh_shm_slot *s = &a->slots[handle_slot(handle)];
        uint64_t gen = handle_generation(handle), state = load_sc(&s->state);

        for (;;) {
                if (likely(state_generation(state) == gen) && likely(state_phase(state) == MH_SHM_PHASE_LIVE)) {
                        if (ret_type)
                                *ret_type = state_type(state);
                        return 0;
                }
                if (state_generation(state) != gen || state_phase(state) != MH_SHM_PHASE_DYING)
                        break;
                /* Rescue. On failure `state` is what is there now. */
                if (cas_sc(&s->state, &state, state_make(gen, MH_SHM_PHASE_LIVE, state_type(state), 0)))
                        state = load_sc(&s->state);
        }
        /* Our bit may have called off a destroyer that now relies on us to look. */
        for (unsigned i = 0; i < 10 && drop(a, handle_slot(handle)) == -EAGAIN; i++)
                ;
        return -ESTALE;
}

/* A look before the bit is set spares a stale handle's slot the disturbance; it decides nothing else. */
static inline bool seems_alive(const Actor *a, uint64_t handle)
{
        return state_generation(load_sc(&a->slots[handle_slot(handle)].state)) == handle_generation(handle);
}

/* The ledger word is IN_FLIGHT. As look_again(). */
static inline int take(Actor *a, uint64_t handle, unsigned *ret_type)
{
        if (!seems_alive(a, handle))
                return -ESTALE;
        holder_set(a, handle_slot(handle));
        return look_again(a, handle, ret_type);
}

/* The end of open_first(), whatever came of it. */
static _noinline_ int settle_open(Actor *a, uint64_t handle, int r)
{
        if (r == 0)
                actor_count(&a->account->handles, 1);
        ledger_settle(a, handle_slot(handle), r < 0 ? 0 : ledger_make(handle_generation(handle), 1));
        return r;
}

static _noinline_ int open_first(Actor *a, uint64_t handle, unsigned *ret_type)
{
        uint32_t slot = handle_slot(handle);
        uint64_t word;
        int r;

        r = reserve_check_quota(a);
        if (r < 0 && a->n_kept > 0) {
                /* What is only kept for the next handle counts as held. */
                reserve_undo(a, a->kept[--a->n_kept]);
                r = reserve_check_quota(a);
        }
        if (r < 0)
                goto out;
        hazard_order(a);
        r = -ESTALE;
        word = chunk_look(a, slot);
        if (!word)
                goto out;
        r = chunk_reserve_holders(a, slot, word);
        if (r < 0)
                goto out;
        r = take(a, handle, ret_type);

out:
        return settle_open(a, handle, r);
}

/*
 * Another thread of this client is at it: its turn. The daemon, who acts for a client that sends requests, is alone
 * there and would wait for ever: such a word is damage, and is put right like what a death left.
 */
static int wait_turn(Actor *a, uint32_t slot, uint64_t word)
{
        int r;

        if (!a->intent) {
                ledger_wait(a, slot, word);
                return 0;
        }
        r = slot_abandon(a, slot);
        if (r < 0)
                return r;
        /* Whoever writes such words all the time gets no further, and the daemon goes on. */
        word = ledger_load(a, slot);
        return word & MH_SHM_LEDGER_IN_FLIGHT ? -EAGAIN : 0;
}

static _noinline_ int open_anyhow(Actor *a, uint64_t handle, unsigned *ret_type)
{
        uint64_t gen = handle_generation(handle);
        uint32_t slot = handle_slot(handle);
        int r;

        r = check_handle(a, handle);
        if (r < 0)
                return r;

        for (;;) {
                uint64_t word = ledger_load(a, slot);

                if (!word) {
                        r = make_room(a, slot);
                        if (r < 0)
                                return r;
                        if (!ledger_change(a, slot, 0, ledger_make(gen, MH_SHM_LEDGER_IN_FLIGHT)))
                                continue;
                        return open_first(a, handle, ret_type);
                } else if (unlikely(word & MH_SHM_LEDGER_IN_FLIGHT)) {
                        r = wait_turn(a, slot, word);
                        if (r < 0)
                                return r;
                } else if ((word & MH_SHM_LEDGER_RESERVED) || ledger_generation(word) != gen) {
                        return -ESTALE;
                } else if (ledger_count(word) == MH_SHM_LEDGER_COUNT_MASK) {
                        return -EOVERFLOW;
                } else if (ledger_change(a, slot, word, word + 1)) {
                        /* Held, so it lives as long as we do not close it. Relaxed: it was LIVE when our ledger word
                         * came to name it, and that word was loaded in order. */
                        if (ret_type)
                                *ret_type = state_type(load_relaxed(&a->slots[slot].state));
                        return 0;
                }
        }
}

/* This client's bit is set, and the state was not what it mostly is. */
static _noinline_ int open_first_late(Actor *a, uint64_t handle, unsigned *ret_type)
{
        return settle_open(a, handle, look_again(a, handle, ret_type));
}

/*
 * The usual case of open_first(), for a slot in the window: the chunk is open (it has a descriptor, else the ledger would have no
 * memory there), and this client's bit is in the slot. The ledger word is 0.
 */
static _noinline_ int open_first_here(Actor *a, uint64_t handle, unsigned *ret_type)
{
        uint32_t slot = handle_slot(handle);
        struct mh_shm_slot *s = &a->slots[slot];
        uint64_t state;

        /* Release, as in ledger_change(). */
        store_release(&a->ledger[slot], (handle - slot) | MH_SHM_LEDGER_IN_FLIGHT);
        hazard_order(a);
        if (unlikely(!a->bit) || unlikely(reserve_check_quota(a) < 0) ||
            unlikely(chunk_state(load_sc(&a->seg->chunks[slot / MH_SHM_CHUNK_SLOTS].word)) != MH_SHM_CHUNK_OPEN))
                return open_first(a, handle, ret_type);
        if (unlikely(!seems_alive(a, handle)))
                return settle_open(a, handle, -ESTALE);
        (void)fetch_or_sc(&s->holders, a->bit); /* holder_set() */
        state = load_sc(&s->state);
        if (unlikely(state_generation(state) != handle_generation(handle)) ||
            unlikely(state_phase(state) != MH_SHM_PHASE_LIVE))
                return open_first_late(a, handle, ret_type);
        if (ret_type)
                *ret_type = state_type(state);
        actor_count(&a->account->handles, 1);
        store_release(&a->ledger[slot], (handle - slot) + 1); /* as in ledger_settle(); nobody waits */
        return 0;
}

/*
 * In the window a word is ours alone to change. What it has in common with the handle is its generation, so the difference of the
 * two is how often this client holds this very handle; where it is another one, or a flag is set, the difference is greater
 * than any such number.
 */
int slot_open(Actor *a, uint64_t handle, unsigned *ret_type)
{
        uint32_t slot = handle_slot(handle);
        uint64_t count;

        if (unlikely(!ledger_in_window(a, slot)))
                return open_anyhow(a, handle, ret_type);
        count = load_relaxed(&a->ledger[slot]) ^ (handle - slot);
        if (count - 1 < MH_SHM_LEDGER_COUNT_MASK - 1) {
                store_release(&a->ledger[slot], (handle - slot) + count + 1); /* as in ledger_change() */
                /* Held, so it lives as long as we do not close it. */
                if (ret_type)
                        *ret_type = state_type(load_relaxed(&a->slots[slot].state));
                return 0;
        }
        if (likely(count == handle - slot) && likely(count != 0))
                return open_first_here(a, handle, ret_type);
        return open_anyhow(a, handle, ret_type);
}

/* ------------------------------------------------------------------------------------------------ close */

static bool names_living(uint64_t state, uint64_t handle)
{
        return state_generation(state) == handle_generation(handle) &&
               (state_phase(state) == MH_SHM_PHASE_LIVE || state_phase(state) == MH_SHM_PHASE_DYING);
}

/* Read with pread(2), because without a ledger word the slot's memory may go at any time. */
static int read_state(const Actor *a, uint64_t handle, uint64_t *ret_state)
{
        return segment_read(a->seg, MH_SHM_REGION_SLOTS, handle_slot(handle) * sizeof(struct mh_shm_slot), ret_state,
                            sizeof(*ret_state));
}

bool slot_is_alive(const Actor *a, uint64_t handle, unsigned *ret_type)
{
        uint64_t state;

        if (check_handle(a, handle) < 0 || read_state(a, handle, &state) < 0)
                return false;
        if (!names_living(state, handle))
                return false;
        if (ret_type)
                *ret_type = state_type(state);
        return true;
}

/* Why a handle that this client does not hold cannot be closed or used: -EBADF or -ESTALE. */
static _cold_ int why_not_held(Actor *a, uint64_t handle)
{
        uint64_t state;
        int r = read_state(a, handle, &state);

        if (r != -EBADFD)
                return r == 0 && names_living(state, handle) ? -EBADF : -ESTALE;
        /* The descriptor was closed behind our back. Who can be opened is alive. */
        if (slot_open(a, handle, NULL) < 0)
                return -ESTALE;
        (void)slot_close(a, handle, NULL);
        return -EBADF;
}

static inline int closed(unsigned *ret_flags, unsigned flags)
{
        if (ret_flags)
                *ret_flags = flags;
        return 0;
}

/* The ledger word is IN_FLIGHT. The last part of a close that ends this client's holding. */
static inline int closed_here(Actor *a, uint32_t slot, unsigned *ret_flags, unsigned more_flags)
{
        actor_count(&a->account->handles, -UINT64_C(1));
        (void)closed(ret_flags, SLOT_CLOSED_HERE | more_flags);
        ledger_settle(a, slot, 0);
        return 0;
}

/* The ledger word is IN_FLIGHT, the holder bit is clear, and no other was seen. */
static _noinline_ int close_unheld(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        uint32_t slot = handle_slot(handle);
        int r;

        r = destroy_unheld(a, slot);
        if (r < 0 && take(a, handle, NULL) == 0) {
                /* Nothing has happened. */
                ledger_settle(a, slot, ledger_make(handle_generation(handle), 1));
                return r;
        }
        if (r != 0 || !names_living(load_sc(&a->slots[slot].state), handle))
                return closed_here(a, slot, ret_flags, SLOT_CLOSED_EVERYWHERE);
        return closed_here(a, slot, ret_flags, 0);
}

static _noinline_ int close_dead(Actor *a, uint32_t slot, unsigned *ret_flags)
{
        (void)holder_clear(a, slot);
        reserve_release(a, slot);
        return closed_here(a, slot, ret_flags, SLOT_CLOSED_EVERYWHERE);
}

static _noinline_ int close_in_group(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        if (!holder_clear_in_group(a, handle_slot(handle)))
                return close_unheld(a, handle, ret_flags);
        return closed_here(a, handle_slot(handle), ret_flags, 0);
}

/* The ledger word is IN_FLIGHT. */
static _noinline_ int close_shared(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        uint32_t slot = handle_slot(handle);

        if (unlikely(!a->bit))
                return close_in_group(a, handle, ret_flags);
        if (unlikely(!holder_clear(a, slot)))
                return close_unheld(a, handle, ret_flags);
        return closed_here(a, slot, ret_flags, 0);
}

/* The ledger word is IN_FLIGHT. */
static _noinline_ int close_last(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        uint32_t slot = handle_slot(handle);

        if (unlikely(!destroy_alone(a, slot)))
                return close_shared(a, handle, ret_flags);
        (void)clean(a, slot); /* all of it: this is not the reaper */
        if (unlikely(!keep(a, slot)))
                return close_dead(a, slot, ret_flags);
        (void)closed(ret_flags, SLOT_CLOSED_HERE | SLOT_CLOSED_EVERYWHERE);
        ledger_settle(a, slot, MH_SHM_LEDGER_RESERVED);
        return 0;
}

static _noinline_ int close_anyhow(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        uint64_t gen = handle_generation(handle);
        uint32_t slot = handle_slot(handle);
        int r;

        r = check_handle(a, handle);
        if (r < 0)
                return r;

        for (;;) {
                uint64_t word = ledger_load(a, slot);

                if (unlikely(word & MH_SHM_LEDGER_IN_FLIGHT)) {
                        r = wait_turn(a, slot, word);
                        if (r < 0)
                                return r;
                } else if (unlikely(!word)) {
                        return why_not_held(a, handle);
                } else if ((word & MH_SHM_LEDGER_RESERVED) || ledger_generation(word) != gen) {
                        return -ESTALE;
                } else if (ledger_count(word) > 1) {
                        if (!ledger_change(a, slot, word, word - 1))
                                continue;
                        return closed(ret_flags, 0);
                } else if (ledger_change(a, slot, word, ledger_make(gen, MH_SHM_LEDGER_IN_FLIGHT))) {
                        return close_last(a, handle, ret_flags);
                }
        }
}

int slot_close(Actor *a, uint64_t handle, unsigned *ret_flags)
{
        uint32_t slot = handle_slot(handle);
        uint64_t count;

        if (unlikely(!ledger_in_window(a, slot)))
                return close_anyhow(a, handle, ret_flags);
        count = load_relaxed(&a->ledger[slot]) ^ (handle - slot); /* as in slot_open() */
        if (count - 2 < MH_SHM_LEDGER_COUNT_MASK - 1) {
                store_release(&a->ledger[slot], (handle - slot) + count - 1); /* as in ledger_change() */
                return closed(ret_flags, 0);
        }
        if (unlikely(count != 1) || unlikely(handle == slot))
                return close_anyhow(a, handle, ret_flags);
        store_release(&a->ledger[slot], (handle - slot) | MH_SHM_LEDGER_IN_FLIGHT); /* likewise */
        return holder_seems_alone(a, slot) ? close_last(a, handle, ret_flags) : close_shared(a, handle, ret_flags);
}

int slot_held(Actor *a, uint64_t handle, struct mh_shm_slot **ret_slot)
{
        uint64_t word;
        int r;

        r = check_handle(a, handle);
        if (r < 0)
                return r;
        word = ledger_load(a, handle_slot(handle));
        if (!(word & (MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_RESERVED)) && ledger_count(word) &&
            ledger_generation(word) == handle_generation(handle)) {
                if (ret_slot)
                        *ret_slot = &a->slots[handle_slot(handle)];
                return 0;
        }
        return why_not_held(a, handle);
}

/* ------------------------------------------------------------------------------------------------ after a death */

int slot_abandon(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];
        uint64_t state;
        int r = 0;

        if (!chunk_look(a, slot))
                goto done; /* the word was written, and then nothing was touched */

        /* From DEAD all of them go, and the hazard may name the one that is going: see give_drop_refs(). */
        state = load_sc(&s->state);
        if (state_owner(state) != a->id || state_phase(state) != MH_SHM_PHASE_DEAD)
                give_drop_unused_refs(a, slot, a->id);
        (void)holder_clear(a, slot);

        state = load_sc(&s->state);
        if (state_owner(state) == a->id && state_phase(state) == MH_SHM_PHASE_DYING) {
                /* Call it off and start again. If somebody rescues it first, it is theirs. */
                uint64_t live = state_make(state_generation(state), MH_SHM_PHASE_LIVE, state_type(state), 0);
                (void)cas_sc(&s->state, &state, live);
                state = load_sc(&s->state);
        }
        switch (state_phase(state)) {
        case MH_SHM_PHASE_FREE:
                if (state)
                        chunk_note_free(a->seg, slot);
                break;
        case MH_SHM_PHASE_RESERVED:
                if (state_owner(state) == a->id)
                        reserve_release(a, slot);
                break;
        case MH_SHM_PHASE_LIVE:
                r = destroy_unheld(a, slot);
                break;
        case MH_SHM_PHASE_DEAD:
                if (state_owner(state) == a->id)
                        r = bury(a, slot);
                break;
        default:
                break;
        }
        if (r < 0)
                return r;
done:
        ledger_settle(a, slot, 0);
        return r;
}
