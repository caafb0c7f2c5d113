/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of verify share. See verify.c for how they work together. */

#include "shm/verify-rules.h"
#include "shm/verify.h"
#include "shm/view.h"

/* What can be looked at once more by itself. */
typedef enum Unit {
        UNIT_TABLES,
        UNIT_CHUNK,
        UNIT_SPAN,
} Unit;

/* The numbers are the evidence as well: a finding that is made again with other numbers is another one. */
typedef struct Finding {
        uint32_t unit;
        uint32_t index;
        uint64_t rule;
        uint64_t args[RULE_ARGS];
} Finding;

typedef struct Verify {
        View view;
        unsigned flags;
        VerifyFn fn;
        void *userdata;
        VerifyStats stats;

        /* where findings go: at rest they are told at once, else kept until they were looked at again */
        Unit unit;
        uint32_t index;
        bool again;
        Finding *found;
        size_t n_found, n_allocated;

        /* the chunk at hand */
        ViewChunk *chunk;
        uint64_t (*named)[MH_SHM_CHUNK_SLOTS]; /* [n_groups]: whose ledger word of the slot is not 0 */
        bool any[MH_SHM_CHUNK_SLOTS];          /* somebody's is not */
        bool excuse[MH_SHM_CHUNK_SLOTS];       /* somebody's is IN_FLIGHT, or somebody is dead and not reaped */

        /* sums over all of it */
        uint64_t *words;      /* [n_clients]: ledger words that are not 0 */
        uint64_t *owned;      /* [n_clients]: bytes of scratch */
        uint64_t *span_named; /* one bit per span: some ledger has its bit */
} Verify;

#define FINDING(v, rule, ...) verify_finding(v, rule, (const uint64_t[RULE_ARGS]){ __VA_ARGS__ })
void verify_finding(Verify *v, Rule rule, const uint64_t args[static RULE_ARGS]);

static inline bool verify_at_rest(const Verify *v)
{
        return v->flags & VERIFY_AT_REST;
}

/* May this client have anything? The daemon is not attached, but may. */
bool verify_client_in_use(const Verify *v, uint32_t client);

/* Dead, and perhaps half reaped. */
bool verify_client_dead(const Verify *v, uint32_t client);

/* Is something half done by this client a finding? */
bool verify_pending(const Verify *v, uint32_t client);

/* The units. */
void verify_tables(Verify *v);
void verify_chunk(Verify *v, uint32_t chunk);
void verify_span(Verify *v, uint32_t span);

/* At rest only: verify_span_bits() goes before the spans, verify_accounts() after all else. */
void verify_span_bits(Verify *v);
void verify_memory(Verify *v);
void verify_accounts(Verify *v);

/* For verify_chunk(): a reference of a slot in use. */
void verify_reference(Verify *v, uint32_t slot, unsigned entry, const struct mh_shm_slot *s);
