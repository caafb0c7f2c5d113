/* SPDX-License-Identifier: MIT */

/* How the same operations go with more of everything: threads, processes, handles, clients. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"
#include "crew.h"
#include "handles.h"
#include "measure.h"
#include "pass.h"

/* What takes longer to set up is left out: that is when each handle costs a request. */
#define SET_UP_NSEC UINT64_C(20000000000)

static const unsigned crews[] = { 1, 2, 4, 8 };

#define N_CREWS (sizeof(crews) / sizeof(crews[0]))

static void *allocate(size_t size)
{
        void *p = calloc(1, size);

        if (!p)
                die("out of memory");
        return p;
}

/* ------------------------------------------------------------------------------------------------ threads, processes */

typedef struct Plan {
        const StageDaemon *daemon;
        int table;
        mh_client *client; /* of all threads; NULL: each process has its own */
        mt_client *table_client;
        mh_handle our_handle; /* that all of them open */
        uint64_t their_handle;
} Plan;

static void prepare_handles(void *ctx, unsigned i, void **ret_ours, void **ret_peer)
{
        const Plan *plan = ctx;
        OurHandles *ours = allocate(sizeof(*ours));
        TheirHandles *theirs = allocate(sizeof(*theirs));

        ours->client = plan->client ?: handles_attach(plan->daemon, 0);
        theirs->client = plan->table_client;
        if (!theirs->client)
                CHECK(mt_attach(&theirs->client, plan->table, i + 1), "mt_attach");
        for (unsigned k = 0; k < HANDLES_HELD; k++) {
                ours->held[k] = plan->our_handle;
                theirs->held[k] = plan->their_handle;
        }
        *ret_ours = ours;
        *ret_peer = theirs;
}

static void prepare_blocks(void *ctx, unsigned i, void **ret_ours, void **ret_peer)
{
        const Plan *plan = ctx;
        OurBlocks *ours = allocate(sizeof(*ours));
        TheirBlocks *theirs = allocate(sizeof(*theirs));

        *ours = (OurBlocks){ .client = plan->client ?: handles_attach(plan->daemon, 0), .size = 64 };
        *theirs = (TheirBlocks){ .size = 64 };
        our_blocks_take(ours);
        their_blocks_take(theirs);
        *ret_ours = ours;
        *ret_peer = theirs;
}

static void crew_of(const CrewPlan *crew_plan, const char *series)
{
        const char *reason;
        char key[64];
        Crew *crew;

        (void)snprintf(key, sizeof(key), "%s%u", series, crew_plan->n);
        if (!pass_wants(key))
                return;
        if (crew_plan->ours == our_ring && !peer_mimalloc_load(&reason)) {
                pass_skip(key, "%s", reason);
                return;
        }
        crew = crew_new(crew_plan);
        crew_measure(crew, key);
        (void)crew_free(crew);
}

static void run_crews(void)
{
        Plan alone = {}, together;
        StageDaemon daemon;

        if (!pass_wants("grow_threads_") && !pass_wants("grow_processes_"))
                return;
        stage_daemon_start(&daemon, NULL);
        alone.daemon = &daemon;
        alone.table = mt_create(1 << 16, CREW_MAX + 1);
        CHECK(alone.table, "mt_create");
        together = alone;
        together.client = handles_attach(&daemon, 0);
        CHECK(mt_attach(&together.table_client, alone.table, 0), "mt_attach");

        for (unsigned i = 0; i < N_CREWS; i++) {
                CrewPlan plan = { prepare_handles, our_new_close, their_new_close, &together, false, crews[i] };

                crew_of(&plan, "grow_threads_new_close_");
                plan = (CrewPlan){ prepare_blocks, our_ring, their_ring, &together, false, crews[i] };
                crew_of(&plan, "grow_threads_scratch_64_");
                plan = (CrewPlan){ prepare_handles, our_new_close, their_new_close, &alone, true, crews[i] };
                crew_of(&plan, "grow_processes_new_close_");
                plan = (CrewPlan){ prepare_blocks, our_ring, their_ring, &alone, true, crews[i] };
                crew_of(&plan, "grow_processes_scratch_64_");
        }
        (void)mh_detach(together.client);
        (void)mt_detach(together.table_client);
        (void)close(alone.table);
        stage_daemon_stop(&daemon);
}

