/* SPDX-License-Identifier: MIT */

#include "crash/job.h"

#include <errno.h>
#include <string.h>

#include "base/atomics.h"
#include "shm/client.h"
#include "shm/give.h"
#include "shm/reap.h"
#include "shm/reserve.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "shm/takeover.h"
#include "shm/trim.h"

/* Steps of reaping and trimming. More would be an endless loop. */
#define SLICES_MAX 100000U

/* Small ones, so that going on in the next slice is a part of what is tested. */
#define REAP_UNITS 700U

const char *job_name(Op op)
{
        static const char *const names[OP_COUNT] = {
                [OP_NONE] = "nothing",    [OP_NEW] = "new",         [OP_OPEN] = "open", [OP_CLOSE] = "close",
                [OP_RESERVE] = "reserve", [OP_ALLOC] = "alloc",     [OP_FREE] = "free", [OP_GIVE] = "give",
                [OP_LOOKUP] = "lookup",   [OP_REAP] = "reap",       [OP_TRIM] = "trim", [OP_ATTACH] = "attach",
                [OP_ADOPT] = "adopt",     [OP_PAYLOAD] = "payload",
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

        r = reserve_slot(a, &slot);
        if (r == 0)
                reserve_undo(a, slot);
        return r;
}

static int run_direct(Actor *a, Job *job)
{
        struct mh_shm_slot *slot;
        int r;

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
                return give_block(a, job->arg[0], job->arg[1]);
        case OP_LOOKUP:
                return scratch_lookup(a, job->arg[0], NULL, &job->value[1]);
        case OP_PAYLOAD:
                r = slot_held(a, job->arg[0], &slot);
                if (r == 0)
                        job->value[1] = (uint8_t *)slot->payload - a->seg->base;
                return r;
        default:
                return -EOPNOTSUPP;
        }
}

/* ---------------------------------------------------------------------------------------------- the library */

void job_prepare_library(Shared *sh)
{
        mh_client *c = &sh->library.client;

        /* Threads are told apart by something that is made once, and fork() does not make again. */
        (void)direct_open(&c->direct, &sh->seg, 1, sh->seg.base);
        direct_close(&c->direct);
}

/* But for the list of all there are, which is for threads that end: this memory comes and goes as the test wants it. */
static void open_direct(Direct *d, Segment *seg, uint32_t id, void *ledger)
{
        uint64_t serial;

        (void)direct_open(d, seg, id, ledger);
        serial = d->serial;
        direct_close(d);
        d->serial = serial;
        (void)pthread_mutex_init(&d->lock, NULL);
        (void)pthread_mutex_init(&d->shared_lock, NULL);
}

void job_use_library(Shared *sh, bool crowded)
{
        uint32_t id = sh->id[WHO_A];
        mh_client *c = &sh->library.client;

        memset(&sh->library, 0, sizeof(sh->library));
        sh->by_library = true;
        sh->library.head.alive = FORK_ALIVE;
        sh->library.mine = direct_mine;
        c->id = id;
        c->socket = GUARD_NONE;
        c->segment_fd = (Guard){ .fd = sh->seg.fd, .dev = sh->seg.device, .ino = sh->seg.inode };
        c->segment = sh->seg;
        c->ledger = segment_ledger(&sh->seg, id);
        open_direct(&c->direct, &c->segment, id, c->ledger);
        c->mapped = true;
        client_set_direct(c, true);
        c->look_at = UINT64_MAX; /* there is no connection to look after */
        for (unsigned i = 0; crowded && i < MH_SHM_THREADS - 1; i++)
                c->direct.seats[i].owner = c;
}

static int call_library(mh_client *c, Job *job)
{
        size_t size = 0;
        void *data;
        int r, type = 0;

        switch (job->op) {
        case OP_NEW:
                job->flags = (uint32_t)job->arg[0];
                return mh_new(c, (int)job->arg[0], &job->value[0]);
        case OP_OPEN:
                job->value[0] = job->arg[0];
                r = mh_open(c, job->arg[0], &type);
                job->flags = (uint32_t)type;
                return r;
        case OP_CLOSE:
                return mh_close(c, job->arg[0], &job->flags);
        case OP_ALLOC:
                r = mh_scratch_alloc(c, job->arg[0], &job->value[0]);
                /* What request and segment say of it is the size that it has. */
                if (r == 0)
                        r = mh_scratch_data(c, job->value[0], &data, &job->value[1]);
                return r;
        case OP_FREE:
                return mh_scratch_free(c, job->arg[0]);
        case OP_GIVE:
                return mh_scratch_give(c, job->arg[0], job->arg[1]);
        case OP_LOOKUP:
                return mh_scratch_data(c, job->arg[0], &data, &job->value[1]);
        case OP_PAYLOAD:
                r = mh_payload(c, job->arg[0], &data, &size);
                if (r == 0)
                        job->value[1] = (uint8_t *)data - c->segment.base;
                return r;
        default:
                return -EOPNOTSUPP;
        }
}

/* The test and the process that it traces are one process to the library: both have the same thread, at the same address. */
static int run_library(Shared *sh, Job *job)
{
        int r;

        direct_mine = sh->library.mine;
        r = call_library(&sh->library.client, job);
        sh->library.mine = direct_mine;
        return r;
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

/* As src/daemon/adopt.c does it, for clients whose processes all live. */
static int adopt_entry(uint32_t id, void *userdata)
{
        Shared *sh = userdata;
        Segment *seg = &sh->seg;
        unsigned state = client_state(seg, id);
        ClientInfo info;

        if (state == MH_SHM_CLIENT_ATTACHING)
                client_kill(seg, id);
        if (state != MH_SHM_CLIENT_ATTACHED)
                return 0;
        client_info(seg, id, &info);
        for (unsigned i = 0; i < WHO_COUNT; i++)
                if (sh->id[i] == id && !(info.flags & MH_SHM_CLIENT_LEDGER)) {
                        actor_init(&sh->actor[i], seg, id, segment_ledger(seg, id));
                        request_recover(&sh->actor[i]);
                }
        return 0;
}

static int reap_dead(void *userdata)
{
        Shared *sh = userdata;
        uint32_t end = client_end(&sh->seg);
        int r = 0;

        for (uint32_t id = 1; id < end && r >= 0; id++)
                if (client_state(&sh->seg, id) == MH_SHM_CLIENT_DEAD)
                        r = reap(&sh->seg, id);
        return r;
}

static int adopt(Shared *sh)
{
        return takeover_run(&sh->seg, &(Takeover){ .entry = adopt_entry, .reap = reap_dead, .userdata = sh });
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
                else if (sh->by_library && job->who == WHO_A && job->op != OP_RESERVE)
                        job->result = run_library(sh, job);
                else
                        job->result = run_direct(&sh->actor[job->who], job);
        }
}

void job_run_shared(void *shared)
{
        Shared *sh = shared;

        job_run(sh, &sh->job);
}
