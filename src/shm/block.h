/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One scratch block and its owner word. Indexes come from anywhere, so every part of them is checked; and spans of others may
 * lose their memory at any time, so between block_find() and block_done() a hazard keeps it.
 */

#include "shm/actor.h"
#include "shm/words.h"

typedef struct Block {
        uint64_t *owner;    /* its owner word */
        uint64_t span_word; /* what the span's word said when the hazard was already set */
        uint64_t offset;    /* of the data, from the start of scratch */
        uint64_t size;      /* bytes that can be used */
        uint32_t span;
        uint32_t index; /* in the span */
} Block;

static inline bool block_is_large(const Block *b)
{
        return span_state(b->span_word) == MH_SHM_SPAN_LARGE;
}

/* The block that begins at this byte offset, or -ESTALE. block_done() must follow a success. */
int block_find(Actor *a, uint64_t offset, Block *ret);
void block_done(Actor *a);

/*
 * Before the owner word of somebody else's block in use, which was `owner`, is changed: makes sure that a compare-and-swap is right.
 * False: the thread whose span it is frees the block in this very moment. Between block_find() and block_done().
 */
bool block_visit(Actor *a, const Block *b, uint64_t owner);

/*
 * Frees the block if its owner word is still `owner`, and sees to what follows: a large one's spans are given back, a span whose
 * owner is dead is released with its last block. False: the word is another one now. Between block_find() and block_done().
 * Who works piecemeal only begins to free a large one, and goes on with block_resume_free().
 */
bool block_free(Actor *a, const Block *b, uint64_t owner);

/* Hint, after a block became free: tells the span's owner, who looks for free blocks where a bit is set. */
void block_note_free(Segment *seg, uint32_t span, uint32_t index);

/*
 * For the reaper: whatever a free, begun by this client and cut short, had left to do in that span. At most about `n` spans are
 * given back; 1: there is more to do, and the hazard stays until then. Repeatable.
 */
int block_resume_free(Actor *a, uint32_t span, uint32_t n);

/* Has the span, SMALL and this client's, or ORPHAN and with a hazard, no block in use? */
bool block_none_used(const Segment *seg, uint32_t span, unsigned class);

/*
 * Goes on giving back the large block at `head`, whose owner word says FREEING by this client: at most `n` spans. 1: there is more.
 */
int block_release_large(Actor *a, uint32_t head, uint32_t n);

/* Releases the span if it is ORPHAN and empty. A hazard of this actor is set on it. */
void block_release_orphan(Actor *a, uint32_t span);
