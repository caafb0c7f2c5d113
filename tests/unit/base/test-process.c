/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "tools/under.h"

/* A child that does `what`, says so by a byte in a pipe, and stays until it is killed. */
typedef struct Child {
        pid_t pid;
        int ready;
} Child;

static int file = -1;
static dev_t file_dev;
static ino_t file_ino;

static void make_file(void)
{
        struct stat st;

        file = memfd_create("mapped", MFD_CLOEXEC);
        cr_assert_geq(file, 0);
        cr_assert_eq(ftruncate(file, 1 << 20), 0);
        cr_assert_eq(fstat(file, &st), 0);
        file_dev = st.st_dev;
        file_ino = st.st_ino;
}

static void map_file(void)
{
        if (mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 65536) == MAP_FAILED)
                _exit(1);
}

static Child child_start(void (*what)(int ready))
{
        Child c;
        int fds[2];
        char byte;

        skip_under("valgrind", "3.19 does not know pidfd_open()");
        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        c.pid = fork();
        cr_assert_geq(c.pid, 0);
        if (c.pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                what(fds[1]);
                _exit(1);
        }
        (void)fd_close(fds[1]);
        c.ready = fds[0];
        cr_assert_eq(read(c.ready, &byte, 1), 1, "the child did not get ready");
        return c;
}

static void child_end(Child *c)
{
        cr_assert_eq(kill(c->pid, SIGKILL), 0);
        cr_assert_eq(waitpid(c->pid, NULL, 0), c->pid);
        c->ready = fd_close(c->ready);
}

static void say_ready(int ready)
{
        if (write(ready, "x", 1) != 1)
                _exit(1);
}

static void stay(int ready)
{
        say_ready(ready);
        for (;;)
                (void)pause();
}

static void map_and_stay(int ready)
{
        map_file();
        stay(ready);
}

/* exec'ed: the shell says that it runs. */
static void map_and_exec(int ready)
{
        map_file();
        if (dup2(ready, STDOUT_FILENO) < 0)
                _exit(1);
        (void)execl("/bin/sh", "sh", "-c", "printf x; exec sleep 1000", (char *)NULL);
        _exit(1);
}

static int leader_ready;

static void *outlive_leader(void *arg)
{
        char path[64], stat[512], *p;

        /* What the first thread asked for ends with it. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Ready once the first thread is a zombie. */
        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
        for (;;) {
                _cleanup_fclose_ FILE *f = fopen(path, "re");

                if (f && fgets(stat, sizeof(stat), f) && (p = strrchr(stat, ')')) && p[2] == 'Z')
                        break;
                (void)sched_yield();
        }
        stay(leader_ready);
        return NULL;
}

static void leader_exits(int ready)
{
        pthread_t thread;

        leader_ready = ready;
        if (pthread_create(&thread, NULL, outlive_leader, NULL) != 0)
                _exit(1);
        syscall(SYS_exit, 0);
}

static void map_and_leader_exits(int ready)
{
        map_file();
        leader_exits(ready);
}

Test(process, start_time_is_mine_whatever_my_name)
{
        uint64_t before = 0, after = 0, other = 0;
        char text[1024];
        Child c;
        FILE *f;

        cr_assert_eq(process_start_time(getpid(), &before), 0);
        cr_assert_eq(prctl(PR_SET_NAME, "a) Z 1 (2 3 4"), 0);
        cr_assert_eq(process_start_time(getpid(), &after), 0);
        cr_assert_eq(before, after);

        /* By another way: the system's uptime is at least as many ticks. */
        f = fopen("/proc/uptime", "re");
        cr_assert(f && fgets(text, sizeof(text), f));
        cr_assert_leq((double)after, (strtod(text, NULL) + 0.02) * (double)sysconf(_SC_CLK_TCK));
        cr_assert_gt(after, 0);
        (void)fclose(f);

        cr_assert_eq(process_start_time(1, &other), 0);
        cr_assert_leq(other, after);

        c = child_start(stay);
        cr_assert_eq(process_start_time(c.pid, &other), 0);
        cr_assert_geq(other, after);
        child_end(&c);
}

