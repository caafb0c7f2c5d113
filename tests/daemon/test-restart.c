/* SPDX-License-Identifier: MIT */

/* The daemon dies, at whatever instant, and the next one goes on: nothing is lost, nothing happens twice. */

#include "harness.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/record.h"
#include "tools/under.h"

DAEMON_SUITE(restart);

static void restart(void)
{
        daemon_kill(&the_daemon);
        daemon_start(&the_daemon, NULL);
}

static void record_path(char ret[static 128])
{
        (void)snprintf(ret, 128, "%s.segment", the_daemon.socket);
}

static void sleep_usec(unsigned usec)
{
        struct timespec t = { .tv_nsec = (long)usec * 1000 };

        (void)nanosleep(&t, NULL);
}

/* Shorter than any sleep. */
static void spin_usec(unsigned usec)
{
        struct timespec start, now;

        (void)clock_gettime(CLOCK_MONOTONIC, &start);
        do
                (void)clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < (long)usec * 1000);
}

/* ------------------------------------------------------------------------------------------------ adoption */

Test(restart, clients_are_adopted_and_go_on)
{
        uint64_t one, two, idx, size;
        VerifyStats stats;
        unsigned flags;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_attach(&b, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&a, 1, &one), 0);
        cr_assert_eq(raw_new(&b, 2, &two), 0);
        cr_assert_eq(raw_open(&b, one, NULL), 0);
        cr_assert_eq(raw_scratch(&b, 100000, &idx, &size), 0);

        restart();
        cr_expect_eq(daemon_said(&the_daemon, "2 clients live, 0 died; "), 1);
        cr_assert_eq(raw_resume(&a, &the_daemon), 0);
        cr_assert_eq(raw_resume(&b, &the_daemon), 0);
        cr_expect_eq(a.epoch, 2);
        cr_expect_eq(a.last, 1);
        cr_expect_eq(b.last, 3);
        cr_expect_eq(a.granted, MH_WIRE_HELLO_MAPS);
        cr_expect_eq(b.granted, 0);

        cr_expect_eq(raw_open(&a, two, NULL), 0);
        cr_assert_eq(raw_close(&a, one, &flags), 0);
        cr_expect_eq(flags, MH_WIRE_CLOSE_DESTROY);
        cr_expect_eq(raw_scratch_free(&b, idx), 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 2);
        cr_expect_eq(stats.clients, 2);

        /* Now the wire-only one has a connection again, by which it lives and dies. */
        raw_done(&b);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 2 handles") == 1);
        raw_done(&a);
        harness_pass();
}

Test(restart, a_hello_whose_welcome_was_lost_is_repeated)
{
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        b = a;
        b.segment_fd = -1;
        restart();
        b.fd = raw_connect(&the_daemon);
        cr_assert_eq(raw_hello(&b), 0);
        cr_expect_eq(b.id, a.id);
        raw_done(&a);
        raw_done(&b);
        harness_pass();
}

static int attach_and_hold(const Daemon *d, int tell, void *argument)
{
        const unsigned *n = argument;
        uint64_t handle = 0, idx, size;
        Raw r;

        if (raw_attach(&r, d, MH_WIRE_HELLO_MAPS) != 0)
                return 10;
        (void)raw_map(&r);
        for (unsigned i = 0; i < *n; i++)
                if (raw_new(&r, 1, &handle) != 0)
                        return 11;
        for (unsigned i = 0; i < 10; i++)
                if (raw_scratch(&r, 65536, &idx, &size) != 0)
                        return 12;
        child_tell(tell, &handle, sizeof(handle));
        return 0;
}

Test(restart, who_died_meanwhile_is_reaped)
{
        unsigned n = 50;
        uint64_t handle;
        VerifyStats stats;
        Child victim;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        child_start(&victim, &the_daemon, attach_and_hold, &n);
        child_hear(&victim, &handle, sizeof(handle));
        cr_assert_eq(raw_open(&r, handle, NULL), 0);
        daemon_kill(&the_daemon);
        child_kill(&victim);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 1 died; 1 handles"), 1);
        cr_expect_eq(daemon_said(&the_daemon, "died holding 50 handles and 655360 bytes"), 1);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 1);
        cr_expect_eq(stats.blocks, 0);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_open(&r, handle, NULL), 0);
        raw_done(&r);
        harness_pass();
}

static int exec_when_told(const Daemon *d, int tell, void *argument)
{
        sigset_t set;
        int k, sig;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR1);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        k = attach_and_hold(d, tell, argument);
        if (k != 0)
                return k;
        (void)sigwait(&set, &sig);
        child_tell(tell, &sig, sizeof(sig));
        (void)execl("/bin/sleep", "sleep", "1000", NULL);
        return 13;
}

