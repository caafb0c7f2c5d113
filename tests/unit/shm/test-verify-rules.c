/* SPDX-License-Identifier: MIT */

/* Each rule is broken once, in a segment that is in order, and must be what is found, and nothing else. So this tests
 * that a rule is looked at, and that it looks at no more than it should. */

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "base/atomics.h"
#include "verify-fixture.h"

/* ---------------------------------------------------------------------------------------------- tables */

#define GEN(c) craft_gen(c)

static void hwm_range(const Craft *c)
{
        CRAFT_SHARED(c, span_hwm, 130);
}

static void client_state(const Craft *c)
{
        craft_client_state(c, 9, 4);
}

static void client_flags(const Craft *c)
{
        struct mh_shm_client e = craft_get_entry(c, CRAFT_WIRE);

        e.flags = 1U << 5;
        craft_entry(c, CRAFT_WIRE, &e);
}

static void client_name(const Craft *c)
{
        struct mh_shm_client e = craft_get_entry(c, CRAFT_WIRE);

        memset(e.name, 'x', sizeof(e.name));
        craft_entry(c, CRAFT_WIRE, &e);
}

static void client_beyond_hwm(const Craft *c)
{
        craft_client(c, CRAFT_LEDGER + 2, 0, 0, "late");
}

static void client_pending(const Craft *c)
{
        craft_client_state(c, 9, MH_SHM_CLIENT_DEAD);
}

static void intent_sequence(const Craft *c)
{
        struct mh_shm_client e = craft_get_entry(c, CRAFT_WIRE);

        e.intent.seq = 3;
        e.outcome.seq = 4;
        craft_entry(c, CRAFT_WIRE, &e);
}

static void intent_pending(const Craft *c)
{
        struct mh_shm_client e = craft_get_entry(c, CRAFT_WIRE);

        e.intent.seq = 4;
        e.outcome.seq = 3;
        craft_entry(c, CRAFT_WIRE, &e);
}

static void hazard_range(const Craft *c)
{
        craft_hazard(c, CRAFT_WIRE, 3, CRAFT_SPANS + 1);
}

static void hazard_uncounted(const Craft *c)
{
        craft_hazard(c, CRAFT_WIRE, 3, CRAFT_SPANS);
        craft_hazard(c, CRAFT_WIRE, 2, 0);
}

static void hazard_left(const Craft *c)
{
        craft_hazard(c, CRAFT_WIRE, 7, CRAFT_SPANS);
}

static void account_drift(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, CRAFT_WIRE, line[0].handles), 2);
}

static void account_scratch(const Craft *c)
{
        craft_owns(c, CRAFT_WIRE, 32767);
}

/* ---------------------------------------------------------------------------------------------- chunks and slots */

static void chunk_word(const Craft *c)
{
        craft_chunk_word(c, 1, chunk_make(0, 0, 5, 0));
}

static void chunk_pending(const Craft *c)
{
        craft_chunk_word(c, 1, chunk_make(0, 0, MH_SHM_CHUNK_OPENING, CRAFT_MAPPED));
}

static void chunk_beyond_hwm(const Craft *c)
{
        CRAFT_SHARED(c, chunk_hwm, 0);
        craft_chunk_word(c, 0, 0);
        craft_put(c, MH_SHM_REGION_CHUNKS, offsetof(struct mh_shm_chunk, taken), 0);
        /* All else of chunk 0 is in the way, so what is left must be in order without it. */
        for (uint32_t s = 0; s < MH_SHM_CHUNK_SLOTS; s++) {
                craft_ledger(c, CRAFT_MAPPED, s, 0);
                craft_ledger(c, CRAFT_WIRE, s, 0);
                craft_ledger(c, CRAFT_LEDGER, s, 0);
        }
        cr_assert_eq(segment_punch(&c->seg, MH_SHM_REGION_SLOTS, 0, c->seg.regions[MH_SHM_REGION_SLOTS].size), 0);
        cr_assert_eq(segment_punch(&c->seg, MH_SHM_REGION_HOLDERS, 0, c->seg.regions[MH_SHM_REGION_HOLDERS].size), 0);
        craft_owner(c, CRAFT_SMALL_SPAN, 3, 0);
        craft_owner(c, CRAFT_ORPHAN_SPAN, 9, owner_make(1, MH_SHM_OWNER_FREE, 0, 0));
        craft_span(c, CRAFT_ORPHAN_SPAN, MH_SHM_SPAN_SMALL, CRAFT_WIRE, 0);
        craft_span_bit(c, CRAFT_WIRE, CRAFT_ORPHAN_SPAN, true);
        craft_owner(c, CRAFT_GIVEN_SPAN, 0, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_WIRE));
        craft_owns(c, CRAFT_WIRE, 1 << 20);
        craft_chunk_word(c, 1, chunk_make(9, 0, MH_SHM_CHUNK_HOLE, 0));
}

