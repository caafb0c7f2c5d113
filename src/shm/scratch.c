/* SPDX-License-Identifier: MIT */

/*
 * Taking scratch memory, giving it to handles, and freeing it.
 *
 * Small blocks come from spans of one size class that belong to one client (to one thread of it). Only that thread turns
 * the owner word of a free block there into its own, so taking a block needs no locked instruction: a load and a release
 * store do. That rests on two things: everybody else changes only words that are not free, and a span is
 * taken from its client only when the client is really dead.
 *
 * Which blocks are free is told by the owner words alone. To find one quickly there are hints: each span has one bit per group
 * of 64 blocks, which whoever frees a block sets; the owner takes a bit, looks at the 64 words, and keeps what it
 * found in private memory.
 *
 * Giving makes a handle the owner, and takes two words that must agree: the handle's reference entry, and the block's owner
 * word. The entry comes first and goes last; it counts only while the owner word names it.
 *
 * Relaxed are: accounts, each line of which one thread writes; limits and hints, which need no order with anything; and the
 * word of a span that is this actor's, which nobody else changes.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "base/likely.h"
#include "shm/block.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/span.h"
#include "shm/words.h"

/* How many of its own spans a client looks at before it claims a new one, and how many words of span bits it reads for that. */
#define OWN_SPANS_LOOKED_AT 32U
#define OWN_WORDS_LOOKED_AT 256U

#define SPAN_INC_BITS (64 - MH_SHM_SPAN_INC_SHIFT)

#define SCRATCH_MAX (UINT64_C(1) << 40)

/* ------------------------------------------------------------------------------------------------ accounts */

static inline void account_alloc(Actor *a, uint64_t size)
{
        struct mh_shm_account_line *line = a->account;

        actor_count(&line->alloc_bytes, size);
        actor_count(&line->owned_bytes, size);
}

static inline void account_free(Actor *a, uint64_t size, bool own)
{
        struct mh_shm_account_line *line = a->account;

        actor_count(&line->free_bytes, size);
        if (own)
                actor_count(&line->owned_bytes, -size);
}

uint64_t scratch_owned_in(Actor *a, uint32_t span)
{
        struct mh_shm_span *entry = span_entry(a->seg, span);
        uint64_t word, owner, sum = 0;
        uint32_t n;

        if (!entry)
                return 0;
        word = load_sc(&entry->word);
        if (span_state(word) == MH_SHM_SPAN_LARGE) {
                Block b;

                if (block_find(a, (uint64_t)span * MH_SHM_SPAN_SIZE, &b) < 0)
                        return 0;
                owner = load_sc(b.owner);
                block_done(a);
                return owner_kind(owner) == MH_SHM_OWNER_CLIENT && owner_who(owner) == a->id ? b.size : 0;
        }
        if (span_state(word) != MH_SHM_SPAN_SMALL || span_client(word) != a->id || span_arg(word) >= MH_SHM_CLASSES)
                return 0;
        n = class_blocks(span_arg(word));
        for (uint32_t i = 0; i < n; i++)
                if (owner_kind(load_sc(&span_owners(a->seg, span)[i])) == MH_SHM_OWNER_CLIENT)
                        sum += class_size(span_arg(word));
        return sum;
}

/* What this client owns now: others may have freed some of it, which its account cannot know. */
static uint64_t count_owned(Actor *a)
{
        Segment *seg = a->seg;
        uint64_t sum = 0;

        for (uint32_t w = 0; w < (seg->n_spans + 63) / 64; w++)
                for (uint64_t bits = ledger_span_word(a, w); bits; bits &= bits - 1)
                        sum += scratch_owned_in(a, w * 64 + (unsigned)__builtin_ctzll(bits));
        return sum;
}

static _noinline_ int check_quota_of_all(Actor *a, uint64_t size, uint64_t limit)
{
        uint64_t owned = account_sum(a->page).owned_bytes, counted;

        if (size > limit)
                return -EDQUOT;
        if ((int64_t)owned < 0 || owned <= limit - size)
                return 0;
        counted = count_owned(a);
        actor_count(&a->account->owned_bytes, counted - owned);
        return counted <= limit - size ? 0 : -EDQUOT;
}

