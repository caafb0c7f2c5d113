/* SPDX-License-Identifier: MIT */
#pragma once

/* Segments made by hand, word by word, for tests of what looks at them.
 *
 * craft_world() is a small segment in which a bit of everything is going on, and all of it is in order; a test changes
 * a word or two. Nothing here goes through the functions that change a segment in earnest, so that a test of the verifier
 * does not rest on what it is to judge. */

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/segment.h"
#include "shm/words.h"

typedef struct Craft {
        int fd;
        Segment seg;
} Craft;

/* What there is in craft_world(). */
enum {
        CRAFT_SLOTS = 1024,
        CRAFT_CLIENTS = 80,
        CRAFT_SPANS = 256,

        CRAFT_MAPPED = 1, /* clients */
        CRAFT_WIRE = 2,
        CRAFT_LEDGER = 70, /* in the second word of holder bits */

        CRAFT_SHARED_SLOT = 0, /* a mutex, held by 1 (twice) and 70, with two blocks */
        CRAFT_LARGE_SLOT = 1,  /* of type 64, held by 2, with a large block */
        CRAFT_READY_SLOT = 2,  /* reserved by 70 */
        CRAFT_FREE_SLOT = 3,
        CRAFT_RETIRED_SLOT = 4,

        CRAFT_SMALL_SPAN = 1,  /* of 1, of 48 bytes: block 0 is its own, 3 is the shared handle's, 5 was used before */
        CRAFT_ORPHAN_SPAN = 2, /* of 16 bytes: block 9 is the shared handle's */
        CRAFT_WIRE_SPAN = 3,   /* of 2, of 32 KiB: block 1 is its own */
        CRAFT_GIVEN_SPAN = 4,  /* to 6: the large block of the handle */
        CRAFT_LARGE_SPAN = 8,  /* of 1, alone */
        CRAFT_KEPT_SPAN = 9,   /* free, with owner words */
        CRAFT_FREE_SPAN = 10,
};

static inline void craft_write(const Craft *c, enum mh_shm_region_id region, uint64_t offset, const void *data,
                               size_t size)
{
        ssize_t n = pwrite(c->fd, data, size, (off_t)(c->seg.regions[region].offset + offset));

        assert(n == (ssize_t)size);
        (void)n;
}

static inline void craft_read(const Craft *c, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size)
{
        int r = segment_read(&c->seg, region, offset, ret, size);

        assert(r == 0);
        (void)r;
}

static inline uint64_t craft_get(const Craft *c, enum mh_shm_region_id region, uint64_t offset)
{
        uint64_t word;

        craft_read(c, region, offset, &word, sizeof(word));
        return word;
}

static inline void craft_put(const Craft *c, enum mh_shm_region_id region, uint64_t offset, uint64_t word)
{
        craft_write(c, region, offset, &word, sizeof(word));
}

static inline void craft_put32(const Craft *c, enum mh_shm_region_id region, uint64_t offset, uint32_t word)
{
        craft_write(c, region, offset, &word, sizeof(word));
}

static inline void craft_bit(const Craft *c, enum mh_shm_region_id region, uint64_t offset, uint64_t bit, bool on)
{
        uint64_t at = offset + bit / 64 * 8, word = craft_get(c, region, at), mask = UINT64_C(1) << bit % 64;

        craft_put(c, region, at, on ? word | mask : word & ~mask);
}

/* ---------------------------------------------------------------------------------------------- tables */

static inline void craft_entry(const Craft *c, uint32_t id, const struct mh_shm_client *entry)
{
        craft_write(c, MH_SHM_REGION_CLIENTS, id * sizeof(*entry), entry, sizeof(*entry));
}

static inline struct mh_shm_client craft_get_entry(const Craft *c, uint32_t id)
{
        struct mh_shm_client entry;

        craft_read(c, MH_SHM_REGION_CLIENTS, id * sizeof(entry), &entry, sizeof(entry));
        return entry;
}

