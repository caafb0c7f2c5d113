/* SPDX-License-Identifier: MIT */

/*
 * Starting the daemon, from inside somebody else's program.
 *
 * At the default path the user's service manager is asked first (systemctl --user start mono-handle-d.socket), if one
 * is there. If there is none, or it does not know the unit, the daemon is executed: $MONO_HANDLE_D_BINARY if that is
 * set, else mono_handle_d in the directory that it was built to be installed in, else in a directory of $PATH. The
 * socket's path goes to it in $MONO_HANDLE_D_SOCKET. That many processes do this at once does no harm: the daemon's
 * lock lets one of them stay.
 *
 * What is started will outlive this program and serve others, so nothing of this program may stick to it: no
 * descriptors, signal mask or dispositions, no limits, no working directory or terminal, no priority or processor, and
 * nothing of the environment that was meant for this process alone. And the program must not notice that it had a
 * child: a child whose exit signal is 0 raises no SIGCHLD, and wait() and waitpid(-1) do not see it (only those that
 * say __WALL or __WCLONE do). So there are
 *
 *      we -> first child, which ends at once and is waited for by its number
 *                 -> second child, an orphan from then on
 *                         -> systemctl, for which it waits, and if that fails,
 *                    it executes the daemon
 *
 * Orphans go to init. A program that is init, or a "subreaper", adopts this one like any other.
 *
 * Between clone() and execve() the child of a program with threads may only do what a signal handler may. Even the
 * functions that POSIX lists for that are wrapped by sanitizers and the like, with locks that another thread may have
 * held. So all that is done there is done by syscall().
 */

#include "lib/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DAEMON_NAME        "mono_handle_d"
#define SOCKET_UNIT        "mono-handle-d.socket"
#define SOCKET_VARIABLE    "MONO_HANDLE_D_SOCKET"
#define BINARY_VARIABLE    "MONO_HANDLE_D_BINARY"
#define KERNEL_SIGSET_SIZE 8U
#define KERNEL_SIGNALS     64
#define STACK_LIMIT        (UINT64_C(8) << 20)
#define CLOSE_MAX          65536U

/* All that the children need, put together while memory can still be allocated. */
typedef struct Plan {
        char *const *environment;
        const char *systemctl; /* NULL: do not ask the service manager */
        const char *binary;    /* NULL: the service manager alone can start it */
} Plan;

/* ------------------------------------------------------------------------------------------------ in the children */

static void drop_signals(void)
{
        /* The kernel's struct sigaction, whose layout differs between architectures: zeros are SIG_DFL in each. */
        const uint64_t default_action[8] = {};

        for (long s = 1; s <= KERNEL_SIGNALS; s++)
                (void)syscall(SYS_rt_sigaction, s, default_action, NULL, KERNEL_SIGSET_SIZE);
}

static void drop_fds(void)
{
        struct rlimit limit = { .rlim_cur = CLOSE_MAX };

        if (syscall(SYS_close_range, 0U, ~0U, 0U) >= 0)
                return;
        (void)syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
        for (unsigned fd = 0; fd < MIN((uint64_t)limit.rlim_cur, (uint64_t)CLOSE_MAX); fd++)
                (void)syscall(SYS_close, fd);
}

/* Descriptors 0, 1 and 2 must be something, or the daemon's socket would be its stderr. */
static bool open_null(void)
{
        long fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);

        if (fd < 0)
                fd = syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
        return fd == 0 && syscall(SYS_dup3, 0, 1, 0) == 1 && syscall(SYS_dup3, 0, 2, 0) == 2;
}

static void drop_limits(void)
{
        for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
                struct rlimit limit;

                if (syscall(SYS_prlimit64, 0, resource, NULL, &limit) < 0)
                        continue;
                /* An unlimited stack would change how all addresses are laid out. */
                if (resource == RLIMIT_STACK)
                        limit.rlim_cur = MIN(MAX((uint64_t)limit.rlim_cur, STACK_LIMIT), (uint64_t)limit.rlim_max);
                else
                        limit.rlim_cur = limit.rlim_max;
                (void)syscall(SYS_prlimit64, 0, resource, &limit, NULL);
        }
}

static void drop_scheduling(void)
{
        const struct sched_param param = {};
        uint64_t all[16];

        for (unsigned i = 0; i < ELEMENTSOF(all); i++)
                all[i] = UINT64_MAX;
        (void)syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param);
        (void)syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
        (void)syscall(SYS_setpriority, PRIO_PROCESS, 0, 0); /* back up only for the privileged */
}

/*
 * Like fork(), but with no exit signal. Debuggers take such a child for a thread of the program, and are lost when it
 * executes something else: CLONE_UNTRACED keeps it from them.
 */
static long clone_silently(void)
{
        return syscall(SYS_clone, (unsigned long)CLONE_UNTRACED, NULL, NULL, NULL, 0UL);
}

static int wait_silently(long pid)
{
        int status;

        while (syscall(SYS_wait4, pid, &status, __WALL, NULL) < 0)
                if (errno != EINTR)
                        return -errno;
        return status;
}

static _Noreturn void leave(int code)
{
        for (;;)
                (void)syscall(SYS_exit_group, code);
}

static _Noreturn void execute(const char *file, char *const argv[], const Plan *plan)
{
        const uint64_t none = 0;

        /* Last, because until here no handler of the program's may run. */
        (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, KERNEL_SIGSET_SIZE);
        (void)syscall(SYS_execve, file, argv, plan->environment);
        leave(127);
}