static void chunk_not_open(const Craft *c)
{
        craft_chunk_word(c, 0, chunk_make(0, 1, MH_SHM_CHUNK_CLOSING, 0));
}

static void chunk_not_findable(const Craft *c)
{
        craft_bit(c, MH_SHM_REGION_CHUNKMAP, 0, 0, true);
}

static void slot_word(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_FREE_SLOT, state), state_make(GEN(c), 6, 0, 0));
}

static void slot_word_without_generation(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_FREE_SLOT, state), 1);
}

static void slot_word_type(const Craft *c)
{
        craft_state(c, CRAFT_SHARED_SLOT, MH_SHM_PHASE_LIVE, 11, 0);
}

static void slot_generation(const Craft *c)
{
        craft_chunk_word(c, 0, chunk_make(GEN(c), 1, MH_SHM_CHUNK_OPEN, 0));
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_FREE_SLOT, state),
                  state_make(GEN(c), MH_SHM_PHASE_FREE, 0, 0));
        craft_chunk_word(c, 0, chunk_make(GEN(c) + 1, 1, MH_SHM_CHUNK_OPEN, 0));
}

static void slot_without_ledger(const Craft *c)
{
        craft_ledger(c, CRAFT_LEDGER, CRAFT_READY_SLOT, 0);
}

static void slot_pending(const Craft *c)
{
        craft_state(c, CRAFT_SHARED_SLOT, MH_SHM_PHASE_DYING, 5, CRAFT_MAPPED);
}

static void slot_payload_left(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_FREE_SLOT, payload[56]), 1);
}

static void slot_not_findable(const Craft *c)
{
        craft_taken(c, CRAFT_FREE_SLOT, true);
}

static void handle_orphaned(const Craft *c)
{
        craft_ledger(c, CRAFT_WIRE, CRAFT_LARGE_SLOT, 0);
        craft_holder(c, CRAFT_LARGE_SLOT, CRAFT_WIRE, false);
}

/* ---------------------------------------------------------------------------------------------- holders and ledgers */

static void holder_without_ledger(const Craft *c)
{
        craft_holder(c, CRAFT_LARGE_SLOT, CRAFT_LEDGER, true);
}

static void holder_without_ledger_in_free_slot(const Craft *c)
{
        craft_holder(c, CRAFT_FREE_SLOT, CRAFT_MAPPED, true);
}

static void holder_range(const Craft *c)
{
        craft_holder(c, CRAFT_FREE_SLOT, CRAFT_CLIENTS, true);
}

static void ledger_word(const Craft *c)
{
        craft_ledger(c, CRAFT_LEDGER, CRAFT_FREE_SLOT, ledger_make(GEN(c), 0));
}

static void ledger_word_both(const Craft *c)
{
        craft_ledger(c, CRAFT_LEDGER, CRAFT_FREE_SLOT, ledger_make(GEN(c), MH_SHM_LEDGER_IN_FLIGHT | 1));
}

static void ledger_of_free_client(const Craft *c)
{
        craft_ledger(c, 9, CRAFT_FREE_SLOT, MH_SHM_LEDGER_IN_FLIGHT);
}

static void ledger_beyond_hwm(const Craft *c)
{
        /* Two chunks are less than the mark grows by, so take it back and all that lies below. */
        chunk_beyond_hwm(c);
        craft_chunk_word(c, 1, 0);
        craft_ledger(c, CRAFT_LEDGER, 700, ledger_make(GEN(c), 1));
}

static void ledger_not_reserved(const Craft *c)
{
        craft_reserved(c, CRAFT_WIRE, 0, false);
}

static void ledger_pending(const Craft *c)
{
        craft_ledger(c, CRAFT_MAPPED, CRAFT_FREE_SLOT, ledger_make(GEN(c), MH_SHM_LEDGER_IN_FLIGHT));
}

static void ledger_pending_of_the_daemon(const Craft *c)
{
        craft_ledger(c, 0, CRAFT_FREE_SLOT, MH_SHM_LEDGER_RESERVED);
}

