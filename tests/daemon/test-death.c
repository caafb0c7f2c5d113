/* SPDX-License-Identifier: MIT */

/*
 * When a client is dead, and when it is not; and that all that only the dead held is given back, and nothing else.
 */

#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(death);

#define GIVEN 4U /* blocks of the first handle */

/* How much a victim holds, and what it tells about it. */
typedef struct Load {
        unsigned handles;
        unsigned blocks; /* of 64 KiB */
        unsigned shared; /* of the first handles, how many it tells */
        uint32_t flags;
} Load;

typedef struct Told {
        uint32_t id;
        uint64_t handles[100];
        uint64_t given[GIVEN];
        uint64_t own; /* a block that it keeps */
} Told;

static int hold(const Daemon *d, Raw *r, const Load *load, Told *ret)
{
        uint64_t handle, idx, size;

        if (raw_attach(r, d, load->flags) != 0)
                return 10;
        if (load->flags & MH_WIRE_HELLO_MAPS)
                (void)raw_map(r);
        *ret = (Told){ .id = r->id };
        for (unsigned i = 0; i < load->handles; i++) {
                if (raw_new(r, 1, &handle) != 0)
                        return 11;
                if (i < load->shared)
                        ret->handles[i] = handle;
        }
        for (unsigned i = 0; i < load->blocks; i++) {
                if (raw_scratch(r, 65536, &idx, &size) != 0)
                        return 12;
                if (i < GIVEN && load->shared > 0) {
                        if (raw_give(r, idx, ret->handles[0]) != 0)
                                return 13;
                        ret->given[i] = idx;
                } else
                        ret->own = idx;
        }
        return 0;
}

static int hold_and_tell(const Daemon *d, int tell, void *argument)
{
        Told told;
        Raw r;
        int k;

        k = hold(d, &r, argument, &told);
        if (k == 0)
                child_tell(tell, &told, sizeof(told));
        return k;
}

/* What the witness opened lives; what only the dead held does not. */
static void check_survivors(Raw *witness, const Load *load, const Told *told)
{
        uint64_t handle = told->handles[load->shared - 1];
        unsigned flags;

        for (unsigned i = 0; i < load->shared; i++)
                cr_assert_eq(raw_open(witness, told->handles[i], NULL), 0, "shared handle %u", i);
        for (unsigned i = 0; i < GIVEN; i++)
                cr_assert_eq(raw_scratch_free(witness, told->given[i]), -EBUSY, "given block %u", i);
        cr_assert_eq(raw_scratch_free(witness, told->own), -ESTALE);
        for (unsigned i = 0; i < 2; i++)
                cr_assert_eq(raw_close(witness, handle, &flags), 0);
        cr_assert_eq(flags, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
}

Test(death, killed_with_10000_handles_and_10_mib)
{
        Load load = { .handles = 10000, .blocks = 160, .shared = 100, .flags = MH_WIRE_HELLO_MAPS };
        uint64_t before, after;
        VerifyStats stats;
        Child victim;
        Raw witness;
        Told told;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&witness, &the_daemon, 0), 0);
        before = daemon_segment_kib(&the_daemon);

        child_start(&victim, &the_daemon, hold_and_tell, &load);
        child_hear(&victim, &told, sizeof(told));
        cr_expect_gt(daemon_segment_kib(&the_daemon), before + 10240);
        for (unsigned i = 0; i < load.shared; i++)
                cr_assert_eq(raw_open(&witness, told.handles[i], NULL), 0);
        child_kill(&victim);

        WAIT_FOR(daemon_said(&the_daemon, "died holding 10000 handles") == 1);
        check_survivors(&witness, &load, &told);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 99);
        cr_expect_eq(stats.blocks, GIVEN);
        cr_expect_eq(stats.clients, 1);
        WAIT_FOR((after = daemon_segment_kib(&the_daemon)) <= before + 1024);
        raw_done(&witness);
        harness_pass();
}

static void kill_many(uint32_t flags)
{
        enum {
                N = 50
        };
        Load load = { .handles = 300, .blocks = 6, .shared = 10, .flags = flags };
        static Child victims[N];
        static Told told[N];
        uint64_t before;
        VerifyStats stats;
        Raw witness;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&witness, &the_daemon, 0), 0);
        before = daemon_segment_kib(&the_daemon);
        for (unsigned i = 0; i < N; i++)
                child_start(&victims[i], &the_daemon, hold_and_tell, &load);
        for (unsigned i = 0; i < N; i++) {
                child_hear(&victims[i], &told[i], sizeof(told[i]));
                for (unsigned k = 0; k < load.shared; k++)
                        cr_assert_eq(raw_open(&witness, told[i].handles[k], NULL), 0);
        }
        for (unsigned i = 0; i < N; i++)
                (void)kill(victims[i].pid, SIGKILL);
        for (unsigned i = 0; i < N; i++)
                (void)child_wait(&victims[i]);

        WAIT_FOR(daemon_said(&the_daemon, "died holding 300 handles") == N);
        for (unsigned i = 0; i < N; i++)
                check_survivors(&witness, &load, &told[i]);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, N * (load.shared - 1));
        cr_expect_eq(stats.blocks, N * GIVEN);
        cr_expect_eq(stats.clients, 1);
        /* What stays is what was given, 64 KiB each, and the chunk of slots in which each one's shared handles are. */
        WAIT_FOR(daemon_segment_kib(&the_daemon) <= before + N * (GIVEN * 64 + 80) + 1024);

        raw_done(&witness);
        WAIT_FOR(daemon_said(&the_daemon, "Client 1 (pid") >= 1);
        WAIT_FOR(daemon_segment_kib(&the_daemon) <= before + 1024);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks + stats.reserved + stats.spans, 0);
        harness_pass();
}

