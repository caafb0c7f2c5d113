/* SPDX-License-Identifier: MIT */

/*
 * Which blocks are free is told by the owner words alone. To find one quickly there are hints: each span has one bit per group
 * of 64 blocks, which whoever frees a block sets; the owner takes a bit, looks at the 64 words, and keeps what it
 * found in private memory.
 *
 * When there are no more, it is looked for a bit in another span of this client's, for a span whose client died, and for one that is
 * nobody's. A span that is empty again is kept for a while, and given back when there are several.
 *
 * Relaxed are: hints, which need no order with anything; and the word of a span that is this actor's, which nobody else changes.
 */

#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/block.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/span.h"
#include "shm/stock.h"
#include "shm/words.h"

/* How many of its own spans a client looks at before it claims a new one, and how many words of span bits it reads for that. */
#define OWN_SPANS_LOOKED_AT 32U
#define OWN_WORDS_LOOKED_AT 256U

/* In how many of them it looks for a group that is half free, before it takes the next best or a new span. */
#define PICKY_TRIES 4U

/* When there was no new span to be had, so many times what there is comes first. */
#define HARD_UP_REFILLS 64U

#define REFILL_TURNS 64U

/* ------------------------------------------------------------------------------------------------ where blocks are free */

/* A hint bit for each group of 64 blocks. */
static uint64_t all_groups(unsigned class)
{
        uint32_t groups = (class_blocks(class) + 63) / 64;

        return groups == 64 ? UINT64_MAX : (UINT64_C(1) << groups) - 1;
}

/* Which blocks of the group are free. */
static _hot_ uint64_t look_at_group(const struct mh_shm_owners *area, unsigned class, uint32_t first)
{
        uint32_t n = class_blocks(class) - first;
        const uint64_t *begin = &area->word[first], *word = begin + (n < 64 ? n : 64);
        uint64_t found = 0;

        /* From the last to the first, so that a bit is put in by an addition: this is most of what a batch of allocations costs. */
#pragma GCC unroll 8
        while (word != begin)
                found += found + owner_is_bare(load_sc(--word));
        return found;
}

/* Are at least half of its blocks free? */
static bool is_ripe(const struct mh_shm_owners *area, unsigned class, uint32_t first)
{
        uint32_t n = class_blocks(class) - first;

        return 2U * (unsigned)__builtin_popcountll(look_at_group(area, class, first)) >= (n < 64 ? n : 64);
}

/* The first of these groups after that from which blocks were taken last: in this order they were mostly freed, too. */
static uint32_t next_group(const ActorClass *k, const struct mh_shm_owners *area, uint64_t groups)
{
        uint64_t last = k->owner ? (uint64_t)(k->owner - area->word) / 64 : 63;
        uint64_t later = last < 63 ? groups & UINT64_MAX << (last + 1) : 0;

        return (unsigned)__builtin_ctzll(later ? later : groups);
}

/*
 * Takes a hint bit of the class's span and looks at the group. False: no more hints there. Where others free blocks, `picky` leaves a
 * group in which they have just begun: to take one block after the other from under their hands costs both sides more than all
 * the rest.
 */
static bool refill_from_span(Actor *a, unsigned class, bool picky)
{
        ActorClass *k = &a->classes[class];
        uint64_t hints, skipped = 0;
        struct mh_shm_owners *area;

        if (!k->span)
                return false;
        area = &a->seg->owners[k->span - 1];
        /* Relaxed: hints of others, see block.c. Which block is free its owner word says. */
        picky = picky && load_relaxed(&area->visitors) & MH_SHM_VISITORS_SEEN;
        while ((hints = load_relaxed(&area->hints) & all_groups(class) & ~skipped)) {
                uint32_t group = next_group(k, area, hints), first = group * 64;

                /* Each is looked at once, whoever sets its bit meanwhile. */
                skipped |= UINT64_C(1) << group;
                if (picky && !is_ripe(area, class, first))
                        continue;
                k->owner = &area->word[first];
                k->offset = (uint64_t)(k->span - 1) * MH_SHM_SPAN_SIZE + (uint64_t)first * k->size;
                /* Taken before the look: who frees a block after we looked at it sets the bit again. */
                (void)fetch_and_sc(&area->hints, ~(UINT64_C(1) << group));
                k->candidates = look_at_group(area, class, first);
                if (k->candidates)
                        return true;
        }
        return false;
}