static void count_stale(const Craft *c)
{
        craft_ledger(c, CRAFT_LEDGER, CRAFT_SHARED_SLOT, ledger_make(GEN(c) + 1, 1));
}

static void count_stale_of_free_slot(const Craft *c)
{
        craft_hold(c, CRAFT_FREE_SLOT, CRAFT_MAPPED, 1);
}

static void count_without_holder(const Craft *c)
{
        craft_holder(c, CRAFT_SHARED_SLOT, CRAFT_LEDGER, false);
}

static void reserved_elsewhere(const Craft *c)
{
        craft_ledger(c, CRAFT_LEDGER, CRAFT_FREE_SLOT, MH_SHM_LEDGER_RESERVED);
}

/* ---------------------------------------------------------------------------------------------- blocks */

static uint64_t own_block(uint32_t tag, uint32_t giver)
{
        return ref_make(scratch_make(tag, CRAFT_SMALL_SPAN * MH_SHM_SPAN_SIZE), giver);
}

static void ref_left(const Craft *c)
{
        craft_ref(c, CRAFT_READY_SLOT, 3, own_block(1, CRAFT_MAPPED));
}

static void ref_range(const Craft *c)
{
        craft_ref(c, CRAFT_SHARED_SLOT, 3, ref_make(scratch_make(1, UINT64_C(128) * MH_SHM_SPAN_SIZE), CRAFT_MAPPED));
}

static void ref_range_zero(const Craft *c)
{
        craft_ref(c, CRAFT_SHARED_SLOT, 3, 1);
}

static void ref_unused(const Craft *c)
{
        craft_ref(c, CRAFT_SHARED_SLOT, 3, own_block(1, CRAFT_MAPPED));
}

static void ref_unused_inside_a_block(const Craft *c)
{
        craft_ref(c, CRAFT_SHARED_SLOT, 3,
                  ref_make(scratch_make(1, CRAFT_SMALL_SPAN * MH_SHM_SPAN_SIZE + 16), CRAFT_MAPPED));
}

static void ref_abandoned(const Craft *c)
{
        craft_ref(c, CRAFT_SHARED_SLOT, 3, own_block(1, 11));
}

static void block_word(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(1, 5, 0, 0));
}

static void block_word_freeing(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(1, MH_SHM_OWNER_FREEING, 0, CRAFT_MAPPED));
}

static void block_word_tag(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(0, MH_SHM_OWNER_CLIENT, 0, CRAFT_MAPPED));
}

static void block_foreign(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_WIRE));
}

static void block_foreign_in_orphan(const Craft *c)
{
        craft_owner(c, CRAFT_ORPHAN_SPAN, 7, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_MAPPED));
}

static void block_without_ref(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(1, MH_SHM_OWNER_SLOT, 2, CRAFT_SHARED_SLOT));
}

static void block_without_slot(const Craft *c)
{
        craft_owner(c, CRAFT_SMALL_SPAN, 7, owner_make(1, MH_SHM_OWNER_SLOT, 2, CRAFT_SLOTS - 1));
}

static void block_beyond_class(const Craft *c)
{
        craft_owner(c, CRAFT_WIRE_SPAN, 2, owner_make(1, MH_SHM_OWNER_CLIENT, 0, CRAFT_WIRE));
}

/* ---------------------------------------------------------------------------------------------- spans */

static void span_word(const Craft *c)
{
        craft_span(c, CRAFT_FREE_SPAN, 6, 0, 0);
}

static void span_word_class(const Craft *c)
{
        craft_span(c, CRAFT_FREE_SPAN, MH_SHM_SPAN_ORPHAN, 0, MH_SHM_CLASSES);
}

static void span_word_thread(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(CRAFT_FREE_SPAN, word), UINT64_C(1) << MH_SHM_SPAN_THREAD_SHIFT);
}

static void span_of_free_client(const Craft *c)
{
        craft_span(c, CRAFT_FREE_SPAN, MH_SHM_SPAN_SMALL, 9, 0);
}

static void span_without_bit(const Craft *c)
{
        craft_span_bit(c, CRAFT_WIRE, CRAFT_WIRE_SPAN, false);
}

static void span_without_bit_large(const Craft *c)
{
        craft_span_bit(c, CRAFT_MAPPED, CRAFT_LARGE_SPAN, false);
}