/* Nobody can own more than there is. Any other limit is the client's, not one of its threads': then all their lines are summed up. */
static inline bool is_limited(const Actor *a)
{
        return load_relaxed(&a->shared->limit_client_scratch) / MH_SHM_SPAN_SIZE < a->seg->n_spans;
}

static inline int check_quota(Actor *a, uint64_t size)
{
        return likely(!is_limited(a)) ? 0 : check_quota_of_all(a, size, load_relaxed(&a->shared->limit_client_scratch));
}

/* ------------------------------------------------------------------------------------------------ small blocks */

/* A hint bit for each group of 64 blocks. */
static uint64_t all_groups(unsigned class)
{
        uint32_t groups = (class_blocks(class) + 63) / 64;

        return groups == 64 ? UINT64_MAX : (UINT64_C(1) << groups) - 1;
}

/* Takes a hint bit of the class's span and looks at the group. False: no more hints there. */
static bool refill_from_span(Actor *a, unsigned class)
{
        ActorClass *k = &a->classes[class];
        struct mh_shm_owners *area;
        uint32_t n = class_blocks(class), first;
        uint64_t hints;

        if (!k->span)
                return false;
        area = &a->seg->owners[k->span - 1];
        while ((hints = load_relaxed(&area->hints) & all_groups(class))) {
                uint64_t candidates = 0;

                k->group = (unsigned)__builtin_ctzll(hints);
                k->owner = &area->word[k->group * 64];
                k->offset = (uint64_t)(k->span - 1) * MH_SHM_SPAN_SIZE + (uint64_t)k->group * 64 * class_size(class);
                /* Taken before the look: who frees a block after we looked at it sets the bit again. */
                (void)fetch_and_sc(&area->hints, ~(UINT64_C(1) << k->group));
                first = k->group * 64;
                for (uint32_t i = 0; i < 64 && first + i < n; i++)
                        candidates |= (uint64_t)owner_is_bare(load_sc(&area->word[first + i])) << i;
                k->candidates = candidates;
                if (candidates)
                        return true;
        }
        return false;
}

static bool is_own(const Actor *a, uint32_t span, unsigned class)
{
        uint64_t word = load_relaxed(&a->seg->spans[span].word);

        return span_state(word) == MH_SHM_SPAN_SMALL && span_client(word) == a->id && span_thread(word) == a->thread &&
               span_arg(word) == class;
}

/* Another span of this client and class that may have free blocks. The look goes on where the last one ended. */
static bool find_own_span(Actor *a, unsigned class, uint32_t max_words, uint32_t max_spans)
{
        uint32_t words = a->span_words, looked = 0;

        if (!words)
                return false;
        for (uint32_t i = 0; i < words && i < max_words; i++) {
                uint32_t w = (a->span_cursor + i) % words;

                for (uint64_t bits = ledger_span_word(a, w); bits; bits &= bits - 1) {
                        uint32_t span = w * 64 + (unsigned)__builtin_ctzll(bits);

                        if (is_own(a, span, class) && (load_relaxed(&a->seg->owners[span].hints) & all_groups(class))) {
                                a->span_cursor = w;
                                a->classes[class].span = span + 1;
                                return true;
                        }
                        if (++looked >= max_spans) {
                                a->span_cursor = (w + 1) % words;
                                return false;
                        }
                }
        }
        a->span_cursor = max_words < words ? (a->span_cursor + max_words) % words : 0;
        return false;
}