/* ------------------------------------------------------------------------------------------------ one handle */

static void run_same_handle(void)
{
        OurHandles ours;
        TheirHandles theirs;
        StageDaemon daemon;
        StageChild child;
        Holder holder = { .daemon = &daemon };
        Plan plan = { .daemon = &daemon };

        if (!pass_wants("same_handle_"))
                return;
        stage_daemon_start(&daemon, NULL);
        plan.table = holder.table = mt_create(1 << 10, CREW_MAX + 1);
        CHECK(holder.table, "mt_create");
        holder_start(&child, &holder, &ours, &theirs);
        plan.our_handle = ours.held[0];
        plan.their_handle = theirs.held[0];
        for (unsigned n = 1; n <= 2; n++) {
                CrewPlan crew = { prepare_handles, our_open_close, their_open_close, &plan, true, n };

                crew_of(&crew, "same_handle_");
        }
        (void)close(plan.table);
        stage_child_kill(&child);
        stage_daemon_stop(&daemon);
}

/* ------------------------------------------------------------------------------------------------ handles */

#define LIVE_MAX (1U << 21)

typedef struct Live {
        OurHandles ours;
        TheirHandles theirs;
        PlainHandles plain;
        unsigned n; /* so many live */
} Live;

/* Number `k` of those that are opened. The plain arrays have it at the place that it has in a table. */
static void remember(Live *live, unsigned k, mh_handle ours, uint64_t theirs)
{
        live->ours.held[k] = ours;
        live->theirs.held[k] = theirs;
        live->plain.held[k] = live->n;
        live->plain.slots[live->n].state = 1;
}

/* Makes handles up to `n`, and remembers HANDLES_HELD of them from all over the table. False: it would take too long. */
static bool make_handles(Live *live, unsigned n)
{
        uint64_t begin = now_nsec();
        unsigned before = live->n, every = (n - before) / HANDLES_HELD + 1;

        for (; live->n < n; live->n++) {
                unsigned i = live->n - before;
                mh_handle h;
                uint64_t t;

                CHECK(mh_new(live->ours.client, MH_TYPE_EVENT, &h), "mh_new");
                CHECK(mt_new(live->theirs.client, MH_TYPE_EVENT, &t), "mt_new");
                if (i % every == 0)
                        remember(live, i / every, h, t);
                if (i == 500 && (now_nsec() - begin) / 500 * (n - before) > SET_UP_NSEC)
                        return false;
        }
        return true;
}

static const char *fill(Live *live, unsigned n)
{
        if (the_pass.quick && n > 10000)
                return "not in a quick run";
        return make_handles(live, n) ? NULL : "it would take too long to make so many";
}

static void measure_live(Live *live, unsigned n, const char *reason)
{
        struct {
                const char *series;
                Side ours, peer;
        } pairs[] = {
                { "grow_live_new_close_", { our_new_close, &live->ours }, { their_new_close, &live->theirs } },
                { "grow_live_held_open_close_", { our_open_close, &live->ours }, { their_open_close, &live->theirs } },
                { "grow_live_held_plain_", { our_open_close, &live->ours }, { plain_open_close, &live->plain } },
        };

        for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
                char key[64];

                (void)snprintf(key, sizeof(key), "%s%u", pairs[i].series, n);
                if (reason)
                        pass_skip(key, "%s", reason);
                else
                        measure(key, pairs[i].ours, pairs[i].peer);
        }
}

static void run_live(void)
{
        static const unsigned numbers[] = { 1000, 10000, 100000, 1000000 };
        const char *reason = NULL;
        StageDaemon daemon;
        Live live = {};
        int table;

        if (!pass_wants("grow_live_"))
                return;
        stage_daemon_start(&daemon, "--handles=2097152");
        stage_pin(0, 0);
        table = mt_create(LIVE_MAX, 2);
        CHECK(table, "mt_create");
        live.ours.client = handles_attach(&daemon, 0);
        CHECK(mt_attach(&live.theirs.client, table, 0), "mt_attach");
        live.plain.slots = stage_shared(LIVE_MAX * sizeof(live.plain.slots[0]));
        live.plain.counts = stage_shared(LIVE_MAX * sizeof(live.plain.counts[0]));

        for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                reason = reason ?: fill(&live, numbers[i]);
                measure_live(&live, numbers[i], reason);
        }
        (void)munmap(live.plain.slots, LIVE_MAX * sizeof(live.plain.slots[0]));
        (void)munmap(live.plain.counts, LIVE_MAX * sizeof(live.plain.counts[0]));
        (void)mh_detach(live.ours.client);
        (void)mt_detach(live.theirs.client);
        (void)close(table);
        stage_daemon_stop(&daemon);
        stage_unpin(0);
}

