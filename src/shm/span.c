/* SPDX-License-Identifier: MIT */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/span.h"
#include "shm/words.h"

#define ENTRIES_PER_PAGE (MH_SHM_PAGE / (uint32_t)sizeof(struct mh_shm_span))
#define OWNERS_BYTES     ((uint64_t)sizeof(struct mh_shm_owners))

/* ------------------------------------------------------------------------------------------------ entries */

/* Gives memory to the entries up to that of `span`. */
static int raise_mark(const Segment *seg, uint32_t span)
{
        /* There is an end to it even if somebody scribbles over the mark. */
        for (uint32_t i = 0; i <= seg->n_spans / ENTRIES_PER_PAGE + 1; i++) {
                /* Acquire: pairs with the raise by somebody else, below. */
                uint32_t mark = load_acquire(&seg->shared->span_hwm);
                int r;

                if (mark > span)
                        return 0;
                r = segment_reserve(seg, MH_SHM_REGION_SPANS, (uint64_t)mark * sizeof(struct mh_shm_span), MH_SHM_PAGE);
                if (r < 0)
                        return r;
                (void)cas_sc(&seg->shared->span_hwm, &mark, mark + ENTRIES_PER_PAGE);
        }
        return -ENOSPC;
}

/* ------------------------------------------------------------------------------------------------ the map of hints */

/* Set: not FREE. Set after a claim and cleared after a release, both while the ledger names the span. */
static void map_set(Segment *seg, uint32_t span)
{
        (void)fetch_or_sc(&seg->spanmap[span / 64], UINT64_C(1) << span % 64);
}

static void map_clear(Segment *seg, uint32_t span)
{
        (void)fetch_and_sc(&seg->spanmap[span / 64], ~(UINT64_C(1) << span % 64));
}

void span_note_free(Segment *seg, uint32_t span)
{
        map_clear(seg, span);
}

/* The first span at or after `from` whose bit is clear (or set), or n_spans. */
static uint32_t map_find(const Segment *seg, uint32_t from, bool set)
{
        for (uint32_t span = from; span < seg->n_spans; span = (span / 64 + 1) * 64) {
                /* Relaxed: a hint. Who finds a span here looks at its word. */
                uint64_t word = load_relaxed(&seg->spanmap[span / 64]);

                word = (set ? word : ~word) >> span % 64;
                if (word) {
                        span += (unsigned)__builtin_ctzll(word);
                        return span < seg->n_spans ? span : seg->n_spans;
                }
        }
        return seg->n_spans;
}

/* ------------------------------------------------------------------------------------------------ the ledger's bit */

bool span_is_own(const Actor *a, uint32_t span)
{
        const struct mh_shm_span *entry = span_entry(a->seg, span);
        uint64_t word = entry ? load_sc(&entry->word) : 0;

        switch (span_state(word)) {
        case MH_SHM_SPAN_CLAIMED:
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_LARGE:
                return span_client(word) == a->id;
        default:
                return false;
        }
}

/*
 * The bit is the client's, and all its threads set and clear it. So who clears it looks whether another thread has taken the
 * span in the meantime, and who takes the span looks whether another thread has cleared the bit since: one of the two
 * looks last. Should the process die between the two, the hazard leads the reaper there.
 */
bool span_take(Actor *a, uint32_t span, uint64_t from, uint64_t to)
{
        bool taken;

        if (a->span_words <= span / 64)
                a->span_words = span / 64 + 1;
        hazard_set(a, span);
        ledger_set_span(a, span);
        taken = cas_sc(&a->seg->spans[span].word, &from, to);
        if (taken && !ledger_has_span(a, span))
                ledger_set_span(a, span);
        hazard_clear(a);
        if (!taken)
                span_forget(a, span);
        return taken;
}

/* If the line of hazards is in use for another span, the bit stays: one too many costs the reaper a look and nothing else. */
void span_forget(Actor *a, uint32_t span)
{
        uint64_t hazard = load_relaxed(&a->hazard->span); /* only this actor writes it */

        if (!ledger_has_span(a, span) || (hazard && hazard != (uint64_t)span + 1))
                return;
        hazard_set(a, span);
        ledger_clear_span(a, span);
        if (span_is_own(a, span))
                ledger_set_span(a, span);
        if (!hazard)
                hazard_clear(a);
}

/* ------------------------------------------------------------------------------------------------ claiming */

int span_claim(Actor *a, uint32_t span, uint32_t head)
{
        Segment *seg = a->seg;
        uint64_t word;
        int r;

        r = raise_mark(seg, span);
        if (r < 0)
                return r;
        r = ledger_reserve_span(a, span);
        if (r < 0)
                return r;

        word = load_sc(&seg->spans[span].word);
        if (span_state(word) != MH_SHM_SPAN_FREE)
                goto taken;
        if (!span_take(a, span, word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, head)))
                goto taken;
        map_set(seg, span);
        return 1;

