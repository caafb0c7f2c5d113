/* SPDX-License-Identifier: MIT */

/* One row for each scratch block in use. */

#include <inttypes.h>

#include "base/cleanup.h"
#include "ctl/source.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/usage.h"
#include "shm/words.h"

#define PREVIEW_BYTES 32U

enum {
        COL_INDEX,
        COL_SIZE,
        COL_CLIENT,
        COL_HANDLE,
        COL_SPAN,
        COL_PREVIEW,
};

static const Column columns[] = {
        [COL_INDEX] = { "INDEX", "scratch index of the block, in hex", 0, SCOLS_JSON_STRING, true },
        [COL_SIZE] = { "SIZE", "bytes of the whole block", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_CLIENT] = { "CLIENT", "id of the client that owns it, if one does", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                         true },
        [COL_HANDLE] = { "HANDLE", "the handle that owns it, if one does", 0, SCOLS_JSON_STRING, true },
        [COL_SPAN] = { "SPAN", "number of the 64 KiB span that it is in", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
        [COL_PREVIEW] = { "PREVIEW", "its first 32 bytes as text, dots for what is none", 0, SCOLS_JSON_STRING, true },
};

static void fill_row(View *v, uint64_t word, uint64_t index, uint32_t span, uint64_t size, void *userdata)
{
        Table *t = userdata;
        char text[TEXT_MAX], data[PREVIEW_BYTES];
        struct mh_shm_slot s;

        table_row(t);
        table_setf(t, COL_INDEX, "0x%" PRIx64, index);
        table_set_bytes(t, COL_SIZE, size);
        table_set_number(t, COL_SPAN, span);
        if (owner_kind(word) == MH_SHM_OWNER_CLIENT) {
                table_set_number(t, COL_CLIENT, owner_who(word));
        } else if (owner_who(word) < v->seg.n_slots) {
                view_slot(v, owner_who(word), &s);
                table_setf(t, COL_HANDLE, "0x%016" PRIx64, handle_make(state_generation(s.state), owner_who(word)));
        }
        if (!table_wants(t, COL_PREVIEW))
                return;
        /* The smallest block may be the last thing in the region. */
        size = MIN(size, (uint64_t)sizeof(data));
        view_read(v, MH_SHM_REGION_SCRATCH, scratch_offset(index), data, size);
        table_set(t, COL_PREVIEW, text_preview(text, data, size));
}

static int run(const Options *o)
{
        _cleanup_(source_close) Source s = SOURCE_NONE;
        _cleanup_(table_done) Table t = {};
        int r;

        r = table_init(&t, o, &command_scratch);
        if (r != CTL_OK)
                return r;
        r = source_open(&s, o);
        if (r != CTL_OK)
                return r;
        usage_blocks(&s.view, fill_row, &t);
        r = source_check(&s);
        return r != CTL_OK ? r : table_print(&t);
}

const Command command_scratch = { "scratch", "each scratch block in use, and whose it is", columns, ELEMENTSOF(columns),
                                  run };
