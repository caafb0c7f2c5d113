/* SPDX-License-Identifier: MIT */

#include <errno.h>

#include "base/atomics.h"
#include "shm/chunk.h"
#include "shm/words.h"

#define DESCRIPTORS_PER_PAGE (MH_SHM_PAGE / (uint32_t)sizeof(struct mh_shm_chunk))
#define CHUNK_BYTES          ((uint64_t)MH_SHM_CHUNK_SLOTS * sizeof(struct mh_shm_slot))

/* ------------------------------------------------------------------------------------------------ opening */

/* Gives memory to the page of descriptors that begins at the mark, if `chunk` lies behind that. Their words are zero: holes at the first generation. */
static int raise_mark(const Segment *seg, uint32_t chunk)
{
        /* Relaxed: compared below. It is a multiple of what a page holds, unless somebody scribbled. */
        uint32_t mark = load_relaxed(&seg->shared->chunk_hwm), first = mark - mark % DESCRIPTORS_PER_PAGE;
        int r;

        if (mark > chunk || first >= seg->n_chunks)
                return 0;
        r = segment_reserve(seg, MH_SHM_REGION_CHUNKS, (uint64_t)first * sizeof(struct mh_shm_chunk), MH_SHM_PAGE);
        if (r < 0)
                return r;
        (void)cas_sc(&seg->shared->chunk_hwm, &mark, first + DESCRIPTORS_PER_PAGE);
        return 0;
}

/* A hole that is now this client's to open, or -ENOSPC. */
static int claim_hole(Actor *a, uint32_t *ret)
{
        Segment *seg = a->seg;

        for (uint32_t chunk = 0; chunk < seg->n_chunks; chunk++) {
                uint64_t word;

                if (!chunk_exists(seg, chunk)) {
                        int r = raise_mark(seg, chunk);
                        if (r < 0)
                                return r;
                        /* It does now, whoever raised the mark; or somebody lowers it, and that may never end. */
                        if (!chunk_exists(seg, chunk))
                                return -ENOSPC;
                }
                word = load_sc(&seg->chunks[chunk].word);
                if (chunk_state(word) == MH_SHM_CHUNK_HOLE &&
                    cas_sc(&seg->chunks[chunk].word, &word,
                           chunk_make(chunk_floor(word), 0, MH_SHM_CHUNK_OPENING, a->id))) {
                        *ret = chunk;
                        return 0;
                }
        }
        return -ENOSPC;
}

/* The chunk is ours and has memory of zeros. */
static void fill_chunk(Segment *seg, uint32_t chunk, uint64_t floor)
{
        /* Relaxed: the word that says OPEN comes after all this. Pairs with chunk_look(). */
        struct mh_shm_slot *slots = &seg->slots[(size_t)chunk * MH_SHM_CHUNK_SLOTS];

        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                store_relaxed(&slots[i].state, state_make(floor, MH_SHM_PHASE_FREE, 0, 0));
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++)
                store_relaxed(&seg->chunks[chunk].taken[i], 0);
        (void)fetch_and_relaxed(&seg->chunkmap[chunk / 64], ~(UINT64_C(1) << chunk % 64));
}

int chunk_open(Actor *a, uint32_t *ret_chunk)
{
        Segment *seg = a->seg;
        uint64_t floor, word;
        uint32_t chunk;
        int r;

        r = claim_hole(a, &chunk);
        if (r < 0)
                return r;
        word = load_relaxed(&seg->chunks[chunk].word); /* ours: nobody else changes it */
        floor = chunk_floor(word);

        r = segment_reserve(seg, MH_SHM_REGION_SLOTS, chunk * CHUNK_BYTES, CHUNK_BYTES);
        if (r < 0) {
                store_sc(&seg->chunks[chunk].word, chunk_make(floor, 0, MH_SHM_CHUNK_HOLE, 0));
                return r;
        }
        fill_chunk(seg, chunk, floor ? floor : seg->first_generation);
        /* Who finds it OPEN finds it filled. */
        store_sc(&seg->chunks[chunk].word, chunk_make(floor, 0, MH_SHM_CHUNK_OPEN, 0));
        *ret_chunk = chunk;
        return 0;
}