taken:
        /* The hint lagged behind. It is its claimer's to put right; here it is only skipped. */
        return 0;
}

/* Claims spans [from, from + n). On failure *ret_next is where it makes sense to go on. 1, 0, -ENOSPC. */
static int claim_all(Actor *a, uint32_t from, uint32_t n, uint32_t *ret_next)
{
        for (uint32_t i = 0; i < n; i++) {
                int r = span_claim(a, from + i, from);

                if (r > 0)
                        continue;
                if (i > 0)
                        span_release_run(a, from, i);
                *ret_next = from + i + 1;
                return r;
        }
        return 1;
}

static int search(Actor *a, uint32_t from, uint32_t end, uint32_t n, uint32_t *ret_head)
{
        while (from < end) {
                uint32_t start = map_find(a->seg, from, false), stop;
                int r;

                if (start >= end || n > a->seg->n_spans - start)
                        return 0;
                stop = map_find(a->seg, start, true);
                if (stop - start < n) {
                        from = stop;
                        continue;
                }
                r = claim_all(a, start, n, &from);
                if (r > 0)
                        *ret_head = start;
                if (r != 0)
                        return r;
        }
        return 0;
}

int span_claim_run(Actor *a, uint32_t n, uint32_t *ret_head)
{
        Segment *seg = a->seg;
        uint32_t cursor;
        int r;

        assert(n > 0);
        if (n > seg->n_spans)
                return -ENOSPC;
        /* Single spans are taken from below, runs from where the last one ended, so that they meet late. */
        /* Relaxed: a hint where to begin, which is compared. */
        cursor = n == 1 ? 0 : load_relaxed(&seg->shared->span_cursor);
        if (cursor >= seg->n_spans)
                cursor = 0;
        r = search(a, cursor, seg->n_spans, n, ret_head);
        if (r == 0 && cursor > 0)
                r = search(a, 0, cursor, n, ret_head);
        if (r == 0)
                return -ENOSPC;
        if (r > 0 && n > 1)
                store_relaxed(&seg->shared->span_cursor, *ret_head + n); /* a hint where to begin */
        return r < 0 ? r : 0;
}

int span_populate(Actor *a, uint32_t span, uint32_t n, uint32_t blocks)
{
        Segment *seg = a->seg;
        struct mh_shm_span *entry = &seg->spans[span];
        uint64_t owners = offsetof(struct mh_shm_owners, word) + (uint64_t)blocks * sizeof(uint64_t);
        int r;

        assert(blocks > 0 && blocks <= MH_SHM_SPAN_BLOCKS_MAX);
        r = segment_reserve(seg, MH_SHM_REGION_SCRATCH, (uint64_t)span * MH_SHM_SPAN_SIZE,
                            (uint64_t)n * MH_SHM_SPAN_SIZE);
        if (r < 0)
                return r;
        r = segment_reserve(seg, MH_SHM_REGION_OWNERS, span * OWNERS_BYTES,
                            (owners + MH_SHM_PAGE - 1) / MH_SHM_PAGE * MH_SHM_PAGE);
        if (r < 0)
                return r;
        if (entry->kept) {
                /* Somebody may still look at words that were kept for it: all of them are free, before and after. Relaxed: the span
                 * is CLAIMED by us, and its word, stored when it becomes SMALL or LARGE, comes after these. */
                for (uint32_t i = 0; i < blocks; i++)
                        store_relaxed(&span_owners(seg, span)[i], 0);
                entry->kept = 0;
        }
        return 0;
}

/* ------------------------------------------------------------------------------------------------ tags */

/* Relaxed: see span_raise_floor(). */
uint32_t span_first_tag(const struct mh_shm_span *entry)
{
        return tag_after(load_relaxed(&entry->tag_floor) & MH_SHM_TAG_MASK);
}

/*
 * How much later than the floor a tag is; 0: it is not. Tags come round, so one that is half a round ahead or more is behind:
 * left from a former use of the span, or found once more because a release is done again.
 */
static uint32_t tag_lead(uint32_t floor, uint32_t tag)
{
        uint32_t lead = (tag - floor) & MH_SHM_TAG_MASK;

        return lead <= MH_SHM_TAG_MASK / 2 ? lead : 0;
}

static uint32_t greatest_lead(const uint64_t *words, size_t n, uint32_t floor, uint32_t lead)
{
        for (size_t i = 0; i < n; i++)
                if (words[i] && tag_lead(floor, owner_tag(words[i])) > lead)
                        lead = tag_lead(floor, owner_tag(words[i]));
        return lead;
}

