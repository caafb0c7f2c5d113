/* SPDX-License-Identifier: MIT */

/*
 * Taking scratch memory, and freeing it. See stock.c for where free blocks are found, block.c for owner words.
 *
 * Small blocks come from spans of one size class that belong to one client (to one thread of it). Only that thread turns
 * the owner word of a free block there into its own, so taking a block needs no locked instruction: a load and a release
 * store do. That rests on two things: everybody else changes only words that are not free, and a span is
 * taken from its client only when the client is really dead.
 *
 * Relaxed are: accounts, each line of which one thread writes; limits and hints, which need no order with anything; and the
 * word of a span that is this actor's, which nobody else changes.
 */

#include <errno.h>

#include "base/atomics.h"
#include "base/likely.h"
#include "shm/block.h"
#include "shm/hazard.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/span.h"
#include "shm/stock.h"
#include "shm/words.h"

#define SPAN_INC_BITS (64 - MH_SHM_SPAN_INC_SHIFT)

#define SCRATCH_MAX (UINT64_C(1) << 40)

/* A block's tag tells how often it was freed: of the operations on any block, one in 256 finds none of these bits set, and stops
 * its thread: see actor_stop(). Where blocks are taken one after the other that nobody ever freed, it is one refill in so many. */
#define TAG_STOP       (UINT64_C(0xff) << MH_SHM_SCRATCH_TAG_SHIFT)
#define REFILLS_A_STOP 16U

/* ------------------------------------------------------------------------------------------------ accounts */

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
        /* Another thread of this client may be about to give it back. */
        hazard_set(a, span);
        n = load_sc(&entry->word) == word ? class_blocks(span_arg(word)) : 0;
        for (uint32_t i = 0; i < n; i++)
                if (owner_kind(load_sc(&span_owners(a->seg, span)[i])) == MH_SHM_OWNER_CLIENT)
                        sum += class_size(span_arg(word));
        hazard_clear(a);
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

static bool is_limited(const Actor *a)
{
        /* Relaxed: as in check_quota(). */
        return load_relaxed(&a->shared->limit_client_scratch) != UINT64_MAX;
}

static bool is_same(const struct mh_shm_account_line *a, const struct mh_shm_account_line *b)
{
        return a->alloc_bytes == b->alloc_bytes && a->free_bytes == b->free_bytes &&
               a->disowned_bytes == b->disowned_bytes && a->lost_bytes == b->lost_bytes;
}

/* Counts what is owned, and notes what others freed. If other threads of this client went on meanwhile, that is left to the next one. */
static uint64_t count_anew(Actor *a, const struct mh_shm_account_line *before)
{
        uint64_t counted = count_owned(a), lost = before->lost_bytes;
        struct mh_shm_account_line after = account_sum(a->page);

        if (is_same(before, &after))
                (void)cas_sc(&a->page->line[0].lost_bytes, &lost, lost + account_owned(before) - counted);
        return counted;
}

/*
 * A limit is the client's, not one of its threads': all their lines are summed up. Threads that come to it in the same instant may
 * pass it by one block each, because what is taken is counted afterwards.
 */
static int check_quota(Actor *a, uint64_t size)
{
        /* Relaxed: the daemon wrote it before this client was there, see sign(), and it stays. */
        uint64_t limit = load_relaxed(&a->shared->limit_client_scratch);
        struct mh_shm_account_line sum;

        if (!is_limited(a))
                return 0;
        if (size > limit)
                return -EDQUOT;
        sum = account_sum(a->page);
        if (account_owned(&sum) <= limit - size || count_anew(a, &sum) <= limit - size)
                return 0;
        return -EDQUOT;
}

/* ------------------------------------------------------------------------------------------------ small blocks */

/* The block whose owner word is FREE with that tag (shifted) becomes this client's. */
static inline void take_block(Actor *a, uint64_t *owner, uint64_t tag, uint64_t offset, uint32_t size,
                              uint64_t *ret_scratch)
{
        if (unlikely(a->intent != NULL))
                store_sc(&a->intent->target, tag | offset);
        /* Release, and no compare-and-swap: nobody else changes a free word of our span. Pairs with every look at it. */
        store_release(owner, tag | a->owner_word);
        actor_count_alloc(a, size);
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
        take_block(a, &k->owner[i], scratch_make(tag, 0), k->offset + (uint64_t)i * k->size, k->size, ret_scratch);
        return 0;
}

