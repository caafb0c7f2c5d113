/* SPDX-License-Identifier: MIT */

/*
 * The owner word is the truth about a block: free -> client -> free, or client -> slot -> free, each by one
 * compare-and-swap that compares the tag too, so of two frees one fails. Only the span's own client turns free
 * into client (scratch.c); everybody may do the rest.
 *
 * One thing is spared the locked instruction: a thread that frees its client's block in its own span, where nobody else has
 * come yet. It writes which block, then looks whether somebody comes, and then frees with a load and a store. Who comes
 * says so, makes every thread pass a barrier, and then looks at what the other wrote: either the thread sees the visitor, or
 * the visitor sees the block. Nobody waits: if it is the visitor's block, it is as good as freed.
 */

#include <errno.h>

#include "base/atomics.h"
#include "shm/block.h"
#include "shm/hazard.h"
#include "shm/quiet.h"
#include "shm/span.h"

/* A span's word changes rarely; a word that changes under every look is somebody's scribble. */
#define LOOKS 100U

/* ------------------------------------------------------------------------------------------------ finding */

/* From the span's word to the block at `within` bytes of it. */
static int locate(const Segment *seg, uint32_t span, uint32_t within, uint64_t word, Block *ret)
{
        uint32_t index;
        uint64_t size;

        switch (span_state(word)) {
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                if (span_arg(word) >= MH_SHM_CLASSES)
                        return -ESTALE;
                size = class_size(span_arg(word));
                index = class_index(span_arg(word), within);
                if (index == UINT32_MAX || within + size > MH_SHM_SPAN_SIZE)
                        return -ESTALE;
                break;
        case MH_SHM_SPAN_LARGE:
                /*
                 * Relaxed: pairs with the sequentially consistent store of LARGE in publish_large(), which `run`
                 * comes before; who loaded the word loaded it so, and compares it once more. If the span goes
                 * meanwhile this may be 0 already.
                 */
                size = (uint64_t)load_relaxed(&seg->spans[span].run) * MH_SHM_SPAN_SIZE;
                if (within || !size || size > (uint64_t)(seg->n_spans - span) * MH_SHM_SPAN_SIZE)
                        return -ESTALE;
                index = 0;
                break;
        default:
                return -ESTALE;
        }
        *ret = (Block){
                .owner = &span_owners(seg, span)[index],
                .span_word = word,
                .offset = (uint64_t)span * MH_SHM_SPAN_SIZE + within,
                .size = size,
                .span = span,
                .index = index,
        };
        return 0;
}

int block_find(Actor *a, uint64_t offset, Block *ret)
{
        uint64_t span = offset / MH_SHM_SPAN_SIZE, word;
        struct mh_shm_span *entry;
        int r = -ESTALE;

        if (span >= a->seg->n_spans)
                return -ESTALE;
        entry = span_entry(a->seg, (uint32_t)span);
        if (!entry)
                return -ESTALE;

        for (unsigned i = 0; i < LOOKS; i++) {
                hazard_set(a, (uint32_t)span);
                word = load_sc(&entry->word);
                r = locate(a->seg, (uint32_t)span, offset % MH_SHM_SPAN_SIZE, word, ret);
                /* The hazard was there before this look, so from here on the memory stays. */
                if (r < 0 || load_sc(&entry->word) == word)
                        break;
                r = -ESTALE;
        }
        if (r < 0)
                hazard_clear(a);
        return r;
}

void block_done(Actor *a)
{
        hazard_clear(a);
}

/* ------------------------------------------------------------------------------------------------ small blocks */

bool block_none_used(const Segment *seg, uint32_t span, unsigned class)
{
        const uint64_t *owners = span_owners(seg, span);

        for (uint32_t i = 0, n = class_blocks(class); i < n; i++)
                if (owner_kind(load_sc(&owners[i])) != MH_SHM_OWNER_FREE)
                        return false;
        return true;
}

void block_release_orphan(Actor *a, uint32_t span)
{
        struct mh_shm_span *entry = &a->seg->spans[span];
        uint64_t word = load_sc(&entry->word);

        if (span_state(word) != MH_SHM_SPAN_ORPHAN || span_arg(word) >= MH_SHM_CLASSES ||
            !block_none_used(a->seg, span, span_arg(word)))
                return;
        /* Nobody allocates in an ORPHAN, and an adoption would have changed the incarnation: it is still empty. */
        if (cas_sc(&entry->word, &word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, span)))
                span_release(a, span);
}

/* Where membarrier(2) is missing: a store of another processor is seen long before that. */
#define NO_BARRIER_NSEC 1000000

static void expect_visitors(const Actor *a, struct mh_shm_owners *area)
{
        (void)fetch_or_sc(&area->visitors, MH_SHM_VISITORS_EXPECTED);
        if (!hazard_barrier(a->seg))
                quiet_sleep(NO_BARRIER_NSEC);
        (void)fetch_or_sc(&area->visitors, MH_SHM_VISITORS_SEEN);
}

bool block_visit(Actor *a, const Block *b, uint64_t owner)
{
        struct mh_shm_owners *area = &a->seg->owners[b->span];
        uint32_t client = span_client(b->span_word);
        const struct mh_shm_hazard_line *line;

        if (span_state(b->span_word) != MH_SHM_SPAN_SMALL || owner_kind(owner) != MH_SHM_OWNER_CLIENT ||
            (client == a->id && span_thread(b->span_word) == a->thread) || client >= a->seg->n_clients)
                return true;
        if (!(load_sc(&area->visitors) & MH_SHM_VISITORS_SEEN))
                expect_visitors(a, area);
        line = &a->seg->hazards[client].line[span_thread(b->span_word)];
        return load_sc(&line->freeing) != scratch_make(owner_tag(owner), b->offset);
}

