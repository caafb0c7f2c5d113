/* SPDX-License-Identifier: MIT */

/*
 * ./dev bench: what operations cost, as ratios to something that runs in the same minute on the same machine.
 *
 * This program starts itself several times; each of these passes (pass.h) measures everything. It collects the samples,
 * shows how far it is on stderr, and in the end prints a table, and the same as JSON.
 */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "keys.h"
#include "pass.h"
#include "results.h"
#include "stage.h"

#define PASSES       5U
#define ROUNDS       400U
#define SLICE_NSEC   UINT64_C(150000)
#define QUICK_ROUNDS 15U
#define QUICK_NSEC   UINT64_C(40000)

typedef struct Bench {
        const char *json, *only;
        unsigned passes, pass;
        bool quick, check, tty;
        size_t begun; /* the key that is being measured, or n_keys */
        unsigned n_begun;
        Result *results;
} Bench;

/* ------------------------------------------------------------------------------------------------ progress */

static void show_line(const Bench *b, size_t key)
{
        const Result *r = &b->results[key];

        (void)fprintf(stderr, "%spass %u/%u  %3u  %-34s ", b->tty ? "\r\x1b[K" : "", b->pass + 1, b->passes, b->n_begun,
                      keys[key].name);
        if (r->n > 0)
                (void)fprintf(stderr, "%.4g", result_ratio(r, key));
        if (!b->tty)
                (void)fputc('\n', stderr);
        (void)fflush(stderr);
}

/* On a terminal one line shows what is being measured; elsewhere a line says what has been. */
static void next_key(Bench *b, size_t key)
{
        if (!b->tty && b->begun < n_keys)
                show_line(b, b->begun);
        b->begun = key;
        if (key < n_keys) {
                b->n_begun++;
                if (b->tty)
                        show_line(b, key);
        }
}

/* ------------------------------------------------------------------------------------------------ silence */

/* What hangs is a bug, of this program or of what it measures; it is to be known where. */
static const char *silent_in = "the beginning";

static void on_alarm(int sig)
{
        static const char text[] = "\nbench: nothing has happened for minutes in: ";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        (void)!write(STDERR_FILENO, silent_in, strlen(silent_in));
        (void)!write(STDERR_FILENO, "\n", 1);
        _exit(EXIT_BROKEN);
}

static void expect_signs_of_life(const Bench *b)
{
        if (b->begun < n_keys)
                silent_in = keys[b->begun].name;
        (void)alarm(b->quick ? 100 : 300);
}

/* ------------------------------------------------------------------------------------------------ a pass */

