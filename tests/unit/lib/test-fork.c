/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fork.h"
#include "tools/under.h"
#include "tools/valgrind.h"

#define SIZE 10000

static pid_t plain_clone(void)
{
        return (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0UL);
}

/* Does the child made by `make` see that it is one? Everything in it is done without the C library's help. */
static bool is_seen(pid_t (*make)(void), void *object)
{
        pid_t pid = make();
        int status;

        cr_assert_geq(pid, 0);
        if (pid == 0) {
                void *own;
                bool good = fork_crossed(object);

                /* What the child takes is its own, also after it gave the other back. */
                fork_free(object, SIZE);
                own = fork_alloc(SIZE);
                good = good && own && !fork_crossed(own);
                _exit(good ? 0 : 1);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return status == 0;
}

Test(fork, every_kind_of_child_is_seen)
{
        char *object = fork_alloc(SIZE);

        cr_assert_not_null(object);
        memset(object, 'x', SIZE);
        cr_assert_not(fork_crossed(object));

        cr_assert(is_seen(fork, object));
        cr_assert(is_seen(_Fork, object));
        cr_assert(is_seen(plain_clone, object));

        cr_assert_not(fork_crossed(object), "the parent stays what it is");
        cr_assert_eq(object[SIZE - 1], 'x');
        fork_free(object, SIZE);
}

Test(fork, a_grandchild_is_seen)
{
        void *object = fork_alloc(SIZE);
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(is_seen(fork, object) ? 0 : 1);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(status, 0);
        fork_free(object, SIZE);
}

Test(fork, memory_is_zeroed)
{
        char *object = fork_alloc(SIZE);

        cr_assert_not_null(object);
        for (size_t i = 0; i < SIZE; i++)
                cr_assert_eq(object[i], 0);
        fork_free(object, SIZE);
}

static int thread_like(void *object)
{
        return fork_crossed(object);
}

Test(fork, who_shares_the_memory_is_not_a_child)
{
        static char stack[65536] __attribute__((aligned(16)));
        void *object = fork_alloc(SIZE);
        int status;
        pid_t pid;

        if (on_valgrind())
                cr_skip_test("valgrind knows no such children");
        skip_under("valgrind", "does not know such a clone()");
        pid = clone(thread_like, stack + sizeof(stack), CLONE_VM | SIGCHLD, object);
        cr_assert_gt(pid, 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert_eq(status, 0);
        fork_free(object, SIZE);
}
