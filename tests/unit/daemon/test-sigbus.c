/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/sigbus.h"

#define SIZE (64UL << 12)

static volatile uint8_t *map(int *ret_fd)
{
        int fd = memfd_create("sigbus", MFD_CLOEXEC);
        void *p;

        cr_assert_eq(ftruncate(fd, SIZE), 0);
        p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        cr_assert_neq(p, MAP_FAILED);
        *ret_fd = fd;
        return p;
}

Test(sigbus, a_fault_in_the_range_becomes_zeros)
{
        volatile uint8_t *p;
        int fd;

        p = map(&fd);
        p[0] = 7;
        cr_assert_eq(sigbus_install(), 0);
        sigbus_watch((void *)(uintptr_t)p, SIZE);
        cr_expect(!sigbus_hit());
        cr_assert_eq(ftruncate(fd, 0), 0);
        errno = 77;
        cr_expect_eq(p[SIZE - 1], 0);
        cr_expect_eq(errno, 77);
        cr_expect(sigbus_hit());
        for (size_t i = 0; i < SIZE; i += 4096) {
                cr_assert_eq(p[i], 0);
                p[i] = 1;
        }

        /* The next range has not been hit. */
        sigbus_watch(NULL, 0);
        cr_expect(!sigbus_hit());
        cr_assert_eq(munmap((void *)(uintptr_t)p, SIZE), 0);
        (void)fd_close(fd);
}

/* How a child ends that does it. */
static int run(void (*fn)(void))
{
        int status;
        pid_t pid = fork();

        cr_assert_geq(pid, 0);
        if (pid == 0) {
                struct sigaction deflt = { .sa_handler = SIG_DFL };

                /* Not that of a sanitizer. */
                (void)sigaction(SIGBUS, &deflt, NULL);
                if (sigbus_install() < 0)
                        _exit(2);
                fn();
                _exit(0);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void fault_elsewhere(void)
{
        volatile uint8_t *p, *q;
        int fd, other;

        p = map(&fd);
        q = map(&other);
        sigbus_watch((void *)(uintptr_t)p, SIZE);
        (void)ftruncate(other, 0);
        q[0] = 1;
}

static void fault_without_a_range(void)
{
        volatile uint8_t *p;
        int fd;

        p = map(&fd);
        sigbus_watch((void *)(uintptr_t)p, SIZE);
        sigbus_watch(NULL, 0);
        (void)ftruncate(fd, 0);
        p[0] = 1;
}

static void sent_by_somebody(void)
{
        volatile uint8_t *p;
        int fd;

        p = map(&fd);
        sigbus_watch((void *)(uintptr_t)p, SIZE);
        (void)kill(getpid(), SIGBUS);
}

static void fault_in_the_range(void)
{
        volatile uint8_t *p;
        int fd;

        p = map(&fd);
        sigbus_watch((void *)(uintptr_t)p, SIZE);
        (void)ftruncate(fd, 0);
        p[0] = 1;
}

Test(sigbus, others_end_the_process_as_ever)
{
        cr_expect_eq(run(fault_in_the_range), 0);
        cr_expect_eq(run(fault_elsewhere), SIGBUS);
        cr_expect_eq(run(fault_without_a_range), SIGBUS);
        cr_expect_eq(run(sent_by_somebody), SIGBUS);
}
