/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The words of src/proto/shm-layout.h, put together and taken apart. Pure functions: no word of the segment is loaded here, so
 * whoever decides on one has loaded it once and looks at its own copy. Only account_sum() reads: numbers, on which nothing is decided
 * that has to be exact.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/atomics.h"
#include "proto/shm-layout.h"

/* ------------------------------------------------------------------------------------------------ generations */

/* 0 is never a generation. */
static inline uint64_t generation_after(uint64_t gen)
{
        gen = (gen + 1) & MH_SHM_GENERATION_MASK;
        return gen ? gen : 1;
}

/* How far a generation is from the first of its segment: the order in which a slot passes through them. */
static inline uint64_t generation_age(uint64_t gen, uint64_t first)
{
        return (gen - first) & MH_SHM_GENERATION_MASK;
}

/* ------------------------------------------------------------------------------------------------ handles */

static inline uint64_t handle_make(uint64_t gen, uint32_t slot)
{
        return gen << MH_SHM_HANDLE_SLOT_BITS | slot;
}

static inline uint64_t handle_generation(uint64_t handle)
{
        return handle >> MH_SHM_HANDLE_SLOT_BITS;
}

static inline uint32_t handle_slot(uint64_t handle)
{
        return handle & ((1U << MH_SHM_HANDLE_SLOT_BITS) - 1);
}

static inline uint64_t state_make(uint64_t gen, enum mh_shm_phase phase, unsigned type, uint32_t owner)
{
        return gen << MH_SHM_STATE_GEN_SHIFT | (uint64_t)phase << MH_SHM_STATE_PHASE_SHIFT |
               (uint64_t)type << MH_SHM_STATE_TYPE_SHIFT | owner;
}

/* The same generation and type. */
static inline uint64_t state_with(uint64_t state, enum mh_shm_phase phase, uint32_t owner)
{
        return (state & ~(UINT64_C(7) << MH_SHM_STATE_PHASE_SHIFT | MH_SHM_STATE_OWNER_MASK)) |
               (uint64_t)phase << MH_SHM_STATE_PHASE_SHIFT | owner;
}

static inline uint64_t state_generation(uint64_t state)
{
        return state >> MH_SHM_STATE_GEN_SHIFT;
}

static inline unsigned state_phase(uint64_t state)
{
        return state >> MH_SHM_STATE_PHASE_SHIFT & 7;
}

static inline unsigned state_type(uint64_t state)
{
        return state >> MH_SHM_STATE_TYPE_SHIFT & 0xff;
}

static inline uint32_t state_owner(uint64_t state)
{
        return state & MH_SHM_STATE_OWNER_MASK;
}

/* ------------------------------------------------------------------------------------------------ holder bits */

/* Which slot of a chunk, or of the table, has its word where that of `slot` would be: see mh_shm_region_id. Its own inverse. */
static inline uint32_t holder_place(uint32_t slot, unsigned group)
{
        return slot ^ (group * 8 & (MH_SHM_CHUNK_SLOTS - 1));
}

/* Of the word in region HOLDERS; `group` is not 0. */
static inline uint64_t holder_index(uint32_t n_slots, uint32_t slot, unsigned group)
{
        return (uint64_t)(group - 1) * n_slots + holder_place(slot, group);
}

/* ------------------------------------------------------------------------------------------------ references */

static inline uint64_t ref_make(uint64_t scratch, uint32_t giver)
{
        uint64_t block = (scratch & MH_SHM_SCRATCH_OFFSET_MASK) / MH_SHM_BLOCK_ALIGN + 1;

        return block << MH_SHM_REF_BLOCK_SHIFT | (uint64_t)giver << MH_SHM_REF_GIVER_SHIFT |
               (scratch >> MH_SHM_SCRATCH_TAG_SHIFT & MH_SHM_REF_TAG_MASK);
}

/* Byte offset of the block. Only for references that are not 0. */
static inline uint64_t ref_offset(uint64_t ref)
{
        return ((ref >> MH_SHM_REF_BLOCK_SHIFT) - 1) * MH_SHM_BLOCK_ALIGN & MH_SHM_SCRATCH_OFFSET_MASK;
}

static inline uint32_t ref_giver(uint64_t ref)
{
        return ref >> MH_SHM_REF_GIVER_SHIFT & 0x1fff;
}

/* ------------------------------------------------------------------------------------------------ chunks */

static inline uint64_t chunk_make(uint64_t floor, unsigned groups, enum mh_shm_chunk_state state, uint32_t owner)
{
        return floor << MH_SHM_CHUNK_FLOOR_SHIFT | (uint64_t)groups << MH_SHM_CHUNK_GROUPS_SHIFT |
               (uint64_t)state << MH_SHM_CHUNK_STATE_SHIFT | owner;
}

