/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Spans: 64 KiB of scratch each, and the owner words that go with them. A span is claimed by one client, and until it lets go
 * only that client changes its state:
 *
 *   FREE -> CLAIMED(c) -> SMALL(c, class) -> CLAIMED(c) -> FREE
 *                              |    ^
 *                    c died    v    | adopted, with the next incarnation
 *                          ORPHAN(class) -> CLAIMED(c) -> FREE
 *   FREE -> CLAIMED(c, head) -> LARGE(c) or CONT(head) -> CLAIMED(c, head) -> FREE
 *
 * CLAIMED always means that no living block is inside. The client's ledger bit is set before the claim and cleared last.
 */

#include "shm/actor.h"
#include "shm/words.h"

/* Is it a span, which has an entry, from which this very actor takes small blocks of that class? Then only it changes the span's
 * word; relaxed, therefore: if it is another's, it stays another's for this actor. */
static inline bool span_serves(const Actor *a, uint32_t span, unsigned class)
{
        uint64_t word = load_relaxed(&a->spans[span].word);

        return span_state(word) == MH_SHM_SPAN_SMALL && span_client(word) == a->id && span_thread(word) == a->thread &&
               span_arg(word) == class;
}

/* The entry of a span that exists (has memory), or NULL. */
static inline struct mh_shm_span *span_entry(const Segment *seg, uint32_t span)
{
        /* Acquire: entries below the mark have their pages. Pairs with raise_mark(). */
        return span < seg->n_spans && span < load_acquire(&seg->shared->span_hwm) ? &seg->spans[span] : NULL;
}

/* The owner words of a span. */
static inline uint64_t *span_owners(const Segment *seg, uint32_t span)
{
        return seg->owners[span].word;
}

/* FREE to CLAIMED(this client, head), ledger bit set. 1: done; 0: it is not free; -ENOSPC. */
int span_claim(Actor *a, uint32_t span, uint32_t head);

/* Finds and claims `n` spans in a row; their memory is not reserved yet. -ENOSPC. */
int span_claim_run(Actor *a, uint32_t n, uint32_t *ret_head);

/* Reserves data of `n` claimed spans, and the owner words of the first: zeros for `blocks` of them. -ENOSPC. */
int span_populate(Actor *a, uint32_t span, uint32_t n, uint32_t blocks);

/* CLAIMED to FREE: memory back, tag floor raised, ledger bit cleared last. Repeatable. */
void span_release(Actor *a, uint32_t span);

/* The same for `n` spans in a row without owner words; gives their data back in one go. */
void span_release_run(Actor *a, uint32_t span, uint32_t n);

/* Sets the ledger bit of the span, and changes its word: to this client's. No hazard of this actor is set. False: it is not `from`. */
bool span_take(Actor *a, uint32_t span, uint64_t from, uint64_t to);

/*
 * Clears the ledger bit of a span that this actor has nothing to do with any more. Another thread of the client may be claiming
 * it at the same time.
 */
void span_forget(Actor *a, uint32_t span);

/* Does the span's word say that this client's ledger must name it? */
bool span_is_own(const Actor *a, uint32_t span);

/* Hint: a FREE span that a dead client had claimed can be found again. */
void span_note_free(Segment *seg, uint32_t span);

/* The first tag of a block whose owner word is zero. */
uint32_t span_first_tag(const struct mh_shm_span *entry);

/* Raises the tag floor above all tags in use in the first `blocks` owner words, which are there. */
void span_raise_floor(const Segment *seg, uint32_t span, uint32_t blocks);
