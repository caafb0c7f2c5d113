/* SPDX-License-Identifier: MIT */

/*
 * Clients that work on the segment and die: many at once, while they attach, in the place of another one, while nobody
 * watches; and what a program does that closes what the library had opened.
 */

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "lib/client.h"
#include "lib/deadline.h"
#include "lib/private.h"
#include "monohandle.h"
#include "tools/under.h"

#define MANY   50U
#define SHARED 20U

TestSuite(deaths, .init = private_set_up, .fini = private_clean_up, .timeout = 600);

/* What all tell each other. */
typedef struct Board {
        unsigned ready;
        uint64_t flags; /* of the attachment before an exec() */
        mh_handle shared[SHARED];
        uint64_t operations[MANY];
        mh_handle held[MANY];
} Board;

static Board *board;

static void make_board(void)
{
        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq((void *)board, MAP_FAILED);
}

static void end_child(pid_t pid)
{
        cr_assert_eq(kill(pid, SIGKILL), 0);
        (void)private_wait(pid);
}

static unsigned fds_of(pid_t pid)
{
        _cleanup_closedir_ DIR *d = NULL;
        struct dirent *de;
        char path[64];
        unsigned n = 0;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        d = opendir(path);
        cr_assert_not_null(d);
        while ((de = readdir(d)))
                n += de->d_name[0] != '.';
        return n;
}

static uint64_t segment_kib(void)
{
        _cleanup_close_ int fd = private_segment();
        struct stat st;

        cr_assert_geq(fd, 0);
        cr_assert_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks / 2;
}

/* ------------------------------------------------------------------------------------------------ at once */

static int hammer(void *arg)
{
        uintptr_t me = (uintptr_t)arg;
        mh_client *c = NULL;
        mh_handle h, mine[8] = {};
        mh_scratch s, blocks[8] = {};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        for (uint64_t n = 0;; n++) {
                unsigned i = (unsigned)n % 8;

                h = board->shared[(n + me) % SHARED];
                if (mh_open(c, h, NULL) < 0 || (n % 3 && mh_close(c, h, NULL) < 0))
                        return 2;
                if (mine[i] && mh_close(c, mine[i], NULL) < 0)
                        return 3;
                if (mh_new(c, 1, &mine[i]) < 0)
                        return 4;
                if (blocks[i] && mh_scratch_free(c, blocks[i]) < 0)
                        return 5;
                if (mh_scratch_alloc(c, 16U << n % 13, &blocks[i]) < 0 || mh_scratch_alloc(c, 80, &s) < 0)
                        return 6;
                if (mh_scratch_give(c, s, mine[i]) < 0)
                        return 7;
                store_relaxed(&board->operations[me], n);
        }
}

static bool all_work(void *arg)
{
        for (unsigned i = 0; i < MANY; i++)
                if (load_relaxed(&board->operations[i]) < 50)
                        return false;
        return true;
}

static bool memory_is_back(void *kib)
{
        return segment_kib() <= *(uint64_t *)kib + 1024;
}

/* In the middle of whatever each of them does; and one round in two, the daemon with them. */
Test(deaths, fifty_at_once)
{
        unsigned rounds = under_slowness() > 1 ? 2 : 6;
        mh_client *witness = NULL;
        pid_t pids[MANY];
        VerifyStats stats;
        uint64_t before;

        make_board();
        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        for (unsigned i = 0; i < SHARED; i++)
                cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &board->shared[i]), 0);
        before = segment_kib();
        for (unsigned round = 0; round < rounds; round++) {
                memset(board->operations, 0, sizeof(board->operations));
                for (uintptr_t i = 0; i < MANY; i++)
                        pids[i] = private_fork(hammer, (void *)i);
                cr_assert(private_poll(all_work, NULL), "they do not get on");
                for (unsigned i = 0; i < MANY; i++)
                        cr_assert_eq(kill(pids[i], SIGKILL), 0);
                if (round % 2)
                        cr_assert(private_kill_daemon());
                for (unsigned i = 0; i < MANY; i++)
                        cr_assert(WIFSIGNALED(private_wait(pids[i])), "client %u had ended by itself", i);
                if (round % 2)
                        cr_assert_eq(private_work_until_served(witness, board->shared[0]), 0);
                cr_assert(private_settled(1, SHARED));
                cr_assert_eq(private_verify(&stats), 0);
                cr_assert_eq(stats.blocks, 0);
        }
        cr_expect(private_poll(memory_is_back, &before), "%lu KiB, and %lu before", (unsigned long)segment_kib(),
                  (unsigned long)before);
        for (unsigned i = 0; i < SHARED; i++) {
                unsigned flags = 0;

                cr_assert_eq(mh_close(witness, board->shared[i], &flags), 0);
                cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        }
        witness = mh_detach(witness);
}