/* Tells the span's owner, who looks for free blocks where a bit is set. After the owner word. */
void block_note_free(Segment *seg, uint32_t span, uint32_t index)
{
        uint64_t bit = UINT64_C(1) << index / 64;

        if (!(load_sc(&seg->owners[span].hints) & bit))
                (void)fetch_or_sc(&seg->owners[span].hints, bit);
}

static bool free_small(Actor *a, const Block *b, uint64_t owner)
{
        if (!block_visit(a, b, owner) ||
            !cas_sc(b->owner, &owner, owner_make(tag_after(owner_tag(owner)), MH_SHM_OWNER_FREE, 0, 0)))
                return false;
        block_note_free(a->seg, b->span, b->index);
        /* Its owner may have died since, and then whoever frees the last block sees to the span. Sequentially consistent: either
         * we see ORPHAN here, or the reaper, who looks at the blocks after it wrote ORPHAN, sees this one free. */
        block_release_orphan(a, b->span);
        return true;
}

/* ------------------------------------------------------------------------------------------------ large blocks */

/* Is this another span of the large block at `head`? CLAIMED: given back in part before, or its taker died before it said CONT. */
static bool belongs_to(const Segment *seg, uint32_t span, uint32_t head)
{
        const struct mh_shm_span *entry = span_entry(seg, span);
        uint64_t word = entry ? load_sc(&entry->word) : 0;

        return (span_state(word) == MH_SHM_SPAN_CONT || span_state(word) == MH_SHM_SPAN_CLAIMED) &&
               span_arg(word) == head;
}

/* Gives back those of [first, end) that belong to the block: all of them, but when it is done again after a death. */
static void release_others(Actor *a, uint32_t head, uint32_t first, uint32_t end)
{
        Segment *seg = a->seg;

        while (first < end) {
                uint32_t n = 0;

                for (; first + n < end && belongs_to(seg, first + n, head); n++) {
                        uint64_t word = load_sc(&seg->spans[first + n].word);
                        store_sc(&seg->spans[first + n].word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, head));
                }
                if (n > 0)
                        span_release_run(a, first, n);
                else if (span_entry(seg, first) && span_state(load_sc(&seg->spans[first].word)) == MH_SHM_SPAN_FREE)
                        span_note_free(seg, first); /* given back before, but perhaps not all the way */
                first += n > 0 ? n : 1;
        }
}

int block_release_large(Actor *a, uint32_t head, uint32_t n)
{
        struct mh_shm_span *entry = &a->seg->spans[head];
        /*
         * Relaxed: pairs with the store of LARGE in publish_large(). Since the block is FREEING by this actor
         * nobody else changes it, and what a dead one stored is there.
         */
        uint32_t run = load_relaxed(&entry->run), left;
        uint64_t word;

        if (run < 1 || run > a->seg->n_spans - head)
                run = 1; /* scribbled over: what lies behind cannot be told, and verify will say so */

        /* The others first, from the end: `run` says how many are left, and is lowered when they are gone. */
        if (run > 1) {
                left = run - 1 > n ? run - n : 1;
                release_others(a, head, head + left, head + run);
                store_sc(&entry->run, left);
                return 1;
        }

        word = load_sc(&entry->word);
        store_sc(&entry->word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, head));
        span_release(a, head);
        return 0;
}

static bool free_large(Actor *a, const Block *b, uint64_t owner)
{
        /* From here on it is gone for everybody, and the word says who gives it back. The hazard is what leads the reaper here. */
        if (!cas_sc(b->owner, &owner, owner_make(tag_after(owner_tag(owner)), MH_SHM_OWNER_FREEING, 0, a->id)))
                return false;
        while (!a->piecemeal && block_release_large(a, b->span, UINT32_MAX) > 0)
                ;
        return true;
}

bool block_free(Actor *a, const Block *b, uint64_t owner)
{
        return block_is_large(b) ? free_large(a, b, owner) : free_small(a, b, owner);
}

int block_resume_free(Actor *a, uint32_t span, uint32_t n)
{
        struct mh_shm_span *entry = span_entry(a->seg, span);
        uint64_t word, owner;
        int r = 0;

        if (!entry)
                return 0;
        hazard_set(a, span);
        word = load_sc(&entry->word);
        switch (span_state(word)) {
        case MH_SHM_SPAN_ORPHAN:
                block_release_orphan(a, span);
                break;
        case MH_SHM_SPAN_CLAIMED:
                if (span_client(word) == a->id)
                        span_release(a, span);
                break;
        case MH_SHM_SPAN_LARGE:
                owner = load_sc(span_owners(a->seg, span));
                if (owner_kind(owner) == MH_SHM_OWNER_FREEING && owner_who(owner) == a->id)
                        r = block_release_large(a, span, n);
                break;
        case MH_SHM_SPAN_FREE:
                span_note_free(a->seg, span); /* maybe the last thing that was left to do */
                break;
        default:
                break;
        }
        if (r == 0)
                hazard_clear(a); /* else it leads here once more, whatever happens until then */
        return r;
}
