/* SPDX-License-Identifier: MIT */

/* Spans, blocks, references between blocks and handles, and memory that belongs to nothing. */

#include "base/cleanup.h"
#include "shm/verify-internal.h"
#include "shm/words.h"

/* ---------------------------------------------------------------------------------------------- references */

/* The block knows only so much of the reference: where, and the low bits of its tag. */
static bool ref_names(uint64_t ref, uint64_t offset, uint64_t word)
{
        return ref != 0 && ref_offset(ref) == offset &&
               (ref & MH_SHM_REF_TAG_MASK) == (owner_tag(word) & MH_SHM_REF_TAG_MASK);
}

void verify_reference(Verify *v, uint32_t slot, unsigned entry, const struct mh_shm_slot *s)
{
        uint64_t ref = s->refs[entry];
        ViewBlock block = {};

        if (ref == 0)
                return;
        if (ref >> MH_SHM_REF_BLOCK_SHIFT == 0 || ref_giver(ref) >= v->view.seg.n_clients ||
            ref_offset(ref) / MH_SHM_SPAN_SIZE >= v->view.span_hwm) {
                FINDING(v, RULE_REF_RANGE, slot, entry, ref);
                return;
        }
        if (view_block(&v->view, ref_offset(ref), &block) && owner_kind(block.word) == MH_SHM_OWNER_SLOT &&
            owner_who(block.word) == slot && owner_entry(block.word) == entry &&
            ref_names(ref, ref_offset(ref), block.word))
                return;

        /* In DEAD the blocks go first, and the references last. */
        if (state_phase(s->state) == MH_SHM_PHASE_DEAD)
                return;
        if (!verify_client_in_use(v, ref_giver(ref)))
                FINDING(v, RULE_REF_ABANDONED, slot, entry, ref, block.word, ref_giver(ref));
        else if (verify_pending(v, ref_giver(ref)))
                FINDING(v, RULE_REF_UNUSED, slot, entry, ref, block.word);
}

static void check_given(Verify *v, uint32_t span, uint32_t block, uint64_t offset, uint64_t word)
{
        struct mh_shm_slot s = {};
        uint64_t ref;

        if (owner_who(word) / MH_SHM_CHUNK_SLOTS < v->view.chunk_hwm)
                view_slot(&v->view, owner_who(word), &s);
        ref = s.refs[owner_entry(word)];

        switch (state_phase(s.state)) {
        case MH_SHM_PHASE_LIVE:
        case MH_SHM_PHASE_DYING:
        case MH_SHM_PHASE_DEAD:
                if (ref_names(ref, offset, word))
                        break;
                __attribute__((fallthrough));
        default:
                FINDING(v, RULE_BLOCK_WITHOUT_REF, span, block, word, s.state, ref);
        }
}

/* Whoever died while he gave a span back has left it to his reaper, and only his hazard leads there. */
static bool left_to_reaper(Verify *v, uint32_t span)
{
        struct mh_shm_hazard h;

        if (v->flags & VERIFY_NO_DEAD)
                return false;
        for (uint32_t id = 0; id < v->view.client_hwm; id++) {
                if (!verify_client_dead(v, id))
                        continue;
                view_read(&v->view, MH_SHM_REGION_HAZARDS, id * sizeof(h), &h, sizeof(h));
                for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                        if (h.line[i].span != 0 && h.line[i].span <= (uint64_t)span + 1)
                                return true; /* it, or a large block that it may have been a part of */
        }
        return false;
}

/* ---------------------------------------------------------------------------------------------- blocks */

static bool owner_makes_sense(const Verify *v, uint64_t word, bool large)
{
        const uint64_t zeros = (UINT64_C(1) << MH_SHM_OWNER_ENTRY_SHIFT) - 1 - MH_SHM_OWNER_WHO_MASK;

        if (word & zeros || owner_tag(word) == 0)
                return false;
        switch (owner_kind(word)) {
        case MH_SHM_OWNER_FREE:
                return owner_entry(word) == 0 && owner_who(word) == 0;
        case MH_SHM_OWNER_CLIENT:
                return owner_entry(word) == 0 && owner_who(word) < v->view.seg.n_clients;
        case MH_SHM_OWNER_SLOT:
                return owner_entry(word) < MH_SHM_SLOT_REFS && owner_who(word) < v->view.seg.n_slots;
        case MH_SHM_OWNER_FREEING:
                return large && owner_entry(word) == 0 && owner_who(word) < v->view.seg.n_clients;
        default:
                return false;
        }
}