/* Relaxed: the floor is written by who has the span CLAIMED, and read by who has it next: the span's word orders that. */
void span_raise_floor(const Segment *seg, uint32_t span, uint32_t blocks)
{
        uint32_t floor = load_relaxed(&seg->spans[span].tag_floor) & MH_SHM_TAG_MASK;

        store_relaxed(&seg->spans[span].tag_floor,
                      (floor + greatest_lead(span_owners(seg, span), blocks, floor, 0)) & MH_SHM_TAG_MASK);
}

/* More often than this no block of a span is used, as far as anybody knows who cannot look. */
#define LEAD_UNKNOWN (MH_SHM_TAG_MASK / 4)

/*
 * The same for a span of which nobody remembers how many words it has, or whether they are still there: a release that is done
 * again finds zeros and leaves the floor where it is. Relaxed, as there.
 */
static void raise_floor_by_read(const Segment *seg, uint32_t span)
{
        uint32_t floor = load_relaxed(&seg->spans[span].tag_floor) & MH_SHM_TAG_MASK, lead = 0;
        uint64_t words[MH_SHM_PAGE / sizeof(uint64_t)];

        for (uint64_t at = offsetof(struct mh_shm_owners, word); at + sizeof(words) <= OWNERS_BYTES;
             at += sizeof(words)) {
                int r = segment_read(seg, MH_SHM_REGION_OWNERS, span * OWNERS_BYTES + at, words, sizeof(words));

                /* The program has closed our descriptor. The span is CLAIMED by us, and what is not there is given back next. */
                if (r < 0)
                        r = segment_read_mapped(seg, MH_SHM_REGION_OWNERS, span * OWNERS_BYTES + at, words,
                                                sizeof(words));
                if (r < 0) {
                        /* So that no index comes back to life, which would be the same as to take somebody else's block. */
                        lead = lead > LEAD_UNKNOWN ? lead : LEAD_UNKNOWN;
                        break;
                }
                lead = greatest_lead(words, sizeof(words) / sizeof(words[0]), floor, lead);
        }
        store_relaxed(&seg->spans[span].tag_floor, (floor + lead) & MH_SHM_TAG_MASK);
}

/* ------------------------------------------------------------------------------------------------ releasing */

/*
 * Data and owner words are back; the word last but for the hints. The hazard covers those: another thread that clears the ledger
 * bit for a moment, because it gave the same span back before, would not find the span ours any more and leave the bit clear.
 * Where the line names a large block's head, that block leads the reaper here.
 */
static void set_free(Actor *a, uint32_t span)
{
        struct mh_shm_span *entry = &a->seg->spans[span];
        uint64_t word = load_relaxed(&entry->word);       /* CLAIMED by us: nobody else changes it */
        uint64_t hazard = load_relaxed(&a->hazard->span); /* only this actor writes it */
        uint32_t inc = span_incarnation(word) + 1;

        if (!hazard)
                hazard_set(a, span);
        /* Relaxed: who finds the word still LARGE, and this already, before and after its look, finds a size of 0, and says -ESTALE:
         * see block_find(). The word, below, comes after both for who claims the span next. */
        store_relaxed(&entry->run, 0);
        store_relaxed(&entry->size, 0);
        store_sc(&entry->word, span_make(inc & 0xfffff, MH_SHM_SPAN_FREE, 0, 0));
        map_clear(a->seg, span);
        span_forget(a, span);
        if (!hazard)
                hazard_clear(a);
}

void span_release(Actor *a, uint32_t span)
{
        Segment *seg = a->seg;
        struct mh_shm_span *entry = &seg->spans[span];

        raise_floor_by_read(seg, span);
        (void)segment_punch(seg, MH_SHM_REGION_SCRATCH, (uint64_t)span * MH_SHM_SPAN_SIZE, MH_SHM_SPAN_SIZE);
        entry->kept = 1;
        /* The word says CLAIMED: whoever announces a look from now on will find that, and stay away. */
        if (hazard_barrier(seg) && !hazard_seen(a, span) &&
            segment_punch(seg, MH_SHM_REGION_OWNERS, span * OWNERS_BYTES, OWNERS_BYTES) == 0)
                entry->kept = 0;
        set_free(a, span);
}

void span_release_run(Actor *a, uint32_t span, uint32_t n)
{
        (void)segment_punch(a->seg, MH_SHM_REGION_SCRATCH, (uint64_t)span * MH_SHM_SPAN_SIZE,
                            (uint64_t)n * MH_SHM_SPAN_SIZE);
        for (uint32_t i = n; i-- > 0;)
                set_free(a, span + i);
}