/* ------------------------------------------------------------------------------------------------ attaching */

static int attach_and_work(void *arg)
{
        uint64_t flags = (uintptr_t)arg % 3 == 2 ? MH_ATTACH_NO_MAP : 0;
        mh_client *c = NULL;
        mh_scratch s;
        mh_handle h;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        store_sc(&board->ready, 1);
        for (;;) {
                if (mh_attach(&c, NULL, flags) < 0 || mh_new(c, 1, &h) < 0 || mh_open(c, board->shared[0], NULL) < 0 ||
                    mh_scratch_alloc(c, 100, &s) < 0 || mh_scratch_give(c, s, h) < 0)
                        return 1;
                c = mh_detach(c);
        }
}

/* Each a little later: on its way to Welcome, between that and the first operation, at work, detaching. */
Test(deaths, while_attaching)
{
        unsigned rounds = MAX(200 / under_slowness(), 20U);
        mh_client *witness = NULL;
        VerifyStats stats;
        unsigned flags;

        make_board();
        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &board->shared[0]), 0);
        for (unsigned i = 0; i < rounds; i++) {
                pid_t pid;

                store_sc(&board->ready, 0);
                pid = private_fork(attach_and_work, (void *)(uintptr_t)i);
                while (!load_sc(&board->ready))
                        cpu_relax();
                deadline_sleep(deadline_in(i * 20));
                cr_assert_eq(kill(pid, SIGKILL), 0);
                cr_assert(WIFSIGNALED(private_wait(pid)), "it had ended by itself");
        }
        cr_assert(private_settled(1, 1));
        cr_assert_eq(private_verify(&stats), 0);
        cr_assert_eq(stats.blocks, 0);
        cr_assert_eq(mh_close(witness, board->shared[0], &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        witness = mh_detach(witness);
}

static int hold_and_stay(void *arg)
{
        uintptr_t me = (uintptr_t)arg;
        mh_client *c = NULL;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mh_attach(&c, NULL, 0) < 0 || mh_new(c, 1, &board->held[me]) < 0)
                return 1;
        (void)fetch_add_sc(&board->ready, 1);
        for (;;)
                (void)pause();
}

static bool so_many_ready(void *n)
{
        return load_sc(&board->ready) == (uintptr_t)n;
}

/* ------------------------------------------------------------------------------------------------ pids */

static bool change_start_time(pid_t pid)
{
        _cleanup_close_ int fd = private_segment();
        struct mh_shm_client entry;
        Segment seg;

        cr_assert_geq(fd, 0);
        cr_assert_eq(segment_load(&seg, fd), 0);
        for (uint32_t id = 1; id < seg.n_clients; id++) {
                uint64_t at = seg.regions[MH_SHM_REGION_CLIENTS].offset + id * sizeof(entry), time;

                cr_assert_eq(pread(fd, &entry, sizeof(entry), (off_t)at), (ssize_t)sizeof(entry));
                if (entry.state != MH_SHM_CLIENT_ATTACHED || entry.pid != (uint32_t)pid)
                        continue;
                time = entry.start_time - 1;
                return pwrite(fd, &time, sizeof(time), (off_t)(at + offsetof(struct mh_shm_client, start_time))) ==
                       sizeof(time);
        }
        return false;
}