/* Returns whether somebody owns it. `client` is whose blocks may be here; n_clients: nobody's. */
static bool check_block(Verify *v, uint32_t span, uint64_t span_word, uint32_t block, uint64_t size, uint64_t word,
                        uint32_t client)
{
        bool large = span_state(span_word) == MH_SHM_SPAN_LARGE;
        unsigned kind = owner_kind(word);

        if (word == 0)
                return false;
        if (!owner_makes_sense(v, word, large)) {
                FINDING(v, RULE_BLOCK_WORD, span, block, word, span_word);
                return true;
        }
        if (kind == MH_SHM_OWNER_FREE)
                return false;

        if (!v->again) {
                v->stats.blocks++;
                v->stats.scratch_bytes += size;
        }
        if (kind == MH_SHM_OWNER_SLOT)
                check_given(v, span, block, (uint64_t)span * MH_SHM_SPAN_SIZE + block * size, word);
        if (kind == MH_SHM_OWNER_CLIENT) {
                if (!v->again)
                        v->owned[owner_who(word)] += size;
                if (owner_who(word) != client)
                        FINDING(v, RULE_BLOCK_FOREIGN, span, block, owner_who(word), word);
        }
        return true;
}

/* ---------------------------------------------------------------------------------------------- spans of one client */

/* Would the reaper of this client come by there? By the client's ledger, or in a span of others by its hazards. */
static bool leads_to(Verify *v, uint32_t client, uint32_t span)
{
        struct mh_shm_hazard h;

        if (view_span_bit(&v->view, client, span))
                return true;
        view_read(&v->view, MH_SHM_REGION_HAZARDS, client * sizeof(h), &h, sizeof(h));
        for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                if (h.line[i].span == (uint64_t)span + 1)
                        return true;
        return false;
}

/* `head` is the first span of the block that it is a part of, which leads on to the others. */
static void check_span_owner(Verify *v, uint32_t span, uint64_t word, uint32_t client, uint32_t head)
{
        if (!verify_client_in_use(v, client))
                FINDING(v, RULE_SPAN_OF_FREE_CLIENT, span, word, client);
        else if (!leads_to(v, client, span) && (head == span || !leads_to(v, client, head)))
                FINDING(v, RULE_SPAN_WITHOUT_BIT, span, word, client);
}

static void check_small(Verify *v, uint32_t span, const struct mh_shm_span *s)
{
        uint64_t words[MH_SHM_SPAN_BLOCKS_MAX], size = 0;
        bool orphan = span_state(s->word) == MH_SHM_SPAN_ORPHAN;
        uint32_t n = view_blocks(&v->view, span, s, &size), used = 0;
        uint32_t all = verify_at_rest(v) ? MH_SHM_SPAN_BLOCKS_MAX : n;

        view_owners(&v->view, span, all, words);
        for (uint32_t i = 0; i < n; i++)
                used += check_block(v, span, s->word, i, size, words[i],
                                    orphan ? v->view.seg.n_clients : span_client(s->word));
        for (uint32_t i = n; i < all; i++)
                if (owner_kind(words[i]) != MH_SHM_OWNER_FREE) /* what was free before may have been left as it was */
                        FINDING(v, RULE_BLOCK_BEYOND_CLASS, span, i, words[i], n);

        if (!orphan)
                check_span_owner(v, span, s->word, span_client(s->word), span);
        else if (used == 0 && !left_to_reaper(v, span))
                FINDING(v, RULE_ORPHAN_EMPTY, span, s->word);
}

/* ---------------------------------------------------------------------------------------------- large blocks */

/* Ends at the first span that does not belong, so that all of them together take no longer than there are spans. */
static void check_continuations(Verify *v, uint32_t head, const struct mh_shm_span *h)
{
        struct mh_shm_span s;

        for (uint32_t p = head + 1; p - head < h->run; p++) {
                view_span(&v->view, p, &s);
                if (span_arg(s.word) == head && (span_state(s.word) == MH_SHM_SPAN_CONT ||
                                                 (span_state(s.word) == MH_SHM_SPAN_CLAIMED && !verify_at_rest(v))))
                        continue;
                /* A dead client may have left it half made, or half freed. */
                if (verify_at_rest(v) && span_state(s.word) == MH_SHM_SPAN_CLAIMED && span_arg(s.word) == head &&
                    !verify_pending(v, span_client(s.word)))
                        continue;
                FINDING(v, RULE_LARGE_CONTINUATION, p, s.word, head, h->run);
                return;
        }
}