static void span_pending(const Craft *c)
{
        craft_span(c, CRAFT_FREE_SPAN, MH_SHM_SPAN_CLAIMED, CRAFT_WIRE, CRAFT_FREE_SPAN);
        craft_span_bit(c, CRAFT_WIRE, CRAFT_FREE_SPAN, true);
}

static void span_beyond_hwm(const Craft *c)
{
        craft_span(c, 140, MH_SHM_SPAN_SMALL, CRAFT_MAPPED, 0);
}

static void span_not_findable(const Craft *c)
{
        craft_bit(c, MH_SHM_REGION_SPANMAP, 0, CRAFT_FREE_SPAN, true);
}

static void orphan_empty(const Craft *c)
{
        craft_span(c, CRAFT_FREE_SPAN, MH_SHM_SPAN_ORPHAN, 0, 3);
}

static void large_run(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(CRAFT_LARGE_SPAN, size), MH_SHM_SPAN_SIZE + 1);
}

static void large_run_endless(const Craft *c)
{
        craft_put32(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(CRAFT_LARGE_SPAN, run), UINT32_MAX);
}

static void large_continuation(const Craft *c)
{
        craft_put32(c, MH_SHM_REGION_SPANS, CRAFT_SPAN(CRAFT_LARGE_SPAN, run), 2);
        craft_owns(c, CRAFT_MAPPED, 1 << 20);
}

static void large_without_owner(const Craft *c)
{
        craft_owner(c, CRAFT_LARGE_SPAN, 0, owner_make(2, MH_SHM_OWNER_FREE, 0, 0));
}

static void large_pending(const Craft *c)
{
        craft_owner(c, CRAFT_LARGE_SPAN, 0, owner_make(2, MH_SHM_OWNER_FREEING, 0, CRAFT_MAPPED));
}

static void cont_without_head(const Craft *c)
{
        craft_span(c, CRAFT_LARGE_SPAN + 4, MH_SHM_SPAN_CONT, 0, CRAFT_LARGE_SPAN);
}

static void cont_without_head_before(const Craft *c)
{
        craft_span(c, 20, MH_SHM_SPAN_CONT, 0, 21);
}

/* ---------------------------------------------------------------------------------------------- memory */

static void memory_of_slots(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(MH_SHM_CHUNK_SLOTS, wait), 0);
}

static void memory_of_holders(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_HOLDERS, MH_SHM_CHUNK_SLOTS * UINT64_C(8), 0);
}

static void memory_of_ledger(const Craft *c)
{
        craft_put(c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(c, 9, line[0].created), 0);
}

static void memory_of_owners(const Craft *c)
{
        craft_owner(c, CRAFT_FREE_SPAN, 0, 0);
}

static void memory_of_scratch(const Craft *c)
{
        craft_data(c, CRAFT_FREE_SPAN, 5000, "x");
}

static void memory_beyond_hwm(const Craft *c)
{
        craft_data(c, CRAFT_SPANS - 1, 0, "x");
}

static void memory_of_kept(const Craft *c)
{
        craft_data(c, CRAFT_KEPT_SPAN, 0, "x");
}

/* ---------------------------------------------------------------------------------------------- all of them */

/* A second rule is what cannot but be broken with the first. */
typedef struct Case {
        const char *name;
        Rule rule;
        void (*break_it)(const Craft *c);
        Rule also;
} Case;

