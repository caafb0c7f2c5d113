/* SPDX-License-Identifier: MIT */

/*
 * What is started is a shell script in the daemon's place, which writes down how it finds itself.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/deadline.h"
#include "lib/spawn.h"
#include "tools/under.h"
#include "tools/valgrind.h"

/* Its own status is read by nothing but itself: for the time of a fork the shell blocks signals. Bash, because other
 * shells begin by unblocking all signals. */
static const char script[] = "#!/bin/bash\n"
                             "{\n"
                             "       echo pid=$$\n"
                             "       echo argument=$0\n"
                             "       ls -l /proc/$$/fd\n"
                             "       echo \"cwd=$(readlink /proc/$$/cwd)\"\n"
                             "       echo \"umask=$(umask)\"\n"
                             "       while read -r line; do echo \"$line\"; done </proc/$$/status\n"
                             "       cat /proc/$$/limits\n"
                             "       tr '\\0' '\\n' </proc/$$/environ | sed 's/^/env /'\n"
                             "} >\"$REPORT.$$\"\n"
                             "mv \"$REPORT.$$\" \"$REPORT\"\n";

static char directory[] = "/tmp/mh-spawn-XXXXXX";
static char binary[64], report[64];

static void write_file(const char *path, const char *text, mode_t mode)
{
        int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);

        cr_assert_geq(fd, 0);
        cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        (void)close(fd);
}

static void set_up(void)
{
        cr_assert_not_null(mkdtemp(directory));
        (void)strcat(strcpy(binary, directory), "/mono_handle_d");
        (void)strcat(strcpy(report, directory), "/report");
        write_file(binary, script, 0700);
        (void)setenv("REPORT", report, 1);
        (void)setenv("MONO_HANDLE_D_BINARY", binary, 1);
        (void)unsetenv("XDG_RUNTIME_DIR");
}

static void clean_up(void)
{
        char command[128];

        /* Others that were started may still be writing into it; once it is gone they cannot. */
        (void)snprintf(command, sizeof(command), "/bin/rm -rf %s 2>/dev/null", directory);
        for (unsigned i = 0; i < 1000 && access(directory, F_OK) >= 0; i++)
                (void)!system(command);
}

TestSuite(spawn, .init = set_up, .fini = clean_up);

/* What the script wrote down, for free(). */
static char *read_report(void)
{
        uint64_t deadline = deadline_in(60 * DEADLINE_SECOND);
        char *text = calloc(1, 65536);
        ssize_t n;
        int fd;

        while ((fd = open(report, O_RDONLY | O_CLOEXEC)) < 0) {
                cr_assert_lt(deadline_now(), deadline, "nothing was started");
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        }
        n = read(fd, text, 65535);
        cr_assert_gt(n, 0);
        (void)close(fd);
        (void)unlink(report);
        return text;
}

static char *spawn_and_read(void)
{
        cr_assert_eq(spawn_daemon("/run/x/socket", false), 0);
        return read_report();
}

/* The rest of the line that begins so. */
static const char *line(const char *text, const char *start)
{
        static char result[256];
        size_t n = strlen(start);

        for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strncmp(p, start, n) == 0) {
                        (void)snprintf(result, sizeof(result), "%.*s", (int)strcspn(p + n, "\n"), p + n);
                        return result;
                }
        return NULL;
}

Test(spawn, is_executed_with_the_path)
{
        _cleanup_free_ char *text = spawn_and_read();

        cr_assert_str_eq(line(text, "env MONO_HANDLE_D_SOCKET="), "/run/x/socket");
        cr_assert_str_eq(line(text, "cwd="), "/");
        cr_assert_str_eq(line(text, "umask="), "0077");
}

Test(spawn, inherits_no_descriptors)
{
        _cleanup_free_ char *text = NULL;
        unsigned standard = 0;

        for (unsigned i = 0; i < 10; i++)
                cr_assert_geq(memfd_create("leak", 0), 0);
        cr_assert_geq(dup2(memfd_create("leak", 0), 900), 0);
        (void)close(STDIN_FILENO);

        text = spawn_and_read();
        /* "lrwx------ 1 me me 64 May  1 12:00 0 -> /dev/null" */
        for (const char *p = strstr(text, " -> "); p; p = strstr(p + 1, " -> ")) {
                const char *number = p;
                char target[128] = "";
                int fd;

                while (number[-1] >= '0' && number[-1] <= '9')
                        number--;
                fd = atoi(number);
                cr_assert_eq(sscanf(p, " -> %127[^\n]", target), 1);
                /* The shell's own: the script, what it writes to, and what it put aside meanwhile. */
                if (strstr(target, directory))
                        continue;
                cr_assert_str_eq(target, "/dev/null", "%d is %s", fd, target);
                standard += fd <= STDERR_FILENO;
        }
        cr_assert_eq(standard, 2, "%s", text);
}