/* Makes a span whose client died this client's. */
static bool adopt_span(Actor *a, unsigned class)
{
        Segment *seg = a->seg;
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

        if (class >= MH_SHM_CLASSES || !is_own(a, span, class) || a->classes[class].span == span + 1 ||
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

/* The block was freed here; tells who looks for free blocks, if it still is what it was. */
static void note_freed(Actor *a, unsigned class, uint64_t offset)
{
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), index = class_index(class, offset % MH_SHM_SPAN_SIZE);

        if (is_own(a, span, class) && index != UINT32_MAX)
                block_note_free(a->seg, span, index);
}

/* No more blocks are taken from where they are taken now; what is known to be free there is found again by its hint. */
static void forget_class(Actor *a, unsigned class)
{
        ActorClass *k = &a->classes[class];

        if (k->span && k->candidates)
                block_note_free(a->seg, k->span - 1, k->group * 64);
        while (k->n_freed > 0) {
                uint64_t offset = (uint64_t)k->freed[--k->n_freed] * MH_SHM_BLOCK_ALIGN;

                note_freed(a, class, offset);
        }
        *k = (ActorClass){ 0 };
}

bool scratch_trim(Actor *a)
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

/* ------------------------------------------------------------------------------------------------ small blocks, on */

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
        store_relaxed(&seg->owners[span].hints, all_groups(class));
        /* CLAIMED is ours alone to leave. Who finds it SMALL finds owner words. */
        store_sc(&entry->word, span_make_small(span_incarnation(load_relaxed(&entry->word)), a->id, a->thread, class));
        a->classes[class].span = span + 1;
        return 0;
}

/* Finds candidates for the class. -ENOSPC. */
static _cold_ int refill(Actor *a, unsigned class)
{
        int r;

        a->classes[class].candidates = 0;
        for (;;) {
                if (refill_from_span(a, class))
                        return 0;
                if (find_own_span(a, class, OWN_WORDS_LOOKED_AT, OWN_SPANS_LOOKED_AT) || adopt_span(a, class))
                        continue;
                r = claim_span(a, class);
                /* Before giving up, all of one's own: those of this class, and those of others that others have emptied. */
                if (r < 0 && !find_own_span(a, class, UINT32_MAX, UINT32_MAX) && !scratch_trim(a))
                        return r;
        }
}

/* The block whose owner word is FREE with that tag (shifted) becomes this client's. */
static inline void take_block(Actor *a, uint64_t *owner, uint64_t tag, uint64_t offset, uint32_t size,
                              uint64_t *ret_scratch)
{
        if (unlikely(a->intent != NULL))
                store_sc(&a->intent->target, tag | offset);
        /* Release, and no compare-and-swap: nobody else changes a free word of our span. Pairs with every look at it. */
        store_release(owner, tag | a->owner_word);
        account_alloc(a, size);
        *ret_scratch = tag | offset;
}

/* Takes one of the candidates, which were free, and only this actor takes blocks there. -EAGAIN: somebody scribbled there. */
static _noinline_ int take_candidate(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        ActorClass *k = &a->classes[class];
        unsigned i = (unsigned)__builtin_ctzll(k->candidates);
        uint64_t word = load_acquire(&k->owner[i]); /* pairs with the free that made it free */
        uint32_t tag = word ? owner_tag(word) : span_first_tag(&a->spans[k->span - 1]);

        k->candidates &= k->candidates - 1;
        if (owner_kind(word) != MH_SHM_OWNER_FREE)
                return -EAGAIN;
        take_block(a, &k->owner[i], scratch_make(tag, 0), k->offset + (uint64_t)i * class_size(class),
                   class_size(class), ret_scratch);
        return 0;
}

/* Takes one of those that were freed elsewhere. -EAGAIN: there is none any more. */
static int take_freed(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        ActorClass *k = &a->classes[class];

        while (k->n_freed > 0) {
                uint64_t offset = (uint64_t)k->freed[--k->n_freed] * MH_SHM_BLOCK_ALIGN, word;
                uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), index;

                if (!is_own(a, span, class))
                        continue;
                index = class_index(class, offset % MH_SHM_SPAN_SIZE);
                word = load_acquire(&a->owners[span].word[index]); /* as above */
                if (!word || owner_kind(word) != MH_SHM_OWNER_FREE)
                        continue;
                take_block(a, &a->owners[span].word[index], scratch_make(owner_tag(word), 0), offset, class_size(class),
                           ret_scratch);
                return 0;
        }
        return -EAGAIN;
}