static const Case cases[] = {
        { "hwm range", RULE_HWM_RANGE, hwm_range, RULE_COUNT },
        { "client state", RULE_CLIENT_STATE, client_state, RULE_COUNT },
        { "client flags", RULE_CLIENT_FLAGS, client_flags, RULE_COUNT },
        { "client name", RULE_CLIENT_NAME, client_name, RULE_COUNT },
        { "client beyond hwm", RULE_CLIENT_BEYOND_HWM, client_beyond_hwm, RULE_COUNT },
        { "client pending", RULE_CLIENT_PENDING, client_pending, RULE_COUNT },
        { "intent sequence", RULE_INTENT_SEQUENCE, intent_sequence, RULE_COUNT },
        { "intent pending", RULE_INTENT_PENDING, intent_pending, RULE_COUNT },
        { "hazard range", RULE_HAZARD_RANGE, hazard_range, RULE_COUNT },
        { "hazard uncounted", RULE_HAZARD_UNCOUNTED, hazard_uncounted, RULE_COUNT },
        { "hazard left", RULE_HAZARD_LEFT, hazard_left, RULE_COUNT },
        { "account drift", RULE_ACCOUNT_DRIFT, account_drift, RULE_COUNT },
        { "account scratch", RULE_ACCOUNT_SCRATCH, account_scratch, RULE_COUNT },

        { "chunk word", RULE_CHUNK_WORD, chunk_word, RULE_CHUNK_PENDING },
        { "chunk pending", RULE_CHUNK_PENDING, chunk_pending, RULE_COUNT },
        { "chunk beyond hwm", RULE_CHUNK_BEYOND_HWM, chunk_beyond_hwm, RULE_COUNT },
        { "chunk not open", RULE_CHUNK_NOT_OPEN, chunk_not_open, RULE_CHUNK_PENDING },
        { "chunk not findable", RULE_CHUNK_NOT_FINDABLE, chunk_not_findable, RULE_COUNT },
        { "slot word", RULE_SLOT_WORD, slot_word, RULE_COUNT },
        { "slot word without generation", RULE_SLOT_WORD, slot_word_without_generation, RULE_COUNT },
        { "slot word with a type that is none", RULE_SLOT_WORD, slot_word_type, RULE_COUNT },
        { "slot generation", RULE_SLOT_GENERATION, slot_generation, RULE_COUNT },
        { "slot without ledger", RULE_SLOT_WITHOUT_LEDGER, slot_without_ledger, RULE_SLOT_PENDING },
        { "slot pending", RULE_SLOT_PENDING, slot_pending, RULE_COUNT },
        { "slot payload left", RULE_SLOT_PAYLOAD_LEFT, slot_payload_left, RULE_COUNT },
        { "slot not findable", RULE_SLOT_NOT_FINDABLE, slot_not_findable, RULE_COUNT },
        { "handle orphaned", RULE_HANDLE_ORPHANED, handle_orphaned, RULE_COUNT },

        { "holder without ledger", RULE_HOLDER_WITHOUT_LEDGER, holder_without_ledger, RULE_COUNT },
        { "holder in free slot", RULE_HOLDER_WITHOUT_LEDGER, holder_without_ledger_in_free_slot, RULE_COUNT },
        { "holder range", RULE_HOLDER_RANGE, holder_range, RULE_COUNT },
        { "ledger word", RULE_LEDGER_WORD, ledger_word, RULE_COUNT },
        { "ledger word with both", RULE_LEDGER_WORD, ledger_word_both, RULE_COUNT },
        { "ledger of free client", RULE_LEDGER_OF_FREE_CLIENT, ledger_of_free_client, RULE_MEMORY_IN_HOLE },
        { "ledger beyond hwm", RULE_LEDGER_BEYOND_HWM, ledger_beyond_hwm, RULE_COUNT },
        { "ledger not reserved", RULE_LEDGER_NOT_RESERVED, ledger_not_reserved, RULE_COUNT },
        { "ledger pending", RULE_LEDGER_PENDING, ledger_pending, RULE_COUNT },
        { "ledger pending of the daemon", RULE_LEDGER_PENDING, ledger_pending_of_the_daemon, RULE_COUNT },
        { "count stale", RULE_COUNT_STALE, count_stale, RULE_COUNT },
        { "count of a free slot", RULE_COUNT_STALE, count_stale_of_free_slot, RULE_COUNT },
        { "count without holder", RULE_COUNT_WITHOUT_HOLDER, count_without_holder, RULE_COUNT },
        { "reserved elsewhere", RULE_RESERVED_ELSEWHERE, reserved_elsewhere, RULE_COUNT },

        { "ref left", RULE_REF_LEFT, ref_left, RULE_COUNT },
        { "ref range", RULE_REF_RANGE, ref_range, RULE_COUNT },
        { "ref without a block", RULE_REF_RANGE, ref_range_zero, RULE_COUNT },
        { "ref unused", RULE_REF_UNUSED, ref_unused, RULE_COUNT },
        { "ref inside a block", RULE_REF_UNUSED, ref_unused_inside_a_block, RULE_COUNT },
        { "ref abandoned", RULE_REF_ABANDONED, ref_abandoned, RULE_COUNT },
        { "block word", RULE_BLOCK_WORD, block_word, RULE_COUNT },
        { "block word, small and being freed", RULE_BLOCK_WORD, block_word_freeing, RULE_COUNT },
        { "block word without a tag", RULE_BLOCK_WORD, block_word_tag, RULE_COUNT },
        { "block foreign", RULE_BLOCK_FOREIGN, block_foreign, RULE_ACCOUNT_SCRATCH },
        { "block of a client in an orphan", RULE_BLOCK_FOREIGN, block_foreign_in_orphan, RULE_ACCOUNT_SCRATCH },
        { "block without ref", RULE_BLOCK_WITHOUT_REF, block_without_ref, RULE_COUNT },
        { "block without slot", RULE_BLOCK_WITHOUT_REF, block_without_slot, RULE_COUNT },
        { "block beyond class", RULE_BLOCK_BEYOND_CLASS, block_beyond_class, RULE_COUNT },

        { "span word", RULE_SPAN_WORD, span_word, RULE_COUNT },
        { "span word with a class that is none", RULE_SPAN_WORD, span_word_class, RULE_COUNT },
        { "span word with a thread where none is", RULE_SPAN_WORD, span_word_thread, RULE_COUNT },
        { "span of free client", RULE_SPAN_OF_FREE_CLIENT, span_of_free_client, RULE_COUNT },
        { "span without bit", RULE_SPAN_WITHOUT_BIT, span_without_bit, RULE_COUNT },
        { "large span without bit", RULE_SPAN_WITHOUT_BIT, span_without_bit_large, RULE_COUNT },
        { "span pending", RULE_SPAN_PENDING, span_pending, RULE_COUNT },
        { "span beyond hwm", RULE_SPAN_BEYOND_HWM, span_beyond_hwm, RULE_COUNT },
        { "span not findable", RULE_SPAN_NOT_FINDABLE, span_not_findable, RULE_COUNT },
        { "orphan empty", RULE_ORPHAN_EMPTY, orphan_empty, RULE_COUNT },
        { "large run", RULE_LARGE_RUN, large_run, RULE_ACCOUNT_SCRATCH },
        { "large run without end", RULE_LARGE_RUN, large_run_endless, RULE_COUNT },
        { "large continuation", RULE_LARGE_CONTINUATION, large_continuation, RULE_COUNT },
        { "large without owner", RULE_LARGE_WITHOUT_OWNER, large_without_owner, RULE_COUNT },
        { "large pending", RULE_LARGE_PENDING, large_pending, RULE_COUNT },
        { "cont without head", RULE_CONT_WITHOUT_HEAD, cont_without_head, RULE_COUNT },
        { "cont before its head", RULE_CONT_WITHOUT_HEAD, cont_without_head_before, RULE_COUNT },

        { "memory of slots", RULE_MEMORY_IN_HOLE, memory_of_slots, RULE_COUNT },
        { "memory of holders", RULE_MEMORY_IN_HOLE, memory_of_holders, RULE_COUNT },
        { "memory of a ledger", RULE_MEMORY_IN_HOLE, memory_of_ledger, RULE_COUNT },
        { "memory of owners", RULE_MEMORY_IN_HOLE, memory_of_owners, RULE_COUNT },
        { "memory of scratch", RULE_MEMORY_IN_HOLE, memory_of_scratch, RULE_COUNT },
        { "memory beyond hwm", RULE_MEMORY_IN_HOLE, memory_beyond_hwm, RULE_COUNT },
        { "memory of a kept span", RULE_MEMORY_IN_HOLE, memory_of_kept, RULE_COUNT },
};