static void take_line(Bench *b, const char *line, bool *ret_done)
{
        char name[64], reason[160];
        double ours, peer;

        if (sscanf(line, "sample %63s %lf %lf", name, &ours, &peer) == 3) {
                result_add(&b->results[key_index(name)], ours, peer);
        } else if (sscanf(line, "key %63s", name) == 1) {
                next_key(b, key_index(name));
        } else if (sscanf(line, "skip %63s %159[^\n]", name, reason) == 2) {
                Result *r = &b->results[key_index(name)];

                if (!r->skipped[0])
                        (void)fprintf(stderr, "%s%s: skipped: %s\n", b->tty ? "\r\x1b[K" : "", name, reason);
                (void)strcpy(r->skipped, reason);
        } else if (strcmp(line, "done\n") == 0) {
                *ret_done = true;
        }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

/* A pass that failed leaves things in it. */
static void remove_directory(void)
{
        (void)nftw(stage_directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void run_pass(Bench *b)
{
        pid_t pid, parent = getpid();
        bool done = false;
        char line[512];
        int fds[2], status;
        FILE *f;

        if (pipe2(fds, O_CLOEXEC) < 0)
                die("pipe2: %s", strerror(errno));
        pid = fork();
        if (pid < 0)
                die("fork: %s", strerror(errno));
        if (pid == 0) {
                char fd[16];
                const char *argv[] = {
                        the_pass.self, "--pass", fd, b->quick ? "--quick" : "--full", b->only ? "--only" : NULL,
                        b->only,       NULL
                };

                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)snprintf(fd, sizeof(fd), "%d", dup(fds[1]));
                if (getppid() != parent || setenv("MONO_HANDLE_BENCH_DIRECTORY", stage_directory, 1) < 0)
                        _exit(126);
                (void)execv(the_pass.self, (char *const *)(uintptr_t)argv);
                _exit(127);
        }
        (void)close(fds[1]);
        f = fdopen(fds[0], "re");
        if (!f)
                die("fdopen: %s", strerror(errno));
        expect_signs_of_life(b);
        while (fgets(line, sizeof(line), f)) {
                take_line(b, line, &done);
                expect_signs_of_life(b);
        }
        (void)alarm(0);
        (void)fclose(f);
        if (waitpid(pid, &status, 0) < 0 || status != 0 || !done) {
                remove_directory();
                die("a pass ended with status %#x", (unsigned)status);
        }
        next_key(b, n_keys);
}

/* Another program of the build, beside this one or where the environment says. */
static const char *program(const char *variable, const char *root, const char *path)
{
        const char *value = getenv(variable);
        char *full;

        if (value)
                return value;
        if (asprintf(&full, "%s/%s", root, path) < 0)
                die("out of memory");
        return full;
}

static void find_programs(void)
{
        static char self[512];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n < 0)
                die("/proc/self/exe: %s", strerror(errno));
        the_pass.self = self;
        the_pass.source_root = SOURCE_ROOT;
        the_pass.build_root = BUILD_ROOT;
        the_pass.notify_peer = program("MONO_HANDLE_BENCH_PEER", BUILD_ROOT, "tests/bench/notify-peer");
        stage_daemon_binary = program("MONO_HANDLE_BENCH_DAEMON", BUILD_ROOT, "src/mono_handle_d");
}

static int be_pass(int fd, const Bench *b)
{
        the_pass.out = fdopen(fd, "we");
        if (!the_pass.out)
                die("fdopen: %s", strerror(errno));
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        the_pass.quick = b->quick;
        the_pass.rounds = b->quick ? QUICK_ROUNDS : ROUNDS;
        the_pass.slice_nsec = b->quick ? QUICK_NSEC : SLICE_NSEC;
        stage_directory = getenv("MONO_HANDLE_BENCH_DIRECTORY");
        if (!stage_directory)
                die("no directory");
        /* As far as it is allowed: others who use the machine disturb less. */
        (void)setpriority(PRIO_PROCESS, 0, -15);
        stage_init();
        pass_run();
        return EXIT_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ limits */

/* Asked for, and not there? Then it is said by name. */
static bool lacks(const Bench *b, const char *key)
{
        if (b->results[key_index(key)].n > 0 || !pass_wants(key))
                return false;
        (void)fprintf(stderr, "%s: has a limit, and was not measured\n", key);
        return true;
}

/* A limit that nobody looked at is not kept. But a quick run does not make so many handles that one could see what grows. */
static unsigned report_unmeasured(const Bench *b)
{
        unsigned n = 0;

        for (size_t i = 0; i < n_keys; i++)
                if (keys[i].limit > 0)
                        n += lacks(b, keys[i].name);
        for (size_t i = 0; i < n_flats && !b->quick; i++)
                n += lacks(b, flats[i].first) || lacks(b, flats[i].last);
        return n;
}

static unsigned print(const Bench *b, FILE *f)
{
        unsigned exceeded = results_print(b->results, f);

        return exceeded + results_print_flats(b->results, f);
}

/* ------------------------------------------------------------------------------------------------ main */

static void check_only(const char *only)
{
        while (*only) {
                size_t n = strcspn(only, ",");
                char name[64];

                (void)snprintf(name, sizeof(name), "%.*s", (int)n, only);
                (void)key_index(name);
                only += n;
                only += *only == ',';
        }
}

static int run(Bench *b)
{
        char directory[64];
        const char *temporary = getenv("TMPDIR");
        FILE *json = NULL;
        unsigned exceeded, unmeasured;

        (void)snprintf(directory, sizeof(directory), "%.20s/mono-handle-bench-XXXXXX", temporary ?: "/tmp");
        if (b->json) {
                json = strcmp(b->json, "-") == 0 ? stdout : fopen(b->json, "we");
                if (!json)
                        die("%s: %s", b->json, strerror(errno));
        }
        if (signal(SIGALRM, on_alarm) == SIG_ERR)
                die("signal: %s", strerror(errno));
        if (!mkdtemp(directory))
                die("%s: %s", directory, strerror(errno));
        stage_directory = directory;
        b->tty = isatty(STDERR_FILENO);
        b->results = calloc(n_keys, sizeof(*b->results));
        if (!b->results)
                die("out of memory");

        for (b->pass = 0; b->pass < b->passes; b->pass++) {
                b->n_begun = 0;
                run_pass(b);
        }
        if (b->tty)
                (void)fputs("\r\x1b[K", stderr);
        remove_directory();

        exceeded = print(b, json == stdout ? stderr : stdout);
        if (json && results_write_json(b->results, json) < 0)
                die("%s: cannot be written", b->json);
        if (exceeded > 0)
                (void)fprintf(stderr, "%u of the limits exceeded\n", exceeded);
        unmeasured = b->check ? report_unmeasured(b) : 0;
        return b->check && exceeded + unmeasured > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void usage(FILE *f)
{
        (void)fputs("usage: bench [OPTION...]\n"
                    "\n"
                    "  --json FILE    write the results there, too ('-': to stdout, and the table to stderr)\n"
                    "  --quick        few rounds and small numbers: only to see that it works\n"
                    "  --check        exit with 1 if a limit is exceeded, or was not looked at\n"
                    "  --only KEYS    only these, separated by commas\n"
                    "  --passes N     so many passes (5)\n"
                    "  --list         what is measured, and against what\n",
                    f);
}

static int list(void)
{
        for (size_t i = 0; i < n_keys; i++) {
                printf("%-34s %s", keys[i].name, keys[i].what);
                if (keys[i].peer)
                        printf(" | %s", keys[i].peer);
                if (keys[i].limit > 0)
                        printf(" | at most %g", keys[i].limit);
                (void)putchar('\n');
        }
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_BROKEN;
}

static unsigned parse_number(const char *text)
{
        uint64_t n;

        if (parse_u64(text, 0, 100000, &n) < 0)
                die("%s is not such a number", text);
        return (unsigned)n;
}

int main(int argc, char *argv[])
{
        static const struct option options[] = {
                { "json", required_argument, NULL, 'j' },
                { "quick", no_argument, NULL, 'q' },
                { "full", no_argument, NULL, 'f' },
                { "check", no_argument, NULL, 'c' },
                { "only", required_argument, NULL, 'o' },
                { "list", no_argument, NULL, 'l' },
                { "passes", required_argument, NULL, 'n' },
                { "help", no_argument, NULL, 'h' },
                { "pass", required_argument, NULL, 'P' },
                { "restart-loop", required_argument, NULL, 'R' },
                {},
        };
        Bench b = { .begun = n_keys };
        int c, pass_fd = -1;

        find_programs();
        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'j':
                        b.json = optarg;
                        break;
                case 'q':
                        b.quick = true;
                        break;
                case 'f':
                        break;
                case 'c':
                        b.check = true;
                        break;
                case 'o':
                        b.only = the_pass.only = optarg;
                        check_only(optarg);
                        break;
                case 'l':
                        return list();
                case 'n':
                        b.passes = parse_number(optarg);
                        break;
                case 'P':
                        pass_fd = (int)parse_number(optarg);
                        break;
                case 'R':
                        stage_init();
                        restart_loop(parse_number(optarg));
                        return EXIT_SUCCESS;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS;
                default:
                        usage(stderr);
                        return EXIT_BROKEN;
                }
        if (optind < argc) {
                usage(stderr);
                return EXIT_BROKEN;
        }
        if (pass_fd >= 0)
                return be_pass(pass_fd, &b);
        if (b.passes == 0)
                b.passes = b.quick ? 1 : PASSES;
        return run(&b);
}