Test(process, nobody)
{
        static const pid_t pids[] = { 0, -1, INT32_MIN, INT32_MAX };
        char comm[PROCESS_COMM_MAX];
        uint64_t v = 42;

        skip_under("valgrind", "3.19 does not know pidfd_open()");
        for (size_t i = 0; i < ELEMENTSOF(pids); i++) {
                cr_assert_eq(process_start_time(pids[i], &v), -ESRCH);
                cr_assert_eq(process_pidfd(pids[i]), -ESRCH);
                cr_assert_eq(process_pidfd_started(pids[i], 1), -ESRCH);
                cr_assert_eq(process_comm(pids[i], comm), -ESRCH);
                cr_assert_eq(process_maps_file(pids[i], 1, 1), -ESRCH);
                cr_assert_eq(process_has_socket(pids[i], 1, 1), -ESRCH);
        }
        cr_assert_eq(v, 42);
}

Test(process, pidfd_tells_the_end)
{
        uint64_t start;
        Child c = child_start(stay);
        int fd, other;

        cr_assert_eq(process_start_time(c.pid, &start), 0);
        fd = process_pidfd_started(c.pid, start);
        cr_assert_geq(fd, 0);
        cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        other = process_pidfd_started(c.pid, start + 1);
        cr_assert_eq(other, -ESRCH, "same number, another process");
        cr_assert_eq(process_pidfd_dead(fd), 0);

        cr_assert_eq(kill(c.pid, SIGKILL), 0);
        cr_assert_eq(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1), 1);
        cr_assert_eq(process_pidfd_dead(fd), 1);
        cr_assert_eq(process_pidfd_started(c.pid, start), -ESRCH, "a zombie has ended");
        cr_assert_eq(waitpid(c.pid, NULL, 0), c.pid);
        cr_assert_eq(process_pidfd_dead(fd), 1);
        cr_assert_eq(process_pidfd_started(c.pid, start), -ESRCH);
        (void)fd_close(fd);
        (void)fd_close(c.ready);
        cr_assert_eq(process_pidfd_dead(4711), -EBADF);
}

Test(process, zombie_leader_is_not_the_end)
{
        Child c = child_start(leader_exits);
        int fd = process_pidfd(c.pid);

        cr_assert_geq(fd, 0);
        cr_assert_eq(process_pidfd_dead(fd), 0);
        child_end(&c);
        cr_assert_eq(process_pidfd_dead(fd), 1);
        (void)fd_close(fd);
}

Test(process, comm_upsets_no_terminal)
{
        char comm[PROCESS_COMM_MAX];

        cr_assert_eq(prctl(PR_SET_NAME, "a\033[2J\n\xC2\x9B b"), 0);
        cr_assert_eq(process_comm(getpid(), comm), 0);
        cr_assert_str_eq(comm, "a?[2J??? b");
        cr_assert_eq(prctl(PR_SET_NAME, ""), 0);
        cr_assert_eq(process_comm(getpid(), comm), 0);
        cr_assert_str_eq(comm, "");
}

Test(process, mapped_or_not, .init = make_file)
{
        Child with = child_start(map_and_stay);
        Child without = child_start(stay);
        struct stat st;

        cr_assert_eq(process_maps_file(with.pid, file_dev, file_ino), 1);
        cr_assert_eq(process_maps_file(with.pid, file_dev, file_ino + 1), 0);
        cr_assert_eq(process_maps_file(with.pid, file_dev + 1, file_ino), 0);
        cr_assert_eq(process_maps_file(without.pid, file_dev, file_ino), 0);
        cr_assert_eq(process_maps_file(getpid(), file_dev, file_ino), 0, "open, but not mapped");

        cr_assert_eq(stat("/proc/self/exe", &st), 0);

        child_end(&with);
        child_end(&without);
        cr_assert_eq(process_maps_file(with.pid, file_dev, file_ino), -ESRCH);
}

