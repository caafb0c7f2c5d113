/* SPDX-License-Identifier: MIT */

/*
 * What the living believe to hold is exactly what there is: each handle with each holder and each count, each block with its
 * owner, and nothing else.
 */

#include "soak/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/view.h"
#include "shm/words.h"
#include "soak/board.h"

typedef struct Claim {
        mh_handle handle;
        uint32_t player;
        uint64_t count;
} Claim;

#define CLAIMS_MAX ((size_t)PLAYERS_MAX * THREADS_MAX * HELD_MAX)

bool judge_says(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)fputs("soak: ", stderr);
        (void)vfprintf(stderr, format, ap);
        (void)fputc('\n', stderr);
        va_end(ap);
        return false;
}

/* ------------------------------------------------------------------------------------------------ handles */

static int by_slot(const void *a, const void *b)
{
        const Claim *x = a, *y = b;
        uint32_t s = handle_slot(x->handle), t = handle_slot(y->handle);

        if (s != t)
                return s < t ? -1 : 1;
        if (x->handle != y->handle)
                return x->handle < y->handle ? -1 : 1;
        return x->player < y->player ? -1 : x->player > y->player;
}

/* Sorted; what several threads of a client hold is one claim. */
static size_t collect_claims(Claim *claims)
{
        size_t n = 0, used = 0;

        for (unsigned i = 0; i < board->n_players; i++)
                for (unsigned j = 0; j < board->player[i].threads; j++)
                        for (unsigned k = 0; k < HELD_MAX; k++) {
                                const Held *h = &board->player[i].thread[j].held[k];

                                if (h->count > 0)
                                        claims[n++] = (Claim){ .handle = h->handle, .player = i, .count = h->count };
                        }
        if (n == 0)
                return 0;
        qsort(claims, n, sizeof(*claims), by_slot);
        for (size_t i = 1; i < n; i++)
                if (claims[i].handle == claims[used].handle && claims[i].player == claims[used].player)
                        claims[used].count += claims[i].count;
                else
                        claims[++used] = claims[i];
        return used + 1;
}

/* One handle: claims[0..n). */
static bool judge_handle(View *v, const ViewChunk *chunk, const Claim *claims, size_t n)
{
        uint32_t slot = handle_slot(claims->handle), in = slot % MH_SHM_CHUNK_SLOTS;
        uint64_t state = chunk->slots[in].state, bits[MH_SHM_CLIENTS_MAX / 64] = {};

        if (state_generation(state) != handle_generation(claims->handle) || state_phase(state) != MH_SHM_PHASE_LIVE)
                return judge_says("handle %#llx is held, and the state of its slot is %#llx",
                                  (unsigned long long)claims->handle, (unsigned long long)state);
        for (size_t i = 0; i < n; i++) {
                uint32_t id = (uint32_t)board->player[claims[i].player].id;
                uint64_t word = view_ledger_word(v, id, slot) & ~MH_SHM_LEDGER_WAITERS;

                bits[id / 64] |= UINT64_C(1) << id % 64;
                if (word != ledger_make(handle_generation(claims->handle), claims[i].count))
                        return judge_says("client %u (id %u) holds %#llx %llu times, and its ledger says %#llx",
                                          claims[i].player, id, (unsigned long long)claims->handle,
                                          (unsigned long long)claims[i].count, (unsigned long long)word);
        }
        for (uint32_t g = 0; g < v->seg.n_groups; g++)
                if (chunk->holders[g][in] != bits[g])
                        return judge_says("handle %#llx is held by %#llx of the clients %u to %u instead of %#llx",
                                          (unsigned long long)claims->handle, (unsigned long long)chunk->holders[g][in],
                                          g * 64, g * 64 + 63, (unsigned long long)bits[g]);
        return true;
}

/* Blocks that belong to that slot. */
static uint64_t count_given(View *v, const struct mh_shm_slot *s, uint32_t slot)
{
        uint64_t n = 0;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                ViewBlock block;

                if (s->refs[e] != 0 && view_block(v, ref_offset(s->refs[e]), &block) &&
                    owner_kind(block.word) == MH_SHM_OWNER_SLOT && owner_entry(block.word) == e &&
                    owner_who(block.word) == slot)
                        n++;
        }
        return n;
}

