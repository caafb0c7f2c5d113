/* SPDX-License-Identifier: MIT */

/*
 * Runs a Criterion program's tests without Criterion's sandbox.
 *
 * Criterion executes the program anew for each test and hands it a memory arena at a fixed address. Three tools
 * cannot live with that: ThreadSanitizer reserves the addresses that the arena wants, so that the program aborts
 * before the first test; LeakSanitizer never sees the end of such a process; and valgrind pays a whole start-up,
 * about a second, for every test. So for those tools (meson option test_runner=plain) the test programs are linked
 * with this file. It has a main() of its own and takes over the few functions that Criterion's macros call to report
 * something; all the rest, such as the texts of failed assertions, still comes from Criterion. Each test runs in a
 * plain fork of the program. What the tests see is the same, what they print is TAP as well.
 *
 * Differences: a parameterised test counts as one, and the tests run in the order that the linker put them in.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>

/* The linker collects what Test() and TestSuite() put into these sections. With AddressSanitizer there are gaps of
 * zeroes between the pointers. */
extern struct criterion_test *const __start_cr_tst[] __attribute__((weak));
extern struct criterion_test *const __stop_cr_tst[] __attribute__((weak));
extern struct criterion_suite *const __start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *const __stop_cr_sts[] __attribute__((weak));

/* What the forked test tells the one that waits for it. */
struct report {
        atomic_bool failed;
        atomic_bool skipped;
        char reason[512];
};

static struct report *report;
static const struct criterion_test_extra_data *current_suite, *current_test;
static void *current_param;

/* Where a failed assertion of the test's own thread goes back to. */
static sigjmp_buf leave_test;
static pid_t test_pid;

static const struct criterion_test_extra_data *find_suite(const char *name)
{
        for (struct criterion_suite *const *s = __start_cr_sts; s < __stop_cr_sts; s++)
                if (*s && strcmp((*s)->name, name) == 0)
                        return (*s)->data;

        return NULL;
}

static void __attribute__((noreturn)) leave(void)
{
        /* A thread of the test, or a child that it forked, has no way back: it ends its process. In a thread that
         * is the test's process, as it is in Criterion. */
        if (getpid() != test_pid || gettid() != test_pid)
                _exit(EXIT_FAILURE);

        siglongjmp(leave_test, 1);
}

void criterion_internal_test_setup(void)
{
        if (current_suite && current_suite->init)
                current_suite->init();
        if (current_test->init)
                current_test->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
        if (sigsetjmp(leave_test, 1) != 0)
                return;

        if (current_test->kind_ == CR_TEST_PARAMETERIZED)
                ((void (*)(void *))(void *)fn)(current_param);
        else
                fn();
}

void criterion_internal_test_teardown(void)
{
        /* An assertion that fails in here only ends the teardown. */
        if (sigsetjmp(leave_test, 1) != 0)
                return;

        if (current_test->fini)
                current_test->fini();
        if (current_suite && current_suite->fini)
                current_suite->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
        if (stats->passed)
                return;

        atomic_store(&report->failed, true);
        printf("# %s:%u: %s\n", stats->file, stats->line, stats->message);
        (void)fflush(stdout);
}

static void print_node(const struct cri_assert_node *node)
{
        if (node->repr)
                printf("#   %s %s\n", node->pass ? "holds: " : "is not:", node->repr);
        for (size_t i = 0; i < CRI_ASSERT_MAX_PARAMS && node->params[i].name; i++)
                if (node->params[i].type == CRI_ASSERT_RT_STR)
                        printf("#     %s: %s\n", node->params[i].name, (const char *)node->params[i].data);
        for (unsigned i = 0; i < node->nchild; i++)
                print_node(&node->children[i]);
}

void cri_assert_node_send(const char *file, size_t line, struct cri_assert_node *tree)
{
        atomic_store(&report->failed, true);
        printf("# %s:%zu: %s\n", file, line, tree->message ?: "assertion failed");
        print_node(tree);
        (void)fflush(stdout);
}

void cri_asserts_passed_incr(void)
{
}

void criterion_continue_test(void)
{
}

void criterion_abort_test(void)
{
        leave();
}

__attribute__((format(printf, 1, 2))) void criterion_skip_test(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(report->reason, sizeof(report->reason), format, ap);
        va_end(ap);

        atomic_store(&report->skipped, true);
        leave();
}

