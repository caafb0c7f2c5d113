/* SPDX-License-Identifier: MIT */

#include "shm/reserve.h"

#include <errno.h>

#include "base/atomics.h"
#include "shm/chunk.h"
#include "shm/hazard.h"
#include "shm/holder.h"
#include "shm/ledger.h"

int reserve_check_limit(const Actor *a)
{
        /* Relaxed: the daemon wrote it before this client was there, see sign(), and it stays. */
        uint64_t limit = load_relaxed(&a->shared->limit_client_handles);
        int64_t handles = (int64_t)account_sum(a->page).handles;

        return handles >= 0 && (uint64_t)handles >= limit ? -EDQUOT : 0;
}

void reserve_release(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->slots[slot];
        /* Relaxed: RESERVED or DEAD by this client, whom alone it is to leave. */
        uint64_t next = reserve_state_after(a->seg, load_relaxed(&s->state));

        store_sc(&s->state, next);
        if (next)
                chunk_note_free(a->seg, slot);
}

/* 1: reserved; 0: this one is not to be had. */
static int try_reserve(Actor *a, uint32_t slot)
{
        uint64_t state, word;
        int r;

        r = ledger_reserve_slot(a, slot);
        if (r < 0)
                return r;
        if (ledger_load(a, slot))
                return 0;
        if (a->intent)
                store_sc(&a->intent->target, (uint64_t)slot + 1);
        if (!ledger_change(a, slot, 0, MH_SHM_LEDGER_RESERVED))
                return 0;
        hazard_order(a);
        word = chunk_look(a, slot);
        if (!word)
                goto not_this;
        r = chunk_reserve_holders(a, slot, word);
        if (r < 0)
                goto not_this;

        state = load_sc(&a->slots[slot].state);
        if (state_phase(state) == MH_SHM_PHASE_FREE && state &&
            cas_sc(&a->slots[slot].state, &state,
                   state_make(state_generation(state), MH_SHM_PHASE_RESERVED, 0, a->id))) {
                chunk_note_taken(a->seg, slot);
                holder_set(a, slot);
                actor_count(&a->account->handles, 1);
                return 1;
        }
        /* The hint was wrong. Put it right, and look again, because the slot may have become free before that. */
        chunk_note_taken(a->seg, slot);
        state = load_sc(&a->slots[slot].state);
        if (state_phase(state) == MH_SHM_PHASE_FREE && state)
                chunk_note_free(a->seg, slot);

not_this:
        ledger_settle(a, slot, 0);
        return r;
}

/* 1: *ret is reserved; 0: no free slot here. Clients begin at different places, to be out of each other's way. */
static int reserve_in(Actor *a, uint32_t chunk, uint32_t *ret)
{
        struct mh_shm_chunk *c = &a->seg->chunks[chunk];

        if (chunk_state(load_sc(&c->word)) != MH_SHM_CHUNK_OPEN)
                return 0;
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++) {
                unsigned w = (a->id + i) % (MH_SHM_CHUNK_SLOTS / 64);

                /* Relaxed: a hint, which try_reserve() does not trust. */
                for (uint64_t free = ~load_relaxed(&c->taken[w]); free; free &= free - 1) {
                        uint32_t slot = chunk * MH_SHM_CHUNK_SLOTS + w * 64 + (unsigned)__builtin_ctzll(free);
                        int r = try_reserve(a, slot);

                        if (r == 0)
                                continue;
                        if (r > 0)
                                *ret = slot;
                        return r;
                }
        }
        chunk_note_full(a->seg, chunk);
        return 0;
}

/* 1: *ret is reserved; 0: no chunk that is open has a free slot. */
static int reserve_in_any(Actor *a, uint32_t *ret)
{
        const Segment *seg = a->seg;
        bool short_of_memory = false;
        uint32_t n = load_acquire(&seg->shared->chunk_hwm); /* pairs with raise_mark() of chunk.c */

        if (n > seg->n_chunks)
                n = seg->n_chunks;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t chunk = (a->chunk + i) % n;
                int r;

                if (chunk_looks_full(seg, chunk))
                        continue;
                r = reserve_in(a, chunk, ret);
                if (r == -ENOSPC) {
                        /* None for this client's words there; elsewhere it may have some. */
                        short_of_memory = true;
                        continue;
                }
                if (r > 0)
                        a->chunk = chunk;
                if (r != 0)
                        return r;
        }
        return short_of_memory ? -ENOSPC : 0;
}

int reserve_slot(Actor *a, uint32_t *ret_slot)
{
        uint32_t chunk;
        int r;

        r = reserve_check_quota(a);
        if (r < 0)
                return r;
        r = reserve_in_any(a, ret_slot);

        /* Others may take what we open before we do, but each time somebody gets on. */
        while (r == 0) {
                r = chunk_open(a, &chunk);
                if (r == -ENOSPC) {
                        /* Somebody may have opened the last one since we looked. */
                        r = reserve_in_any(a, ret_slot);
                        return r > 0 ? 0 : r < 0 ? r : -ENOSPC;
                }
                if (r < 0)
                        return r;
                r = reserve_in(a, chunk, ret_slot);
                if (r > 0)
                        a->chunk = chunk;
        }
        return r < 0 ? r : 0;
}

void reserve_undo(Actor *a, uint32_t slot)
{
        actor_count(&a->account->handles, -UINT64_C(1));
        (void)holder_clear(a, slot);
        reserve_release(a, slot);
        ledger_settle(a, slot, 0);
}