static _noinline_ int alloc_small_anyhow(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        int r;

        if (check_quota(a, class_size(class)) < 0)
                return -EDQUOT;
        if (!a->classes[class].candidates) {
                r = take_freed(a, class, ret_scratch);
                if (r == 0)
                        return 0;
        }
        do {
                if (!a->classes[class].candidates) {
                        r = refill(a, class);
                        if (r < 0)
                                return r;
                }
                r = take_candidate(a, class, ret_scratch);
        } while (r == -EAGAIN);
        return r;
}

/* The usual case of take_candidate(). */
static inline int alloc_small(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        struct mh_shm_account_line *line = a->account;
        ActorClass *k = &a->classes[class];
        uint64_t candidates = k->candidates, size = class_size(class), word, i, *owner;

        if (unlikely(is_limited(a)) || unlikely(!candidates))
                return alloc_small_anyhow(a, class, ret_scratch);
        i = (unsigned)__builtin_ctzll(candidates);
        owner = &k->owner[i];
        word = load_acquire(owner); /* pairs with the free that made it free */
        if (unlikely(!word) || unlikely(word << (64 - MH_SHM_SCRATCH_TAG_SHIFT)))
                return alloc_small_anyhow(a, class, ret_scratch);
        k->candidates = candidates & (candidates - 1);
        store_release(owner, word | a->owner_word); /* as in take_block() */
        actor_count(&line->owned_bytes, size);
        actor_count(&line->alloc_bytes, size);
        *ret_scratch = word | (k->offset + i * size);
        return 0;
}

/* ------------------------------------------------------------------------------------------------ large blocks */

/* The other spans of a block that exists say so; the ledger needs to name only the head from here on. */
static void join_run(Actor *a, uint32_t head, uint32_t n)
{
        for (uint32_t i = head + 1; i < head + n; i++) {
                uint64_t word = load_relaxed(&a->seg->spans[i].word);

                if (span_state(word) == MH_SHM_SPAN_CLAIMED && span_client(word) == a->id && span_arg(word) == head)
                        store_sc(&a->seg->spans[i].word, span_with(word, MH_SHM_SPAN_CONT, 0, head));
                span_forget(a, i);
        }
}

/* All spans are claimed and have memory: makes one block of them. See reap.c for what is done if it ends in between. */
static void publish_large(Actor *a, uint32_t head, uint32_t n, uint64_t size, uint32_t tag)
{
        struct mh_shm_span *entry = &a->seg->spans[head];

        store_relaxed(&entry->run, n);
        store_relaxed(&entry->size, size);
        store_sc(span_owners(a->seg, head), owner_make(tag, MH_SHM_OWNER_CLIENT, 0, a->id));
        /* LARGE is when it exists: the owner word and the length were there before. */
        store_sc(&entry->word, span_with(load_relaxed(&entry->word), MH_SHM_SPAN_LARGE, a->id, 0));
        join_run(a, head, n);
}

static int claim_large(Actor *a, uint32_t n, uint32_t *ret_head)
{
        uint32_t head;
        int r;

        r = span_claim_run(a, n, &head);
        if (r < 0)
                return r;
        r = span_populate(a, head, n, 1);
        if (r < 0) {
                if (n > 1)
                        span_release_run(a, head + 1, n - 1);
                span_release(a, head);
                return r;
        }
        *ret_head = head;
        return 0;
}

static _cold_ int alloc_large(Actor *a, uint64_t size, uint64_t *ret_scratch)
{
        uint64_t spans = (size + MH_SHM_SPAN_SIZE - 1) / MH_SHM_SPAN_SIZE, scratch;
        uint32_t head, tag, n;
        int r;

        if (!size || size > SCRATCH_MAX)
                return -EINVAL;
        r = check_quota(a, spans * MH_SHM_SPAN_SIZE);
        if (r < 0)
                return r;
        if (spans > a->seg->n_spans)
                return -ENOSPC;
        n = (uint32_t)spans;
        r = claim_large(a, n, &head);
        if (r == -ENOSPC && scratch_trim(a))
                r = claim_large(a, n, &head);
        if (r < 0)
                return r;
        tag = span_first_tag(&a->seg->spans[head]);
        scratch = scratch_make(tag, (uint64_t)head * MH_SHM_SPAN_SIZE);
        if (a->intent)
                store_sc(&a->intent->target, scratch);
        publish_large(a, head, n, size, tag);
        account_alloc(a, spans * MH_SHM_SPAN_SIZE);
        *ret_scratch = scratch;
        return 0;
}

