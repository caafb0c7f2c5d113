/* SPDX-License-Identifier: MIT */

#include "ctl/usage.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "shm/words.h"

void usage_blocks(View *v, UsageBlockFn fn, void *userdata)
{
        uint64_t words[MH_SHM_SPAN_BLOCKS_MAX], size = 0;
        struct mh_shm_span s;

        for (uint32_t span = 0; span < v->span_hwm && v->error == 0; span++) {
                uint32_t n;

                view_span(v, span, &s);
                n = view_blocks(v, span, &s, &size);
                if (n == 0)
                        continue;
                view_owners(v, span, n, words);
                for (uint32_t i = 0; i < n; i++)
                        if (owner_kind(words[i]) == MH_SHM_OWNER_CLIENT || owner_kind(words[i]) == MH_SHM_OWNER_SLOT)
                                fn(v, words[i],
                                   scratch_make(owner_tag(words[i]), (uint64_t)span * MH_SHM_SPAN_SIZE + i * size),
                                   span, size, userdata);
        }
}

static void count_block(View *v, uint64_t word, uint64_t index, uint32_t span, uint64_t size, void *userdata)
{
        Usage *u = userdata;

        u->blocks++;
        u->bytes += size;
        if (owner_kind(word) == MH_SHM_OWNER_CLIENT && owner_who(word) < v->seg.n_clients) {
                u->of[owner_who(word)].blocks++;
                u->of[owner_who(word)].bytes += size;
        }
}

static void count_ledger(ClientUsage *of, const uint64_t words[static MH_SHM_CHUNK_SLOTS])
{
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                if (words[i] & MH_SHM_LEDGER_RESERVED) {
                        of->reserved++;
                } else if (!(words[i] & MH_SHM_LEDGER_IN_FLIGHT) && ledger_count(words[i]) > 0) {
                        of->handles++;
                        of->refs += ledger_count(words[i]);
                }
        }
}

static int count_handles(Usage *u, View *v)
{
        _cleanup_free_ ViewChunk *chunk = view_chunk_new(v);
        uint64_t words[MH_SHM_CHUNK_SLOTS];

        if (!chunk)
                return -ENOMEM;
        for (uint32_t c = 0; c < v->chunk_hwm && v->error == 0; c++) {
                view_chunk(v, c, chunk);
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                        unsigned phase = state_phase(chunk->slots[i].state);

                        u->handles += phase == MH_SHM_PHASE_LIVE || phase == MH_SHM_PHASE_DYING;
                }
                for (uint32_t id = view_next_ledger(v, c, 0); id < v->seg.n_clients;
                     id = view_next_ledger(v, c, id + 1)) {
                        view_ledger_words(v, id, c, words);
                        count_ledger(&u->of[id], words);
                }
        }
        return v->error;
}

int usage_count(Usage *u, View *v)
{
        int r;

        *u = (Usage){ .of = calloc(v->seg.n_clients, sizeof(*u->of)) };
        if (!u->of)
                return -ENOMEM;
        for (uint32_t i = 1; i < v->client_hwm; i++)
                u->clients += v->clients[i].state == MH_SHM_CLIENT_ATTACHED ||
                              v->clients[i].state == MH_SHM_CLIENT_DEAD;
        r = count_handles(u, v);
        if (r < 0)
                return r;
        usage_blocks(v, count_block, u);
        return v->error;
}

void usage_done(Usage *u)
{
        free(u->of);
        *u = (Usage){};
}
