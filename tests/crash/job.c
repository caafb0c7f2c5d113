/* SPDX-License-Identifier: MIT */

#include "crash/job.h"

#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/client.h"
#include "shm/reap.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/totals.h"
#include "shm/trim.h"

/* Steps of reaping and trimming. More would be an endless loop. */
#define SLICES_MAX 100000U

/* Small ones, so that going on in the next slice is a part of what is tested. */
#define REAP_UNITS 700U

const char *job_name(Op op)
{
        static const char *const names[OP_COUNT] = {
                [OP_NONE] = "nothing",    [OP_NEW] = "new",     [OP_OPEN] = "open", [OP_CLOSE] = "close",
                [OP_RESERVE] = "reserve", [OP_ALLOC] = "alloc", [OP_FREE] = "free", [OP_GIVE] = "give",
                [OP_LOOKUP] = "lookup",   [OP_REAP] = "reap",   [OP_TRIM] = "trim", [OP_ATTACH] = "attach",
                [OP_ADOPT] = "adopt",
        };

        return names[op];
}

/* ---------------------------------------------------------------------------------------------- clients */

static uint32_t wire_op(Op op)
{
        switch (op) {
        case OP_NEW:
                return MH_WIRE_NEW;
        case OP_OPEN:
                return MH_WIRE_OPEN;
        case OP_CLOSE:
                return MH_WIRE_CLOSE;
        case OP_ALLOC:
                return MH_WIRE_SCRATCH;
        case OP_FREE:
                return MH_WIRE_SCRATCH_FREE;
        default:
                return MH_WIRE_GIVE;
        }
}

static void run_wire(Actor *a, Job *job)
{
        Request request = { .seq = job->seq, .op = wire_op(job->op), .arg = { job->arg[0], job->arg[1] } };
        struct mh_shm_outcome outcome = { .error = EPROTO };
        int r;

        if (job->op == OP_NEW) {
                request.type = (uint32_t)job->arg[0];
                request.arg[0] = 0;
        }
        r = request_run(a, &request, &outcome);
        job->result = r < 0 ? r : -outcome.error;
        job->flags = outcome.flags;
        job->value[0] = outcome.value[0];
        job->value[1] = outcome.value[1];
        if (job->op == OP_CLOSE)
                job->flags = (outcome.flags & MH_WIRE_CLOSE_DESTROY ? SLOT_CLOSED_HERE : 0U) |
                             (outcome.flags & MH_WIRE_CLOSE_GONE ? SLOT_CLOSED_EVERYWHERE : 0U);
}

static int reserve(Actor *a)
{
        uint32_t slot;
        int r;

        r = slot_reserve(a, &slot);
        if (r == 0)
                slot_unreserve(a, slot);
        return r;
}

static int run_direct(Actor *a, Job *job)
{
        switch (job->op) {
        case OP_NEW:
                job->flags = (uint32_t)job->arg[0];
                return slot_new(a, (unsigned)job->arg[0], &job->value[0]);
        case OP_OPEN:
                job->value[0] = job->arg[0];
                return slot_open(a, job->arg[0], &job->flags);
        case OP_CLOSE:
                return slot_close(a, job->arg[0], &job->flags);
        case OP_RESERVE:
                return reserve(a);
        case OP_ALLOC:
                return scratch_alloc(a, job->arg[0], &job->value[0], &job->value[1]);
        case OP_FREE:
                return scratch_free(a, job->arg[0]);
        case OP_GIVE:
                return scratch_give(a, job->arg[0], job->arg[1]);
        case OP_LOOKUP:
                return scratch_lookup(a, job->arg[0], NULL, &job->value[1]);
        default:
                return -EOPNOTSUPP;
        }
}

/* ---------------------------------------------------------------------------------------------- the daemon */

static int reap(Segment *seg, uint32_t id)
{
        Reap r;
        int k;

        if (client_state(seg, id) == MH_SHM_CLIENT_FREE)
                return 0;
        k = reap_init(&r, seg, id);
        for (unsigned i = 0; k >= 0 && i < SLICES_MAX; i++) {
                k = reap_step(&r, REAP_UNITS);
                if (k <= 0)
                        return k;
        }
        return k < 0 ? k : -ELOOP;
}

static int trim(Segment *seg)
{
        uint32_t cursor = 0;

        for (unsigned i = 0; i < SLICES_MAX; i++)
                if (trim_step(seg, &cursor, 0, 100) == 0)
                        return 0;
        return -ELOOP;
}

static int attach(Segment *seg, Job *job)
{
        ClientInfo info = { .pid = 4711, .start_time = 1, .nonce = UINT64_C(0x6e6f6e6365), .name = "one more" };
        uint32_t id;
        int r;

        /* Who asks again is found. */
        r = client_find(seg, info.pid, info.start_time, info.nonce, &id);
        if (r == -ENOENT)
                r = client_attach(seg, &info, &id);
        if (r == 0)
                job->value[0] = id;
        return r;
}

/* The order is that of the daemon: src/daemon/adopt.c. */
static int adopt(Shared *sh)
{
        Segment *seg = &sh->seg;
        uint32_t end = client_end(seg);
        int r;

        trim_recover(seg);
        for (uint32_t id = 1; id < end; id++) {
                unsigned state = client_state(seg, id);
                ClientInfo info;
                Actor *a = NULL;

                if (state == MH_SHM_CLIENT_ATTACHING)
                        client_kill(seg, id);
                if (state != MH_SHM_CLIENT_ATTACHED)
                        continue;
                client_info(seg, id, &info);
                for (unsigned i = 0; i < WHO_COUNT; i++)
                        if (sh->id[i] == id)
                                a = &sh->actor[i];
                if (a && !(info.flags & MH_SHM_CLIENT_LEDGER)) {
                        actor_init(a, seg, id, segment_ledger(seg, id));
                        request_recover(a);
                }
        }
        for (uint32_t id = 1; id < end; id++)
                if (client_state(seg, id) == MH_SHM_CLIENT_DEAD) {
                        r = reap(seg, id);
                        if (r < 0)
                                return r;
                }
        totals_recount(seg);
        return 0;
}

void job_run(Shared *sh, Job *job)
{
        job->flags = 0;
        job->value[0] = job->value[1] = 0;
        job->result = 0;

        switch (job->op) {
        case OP_NONE:
                break;
        case OP_REAP:
                job->result = reap(&sh->seg, (uint32_t)job->arg[0]);
                break;
        case OP_TRIM:
                job->result = trim(&sh->seg);
                break;
        case OP_ATTACH:
                job->result = attach(&sh->seg, job);
                break;
        case OP_ADOPT:
                job->result = adopt(sh);
                break;
        default:
                if (job->wire)
                        run_wire(&sh->actor[job->who], job);
                else
                        job->result = run_direct(&sh->actor[job->who], job);
        }
}

void job_run_shared(void *shared)
{
        Shared *sh = shared;

        job_run(sh, &sh->job);
}
