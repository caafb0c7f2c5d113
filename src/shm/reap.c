/* SPDX-License-Identifier: MIT */

/*
 * Reaping acts in the name of the dead: with its id, its ledger and its hazard line. So a daemon that dies while it
 * reaps leaves exactly what the dead client itself might have left, and reaping once more from the start is right
 * without anything being remembered.
 *
 * The ledger leads to all that the client can have touched, so reaping costs what was held, not the size of the table: the parts of a
 * ledger that were never used have no memory and are skipped.
 *
 * What is read relaxed here the dead wrote, who wrote nothing since; accounts are sums, to which each adds on its own. The hint at an
 * orphan is a hint: who follows it looks at the span's word.
 */

#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/block.h"
#include "shm/chunk.h"
#include "shm/client.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/reap.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "shm/words.h"

/* Units that a piece of work counts for: a unit is about a handle, a fifth of a microsecond. */
#define UNITS_PER_SPAN  60
#define UNITS_PER_WORDS 64 /* this many empty words are one unit */
#define SPANS_PER_STEP  32U

enum {
        STAGE_HAZARDS,
        STAGE_SLOTS,
        STAGE_SPANS,
        STAGE_CHUNKS,
        STAGE_LEDGER,
};

static uint64_t ledger_offset(const Reap *r)
{
        const Segment *seg = r->dead.seg;

        return seg->regions[MH_SHM_REGION_LEDGERS].offset + r->dead.id * seg->ledger_stride;
}

/* Totals stay right without it until its account is gone; after that they live in the daemon's. */
static void take_over_account(Reap *r)
{
        const Segment *seg = r->dead.seg;
        struct mh_shm_account_line *daemon =
                &((struct mh_shm_account *)segment_ledger(seg, MH_SHM_CLIENT_DAEMON))->line[0];
        struct mh_shm_account_line dead = account_sum(r->dead.page);

        /* Relaxed: numbers for sums, each in one piece: see totals.c. */
        (void)fetch_add_relaxed(&daemon->created, dead.created);
        (void)fetch_add_relaxed(&daemon->destroyed, dead.destroyed);
        (void)fetch_add_relaxed(&daemon->alloc_bytes, dead.alloc_bytes);
        (void)fetch_add_relaxed(&daemon->free_bytes, dead.free_bytes);
}

int reap_init(Reap *r, Segment *seg, uint32_t id)
{
        /* Its account may be a hole already, if a former daemon got that far. */
        int k = segment_reserve(seg, MH_SHM_REGION_LEDGERS, id * seg->ledger_stride, sizeof(struct mh_shm_account));

        if (k < 0)
                return k;
        *r = (Reap){ .stage = STAGE_HAZARDS };
        actor_init(&r->dead, seg, id, segment_ledger(seg, id));
        r->dead.piecemeal = SPANS_PER_STEP;
        return 0;
}

/* ------------------------------------------------------------------------------------------------ hazards */

/* Frees that it had not finished. */
static int reap_hazards(Reap *r, int *units)
{
        struct mh_shm_hazard *line = &r->dead.seg->hazards[r->dead.id];

        /* A free that was never done: its block is reaped, or freed by whoever comes first. */
        for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                store_sc(&line->line[i].freeing, 0);

        for (; r->position < MH_SHM_THREADS; r->position++) {
                /* Relaxed: its writer is dead, and nobody else writes it. */
                uint64_t span = load_relaxed(&line->line[r->position].span);

                if (span && span <= r->dead.seg->n_spans) {
                        if (*units <= 0)
                                return 1;
                        *units -= UNITS_PER_SPAN * (int)SPANS_PER_STEP / 2;
                        r->dead.hazard = &line->line[r->position];
                        /* One whose bit it had cleared for a moment: see span_forget(). */
                        if (span_is_own(&r->dead, (uint32_t)(span - 1)) &&
                            ledger_reserve_span(&r->dead, (uint32_t)(span - 1)) == 0)
                                ledger_set_span(&r->dead, (uint32_t)(span - 1));
                        if (block_resume_free(&r->dead, (uint32_t)(span - 1), SPANS_PER_STEP) > 0)
                                return 1;
                }
                store_sc(&line->line[r->position].span, 0);
        }
        r->dead.hazard = &line->line[0];
        return 0;
}