int chunk_raise_groups(Actor *a, uint32_t slot)
{
        Segment *seg = a->seg;
        uint32_t chunk = slot / MH_SHM_CHUNK_SLOTS;
        unsigned group = a->id / MH_SHM_GROUP_CLIENTS;
        uint64_t word = load_sc(&seg->chunks[chunk].word);

        for (unsigned g = chunk_groups(word) + 1; g <= group; g++) {
                uint64_t first = (uint64_t)(g - 1) * seg->n_slots + chunk * MH_SHM_CHUNK_SLOTS;
                int r = segment_reserve(seg, MH_SHM_REGION_HOLDERS, first * sizeof(uint64_t),
                                        MH_SHM_CHUNK_SLOTS * sizeof(uint64_t));
                if (r < 0)
                        return r;
        }
        /* A destroyer reads this word after it said DYING, we set our bit after we raised it: one of us looks last. */
        while (chunk_groups(word) < group)
                if (cas_sc(&seg->chunks[chunk].word, &word,
                           chunk_make(chunk_floor(word), group, chunk_state(word), chunk_owner(word))))
                        break;
        return 0;
}

/* ------------------------------------------------------------------------------------------------ hints */

/*
 * A clear bit means "maybe free", so zeroed memory is right. A bit is set after the slot was taken and cleared after it was
 * freed, both while the ledger names the slot: if the one who should clear it dies, the reaper does.
 */
static uint64_t *taken_word(Segment *seg, uint32_t slot)
{
        return &seg->chunks[slot / MH_SHM_CHUNK_SLOTS].taken[slot % MH_SHM_CHUNK_SLOTS / 64];
}

void chunk_note_taken(Segment *seg, uint32_t slot)
{
        (void)fetch_or_sc(taken_word(seg, slot), UINT64_C(1) << slot % 64);
}

bool chunk_looks_full(const Segment *seg, uint32_t chunk)
{
        return load_sc(&seg->chunkmap[chunk / 64]) >> chunk % 64 & 1;
}

static void note_not_full(Segment *seg, uint32_t chunk)
{
        if (chunk_looks_full(seg, chunk))
                (void)fetch_and_sc(&seg->chunkmap[chunk / 64], ~(UINT64_C(1) << chunk % 64));
}

void chunk_note_free(Segment *seg, uint32_t slot)
{
        (void)fetch_and_sc(taken_word(seg, slot), ~(UINT64_C(1) << slot % 64));
        /* Pairs with chunk_note_full(): either we see its bit, or it sees ours. */
        note_not_full(seg, slot / MH_SHM_CHUNK_SLOTS);
}

static bool all_taken(const Segment *seg, uint32_t chunk)
{
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS / 64; i++)
                if (~load_sc(&seg->chunks[chunk].taken[i]))
                        return false;
        return true;
}

void chunk_note_full(Segment *seg, uint32_t chunk)
{
        (void)fetch_or_sc(&seg->chunkmap[chunk / 64], UINT64_C(1) << chunk % 64);
        if (!all_taken(seg, chunk))
                note_not_full(seg, chunk);
}

void chunk_abandon(Actor *dead)
{
        Segment *seg = dead->seg;

        for (uint32_t chunk = 0; chunk_exists(seg, chunk); chunk++) {
                uint64_t word = load_sc(&seg->chunks[chunk].word);

                if (chunk_state(word) == MH_SHM_CHUNK_OPENING && chunk_owner(word) == dead->id) {
                        (void)segment_punch(seg, MH_SHM_REGION_SLOTS, chunk * CHUNK_BYTES, CHUNK_BYTES);
                        store_sc(&seg->chunks[chunk].word, chunk_make(chunk_floor(word), 0, MH_SHM_CHUNK_HOLE, 0));
                } else if (chunk_state(word) == MH_SHM_CHUNK_OPEN && chunk_looks_full(seg, chunk) &&
                           !all_taken(seg, chunk))
                        note_not_full(seg, chunk);
        }
}