static void check_large(Verify *v, uint32_t span, const struct mh_shm_span *s)
{
        uint64_t word = view_owner(&v->view, span, 0);
        uint32_t client = span_client(s->word);

        /* While it is freed, the run gets shorter with each part that is gone. */
        if (s->run == 0 || s->run > v->view.span_hwm - span || s->size == 0 ||
            (s->size > (uint64_t)s->run * MH_SHM_SPAN_SIZE && owner_kind(word) != MH_SHM_OWNER_FREEING)) {
                FINDING(v, RULE_LARGE_RUN, span, s->word, s->run, s->size);
                return;
        }
        (void)check_block(v, span, s->word, 0, (uint64_t)s->run * MH_SHM_SPAN_SIZE, word, client);

        switch (owner_kind(word)) {
        case MH_SHM_OWNER_CLIENT:
                check_span_owner(v, span, s->word, client, span);
                check_continuations(v, span, s);
                break;
        case MH_SHM_OWNER_SLOT:
                check_continuations(v, span, s);
                break;
        case MH_SHM_OWNER_FREEING: /* the others go before the head */
                if (owner_who(word) < v->view.seg.n_clients) {
                        check_span_owner(v, span, s->word, owner_who(word), span);
                        if (verify_pending(v, owner_who(word)))
                                FINDING(v, RULE_LARGE_PENDING, span, word);
                }
                break;
        default: /* it has an owner before it is one, and is one no more before it has none */
                FINDING(v, RULE_LARGE_WITHOUT_OWNER, span, s->word, word);
        }
}

static void check_cont(Verify *v, uint32_t span, uint64_t word)
{
        struct mh_shm_span head = {};
        uint32_t at = span_arg(word);

        if (at < span)
                view_span(&v->view, at, &head);
        if (span_state(head.word) != MH_SHM_SPAN_LARGE || head.run <= span - at)
                FINDING(v, RULE_CONT_WITHOUT_HEAD, span, word, at, head.word, head.run);
}

/* ---------------------------------------------------------------------------------------------- spans */

static bool span_makes_sense(const Verify *v, uint64_t word)
{
        const uint64_t thread = MH_SHM_SPAN_THREAD_MASK << MH_SHM_SPAN_THREAD_SHIFT;

        if (span_client(word) >= v->view.seg.n_clients || (word & thread && span_state(word) != MH_SHM_SPAN_SMALL))
                return false;
        switch (span_state(word)) {
        case MH_SHM_SPAN_FREE:
        case MH_SHM_SPAN_LARGE:
                return true;
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                return span_arg(word) < MH_SHM_CLASSES;
        case MH_SHM_SPAN_CLAIMED:
        case MH_SHM_SPAN_CONT:
                return span_arg(word) < v->view.seg.n_spans;
        default:
                return false;
        }
}

static bool span_is_named(const Verify *v, uint32_t span)
{
        return v->span_named[span / 64] >> span % 64 & 1;
}

static void check_free_span(Verify *v, uint32_t span, uint64_t word)
{
        if (verify_at_rest(v) && view_hint(&v->view, MH_SHM_REGION_SPANMAP, span) && !span_is_named(v, span) &&
            !left_to_reaper(v, span))
                FINDING(v, RULE_SPAN_NOT_FINDABLE, span, word);
}

void verify_span(Verify *v, uint32_t span)
{
        struct mh_shm_span s;

        view_span(&v->view, span, &s);
        if (span >= v->view.span_hwm) {
                if (s.word != 0)
                        FINDING(v, RULE_SPAN_BEYOND_HWM, span, s.word, v->view.span_hwm);
                return;
        }
        if (!span_makes_sense(v, s.word)) {
                FINDING(v, RULE_SPAN_WORD, span, s.word);
                return;
        }
        if (span_state(s.word) != MH_SHM_SPAN_FREE && !v->again)
                v->stats.spans++;

        switch (span_state(s.word)) {
        case MH_SHM_SPAN_FREE:
                check_free_span(v, span, s.word);
                break;
        case MH_SHM_SPAN_CLAIMED:
                check_span_owner(v, span, s.word, span_client(s.word), span_arg(s.word));
                if (verify_pending(v, span_client(s.word)))
                        FINDING(v, RULE_SPAN_PENDING, span, s.word);
                break;
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                check_small(v, span, &s);
                break;
        case MH_SHM_SPAN_LARGE:
                check_large(v, span, &s);
                break;
        default:
                check_cont(v, span, s.word);
        }
}