__attribute__((format(printf, 1, 2))) void criterion_test_die(const char *format, ...)
{
        va_list ap;

        atomic_store(&report->failed, true);
        printf("# ");
        va_start(ap, format);
        (void)vprintf(format, ap);
        va_end(ap);
        printf("\n");
        (void)fflush(stdout);
        leave();
}

/* Of a test that sets none: somebody must notice when it hangs. */
#define DEFAULT_LIMIT 20.0 /* seconds, where nothing is slow */

static double time_limit(const struct criterion_test *t)
{
        const char *scale = getenv("MONO_HANDLE_TEST_SLOWNESS");
        double limit = t->data->timeout;

        if (limit <= 0 && current_suite)
                limit = current_suite->timeout;
        if (limit <= 0)
                limit = DEFAULT_LIMIT;

        return scale ? limit * atof(scale) : limit;
}

static void __attribute__((noreturn)) run_in_child(const struct criterion_test *t)
{
        double limit = time_limit(t);

        test_pid = getpid();
        (void)alarm((unsigned)limit + 1);

        t->test();

        /* exit() and not _exit(): at exit is when leaks are looked for. */
        exit(EXIT_SUCCESS);
}

/* Says in at most a few words what is wrong with the way the test ended, or NULL. */
static const char *judge(const struct criterion_test *t, int status, char *buf, size_t size)
{
        int want_signal = t->data->signal, want_code = t->data->exit_code;

        if (!want_signal && !want_code && current_suite) {
                want_signal = current_suite->signal;
                want_code = current_suite->exit_code;
        }

        if (WIFSIGNALED(status)) {
                if (WTERMSIG(status) == want_signal)
                        return NULL;
                if (WTERMSIG(status) == SIGALRM)
                        return "timed out";
                (void)snprintf(buf, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
                return buf;
        }

        if (atomic_load(&report->failed))
                return "an assertion failed";
        if (atomic_load(&report->skipped))
                return WEXITSTATUS(status) == 0 ? NULL : "skipped, but something was found at exit";
        if (want_signal) {
                (void)snprintf(buf, size, "expected signal %d", want_signal);
                return buf;
        }
        if (WEXITSTATUS(status) == want_code)
                return NULL;

        (void)snprintf(buf, size, "exit code %d", WEXITSTATUS(status));
        return buf;
}

static const char *run_once(const struct criterion_test *t, char *buf, size_t size)
{
        int status;
        pid_t pid;

        (void)fflush(NULL);
        pid = fork();
        if (pid < 0)
                return "fork failed";
        if (pid == 0)
                run_in_child(t);

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return "waitpid failed";

        return judge(t, status, buf, size);
}

static const char *run_all_params(const struct criterion_test *t, char *buf, size_t size)
{
        struct criterion_test_params params;
        const char *wrong = NULL;

        if (t->data->kind_ != CR_TEST_PARAMETERIZED)
                return run_once(t, buf, size);

        params = t->data->param_();
        for (size_t i = 0; i < params.length && !wrong; i++) {
                current_param = (char *)params.params + i * params.size;
                wrong = run_once(t, buf, size);
                if (wrong)
                        printf("# with parameter %zu\n", i);
        }
        if (params.cleanup)
                params.cleanup(&params);

        return wrong;
}

static bool run_test(const struct criterion_test *t, unsigned nr)
{
        const char *wrong = NULL;
        char buf[128];

        memset(report, 0, sizeof(*report));
        current_test = t->data;
        current_suite = find_suite(t->category);

        if (t->data->disabled || (current_suite && current_suite->disabled)) {
                printf("ok %u - %s::%s # SKIP disabled\n", nr, t->category, t->name);
                return true;
        }

        wrong = run_all_params(t, buf, sizeof(buf));
        if (wrong)
                printf("# %s::%s: %s\n", t->category, t->name, wrong);

        printf("%s %u - %s::%s%s%s\n", wrong ? "not ok" : "ok", nr, t->category, t->name,
               !wrong && atomic_load(&report->skipped) ? " # SKIP " : "", wrong ? "" : report->reason);
        (void)fflush(stdout);
        return !wrong;
}

int main(int argc, char *argv[])
{
        unsigned n = 0, nr = 0;
        bool good = true;

        report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED)
                return EXIT_FAILURE;

        for (struct criterion_test *const *t = __start_cr_tst; t < __stop_cr_tst; t++)
                n += *t != NULL;

        printf("TAP version 13\n1..%u\n", n);
        for (struct criterion_test *const *t = __start_cr_tst; t < __stop_cr_tst; t++)
                if (*t)
                        good = run_test(*t, ++nr) && good;

        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
