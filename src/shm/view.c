/* SPDX-License-Identifier: MIT */

#include "shm/view.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/words.h"

/* A look at single words goes from handle to block to span and back, mostly between neighbours: a few pages suffice. */
#define CACHE_PAGES 256U

struct ViewPage {
        uint64_t number; /* of the page in the segment, plus one; 0: none */
        uint8_t data[MH_SHM_PAGE];
};

/* ---------------------------------------------------------------------------------------------- reading */

static void fail(View *v, int error)
{
        if (v->error == 0)
                v->error = error;
}

static void read_at(View *v, uint64_t offset, void *ret, size_t size)
{
        size_t done = 0;

        while (v->error == 0 && done < size) {
                ssize_t n = pread(v->seg.fd, (uint8_t *)ret + done, size - done, (off_t)(offset + done));

                if (n > 0)
                        done += (size_t)n;
                else if (n == 0)
                        fail(v, -EBADMSG); /* somebody cut it short since it was loaded */
                else if (errno != EINTR)
                        fail(v, -errno);
        }
        memset((uint8_t *)ret + done, 0, size - done);
}

static uint64_t position(const View *v, enum mh_shm_region_id region, uint64_t offset, uint64_t size)
{
        const struct mh_shm_region *in = &v->seg.regions[region];

        assert(offset <= in->size && size <= in->size - offset);

        return in->offset + offset;
}

void view_read(View *v, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size)
{
        read_at(v, position(v, region, offset, size), ret, size);
}

/* What is read so never crosses a page: it is aligned to its own size. */
static void peek(View *v, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size)
{
        uint64_t at = position(v, region, offset, size), number = at / MH_SHM_PAGE;
        /* Regions are far apart by powers of two, so the low bits alone would meet in the same place. */
        ViewPage *page = &v->cache[(number ^ number >> 8 ^ number >> 16) % CACHE_PAGES];

        assert(at % MH_SHM_PAGE + size <= MH_SHM_PAGE);

        if (page->number != number + 1) {
                page->number = number + 1;
                read_at(v, number * MH_SHM_PAGE, page->data, MH_SHM_PAGE);
        }
        memcpy(ret, page->data + at % MH_SHM_PAGE, size);
}

static uint64_t peek_word(View *v, enum mh_shm_region_id region, uint64_t offset)
{
        uint64_t word;

        peek(v, region, offset, &word, sizeof(word));
        return word;
}

static bool next_data(View *v, uint64_t from, uint64_t end, uint64_t *ret_start, uint64_t *ret_end)
{
        int r;

        if (v->error < 0)
                return false;
        r = segment_next_data(&v->seg, from, end, ret_start, ret_end);
        if (r < 0)
                fail(v, r);
        if (r <= 0)
                return false;
        /* The hole may have moved between the two questions; who asks in a loop must get on. */
        if (*ret_end <= *ret_start)
                *ret_end = MIN(*ret_start + MH_SHM_PAGE, end);
        return true;
}

bool view_data(View *v, enum mh_shm_region_id region, uint64_t from, uint64_t end, uint64_t *ret_start,
               uint64_t *ret_end)
{
        uint64_t base = position(v, region, from, 0), start, stop;

        if (from >= end || !next_data(v, base, position(v, region, end, 0), &start, &stop))
                return false;
        *ret_start = start - base + from;
        *ret_end = stop - base + from;
        return true;
}

/* ---------------------------------------------------------------------------------------------- tables */

static uint32_t slot_row(const View *v, uint32_t chunk)
{
        return (uint32_t)(v->seg.ledger_slots / MH_SHM_PAGE) + chunk;
}

static uint32_t span_row(const View *v, uint32_t page)
{
        return (uint32_t)(v->seg.ledger_spans / MH_SHM_PAGE) + page;
}

/* One walk over all ledgers, which are one region with few pages in it. */
static void find_ledger_pages(View *v)
{
        const struct mh_shm_region *in = &v->seg.regions[MH_SHM_REGION_LEDGERS];
        uint64_t end = v->seg.n_clients * v->seg.ledger_stride, start, stop;

        memset(v->pages, 0, (size_t)v->ledger_rows * v->client_words * sizeof(uint64_t));
        for (uint64_t at = 0; next_data(v, in->offset + at, in->offset + end, &start, &stop); at = stop - in->offset)
                for (uint64_t p = start - in->offset; p < stop - in->offset; p += MH_SHM_PAGE) {
                        uint64_t client = p / v->seg.ledger_stride, row = p % v->seg.ledger_stride / MH_SHM_PAGE;

                        v->pages[row * v->client_words + client / 64] |= UINT64_C(1) << client % 64;
                }
}