Test(death, fifty_killed_at_once)
{
        kill_many(MH_WIRE_HELLO_MAPS);
}

Test(death, fifty_killed_at_once_wire_only)
{
        kill_many(0);
}

/* ------------------------------------------------------------------------------------------------ not what it seems */

/* The child of the victim has the connection, too, so that it does not end. It tells its own pid. */
static int hold_and_fork(const Daemon *d, int tell, void *argument)
{
        Told told;
        pid_t pid;
        Raw r;

        if (hold(d, &r, argument, &told) != 0)
                return 10;
        pid = fork();
        if (pid == 0)
                for (;;)
                        (void)pause();
        child_tell(tell, &pid, sizeof(pid));
        return 0;
}

Test(death, a_killed_client_is_dead_though_its_child_lives_on)
{
        Load load = { .handles = 20, .blocks = 2, .flags = MH_WIRE_HELLO_MAPS };
        Child victim;
        pid_t child;

        daemon_start(&the_daemon, NULL);
        for (unsigned wire_only = 0; wire_only < 2; wire_only++) {
                load.flags = wire_only ? 0 : MH_WIRE_HELLO_MAPS;
                child_start(&victim, &the_daemon, hold_and_fork, &load);
                child_hear(&victim, &child, sizeof(child));
                child_kill(&victim);
                WAIT_FOR(daemon_said(&the_daemon, "died holding 20 handles and 131072 bytes") == 1 + wire_only);
                cr_expect_eq(kill(child, 0), 0);
                (void)kill(child, SIGKILL);
        }
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

static int hold_and_exec(const Daemon *d, int tell, void *argument)
{
        Told told;
        Raw r;

        if (hold(d, &r, argument, &told) != 0)
                return 10;
        child_tell(tell, &told, sizeof(told));
        (void)execl("/bin/sleep", "sleep", "1000", NULL);
        return 11;
}

Test(death, one_that_calls_exec_is_dead_though_its_process_lives_on)
{
        Load load = { .handles = 20, .blocks = 2, .flags = MH_WIRE_HELLO_MAPS };
        Child victim;
        Told told;

        daemon_start(&the_daemon, NULL);
        child_start(&victim, &the_daemon, hold_and_exec, &load);
        child_hear(&victim, &told, sizeof(told));
        WAIT_FOR(daemon_said(&the_daemon, "died holding 20 handles and 131072 bytes") == 1);
        cr_expect_eq(kill(victim.pid, 0), 0);
        cr_expect_eq(daemon_said(&the_daemon, "keeps what it holds"), 0);
        child_kill(&victim);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* Closes all descriptors, its connection among them, and later goes on. */
static int hold_and_close(const Daemon *d, int tell, void *argument)
{
        uint64_t handle;
        sigset_t set;
        Told told;
        int sig;
        Raw r;

        if (hold(d, &r, argument, &told) != 0)
                return 10;
        for (int fd = 3; fd < 1024; fd++)
                if (fd != tell)
                        (void)close(fd);
        r.fd = r.segment_fd = -1;
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGUSR1);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        child_tell(tell, &told, sizeof(told));
        (void)sigwait(&set, &sig);

        if (raw_resume(&r, d) != 0)
                return 12;
        if (r.last != r.seq || raw_new(&r, 2, &handle) != 0 || raw_close(&r, told.handles[0], NULL) != 0)
                return 13;
        child_tell(tell, &handle, sizeof(handle));
        return 0;
}

Test(death, one_that_closes_its_descriptors_and_goes_on_loses_nothing)
{
        Load load = { .handles = 20, .blocks = 2, .shared = 1, .flags = MH_WIRE_HELLO_MAPS };
        uint64_t handle;
        VerifyStats stats;
        Child client;
        Told told;

        daemon_start(&the_daemon, NULL);
        child_start(&client, &the_daemon, hold_and_close, &load);
        child_hear(&client, &told, sizeof(told));
        WAIT_FOR(daemon_said(&the_daemon, "keeps what it holds") == 1);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 20);

        (void)kill(client.pid, SIGUSR1);
        child_hear(&client, &handle, sizeof(handle));
        cr_expect_eq(daemon_said(&the_daemon, "died"), 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 20, "one more, one less");
        child_kill(&client);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 20 handles") == 1);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* Lost, and then its process ends: nobody resumes. */
Test(death, one_that_was_lost_is_reaped_when_its_process_ends)
{
        Load load = { .handles = 20, .blocks = 2, .flags = MH_WIRE_HELLO_MAPS };
        Child client;
        Told told;

        daemon_start(&the_daemon, NULL);
        child_start(&client, &the_daemon, hold_and_close, &load);
        child_hear(&client, &told, sizeof(told));
        WAIT_FOR(daemon_said(&the_daemon, "keeps what it holds") == 1);
        child_kill(&client);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 20 handles") == 1);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

static void *second_thread(void *argument)
{
        const int *tell = argument;
        char state = '?', path[64], line[256];
        FILE *f;

        /* Until the first thread is a zombie. */
        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
        while (state != 'Z') {
                f = fopen(path, "re");
                if (!f || !fgets(line, sizeof(line), f))
                        _exit(14);
                state = strrchr(line, ')')[2];
                (void)fclose(f);
                sleep_msec(1);
        }
        child_tell(*tell, &state, 1);
        for (;;)
                (void)pause();
        return NULL;
}

static int hold_and_leave_the_first_thread(const Daemon *d, int tell, void *argument)
{
        static int tell_copy;
        pthread_t thread;
        Told told;
        Raw r;

        if (hold(d, &r, argument, &told) != 0)
                return 10;
        /* Its connection ends as well: so the daemon has to look at the process. */
        (void)close(r.fd);
        tell_copy = tell;
        if (pthread_create(&thread, NULL, second_thread, &tell_copy) != 0)
                return 11;
        (void)syscall(SYS_exit, 0);
        return 12;
}

Test(death, a_zombie_leader_with_a_living_thread_is_alive)
{
        Load load = { .handles = 20, .blocks = 2, .flags = MH_WIRE_HELLO_MAPS };
        Child client;
        char state;

        daemon_start(&the_daemon, NULL);
        child_start(&client, &the_daemon, hold_and_leave_the_first_thread, &load);
        child_hear(&client, &state, 1);
        WAIT_FOR(daemon_said(&the_daemon, "keeps what it holds") == 1);
        cr_expect_eq(daemon_said(&the_daemon, "died"), 0);
        child_kill(&client);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 20 handles") == 1);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

Test(death, a_wire_only_client_dies_with_its_connection)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        r.fd = fd_close(r.fd);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 1 handles") == 1);
        cr_expect_eq(raw_resume(&r, &the_daemon), -ESTALE);
        raw_done(&r);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* A client whose pid means nothing to the daemon: it is not in its pid namespace. */
static int attach_from_another_namespace(const Daemon *d, int tell, void *argument)
{
        uint64_t handle;
        Raw r;

        if (raw_attach(&r, d, MH_WIRE_HELLO_MAPS) != 0 || raw_new(&r, 1, &handle) != 0)
                return 10;
        child_tell(tell, &r.granted, sizeof(r.granted));
        return 0;
}

static int daemon_in_namespace(const Daemon *d, int tell, void *argument)
{
        char one = 1;
        pid_t pid;

        if (unshare(CLONE_NEWPID) < 0)
                return 20;
        pid = daemon_spawn(d, NULL);
        if (pid < 0)
                return 21;
        child_tell(tell, &one, 1);
        return 0;
}

Test(death, a_client_that_the_daemon_cannot_see_is_wire_only)
{
        Child nest, client;
        uint32_t granted;
        char one;

        if (geteuid() != 0)
                cr_skip_test("only root can make a pid namespace here");
        child_start(&nest, &the_daemon, daemon_in_namespace, NULL);
        child_hear(&nest, &one, 1);
        WAIT_FOR(daemon_said(&the_daemon, "Ready at") == 1);
        child_start(&client, &the_daemon, attach_from_another_namespace, NULL);
        child_hear(&client, &granted, sizeof(granted));
        cr_expect_eq(granted, 0);
        child_kill(&client);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 1 handles") == 1);
        cr_expect_eq(daemon_said(&the_daemon, "(pid 0, raw) died"), 1);
        daemon_verify(&the_daemon, NULL);
        child_kill(&nest);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ meanwhile */

/* Reaping goes on in small pieces: a client that asks all the time is answered all the time. */
Test(death, others_are_served_while_the_dead_are_reaped)
{
        enum {
                N = 6
        };
        Load load = { .handles = 5000, .blocks = 50, .flags = MH_WIRE_HELLO_MAPS };
        unsigned during = 0, died;
        Child victims[N];
        uint64_t handle;
        Told told;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        for (unsigned i = 0; i < N; i++)
                child_start(&victims[i], &the_daemon, hold_and_tell, &load);
        for (unsigned i = 0; i < N; i++)
                child_hear(&victims[i], &told, sizeof(told));
        for (unsigned i = 0; i < N; i++)
                (void)kill(victims[i].pid, SIGKILL);
        do {
                died = daemon_said(&the_daemon, "died holding 5000");
                cr_assert_eq(raw_new(&r, 1, &handle), 0);
                cr_assert_eq(raw_close(&r, handle, NULL), 0);
                during += died > 0 && died < N;
        } while (died < N);
        cr_expect_geq(during, 3, "between the first and the last that were reaped");
        for (unsigned i = 0; i < N; i++)
                (void)child_wait(&victims[i]);
        raw_done(&r);
        harness_pass();
}