/* The same process, the same start time, and nothing left of the client. */
Test(restart, who_called_exec_meanwhile_is_reaped)
{
        unsigned n = 5;
        uint64_t handle;
        Child victim;
        int sig;

        daemon_start(&the_daemon, NULL);
        child_start(&victim, &the_daemon, exec_when_told, &n);
        child_hear(&victim, &handle, sizeof(handle));
        daemon_kill(&the_daemon);
        (void)kill(victim.pid, SIGUSR1);
        child_hear(&victim, &sig, sizeof(sig));
        daemon_start(&the_daemon, NULL);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 5 handles") == 1);
        child_kill(&victim);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* The reaper dies, again and again, and the last one leaves nothing. */
Test(restart, killed_while_it_reaps)
{
        unsigned n = 3000;
        uint64_t before, handle;
        VerifyStats stats;
        Child victim;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        before = daemon_segment_kib(&the_daemon);
        for (unsigned round = 0; round < 8; round++) {
                child_start(&victim, &the_daemon, attach_and_hold, &n);
                child_hear(&victim, &handle, sizeof(handle));
                cr_assert_eq(raw_open(&r, handle, NULL), 0);
                (void)kill(victim.pid, SIGKILL);
                sleep_usec(round * 250);
                daemon_kill(&the_daemon);
                (void)child_wait(&victim);
                /* One that does not get far, either. */
                the_daemon.pid = daemon_spawn(&the_daemon, NULL);
                sleep_usec(1500 + round * 400);
                restart();
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
                cr_assert_eq(raw_close(&r, handle, NULL), 0);
                daemon_verify(&the_daemon, &stats);
                cr_expect_eq(stats.handles, 0);
                cr_expect_eq(stats.blocks, 0);
        }
        WAIT_FOR(daemon_segment_kib(&the_daemon) <= before + 1024);
        raw_done(&r);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ short of descriptors */

enum {
        MANY = 60,
        FEW_FDS = 64
};

static int start_with_few_fds(const Daemon *d, int tell, void *argument)
{
        if (close_range(3, UINT_MAX, 0) < 0 || setrlimit(RLIMIT_NOFILE, &(struct rlimit){ FEW_FDS, FEW_FDS }) < 0)
                return 21;
        daemon_become(d, NULL);
}

static int attach_by_wire(const Daemon *d, int tell, void *argument)
{
        uint64_t handle;
        Raw r;

        if (raw_attach(&r, d, 0) != 0 || raw_new(&r, 1, &handle) != 0)
                return 20;
        child_tell(tell, &handle, sizeof(handle));
        return 0;
}

/* There are more clients than descriptors to watch them with. They live all the same, others can come, and who dies is
 * noticed. */
Test(restart, more_clients_than_descriptors)
{
        uint64_t handle, handles[MANY], begin;
        Child mortal, daemon;
        Raw r[MANY], late;

        daemon_start(&the_daemon, NULL);
        for (unsigned i = 0; i < MANY; i++) {
                cr_assert_eq(raw_attach(&r[i], &the_daemon, 0), 0);
                cr_assert_eq(raw_new(&r[i], 1, &handles[i]), 0);
        }
        child_start(&mortal, &the_daemon, attach_by_wire, NULL);
        child_hear(&mortal, &handle, sizeof(handle));
        cr_assert_eq(raw_open(&r[0], handle, NULL), 0);
        (void)kill(mortal.pid, SIGSTOP);
        daemon_kill(&the_daemon);

        child_start(&daemon, &the_daemon, start_with_few_fds, NULL);
        WAIT_FOR(daemon_said(&the_daemon, "Ready at ") == 2);
        begin = now_msec();
        the_daemon.pid = daemon.pid;
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_expect_eq(raw_detach(&late), 0);
        cr_expect_eq(daemon_said(&the_daemon, "has to wait"), 0);
        raw_done(&late);
        cr_assert_eq(raw_resume(&r[MANY - 2], &the_daemon), 0);

        child_kill(&mortal);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 1 handles") == 1);
        /* Longer than anybody is waited for of whom nothing is known. */
        while (now_msec() < begin + 31000)
                sleep_msec(100);
        cr_expect_eq(daemon_said(&the_daemon, "died holding"), 1);
        cr_assert_eq(raw_resume(&r[MANY - 1], &the_daemon), 0);
        cr_expect_eq(raw_close(&r[MANY - 1], handles[MANY - 1], NULL), 0);
        cr_expect_eq(raw_close(&r[MANY - 2], handles[MANY - 2], NULL), 0);
        for (unsigned i = 0; i < MANY; i++)
                raw_done(&r[i]);
        the_daemon.pid = 0;
        child_kill(&daemon);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ exactly once */

/*
 * The daemon is killed at some instant after a request was sent. Whatever had become of that request, sent again it
 * takes effect once. What the client was told and what is there are compared in the end.
 */
Test(restart, a_request_in_flight_takes_effect_exactly_once)
{
        enum {
                ROUNDS = 60
        };
        uint64_t handles[ROUNDS] = {}, blocks[ROUNDS] = {};
        unsigned n_handles = 0, n_blocks = 0, replayed = 0;
        VerifyStats stats;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                union {
                        struct mh_wire_header header;
                        struct mh_wire_new new;
                        struct mh_wire_close close;
                        struct mh_wire_scratch scratch;
                        struct mh_wire_scratch_free scratch_free;
                } request = {};
                union {
                        struct mh_wire_handle handle;
                        struct mh_wire_closed closed;
                        struct mh_wire_block block;
                        struct mh_wire_header header;
                } reply = {};
                static const uint16_t types[] = { MH_WIRE_NEW,   MH_WIRE_SCRATCH, MH_WIRE_NEW,
                                                  MH_WIRE_CLOSE, MH_WIRE_SCRATCH, MH_WIRE_SCRATCH_FREE };
                uint16_t type = types[round % ELEMENTSOF(types)];
                size_t size = 24, reply_size = 32;

                switch (type) {
                case MH_WIRE_NEW:
                        request.new.type = 1;
                        break;
                case MH_WIRE_SCRATCH:
                        request.scratch.length = round % 4 == 1 ? 100 : 100000;
                        break;
                case MH_WIRE_CLOSE:
                        request.close.handle = handles[n_handles - 1];
                        reply_size = 24;
                        break;
                default:
                        request.scratch_free.idx = blocks[n_blocks - 1];
                        reply_size = 16;
                        break;
                }

                r.seq++;
                request.header = (struct mh_wire_header){ .type = type, .size = (uint32_t)size, .seq = r.seq };
                cr_assert_eq(raw_send(r.fd, &request, size, NULL, 0, false), 0);
                spin_usec(round % 40 * 4);
                restart();
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
                cr_assert(r.last == r.seq || r.last == r.seq - 1, "%lu", r.last);
                replayed += r.last == r.seq;
                cr_assert_eq(raw_call_again(&r, type, &request, size, &reply, reply_size), 0, "round %u", round);

                switch (type) {
                case MH_WIRE_NEW:
                        handles[n_handles++] = reply.handle.handle;
                        break;
                case MH_WIRE_SCRATCH:
                        blocks[n_blocks++] = reply.block.idx;
                        break;
                case MH_WIRE_CLOSE:
                        cr_assert_eq(reply.closed.destroy, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
                        n_handles--;
                        break;
                default:
                        n_blocks--;
                        break;
                }
        }

        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, n_handles);
        cr_expect_eq(stats.blocks, n_blocks);
        for (unsigned i = 0; i < n_handles; i++)
                cr_assert_eq(raw_close(&r, handles[i], NULL), 0);
        for (unsigned i = 0; i < n_blocks; i++)
                cr_assert_eq(raw_scratch_free(&r, blocks[i]), 0);
        harness_note("%u of %d had taken effect before", replayed, ROUNDS);
        raw_done(&r);
        harness_pass();
}

/* As if the daemon had died when all was done but the last word, which says so. */
static void forget_outcome(const Raw *r)
{
        uint64_t seq = r->seq - 1;
        Segment seg;

        cr_assert_eq(segment_load(&seg, r->segment_fd), 0);
        cr_assert_eq(pwrite(r->segment_fd, &seq, sizeof(seq),
                            (off_t)(seg.regions[MH_SHM_REGION_CLIENTS].offset + r->id * sizeof(struct mh_shm_client) +
                                    offsetof(struct mh_shm_client, outcome.seq))),
                     (ssize_t)sizeof(seq));
}

static void interrupt(Raw *r)
{
        daemon_kill(&the_daemon);
        forget_outcome(r);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(r, &the_daemon), 0);
        cr_expect_eq(r->last, r->seq, "the next daemon found that it was done");
}

Test(restart, what_was_done_and_not_noted_is_found_to_be_done)
{
        struct mh_wire_new make = { .type = 5 };
        struct mh_wire_open open_ = {};
        struct mh_wire_close close_ = {};
        struct mh_wire_scratch scratch = { .length = 100 };
        struct mh_wire_scratch_free free_ = {};
        struct mh_wire_handle made, again;
        struct mh_wire_closed closed;
        struct mh_wire_block block, same;
        struct mh_wire_header bare;
        VerifyStats stats;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);

        cr_assert_eq(raw_call(&r, MH_WIRE_NEW, &make, sizeof(make), &made, sizeof(made)), 0);
        interrupt(&r);
        cr_assert_eq(raw_call_again(&r, MH_WIRE_NEW, &make, sizeof(make), &again, sizeof(again)), 0);
        cr_expect_eq(again.handle, made.handle);
        cr_expect_eq(again.type, 5);

        cr_assert_eq(raw_call(&r, MH_WIRE_SCRATCH, &scratch, sizeof(scratch), &block, sizeof(block)), 0);
        interrupt(&r);
        cr_assert_eq(raw_call_again(&r, MH_WIRE_SCRATCH, &scratch, sizeof(scratch), &same, sizeof(same)), 0);
        cr_expect_eq(same.idx, block.idx);
        cr_expect_eq(same.size, block.size);

        open_.handle = close_.handle = made.handle;
        cr_assert_eq(raw_call(&r, MH_WIRE_OPEN, &open_, sizeof(open_), &again, sizeof(again)), 0);
        interrupt(&r);
        cr_assert_eq(raw_call_again(&r, MH_WIRE_OPEN, &open_, sizeof(open_), &again, sizeof(again)), 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 1);
        cr_expect_eq(stats.blocks, 1);

        for (unsigned i = 0; i < 2; i++) {
                cr_assert_eq(raw_call(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), 0);
                interrupt(&r);
                cr_assert_eq(raw_call_again(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), 0);
                cr_expect_eq(closed.destroy, i == 0 ? 0 : MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
        }

        free_.idx = block.idx;
        cr_assert_eq(raw_call(&r, MH_WIRE_SCRATCH_FREE, &free_, sizeof(free_), &bare, sizeof(bare)), 0);
        interrupt(&r);
        cr_assert_eq(raw_call_again(&r, MH_WIRE_SCRATCH_FREE, &free_, sizeof(free_), &bare, sizeof(bare)), 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 0);
        cr_expect_eq(stats.blocks, 0);
        raw_done(&r);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ stopping */

Test(restart, a_segment_in_use_is_left_by_a_daemon_that_stops)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        cr_expect_eq(daemon_said(&the_daemon, "wait for the next daemon"), 1);
        cr_expect_neq(access(the_daemon.socket, F_OK), 0);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_close(&r, handle, NULL), 0);
        cr_assert_eq(raw_detach(&r), 0);
        raw_done(&r);

        char path[128];
        Record record;
        record_path(path);
        cr_assert_eq(record_read(path, &record), 0);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        cr_expect_neq(access(path, F_OK), 0, "empty: the record goes");
        cr_expect_lt(shm_open(record.name, O_RDONLY, 0), 0, "and so does the segment");
        harness_pass();
}

