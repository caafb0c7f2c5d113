/* SPDX-License-Identifier: MIT */

/* Kills and freezes processes at each instruction of each operation, see explore.c.
 *
 *   test-crash [--all] [--seed N] [--scenario PATTERN] [--point N] [--other NAME] [--list] [--time] [--budget SECONDS]
 *
 * Without --all it takes a sample, whose seed is printed: with the same one it does the same. With a budget, what comes
 * late does with a smaller sample, which is the beginning of what it would have been; and what comes far too late is
 * skipped. */

#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <unistd.h>

#include "crash/explore.h"
#include "crash/fail.h"

/* Of the budget: then the rest is left out. */
#define OVERDRAFT 1.6

typedef struct Run {
        Options options;
        const char *scenario;
        bool list, time;
        double budget, began;
        unsigned number, total, hurried;
        bool failed;
        Counts sum;
} Run;

static bool is_wanted(const Run *run, const Scenario *s, Config config, Mode mode)
{
        if (!scenario_has(s, mode))
                return false;
        /* With so many clients there is nothing to keep for each. */
        if (config == CONFIG_GROUPS && (!(s->flags & SCENARIO_GROUPS) || mode == MODE_KEEP || mode == MODE_CROWD))
                return false;
        return !run->scenario || fnmatch(run->scenario, s->name, 0) == 0;
}

static unsigned count_tests(const Run *run)
{
        unsigned n = 0;

        for (unsigned config = 0; config < CONFIG_COUNT; config++)
                for (unsigned i = 0; i < n_scenarios; i++)
                        for (unsigned mode = 0; mode < MODE_COUNT; mode++)
                                n += is_wanted(run, &scenarios[i], (Config)config, (Mode)mode);
        return n;
}

static void say_counts(const Counts *c)
{
        printf("%" PRIu64 " instructions, %" PRIu64 " accesses, %" PRIu64 " states; killed at %" PRIu64 " (%" PRIu64
               " really), twice at %" PRIu64 "; frozen at %" PRIu64,
               c->instructions, c->touches, c->states, c->kills, c->real, c->again, c->freezes);
}

static void run_one(Run *run, World *w, const Scenario *s, Mode mode)
{
        double before = fail_now();
        Counts c;
        bool good;

        if (run->budget > 0 && before - run->began > OVERDRAFT * run->budget) {
                printf("ok %u - %s, %s # SKIP the machine is slow, and the time is over\n", ++run->number, s->name,
                       mode_name(mode));
                return;
        }
        run->options.hurry = run->budget > 0 && before - run->began > run->budget * run->number / run->total;
        run->hurried += run->options.hurry;
        good = explore(w, s, mode, &run->options, &c);

        printf("%sok %u - %s, %s%s", good ? "" : "not ", ++run->number, s->name, mode_name(mode),
               w->config == CONFIG_GROUPS ? ", many clients" : "");
        fputs(": ", stdout);
        say_counts(&c);
        if (run->time)
                printf("; %.2f s", fail_now() - before);
        putchar('\n');
        fflush(stdout);
        run->failed = run->failed || !good;
        run->sum.instructions += c.instructions;
        run->sum.touches += c.touches;
        run->sum.states += c.states;
        run->sum.kills += c.kills;
        run->sum.real += c.real;
        run->sum.again += c.again;
        run->sum.freezes += c.freezes;
}

static void run_config(Run *run, Config config)
{
        static World w;

        world_init(&w, config);
        /* Where time runs out it shall not always be the same that are left over. */
        for (unsigned n = 0; n < n_scenarios; n++) {
                unsigned i = run->budget > 0 ? (unsigned)((n + run->options.seed) % n_scenarios) : n;

                for (unsigned mode = 0; mode < MODE_COUNT; mode++)
                        if (is_wanted(run, &scenarios[i], config, (Mode)mode))
                                run_one(run, &w, &scenarios[i], (Mode)mode);
        }
        world_done(&w);
}

static _Noreturn void usage(const char *name)
{
        fprintf(stderr,
                "usage: %s [--all] [--seed N] [--scenario PATTERN] [--point N] [--other NAME] [--list] [--time]"
                " [--budget SECONDS]\n",
                name);
        exit(2);
}

static void parse(Run *run, int argc, char **argv)
{
        static const struct option options[] = {
                { "all", no_argument, NULL, 'a' },
                { "seed", required_argument, NULL, 's' },
                { "scenario", required_argument, NULL, 'n' },
                { "point", required_argument, NULL, 'p' },
                { "other", required_argument, NULL, 'o' },
                { "list", no_argument, NULL, 'l' },
                { "time", no_argument, NULL, 't' },
                { "budget", required_argument, NULL, 'b' },
                {},
        };
        int c;

        run->options.point = -1;
        if (getrandom(&run->options.seed, sizeof(run->options.seed), 0) < 0)
                run->options.seed = 1;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'a':
                        run->options.all = run->options.progress = true;
                        break;
                case 's':
                        run->options.seed = strtoull(optarg, NULL, 0);
                        break;
                case 'n':
                        run->scenario = optarg;
                        break;
                case 'p':
                        run->options.point = strtoll(optarg, NULL, 0);
                        break;
                case 'o':
                        run->options.other = optarg;
                        break;
                case 'l':
                        run->list = true;
                        break;
                case 'b':
                        run->budget = strtod(optarg, NULL);
                        break;
                case 't':
                        run->time = true;
                        break;
                default:
                        usage(argv[0]);
                }
        if (optind < argc)
                usage(argv[0]);
}

/* With everything at the same addresses each time, the same seed does the same. Where that cannot be had, nearly so. */
static void fix_addresses(char **argv)
{
        int p = personality(0xffffffff);

        if (p >= 0 && !(p & ADDR_NO_RANDOMIZE) && personality((unsigned)p | ADDR_NO_RANDOMIZE) >= 0)
                (void)execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
        static Run run;
        const char *missing;

        fix_addresses(argv);
        parse(&run, argc, argv);
        if (run.list) {
                for (unsigned i = 0; i < n_scenarios; i++)
                        puts(scenarios[i].name);
                return 0;
        }
        missing = machine_missing();
        if (missing) {
                printf("1..0 # SKIP %s\n", missing);
                return 0;
        }

        run.total = count_tests(&run);
        run.began = fail_now();
        printf("1..%u\n", run.total);
        if (!run.options.all)
                printf("# a sample: --seed 0x%llx\n", (unsigned long long)run.options.seed);
        fail_watch();
        for (unsigned config = 0; config < CONFIG_COUNT; config++)
                run_config(&run, (Config)config);
        fputs("# in all: ", stdout);
        say_counts(&run.sum);
        printf("; %.0f s\n", fail_now() - run.began);
        if (run.hurried > 0)
                printf("# the machine is slow: of %u tests only the beginning of the sample\n", run.hurried);
        return run.failed;
}