static inline void craft_client(const Craft *c, uint32_t id, uint32_t flags, uint32_t pid, const char *name)
{
        struct mh_shm_client entry = {
                .state = MH_SHM_CLIENT_ATTACHED,
                .flags = flags,
                .pid = pid,
                .start_time = 1,
                .nonce = id,
                .attached_usec = UINT64_C(1700000000000000) + id,
                .requests = 10 * id,
        };

        (void)snprintf(entry.name, sizeof(entry.name), "%s", name);
        craft_entry(c, id, &entry);
}

static inline void craft_client_state(const Craft *c, uint32_t id, uint32_t state)
{
        craft_put32(c, MH_SHM_REGION_CLIENTS, id * sizeof(struct mh_shm_client), state);
}

/* With the note of how many there are. */
static inline void craft_hazard(const Craft *c, uint32_t id, unsigned i, uint64_t value)
{
        uint64_t at = id * sizeof(struct mh_shm_hazard);

        craft_put(c, MH_SHM_REGION_HAZARDS, at + offsetof(struct mh_shm_hazard, line[0].used), i + 1);
        craft_put(c, MH_SHM_REGION_HAZARDS, at + i * sizeof(struct mh_shm_hazard_line), value);
}

#define CRAFT_SHARED(c, field, value) craft_put32(c, MH_SHM_REGION_SHARED, offsetof(struct mh_shm_shared, field), value)

/* ---------------------------------------------------------------------------------------------- ledgers */

#define CRAFT_ACCOUNT(c, id, field) ((id) * (c)->seg.ledger_stride + offsetof(struct mh_shm_account, field))

static inline void craft_reserved(const Craft *c, uint32_t id, uint64_t offset, bool on)
{
        craft_bit(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, id, reserved), offset / MH_SHM_LEDGER_UNIT, on);
}

static inline uint64_t craft_ledger_at(const Craft *c, uint32_t id, uint32_t slot)
{
        return id * c->seg.ledger_stride + c->seg.ledger_slots + (uint64_t)slot * 8;
}

/* With the account and the note of what is reserved. */
static inline void craft_ledger(const Craft *c, uint32_t id, uint32_t slot, uint64_t word)
{
        uint64_t old = craft_get(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, id, slot)),
                 n = craft_get(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, id, line[0].handles));

        craft_reserved(c, id, (uint64_t)slot * 8, true);
        craft_put(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, id, slot), word);
        craft_put(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, id, line[0].handles), n + (word != 0) - (old != 0));
}

static inline void craft_span_bit(const Craft *c, uint32_t id, uint32_t span, bool on)
{
        craft_reserved(c, id, c->seg.ledger_spans - c->seg.ledger_slots + span / 64 * 8, true);
        craft_bit(c, MH_SHM_REGION_LEDGERS, id * c->seg.ledger_stride + c->seg.ledger_spans, span, on);
}

static inline void craft_owns(const Craft *c, uint32_t id, uint64_t bytes)
{
        craft_put(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, id, line[0].alloc_bytes), bytes);
}

/* ---------------------------------------------------------------------------------------------- slots */

#define CRAFT_SLOT(slot, field) ((uint64_t)(slot) * sizeof(struct mh_shm_slot) + offsetof(struct mh_shm_slot, field))

static inline uint64_t craft_gen(const Craft *c)
{
        return c->seg.first_generation;
}

static inline void craft_state(const Craft *c, uint32_t slot, enum mh_shm_phase phase, unsigned type, uint32_t owner)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(slot, state), state_make(craft_gen(c), phase, type, owner));
}

static inline void craft_taken(const Craft *c, uint32_t slot, bool on)
{
        craft_bit(c, MH_SHM_REGION_CHUNKS,
                  slot / MH_SHM_CHUNK_SLOTS * sizeof(struct mh_shm_chunk) + offsetof(struct mh_shm_chunk, taken),
                  slot % MH_SHM_CHUNK_SLOTS, on);
}

static inline void craft_holder(const Craft *c, uint32_t slot, uint32_t id, bool on)
{
        if (id < 64)
                craft_bit(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(slot, holders), id, on);
        else
                craft_bit(c, MH_SHM_REGION_HOLDERS, holder_index(c->seg.n_slots, slot, id / 64) * 8, id % 64, on);
}

static inline void craft_hold(const Craft *c, uint32_t slot, uint32_t id, uint32_t count)
{
        craft_ledger(c, id, slot, ledger_make(craft_gen(c), count));
        craft_holder(c, slot, id, true);
}