static bool judge_handles(View *v, uint64_t *ret_handles, uint64_t *ret_given)
{
        Claim *claims = calloc(CLAIMS_MAX, sizeof(*claims));
        ViewChunk *chunk = view_chunk_new(v);
        uint32_t current = UINT32_MAX;
        size_t n, next;
        bool good = claims && chunk;

        *ret_handles = *ret_given = 0;
        n = good ? collect_claims(claims) : 0;
        for (size_t i = 0; good && i < n; i = next) {
                uint32_t slot = handle_slot(claims[i].handle);

                for (next = i + 1; next < n && claims[next].handle == claims[i].handle;)
                        next++;
                if (slot / MH_SHM_CHUNK_SLOTS != current) {
                        current = slot / MH_SHM_CHUNK_SLOTS;
                        view_chunk(v, current, chunk);
                }
                good = judge_handle(v, chunk, &claims[i], next - i);
                *ret_given += count_given(v, &chunk->slots[slot % MH_SHM_CHUNK_SLOTS], slot);
                (*ret_handles)++;
        }
        free(chunk);
        free(claims);
        return good;
}

/* ------------------------------------------------------------------------------------------------ blocks */

static bool is_owned(View *v, const Block *b, uint32_t id)
{
        ViewBlock block;

        return view_block(v, scratch_offset(b->index), &block) &&
               block.word == owner_make(scratch_tag(b->index), MH_SHM_OWNER_CLIENT, 0, id) && block.size >= b->size;
}

static bool judge_block(View *v, unsigned player, const Block *b, uint64_t *count)
{
        enum block_state state = block_state(b->state);
        uint32_t id = (uint32_t)board->player[player].id;
        bool owned;

        if (state == BLOCK_NONE)
                return true;
        if (state == BLOCK_TAKEN)
                return judge_says("somebody is still about to free block %#llx", (unsigned long long)b->index);
        owned = is_owned(v, b, id);
        *count += owned;
        if (owned ? state == BLOCK_DONE : state == BLOCK_OWN || state == BLOCK_OFFERED)
                return judge_says("block %#llx of %llu bytes is %s by client %u (id %u)", (unsigned long long)b->index,
                                  (unsigned long long)b->size, owned ? "still owned" : "not owned", player, id);
        return true;
}

static bool judge_blocks(View *v, uint64_t *ret_count)
{
        bool good = true;

        *ret_count = 0;
        for (unsigned i = 0; i < board->n_players; i++)
                for (unsigned j = 0; j < board->player[i].threads; j++)
                        for (unsigned k = 0; k < BLOCKS_MAX; k++)
                                good = judge_block(v, i, &board->player[i].thread[j].blocks[k], ret_count) && good;
        return good;
}

/* ------------------------------------------------------------------------------------------------ all of it */

static void say_finding(const VerifyFinding *finding, void *userdata)
{
        (void)judge_says("%s: %s", finding->rule, finding->text);
}

bool judge(int fd, VerifyStats *ret)
{
        uint64_t handles, given, owned;
        bool good;
        View v;
        int r;

        r = verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, say_finding, NULL, ret);
        if (r != 0)
                return judge_says("verify: %d", r);
        r = view_open(&v, fd);
        good = r >= 0 && judge_handles(&v, &handles, &given) && judge_blocks(&v, &owned);
        if (v.error < 0)
                r = v.error;
        view_done(&v);
        if (r < 0)
                return judge_says("the segment cannot be read: %s", strerror(-r));
        if (!good)
                return false;
        if (ret->handles != handles)
                return judge_says("%llu handles are held, and there are %llu", (unsigned long long)handles,
                                  (unsigned long long)ret->handles);
        if (ret->blocks != owned + given)
                return judge_says("%llu blocks are owned and %llu were given to handles, and there are %llu",
                                  (unsigned long long)owned, (unsigned long long)given,
                                  (unsigned long long)ret->blocks);
        return true;
}