/* ------------------------------------------------------------------------------------------------ slots */

static int reap_slot(Reap *r, uint32_t slot, uint64_t word)
{
        int k;

        /* The word lies in memory that is there, whatever the client's own note of that says. */
        k = slot_abandon(&r->dead, slot);
        if (k == -EAGAIN)
                return k;
        if (!(word & MH_SHM_LEDGER_RESERVED))
                r->stats.handles++;
        if (k > 0)
                r->stats.destroyed++;
        return 0;
}

/* Words of the ledger in memory, from r->position on. */
static int reap_slots(Reap *r, int *units)
{
        const Segment *seg = r->dead.seg;
        uint64_t base = ledger_offset(r) + seg->ledger_slots, end = base + (uint64_t)seg->n_slots * sizeof(uint64_t);
        uint64_t from, to;

        for (;;) {
                if (r->position >= r->data_end) {
                        if (segment_next_data(seg, base + r->position * sizeof(uint64_t), end, &from, &to) <= 0)
                                return 0;
                        r->position = (from - base) / sizeof(uint64_t);
                        r->data_end = (to - base) / sizeof(uint64_t);
                }
                for (; r->position < r->data_end; r->position++) {
                        uint64_t word;

                        /* Before the work and not after, so that each step gets on, however few units it has. */
                        if (*units <= 0)
                                return 1;
                        if (r->position % UNITS_PER_WORDS == 0)
                                --*units;
                        word = load_sc(&r->dead.ledger[r->position]);
                        if (!word)
                                continue;
                        --*units;
                        if (reap_slot(r, (uint32_t)r->position, word) < 0)
                                return 1;
                }
        }
}

/* ------------------------------------------------------------------------------------------------ spans */

static void count_freed(Reap *r, uint64_t bytes)
{
        r->stats.scratch_bytes += bytes;
        /* Relaxed: a number for sums. */
        (void)fetch_add_relaxed(&r->dead.account->free_bytes, bytes);
}

/* SMALL and the dead client's: its blocks become free, and the span is released or, if others' blocks live in it, left to anyone. */
static void reap_small(Reap *r, uint32_t span, uint64_t word)
{
        Segment *seg = r->dead.seg;
        unsigned class = span_arg(word);
        uint64_t *owners = span_owners(seg, span), freed = 0;

        if (class >= MH_SHM_CLASSES)
                return;
        for (uint32_t i = 0, n = class_blocks(class); i < n; i++) {
                uint64_t owner = load_sc(&owners[i]);

                if (owner_kind(owner) == MH_SHM_OWNER_CLIENT &&
                    cas_sc(&owners[i], &owner, owner_make(tag_after(owner_tag(owner)), MH_SHM_OWNER_FREE, 0, 0)))
                        freed += class_size(class);
        }
        count_freed(r, freed);
        if (block_none_used(seg, span, class)) {
                store_sc(&seg->spans[span].word, span_with(word, MH_SHM_SPAN_CLAIMED, r->dead.id, span));
                span_release(&r->dead, span);
                return;
        }
        store_sc(&seg->spans[span].word, span_with(word, MH_SHM_SPAN_ORPHAN, 0, class));
        store_relaxed(&seg->shared->orphan[class], span + 1);
        /* Its last block may have been freed just before that, by somebody who still saw SMALL: see free_small(). */
        hazard_set(&r->dead, span);
        block_release_orphan(&r->dead, span);
        hazard_clear(&r->dead);
}

