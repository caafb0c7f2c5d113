/* SPDX-License-Identifier: MIT */

/*
 * Closing a chunk.
 *
 * The daemon reserves all its slots, as any client reserves one: ledger word first, then the state. When it has all 512, nothing
 * alive is in the chunk, and the word says CLOSING, so that whoever makes a ledger word non-zero from now on finds that and stays
 * away. Who did so before is found in the ledgers: if there is one, the chunk is opened again. If there is none, the
 * word gets a floor above all generations, and the memory goes.
 *
 * The daemon's own ledger names the slots throughout. A daemon that dies half-way is followed by one that finds them there.
 */

#include "shm/trim.h"

#include <errno.h>

#include "base/atomics.h"
#include "shm/chunk.h"
#include "shm/client.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/words.h"

#define UNITS_PER_CLOSE 300
#define CHUNK_BYTES     ((uint64_t)MH_SHM_CHUNK_SLOTS * sizeof(struct mh_shm_slot))

static void daemon_actor(Actor *ret, Segment *seg)
{
        actor_init(ret, seg, MH_SHM_CLIENT_DAEMON, segment_ledger(seg, MH_SHM_CLIENT_DAEMON));
}

static void set_chunk(Segment *seg, uint32_t chunk, uint64_t floor, enum mh_shm_chunk_state state)
{
        uint64_t word = load_sc(&seg->chunks[chunk].word);

        /* A loop, because a client that does not know yet may raise the number of groups. */
        while (!cas_sc(&seg->chunks[chunk].word, &word,
                       chunk_make(floor, state == MH_SHM_CHUNK_HOLE ? 0 : chunk_groups(word), state, 0)))
                ;
}

/* ------------------------------------------------------------------------------------------------ slots */

/* Takes the slot if it is free; the ledger word of the daemon comes first. */
static bool take(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->seg->slots[slot];
        uint64_t state = load_sc(&s->state);

        if (!state || state_phase(state) != MH_SHM_PHASE_FREE)
                return false;
        if (!ledger_change(a, slot, 0, MH_SHM_LEDGER_RESERVED))
                return false;
        if (cas_sc(&s->state, &state, state_make(state_generation(state), MH_SHM_PHASE_RESERVED, 0, a->id)))
                return true;
        ledger_settle(a, slot, 0);
        return false;
}

/* The same generation again: no handle of it ever was. */
static void put_back(Actor *a, uint32_t slot)
{
        struct mh_shm_slot *s = &a->seg->slots[slot];
        uint64_t state = load_sc(&s->state);

        if (state_phase(state) == MH_SHM_PHASE_RESERVED && state_owner(state) == a->id)
                store_sc(&s->state, state_make(state_generation(state), MH_SHM_PHASE_FREE, 0, 0));
        /* Somebody may have found it taken, and noted that. */
        chunk_note_free(a->seg, slot);
        ledger_settle(a, slot, 0);
}

/* Between chunks the daemon's ledger is all zeros, and a pass leaves many pages of them. */
static void forget_ledger(Actor *a)
{
        const Segment *seg = a->seg;

        for (unsigned i = 0; i < sizeof(a->page->reserved) / sizeof(a->page->reserved[0]); i++)
                /* Relaxed: the daemon's own ledger, and nobody works in its name while it trims. */
                store_relaxed(&a->page->reserved[i], 0);
        a->ledger_unit = 0;
        (void)segment_punch(seg, MH_SHM_REGION_LEDGERS, seg->ledger_slots, seg->ledger_stride - seg->ledger_slots);
}

/* To give memory back takes some, for the daemon's ledger; so a part of that which is seldom needed keeps its memory. It may
 * not get it; the next pass tries again. */
static void put_by(Actor *a)
{
        (void)ledger_reserve_slot(a, a->seg->n_slots - 1);
}

static int reserve_ledger(Actor *a, uint32_t slot)
{
        int r = ledger_reserve_slot(a, slot);

        if (r != -ENOSPC)
                return r;
        forget_ledger(a);
        return ledger_reserve_slot(a, slot);
}

/* All slots of the chunk, or none. */
static bool take_all(Actor *a, uint32_t chunk)
{
        uint32_t first = chunk * MH_SHM_CHUNK_SLOTS;

        if (reserve_ledger(a, first) < 0)
                return false;
        for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                if (!take(a, first + i)) {
                        while (i-- > 0)
                                put_back(a, first + i);
                        return false;
                }
        return true;
}

/* ------------------------------------------------------------------------------------------------ closing */

/* Does any client's ledger name a slot of the chunk? Read, not looked at: most have no memory there. */
static bool named_by_client(const Segment *seg, uint32_t chunk)
{
        uint64_t words[MH_SHM_CHUNK_SLOTS];
        uint32_t end = client_end(seg);

        for (uint32_t id = 1; id < end; id++) {
                if (client_state(seg, id) == MH_SHM_CLIENT_FREE)
                        continue;
                if (segment_read(seg, MH_SHM_REGION_LEDGERS,
                                 id * seg->ledger_stride + seg->ledger_slots + (uint64_t)chunk * sizeof(words), words,
                                 sizeof(words)) < 0)
                        return true;
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                        if (words[i])
                                return true;
        }
        return false;
}

/* The generation after the latest that any slot of the chunk had, or 0 if there is none left. */
static uint64_t next_floor(const Segment *seg, uint32_t chunk)
{
        uint64_t latest = 0, gen;

        for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                uint64_t age = generation_age(
                        state_generation(load_sc(&seg->slots[(size_t)chunk * MH_SHM_CHUNK_SLOTS + i].state)),
                        seg->first_generation);
                if (age > latest)
                        latest = age;
        }
        gen = generation_after((seg->first_generation + latest) & MH_SHM_GENERATION_MASK);
        return generation_age(gen, seg->first_generation) > latest ? gen : 0;
}