int scratch_take(Actor *a, uint64_t size, uint64_t *ret_scratch)
{
        if (unlikely(size - 1 >= MH_SHM_SMALL_MAX)) /* 0 too */
                return alloc_large(a, size, ret_scratch);
        return alloc_small(a, class_of((uint32_t)size), ret_scratch);
}

int scratch_alloc(Actor *a, uint64_t size, uint64_t *ret_scratch, uint64_t *ret_size)
{
        int r;

        if (a->intent && size - 1 < MH_SHM_SMALL_MAX)
                r = alloc_small_anyhow(a, class_of((uint32_t)size), ret_scratch);
        else
                r = scratch_take(a, size, ret_scratch);
        if (r == 0 && ret_size)
                *ret_size = size <= MH_SHM_SMALL_MAX
                                    ? class_size(class_of((uint32_t)size))
                                    : (size + MH_SHM_SPAN_SIZE - 1) / MH_SHM_SPAN_SIZE * MH_SHM_SPAN_SIZE;
        return r;
}

static void tidy_small(Actor *a, uint32_t span, uint64_t word)
{
        Segment *seg = a->seg;
        unsigned class = span_arg(word);

        if (class < MH_SHM_CLASSES && block_none_used(seg, span, class)) {
                /* One that the lost actor kept as a spare, which nobody would find when memory is short. */
                store_sc(&seg->spans[span].word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, span));
                span_release(a, span);
                return;
        }
        /* What the lost actor had found there must be found again. */
        store_sc(&seg->owners[span].hints, UINT64_MAX);
}

static void tidy_span(Actor *a, uint32_t span)
{
        Segment *seg = a->seg;
        struct mh_shm_span *entry = span_entry(seg, span);
        uint64_t word = entry ? load_sc(&entry->word) : 0;
        bool own = span_client(word) == a->id;
        uint32_t run;

        switch (span_state(word)) {
        case MH_SHM_SPAN_LARGE:
                /* Ascending: its other spans are joined before they would be taken for claims. */
                run = load_relaxed(&entry->run);
                if (own && run <= seg->n_spans - span)
                        join_run(a, span, run);
                while (block_resume_free(a, span, UINT32_MAX) > 0)
                        ;
                break;
        case MH_SHM_SPAN_SMALL:
                if (own)
                        tidy_small(a, span, word);
                break;
        case MH_SHM_SPAN_CLAIMED:
                if (own)
                        span_release(a, span);
                break;
        case MH_SHM_SPAN_FREE:
                span_note_free(seg, span);
                ledger_clear_span(a, span);
                break;
        default:
                break;
        }
}

void scratch_tidy(Actor *a)
{
        for (uint32_t w = 0; w < (a->seg->n_spans + 63) / 64; w++)
                for (uint64_t bits = ledger_span_word(a, w); bits; bits &= bits - 1) {
                        a->span_words = w + 1;
                        tidy_span(a, w * 64 + (unsigned)__builtin_ctzll(bits));
                }
}

/* ------------------------------------------------------------------------------------------------ freeing */

/* The block that this index names, alive. block_done() must follow a success. */
static int find_alive(Actor *a, uint64_t scratch, Block *ret, uint64_t *ret_owner)
{
        int r;

        if (!scratch)
                return -EINVAL;
        r = block_find(a, scratch_offset(scratch), ret);
        if (r < 0)
                return r;
        *ret_owner = load_sc(ret->owner);
        if (owner_tag(*ret_owner) == scratch_tag(scratch) &&
            (owner_kind(*ret_owner) == MH_SHM_OWNER_CLIENT || owner_kind(*ret_owner) == MH_SHM_OWNER_SLOT))
                return 0;
        block_done(a);
        return -ESTALE;
}