/* Only what is wrong at every instant is a finding in a segment in use; but with NO_DEAD, the dead are as well. */
static bool expected(const Case *k, Rule rule, unsigned flags)
{
        if (rule != k->rule && rule != k->also)
                return false;
        return flags & VERIFY_AT_REST || !rule_at_rest(rule);
}

static void run_case(const Case *k, unsigned flags)
{
        VerifyStats stats = {};
        Seen seen = {};
        unsigned sum = 0;
        Craft c;
        int r;

        make(&c);
        k->break_it(&c);
        r = verify_segment(c.fd, flags, count, &seen, &stats);
        cr_expect_eq(seen.strange, 0, "%s: a rule without a name, or a text with holes", k->name);
        for (unsigned i = 0; i < RULE_COUNT; i++) {
                sum += seen.count[i];
                cr_expect(seen.count[i] == 0 || expected(k, (Rule)i, flags), "%s: flags %u: found %s", k->name, flags,
                          rule_name((Rule)i));
        }
        cr_expect(seen.count[k->rule] > 0 || !expected(k, k->rule, flags), "%s: flags %u: not found", k->name, flags);
        cr_expect_eq(r, (int)sum, "%s", k->name);
        cr_expect_eq(stats.findings, sum, "%s", k->name);
        if (r != (int)sum)
                (void)verify_segment(c.fd, flags, show, NULL, NULL);
        drop(&c);
}