/* There is a process of that number and it even maps the segment, but it is not the one that attached. */
Test(deaths, a_pid_that_is_somebody_elses_now)
{
        mh_client *witness = NULL;
        mh_handle own;
        pid_t pid;

        make_board();
        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &own), 0);
        pid = private_fork(hold_and_stay, (void *)0);
        cr_assert(private_poll(so_many_ready, (void *)1));
        cr_assert(private_settled(2, 2));
        cr_assert(private_kill_daemon());
        cr_assert(change_start_time(pid));
        cr_assert_eq(private_work_until_served(witness, own), 0);
        cr_assert(private_settled(1, 1));
        cr_assert_eq(mh_open(witness, board->held[0], NULL), -ESTALE);
        end_child(pid);
        witness = mh_detach(witness);
}

/* ------------------------------------------------------------------------------------------------ exec */

static int hold_and_execute(void *arg)
{
        const char *storm = getenv("MONO_HANDLE_TEST_STORM");
        mh_client *c = NULL;
        char fd[16];

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!storm || mh_attach(&c, NULL, board->flags) < 0 || mh_new(c, 1, &board->held[0]) < 0)
                return 1;
        (void)fetch_add_sc(&board->ready, 1);
        while (load_sc(&board->ready) < 2)
                deadline_sleep(deadline_in(DEADLINE_SECOND / 1000));
        (void)snprintf(fd, sizeof(fd), "%d", (int)(uintptr_t)arg);
        (void)execl(storm, "storm", "hold", fd, NULL);
        return 2;
}