static inline void craft_ref(const Craft *c, uint32_t slot, unsigned entry, uint64_t ref)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(slot, refs[entry]), ref);
}

static inline void craft_chunk_word(const Craft *c, uint32_t chunk, uint64_t word)
{
        craft_put(c, MH_SHM_REGION_CHUNKS, chunk * sizeof(struct mh_shm_chunk), word);
}

static inline void craft_chunk(const Craft *c, uint32_t chunk, unsigned groups)
{
        for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                craft_state(c, chunk * MH_SHM_CHUNK_SLOTS + i, MH_SHM_PHASE_FREE, 0, 0);
        craft_chunk_word(c, chunk, chunk_make(0, groups, MH_SHM_CHUNK_OPEN, 0));
}

/* ---------------------------------------------------------------------------------------------- spans */

#define CRAFT_SPAN(span, field) ((uint64_t)(span) * sizeof(struct mh_shm_span) + offsetof(struct mh_shm_span, field))

static inline void craft_span(const Craft *c, uint32_t span, enum mh_shm_span_state state, uint32_t client,
                              uint32_t arg)
{
        craft_put(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(span, word), span_make(3, state, client, arg));
        craft_bit(c, MH_SHM_REGION_SPANMAP, 0, span, state != MH_SHM_SPAN_FREE);
}

static inline void craft_owner(const Craft *c, uint32_t span, uint32_t block, uint64_t word)
{
        craft_put(c, MH_SHM_REGION_OWNERS,
                  (uint64_t)span * sizeof(struct mh_shm_owners) + offsetof(struct mh_shm_owners, word) +
                          (uint64_t)block * 8,
                  word);
}

static inline void craft_data(const Craft *c, uint32_t span, uint64_t offset, const char *text)
{
        craft_write(c, MH_SHM_REGION_SCRATCH, (uint64_t)span * MH_SHM_SPAN_SIZE + offset, text, strlen(text) + 1);
}

/* A block of that handle, as it says itself and as the handle says. */
static inline void craft_give(const Craft *c, uint32_t span, uint32_t block, uint32_t size, uint32_t slot,
                              unsigned entry, uint32_t giver)
{
        uint32_t tag = 100 + block;

        craft_owner(c, span, block, owner_make(tag, MH_SHM_OWNER_SLOT, entry, slot));
        craft_ref(c, slot, entry,
                  ref_make(scratch_make(tag, (uint64_t)span * MH_SHM_SPAN_SIZE + (uint64_t)block * size), giver));
}

static inline void craft_large(const Craft *c, uint32_t head, uint32_t run, uint64_t size, uint32_t client)
{
        craft_put32(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(head, run), run);
        craft_put(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(head, size), size);
        craft_span(c, head, MH_SHM_SPAN_LARGE, client, 0);
        for (uint32_t i = 1; i < run; i++)
                craft_span(c, head + i, MH_SHM_SPAN_CONT, 0, head);
        craft_span_bit(c, client, head, true);
}

/* ---------------------------------------------------------------------------------------------- all of it */

/* An empty segment in `fd`, which is new. */
static inline int craft_open(Craft *c, int fd)
{
        static const SegmentConfig config = {
                .n_slots = CRAFT_SLOTS,
                .n_clients = CRAFT_CLIENTS,
                .scratch_bytes = (uint64_t)CRAFT_SPANS * MH_SHM_SPAN_SIZE,
                .limit_client_handles = CRAFT_SLOTS,
                .limit_client_scratch = (uint64_t)CRAFT_SPANS * MH_SHM_SPAN_SIZE,
                .first_generation = 7,
        };
        int r;

        r = segment_format(fd, &config);
        if (r < 0)
                return r;
        c->fd = fd;
        return segment_load(&c->seg, fd);
}