int view_refresh(View *v)
{
        for (unsigned i = 0; i < CACHE_PAGES; i++)
                v->cache[i].number = 0;

        view_read(v, MH_SHM_REGION_SHARED, 0, &v->shared, sizeof(v->shared));
        v->client_hwm = MIN(v->shared.client_hwm, v->seg.n_clients);
        v->chunk_hwm = MIN(v->shared.chunk_hwm, v->seg.n_chunks);
        v->span_hwm = MIN(v->shared.span_hwm, v->seg.n_spans);

        memset(v->clients, 0, (size_t)v->seg.n_clients * sizeof(*v->clients));
        view_read(v, MH_SHM_REGION_CLIENTS, 0, v->clients, (size_t)v->client_hwm * sizeof(*v->clients));
        find_ledger_pages(v);
        return v->error;
}

/* Pages and rows are the same thing here, so what the arithmetic stands on is checked once more. */
static int check_layout(const Segment *seg)
{
        uint64_t spans = ALIGN_UP((uint64_t)seg->n_spans, UINT64_C(64)) / 8;

        if (seg->ledger_slots % MH_SHM_PAGE != 0 || seg->ledger_spans % MH_SHM_PAGE != 0 ||
            seg->ledger_stride % MH_SHM_PAGE != 0)
                return -EBADMSG;
        if (seg->ledger_slots < sizeof(struct mh_shm_account) ||
            seg->ledger_spans < seg->ledger_slots + (uint64_t)seg->n_slots * sizeof(uint64_t) ||
            seg->ledger_stride < seg->ledger_spans + spans)
                return -EBADMSG;
        return 0;
}

int view_open(View *v, int fd)
{
        int r;

        *v = (View){};
        r = segment_load(&v->seg, fd);
        if (r < 0)
                return r;
        r = check_layout(&v->seg);
        if (r < 0)
                return r;

        v->client_words = (v->seg.n_clients + 63) / 64;
        v->ledger_rows = (uint32_t)(v->seg.ledger_stride / MH_SHM_PAGE);
        v->clients = calloc(v->seg.n_clients, sizeof(*v->clients));
        v->pages = calloc((size_t)v->ledger_rows * v->client_words, sizeof(uint64_t));
        v->cache = calloc(CACHE_PAGES, sizeof(*v->cache));
        if (!v->clients || !v->pages || !v->cache)
                return -ENOMEM;
        return view_refresh(v);
}

void view_done(View *v)
{
        free(v->clients);
        free(v->pages);
        free(v->cache);
        *v = (View){};
}

unsigned view_client_state(const View *v, uint32_t id)
{
        return id < v->client_hwm ? v->clients[id].state : MH_SHM_CLIENT_FREE;
}

/* ---------------------------------------------------------------------------------------------- single things */

void view_slot(View *v, uint32_t slot, struct mh_shm_slot *ret)
{
        peek(v, MH_SHM_REGION_SLOTS, (uint64_t)slot * sizeof(*ret), ret, sizeof(*ret));
}

uint64_t view_ledger_word(View *v, uint32_t client, uint32_t slot)
{
        return peek_word(v, MH_SHM_REGION_LEDGERS,
                         client * v->seg.ledger_stride + v->seg.ledger_slots + (uint64_t)slot * sizeof(uint64_t));
}

void view_account(View *v, uint32_t client, struct mh_shm_account *ret)
{
        peek(v, MH_SHM_REGION_LEDGERS, client * v->seg.ledger_stride, ret, sizeof(*ret));
}

bool view_span_bit(View *v, uint32_t client, uint32_t span)
{
        return peek_word(v, MH_SHM_REGION_LEDGERS,
                         client * v->seg.ledger_stride + v->seg.ledger_spans + span / 64 * sizeof(uint64_t)) >>
                       span % 64 &
               1;
}

void view_span(View *v, uint32_t span, struct mh_shm_span *ret)
{
        peek(v, MH_SHM_REGION_SPANS, (uint64_t)span * sizeof(*ret), ret, sizeof(*ret));
}

uint64_t view_owner(View *v, uint32_t span, uint32_t block)
{
        return peek_word(v, MH_SHM_REGION_OWNERS,
                         (uint64_t)span * sizeof(struct mh_shm_owners) + offsetof(struct mh_shm_owners, word) +
                                 (uint64_t)block * sizeof(uint64_t));
}

uint64_t view_chunk_word(View *v, uint32_t chunk)
{
        return peek_word(v, MH_SHM_REGION_CHUNKS,
                         chunk * sizeof(struct mh_shm_chunk) + offsetof(struct mh_shm_chunk, word));
}

bool view_hint(View *v, enum mh_shm_region_id region, uint32_t bit)
{
        return peek_word(v, region, bit / 64 * sizeof(uint64_t)) >> bit % 64 & 1;
}

/* ---------------------------------------------------------------------------------------------- chunks */

ViewChunk *view_chunk_new(const View *v)
{
        return malloc(sizeof(ViewChunk) + v->seg.n_groups * sizeof(uint64_t[MH_SHM_CHUNK_SLOTS]));
}