/* Another program in the same process attaches before anybody saw that the first one is gone. */
static void attach_again_in_the_same_process(uint64_t flags, bool daemon_is_there)
{
        mh_client *witness = NULL;
        int fds[2];
        char byte;
        pid_t pid;

        make_board();
        board->flags = flags;
        cr_assert_eq(pipe(fds), 0);
        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        pid = private_fork(hold_and_execute, (void *)(uintptr_t)(unsigned)fds[1]);
        cr_assert(private_poll(so_many_ready, (void *)1));
        cr_assert(private_settled(2, 1));
        if (!daemon_is_there)
                cr_assert(private_kill_daemon());
        (void)fetch_add_sc(&board->ready, 1);
        cr_assert_eq(read(fds[0], &byte, 1), 1);

        /* Two are there, the witness and the new one; of the old one nothing is left. */
        cr_assert(private_settled(2, 1));
        cr_assert_eq(mh_open(witness, board->held[0], NULL), -ESTALE);
        end_child(pid);
        cr_assert(private_settled(1, 0));
        witness = mh_detach(witness);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

Test(deaths, another_program_in_the_same_process)
{
        attach_again_in_the_same_process(0, true);
}

Test(deaths, another_program_in_the_same_process_while_there_is_no_daemon)
{
        attach_again_in_the_same_process(0, false);
}

Test(deaths, another_program_in_the_process_of_one_that_did_not_map)
{
        attach_again_in_the_same_process(MH_ATTACH_NO_MAP, true);
}

Test(deaths, another_program_in_the_process_of_one_that_did_not_map_while_there_is_no_daemon)
{
        attach_again_in_the_same_process(MH_ATTACH_NO_MAP, false);
}

/* ------------------------------------------------------------------------------------------------ a full table */

#define TABLE 16U

static bool can_attach(void *client)
{
        int r = mh_attach(client, NULL, 0);

        cr_assert(r == 0 || r == -EUSERS, "attach: %d", r);
        return r == 0;
}

/* The next daemon finds it full, and of all those nobody lives. */
Test(deaths, a_table_full_of_the_dead)
{
        mh_client *late = NULL;
        pid_t pids[TABLE];

        (void)setenv("MONO_HANDLE_D_CLIENTS", "17", 1);
        make_board();
        for (unsigned round = 0; round < 3; round++) {
                store_sc(&board->ready, 0);
                for (uintptr_t i = 0; i < TABLE; i++)
                        pids[i] = private_fork(hold_and_stay, (void *)i);
                cr_assert(private_poll(so_many_ready, (void *)(uintptr_t)TABLE));
                cr_assert_eq(mh_attach(&late, NULL, 0), -EUSERS);
                cr_assert(private_kill_daemon());
                for (unsigned i = 0; i < TABLE; i++)
                        end_child(pids[i]);
                cr_assert(private_poll(can_attach, &late));
                cr_assert(private_settled(1, 0));
                cr_assert_eq(private_verify(&(VerifyStats){ 0 }), 0);
                late = mh_detach(late);
        }
}

/* ------------------------------------------------------------------------------------------------ descriptors */

static bool daemon_has(void *n)
{
        return fds_of(private_daemon()) <= *(unsigned *)n;
}

static int connect_and_die(void *arg)
{
        unsigned n = (unsigned)(uintptr_t)arg;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        mh_client *c = NULL;
        int fd;

        if (n % 4 == 0) {
                /* Says nothing at all. */
                (void)strcpy(sa.sun_path, private_socket);
                fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                (void)connect(fd, (struct sockaddr *)&sa, sizeof(sa));
        } else if (mh_attach(&c, NULL, n % 4 == 1 ? MH_ATTACH_NO_MAP : 0) < 0)
                return 1;
        (void)kill(getpid(), SIGKILL);
        return 2;
}

Test(deaths, no_descriptor_is_left)
{
        unsigned rounds = MAX(2000 / under_slowness(), 50U), theirs, ours;
        mh_client *witness = NULL;
        mh_handle h;

        cr_assert_eq(mh_attach(&witness, NULL, 0), 0);
        cr_assert_eq(mh_new(witness, MH_TYPE_EVENT, &h), 0);
        ours = fds_of(getpid());
        theirs = fds_of(private_daemon());
        for (unsigned i = 0; i < rounds; i++) {
                mh_client *c = NULL;

                cr_assert_eq(mh_attach(&c, NULL, i % 2 ? MH_ATTACH_NO_MAP : 0), 0, "the %uth time", i);
                c = mh_detach(c);
        }
        cr_expect_eq(fds_of(getpid()), ours);
        cr_expect(private_poll(daemon_has, &theirs), "%u descriptors, and %u before", fds_of(private_daemon()), theirs);
        for (unsigned i = 0; i < rounds; i++)
                cr_assert(WIFSIGNALED(private_wait(private_fork(connect_and_die, (void *)(uintptr_t)i))));
        cr_expect(private_settled(1, 1));
        cr_expect(private_poll(daemon_has, &theirs), "%u descriptors, and %u before", fds_of(private_daemon()), theirs);
        witness = mh_detach(witness);
}

static int use_without_descriptors(void *arg)
{
        static const size_t sizes[] = { 16, 3000, 32768, 65536, 300000 };
        mh_client *c = NULL;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                mh_scratch old, new;

                if (mh_attach(&c, NULL, 0) < 0 || mh_scratch_alloc(c, sizes[i], &old) < 0)
                        return 1;
                (void)syscall(SYS_close_range, 3U, ~0U, 0U);
                for (unsigned k = 0; k < 20; k++) {
                        if (mh_scratch_free(c, old) != 0 || mh_scratch_alloc(c, sizes[i], &new) != 0)
                                return 2;
                        if (old == new || mh_scratch_free(c, old) != -ESTALE)
                                return 3;
                        old = new;
                }
                c = mh_detach(c);
        }
        return 0;
}

/* Without its descriptor of the segment the library works through the mapping; and no number comes back to life. */
Test(deaths, old_numbers_stay_dead_without_descriptors)
{
        cr_assert_eq(private_wait(private_fork(use_without_descriptors, NULL)), 0);
        cr_assert(private_settled(0, 0));
        cr_assert_eq(private_verify(&(VerifyStats){ 0 }), 0);
}