/* Large blocks are found through their head. */
static int reap_large(Reap *r, uint32_t span)
{
        uint64_t owner;
        Block b;

        if (block_find(&r->dead, (uint64_t)span * MH_SHM_SPAN_SIZE, &b) < 0)
                return 0;
        owner = load_sc(b.owner);
        if (block_is_large(&b) && owner_kind(owner) == MH_SHM_OWNER_CLIENT && owner_who(owner) == r->dead.id &&
            cas_sc(b.owner, &owner, owner_make(tag_after(owner_tag(owner)), MH_SHM_OWNER_FREEING, 0, r->dead.id)))
                count_freed(r, b.size);
        block_done(&r->dead);
        return block_resume_free(&r->dead, span, SPANS_PER_STEP);
}

/* 1: there is more to do in it. */
static int reap_span(Reap *r, uint32_t span)
{
        Segment *seg = r->dead.seg;
        struct mh_shm_span *entry = span_entry(seg, span);
        uint64_t word = entry ? load_sc(&entry->word) : 0;

        switch (span_state(word)) {
        case MH_SHM_SPAN_FREE:
                if (entry)
                        span_note_free(seg, span);
                break;
        case MH_SHM_SPAN_SMALL:
                if (span_client(word) == r->dead.id)
                        reap_small(r, span, word);
                break;
        case MH_SHM_SPAN_LARGE:
                if (reap_large(r, span) > 0)
                        return 1;
                break;
        case MH_SHM_SPAN_CLAIMED:
        case MH_SHM_SPAN_ORPHAN:
                (void)block_resume_free(&r->dead, span, SPANS_PER_STEP);
                break;
        default:
                break;
        }
        (void)fetch_and_sc(&r->dead.span_bits[span / 64], ~(UINT64_C(1) << span % 64));
        return 0;
}

static int reap_spans(Reap *r, int *units)
{
        const Segment *seg = r->dead.seg;
        uint64_t words = (seg->n_spans + 63) / 64;
        uint64_t base = ledger_offset(r) + seg->ledger_spans, end = base + words * sizeof(uint64_t), from, to;

        while (segment_next_data(seg, base + r->position * sizeof(uint64_t), end, &from, &to) > 0) {
                for (r->position = (from - base) / sizeof(uint64_t); r->position < (to - base) / sizeof(uint64_t);
                     r->position++) {
                        uint64_t bits = load_sc(&r->dead.span_bits[r->position]);

                        for (; bits; bits &= bits - 1) {
                                uint32_t span = (uint32_t)r->position * 64 + (unsigned)__builtin_ctzll(bits);

                                if (*units <= 0)
                                        return 1;
                                *units -= UNITS_PER_SPAN;
                                if (span < seg->n_spans && reap_span(r, span) > 0) {
                                        *units -= UNITS_PER_SPAN * (int)SPANS_PER_STEP / 2;
                                        return 1;
                                }
                        }
                        if (r->position % UNITS_PER_WORDS == 0 && --*units <= 0) {
                                r->position++;
                                return 1;
                        }
                }
        }
        return 0;
}

/* ------------------------------------------------------------------------------------------------ steps */

/* Nothing is left of it but its account, and pages of zeros. */
static void reap_ledger(Reap *r)
{
        Segment *seg = r->dead.seg;

        take_over_account(r);
        if (segment_punch(seg, MH_SHM_REGION_LEDGERS, r->dead.id * seg->ledger_stride, seg->ledger_stride) < 0)
                memset(r->dead.page, 0, sizeof(*r->dead.page)); /* the pages stay, but the next client finds zeros */
        client_free(seg, r->dead.id);
}

int reap_step(Reap *r, unsigned units)
{
        int left = (int)units, more = 0;

        while (left > 0) {
                switch (r->stage) {
                case STAGE_HAZARDS:
                        more = reap_hazards(r, &left);
                        break;
                case STAGE_SLOTS:
                        more = reap_slots(r, &left);
                        break;
                case STAGE_SPANS:
                        more = reap_spans(r, &left);
                        break;
                case STAGE_CHUNKS:
                        chunk_abandon(&r->dead);
                        left -= (int)(r->dead.seg->n_chunks / 16);
                        more = 0;
                        break;
                default:
                        reap_ledger(r);
                        return 0;
                }
                if (more)
                        return 1;
                r->stage++;
                r->position = 0;
        }
        return 1;
}