/* ---------------------------------------------------------------------------------------------- span bits */

/* A bit that is set where the client has nothing is no finding: somebody else may have freed its large block. Then
 * whatever becomes of those spans, the bit stays until the client comes by. */
void verify_span_bits(Verify *v)
{
        uint32_t n_words = (v->view.seg.n_spans + 63) / 64;
        uint64_t bits[VIEW_SPANS_PER_PAGE / 64];

        for (uint32_t first = 0, page = 0; first < n_words; first += ELEMENTSOF(bits), page++)
                for (uint32_t c = view_next_span_ledger(&v->view, page, 0); c < v->view.seg.n_clients;
                     c = view_next_span_ledger(&v->view, page, c + 1)) {
                        view_span_bits(&v->view, c, page, bits);
                        for (uint32_t w = 0; w < ELEMENTSOF(bits) && first + w < n_words; w++)
                                v->span_named[first + w] |= bits[w];
                }
}

/* ---------------------------------------------------------------------------------------------- memory */

typedef bool (*MemoryFn)(Verify *v, uint64_t unit);

static bool chunk_has_memory(Verify *v, uint64_t chunk)
{
        return chunk < v->view.chunk_hwm &&
               chunk_state(view_chunk_word(&v->view, (uint32_t)chunk)) != MH_SHM_CHUNK_HOLE;
}

/* Holder words of one chunk are a page; the units are the pages of one group after the other. */
static bool holders_have_memory(Verify *v, uint64_t unit)
{
        uint64_t chunk = unit % v->view.seg.n_chunks, group = unit / v->view.seg.n_chunks + 1;

        return chunk_has_memory(v, chunk) && chunk_groups(view_chunk_word(&v->view, (uint32_t)chunk)) >= group;
}

static bool owners_have_memory(Verify *v, uint64_t span)
{
        struct mh_shm_span s;

        if (span >= v->view.span_hwm)
                return false;
        view_span(&v->view, (uint32_t)span, &s);
        return span_state(s.word) != MH_SHM_SPAN_FREE || s.kept != 0;
}

static bool scratch_has_memory(Verify *v, uint64_t span)
{
        struct mh_shm_span s;

        if (span >= v->view.span_hwm)
                return false;
        view_span(&v->view, (uint32_t)span, &s);
        return span_state(s.word) != MH_SHM_SPAN_FREE;
}

static bool ledger_has_memory(Verify *v, uint64_t client)
{
        return client < v->view.seg.n_clients && verify_client_in_use(v, (uint32_t)client);
}

/* One question and one finding for each unit, however many pages of it there are. */
static void check_memory(Verify *v, enum mh_shm_region_id region, uint64_t unit, MemoryFn may_have)
{
        uint64_t end = v->view.seg.regions[region].size, start, stop;

        for (uint64_t at = 0; at < end && view_data(&v->view, region, at, end, &start, &stop);) {
                if (!may_have(v, start / unit))
                        FINDING(v, RULE_MEMORY_IN_HOLE, region, start);
                at = (start / unit + 1) * unit;
        }
}

void verify_memory(Verify *v)
{
        check_memory(v, MH_SHM_REGION_SLOTS, MH_SHM_CHUNK_SLOTS * sizeof(struct mh_shm_slot), chunk_has_memory);
        check_memory(v, MH_SHM_REGION_HOLDERS, MH_SHM_PAGE, holders_have_memory);
        check_memory(v, MH_SHM_REGION_LEDGERS, v->view.seg.ledger_stride, ledger_has_memory);
        check_memory(v, MH_SHM_REGION_OWNERS, sizeof(struct mh_shm_owners), owners_have_memory);
        check_memory(v, MH_SHM_REGION_SCRATCH, MH_SHM_SPAN_SIZE, scratch_has_memory);
}