/*
 * A span of this actor's, not the one blocks are taken from, may be empty now. To look costs a pass over its owner words; when
 * some are found in use, at least so many frees must come before it is worth to look again.
 */
static void consider_release(Actor *a, uint32_t span)
{
        struct mh_shm_span *entry = &a->spans[span];
        struct mh_shm_owners *area = &a->owners[span];
        uint64_t word = load_relaxed(&entry->word);
        uint32_t used = 0, n = class_blocks(span_arg(word));

        for (uint32_t i = 0; i < n; i++)
                used += !owner_is_bare(load_sc(&area->word[i]));
        area->countdown = used ? used : n;
        if (used || keep_spare(a, span))
                return;
        /* Only we take blocks from it, so empty it stays. */
        store_sc(&entry->word, span_with(word, MH_SHM_SPAN_CLAIMED, a->id, span));
        span_release(a, span);
}

/* A block of that kind was freed, by whatever way. */
static void freed(Actor *a, const Block *b)
{
        unsigned class = span_arg(b->span_word);
        struct mh_shm_owners *area = &a->owners[b->span];

        if (block_is_large(b) || !is_own(a, b->span, class) || a->classes[class].span == b->span + 1)
                return;
        if (area->countdown > 1)
                area->countdown--;
        else
                consider_release(a, b->span);
}

static int free_any(Actor *a, uint64_t scratch)
{
        uint64_t owner;
        Block b;
        int r;

        r = find_alive(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        if (owner_kind(owner) == MH_SHM_OWNER_SLOT) {
                r = -EBUSY;
        } else if (block_free(a, &b, owner)) {
                account_free(a, b.size, owner_who(owner) == a->id);
                freed(a, &b);
        } else {
                /* Somebody was quicker: given away in this moment, or freed. */
                r = owner_kind(load_sc(b.owner)) == MH_SHM_OWNER_SLOT &&
                                    owner_tag(load_sc(b.owner)) == scratch_tag(scratch)
                            ? -EBUSY
                            : -ESTALE;
        }
        block_done(a);
        return r;
}

/* The rest of a free in a span of this actor's, where it did not take a block last. The span may be empty. */
static _noinline_ int freed_elsewhere(Actor *a, uint64_t offset, unsigned class, uint32_t index)
{
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE);
        struct mh_shm_owners *area = &a->owners[span];
        ActorClass *k = &a->classes[class];

        if (k->n_freed < ACTOR_FREED && offset / MH_SHM_BLOCK_ALIGN <= UINT32_MAX)
                k->freed[k->n_freed++] = (uint32_t)(offset / MH_SHM_BLOCK_ALIGN);
        else
                block_note_free(a->seg, span, index);
        if (k->span == span + 1)
                return 0;
        if (area->countdown > 1)
                area->countdown--;
        else
                consider_release(a, span);
        return 0;
}

/* There is nothing to do in it but to count. */
static inline bool free_is_only_counted(const ActorClass *k, struct mh_shm_owners *area, uint32_t span, uint32_t index)
{
        if (load_sc(&area->hints) >> index / 64 & 1 && k->n_freed == ACTOR_FREED && k->span != span + 1 &&
            area->countdown > 1) {
                area->countdown--;
                return true;
        }
        return false;
}

/* Has this span an entry? As span_entry(), but it remembers. */
static inline bool knows_entry(Actor *a, uint32_t span)
{
        uint32_t n;

        if (likely(span < a->n_spans))
                return true;
        n = load_acquire(&a->shared->span_hwm); /* as in span_entry() */
        a->n_spans = n < a->seg->n_spans ? n : a->seg->n_spans;
        return span < a->n_spans;
}

/*
 * The usual case of free_any(): a small block in a span of somebody who lives, where others have come before. Anything else is
 * left to that, with nothing done. The span has an entry.
 */