/* Takes one of those that were freed elsewhere. -EAGAIN: there is none any more. */
static int take_freed(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        ActorClass *k = &a->classes[class];

        while (k->n_freed > 0) {
                uint64_t offset = (uint64_t)k->freed[--k->n_freed] * MH_SHM_BLOCK_ALIGN, word;
                uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE), index;

                if (!span_serves(a, span, class))
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
        ActorClass *k = &a->classes[class];
        int r;

        if (check_quota(a, k->size) < 0)
                return -EDQUOT;
        stock_cool(k);
        if (!k->candidates) {
                r = take_freed(a, class, ret_scratch);
                if (r == 0) {
                        if (!(*ret_scratch & TAG_STOP))
                                actor_stop(a);
                        return 0;
                }
        }
        do {
                if (!k->candidates) {
                        if (++a->n_refills % REFILLS_A_STOP == 0)
                                actor_stop(a);
                        r = stock_refill(a, class);
                        if (r < 0)
                                return r;
                }
                r = take_candidate(a, class, ret_scratch);
        } while (r == -EAGAIN);
        return r;
}

/*
 * The usual cases: the hot block, whose word is not even looked at, because between a free of ours and now only we could change it;
 * else take_candidate().
 */
static inline int alloc_small(Actor *a, unsigned class, uint64_t *ret_scratch)
{
        ActorClass *k = &a->classes[class];
        uint64_t candidates, word, size, i, *owner = k->hot;

        if (unlikely(is_limited(a)))
                return alloc_small_anyhow(a, class, ret_scratch);
        if (owner) {
                k->hot = NULL;
                store_release(owner, k->hot_word | a->owner_word); /* as in take_block() */
                actor_count_alloc(a, k->size);
                *ret_scratch = k->hot_index;
                if (unlikely(!(k->hot_word & TAG_STOP)))
                        actor_stop(a);
                return 0;
        }
        candidates = k->candidates;
        if (unlikely(!candidates))
                return alloc_small_anyhow(a, class, ret_scratch);
        i = (unsigned)__builtin_ctzll(candidates);
        owner = &k->owner[i];
        word = load_acquire(owner); /* pairs with the free that made it free */
        if (unlikely(!word) || unlikely(word << (64 - MH_SHM_SCRATCH_TAG_SHIFT)))
                return alloc_small_anyhow(a, class, ret_scratch);
        k->candidates = candidates & (candidates - 1);
        size = k->size;
        store_release(owner, word | a->owner_word); /* as in take_block() */
        actor_count_alloc(a, size);
        *ret_scratch = word | (k->offset + i * size);
        return 0;
}

/* ------------------------------------------------------------------------------------------------ large blocks */