static _Noreturn void second_child(const Plan *plan)
{
        static const char *const systemctl_argv[] = { "systemctl", "--user",    "--quiet", "--no-ask-password",
                                                      "start",     SOCKET_UNIT, NULL };
        static const char *const daemon_argv[] = { DAEMON_NAME, NULL };

        if (plan->systemctl) {
                long pid = clone_silently();

                if (pid == 0)
                        execute(plan->systemctl, (char *const *)(uintptr_t)systemctl_argv, plan);
                if (pid > 0 && wait_silently(pid) == 0)
                        leave(0);
        }
        if (plan->binary)
                execute(plan->binary, (char *const *)(uintptr_t)daemon_argv, plan);
        leave(127);
}

static _Noreturn void first_child(const Plan *plan)
{
        drop_signals();
        drop_fds();
        if (!open_null())
                leave(1);
        drop_limits();
        drop_scheduling();
        (void)syscall(SYS_umask, 077);
        if (syscall(SYS_chdir, "/") < 0)
                leave(1);
        (void)syscall(SYS_setsid);
        /* The second one does not lead the session, and so never gets a terminal. */
        if (clone_silently() == 0)
                second_child(plan);
        leave(0);
}

/* ------------------------------------------------------------------------------------------------ before that */

/* Variables that speak to this process, or about it. */
static bool is_personal(const char *assignment)
{
        static const char *const names[] = {
                SOCKET_VARIABLE,    BINARY_VARIABLE, "NOTIFY_SOCKET", "LISTEN_PID",    "LISTEN_FDS",
                "LISTEN_FDNAMES",   "WATCHDOG_PID",  "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM",
                "SYSTEMD_EXEC_PID", "FDSTORE",       "MAINPID",       "LD_PRELOAD",    "LD_AUDIT",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                size_t n = strlen(names[i]);

                if (strncmp(assignment, names[i], n) == 0 && assignment[n] == '=')
                        return true;
        }
        return false;
}

/* The array is allocated, the strings are those of environ but for `socket`. */
static char **make_environment(char *socket)
{
        size_t n = 0, used = 0;
        char **list;

        while (environ && environ[n])
                n++;
        list = calloc(n + 2, sizeof(*list));
        if (!list)
                return NULL;
        for (size_t i = 0; i < n && environ[i]; i++)
                if (!is_personal(environ[i]))
                        list[used++] = environ[i];
        list[used++] = socket;
        list[used] = NULL;
        return list;
}

static const char *find_systemctl(void)
{
        static const char *const candidates[] = { "/usr/bin/systemctl", "/bin/systemctl" };
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        char manager[PATH_MAX];

        if (!runtime || snprintf(manager, sizeof(manager), "%s/systemd/private", runtime) >= (int)sizeof(manager))
                return NULL;
        if (access(manager, F_OK) < 0)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(candidates); i++)
                if (access(candidates[i], X_OK) >= 0)
                        return candidates[i];
        return NULL;
}

/* Looks through $PATH; only absolute directories count. */
static const char *search_path(char buffer[static PATH_MAX])
{
        const char *path = getenv("PATH");

        while (path && *path) {
                size_t n = strcspn(path, ":");

                if (path[0] == '/' && snprintf(buffer, PATH_MAX, "%.*s/%s", (int)n, path, DAEMON_NAME) < PATH_MAX &&
                    access(buffer, X_OK) >= 0)
                        return buffer;
                path += n + (path[n] == ':');
        }
        return NULL;
}

static const char *find_binary(char buffer[static PATH_MAX])
{
        static const char *const installed = MONO_HANDLE_D_BINDIR "/" DAEMON_NAME;
        const char *binary = getenv(BINARY_VARIABLE);

        /* Who names one means that one. */
        if (binary && *binary)
                return binary[0] == '/' && access(binary, X_OK) >= 0 ? binary : NULL;
        if (access(installed, X_OK) >= 0)
                return installed;
        return search_path(buffer);
}

static int run(const Plan *plan)
{
        const uint64_t all = UINT64_MAX;
        uint64_t before;
        long pid;
        int error;

        /* So that no handler of the program's runs in the child. The kernel's call, because that of the C library
         * leaves out two. */
        if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, KERNEL_SIGSET_SIZE) < 0)
                return -errno;
        pid = clone_silently();
        if (pid == 0)
                first_child(plan);
        error = errno;
        (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, KERNEL_SIGSET_SIZE);
        if (pid < 0)
                return -error;

        /* Ended already, or will in a moment. What came of it shows in that somebody listens. */
        (void)wait_silently(pid);
        return 0;
}

int spawn_daemon(const char *path, bool is_default)
{
        char socket[sizeof(SOCKET_VARIABLE "=") + PATH_MAX], buffer[PATH_MAX];
        _cleanup_free_ char **environment = NULL;
        Plan plan = {};

        /* A program with more rights than its caller must not start what its caller's environment names. */
        if (getauxval(AT_SECURE))
                return -ENOENT;

        plan.systemctl = is_default ? find_systemctl() : NULL;
        plan.binary = find_binary(buffer);
        if (!plan.systemctl && !plan.binary)
                return -ENOENT;

        if (snprintf(socket, sizeof(socket), SOCKET_VARIABLE "=%s", path) >= (int)sizeof(socket))
                return -ENAMETOOLONG;
        environment = make_environment(socket);
        if (!environment)
                return -ENOMEM;
        plan.environment = environment;
        return run(&plan);
}