static void read_holders(View *v, uint32_t chunk, unsigned group, uint64_t ret[static MH_SHM_CHUNK_SLOTS])
{
        uint64_t words[MH_SHM_CHUNK_SLOTS];

        view_read(v, MH_SHM_REGION_HOLDERS,
                  ((uint64_t)(group - 1) * v->seg.n_slots + (uint64_t)chunk * MH_SHM_CHUNK_SLOTS) * sizeof(uint64_t),
                  words, sizeof(words));
        for (uint32_t i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                ret[i] = words[holder_place(i, group)];
}

void view_chunk(View *v, uint32_t chunk, ViewChunk *ret)
{
        const uint64_t size = sizeof(ret->slots), at = chunk * size;
        uint64_t start, stop;
        unsigned groups;

        ret->index = chunk;
        view_read(v, MH_SHM_REGION_CHUNKS, chunk * sizeof(ret->chunk), &ret->chunk, sizeof(ret->chunk));
        groups = MIN(chunk_groups(ret->chunk.word), v->seg.n_groups - 1);

        if (view_data(v, MH_SHM_REGION_SLOTS, at, at + size, &start, &stop))
                view_read(v, MH_SHM_REGION_SLOTS, at, ret->slots, size);
        else
                memset(ret->slots, 0, size);

        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                ret->holders[0][i] = ret->slots[i].holders;
        memset(ret->holders[1], 0, (v->seg.n_groups - 1) * sizeof(ret->holders[1]));
        for (unsigned g = 1; g <= groups; g++)
                read_holders(v, chunk, g, ret->holders[g]);
}

static uint32_t next_in_row(const View *v, uint32_t row, uint32_t from)
{
        for (uint32_t word = from / 64; word < v->client_words; word++) {
                uint64_t bits = v->pages[(size_t)row * v->client_words + word];

                if (word == from / 64)
                        bits &= UINT64_MAX << from % 64;
                if (bits)
                        return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
        return v->seg.n_clients;
}

uint32_t view_next_ledger(const View *v, uint32_t chunk, uint32_t from)
{
        return next_in_row(v, slot_row(v, chunk), from);
}

void view_ledger_words(View *v, uint32_t client, uint32_t chunk, uint64_t ret[static MH_SHM_CHUNK_SLOTS])
{
        view_read(v, MH_SHM_REGION_LEDGERS,
                  client * v->seg.ledger_stride + v->seg.ledger_slots + (uint64_t)chunk * MH_SHM_PAGE, ret,
                  MH_SHM_CHUNK_SLOTS * sizeof(uint64_t));
}

static_assert(MH_SHM_CHUNK_SLOTS * sizeof(uint64_t) == MH_SHM_PAGE, "a chunk's words of a ledger are one page");

uint32_t view_next_span_ledger(const View *v, uint32_t page, uint32_t from)
{
        return next_in_row(v, span_row(v, page), from);
}

void view_span_bits(View *v, uint32_t client, uint32_t page, uint64_t ret[static VIEW_SPANS_PER_PAGE / 64])
{
        view_read(v, MH_SHM_REGION_LEDGERS,
                  client * v->seg.ledger_stride + v->seg.ledger_spans + (uint64_t)page * MH_SHM_PAGE, ret, MH_SHM_PAGE);
}

/* ---------------------------------------------------------------------------------------------- blocks */

uint32_t view_blocks(const View *v, uint32_t span, const struct mh_shm_span *s, uint64_t *ret_size)
{
        uint32_t arg = span_arg(s->word);

        switch (span_state(s->word)) {
        case MH_SHM_SPAN_SMALL:
        case MH_SHM_SPAN_ORPHAN:
                if (arg >= MH_SHM_CLASSES)
                        return 0;
                *ret_size = class_size(arg);
                return class_blocks(arg);
        case MH_SHM_SPAN_LARGE:
                *ret_size = (uint64_t)MIN(s->run, v->seg.n_spans - span) * MH_SHM_SPAN_SIZE;
                return 1;
        default:
                return 0;
        }
}

bool view_block(View *v, uint64_t offset, ViewBlock *ret)
{
        uint64_t span = offset / MH_SHM_SPAN_SIZE, in = offset % MH_SHM_SPAN_SIZE, size;
        struct mh_shm_span s;
        uint32_t n;

        if (span >= v->span_hwm)
                return false;
        view_span(v, (uint32_t)span, &s);
        n = view_blocks(v, (uint32_t)span, &s, &size);
        /* The offset within a span is not looked at where the one block begins with it; it must be 0 there. */
        if (n == 0 || (n == 1 ? in != 0 : in % size != 0 || in / size >= n))
                return false;

        ret->span = (uint32_t)span;
        ret->index = n == 1 ? 0 : (uint32_t)(in / size);
        ret->word = view_owner(v, ret->span, ret->index);
        ret->span_word = s.word;
        ret->offset = offset;
        ret->size = size;
        return true;
}

void view_owners(View *v, uint32_t span, uint32_t n, uint64_t *ret)
{
        view_read(v, MH_SHM_REGION_OWNERS,
                  (uint64_t)span * sizeof(struct mh_shm_owners) + offsetof(struct mh_shm_owners, word), ret,
                  n * sizeof(uint64_t));
}