/* At the end of a session all get their signal at once. */
Test(restart, a_daemon_that_stops_buries_the_dead_first)
{
        unsigned n = 500;
        uint64_t handle;
        Child victim;
        char path[128];

        daemon_start(&the_daemon, NULL);
        child_start(&victim, &the_daemon, attach_and_hold, &n);
        child_hear(&victim, &handle, sizeof(handle));
        (void)kill(the_daemon.pid, SIGSTOP);
        child_kill(&victim);
        (void)kill(the_daemon.pid, SIGTERM);
        (void)kill(the_daemon.pid, SIGCONT);
        cr_expect_eq(daemon_wait(&the_daemon), 0);
        cr_expect_eq(daemon_said(&the_daemon, "died holding 500 handles"), 1);
        record_path(path);
        cr_expect_neq(access(path, F_OK), 0);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ lost and found */

Test(restart, a_client_brings_the_segment_whose_name_was_lost)
{
        uint64_t handle;
        VerifyStats stats;
        char path[128];
        Record record;
        Raw r, late;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        daemon_kill(&the_daemon);
        record_path(path);
        cr_assert_eq(record_read(path, &record), 0);
        cr_assert_eq(shm_unlink(record.name), 0);

        daemon_start(&the_daemon, NULL);
        cr_expect_neq(access(path, F_OK), 0, "the record named nothing any more");
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(daemon_said(&the_daemon, "brought by a client: 1 clients live"), 1);
        cr_expect_eq(raw_open(&r, handle, NULL), 0);
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_expect_eq(raw_open(&late, handle, NULL), 0);
        cr_expect_eq(fd_same(r.segment_fd, late.segment_fd), 1);
        cr_assert_eq(verify_segment(r.segment_fd, VERIFY_AT_REST, NULL, NULL, &stats), 0);
        cr_expect_eq(stats.handles, 1);
        raw_done(&r);
        raw_done(&late);
        harness_pass();
}

/* A shortage of the daemon's passes; what the client has is not to be lost for it. */
Test(restart, a_daemon_without_memory_is_no_reason_to_give_up)
{
        struct rlimit limit = { .rlim_cur = 16 << 20, .rlim_max = RLIM_INFINITY };
        uint64_t handle;
        char path[128];
        Record record;
        Raw r;

        skip_under("asan", "needs an address space without limit");
        skip_under("tsan", "needs an address space without limit");
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        daemon_kill(&the_daemon);
        record_path(path);
        cr_assert_eq(record_read(path, &record), 0);
        cr_assert_eq(shm_unlink(record.name), 0);

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_AS, &limit, NULL), 0);
        cr_expect_eq(raw_resume(&r, &the_daemon), -ENOMEM);
        cr_expect_eq(raw_resume_here(&r, r.segment_fd), -ENOMEM, "the connection is as it was");
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_AS, &limit, NULL), 0);
        cr_assert_eq(raw_resume_here(&r, r.segment_fd), 0);
        cr_expect_eq(raw_close(&r, handle, NULL), 0);
        raw_done(&r);
        harness_pass();
}

