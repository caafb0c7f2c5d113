/* SPDX-License-Identifier: MIT */
#pragma once

/* A segment as seen from outside: read with pread(2), never mapped.
 *
 * Reading a hole through a mapping would allocate it; pread(2) does not, and asks nobody. What is read here is not trusted:
 * high-water marks are cut to what there is, and all that is asked for by number must be in range, which is the caller's to
 * check. Nothing stands still meanwhile: each word is what it was at some time, and two words need not fit.
 *
 * Reading fails in one place: the first error stays in `error`, and from then on everything reads as zeros. So a caller looks
 * at it once, at the end.
 *
 * This is for verify and for mono-handlectl. It allocates, because a copy of a table has no other place; nothing that
 * changes a segment uses it. */

#include <stdbool.h>

#include "shm/segment.h"

typedef struct ViewPage ViewPage;

typedef struct View {
        Segment seg;                 /* loaded, not mapped; the descriptor is the caller's */
        int error;                   /* the first, negative; 0: none so far */
        struct mh_shm_shared shared; /* as read */
        uint32_t client_hwm;         /* the marks in it, but never more than there are */
        uint32_t chunk_hwm;
        uint32_t span_hwm;
        struct mh_shm_client *clients; /* [n_clients]; zeros from client_hwm on */
        uint64_t *pages;               /* [ledger_rows][client_words]: which client's ledger has data in that page */
        uint32_t ledger_rows;
        uint32_t client_words;
        ViewPage *cache;
} View;

/* Loads the segment behind `fd` and reads its tables. Errors of segment_load(), -ENOMEM. Always to be released. */
int view_open(View *v, int fd);
void view_done(View *v);

/* Forgets what was read, and reads the tables anew. Returns v->error. */
int view_refresh(View *v);

/* Reads part of a region, past the cache. */
void view_read(View *v, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size);

/* Where data begins in [from, end) of a region, and ends. Memory that was reserved and never written is no data. */
bool view_data(View *v, enum mh_shm_region_id region, uint64_t from, uint64_t end, uint64_t *ret_start,
               uint64_t *ret_end);

/* One of enum mh_shm_client_state, or what else the entry says. Out of range is FREE. */
unsigned view_client_state(const View *v, uint32_t id);

/* Single things, through a cache. In range. */
void view_slot(View *v, uint32_t slot, struct mh_shm_slot *ret);
uint64_t view_ledger_word(View *v, uint32_t client, uint32_t slot);
void view_account(View *v, uint32_t client, struct mh_shm_account *ret);
bool view_span_bit(View *v, uint32_t client, uint32_t span);
void view_span(View *v, uint32_t span, struct mh_shm_span *ret);
uint64_t view_owner(View *v, uint32_t span, uint32_t block);
uint64_t view_chunk_word(View *v, uint32_t chunk);
bool view_hint(View *v, enum mh_shm_region_id region, uint32_t bit);

/* A chunk, with all slots and holder bits. */
typedef struct ViewChunk {
        uint32_t index;
        struct mh_shm_chunk chunk;
        struct mh_shm_slot slots[MH_SHM_CHUNK_SLOTS];
        uint64_t holders[][MH_SHM_CHUNK_SLOTS]; /* [n_groups] */
} ViewChunk;

/* NULL: no memory. To be released by free(3). */
ViewChunk *view_chunk_new(const View *v);
void view_chunk(View *v, uint32_t chunk, ViewChunk *ret);

/* The ledgers that have data for this chunk: the first client from `from` on, or n_clients. */
uint32_t view_next_ledger(const View *v, uint32_t chunk, uint32_t from);
void view_ledger_words(View *v, uint32_t client, uint32_t chunk, uint64_t ret[static MH_SHM_CHUNK_SLOTS]);

/* Span bits come in pages of this many; the same for them. */
#define VIEW_SPANS_PER_PAGE (MH_SHM_PAGE * 8U)
uint32_t view_next_span_ledger(const View *v, uint32_t page, uint32_t from);
void view_span_bits(View *v, uint32_t client, uint32_t page, uint64_t ret[static VIEW_SPANS_PER_PAGE / 64]);

/* A scratch block. */
typedef struct ViewBlock {
        uint64_t word; /* its owner word */
        uint64_t span_word;
        uint64_t offset; /* of the block, in the scratch region */
        uint64_t size;   /* bytes of the whole block */
        uint32_t span;
        uint32_t index;
} ViewBlock;

/* Is there room for a block at this offset of the scratch region, whoever owns it? */
bool view_block(View *v, uint64_t offset, ViewBlock *ret);

/* Of a span: the number of blocks, 0 where it has none, and the bytes of each. */
uint32_t view_blocks(const View *v, uint32_t span, const struct mh_shm_span *s, uint64_t *ret_size);
void view_owners(View *v, uint32_t span, uint32_t n, uint64_t *ret);
