/* SPDX-License-Identifier: MIT */

/* One row about the segment as a whole. For people the row stands upright: one line for each thing. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/format.h"
#include "ctl/source.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/usage.h"

enum {
        COL_SEGMENT,
        COL_ID,
        COL_VERSION,
        COL_SOCKET,
        COL_DAEMON,
        COL_PID,
        COL_EPOCH,
        COL_CREATED,
        COL_CLIENTS,
        COL_CLIENTSMAX,
        COL_HANDLES,
        COL_HANDLESMAX,
        COL_BLOCKS,
        COL_SCRATCH,
        COL_SCRATCHMAX,
        COL_MEMORY,
        COL_SIZE,
};

static const Column columns[] = {
        [COL_SEGMENT] = { "SEGMENT", "name of the shared-memory object", 0, SCOLS_JSON_STRING, true },
        [COL_ID] = { "ID", "id of the segment, in hex", 0, SCOLS_JSON_STRING, true },
        [COL_VERSION] = { "VERSION", "version of its format", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_SOCKET] = { "SOCKET", "path of the daemon's socket", 0, SCOLS_JSON_STRING, true },
        [COL_DAEMON] = { "DAEMON", "does its daemon run: yes, no, unknown", 0, SCOLS_JSON_STRING, true },
        [COL_PID] = { "PID", "process id of its daemon, or of the last one", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_EPOCH] = { "EPOCH", "how many daemons it has had", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_CREATED] = { "CREATED", "when it was made", 0, SCOLS_JSON_STRING, true },
        [COL_CLIENTS] = { "CLIENTS", "clients that are attached", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_CLIENTSMAX] = { "CLIENTSMAX", "clients that there can be", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_HANDLES] = { "HANDLES", "handles that are alive", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_HANDLESMAX] = { "HANDLESMAX", "handles that there can be", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_BLOCKS] = { "BLOCKS", "scratch blocks in use", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true },
        [COL_SCRATCH] = { "SCRATCH", "bytes of scratch in use, in whole blocks", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                          true },
        [COL_SCRATCHMAX] = { "SCRATCHMAX", "bytes of scratch that there can be", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                             true },
        [COL_MEMORY] = { "MEMORY", "bytes of memory that the segment really takes", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER,
                         true },
        [COL_SIZE] = { "SIZE", "bytes of its address space", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false },
};

typedef struct Status {
        char id[TEXT_MAX];
        char created[TEXT_MAX];
        const char *daemon;
        uint64_t memory;
} Status;

static void fill_row(Table *t, const Source *s, const Usage *u, const Status *st)
{
        const Segment *seg = &s->view.seg;
        char text[TEXT_MAX];

        table_row(t);
        table_set(t, COL_SEGMENT, text_escape(text, s->name, sizeof(s->name)));
        table_set(t, COL_ID, st->id);
        table_set_number(t, COL_VERSION, MH_SHM_VERSION);
        if (s->socket[0] != 0)
                table_set(t, COL_SOCKET, text_escape(text, s->socket, sizeof(s->socket)));
        table_set(t, COL_DAEMON, st->daemon);
        table_set_number(t, COL_PID, s->view.shared.daemon_pid);
        table_set_number(t, COL_EPOCH, s->view.shared.epoch);
        table_set(t, COL_CREATED, st->created);
        table_set_number(t, COL_CLIENTS, u->clients);
        table_set_number(t, COL_CLIENTSMAX, seg->n_clients - 1);
        table_set_number(t, COL_HANDLES, u->handles);
        table_set_number(t, COL_HANDLESMAX, seg->n_slots);
        table_set_number(t, COL_BLOCKS, u->blocks);
        table_set_bytes(t, COL_SCRATCH, u->bytes);
        table_set_bytes(t, COL_SCRATCHMAX, (uint64_t)seg->n_spans * MH_SHM_SPAN_SIZE);
        table_set_bytes(t, COL_MEMORY, st->memory);
        table_set_bytes(t, COL_SIZE, seg->total_size);
}

static const char *bytes(char buffer[static FORMAT_MAX], const Options *o, uint64_t n)
{
        if (!o->bytes)
                return format_bytes(buffer, n);
        (void)snprintf(buffer, FORMAT_MAX, "%" PRIu64, n);
        return buffer;
}

static void print_daemon(const Source *s, const Status *st)
{
        uint32_t pid = s->view.shared.daemon_pid;
        uint64_t epoch = s->view.shared.epoch;

        if (strcmp(st->daemon, "yes") == 0)
                printf(" Daemon: running, pid %u, epoch %" PRIu64 "\n", pid, epoch);
        else if (pid == 0)
                printf(" Daemon: not known\n");
        else if (strcmp(st->daemon, "no") == 0)
                printf(" Daemon: not running (the last one was pid %u, epoch %" PRIu64 ")\n", pid, epoch);
        else
                printf(" Daemon: pid %u, epoch %" PRIu64 "; whether it runs cannot be told\n", pid, epoch);
}

static void print_lines(const Options *o, const Source *s, const Usage *u, const Status *st)
{
        const Segment *seg = &s->view.seg;
        char a[FORMAT_MAX], b[FORMAT_MAX], text[TEXT_MAX];

        printf("Segment: %s\n", text_escape(text, s->name, sizeof(s->name)));
        printf("     Id: %s (format %u)\n", st->id, MH_SHM_VERSION);
        if (s->socket[0] != 0)
                printf(" Socket: %s\n", text_escape(text, s->socket, sizeof(s->socket)));
        print_daemon(s, st);
        printf("Created: %s\n", st->created);
        printf("Clients: %u of %u\n", u->clients, seg->n_clients - 1);
        printf("Handles: %" PRIu64 " of %u\n", u->handles, seg->n_slots);
        printf("Scratch: %s of %s, in %" PRIu64 " blocks\n", bytes(a, o, u->bytes),
               bytes(b, o, (uint64_t)seg->n_spans * MH_SHM_SPAN_SIZE), u->blocks);
        printf(" Memory: %s\n", bytes(a, o, st->memory));
}

static int show(const Options *o, const Source *s, const Usage *u, const Status *st)
{
        _cleanup_(table_done) Table t = {};
        int r;

        r = table_init(&t, o, &command_status);
        if (r != CTL_OK)
                return r;
        if (!o->output && !o->json && !o->raw && !o->noheadings) {
                print_lines(o, s, u, st);
                return CTL_OK;
        }
        fill_row(&t, s, u, st);
        return table_print(&t);
}

static int run(const Options *o)
{
        _cleanup_(source_close) Source s = SOURCE_NONE;
        _cleanup_(usage_done) Usage u = {};
        Status st = {};
        struct mh_shm_header h;
        struct stat sb;
        int r;

        r = source_open(&s, o);
        if (r != CTL_OK)
                return r;
        r = usage_count(&u, &s.view);
        if (r < 0)
                return source_complain(&s, r);
        view_read(&s.view, MH_SHM_REGION_HEADER, 0, &h, sizeof(h));
        if (fstat(s.fd, &sb) < 0)
                return ctl_error("cannot look at %s", s.name);

        (void)text_hex(st.id, s.view.seg.id, sizeof(s.view.seg.id));
        (void)text_time(st.created, h.created_usec);
        st.memory = (uint64_t)sb.st_blocks * 512;
        st.daemon = text_alive(&s.view.shared, s.view.shared.daemon_pid, s.view.shared.daemon_start_time);
        r = source_check(&s);
        return r != CTL_OK ? r : show(o, &s, &u, &st);
}

const Command command_status = { "status", "the segment, its daemon, and how full it is", columns, ELEMENTSOF(columns),
                                 run };
