/* SPDX-License-Identifier: MIT */

/*
 * For as long as one likes: clients that do random things with handles and scratch that they share, and die of SIGKILL at any
 * time, as does the daemon; and every few seconds a stop, at which the whole segment is checked, and compared with what those
 * who live believe to hold.
 *
 *   soak [--seconds N] [--seed N] [--clients N] [--every SECONDS] [--keep]
 *
 * Some clients map the segment and work on it themselves, with one thread or several, some ask the daemon. The first thing
 * that is not as it must be ends it, with exit code 1; --keep then leaves everything stopped where it is, to be looked at.
 * The same seed makes the same choices, but what the kernel lets come first is its own choice.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "lib/deadline.h"
#include "soak/board.h"
#include "soak/judge.h"
#include "tools/starve.h"

#define STOP_SECONDS   90U /* until who does not come to a stop is stuck */
#define SETTLE_SECONDS 60U /* until the daemon has buried the dead */
#define LINE_SECONDS   5U
#define LEFT_KIB       4096U /* that a segment takes which everybody has left, at most */

static char directory[64], socket_path[80], daemon_log[80];
static int board_fd = -1;
static bool keep;
static uint64_t randomness;
static long log_seen;

static struct {
        uint64_t kills, massacres, daemon_kills, freezes, daemon_freezes, stops, ended, settle_longest;
        uint64_t operations, longest; /* of those who have ended */
        unsigned longest_who;
} count;

/* ------------------------------------------------------------------------------------------------ the world */

static unsigned below(unsigned n)
{
        return (unsigned)(random_next(&randomness) % n);
}

/* Time that this process has seen pass. A machine may be stopped for an hour, and nobody on it is to blame for that. */
static uint64_t seen_time(void)
{
        static uint64_t last, sum;
        uint64_t now = deadline_now();

        if (last)
                sum += MIN(now - last, DEADLINE_SECOND);
        last = now;
        return sum;
}

static double seconds(void)
{
        return (double)seen_time() / DEADLINE_SECOND;
}

/* The daemon is started by the library, and says what it has to say to a file. */
static bool make_world(void)
{
        const char *binary = getenv("MONO_HANDLE_TEST_DAEMON");
        char path[80];
        FILE *f;

        if (!binary)
                return judge_says("MONO_HANDLE_TEST_DAEMON does not say where the daemon is");
        (void)strcpy(directory, "/tmp/mh-soak-XXXXXX");
        if (!mkdtemp(directory))
                return judge_says("mkdtemp: %s", strerror(errno));
        (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        (void)snprintf(daemon_log, sizeof(daemon_log), "%s/log", directory);
        (void)snprintf(path, sizeof(path), "%s/daemon", directory);
        f = fopen(path, "we");
        if (!f)
                return judge_says("%s: %s", path, strerror(errno));
        (void)fprintf(f, "#!/bin/sh\nexec '%s' --log-target=stderr 2>>'%s'\n", binary, daemon_log);
        (void)fclose(f);
        (void)chmod(path, 0700);
        (void)setenv("MONO_HANDLE_D_BINARY", path, 1);
        (void)setenv("MONO_HANDLE_D_SOCKET", socket_path, 1);
        (void)setenv("MONO_HANDLE_D_IDLE_TIMEOUT", "3s", 1);
        (void)setenv("MONO_HANDLE_D_SWEEP", "no", 1);
        (void)setenv("MONO_HANDLE_D_HANDLES", "262144", 1);
        (void)setenv("MONO_HANDLE_D_SCRATCH", "512M", 1);
        (void)unsetenv("XDG_RUNTIME_DIR");
        return true;
}

static int open_segment(char name[static 128])
{
        char path[128], *end;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "%s.segment", socket_path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, name, 127);
        (void)close(fd);
        name[n > 0 ? n : 0] = 0;
        end = strpbrk(name, " \n");
        if (!end)
                return -ENOENT;
        *end = 0;
        fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

static pid_t daemon_pid(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        struct ucred peer = {};
        socklen_t size = sizeof(peer);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)strcpy(sa.sun_path, socket_path);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
                (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
        return peer.pid;
}

/* What no daemon says that was only killed. */
static bool read_log(bool show)
{
        static const char *const bad[] = { "damaged", "cut short", "never finished", "Assertion", "lost", "cannot" };
        _cleanup_fclose_ FILE *f = fopen(daemon_log, "re");
        char line[1024];
        bool good = true;

        if (!f || fseek(f, log_seen, SEEK_SET) < 0)
                return true;
        while (fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = 0;
                for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                        if (strstr(line, bad[i]))
                                good = judge_says("the daemon says: %s", line);
                if (show)
                        (void)judge_says("log: %s", line);
        }
        log_seen = ftell(f);
        return good;
}

/* ------------------------------------------------------------------------------------------------ clients */

static bool start_player(unsigned i)
{
        Player *p = &board->player[i];
        pid_t pid;

        p->seed = random_next(&randomness);
        pid = fork();
        if (pid < 0)
                return judge_says("fork: %s", strerror(errno));
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                player_run(i, board_fd);
        }
        p->pid = pid;
        return true;
}