static inline uint64_t chunk_floor(uint64_t word)
{
        return word >> MH_SHM_CHUNK_FLOOR_SHIFT;
}

static inline unsigned chunk_groups(uint64_t word)
{
        return word >> MH_SHM_CHUNK_GROUPS_SHIFT & MH_SHM_CHUNK_GROUPS_MASK;
}

static inline unsigned chunk_state(uint64_t word)
{
        return word >> MH_SHM_CHUNK_STATE_SHIFT & MH_SHM_CHUNK_STATE_MASK;
}

static inline uint32_t chunk_owner(uint64_t word)
{
        return word & MH_SHM_CHUNK_OWNER_MASK;
}

/* ------------------------------------------------------------------------------------------------ ledger words */

static inline uint64_t ledger_make(uint64_t gen, uint64_t rest)
{
        return gen << MH_SHM_LEDGER_GEN_SHIFT | rest;
}

static inline uint64_t ledger_generation(uint64_t word)
{
        return word >> MH_SHM_LEDGER_GEN_SHIFT;
}

static inline uint32_t ledger_count(uint64_t word)
{
        return word & MH_SHM_LEDGER_COUNT_MASK;
}

/* ------------------------------------------------------------------------------------------------ scratch */

static inline uint64_t scratch_make(uint32_t tag, uint64_t offset)
{
        return (uint64_t)tag << MH_SHM_SCRATCH_TAG_SHIFT | offset;
}

static inline uint32_t scratch_tag(uint64_t scratch)
{
        return scratch >> MH_SHM_SCRATCH_TAG_SHIFT;
}

static inline uint64_t scratch_offset(uint64_t scratch)
{
        return scratch & MH_SHM_SCRATCH_OFFSET_MASK;
}

/* 0 is never a tag, so that no index is 0. */
static inline uint32_t tag_after(uint32_t tag)
{
        tag = (tag + 1) & MH_SHM_TAG_MASK;
        return tag ? tag : 1;
}

static inline uint64_t owner_make(uint32_t tag, enum mh_shm_owner_kind kind, unsigned entry, uint32_t who)
{
        return (uint64_t)tag << MH_SHM_SCRATCH_TAG_SHIFT | (uint64_t)kind << MH_SHM_OWNER_KIND_SHIFT |
               (uint64_t)entry << MH_SHM_OWNER_ENTRY_SHIFT | who;
}

static inline uint32_t owner_tag(uint64_t word)
{
        return word >> MH_SHM_SCRATCH_TAG_SHIFT;
}

static inline unsigned owner_kind(uint64_t word)
{
        return word >> MH_SHM_OWNER_KIND_SHIFT & 7;
}

/* Free, in one look, where it is a hint: nothing but a tag. */
static inline bool owner_is_bare(uint64_t word)
{
        return !(word << (64 - MH_SHM_SCRATCH_TAG_SHIFT));
}

static inline unsigned owner_entry(uint64_t word)
{
        return word >> MH_SHM_OWNER_ENTRY_SHIFT & 7;
}

static inline uint32_t owner_who(uint64_t word)
{
        return word & MH_SHM_OWNER_WHO_MASK;
}

static inline uint64_t span_make(uint32_t inc, enum mh_shm_span_state state, uint32_t client, uint32_t arg)
{
        return (uint64_t)inc << MH_SHM_SPAN_INC_SHIFT | (uint64_t)state << MH_SHM_SPAN_STATE_SHIFT |
               (uint64_t)client << MH_SHM_SPAN_CLIENT_SHIFT | arg;
}

static inline uint32_t span_incarnation(uint64_t word)
{
        return word >> MH_SHM_SPAN_INC_SHIFT;
}

static inline unsigned span_state(uint64_t word)
{
        return word >> MH_SHM_SPAN_STATE_SHIFT & 0xf;
}

static inline uint32_t span_client(uint64_t word)
{
        return word >> MH_SHM_SPAN_CLIENT_SHIFT & MH_SHM_SPAN_CLIENT_MASK;
}

static inline unsigned span_thread(uint64_t word)
{
        return word >> MH_SHM_SPAN_THREAD_SHIFT & MH_SHM_SPAN_THREAD_MASK;
}

static inline uint32_t span_arg(uint64_t word)
{
        return word & MH_SHM_SPAN_ARG_MASK;
}

/* A span from which one thread of a client takes small blocks. */
static inline uint64_t span_make_small(uint32_t inc, uint32_t client, unsigned thread, unsigned class)
{
        return span_make(inc, MH_SHM_SPAN_SMALL, client, class) | (uint64_t)thread << MH_SHM_SPAN_THREAD_SHIFT;
}