Test(verify_rules, each_rule_at_rest)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                run_case(&cases[i], REST);
}

Test(verify_rules, each_rule_in_use)
{
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                run_case(&cases[i], 0);
}

Test(verify_rules, each_rule_is_tested)
{
        bool tested[RULE_COUNT] = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                tested[cases[i].rule] = true;
        for (unsigned i = 0; i < RULE_COUNT; i++)
                cr_expect(tested[i], "%s", rule_name((Rule)i));
}

Test(verify_rules, names_are_different)
{
        for (unsigned i = 0; i < RULE_COUNT; i++)
                cr_expect_eq(find_rule(rule_name((Rule)i)), i, "%s", rule_name((Rule)i));
}

/* ---------------------------------------------------------------------------------------------- the dead */

/* Half done by one that is dead: the reaper will see to it. */
Test(verify_rules, dead_client_is_excused)
{
        Seen seen = {};
        Craft c;

        make(&c);
        ledger_pending(&c);
        intent_pending(&c);
        hazard_left(&c);
        ref_unused(&c);
        span_pending(&c);
        craft_state(&c, CRAFT_SHARED_SLOT, MH_SHM_PHASE_DYING, 5, CRAFT_MAPPED);
        craft_client_state(&c, CRAFT_MAPPED, MH_SHM_CLIENT_DEAD);
        craft_client_state(&c, CRAFT_WIRE, MH_SHM_CLIENT_DEAD);
        cr_assert_eq(verify_segment(c.fd, VERIFY_AT_REST, show, NULL, NULL), 0);

        cr_assert_gt(verify_segment(c.fd, REST, count, &seen, NULL), 0);
        cr_assert_eq(seen.count[RULE_CLIENT_PENDING], 2);
        cr_assert_eq(seen.count[RULE_LEDGER_PENDING], 1);
        cr_assert_eq(seen.count[RULE_INTENT_PENDING], 1);
        cr_assert_eq(seen.count[RULE_HAZARD_LEFT], 1);
        cr_assert_eq(seen.count[RULE_REF_UNUSED], 1);
        cr_assert_eq(seen.count[RULE_SPAN_PENDING], 1);
        cr_assert_eq(seen.count[RULE_SLOT_PENDING], 1);
        drop(&c);
}

/* Half reaped: the bit and the handle are gone, the ledger word is not. */
Test(verify_rules, half_reaped)
{
        Craft c;

        make(&c);
        craft_client_state(&c, CRAFT_WIRE, MH_SHM_CLIENT_DEAD);
        craft_holder(&c, CRAFT_LARGE_SLOT, CRAFT_WIRE, false);
        cr_assert_eq(verify_segment(c.fd, VERIFY_AT_REST, show, NULL, NULL), 0);

        craft_ref(&c, CRAFT_LARGE_SLOT, 1, 0);
        craft_owner(&c, CRAFT_GIVEN_SPAN, 0, owner_make(101, MH_SHM_OWNER_FREEING, 0, CRAFT_WIRE));
        craft_put(&c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_LARGE_SLOT, state),
                  state_make(craft_gen(&c) + 1, MH_SHM_PHASE_FREE, 0, 0));
        cr_assert_eq(verify_segment(c.fd, VERIFY_AT_REST, show, NULL, NULL), 0);
        /* The others of a large block go before its head. */
        craft_span(&c, CRAFT_GIVEN_SPAN + 1, MH_SHM_SPAN_FREE, 0, 0);
        craft_span(&c, CRAFT_GIVEN_SPAN + 2, MH_SHM_SPAN_FREE, 0, 0);
        cr_assert_eq(verify_segment(c.fd, VERIFY_AT_REST, show, NULL, NULL), 0);
        drop(&c);
}

/* A stale opener that was frozen half way: documented, and accepted while the segment is in use. */
Test(verify_rules, frozen_opener_is_accepted)
{
        Craft c;

        make(&c);
        craft_ledger(&c, CRAFT_MAPPED, CRAFT_FREE_SLOT, ledger_make(3, MH_SHM_LEDGER_IN_FLIGHT));
        craft_holder(&c, CRAFT_FREE_SLOT, CRAFT_MAPPED, true);
        craft_ledger(&c, CRAFT_LEDGER, CRAFT_LARGE_SLOT, ledger_make(3, MH_SHM_LEDGER_IN_FLIGHT));
        craft_holder(&c, CRAFT_LARGE_SLOT, CRAFT_LEDGER, true);
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        cr_assert_eq(verify_segment(c.fd, REST, NULL, NULL, NULL), 2);
        drop(&c);
}

