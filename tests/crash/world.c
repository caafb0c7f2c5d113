/* SPDX-License-Identifier: MIT */

#include "crash/world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "crash/fail.h"
#include "shm/client.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/words.h"

#define SPANS 64U

/* Those before A in the second word of holder bits. */
#define FILLERS 63U

/* ---------------------------------------------------------------------------------------------- making */

static void *get_shared(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                fail_hard("mmap: %s", strerror(errno));
        return p;
}

static void must(int r, const char *what)
{
        if (r < 0)
                fail_hard("%s: %s", what, strerror(-r));
}

static void note_syscall(void *userdata, const struct user_regs_struct *before, long result)
{
        World *w = userdata;

        if (before->rax == 285 /* fallocate */ && (int)before->rdi == w->fd && result == 0)
                memory_note(&w->memory, (int)before->rsi, before->rdx, before->r10);
}

static void attach(World *w, uint32_t flags, uint64_t nonce, uint32_t *ret)
{
        ClientInfo info = {
                .flags = flags, .pid = (uint32_t)getpid(), .start_time = 1, .nonce = nonce, .name = "test"
        };

        must(client_attach(&w->shared->seg, &info, ret), "client_attach");
}

void world_init(World *w, Config config)
{
        SegmentConfig c = {
                .n_slots = 2 * MH_SHM_CHUNK_SLOTS,
                .n_clients = config == CONFIG_GROUPS ? 80 : 8,
                .scratch_bytes = (uint64_t)SPANS * MH_SHM_SPAN_SIZE,
                .limit_client_handles = UINT64_MAX,
                /* Where there is none, as usual, the shortest ways are taken. */
                .limit_client_scratch = config == CONFIG_GROUPS ? UINT64_C(1) << 40 : UINT64_MAX,
                .first_generation = config == CONFIG_GROUPS ? MH_SHM_GENERATION_MASK : 77,
        };

        *w = (World){ .config = config };
        w->fd = memfd_create("crash", MFD_CLOEXEC);
        if (w->fd < 0)
                fail_hard("memfd_create: %s", strerror(errno));
        w->shared = get_shared(sizeof(*w->shared));
        w->stack = get_shared(MACHINE_STACK);

        memory_watch();
        must(segment_format(w->fd, &c), "segment_format");
        must(segment_load(&w->shared->seg, w->fd), "segment_load");
        must(segment_map(&w->shared->seg), "segment_map");
        if (madvise(w->shared->seg.base, w->shared->seg.total_size, MADV_DOFORK) < 0)
                fail_hard("MADV_DOFORK: %s", strerror(errno));

        memory_init(&w->memory, &w->shared->seg, w->shared, sizeof(*w->shared));
        snapshot_init(&w->empty, &w->memory);
        memory_save(&w->memory, &w->empty);

        job_prepare_library(w->shared);
        must(machine_start(&w->machine, w->stack), "machine_start");
        w->machine.on_syscall = note_syscall;
        w->machine.userdata = w;
}

void world_done(World *w)
{
        machine_kill(&w->machine);
        snapshot_done(&w->empty, &w->memory);
        memory_done(&w->memory);
        segment_unmap(&w->shared->seg);
        (void)munmap(w->shared, sizeof(*w->shared));
        (void)munmap(w->stack, MACHINE_STACK);
        w->fd = fd_close(w->fd);
}

void world_reset(World *w)
{
        memory_restore(&w->memory, &w->empty);
        memset(&w->job, 0, sizeof(w->job));
        w->n_others = w->n_handles = w->n_blocks = w->n_stale = 0;
        w->own = 0;
        w->wire = w->keep = w->library = w->crowd = w->full = w->last_hole = w->retired = false;
}

/* ---------------------------------------------------------------------------------------------- what must succeed */