static void retire(Player *p)
{
        for (unsigned i = 0; i < THREADS_MAX; i++) {
                ThreadBoard *t = &p->thread[i];

                count.operations += t->operations;
                if (t->longest > count.longest) {
                        count.longest = t->longest;
                        count.longest_who = (unsigned)t->longest_who;
                }
                t->operations = t->longest = t->stopped = 0;
        }
        count.ended++;
}

static bool one_has_ended(pid_t pid, int status)
{
        for (unsigned i = 0; i < board->n_players; i++) {
                Player *p = &board->player[i];

                if (p->pid != pid)
                        continue;
                p->pid = 0;
                retire(p);
                player_forget(i);
                if (load_sc(&board->leave))
                        return status == 0 || judge_says("client %u ended with %#x", i, (unsigned)status);
                if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                        return judge_says("client %u (process %d) ended with %#x, and nobody had killed it", i,
                                          (int)pid, (unsigned)status);
                return start_player(i);
        }
        /* A daemon, or a child of a dead client. */
        if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : status != 0)
                return judge_says("process %d, a daemon or a client's child, ended with %#x", (int)pid,
                                  (unsigned)status);
        return true;
}

static bool bury(void)
{
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (!one_has_ended(pid, status))
                        return false;
        return !load_sc(&board->failed);
}

static void kill_player(Player *p)
{
        if (p->pid <= 0)
                return;
        store_sc(&p->doomed, 1);
        (void)kill(p->pid, SIGKILL);
        count.kills++;
}

/* ------------------------------------------------------------------------------------------------ stops */

static bool all_stopped(uint64_t round, char why[static 160])
{
        for (unsigned i = 0; i < board->n_players; i++) {
                const Player *p = &board->player[i];

                for (unsigned j = 0; j < p->threads; j++)
                        if (load_sc(&p->thread[j].stopped) != round) {
                                (void)snprintf(why, 160, "client %u (process %d), thread %u, with \"%s\"", i,
                                               (int)p->pid, j, operation_name(p->thread[j].operation));
                                return false;
                        }
        }
        return true;
}

/* There is a daemon: whoever needs one to bury the dead does not come to look now. */
static bool summon_daemon(mh_client **ret)
{
        int r = mh_attach(ret, NULL, MH_ATTACH_NO_MAP);

        return r == 0 || judge_says("nobody can attach: %s", strerror(-r));
}

/* Time in which the daemon waited for a processor does not count: it is not stuck. */
static bool is_late(uint64_t deadline)
{
        uint64_t ran, delay;
        pid_t pid;

        if (seen_time() < deadline)
                return false;
        pid = daemon_pid();
        return pid <= 0 || !starve_read(pid, &ran, &delay) ||
               (!starve_now(pid, 50000) && seen_time() >= deadline + delay);
}