/* Another span of this client and class that may have free blocks. The look goes on where the last one ended. */
static bool find_own_span(Actor *a, unsigned class, uint32_t max_words, uint32_t max_spans)
{
        uint32_t words = a->span_words, looked = 0, at;

        /* Relaxed, below: the bits of `hints` are hints. */
        if (!words)
                return false;
        at = a->span_cursor % (words * 64);
        /* Once more than there are words: it may begin in the middle of one. */
        for (uint32_t i = 0; i <= words && i <= max_words; i++) {
                uint32_t w = at / 64;

                for (uint64_t bits = ledger_span_word(a, w) & UINT64_MAX << at % 64; bits; bits &= bits - 1) {
                        uint32_t span = w * 64 + (unsigned)__builtin_ctzll(bits);
                        bool found = span_entry(a->seg, span) && span_serves(a, span, class) &&
                                     (load_relaxed(&a->seg->owners[span].hints) & all_groups(class));

                        a->span_cursor = span + 1;
                        if (found)
                                a->classes[class].span = span + 1;
                        if (found || ++looked >= max_spans)
                                return found;
                }
                at = (w + 1) % words * 64;
        }
        a->span_cursor = at;
        return false;
}

/* Makes a span whose client died this client's. */
static bool adopt_span(Actor *a, unsigned class)
{
        Segment *seg = a->seg;
        /* Relaxed: a hint, taken by the compare-and-swap and then checked. */
        uint32_t hint = load_relaxed(&seg->shared->orphan[class]);
        struct mh_shm_span *entry;
        uint64_t word;

        if (!hint || !cas_sc(&seg->shared->orphan[class], &hint, 0))
                return false;
        entry = span_entry(seg, hint - 1);
        if (!entry || ledger_reserve_span(a, hint - 1) < 0)
                return false;
        hazard_set(a, hint - 1); /* until it is ours its memory may go; span_take() ends that */
        word = load_sc(&entry->word);
        if (span_state(word) != MH_SHM_SPAN_ORPHAN || span_arg(word) != class || ledger_has_span(a, hint - 1)) {
                hazard_clear(a);
                return false;
        }
        /* Who saw it ORPHAN does not come as a visitor. Not SEEN: if somebody else gets the span, we passed no barrier. */
        (void)fetch_or_sc(&seg->owners[hint - 1].visitors, MH_SHM_VISITORS_EXPECTED);
        /* The next incarnation, so that a compare-and-swap of somebody who saw it ORPHAN and empty fails: see block.c. */
        if (!span_take(a, hint - 1, word, span_make_small(span_incarnation(word) + 1, a->id, a->thread, class)))
                return false;
        store_sc(&seg->owners[hint - 1].hints, UINT64_MAX);
        a->classes[class].span = hint;
        return true;
}

/* ------------------------------------------------------------------------------------------------ spare spans */

/* Is it still an empty span of this client from which nothing is being taken? Then it is CLAIMED now. */
static bool reclaim_spare(Actor *a, uint32_t span)
{
        struct mh_shm_span *entry = span_entry(a->seg, span);
        uint64_t word = entry ? load_sc(&entry->word) : 0;
        unsigned class = span_arg(word);

        if (class >= MH_SHM_CLASSES || !span_serves(a, span, class) || a->classes[class].span == span + 1 ||
            !block_none_used(a->seg, span, class))
                return false;
        /* Only we take blocks from it, so empty it stays. */
        store_sc(&entry->word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, span));
        span_raise_floor(a->seg, span, class_blocks(class));
        entry->kept = 1;
        return true;
}

static bool take_spare(Actor *a, uint32_t *ret_span)
{
        for (unsigned i = 0; i < ACTOR_SPARE_SPANS; i++) {
                uint32_t span = a->spare[i];

                a->spare[i] = 0;
                if (span && reclaim_spare(a, span - 1)) {
                        *ret_span = span - 1;
                        return true;
                }
        }
        return false;
}

/* False: there are enough of them. */
static bool keep_spare(Actor *a, uint32_t span)
{
        for (unsigned i = 0; i < ACTOR_SPARE_SPANS; i++)
                if (a->spare[i] == 0 || a->spare[i] == span + 1) {
                        a->spare[i] = span + 1;
                        return true;
                }
        return false;
}

void stock_consider(Actor *a, unsigned class, uint32_t span)
{
        struct mh_shm_span *entry = &a->spans[span];
        struct mh_shm_owners *area = &a->owners[span];
        /* Relaxed: the span is this actor's, and only it changes its word. */
        uint64_t word = load_relaxed(&entry->word);
        uint32_t used = 0, n = class_blocks(class);
        uint64_t all = 0;

        /* Mostly it is empty, and that is known sooner than how many are used. */
#pragma GCC unroll 8
        for (const uint64_t *owner = area->word, *end = owner + n; owner != end; owner++)
                all |= load_sc(owner);
        for (uint32_t i = 0; i < n && !owner_is_bare(all); i++)
                used += !owner_is_bare(load_sc(&area->word[i]));
        area->countdown = used ? used : n;
        if (used || keep_spare(a, span))
                return;
        /* Only we take blocks from it, so empty it stays. */
        store_sc(&entry->word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, span));
        span_release(a, span);
}

/* The block was freed here; tells who looks for free blocks, if it still is what it was. */
static void note_freed(Actor *a, unsigned class, uint64_t offset)
{
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), index = class_index(class, offset % MH_SHM_SPAN_SIZE);

        if (span_serves(a, span, class) && index != UINT32_MAX)
                block_note_free(a->seg, span, index);
}