/* Only A speaks the wire protocol, and only where the scenario is about that. */
void world_attach(World *w, Who who)
{
        bool wire = who == WHO_A && w->wire;
        uint32_t id;

        if (w->config == CONFIG_GROUPS && who != WHO_B)
                for (unsigned i = client_end(&w->shared->seg); i <= FILLERS; i++)
                        attach(w, MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER, 1000 + i, &id);
        attach(w, wire ? 0 : MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER, who + 1, &id);
        w->shared->id[who] = id;
        actor_init(&w->shared->actor[who], &w->shared->seg, id, segment_ledger(&w->shared->seg, id));
        if (who == WHO_A && w->keep)
                slot_keep(&w->shared->actor[who]);
        if (who == WHO_A && w->library)
                job_use_library(w->shared, w->crowd);
}

Job world_job(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1)
{
        Job job = { .op = op, .who = who, .arg = { arg0, arg1 } };

        job.wire = who == WHO_A && w->wire && op >= OP_NEW && op <= OP_GIVE && op != OP_RESERVE;
        if (job.wire)
                job.seq = request_last(&w->shared->actor[who]) + 1;
        return job;
}

void world_run(World *w, Job *job)
{
        job_run(w->shared, job);
}

static Job must_run(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1)
{
        Job job = world_job(w, who, op, arg0, arg1);

        world_run(w, &job);
        must(job.result, job_name(op));
        return job;
}

uint64_t world_new(World *w, Who who, unsigned type)
{
        return must_run(w, who, OP_NEW, type, 0).value[0];
}

void world_open(World *w, Who who, uint64_t handle)
{
        (void)must_run(w, who, OP_OPEN, handle, 0);
}

void world_close(World *w, Who who, uint64_t handle)
{
        (void)must_run(w, who, OP_CLOSE, handle, 0);
}

uint64_t world_alloc(World *w, Who who, uint64_t size)
{
        return must_run(w, who, OP_ALLOC, size, 0).value[0];
}

void world_free(World *w, Who who, uint64_t scratch)
{
        (void)must_run(w, who, OP_FREE, scratch, 0);
}

void world_give(World *w, Who who, uint64_t scratch, uint64_t handle)
{
        (void)must_run(w, who, OP_GIVE, scratch, handle);
}

void world_kill(World *w, Who who)
{
        client_kill(&w->shared->seg, w->shared->id[who]);
}

void world_attached(World *w)
{
        for (uint32_t id = 1; id < client_end(&w->shared->seg); id++) {
                Job job = { .op = OP_REAP, .arg = { id } };

                if (id == w->shared->id[WHO_A] || id == w->shared->id[WHO_B] || id == w->shared->id[WHO_C] ||
                    client_state(&w->shared->seg, id) == MH_SHM_CLIENT_FREE)
                        continue;
                client_kill(&w->shared->seg, id);
                world_run(w, &job);
                must(job.result, "reap");
        }
}

void world_reap(World *w, Who who)
{
        (void)must_run(w, who, OP_REAP, w->shared->id[who], 0);
        w->shared->id[who] = 0;
}

/* ---------------------------------------------------------------------------------------------- what is watched */

void world_track_handle(World *w, uint64_t handle)
{
        struct mh_shm_slot *s = &w->shared->seg.slots[handle_slot(handle)];

        if (w->n_handles >= TRACKED_MAX)
                fail_hard("too many handles");
        s->payload[0] = (uint8_t)(0x40 + w->n_handles);
        s->payload[MH_SHM_PAYLOAD_SIZE - 1] = 0x77;
        w->handle[w->n_handles++] = handle;
}

void world_track_block(World *w, uint64_t scratch)
{
        uint8_t *data = w->shared->seg.scratch + scratch_offset(scratch);

        if (w->n_blocks >= TRACKED_MAX)
                fail_hard("too many blocks");
        memset(data, (int)(0x80 + w->n_blocks), MH_SHM_BLOCK_ALIGN);
        memory_mark(&w->memory, scratch_offset(scratch));
        w->block[w->n_blocks++] = scratch;
}

void world_track_stale(World *w, uint64_t handle)
{
        if (w->n_stale < TRACKED_MAX)
                w->stale[w->n_stale++] = handle;
}