/* The same span with another state, client and argument. */
static inline uint64_t span_with(uint64_t word, enum mh_shm_span_state state, uint32_t client, uint32_t arg)
{
        return span_make(span_incarnation(word), state, client, arg);
}

/* Bytes of a block of this class, 0..MH_SHM_CLASSES - 1. */
static inline uint32_t class_size(uint64_t class)
{
        static const uint16_t size[MH_SHM_CLASSES] = {
                16,   32,   48,   64,   80,    96,    112,   128,   160,   192,   224,   256,   320,  384,
                448,  512,  640,  768,  896,   1024,  1280,  1536,  1792,  2048,  2560,  3072,  3584, 4096,
                5120, 6144, 7168, 8192, 10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768,
        };

        return size[class];
}

/* Up to so many bytes, a class is looked up. */
#define CLASS_TABLE_MAX 1024U

/* The smallest class whose blocks have `size` bytes, 1..MH_SHM_SMALL_MAX. */
static inline unsigned class_of(uint32_t size)
{
        /* Which is most of what is asked for: by how often 16 bytes go into it. */
        static const uint8_t small[CLASS_TABLE_MAX / 16] = {
                0,  1,  2,  3,  4,  5,  6,  7,  8,  8,  9,  9,  10, 10, 11, 11, 12, 12, 12, 12, 13, 13,
                13, 13, 14, 14, 14, 14, 15, 15, 15, 15, 16, 16, 16, 16, 16, 16, 16, 16, 17, 17, 17, 17,
                17, 17, 17, 17, 18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19,
        };
        unsigned e;

        if (size <= CLASS_TABLE_MAX)
                return small[(size - 1) / 16];
        e = 31U - (unsigned)__builtin_clz(size - 1); /* 2^e < size <= 2^(e+1), e >= 10 */
        return 8 + 4 * (e - 7) + ((size - 1) >> (e - 2)) - 4;
}

/*
 * Which block of a span begins `within` bytes of it, or UINT32_MAX if none does; the last may be one too many, where less than a
 * block is left. A division takes longer than all else that a free does. With 2^32 / size, rounded up, it is a multiplication:
 * the upper half of the product is the quotient, and there is no rest if the lower half is less than that number
 * (Lemire, Kaser and Kurz, "Faster remainder by direct computation", 2019; the numbers here are well within its bounds).
 */
static inline uint32_t class_index(uint64_t class, uint64_t within)
{
#define R(d) ((uint32_t)(((UINT64_C(1) << 28) + (d)-1) / (d)))
        static const uint32_t reciprocal[MH_SHM_CLASSES] = {
                R(1),   R(2),   R(3),   R(4),   R(5),   R(6),    R(7),    R(8),    R(10),   R(12),
                R(14),  R(16),  R(20),  R(24),  R(28),  R(32),   R(40),   R(48),   R(56),   R(64),
                R(80),  R(96),  R(112), R(128), R(160), R(192),  R(224),  R(256),  R(320),  R(384),
                R(448), R(512), R(640), R(768), R(896), R(1024), R(1280), R(1536), R(1792), R(2048),
        };
#undef R
        uint64_t product = within * reciprocal[class];

        return (uint32_t)product < reciprocal[class] ? (uint32_t)(product >> 32) : UINT32_MAX;
}

static inline uint32_t class_blocks(uint64_t class)
{
        return MH_SHM_SPAN_SIZE / class_size(class);
}

/* ------------------------------------------------------------------------------------------------ accounts */

/* What all threads of a client did together. Wrapping, as the lines do. Relaxed: near while they work, right when they do not. */
static inline struct mh_shm_account_line account_sum(const struct mh_shm_account *account)
{
        struct mh_shm_account_line sum = { 0 };

        for (unsigned i = 0; i < MH_SHM_THREADS; i++) {
                const struct mh_shm_account_line *line = &account->line[i];

                sum.handles += load_relaxed(&line->handles);
                sum.created += load_relaxed(&line->created);
                sum.destroyed += load_relaxed(&line->destroyed);
                sum.alloc_bytes += load_relaxed(&line->alloc_bytes);
                sum.free_bytes += load_relaxed(&line->free_bytes);
                sum.lost_bytes += load_relaxed(&line->lost_bytes);
                sum.disowned_bytes += load_relaxed(&line->disowned_bytes);
        }
        return sum;
}

/* Scratch that its client owns, in bytes, at most. Of a single line it may be below zero. */
static inline uint64_t account_owned(const struct mh_shm_account_line *line)
{
        return line->alloc_bytes - line->free_bytes - line->disowned_bytes - line->lost_bytes;
}