/* Until the dead are buried and memory is given back; what is wrong then stays wrong. */
static int settled(uint64_t clients)
{
        uint64_t start = seen_time(), deadline = start + SETTLE_SECONDS * DEADLINE_SECOND;
        VerifyStats stats;
        char name[128];
        int fd;

        for (;;) {
                if (!bury())
                        return -1;
                fd = open_segment(name);
                if (fd >= 0 && verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, NULL, NULL, &stats) == 0 &&
                    stats.clients == clients)
                        break;
                if (is_late(deadline)) {
                        if (fd < 0)
                                (void)judge_says("there is no segment");
                        else
                                (void)judge_says("%u clients instead of %llu", stats.clients,
                                                 (unsigned long long)clients);
                        break;
                }
                fd = fd_close(fd);
                deadline_sleep(deadline_in(DEADLINE_SECOND / 200));
        }
        count.settle_longest = MAX(count.settle_longest, seen_time() - start);
        return fd;
}

static bool stop_and_judge(void)
{
        uint64_t round = board->resume + 1, deadline = seen_time() + STOP_SECONDS * DEADLINE_SECOND;
        _cleanup_close_ int fd = -1;
        mh_client *c = NULL;
        char why[160];
        VerifyStats stats;

        store_sc(&board->pause, round);
        while (!all_stopped(round, why)) {
                if (!bury())
                        return false;
                if (seen_time() >= deadline)
                        return judge_says("does not come to a stop: %s", why);
                deadline_sleep(deadline_in(DEADLINE_SECOND / 500));
        }
        if (!bury() || !summon_daemon(&c))
                return false;
        c = mh_detach(c);
        fd = settled(board->n_players);
        if (fd < 0 || !judge(fd, &stats) || stats.clients != board->n_players || !read_log(false))
                return false;
        count.stops++;
        store_sc(&board->resume, round);
        return true;
}

/* ------------------------------------------------------------------------------------------------ violence */

static void kill_the_daemon(void)
{
        pid_t pid = daemon_pid();

        if (pid > 0 && kill(pid, SIGKILL) == 0)
                count.daemon_kills++;
}

static void freeze(pid_t pid, unsigned msec)
{
        if (pid <= 0 || kill(pid, SIGSTOP) < 0)
                return;
        deadline_sleep(deadline_in(UINT64_C(1000) * msec));
        (void)kill(pid, SIGCONT);
}

static void do_harm(void)
{
        unsigned n = (unsigned)board->n_players, what = below(100);
        Player *p = &board->player[below(n)];

        if (what < 72)
                kill_player(p);
        else if (what < 82)
                kill_the_daemon();
        else if (what < 84) {
                /* Client and daemon in the same instant. */
                kill_player(p);
                kill_the_daemon();
        } else if (what < 92) {
                freeze(p->pid, below(60));
                count.freezes++;
        } else if (what < 98) {
                freeze(daemon_pid(), below(40));
                count.daemon_freezes++;
        } else {
                for (unsigned i = 0; i < n; i++)
                        if (below(2))
                                kill_player(&board->player[i]);
                count.massacres++;
        }
}

/* ------------------------------------------------------------------------------------------------ beginning and end */

static uint64_t operations_so_far(void)
{
        uint64_t sum = count.operations;

        for (unsigned i = 0; i < board->n_players; i++)
                for (unsigned j = 0; j < THREADS_MAX; j++)
                        sum += board->player[i].thread[j].operations;
        return sum;
}

static void print_line(void)
{
        (void)printf("%6.0f s: %llu operations, %llu clients and %llu daemons killed, %llu verifications\n", seconds(),
                     (unsigned long long)operations_so_far(), (unsigned long long)count.kills,
                     (unsigned long long)count.daemon_kills, (unsigned long long)count.stops);
        (void)fflush(stdout);
}

