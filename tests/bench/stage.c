/* SPDX-License-Identifier: MIT */

#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define WAIT_NSEC UINT64_C(60000000000)
#define LOG_PIPE  (1 << 20)

#define EXIT_NOT_RUN 127

const char *stage_daemon_binary;
const char *stage_directory;

static cpu_set_t all_cores;
static int cores[CPU_SETSIZE];
static unsigned n_cores;

/* ------------------------------------------------------------------------------------------------ the end */

void die(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)fputs("bench: ", stderr);
        (void)vfprintf(stderr, format, ap);
        (void)fputc('\n', stderr);
        va_end(ap);
        /* A child must not run what its parent wants to be done at the end. */
        _exit(EXIT_BROKEN);
}

const char *stage_error(int r)
{
        return r < 0 ? strerror(-r) : strerror(errno);
}

/* ------------------------------------------------------------------------------------------------ time, cores */

uint64_t now_nsec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void sleep_nsec(uint64_t nsec)
{
        struct timespec t = { .tv_sec = (time_t)(nsec / 1000000000), .tv_nsec = (long)(nsec % 1000000000) };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

/* A child that has failed has said why. Whoever waits for it would wait for ever. */
static void on_child(int sig, siginfo_t *info, void *ucontext)
{
        bool killed = info->si_code == CLD_KILLED && info->si_status == SIGKILL;

        if (info->si_code == CLD_EXITED ? info->si_status == EXIT_BROKEN || info->si_status == EXIT_NOT_RUN : !killed)
                _exit(EXIT_BROKEN);
}

void stage_init(void)
{
        struct sigaction action = { .sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP };
        struct rlimit limit;

        if (sigaction(SIGCHLD, &action, NULL) < 0)
                die("sigaction: %s", strerror(errno));
        if (sched_getaffinity(0, sizeof(all_cores), &all_cores) < 0)
                die("sched_getaffinity: %s", strerror(errno));
        for (int i = 0; i < CPU_SETSIZE; i++)
                if (CPU_ISSET(i, &all_cores))
                        cores[n_cores++] = i;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

unsigned stage_cores(void)
{
        return n_cores;
}

/* Where this is forbidden, the measurement is noisier, and that shows. */
void stage_pin(pid_t pid, unsigned i)
{
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(cores[i % n_cores], &one);
        (void)sched_setaffinity(pid, sizeof(one), &one);
}

void stage_unpin(pid_t pid)
{
        (void)sched_setaffinity(pid, sizeof(all_cores), &all_cores);
}

uint64_t stage_cpu_nsec(pid_t pid)
{
        struct timespec t;
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
                die("the processor time of process %d cannot be told", (int)pid);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void stage_wait_idle(pid_t pid)
{
        uint64_t before = stage_cpu_nsec(pid), deadline = now_nsec() + WAIT_NSEC;

        for (unsigned quiet = 0; quiet < 5 && now_nsec() < deadline;) {
                uint64_t now;

                sleep_nsec(10000000);
                now = stage_cpu_nsec(pid);
                quiet = now == before ? quiet + 1 : 0;
                before = now;
        }
}

static bool read_kib(pid_t pid, const char *file, const char *field, uint64_t *ret)
{
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[256];

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
                if (strncmp(line, field, strlen(field)) == 0) {
                        *ret = strtoull(line + strlen(field), NULL, 10);
                        return true;
                }
        return false;
}

uint64_t stage_rss_kib(pid_t pid)
{
        uint64_t kib;

        /* The sum over the mappings is exact; what `status` says may lack some pages of each processor. */
        if (!read_kib(pid, "smaps_rollup", "Rss:", &kib) && !read_kib(pid, "status", "VmRSS:", &kib))
                die("the memory of process %d cannot be told", (int)pid);
        return kib;
}

/* ------------------------------------------------------------------------------------------------ the daemon */

static void run_daemon(const StageDaemon *d, const char *option, int log, pid_t parent)
{
        char socket[96];
        const char *argv[] = { stage_daemon_binary,
                               socket,
                               "--log-target=stderr",
                               "--idle-timeout=infinity",
                               "--sweep=no",
                               option,
                               NULL };

        (void)snprintf(socket, sizeof(socket), "--socket=%s", d->socket);
        /* SIGTERM: when the benchmark is interrupted, its clients are dead too, and nothing is left behind. */
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (dup2(log, STDERR_FILENO) < 0 || getppid() != parent)
                _exit(EXIT_NOT_RUN);
        (void)execv(stage_daemon_binary, (char *const *)(uintptr_t)argv);
        _exit(EXIT_NOT_RUN);
}

void stage_daemon_start(StageDaemon *d, const char *option)
{
        pid_t parent = getpid();
        int fds[2];

        *d = (StageDaemon){ .log = -1 };
        (void)snprintf(d->directory, sizeof(d->directory), "%.48s/d-XXXXXX", stage_directory);
        if (!mkdtemp(d->directory))
                die("%s: %s", d->directory, strerror(errno));
        (void)snprintf(d->socket, sizeof(d->socket), "%s/socket", d->directory);
        if (pipe2(fds, O_CLOEXEC) < 0)
                die("pipe2: %s", strerror(errno));
        (void)fcntl(fds[1], F_SETPIPE_SZ, LOG_PIPE);

        d->pid = fork();
        if (d->pid < 0)
                die("fork: %s", strerror(errno));
        if (d->pid == 0) {
                stage_unpin(0);
                run_daemon(d, option, fds[1], parent);
        }
        (void)close(fds[1]);
        d->log = fds[0];
        stage_daemon_hear(d, "Ready at ");
}

/* True, and it is forgotten up to there, if there is such a line. */
static bool heard(StageDaemon *d, const char *text)
{
        char *at, *end;

        d->heard[d->n_heard] = '\0';
        at = strstr(d->heard, text);
        end = at ? strchr(at, '\n') : NULL;
        if (!end)
                return false;
        d->n_heard -= (size_t)(end + 1 - d->heard);
        memmove(d->heard, end + 1, d->n_heard);
        return true;
}

void stage_daemon_hear(StageDaemon *d, const char *text)
{
        uint64_t deadline = now_nsec() + WAIT_NSEC;

        while (!heard(d, text)) {
                struct pollfd p = { .fd = d->log, .events = POLLIN };
                ssize_t n;

                /* What was said before and not asked for is of no interest. */
                if (d->n_heard > sizeof(d->heard) / 2) {
                        memmove(d->heard, d->heard + d->n_heard / 2, d->n_heard - d->n_heard / 2);
                        d->n_heard -= d->n_heard / 2;
                }
                if (poll(&p, 1, 1000) == 0 && now_nsec() > deadline)
                        die("the daemon does not say \"%s\"", text);
                if (!(p.revents & (POLLIN | POLLHUP)))
                        continue;
                n = read(d->log, d->heard + d->n_heard, sizeof(d->heard) - d->n_heard - 1);
                if (n == 0)
                        die("the daemon ended: %.*s", (int)d->n_heard, d->heard);
                if (n > 0)
                        d->n_heard += (size_t)n;
        }
}

static void remove_segment(const StageDaemon *d)
{
        _cleanup_fclose_ FILE *f = NULL;
        char path[96], name[64];

        (void)snprintf(path, sizeof(path), "%s.segment", d->socket);
        f = fopen(path, "re");
        if (f && fscanf(f, "%63s", name) == 1)
                (void)shm_unlink(name);
}

void stage_daemon_stop(StageDaemon *d)
{
        static const char *const files[] = { "socket", "socket.lock", "socket.segment" };

        (void)kill(d->pid, SIGKILL);
        (void)waitpid(d->pid, NULL, 0);
        remove_segment(d);
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                char path[96];

                (void)snprintf(path, sizeof(path), "%s/%s", d->directory, files[i]);
                (void)unlink(path);
        }
        (void)rmdir(d->directory);
        d->log = fd_close(d->log);
}

/* ------------------------------------------------------------------------------------------------ children */

void stage_child_start(StageChild *c, StageFn fn, void *ctx)
{
        pid_t parent = getpid();
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair: %s", strerror(errno));
        c->pid = fork();
        if (c->pid < 0)
                die("fork: %s", strerror(errno));
        if (c->pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(EXIT_NOT_RUN);
                (void)close(fds[0]);
                fn(fds[1], ctx);
                _exit(0);
        }
        (void)close(fds[1]);
        c->fd = fds[0];
}

void stage_child_kill(StageChild *c)
{
        (void)kill(c->pid, SIGKILL);
        (void)waitpid(c->pid, NULL, 0);
        c->fd = fd_close(c->fd);
}

void stage_tell(int fd, const void *data, size_t size)
{
        while (size > 0) {
                ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        die("another process of the benchmark has ended");
                data = (const uint8_t *)data + n;
                size -= (size_t)n;
        }
}

void stage_hear(int fd, void *ret, size_t size)
{
        while (size > 0) {
                ssize_t n = recv(fd, ret, size, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        die("another process of the benchmark has ended");
                ret = (uint8_t *)ret + n;
                size -= (size_t)n;
        }
}

void *stage_shared(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                die("mmap: %s", strerror(errno));
        return p;
}
