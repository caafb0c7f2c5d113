/* SPDX-License-Identifier: MIT */

/* One row for each handle. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "ctl/source.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "shm/words.h"

enum {
        COL_HANDLE,
        COL_TYPE,
        COL_STATE,
        COL_SLOT,
        COL_GENERATION,
        COL_HOLDERS,
        COL_REFS,
        COL_COUNTS,
        COL_PAYLOAD,
        COL_PAYLOADHEX,
        COL_SCRATCH,
        COL_SCRATCHSIZE,
};

static const Column columns[] = {
        [COL_HANDLE] = { "HANDLE", "the handle, in hex", 0, SCOLS_JSON_STRING, true },
        [COL_TYPE] = { "TYPE", "its type: a name, or the number of one of the applications' own", 0, SCOLS_JSON_STRING,
                       true },
        [COL_STATE] = { "STATE", "live, dying (may yet be rescued) or dead (being cleaned up)", 0, SCOLS_JSON_STRING,
                        false },
        [COL_SLOT] = { "SLOT", "slot of the handle table", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_GENERATION] = { "GENERATION", "generation of the slot", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_HOLDERS] = { "HOLDERS", "ids of the clients that hold it", 0, SCOLS_JSON_ARRAY_NUMBER, true },
        [COL_REFS] = { "REFS", "references to it, of all clients", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_COUNTS] = { "COUNTS", "references of each client: CLIENT:REFERENCES", 0, SCOLS_JSON_ARRAY_STRING, false },
        [COL_PAYLOAD] = { "PAYLOAD", "the payload as text, dots for what is none, without the zeros at its end", 0,
                          SCOLS_JSON_STRING, true },
        [COL_PAYLOADHEX] = { "PAYLOADHEX", "the whole payload in hex", 0, SCOLS_JSON_STRING, false },
        [COL_SCRATCH] = { "SCRATCH", "scratch blocks that belong to it, by index", 0, SCOLS_JSON_ARRAY_STRING, true },
        [COL_SCRATCHSIZE] = { "SCRATCHSIZE", "bytes in those blocks", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
};

/* The ledgers that have something to say about the chunk at hand. */
typedef struct Ledgers {
        size_t n, n_allocated;
        struct LedgerWords {
                uint32_t client;
                uint64_t words[MH_SHM_CHUNK_SLOTS];
        } * of;
} Ledgers;

static void ledgers_done(Ledgers *l)
{
        free(l->of);
}

static int read_ledgers(Ledgers *l, View *v, uint32_t chunk)
{
        l->n = 0;
        for (uint32_t id = view_next_ledger(v, chunk, 0); id < v->seg.n_clients;
             id = view_next_ledger(v, chunk, id + 1)) {
                if (l->n == l->n_allocated) {
                        size_t n = l->n_allocated > 0 ? l->n_allocated * 2 : 8;
                        void *more = reallocarray(l->of, n, sizeof(*l->of));

                        if (!more)
                                return -ENOMEM;
                        l->of = more;
                        l->n_allocated = n;
                }
                l->of[l->n].client = id;
                view_ledger_words(v, id, chunk, l->of[l->n].words);
                l->n++;
        }
        return 0;
}

static void fill_holders(Table *t, const View *v, const ViewChunk *chunk, unsigned i)
{
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f;

        if (!table_wants(t, COL_HOLDERS))
                return;
        f = open_memstream(&text, &size);
        if (!f) {
                t->failed = true;
                return;
        }
        for (uint32_t id = 0, n = 0; id < v->seg.n_clients; id++)
                if (chunk->holders[id / MH_SHM_GROUP_CLIENTS][i] >> id % MH_SHM_GROUP_CLIENTS & 1)
                        (void)fprintf(f, "%s%u", n++ > 0 ? "\n" : "", id);
        if (fclose(f) != 0)
                t->failed = true;
        else
                table_set_list(t, COL_HOLDERS, text);
}