static bool begin_players(unsigned n)
{
        board_fd = memfd_create("board", MFD_CLOEXEC);
        if (board_fd < 0 || ftruncate(board_fd, sizeof(Board)) < 0)
                return judge_says("memfd_create: %s", strerror(errno));
        board = mmap(NULL, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, board_fd, 0);
        if (board == MAP_FAILED)
                return judge_says("mmap: %s", strerror(errno));
        board->n_players = n;
        for (unsigned i = 0; i < n; i++) {
                Player *p = &board->player[i];

                p->no_map = i % 4 == 3;
                p->threads = i % 16 == 5 ? THREADS_MAX : i % 4 == 1 ? 3 : i % 8 == 7 ? 2 : 1;
        }
        for (unsigned i = 0; i < n; i++)
                if (!start_player(i))
                        return false;
        return true;
}

static bool all_gone(void)
{
        for (unsigned i = 0; i < board->n_players; i++)
                if (board->player[i].pid > 0)
                        return false;
        return true;
}

static bool wait_until(bool (*condition)(void), const char *what)
{
        uint64_t deadline = seen_time() + STOP_SECONDS * DEADLINE_SECOND;

        while (!condition()) {
                if (!bury())
                        return false;
                if (seen_time() >= deadline)
                        return judge_says("in vain it was waited until %s", what);
                deadline_sleep(deadline_in(DEADLINE_SECOND / 200));
        }
        return true;
}

static uint64_t segment_kib(void)
{
        char name[128];
        _cleanup_close_ int fd = open_segment(name);
        struct stat st;

        return fd < 0 || fstat(fd, &st) < 0 ? UINT64_MAX : (uint64_t)st.st_blocks / 2;
}

static bool memory_is_back(void)
{
        return segment_kib() <= LEFT_KIB;
}

static bool nothing_is_left(void)
{
        char name[128];
        _cleanup_close_ int fd = open_segment(name);

        return fd < 0 && daemon_pid() == 0;
}

/* Everybody closes what it holds and leaves; then there is nothing, and then there is no segment and no daemon. */
static bool end_players(void)
{
        _cleanup_close_ int fd = -1;
        mh_client *c = NULL;
        VerifyStats stats;

        if (!summon_daemon(&c))
                return false;
        store_sc(&board->leave, 1);
        if (!wait_until(all_gone, "all clients have left"))
                return false;
        fd = settled(1);
        if (fd < 0 || !judge(fd, &stats))
                return false;
        if (stats.clients != 1 || stats.handles + stats.reserved + stats.blocks + stats.spans != 0)
                return judge_says("left behind: %u clients, %llu handles, %llu slots, %llu blocks, %llu spans",
                                  stats.clients - 1, (unsigned long long)stats.handles,
                                  (unsigned long long)stats.reserved, (unsigned long long)stats.blocks,
                                  (unsigned long long)stats.spans);
        if (!wait_until(memory_is_back, "the memory of the segment is given back"))
                return judge_says("it takes %llu KiB", (unsigned long long)segment_kib());
        c = mh_detach(c);
        return wait_until(nothing_is_left, "the daemon has left and the segment is gone") && read_log(false);
}

static void clean_up(bool good)
{
        static const char *const names[] = { "socket", "socket.lock", "socket.segment", "daemon", "log" };
        char name[128], path[128];
        int fd;

        if (!good)
                (void)read_log(true);
        if (!good && keep) {
                for (unsigned i = 0; i < board->n_players; i++)
                        if (board->player[i].pid > 0)
                                (void)kill(board->player[i].pid, SIGSTOP);
                (void)judge_says("everything is left as it is, in %s, until this process (%d) ends", directory,
                                 (int)getpid());
                for (;;)
                        (void)pause();
        }
        for (unsigned i = 0; board && i < board->n_players; i++)
                if (board->player[i].pid > 0)
                        (void)kill(board->player[i].pid, SIGKILL);
        for (pid_t pid = daemon_pid(); pid > 0; pid = daemon_pid()) {
                (void)kill(pid, SIGKILL);
                deadline_sleep(deadline_in(DEADLINE_SECOND / 50));
        }
        fd = open_segment(name);
        if (fd >= 0)
                (void)shm_unlink(name);
        (void)fd_close(fd);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
                (void)unlink(path);
        }
        (void)rmdir(directory);
}