static void ignore_it(int s)
{
}

Test(spawn, inherits_no_signal_settings)
{
        _cleanup_free_ char *text = NULL;
        sigset_t set, after;

        skip_under("valgrind", "has signal masks of its own");
        for (int s = 1; s < 65; s++)
                if (s != SIGCHLD && s != SIGALRM && s != SIGABRT)
                        (void)signal(s, s % 2 ? SIG_IGN : ignore_it);
        sigfillset(&set);
        (void)pthread_sigmask(SIG_SETMASK, &set, NULL);

        text = spawn_and_read();
        cr_assert_eq(strtoull(line(text, "SigBlk:"), NULL, 16), 0);
        /* This one the shell ignores of its own. */
        cr_assert_eq(strtoull(line(text, "SigIgn:"), NULL, 16) & ~(1ULL << (SIGQUIT - 1)), 0);

        /* And ours are what they were, whatever they were. */
        (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
        for (int s = 1; s < 65; s++)
                if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33)
                        cr_assert(sigismember(&after, s), "%d", s);
        cr_assert_eq(signal(SIGUSR1, SIG_DFL), SIGUSR1 % 2 ? SIG_IGN : ignore_it);

        sigemptyset(&set);
        (void)pthread_sigmask(SIG_SETMASK, &set, NULL);
        cr_assert_eq(spawn_daemon("/run/x/socket", false), 0);
        (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
        for (int s = 1; s < 65; s++)
                cr_assert_leq(sigismember(&after, s), 0, "%d", s);
        free(read_report());
}

Test(spawn, inherits_no_limits)
{
        struct rlimit files, core;
        _cleanup_free_ char *text = NULL;
        char expected[64];

        if (on_valgrind())
                cr_skip_test("valgrind has limits of its own");
        skip_under("valgrind", "keeps limits of its own");
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = 20;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
        cr_assert_eq(getrlimit(RLIMIT_FSIZE, &core), 0);
        core.rlim_cur = 65536;
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &core), 0);

        text = spawn_and_read();
        (void)snprintf(expected, sizeof(expected), "%llu", (unsigned long long)files.rlim_max);
        cr_assert_not_null(strstr(line(text, "Max open files"), expected), "%s", line(text, "Max open files"));
        cr_assert_eq(strtoull(line(text, "Max open files"), NULL, 10), files.rlim_max);
        if (core.rlim_max == RLIM_INFINITY)
                cr_assert_null(strstr(line(text, "Max file size"), "65536"));
}

Test(spawn, inherits_no_processor)
{
        _cleanup_free_ char *before = spawn_and_read(), *after = NULL;
        char all[256];
        cpu_set_t one;

        (void)strcpy(all, line(before, "Cpus_allowed_list:"));
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
        after = spawn_and_read();
        cr_assert_str_eq(line(after, "Cpus_allowed_list:"), all);
}

Test(spawn, inherits_nothing_personal_in_the_environment)
{
        static const char *const personal[] = { "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC",
                                                "MONO_HANDLE_D_BINARY" };
        _cleanup_free_ char *text = NULL;
        char start[64];

        (void)setenv("NOTIFY_SOCKET", "/run/notify", 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        (void)setenv("LISTEN_PID", "1", 1);
        (void)setenv("WATCHDOG_USEC", "1", 1);
        (void)setenv("MONO_HANDLE_D_SOCKET", "/run/other", 1);
        (void)setenv("LISTEN_FDS_OF_OURS", "kept", 1);

        text = spawn_and_read();
        for (size_t i = 0; i < ELEMENTSOF(personal); i++) {
                (void)snprintf(start, sizeof(start), "env %s=", personal[i]);
                cr_assert_null(line(text, start), "%s", personal[i]);
        }
        cr_assert_str_eq(line(text, "env MONO_HANDLE_D_SOCKET="), "/run/x/socket");
        cr_assert_str_eq(line(text, "env LISTEN_FDS_OF_OURS="), "kept");
        cr_assert_str_eq(getenv("NOTIFY_SOCKET"), "/run/notify", "ours stays");
}

Test(spawn, is_nobodys_child)
{
        _cleanup_free_ char *text = spawn_and_read();

        cr_assert_neq(atoi(line(text, "PPid:")), getpid());
        cr_assert_neq(atoi(line(text, "NSsid:")), (int)getsid(0));
        cr_assert_neq(atoi(line(text, "NSsid:")), atoi(line(text, "pid=")), "it could get a terminal");
}

static volatile sig_atomic_t children;

static void on_child(int s)
{
        children++;
}

Test(spawn, the_program_does_not_notice)
{
        _cleanup_free_ char *text = NULL;

        (void)sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = on_child }, NULL);
        text = spawn_and_read();
        cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
        cr_assert_eq(errno, ECHILD);
        cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1, "a zombie is left");
        cr_assert_eq(errno, ECHILD);
        cr_assert_eq(children, 0);
}