/* Has anybody ever needed more than the bits in the slots? One system call instead of one for each group. */
static bool holders_have_memory(const Segment *seg)
{
        const struct mh_shm_region *r = &seg->regions[MH_SHM_REGION_HOLDERS];
        uint64_t from, to;

        return r->size > 0 && segment_next_data(seg, r->offset, r->offset + r->size, &from, &to) > 0;
}

/* PUNCHING: nobody looks, and nobody will. Repeatable. */
static void punch(Segment *seg, uint32_t chunk)
{
        (void)segment_punch(seg, MH_SHM_REGION_SLOTS, chunk * CHUNK_BYTES, CHUNK_BYTES);
        /* However many the word tells of: who died before it said so has left memory, too. */
        for (unsigned g = 1; g < seg->n_groups && holders_have_memory(seg); g++)
                (void)segment_punch(seg, MH_SHM_REGION_HOLDERS,
                                    ((uint64_t)(g - 1) * seg->n_slots + chunk * MH_SHM_CHUNK_SLOTS) * sizeof(uint64_t),
                                    MH_SHM_CHUNK_SLOTS * sizeof(uint64_t));
        (void)fetch_or_sc(&seg->chunkmap[chunk / 64], UINT64_C(1) << chunk % 64);
        set_chunk(seg, chunk, chunk_floor(load_sc(&seg->chunks[chunk].word)), MH_SHM_CHUNK_HOLE);
}

static void forget_slots(Actor *a, uint32_t chunk)
{
        for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                ledger_settle(a, chunk * MH_SHM_CHUNK_SLOTS + i, 0);
}

static bool close_chunk(Actor *a, uint32_t chunk)
{
        Segment *seg = a->seg;
        uint64_t floor = chunk_floor(load_sc(&seg->chunks[chunk].word)), next;

        if (!take_all(a, chunk))
                return false;
        next = next_floor(seg, chunk);
        set_chunk(seg, chunk, floor, MH_SHM_CHUNK_CLOSING);
        if (!next || !hazard_barrier(seg) || named_by_client(seg, chunk)) {
                set_chunk(seg, chunk, floor, MH_SHM_CHUNK_OPEN);
                for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                        put_back(a, chunk * MH_SHM_CHUNK_SLOTS + i);
                return false;
        }
        set_chunk(seg, chunk, next, MH_SHM_CHUNK_PUNCHING);
        punch(seg, chunk);
        forget_slots(a, chunk);
        return true;
}

/* A hint: who closes the chunk looks at every slot. */
static bool looks_empty(const Segment *seg, uint32_t chunk)
{
        if (chunk_state(load_sc(&seg->chunks[chunk].word)) != MH_SHM_CHUNK_OPEN)
                return false;
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++)
                /* Relaxed: a hint, as it says above. */
                if (load_relaxed(&seg->chunks[chunk].taken[i]))
                        return false;
        return true;
}

static unsigned empty_before(const Segment *seg, uint32_t end)
{
        unsigned n = 0;

        for (uint32_t chunk = 0; chunk < end && chunk_exists(seg, chunk); chunk++)
                n += looks_empty(seg, chunk);
        return n;
}

int trim_step(Segment *seg, uint32_t *cursor, unsigned keep, unsigned units)
{
        int left = (int)units;
        unsigned empty = empty_before(seg, *cursor);
        Actor a;

        daemon_actor(&a, seg);
        for (; chunk_exists(seg, *cursor); (*cursor)++) {
                if (left-- <= 0)
                        return 1;
                if (!looks_empty(seg, *cursor) || empty++ < keep)
                        continue;
                left -= UNITS_PER_CLOSE;
                (void)close_chunk(&a, *cursor);
        }
        *cursor = 0;
        forget_ledger(&a);
        put_by(&a);
        return 0;
}

/* ------------------------------------------------------------------------------------------------ recovery */

static void recover_slot(Actor *a, uint32_t slot)
{
        Segment *seg = a->seg;
        uint32_t chunk = slot / MH_SHM_CHUNK_SLOTS;

        switch (chunk_exists(seg, chunk) ? chunk_state(load_sc(&seg->chunks[chunk].word)) : MH_SHM_CHUNK_HOLE) {
        case MH_SHM_CHUNK_CLOSING:
                /* It was not certain yet that nobody looks. */
                set_chunk(seg, chunk, chunk_floor(load_sc(&seg->chunks[chunk].word)), MH_SHM_CHUNK_OPEN);
                put_back(a, slot);
                break;
        case MH_SHM_CHUNK_OPEN:
                put_back(a, slot);
                break;
        case MH_SHM_CHUNK_PUNCHING:
                punch(seg, chunk);
                ledger_settle(a, slot, 0);
                break;
        default:
                ledger_settle(a, slot, 0);
                break;
        }
}

void trim_recover(Segment *seg)
{
        uint64_t base = seg->regions[MH_SHM_REGION_LEDGERS].offset + seg->ledger_slots, from, to;
        uint64_t end = base + (uint64_t)seg->n_slots * sizeof(uint64_t), at = base;
        Actor a;

        daemon_actor(&a, seg);
        while (segment_next_data(seg, at, end, &from, &to) > 0) {
                for (uint64_t slot = (from - base) / sizeof(uint64_t); slot < (to - base) / sizeof(uint64_t); slot++)
                        if (load_sc(&a.ledger[slot]))
                                recover_slot(&a, (uint32_t)slot);
                at = to;
        }
        put_by(&a);
}