Test(process, which_part_is_mapped)
{
        char name[] = "/dev/shm/mono-handle-d-test-XXXXXX";
        struct stat st;
        void *p;
        int fd;

        skip_under("valgrind", "3.19 does not know pidfd_open()");
        fd = mkostemp(name, O_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(unlink(name), 0);
        cr_assert_eq(ftruncate(fd, 5 * 4096), 0);
        cr_assert_eq(fstat(fd, &st), 0);
        p = mmap(NULL, 2 * 4096, PROT_READ, MAP_SHARED, fd, 2 * 4096);
        cr_assert_neq(p, MAP_FAILED);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 0), 0);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 2 * 4096 - 1), 0);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 2 * 4096), 1);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 4 * 4096 - 1), 1);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 4 * 4096), 0);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino + 1, 2 * 4096), 0);
        cr_assert_eq(process_maps_file(getpid(), st.st_dev, st.st_ino), 1);
        cr_assert_eq(munmap(p, 2 * 4096), 0);
        cr_assert_eq(process_maps_file_at(getpid(), st.st_dev, st.st_ino, 2 * 4096), 0);
        (void)fd_close(fd);
}

Test(process, mapped_by_a_name_with_blanks)
{
        char name[] = "/dev/shm/mono-handle-d test 00:00 1 XXXXXX";
        struct stat st;
        void *p;
        int fd;

        skip_under("valgrind", "3.19 does not know pidfd_open()");
        fd = mkostemp(name, O_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, 4096), 0);
        cr_assert_eq(fstat(fd, &st), 0);
        p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
        cr_assert_neq(p, MAP_FAILED);
        cr_assert_eq(unlink(name), 0);
        cr_assert_eq(process_maps_file(getpid(), st.st_dev, st.st_ino), 1);
        cr_assert_eq(munmap(p, 4096), 0);
        cr_assert_eq(process_maps_file(getpid(), st.st_dev, st.st_ino), 0);
        (void)fd_close(fd);
}

Test(process, zombie_leader_still_maps, .init = make_file)
{
        Child with = child_start(map_and_leader_exits);
        Child without = child_start(leader_exits);

        cr_assert_eq(process_maps_file(with.pid, file_dev, file_ino), 1);
        cr_assert_eq(process_maps_file(without.pid, file_dev, file_ino), 0);
        child_end(&with);
        child_end(&without);
}

Test(process, exec_unmaps, .init = make_file)
{
        Child c = child_start(map_and_exec);

        cr_assert_eq(process_maps_file(c.pid, file_dev, file_ino), 0);
        child_end(&c);
}

Test(process, zombie_maps_nothing, .init = make_file)
{
        Child c = child_start(map_and_stay);
        int fd = process_pidfd(c.pid);

        cr_assert_eq(kill(c.pid, SIGKILL), 0);
        cr_assert_eq(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1), 1);
        cr_assert_eq(process_maps_file(c.pid, file_dev, file_ino), 0);
        cr_assert_eq(waitpid(c.pid, NULL, 0), c.pid);
        (void)fd_close(fd);
        (void)fd_close(c.ready);
}

/* ------------------------------------------------------------------------------------------------ sockets */

static int its_fd;

static ino_t open_socket(void)
{
        struct stat st;

        its_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        cr_assert_geq(its_fd, 0);
        cr_assert_eq(fstat(its_fd, &st), 0);
        return st.st_ino;
}

static void close_all_and_stay(int ready)
{
        (void)syscall(SYS_close_range, 0U, (unsigned)ready - 1, 0U);
        (void)syscall(SYS_close_range, (unsigned)ready + 1, ~0U, 0U);
        stay(ready);
}

static void exec_and_stay(int ready)
{
        if (dup2(ready, STDOUT_FILENO) < 0)
                _exit(1);
        (void)execl("/bin/sh", "sh", "-c", "printf x; exec sleep 1000", (char *)NULL);
        _exit(1);
}

static void *keep_own_descriptors(void *arg)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_FILES) < 0)
                _exit(1);
        say_ready(*(int *)arg);
        for (;;)
                (void)pause();
}

/* The first thread closes all; what another one has of its own is what counts. */
static void unshare_and_close(int ready)
{
        int fds[2];
        pthread_t thread;
        char byte;

        if (pipe2(fds, O_CLOEXEC) < 0 || pthread_create(&thread, NULL, keep_own_descriptors, &fds[1]) != 0 ||
            read(fds[0], &byte, 1) != 1)
                _exit(1);
        close_all_and_stay(ready);
}