/* The other spans of a block that exists say so; the ledger needs to name only the head from here on. */
static void join_run(Actor *a, uint32_t head, uint32_t n)
{
        for (uint32_t i = head + 1; i < head + n; i++) {
                /*
                 * Relaxed: a span that is CLAIMED by this client is its alone to change; of any other only that it
                 * is not is taken from here.
                 */
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

        /*
         * Relaxed: CLAIMED by us, so nobody reads them before LARGE, below, with which block_find() and
         * block_release_large() pair.
         */
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
        if (r == -ENOSPC && stock_find_memory(a))
                r = claim_large(a, n, &head);
        if (r < 0)
                return r;
        tag = span_first_tag(&a->seg->spans[head]);
        scratch = scratch_make(tag, (uint64_t)head * MH_SHM_SPAN_SIZE);
        if (a->intent)
                store_sc(&a->intent->target, scratch);
        publish_large(a, head, n, size, tag);
        actor_count_alloc(a, spans * MH_SHM_SPAN_SIZE);
        actor_stop(a);
        *ret_scratch = scratch;
        return 0;
}

static _noinline_ int take_more(Actor *a, uint64_t size, uint64_t *ret_scratch)
{
        if (unlikely(size - 1 >= MH_SHM_SMALL_MAX)) /* 0 too */
                return alloc_large(a, size, ret_scratch);
        return alloc_small(a, class_of((uint32_t)size), ret_scratch);
}

int scratch_take(Actor *a, uint64_t size, uint64_t *ret_scratch)
{
        /* Most of what is asked for. The compiler need not be told the rest of class_of() then. */
        if (unlikely(size - 1 >= CLASS_TABLE_MAX))
                return take_more(a, size, ret_scratch);
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
                /* Relaxed: pairs with the store of LARGE in publish_large(); the word was loaded above. */
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

int scratch_find(Actor *a, uint64_t scratch, Block *ret, uint64_t *ret_owner)
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

/* A block was freed in a span of this actor's: after so many of them it is looked whether it is empty. */
static void count_down(Actor *a, uint64_t class, uint32_t span)
{
        uint32_t *countdown = &a->owners[span].countdown;

        if (*countdown > 1)
                (*countdown)--;
        else if (a->classes[class].span == span + 1)
                *countdown = class_blocks(class); /* blocks are taken from it: see stock_refill() */
        else
                stock_consider(a, (unsigned)class, span);
}

static int free_any(Actor *a, uint64_t scratch)
{
        uint64_t owner;
        Block b;
        int r;

        r = scratch_find(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        if (owner_kind(owner) == MH_SHM_OWNER_SLOT) {
                r = -EBUSY;
        } else if (block_free(a, &b, owner)) {
                actor_count_free(a, b.size, owner_who(owner) == a->id);
                if (!block_is_large(&b) && span_serves(a, b.span, span_arg(b.span_word)))
                        count_down(a, span_arg(b.span_word), b.span);
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
static _noinline_ int freed_elsewhere(Actor *a, uint64_t offset, ActorClass *k)
{
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE);
        uint64_t class = (uint64_t)(k - a->classes);

        if (k->n_freed < ACTOR_FREED && offset / MH_SHM_BLOCK_ALIGN <= UINT32_MAX)
                k->freed[k->n_freed++] = (uint32_t)(offset / MH_SHM_BLOCK_ALIGN);
        else
                block_note_free(a->seg, span, class_index(class, offset % MH_SHM_SPAN_SIZE));
        count_down(a, class, span);
        return 0;
}

/* There is nothing to do in it but to count: most frees are such where many follow each other in another order than they were taken. */
static inline bool free_is_only_counted(const ActorClass *k, struct mh_shm_owners *area, uint32_t index)
{
        if (k->n_freed < ACTOR_FREED || !(load_sc(&area->hints) >> index / 64 & 1) || area->countdown <= 1)
                return false;
        area->countdown--;
        return true;
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

/* The block was freed; what is left to do is seldom anything. The hazard is set. */
static _noinline_ int freed_as_visitor(Actor *a, uint64_t offset, uint64_t span_word, uint64_t index)
{
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE);

        block_note_free(a->seg, span, (uint32_t)index);
        if (load_sc(&a->spans[span].word) != span_word)
                block_release_orphan(a, span); /* as in free_small() of block.c */
        hazard_clear(a);
        return 0;
}

static _noinline_ int free_any_after_all(Actor *a, uint64_t scratch)
{
        hazard_clear(a);
        return free_any(a, scratch);
}

/*
 * The usual case of free_any(): a small block in a span of somebody who lives, where others have come before. Anything else is
 * left to that, with nothing done. The span has an entry.
 */
static _noinline_ int free_as_visitor(Actor *a, uint64_t scratch)
{
        uint64_t offset = scratch_offset(scratch), word, next, owner, client, class, index;
        uint32_t span = (uint32_t)(offset / MH_SHM_SPAN_SIZE);
        struct mh_shm_owners *area = &a->owners[span];

        hazard_set(a, span);
        word = load_sc(&a->spans[span].word); /* the hazard was there before: from here on the memory stays */
        class = span_arg(word);
        client = span_client(word);
        if (unlikely(span_state(word) != MH_SHM_SPAN_SMALL) || unlikely(class >= MH_SHM_CLASSES) ||
            unlikely(client >= a->seg->n_clients))
                return free_any_after_all(a, scratch);
        index = class_index(class, offset % MH_SHM_SPAN_SIZE);
        if (unlikely(index == UINT32_MAX) || unlikely(!(load_sc(&area->visitors) & MH_SHM_VISITORS_SEEN)))
                return free_any_after_all(a, scratch);
        owner = load_sc(&area->word[index]);
        if (unlikely(owner != scratch - offset + owner_make(0, MH_SHM_OWNER_CLIENT, 0, owner_who(owner))) ||
            unlikely(load_sc(&a->seg->hazards[client].line[span_thread(word)].freeing) == scratch) ||
            unlikely(__builtin_add_overflow(scratch - offset, UINT64_C(1) << MH_SHM_SCRATCH_TAG_SHIFT, &next)))
                return free_any_after_all(a, scratch);
        client = owner_who(owner);
        if (unlikely(!cas_sc(&area->word[index], &owner, next)))
                return free_any_after_all(a, scratch);
        actor_count_free(a, class_size(class), client == a->id);
        if (unlikely(!(scratch & TAG_STOP)))
                actor_stop(a);
        if (unlikely(!(load_sc(&area->hints) >> index / 64 & 1)) || unlikely(load_sc(&a->spans[span].word) != word))
                return freed_as_visitor(a, offset, word, index);
        hazard_clear(a);
        return 0;
}

/*
 * The usual case first: a small block of our own, in a span from which this very actor takes blocks and where nobody else has come
 * yet. The span is ours to give back, so its memory stays, and no hazard is needed; and the owner word needs no locked instruction:
 * see block.c. (What is left at a span's end has an owner word, too, which is never a client's.)
 */
int scratch_free(Actor *a, uint64_t scratch)
{
        uint64_t offset = scratch_offset(scratch), next, class, i, *owner;
        struct mh_shm_hazard_line *line = a->hazard;
        struct mh_shm_owners *area;
        uint32_t index;
        ActorClass *k;

        if (unlikely(!knows_entry(a, (uint32_t)(offset / MH_SHM_SPAN_SIZE))))
                return free_any(a, scratch);
        /* If it says that it is ours, only we change it. Then all that is left of its difference to what it says is the class. */
        class = (load_relaxed(&a->spans[offset / MH_SHM_SPAN_SIZE].word) ^ a->small) << SPAN_INC_BITS >> SPAN_INC_BITS;
        if (class >= MH_SHM_CLASSES)
                return free_as_visitor(a, scratch);
        index = class_index(class, offset % MH_SHM_SPAN_SIZE);
        if (unlikely(index == UINT32_MAX))
                return free_any(a, scratch);
        area = &a->owners[offset / MH_SHM_SPAN_SIZE];
        owner = &area->word[index];

        /* Relaxed, and a barrier for the compiler only: who comes to visit makes us pass a real one. Pairs with block_visit(). */
        store_relaxed(&line->freeing, scratch);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (unlikely(load_relaxed(&area->visitors)) ||
            unlikely(((load_relaxed(owner) - a->owner_word) ^ offset) != scratch) ||
            unlikely(__builtin_add_overflow(scratch, UINT64_C(1) << MH_SHM_SCRATCH_TAG_SHIFT, &next))) {
                store_relaxed(&line->freeing, 0); /* nothing was done that it could be ordered with */
                return free_any(a, scratch);
        }
        /* Release: what was written to the block comes first. Pairs with every look at it. FREE, with tag_after(). */
        store_release(owner, next - offset);
        /* Release: who finds 0 finds the block free. Pairs with block_visit(). */
        store_release(&line->freeing, 0);

        /* From here on `next` stands for offset and tag: there are registers enough, and hardly any has to be saved. */
        k = &a->classes[class];
        actor_count_free(a, k->size, true);
        i = (uint64_t)(owner - k->owner);
        if (unlikely(i >= 64))
                return free_is_only_counted(k, area, index) ? 0 : freed_elsewhere(a, scratch_offset(next), k);
        if (likely(!k->hot)) {
                k->hot = owner;
                k->hot_word = next - scratch_offset(next);
                k->hot_index = next;
                return 0;
        }
        k->candidates |= UINT64_C(1) << i;
        return 0;
}

int scratch_lookup(Actor *a, uint64_t scratch, void **ret_data, uint64_t *ret_size)
{
        uint64_t owner;
        Block b;
        int r;

        r = scratch_find(a, scratch, &b, &owner);
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

        r = scratch_find(a, scratch, &b, &owner);
        if (r < 0)
                return r;
        block_done(a);
        *ret_owner = owner;
        return 0;
}