/* No more blocks are taken from where they are taken now; what is known to be free there is found again by its hint. */
static void forget_class(Actor *a, unsigned class)
{
        ActorClass *k = &a->classes[class];

        stock_cool(k);
        if (k->candidates)
                block_note_free(a->seg, k->span - 1, (uint32_t)(k->owner - a->owners[k->span - 1].word));
        while (k->n_freed > 0) {
                uint64_t offset = (uint64_t)k->freed[--k->n_freed] * MH_SHM_BLOCK_ALIGN;

                note_freed(a, class, offset);
        }
        *k = (ActorClass){ .size = k->size };
}

bool stock_trim(Actor *a)
{
        bool any = false;

        for (unsigned i = 0; i < MH_SHM_CLASSES; i++)
                forget_class(a, i);
        memset(a->spare, 0, sizeof(a->spare));
        for (uint32_t w = 0; w < (a->seg->n_spans + 63) / 64; w++)
                for (uint64_t bits = ledger_span_word(a, w); bits; bits &= bits - 1) {
                        uint32_t span = w * 64 + (unsigned)__builtin_ctzll(bits);

                        if (reclaim_spare(a, span)) {
                                span_release(a, span);
                                any = true;
                        }
                }
        return any;
}

bool stock_find_memory(Actor *a)
{
        return stock_trim(a) || (a->when_short && a->when_short(a));
}

/* ------------------------------------------------------------------------------------------------ new ones */

/*
 * CLAIMED, so nobody comes from now on. But somebody may have come for a block that was here before, and be about to say SEEN: after
 * a barrier that was before our frees. If there may be such a one, the visitors stay.
 */
static void expect_nobody(Actor *a, uint32_t span)
{
        uint32_t *visitors = &a->seg->owners[span].visitors;

        /* Relaxed: SMALL is stored after these. Pairs with block_visit(), which finds that first. */
        if (!a->seg->asymmetric)
                store_relaxed(visitors, MH_SHM_VISITORS_EXPECTED | MH_SHM_VISITORS_SEEN);
        else if (load_relaxed(visitors) && hazard_barrier(a->seg) && !hazard_seen(a, span))
                store_relaxed(visitors, 0);
}

static int claim_span(Actor *a, unsigned class)
{
        Segment *seg = a->seg;
        struct mh_shm_span *entry;
        uint32_t span;
        int r;

        if (!take_spare(a, &span)) {
                r = span_claim_run(a, 1, &span);
                if (r < 0)
                        return r;
        }
        r = span_populate(a, span, 1, class_blocks(class));
        if (r < 0) {
                span_release(a, span);
                return r;
        }
        entry = &seg->spans[span];
        seg->owners[span].countdown = class_blocks(class);
        expect_nobody(a, span);
        /* Relaxed: nobody has the span but us, until the word, below, says SMALL. */
        store_relaxed(&seg->owners[span].hints, all_groups(class));
        /* CLAIMED is ours alone to leave. Who finds it SMALL finds owner words. */
        store_sc(&entry->word, span_make_small(span_incarnation(load_relaxed(&entry->word)), a->id, a->thread, class));
        a->classes[class].span = span + 1;
        return 0;
}

/* Another span, in which it is worth to look. */
static bool go_to_own_span(Actor *a, unsigned class, bool picky, unsigned *tries)
{
        uint32_t left = a->classes[class].span;

        if (picky && (*tries)++ >= PICKY_TRIES)
                return false;
        return find_own_span(a, class, OWN_WORDS_LOOKED_AT, OWN_SPANS_LOOKED_AT) &&
               (!picky || a->classes[class].span != left);
}

int stock_refill(Actor *a, unsigned class)
{
        ActorClass *k = &a->classes[class];
        bool picky = a->hard_up == 0;
        unsigned tries = 0;
        int r;

        if (!picky)
                a->hard_up--;
        /* There is an end to it even if somebody scribbles hints: no more turns than there are spans, and some. */
        for (uint32_t turn = 0; turn < a->seg->n_spans + REFILL_TURNS; turn++) {
                if (refill_from_span(a, class, picky))
                        return 0;
                /* All of it was taken, and it is left: before so many frees it need not be looked at again. */
                if (k->span && !(load_relaxed(&a->owners[k->span - 1].hints) & all_groups(class)))
                        a->owners[k->span - 1].countdown = class_blocks(class);
                if (go_to_own_span(a, class, picky, &tries) || adopt_span(a, class))
                        continue;
                r = claim_span(a, class);
                if (r >= 0)
                        continue;
                a->hard_up = HARD_UP_REFILLS;
                /* Before giving up, all of one's own: those of this class, and those of others that others have emptied. */
                if (!picky && !find_own_span(a, class, UINT32_MAX, UINT32_MAX) && !stock_find_memory(a))
                        return r;
                picky = false;
        }
        return -ENOSPC;
}