static _noinline_ int free_as_visitor(Actor *a, uint64_t scratch)
{
        uint64_t offset = scratch_offset(scratch), tag = scratch - offset, word, next, owner, client;
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), class, index;
        struct mh_shm_owners *area = &a->owners[span];

        hazard_set(a, span);
        word = load_sc(&a->spans[span].word); /* the hazard was there before: from here on the memory stays */
        class = span_arg(word);
        client = span_client(word);
        if (span_state(word) != MH_SHM_SPAN_SMALL || class >= MH_SHM_CLASSES || client >= a->seg->n_clients)
                goto not_this;
        index = class_index(class, offset % MH_SHM_SPAN_SIZE);
        if (index == UINT32_MAX || __builtin_add_overflow(tag, UINT64_C(1) << MH_SHM_SCRATCH_TAG_SHIFT, &next) ||
            !(load_sc(&area->visitors) & MH_SHM_VISITORS_SEEN))
                goto not_this;
        owner = load_sc(&area->word[index]);
        if (owner != tag + owner_make(0, MH_SHM_OWNER_CLIENT, 0, owner_who(owner)) ||
            load_sc(&a->seg->hazards[client].line[span_thread(word)].freeing) == scratch ||
            !cas_sc(&area->word[index], &owner, next))
                goto not_this;
        if (unlikely(!(load_sc(&area->hints) >> index / 64 & 1)))
                block_note_free(a->seg, span, index);
        if (unlikely(load_sc(&a->spans[span].word) != word))
                block_release_orphan(a, span); /* as in free_small() of block.c */
        account_free(a, class_size(class), owner_who(owner) == a->id);
        hazard_clear(a);
        return 0;

not_this:
        hazard_clear(a);
        return free_any(a, scratch);
}

/*
 * The usual case first: a small block of our own, in a span from which this very actor takes blocks and where nobody else has come
 * yet. The span is ours to give back, so its memory stays, and no hazard is needed; and the owner word needs no locked instruction:
 * see block.c. (What is left at a span's end has an owner word, too, which is never a client's.)
 */
int scratch_free(Actor *a, uint64_t scratch)
{
        uint64_t offset = scratch_offset(scratch), tag = scratch - offset, next, class, i, *owner;
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), index;
        struct mh_shm_hazard_line *line = a->hazard;
        struct mh_shm_owners *area;
        ActorClass *k;

        if (unlikely(!knows_entry(a, span)))
                return free_any(a, scratch);
        /* If it says that it is ours, only we change it. Then all that is left of its difference to what it says is the class. */
        class = (load_relaxed(&a->spans[span].word) ^ a->small) << SPAN_INC_BITS >> SPAN_INC_BITS;
        if (class >= MH_SHM_CLASSES)
                return free_as_visitor(a, scratch);
        index = class_index((unsigned)class, offset % MH_SHM_SPAN_SIZE);
        if (unlikely(index == UINT32_MAX) ||
            unlikely(__builtin_add_overflow(tag, UINT64_C(1) << MH_SHM_SCRATCH_TAG_SHIFT, &next)))
                return free_any(a, scratch);
        area = &a->owners[span];
        owner = &area->word[index];

        /* Relaxed, and a barrier for the compiler only: who comes to visit makes us pass a real one. Pairs with block_visit(). */
        store_relaxed(&line->freeing, scratch);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (unlikely(load_relaxed(&area->visitors)) || unlikely(load_relaxed(owner) != tag + a->owner_word)) {
                store_relaxed(&line->freeing, 0); /* nothing was done that it could be ordered with */
                return free_any(a, scratch);
        }
        /* Release: what was written to the block comes first. Pairs with every look at it. `next` is FREE with tag_after(). */
        store_release(owner, next);
        /* Release: who finds 0 finds the block free. Pairs with block_visit(). */
        store_release(&line->freeing, 0);

        account_free(a, class_size((unsigned)class), true);
        k = &a->classes[class];
        i = (uint64_t)(owner - k->owner);
        if (unlikely(i >= 64))
                return free_is_only_counted(k, area, span, index) ? 0
                                                                  : freed_elsewhere(a, offset, (unsigned)class, index);
        k->candidates |= UINT64_C(1) << i;
        return 0;
}