static bool soak(unsigned duration, unsigned every, unsigned n)
{
        uint64_t end, next_stop, next_line;

        if (!make_world() || !begin_players(n))
                return false;
        end = seen_time() + duration * DEADLINE_SECOND;
        next_stop = seen_time() + every * DEADLINE_SECOND;
        next_line = seen_time() + LINE_SECONDS * DEADLINE_SECOND;
        while (seen_time() < end) {
                deadline_sleep(deadline_in(1000 + below(60000)));
                do_harm();
                if (!bury())
                        return false;
                if (seen_time() >= next_stop) {
                        if (!stop_and_judge())
                                return false;
                        next_stop = seen_time() + every * DEADLINE_SECOND;
                }
                if (seen_time() >= next_line) {
                        print_line();
                        next_line = seen_time() + LINE_SECONDS * DEADLINE_SECOND;
                }
        }
        return stop_and_judge() && end_players();
}

static void print_end(bool good, uint64_t seed)
{
        (void)printf(
                "%s after %.0f s: %llu operations, %llu clients killed (%llu times half of them at once), %llu frozen; "
                "%llu daemons killed, %llu frozen; %llu forks, %llu execs, %llu times attached anew, %llu closefrom(), "
                "%llu threads; %llu times busy; %llu verifications; longest operation %.1f s (%s), longest wait for the dead %.1f s; "
                "seed %llu\n",
                good ? "ok" : "FAILED", seconds(), (unsigned long long)operations_so_far(),
                (unsigned long long)count.kills, (unsigned long long)count.massacres, (unsigned long long)count.freezes,
                (unsigned long long)count.daemon_kills, (unsigned long long)count.daemon_freezes,
                (unsigned long long)board->forks, (unsigned long long)board->execs,
                (unsigned long long)board->attachments, (unsigned long long)board->closefroms,
                (unsigned long long)board->threads, (unsigned long long)board->again, (unsigned long long)count.stops,
                (double)count.longest / DEADLINE_SECOND, operation_name(count.longest_who),
                (double)count.settle_longest / DEADLINE_SECOND, (unsigned long long)seed);
}

static _Noreturn void be_player(const char *number, const char *fd)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        board = mmap(NULL, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
        if (board == MAP_FAILED)
                _exit(1);
        (void)fcntl(atoi(fd), F_SETFD, FD_CLOEXEC);
        player_run((unsigned)atoi(number), atoi(fd));
}

int main(int argc, char *argv[])
{
        static const struct option options[] = {
                { "seconds", required_argument, NULL, 't' }, { "seed", required_argument, NULL, 's' },
                { "clients", required_argument, NULL, 'c' }, { "every", required_argument, NULL, 'e' },
                { "keep", no_argument, NULL, 'k' },          {},
        };
        unsigned duration = 15, every = 3, n = 16;
        uint64_t seed;
        bool good;
        int o;

        if (argc == 4 && strcmp(argv[1], "--player") == 0)
                be_player(argv[2], argv[3]);
        if (random_u64(&seed) < 0)
                return 1;
        seed %= 1000000;
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (o) {
                case 't':
                        duration = (unsigned)atoi(optarg);
                        break;
                case 's':
                        seed = strtoull(optarg, NULL, 0);
                        break;
                case 'c':
                        n = (unsigned)atoi(optarg);
                        break;
                case 'e':
                        every = (unsigned)atoi(optarg);
                        break;
                case 'k':
                        keep = true;
                        break;
                default:
                        return 2;
                }
        if (optind < argc || n < 1 || n > PLAYERS_MAX)
                return 2;

        randomness = seed;
        (void)printf("seed %llu, %u clients, %u s\n", (unsigned long long)seed, n, duration);
        (void)fflush(stdout);
        /* Whoever loses its parent becomes a child of this process, the daemon too: so that all ends are seen. */
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        good = soak(duration, every, n);
        if (board)
                print_end(good, seed);
        clean_up(good);
        return good ? 0 : 1;
}