Test(process, has_a_socket_or_not)
{
        ino_t ino = open_socket();
        Child with = child_start(stay), without = child_start(close_all_and_stay), new = child_start(exec_and_stay);

        cr_assert_eq(process_has_socket(getpid(), its_fd, ino), 1);
        cr_assert_eq(process_has_socket(getpid(), its_fd, ino + 1), 0);
        cr_assert_eq(process_has_socket(getpid(), STDERR_FILENO, ino), 0);
        cr_assert_eq(process_has_socket(with.pid, its_fd, ino), 1);
        cr_assert_eq(process_has_socket(without.pid, its_fd, ino), 0);
        cr_assert_eq(process_has_socket(new.pid, its_fd, ino), 0);
        child_end(&with);
        child_end(&without);
        child_end(&new);
        cr_assert_eq(process_has_socket(with.pid, its_fd, ino), -ESRCH);
}

Test(process, a_thread_may_have_the_socket)
{
        ino_t ino = open_socket();
        Child leaderless = child_start(leader_exits), unshared = child_start(unshare_and_close);

        cr_assert_eq(process_has_socket(leaderless.pid, its_fd, ino), 1);
        cr_assert_eq(process_has_socket(leaderless.pid, its_fd, ino + 1), 0);
        cr_assert_eq(process_has_socket(unshared.pid, its_fd, ino), 1);
        child_end(&leaderless);
        child_end(&unshared);
}

/* A thread that starts another and ends, for ever: a listing of the threads may find only such that have ended. */
static void *relay(void *arg)
{
        pthread_attr_t attr;
        pthread_t next;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pthread_attr_init(&attr) != 0 || pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) != 0)
                _exit(1);
        while (pthread_create(&next, &attr, relay, NULL) != 0)
                (void)sched_yield();
        return NULL;
}

static void map_and_relay(int ready)
{
        map_file();
        (void)relay(NULL);
        say_ready(ready);
        syscall(SYS_exit, 0);
}

Test(process, threads_that_come_and_go, .init = make_file)
{
        ino_t ino = open_socket();
        Child c = child_start(map_and_relay);

        for (unsigned i = 0; i < 2000; i++) {
                int r = process_maps_file(c.pid, file_dev, file_ino);

                cr_assert(r == 1 || r == -EAGAIN, "answered %d", r);
                r = process_has_socket(c.pid, its_fd, ino);
                cr_assert(r == 1 || r == -EAGAIN, "answered %d", r);
        }
        child_end(&c);
}

/* Another pid namespace, but the old /proc: numbers there mean other processes. */
static void look_from_elsewhere(int ready)
{
        ProcessPlace before, after;
        uint64_t v;
        pid_t pid;

        process_place(&before);
        if (unshare(CLONE_NEWPID) < 0) {
                (void)!write(ready, "s", 1);
                _exit(0);
        }
        pid = fork();
        if (pid != 0) {
                int status = 1;

                (void)waitpid(pid, &status, 0);
                _exit(status != 0);
        }
        process_place(&after);
        if (process_start_time(getpid(), &v) == -EOPNOTSUPP && process_maps_file(getpid(), 1, 1) == -EOPNOTSUPP &&
            process_place_differs(&before, &after))
                (void)!write(ready, "y", 1);
        _exit(0);
}

Test(process, foreign_proc_says_nothing)
{
        int fds[2];
        char byte = 0;
        pid_t pid;

        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0)
                look_from_elsewhere(fds[1]);
        (void)fd_close(fds[1]);
        (void)!read(fds[0], &byte, 1);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
        (void)fd_close(fds[0]);
        if (byte == 's')
                cr_skip_test("may not make a pid namespace");
        cr_assert_eq(byte, 'y');
}

/* ---------------------------------------------------------------------------------------------- places */

Test(process, a_place_differs_where_both_are_known)
{
        ProcessPlace here, there;

        process_place(&here);
        cr_assert_neq(here.pid_namespace, 0);
        cr_expect(!process_place_differs(&here, &here));
        there = here;
        there.pid_namespace++;
        cr_expect(process_place_differs(&here, &there));
        cr_expect(process_place_differs(&there, &here));
        there.pid_namespace = 0;
        cr_expect(!process_place_differs(&here, &there));
        cr_expect(!process_place_differs(&there, &here));
        here.time_namespace = 7;
        there.time_namespace = 8;
        cr_expect(process_place_differs(&here, &there));
        there.time_namespace = 0;
        cr_expect(!process_place_differs(&here, &there));
}