/* A thread of the program that waits for children of its own must get those, and only those. */
Test(spawn, does_not_disturb_the_programs_own_children)
{
        int status;
        pid_t own;

        own = fork();
        if (own == 0)
                _exit(42);
        for (unsigned i = 0; i < 20; i++)
                cr_assert_eq(spawn_daemon("/run/x/socket", false), 0);
        cr_assert_eq(waitpid(-1, &status, 0), own);
        cr_assert_eq(WEXITSTATUS(status), 42);
        cr_assert_eq(waitpid(-1, &status, 0), -1);
        free(read_report());
}

static void *spawn_often(void *arg)
{
        for (unsigned i = 0; i < 10; i++)
                if (spawn_daemon("/run/x/socket", false) < 0)
                        return arg;
        return NULL;
}

Test(spawn, threads)
{
        pthread_t threads[4];
        void *result;

        for (unsigned i = 0; i < ELEMENTSOF(threads); i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, spawn_often, threads), 0);
        for (unsigned i = 0; i < ELEMENTSOF(threads); i++) {
                cr_assert_eq(pthread_join(threads[i], &result), 0);
                cr_assert_null(result);
        }
        cr_assert_eq(waitpid(-1, NULL, WNOHANG | __WALL), -1);
        free(read_report());
}

/* Where the build was told to install it. */
static bool is_installed(void)
{
        return access("/usr/bin/mono_handle_d", X_OK) >= 0 || access("/usr/local/bin/mono_handle_d", X_OK) >= 0;
}

Test(spawn, nothing_to_start)
{
        (void)setenv("MONO_HANDLE_D_BINARY", "/nonexistent", 1);
        cr_assert_eq(spawn_daemon("/run/x/socket", false), -ENOENT);
        (void)setenv("MONO_HANDLE_D_BINARY", "mono_handle_d", 1);
        cr_assert_eq(spawn_daemon("/run/x/socket", false), -ENOENT, "relative to what?");

        (void)unsetenv("MONO_HANDLE_D_BINARY");
        (void)setenv("PATH", "/nonexistent::relative:", 1);
        if (!is_installed())
                cr_assert_eq(spawn_daemon("/run/x/socket", false), -ENOENT);
}

Test(spawn, is_looked_for_in_the_path)
{
        _cleanup_free_ char *text = NULL;
        char path[256];

        if (is_installed())
                cr_skip_test("one is installed");
        (void)unsetenv("MONO_HANDLE_D_BINARY");
        (void)snprintf(path, sizeof(path), "/nonexistent:%s:/usr/bin:/bin", directory);
        (void)setenv("PATH", path, 1);
        text = spawn_and_read();
        cr_assert_str_eq(line(text, "argument="), binary);
}

/* What a service manager leaves behind when it ends: asking it fails, so the daemon is executed. */
Test(spawn, a_service_manager_that_does_not_answer)
{
        _cleanup_free_ char *text = NULL;
        char path[128];

        (void)setenv("XDG_RUNTIME_DIR", directory, 1);
        (void)unsetenv("DBUS_SESSION_BUS_ADDRESS");
        (void)snprintf(path, sizeof(path), "%s/systemd", directory);
        cr_assert_eq(mkdir(path, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/systemd/private", directory);
        write_file(path, "", 0600);

        cr_assert_eq(spawn_daemon("/run/x/socket", true), 0);
        text = read_report();
        cr_assert_str_eq(line(text, "env MONO_HANDLE_D_SOCKET="), "/run/x/socket");
}