static inline void craft_world_handles(const Craft *c)
{
        craft_chunk(c, 0, 1);
        CRAFT_SHARED(c, chunk_hwm, 32);

        craft_hold(c, CRAFT_SHARED_SLOT, CRAFT_MAPPED, 2);
        craft_hold(c, CRAFT_SHARED_SLOT, CRAFT_LEDGER, 1);
        craft_state(c, CRAFT_SHARED_SLOT, MH_SHM_PHASE_LIVE, 5, 0);
        craft_taken(c, CRAFT_SHARED_SLOT, true);
        craft_write(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_SHARED_SLOT, payload), "hello\1", 6);

        craft_hold(c, CRAFT_LARGE_SLOT, CRAFT_WIRE, 1);
        craft_state(c, CRAFT_LARGE_SLOT, MH_SHM_PHASE_LIVE, 64, 0);
        craft_taken(c, CRAFT_LARGE_SLOT, true);

        craft_ledger(c, CRAFT_LEDGER, CRAFT_READY_SLOT, MH_SHM_LEDGER_RESERVED);
        craft_state(c, CRAFT_READY_SLOT, MH_SHM_PHASE_RESERVED, 0, CRAFT_LEDGER);
        craft_taken(c, CRAFT_READY_SLOT, true);

        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_RETIRED_SLOT, state), 0);
        craft_taken(c, CRAFT_RETIRED_SLOT, true);
}

static inline void craft_world_scratch(const Craft *c)
{
        CRAFT_SHARED(c, span_hwm, 128);

        craft_span(c, CRAFT_SMALL_SPAN, MH_SHM_SPAN_SMALL, CRAFT_MAPPED, 2);
        craft_span_bit(c, CRAFT_MAPPED, CRAFT_SMALL_SPAN, true);
        craft_owner(c, CRAFT_SMALL_SPAN, 0, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_MAPPED));
        craft_give(c, CRAFT_SMALL_SPAN, 3, 48, CRAFT_SHARED_SLOT, 0, CRAFT_MAPPED);
        craft_owner(c, CRAFT_SMALL_SPAN, 5, owner_make(7, MH_SHM_OWNER_FREE, 0, 0));
        craft_data(c, CRAFT_SMALL_SPAN, 0, "own");

        craft_span(c, CRAFT_ORPHAN_SPAN, MH_SHM_SPAN_ORPHAN, 0, 0);
        craft_give(c, CRAFT_ORPHAN_SPAN, 9, 16, CRAFT_SHARED_SLOT, 1, 11);
        craft_data(c, CRAFT_ORPHAN_SPAN, UINT64_C(9) * 16, "given");

        craft_span(c, CRAFT_WIRE_SPAN, MH_SHM_SPAN_SMALL, CRAFT_WIRE, 39);
        craft_span_bit(c, CRAFT_WIRE, CRAFT_WIRE_SPAN, true);
        craft_owner(c, CRAFT_WIRE_SPAN, 1, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_WIRE));

        craft_large(c, CRAFT_GIVEN_SPAN, 3, 150000, CRAFT_WIRE);
        craft_give(c, CRAFT_GIVEN_SPAN, 0, 0, CRAFT_LARGE_SLOT, 1, CRAFT_WIRE);

        craft_large(c, CRAFT_LARGE_SPAN, 1, 40000, CRAFT_MAPPED);
        craft_owner(c, CRAFT_LARGE_SPAN, 0, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_MAPPED));

        craft_put32(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(CRAFT_KEPT_SPAN, kept), 1);
        craft_owner(c, CRAFT_KEPT_SPAN, 0, owner_make(3, MH_SHM_OWNER_FREE, 0, 0));

        craft_owns(c, CRAFT_MAPPED, 48 + MH_SHM_SPAN_SIZE);
        craft_owns(c, CRAFT_WIRE, 32768);
}

/* `pid` of the clients: 0, or one that lives. */
static inline int craft_world(Craft *c, int fd, uint32_t pid)
{
        int r;

        r = craft_open(c, fd);
        if (r < 0)
                return r;
        CRAFT_SHARED(c, client_hwm, CRAFT_LEDGER + 1);
        craft_client(c, CRAFT_MAPPED, MH_SHM_CLIENT_MAPS, pid, "mapped");
        craft_client(c, CRAFT_WIRE, 0, pid, "wire");
        craft_client(c, CRAFT_LEDGER, MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER, pid, "ledger");
        craft_world_handles(c);
        craft_world_scratch(c);
        return 0;
}