static void fill_counts(Table *t, const Ledgers *l, uint64_t gen, unsigned i)
{
        _cleanup_free_ char *text = NULL;
        size_t size = 0, n = 0;
        uint64_t sum = 0;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f) {
                t->failed = true;
                return;
        }
        for (size_t j = 0; j < l->n; j++) {
                uint64_t word = l->of[j].words[i];

                if (ledger_generation(word) != gen || ledger_count(word) == 0)
                        continue;
                sum += ledger_count(word);
                (void)fprintf(f, "%s%u:%u", n++ > 0 ? "\n" : "", l->of[j].client, ledger_count(word));
        }
        if (fclose(f) != 0)
                t->failed = true;
        else
                table_set_list(t, COL_COUNTS, text);
        table_set_number(t, COL_REFS, sum);
}

/* A reference counts only while the block names it. */
static bool is_used(View *v, const struct mh_shm_slot *s, uint32_t slot, unsigned entry, ViewBlock *ret)
{
        uint64_t ref = s->refs[entry];

        return ref != 0 && view_block(v, ref_offset(ref), ret) && owner_kind(ret->word) == MH_SHM_OWNER_SLOT &&
               owner_who(ret->word) == slot && owner_entry(ret->word) == entry;
}

static void fill_scratch(Table *t, View *v, const struct mh_shm_slot *s, uint32_t slot)
{
        char text[MH_SHM_SLOT_REFS * 24] = "";
        uint64_t sum = 0;
        size_t used = 0;
        ViewBlock b;

        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++) {
                if (!is_used(v, s, slot, e, &b))
                        continue;
                sum += b.size;
                used += (size_t)snprintf(text + used, sizeof(text) - used, "%s0x%" PRIx64, used > 0 ? "\n" : "",
                                         scratch_make(owner_tag(b.word), b.offset));
        }
        table_set_list(t, COL_SCRATCH, text);
        table_set_bytes(t, COL_SCRATCHSIZE, sum);
}

static void fill_row(Table *t, View *v, const ViewChunk *chunk, const Ledgers *l, unsigned i)
{
        const struct mh_shm_slot *s = &chunk->slots[i];
        uint32_t slot = chunk->index * MH_SHM_CHUNK_SLOTS + i;
        unsigned phase = state_phase(s->state);
        char text[TEXT_MAX];

        table_row(t);
        table_setf(t, COL_HANDLE, "0x%016" PRIx64, handle_make(state_generation(s->state), slot));
        table_set(t, COL_TYPE, text_type(text, state_type(s->state)));
        table_set(t, COL_STATE, phase == MH_SHM_PHASE_LIVE ? "live" : phase == MH_SHM_PHASE_DYING ? "dying" : "dead");
        table_set_number(t, COL_SLOT, slot);
        table_set_number(t, COL_GENERATION, state_generation(s->state));
        fill_holders(t, v, chunk, i);
        fill_counts(t, l, state_generation(s->state), i);
        table_set(t, COL_PAYLOAD, text_preview(text, s->payload, sizeof(s->payload)));
        table_set(t, COL_PAYLOADHEX, text_hex(text, s->payload, sizeof(s->payload)));
        fill_scratch(t, v, s, slot);
}

static int fill(Table *t, View *v)
{
        _cleanup_free_ ViewChunk *chunk = view_chunk_new(v);
        _cleanup_(ledgers_done) Ledgers l = {};

        if (!chunk)
                return -ENOMEM;
        for (uint32_t c = 0; c < v->chunk_hwm && v->error == 0; c++) {
                int r;

                view_chunk(v, c, chunk);
                r = read_ledgers(&l, v, c);
                if (r < 0)
                        return r;
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                        unsigned phase = state_phase(chunk->slots[i].state);

                        if (phase >= MH_SHM_PHASE_LIVE && phase <= MH_SHM_PHASE_DEAD)
                                fill_row(t, v, chunk, &l, i);
                }
        }
        return v->error;
}

static int run(const Options *o)
{
        _cleanup_(source_close) Source s = SOURCE_NONE;
        _cleanup_(table_done) Table t = {};
        int r;

        r = table_init(&t, o, &command_list);
        if (r != CTL_OK)
                return r;
        r = source_open(&s, o);
        if (r != CTL_OK)
                return r;
        r = fill(&t, &s.view);
        return r < 0 ? source_complain(&s, r) : table_print(&t);
}

const Command command_list = { "list", "each handle: who holds it, and what it has", columns, ELEMENTSOF(columns),
                               run };