/* ------------------------------------------------------------------------------------------------ clients */

typedef struct Crowd {
        const StageDaemon *daemon;
        int table;
        unsigned n; /* with the last one, who is measured */
} Crowd;

/* Both sides have as many clients, and each of those holds a handle; the first holds those that are opened, too. */
static mh_client *join_ours(const Crowd *c, bool first, OurHandles *handles)
{
        OurHandles one = { .client = handles_attach(c->daemon, 0) };
        mh_handle h;

        CHECK(mh_new(one.client, MH_TYPE_EVENT, &h), "mh_new");
        if (first) {
                our_handles_make(&one);
                *handles = one;
        }
        return one.client;
}

static mt_client *join_theirs(const Crowd *c, unsigned id, TheirHandles *handles)
{
        TheirHandles one;
        uint64_t h;

        CHECK(mt_attach(&one.client, c->table, id), "mt_attach");
        CHECK(mt_new(one.client, MH_TYPE_EVENT, &h), "mt_new");
        if (id == 0) {
                their_handles_make(&one);
                *handles = one;
        }
        return one.client;
}

/* One process is all of them but the last: a client is an attachment, and none of these does anything any more. */
static void crowd(int fd, void *ctx)
{
        const Crowd *c = ctx;
        OurHandles ours = {};
        TheirHandles theirs = {};

        for (unsigned i = 0; i + 1 < c->n; i++) {
                (void)join_ours(c, i == 0, &ours);
                (void)join_theirs(c, i, &theirs);
        }
        stage_tell(fd, &ours, sizeof(ours));
        stage_tell(fd, &theirs, sizeof(theirs));
        for (;;)
                (void)pause();
}

/* The last client is this process; what it opens, another holds, if there is another. */
static void measure_last(Crowd *c, const char *new, const char *open)
{
        OurHandles ours = {};
        TheirHandles theirs = {};
        StageChild child;

        if (c->n > 1) {
                stage_child_start(&child, crowd, c);
                stage_hear(child.fd, &ours, sizeof(ours));
                stage_hear(child.fd, &theirs, sizeof(theirs));
        }
        stage_pin(0, 0);
        ours.client = join_ours(c, c->n == 1, &ours);
        theirs.client = join_theirs(c, c->n - 1, &theirs);
        stage_wait_idle(c->daemon->pid);
        measure(new, (Side){ our_new_close, &ours }, (Side){ their_new_close, &theirs });
        if (c->n > 1)
                measure(open, (Side){ our_open_close, &ours }, (Side){ their_open_close, &theirs });
        (void)mh_detach(ours.client);
        (void)mt_detach(theirs.client);
        if (c->n > 1)
                stage_child_kill(&child);
        stage_unpin(0);
}

static void run_clients(void)
{
        static const unsigned numbers[] = { 1, 10, 100, 1000 };

        for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                Crowd c = { .n = numbers[i] };
                char new[64], open[64];
                StageDaemon daemon;

                (void)snprintf(new, sizeof(new), "grow_clients_new_close_%u", numbers[i]);
                (void)snprintf(open, sizeof(open), "grow_clients_first_open_close_%u", numbers[i]);
                if (!pass_wants(new) && !pass_wants(open))
                        continue;
                stage_daemon_start(&daemon, "--clients=2048");
                c.daemon = &daemon;
                c.table = mt_create(1 << 16, c.n);
                CHECK(c.table, "mt_create");
                measure_last(&c, new, open);
                (void)close(c.table);
                stage_daemon_stop(&daemon);
        }
}

void run_grow(void)
{
        run_crews();
        run_same_handle();
        run_live();
        run_clients();
}