int scratch_lookup(Actor *a, uint64_t scratch, void **ret_data, uint64_t *ret_size)
{
        uint64_t owner;
        Block b;
        int r;

        r = find_alive(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        block_done(a);
        if (ret_data)
                *ret_data = a->seg->scratch + b.offset;
        if (ret_size)
                *ret_size = b.size;
        return 0;
}

int scratch_owner(Actor *a, uint64_t scratch, uint64_t *ret_owner)
{
        uint64_t owner;
        Block b;
        int r;

        r = find_alive(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        block_done(a);
        *ret_owner = owner;
        return 0;
}

/* ------------------------------------------------------------------------------------------------ giving */

/* The handle is pinned. */
static int give_pinned(Actor *a, const Block *b, uint64_t scratch, uint64_t owner, uint32_t slot)
{
        uint64_t *refs = a->seg->slots[slot].refs, ref = ref_make(scratch, a->id);

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t seen = 0;

                if (!cas_sc(&refs[e], &seen, ref))
                        continue;
                if (block_visit(a, b, owner) &&
                    cas_sc(b->owner, &owner, owner_make(owner_tag(owner), MH_SHM_OWNER_SLOT, e, slot)))
                        return 0;
                /* Freed by somebody in this moment. The entry is ours to empty, because we filled it. */
                seen = ref;
                (void)cas_sc(&refs[e], &seen, 0);
                return -ESTALE;
        }
        return -ENOSPC;
}

int scratch_give(Actor *a, uint64_t scratch, uint64_t handle)
{
        uint64_t owner;
        Block b;
        int r;

        r = slot_held(a, handle, NULL);
        if (r < 0)
                return r;
        r = find_alive(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        if (owner_kind(owner) == MH_SHM_OWNER_SLOT) {
                r = -EBUSY;
        } else if (owner_who(owner) != a->id) {
                r = -EBADF;
        } else {
                /* One more reference, so that the handle cannot go while the block is on its way to it. */
                r = slot_open(a, handle, NULL);
                if (r == 0) {
                        r = give_pinned(a, &b, scratch, owner, handle_slot(handle));
                        (void)slot_close(a, handle, NULL);
                        if (r == 0)
                                actor_count(&a->account->owned_bytes, -b.size);
                }
        }
        block_done(a);
        return r;
}

static bool is_named(uint64_t owner, uint32_t slot, unsigned entry)
{
        return owner_kind(owner) == MH_SHM_OWNER_SLOT && owner_who(owner) == slot && owner_entry(owner) == entry;
}

void scratch_drop_refs(Actor *a, uint32_t slot)
{
        uint64_t *refs = a->seg->slots[slot].refs;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t ref = load_sc(&refs[e]), owner;
                Block b;

                if (!ref)
                        continue;
                if (block_find(a, ref_offset(ref), &b) == 0) {
                        owner = load_sc(b.owner);
                        if (is_named(owner, slot, e) && block_free(a, &b, owner))
                                account_free(a, b.size, false);
                        else if (!block_is_large(&b))
                                block_release_orphan(a, b.span); /* freed before, by one who died before it looked */
                        block_done(a);
                }
                /* The owner word first, the entry last: in this order it can be done again. */
                store_sc(&refs[e], 0);
        }
}

void scratch_drop_unused_refs(Actor *a, uint32_t slot, uint32_t giver)
{
        uint64_t *refs = a->seg->slots[slot].refs;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                uint64_t ref = load_sc(&refs[e]);
                bool used;
                Block b;

                if (!ref || ref_giver(ref) != giver)
                        continue;
                used = false;
                if (block_find(a, ref_offset(ref), &b) == 0) {
                        used = is_named(load_sc(b.owner), slot, e);
                        block_done(a);
                }
                if (!used)
                        (void)cas_sc(&refs[e], &ref, 0);
        }
}
