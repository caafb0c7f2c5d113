/* SPDX-License-Identifier: MIT */

/*
 * Clients that write the same wrong word into the segment, as fast as they can and without end, where the daemon is working:
 * it may refuse what it is asked for then, but must answer, not spin, and be as before when it is over.
 */

#include "harness.h"

#include <inttypes.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "lib/client.h"
#include "monohandle.h"
#include "shm/words.h"

#define HITS 1000U /* as dense as they can be, and then they are counted */

DAEMON_SUITE(hammer);

typedef struct Aim {
        unsigned meetings; /* that are enough */
        uint64_t *done;    /* how often it wrote, in memory shared with the test */
        uint64_t gen;
        uint32_t slot;
} Aim;

/* The mark below which descriptors of chunks exist. Whoever opens a chunk raises it, and looks again. */
static void lower_the_mark(const Segment *seg, const Aim *aim, unsigned i)
{
        store_relaxed(&seg->shared->chunk_hwm, 0); /* relaxed: it is nonsense, and has no pair */
}

/* The state of a slot that the daemon has reserved and is about to make LIVE. The hint makes it the next candidate, too. */
static void free_the_slot(const Segment *seg, const Aim *aim, unsigned i)
{
        unsigned bit = aim->slot % MH_SHM_CHUNK_SLOTS;

        store_relaxed(&seg->slots[aim->slot].state, state_make(aim->gen, MH_SHM_PHASE_FREE, 0, 0)); /* as above */
        if (i % 64 == 0)
                store_relaxed(&seg->chunks[aim->slot / MH_SHM_CHUNK_SLOTS].taken[bit / 64], 0);
}

static unsigned burials(void)
{
        return daemon_said(&the_daemon, "died holding");
}

static int write_without_end(const Daemon *d, const Aim *aim,
                             void (*hit)(const Segment *seg, const Aim *aim, unsigned i))
{
        mh_client *c = NULL;

        if (mh_attach(&c, d->socket, MH_ATTACH_NO_SPAWN) < 0 || !c->mapped)
                return 10;
        (void)alarm(300);
        for (;;) {
                for (unsigned i = 0; i < HITS; i++)
                        hit(&c->segment, aim, i);
                (void)fetch_add_relaxed(aim->done, HITS); /* read by the test, which wants no order */
        }
}

static int lower_without_end(const Daemon *d, int tell, void *argument)
{
        return write_without_end(d, argument, lower_the_mark);
}

static int free_without_end(const Daemon *d, int tell, void *argument)
{
        return write_without_end(d, argument, free_the_slot);
}

/* Each is answered: with a handle, or with an error that says that there is none to be had. True: a handle. */
static bool new_is_answered(Raw *wire, uint64_t *ret_handle)
{
        int k = raw_new(wire, 1, ret_handle);

        cr_assert(k == 0 || k == -ENOSPC || k == -EIO || k == -ESTALE, "new: %d", k);
        return k == 0;
}

/* Until the daemon has noticed often enough that it is not alone, which it tells by an error. A slot is left alone after that. */
static void ask_until_met(Raw *wire, const Aim *aim)
{
        uint64_t deadline = deadline_msec(2 * WAIT_MSEC), handle;
        unsigned asked = 0, met = 0;

        for (; met < aim->meetings && now_msec() < deadline; asked++)
                if (!new_is_answered(wire, &handle))
                        met++;
                else
                        (void)raw_close(wire, handle, NULL);
        harness_note("%u requests, of which %u met the scribbler, who wrote %" PRIu64 " times", asked, met,
                     load_relaxed(aim->done));
}

/* On a processor of its own, where there are two: else it only writes while the daemon does nothing. */
static void pin(pid_t pid, unsigned which)
{
        cpu_set_t all, one;

        CPU_ZERO(&one);
        cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &all) && which-- == 0)
                        CPU_SET(cpu, &one);
        (void)sched_setaffinity(pid, sizeof(one), &one);
}

static void with_a_scribbler(Raw *wire, Aim *aim, ChildFn fn)
{
        unsigned before = burials();
        uint64_t handle;
        Child c;

        aim->done = mmap(NULL, MH_SHM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(aim->done, MAP_FAILED);
        child_start(&c, &the_daemon, fn, aim);
        WAIT_FOR(load_relaxed(aim->done) > 0);
        pin(the_daemon.pid, 0);
        pin(c.pid, 1);
        ask_until_met(wire, aim);
        child_kill(&c);

        /* And when it is over: the same daemon answers, buries, and does nothing. */
        (void)new_is_answered(wire, &handle);
        WAIT_FOR(burials() > before);
        daemon_check_idle(&the_daemon);
        raw_done(wire);
        WAIT_FOR(burials() > before + 1);
        cr_expect_eq(daemon_stop(&the_daemon), 0, "the same daemon all the time");
        cr_assert_eq(munmap(aim->done, MH_SHM_PAGE), 0);
}

Test(hammer, the_mark_of_the_chunks_is_lowered_without_end)
{
        uint64_t handle;
        Aim aim = { .meetings = 3 };
        Raw wire;

        daemon_start(&the_daemon, (const char *const[]){ "--scratch=8M", NULL });
        cr_assert_eq(raw_attach(&wire, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&wire, 1, &handle), 0);
        with_a_scribbler(&wire, &aim, lower_without_end);
        harness_pass();
}

Test(hammer, the_state_of_a_slot_is_written_without_end)
{
        uint64_t handle;
        Aim aim;
        Raw wire;

        daemon_start(&the_daemon, (const char *const[]){ "--scratch=8M", "--handles=512", NULL });
        cr_assert_eq(raw_attach(&wire, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&wire, 1, &handle), 0);
        aim = (Aim){ .meetings = 1, .slot = handle_slot(handle), .gen = handle_generation(handle) + 1 };
        cr_assert_eq(raw_close(&wire, handle, NULL), 0);
        with_a_scribbler(&wire, &aim, free_without_end);
        harness_pass();
}