Test(restart, an_empty_segment_yields_and_one_in_use_does_not)
{
        uint64_t handle;
        char path[128];
        Raw r, other;

        for (unsigned in_use = 0; in_use < 2; in_use++) {
                daemon_start(&the_daemon, NULL);
                cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
                cr_assert_eq(raw_new(&r, 1, &handle), 0);
                daemon_kill(&the_daemon);
                record_path(path);
                Record record;
                cr_assert_eq(record_read(path, &record), 0);
                cr_assert_eq(shm_unlink(record.name), 0);

                daemon_start(&the_daemon, NULL);
                cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
                if (!in_use)
                        cr_assert_eq(raw_detach(&other), 0);
                cr_expect_eq(raw_resume(&r, &the_daemon), in_use ? -ESTALE : 0);
                if (in_use)
                        cr_expect_eq(raw_new(&other, 1, &handle), 0);
                else
                        cr_expect_eq(raw_open(&r, handle, NULL), 0);
                raw_done(&r);
                raw_done(&other);
                daemon_kill(&the_daemon);
                char object[128];
                (void)snprintf(object, sizeof(object), "%s", path);
                if (record_read(object, &record) == 0)
                        (void)shm_unlink(record.name);
                (void)unlink(path);
        }
        harness_pass();
}

Test(restart, a_segment_that_another_daemon_serves_is_not_taken)
{
        uint64_t handle;
        Daemon second;
        Raw r, copy;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        daemon_prepare(&second);
        daemon_start(&second, NULL);
        copy = r;
        copy.fd = -1;
        cr_expect_eq(raw_resume(&copy, &second), -ESTALE);
        cr_expect_eq(raw_new(&r, 1, &handle), 0);
        cr_expect_eq(r.epoch, 1);
        copy.fd = fd_close(copy.fd);
        raw_done(&r);
        daemon_clean(&second, false);
        harness_pass();
}

Test(restart, resumes_that_do_not_fit)
{
        Raw r, wrong;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);

        wrong = r;
        wrong.fd = -1;
        wrong.nonce ^= 2;
        cr_expect_eq(raw_resume(&wrong, &the_daemon), -ESTALE);
        wrong.nonce = r.nonce;
        wrong.segment[0] ^= 1;
        cr_expect_eq(raw_resume(&wrong, &the_daemon), -ESTALE);
        wrong.segment[0] ^= 1;
        static const uint32_t ids[] = { 0, 2, 1023, 1024, 4096, UINT32_MAX };
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                wrong.id = ids[i];
                cr_expect_eq(raw_resume(&wrong, &the_daemon), -ESTALE, "id %u", ids[i]);
        }
        wrong.fd = fd_close(wrong.fd);

        /* And one that does takes the place of the older connection. */
        uint64_t handle;
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        wrong = r;
        wrong.fd = -1;
        cr_assert_eq(raw_resume(&wrong, &the_daemon), 0);
        cr_expect(raw_ended(r.fd));
        cr_expect_eq(raw_close(&wrong, handle, NULL), 0);
        wrong.fd = fd_close(wrong.fd);
        raw_done(&r);
        harness_pass();
}