/* The daemon gives a chunk's memory back: it reserves all slots, closes, and sets the floor before the memory goes. */
Test(verify_rules, chunk_is_closed)
{
        const uint32_t first = MH_SHM_CHUNK_SLOTS;
        Craft c;

        make(&c);
        craft_chunk(&c, 1, 0);
        for (uint32_t s = first; s < 2 * first; s++) {
                craft_ledger(&c, 0, s, MH_SHM_LEDGER_RESERVED);
                craft_state(&c, s, MH_SHM_PHASE_RESERVED, 0, 0);
        }
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        craft_chunk_word(&c, 1, chunk_make(0, 0, MH_SHM_CHUNK_CLOSING, 0));
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        craft_chunk_word(&c, 1, chunk_make(craft_gen(&c) + 1, 0, MH_SHM_CHUNK_PUNCHING, 0));
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        cr_assert_eq(segment_punch(&c.seg, MH_SHM_REGION_SLOTS, first * sizeof(struct mh_shm_slot), first * 128), 0);
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        craft_chunk_word(&c, 1, chunk_make(craft_gen(&c) + 1, 0, MH_SHM_CHUNK_HOLE, 0));
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        for (uint32_t s = first; s < 2 * first; s++)
                craft_ledger(&c, 0, s, 0);
        cr_assert_eq(verify_segment(c.fd, REST, show, NULL, NULL), 0);
        drop(&c);
}

/* A large block that somebody else frees: what leads the reaper to it is that one's hazard. */
Test(verify_rules, hazard_leads_to_a_span)
{
        Craft c;

        make(&c);
        craft_owner(&c, CRAFT_LARGE_SPAN, 0, owner_make(2, MH_SHM_OWNER_FREEING, 0, CRAFT_WIRE));
        cr_assert_eq(verify_segment(c.fd, 0, NULL, NULL, NULL), 1);
        craft_hazard(&c, CRAFT_WIRE, 2, CRAFT_LARGE_SPAN + 1);
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        drop(&c);
}

/* ---------------------------------------------------------------------------------------------- in use */

typedef struct Busy {
        Craft craft;
        uint32_t stop;
} Busy;

/* Opens and closes, over and over, in the order of the protocol. */
static void *work(void *userdata)
{
        Busy *b = userdata;
        const Craft *c = &b->craft;

        while (!load_acquire(&b->stop)) {
                craft_put(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, CRAFT_MAPPED, CRAFT_LARGE_SLOT),
                          ledger_make(craft_gen(c), MH_SHM_LEDGER_IN_FLIGHT));
                craft_holder(c, CRAFT_LARGE_SLOT, CRAFT_MAPPED, true);
                craft_put(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, CRAFT_MAPPED, CRAFT_LARGE_SLOT),
                          ledger_make(craft_gen(c), 1));
                craft_put(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, CRAFT_MAPPED, CRAFT_LARGE_SLOT),
                          ledger_make(craft_gen(c), MH_SHM_LEDGER_IN_FLIGHT));
                craft_holder(c, CRAFT_LARGE_SLOT, CRAFT_MAPPED, false);
                craft_put(c, MH_SHM_REGION_LEDGERS, craft_ledger_at(c, CRAFT_MAPPED, CRAFT_LARGE_SLOT), 0);
        }
        return NULL;
}

/* What is seen half way is not told; what stays wrong meanwhile is. */
Test(verify_rules, somebody_at_work)
{
        Busy b = {};
        pthread_t t;

        make(&b.craft);
        cr_assert_eq(pthread_create(&t, NULL, work, &b), 0);
        for (unsigned i = 0; i < 300; i++)
                cr_assert_eq(verify_segment(b.craft.fd, 0, show, NULL, NULL), 0);
        block_foreign(&b.craft);
        holder_range(&b.craft);
        cr_assert_eq(verify_segment(b.craft.fd, 0, NULL, NULL, NULL), 2);
        store_release(&b.stop, 1);
        cr_assert_eq(pthread_join(t, NULL), 0);
        drop(&b.craft);
}
