/* SPDX-License-Identifier: MIT */

/* Kills and freezes the real daemon, and real clients that attach, work and detach, at each moment that matters (see
 * victim.h), while another client goes on.
 *
 *   test-crash-real [--all] [--seed N] [--play PATTERN] [--moment N] [--again N] [--list] [--time] [--budget SECONDS]
 *
 * Each play is performed from its beginning each time, in a directory of its own: a daemon, a client B that has something
 * of everything, a client A. Something is done, and the victim is stopped at moment k of doing it. As long as it stands,
 * B does all there is to do. Then the victim is killed, or goes on. If it was the daemon, the next one is started
 * (sometimes that one is killed on its way, too; and sometimes the daemon is killed together with a client). What is asked
 * then:
 *
 *   - A's call, if A lives, has come to its end, and with the result that it has when nobody dies; it has taken effect
 *     once: there is as much in the segment as there was then;
 *   - when A has gone there is as much as before, or as after its deed;
 *   - verify_segment() finds nothing, B still has all that it had, and everything works;
 *   - when B has gone too, nothing is left; the daemon leaves in good order, and there is no segment any more.
 *
 * Without --all a sample of the moments is taken, whose seed is printed. What --all does stands in README.md. */

#include "crash/real/play.h"

#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of a sample, for each play. */
#define SAMPLE_KILLS   16U
#define SAMPLE_FREEZES 6U
#define SAMPLE_HURRY   2U /* of each, when time is short */
#define SAMPLE_AGAIN   4U /* of so many, the next daemon is killed as well */
#define AGAIN_MOMENTS  700U

#define PROGRESS_S 10.0
#define WATCHDOG_S 300U

typedef struct Counts {
        uint64_t instructions, moments, kills, again, freezes;
} Counts;

/* What there is when nobody is killed. */
typedef struct Reference {
        uint64_t moments, instructions;
        VerifyStats before; /* A comes */
        VerifyStats with;   /* A, after its deed */
        VerifyStats after;  /* A has gone */
} Reference;

typedef struct Run {
        bool all, time, progress, hurry;
        uint64_t seed, random;
        int64_t moment, again; /* -1: all, or a sample */
        uint64_t next_moments; /* of the next daemon, until it serves, as far as is known */
        const char *pattern;
        double budget, began, told;
        unsigned total, number, hurried;
        bool failed;
        Counts sum;
} Run;

/* One performance. */
typedef struct Performance {
        const Play *play;
        const Reference *reference; /* NULL: this is it */
        uint64_t moment;            /* UINT64_MAX: none */
        bool kills;
        uint64_t again;        /* moment of the next daemon; 0: it lives */
        uint64_t next_moments; /* so many were all that it had; 0: that is not known */
        bool counts;

        Stage stage;
        Person a, b, c;
        Victim victim;
        uint64_t at;
        bool reached;
        bool adopted; /* by a daemon that came after another one */
} Performance;

static const Performance *on_play;
static unsigned n_failures;

/* ---------------------------------------------------------------------------------------------- telling */

void play_say_where(void)
{
        const Performance *p = on_play;

        if (p)
                printf("# %s, %s at moment %" PRIu64 " (call %" PRIu64 "%s, rip 0x%llx), the next daemon at %" PRIu64
                       "\n",
                       p->play->name,
                       p->moment == UINT64_MAX ? "nobody killed"
                       : p->kills              ? "killed"
                                               : "frozen",
                       p->at, p->victim.call, p->victim.in_call ? ", before it" : "",
                       (unsigned long long)p->victim.regs.rip, p->again);
}

bool play_fail(const char *format, ...)
{
        va_list ap;

        play_say_where();
        fputs("#   ", stdout);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        n_failures++;
        return false;
}

static uint64_t next_random(Run *run)
{
        /* splitmix64 */
        uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

/* ---------------------------------------------------------------------------------------------- looking */

static bool is_alike(const VerifyStats *a, const VerifyStats *b)
{
        return a->clients == b->clients && a->handles == b->handles && a->blocks == b->blocks &&
               a->scratch_bytes == b->scratch_bytes;
}

/* Where a client died in the middle of something, the accounts may be a little off until the next daemon counts anew. After that
 * they must be right: nobody is killed any more who has something to do. */
static bool accounts_are_right(const Performance *p, const VerifyStats *stats)
{
        Totals totals;

        if (!p->adopted)
                return true;
        stage_totals(&p->stage, &totals);
        return totals.clients == stats->clients && totals.handles == stats->handles &&
               totals.scratch_bytes == stats->scratch_bytes;
}

static bool fail_to_settle(const Performance *p, const char *when, uint32_t clients, const VerifyStats *one)
{
        VerifyStats stats;
        Totals totals;

        (void)stage_verify(&p->stage, true, &stats);
        stage_totals(&p->stage, &totals);
        if (p->adopted)
                (void)play_fail("%s: the accounts say %u clients, %" PRIu64 " handles, %" PRIu64 " bytes", when,
                                totals.clients, totals.handles, totals.scratch_bytes);
        return play_fail("%s: %u clients, %" PRIu64 " handles, %" PRIu64 " blocks, %" PRIu64
                         " bytes instead of %u, %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                         when, stats.clients, stats.handles, stats.blocks, stats.scratch_bytes,
                         one ? one->clients : clients, one ? one->handles : 0, one ? one->blocks : 0,
                         one ? one->scratch_bytes : 0);
}

/* Until it is as it was then, or as it was then; at first, until there are so many clients. */
static bool settle(Performance *p, const char *when, uint32_t clients, const VerifyStats *one, const VerifyStats *other,
                   VerifyStats *ret)
{
        double end = stage_now() + STAGE_WAIT_S / 2;
        VerifyStats stats;
        int r;

        for (;;) {
                stage_note_segment(&p->stage);
                r = stage_verify(&p->stage, false, &stats);
                if (r > 0 &&
                    (one ? is_alike(&stats, one) || (other && is_alike(&stats, other)) : stats.clients == clients) &&
                    accounts_are_right(p, &stats))
                        break;
                /* A segment that nobody has need not be. */
                if (r < 0 && clients == 0 && !one)
                        break;
                if (stage_now() > end)
                        return fail_to_settle(p, when, clients, one);
                stage_sleep();
        }
        if (ret)
                *ret = stats;
        return true;
}

/* ---------------------------------------------------------------------------------------------- the beginning */

static bool begin(Performance *p, Reference *ret)
{
        const Play *play = p->play;
        bool restarts = play->cue == CUE_START && !play->empty;

        stage_init(&p->stage);
        if (play->cue != CUE_START || restarts)
                stage_start(&p->stage);
        if (!play->empty) {
                person_start(&p->b, &p->stage);
                if (!person_do(&p->b, deed_attach, "B attaches") || !person_do(&p->b, deed_have, "B begins") ||
                    !person_do(&p->b, deed_check, "B before") ||
                    !settle(p, "before", 1, NULL, NULL, ret ? &ret->before : NULL))
                        return false;
        }
        if (restarts) {
                person_start(&p->c, &p->stage);
                if (!person_do(&p->c, deed_attach, "C attaches") || !person_do(&p->c, deed_hold, "C begins"))
                        return false;
        }
        person_start(&p->a, &p->stage);
        if ((play->attach && !person_do(&p->a, play->attach, "A attaches")) ||
            (play->setup && !person_do(&p->a, play->setup, "A begins")))
                return false;
        if (restarts) {
                stage_kill(&p->stage);
                person_kill(&p->c);
        }
        if (play->before != BEFORE_NOTHING) {
                stage_kill(&p->stage);
                if (play->before == BEFORE_SEGMENT)
                        stage_unname_segment(&p->stage);
                stage_start(&p->stage);
        }
        p->adopted = restarts || play->before != BEFORE_NOTHING;
        return true;
}

static void give_cue(Performance *p)
{
        _cleanup_close_ int go = -1;

        if (p->play->victim == PART_STARTING)
                stage_start_held(&p->stage, &go);
        victim_seize(&p->victim, p->play->victim == PART_CLIENT ? p->a.pid : p->stage.daemon);
        p->victim.counts = p->counts;
        switch (p->play->cue) {
        case CUE_DEED:
                person_tell(&p->a, p->play->deed);
                break;
        case CUE_DEATH:
                person_kill(&p->a);
                break;
        case CUE_START:
                if (write(go, "g", 1) != 1)
                        stage_abort("the daemon cannot be started");
                break;
        case CUE_STOP:
                (void)kill(p->stage.daemon, SIGTERM);
                break;
        }
}

/* ---------------------------------------------------------------------------------------------- the middle */

/* The victim sleeps. Is it because all is done? */
static bool is_done(Performance *p)
{
        VerifyStats stats;

        switch (p->play->cue) {
        case CUE_DEED:
                return person_has_answered(&p->a);
        case CUE_DEATH:
                stage_note_segment(&p->stage);
                return stage_verify(&p->stage, false, &stats) > 0 && stats.clients == 1;
        case CUE_START:
                return victim_waits(&p->victim);
        default:
                return false;
        }
}

/* To the moment, or to the end. */
static bool advance(Performance *p)
{
        double end = stage_now() + (p->counts ? 10 : 1) * STAGE_WAIT_S;

        while (p->at < p->moment) {
                switch (victim_next(&p->victim)) {
                case VICTIM_ENDED:
                        return true;
                case VICTIM_SLEEPS:
                        if (is_done(p))
                                return true;
                        break;
                default:
                        p->at++;
                }
                if (stage_now() > end)
                        return play_fail("it does not come to an end");
        }
        p->reached = true;
        return true;
}

static void note_end(Performance *p)
{
        if (p->victim.pid > 0)
                return;
        if (p->play->victim == PART_CLIENT) {
                (void)close(p->a.to);
                (void)close(p->a.from);
                p->a.pid = 0;
        } else
                p->stage.daemon = 0;
}

static void end_victim(Performance *p)
{
        if (p->kills && p->reached)
                victim_kill(&p->victim);
        else if (p->victim.pid > 0)
                victim_release(&p->victim);
        note_end(p);
        /* Client and daemon at once: nobody reaps before the next one adopts. */
        if (p->play->victim == PART_CLIENT && p->again > 0)
                stage_kill(&p->stage);
        /* One that was asked to leave does. */
        if (p->play->cue == CUE_STOP && p->stage.daemon > 0) {
                double end = stage_now() + STAGE_WAIT_S;

                while (waitpid(p->stage.daemon, NULL, WNOHANG) == 0 && stage_now() < end)
                        stage_sleep();
                p->stage.daemon = 0;
        }
}

/* ---------------------------------------------------------------------------------------------- the end */

/* The next daemon, and one that is killed before. */
static void next_daemon(Performance *p)
{
        Victim v;

        if (p->again > 0) {
                int go;

                stage_start_held(&p->stage, &go);
                victim_seize(&v, p->stage.daemon);
                if (write(go, "g", 1) != 1)
                        stage_abort("the daemon cannot be started");
                (void)close(go);
                for (uint64_t i = 0; i < p->again; i++) {
                        VictimStop stop = victim_next(&v);

                        if (stop == VICTIM_ENDED || (stop == VICTIM_SLEEPS && victim_waits(&v))) {
                                p->next_moments = MAX(i, UINT64_C(1));
                                break;
                        }
                }
                victim_kill(&v);
                p->stage.daemon = 0;
        }
        stage_start(&p->stage);
        p->adopted = true;
}

static bool ask_a(Performance *p, Reference *ret)
{
        const Play *play = p->play;
        bool stays = play->deed != deed_detach && (play->attach || play->deed), good = true;

        if (p->a.pid == 0)
                return true;
        if (play->cue == CUE_DEED && !person_hear(&p->a, "A's deed"))
                return false;
        if (stays && !person_do(&p->a, deed_go_on, "A afterwards"))
                return false;
        /* Where B was not there from the beginning, there may be no segment. */
        if (!play->empty || stays)
                good = settle(p, "with A", (play->empty ? 0 : 1) + (stays ? 1 : 0),
                              p->reference ? &p->reference->with : NULL, NULL, ret ? &ret->with : NULL);
        person_kill(&p->a);
        return good;
}

static bool ask_b(Performance *p, Reference *ret)
{
        const Play *play = p->play;

        if (play->empty) {
                person_start(&p->b, &p->stage);
                if (!person_do(&p->b, deed_attach, "B attaches") || !person_do(&p->b, deed_have, "B begins"))
                        return false;
        }
        /* Nobody else can bring the next daemon a segment without a name: not for its next look, which is due by the clock, do
         * we wait here. */
        if (play->before == BEFORE_SEGMENT && !person_do(&p->b, deed_come_back, "B comes back"))
                return false;
        return person_do(&p->b, deed_check, "B afterwards") &&
               settle(p, "without A", 1, p->reference ? &p->reference->after : NULL,
                      p->reference && !play->empty ? &p->reference->before : NULL, ret ? &ret->after : NULL);
}

static bool nothing_is_left(Performance *p)
{
        static const VerifyStats nothing;

        return person_do(&p->b, deed_detach, "B detaches") && settle(p, "without B", 0, NULL, NULL, NULL) &&
               settle(p, "without anybody", 0, &nothing, NULL, NULL) && stage_stop(&p->stage) &&
               (stage_segment_is_gone(&p->stage) || play_fail("the segment is still there"));
}

static bool end_well(Performance *p, Reference *ret)
{
        if (p->stage.daemon == 0)
                next_daemon(p);
        return ask_a(p, ret) && ask_b(p, ret) && nothing_is_left(p);
}

static bool perform(Performance *p, Reference *ret)
{
        bool good;

        on_play = p;
        (void)alarm(WATCHDOG_S);
        good = begin(p, ret);
        if (good) {
                give_cue(p);
                good = advance(p);
                stage_note_segment(&p->stage);
                if (p->play->victim != PART_CLIENT && p->victim.pid > 0)
                        stage_note_opened(&p->stage, p->victim.pid);
                /* It stands there, and others go on. */
                if (good && p->b.pid > 0)
                        good = person_do(&p->b, deed_check, "B meanwhile");
                end_victim(p);
        }
        if (ret) {
                ret->moments = p->at;
                ret->instructions = p->victim.instructions;
        }
        good = good && end_well(p, ret);
        person_kill(&p->a);
        person_kill(&p->b);
        person_kill(&p->c);
        stage_done(&p->stage, !good);
        on_play = NULL;
        return good;
}

/* ---------------------------------------------------------------------------------------------- all of it */

static void say_counts(const Counts *c)
{
        if (c->instructions > 0)
                printf("%" PRIu64 " instructions, ", c->instructions);
        printf("%" PRIu64 " moments; killed at %" PRIu64 ", and the next daemon at %" PRIu64 "; frozen at %" PRIu64,
               c->moments, c->kills, c->again, c->freezes);
}

static void say_progress(Run *run, const Play *play, const Counts *c)
{
        if (!run->progress || stage_now() - run->told < PROGRESS_S)
                return;
        run->told = stage_now();
        printf("# %s: ", play->name);
        say_counts(c);
        putchar('\n');
        fflush(stdout);
}

/* again: moment of the next daemon, or 0 */
static bool perform_at(Run *run, const Play *play, const Reference *reference, uint64_t moment, bool kills,
                       uint64_t again, Counts *c)
{
        Performance p = { .play = play, .reference = reference, .moment = moment, .kills = kills, .again = again };
        bool good;

        if (kills)
                c->kills++;
        else
                c->freezes++;
        c->again += again > 0;
        say_progress(run, play, c);
        good = perform(&p, NULL);
        if (p.next_moments > 0)
                run->next_moments = p.next_moments;
        return good;
}

/* n moments of all, one from each n-th part. */
static bool perform_sample(Run *run, const Play *play, const Reference *reference, unsigned n, bool kills, Counts *c)
{
        bool good = true;

        for (unsigned i = 0; i < n; i++) {
                uint64_t from = reference->moments * i / n, to = reference->moments * (i + 1) / n, again = 0;
                uint64_t moment = from + next_random(run) % MAX(to - from, UINT64_C(1));

                if (kills && next_random(run) % SAMPLE_AGAIN == 0)
                        again = 1 + next_random(run) % AGAIN_MOMENTS;
                good = perform_at(run, play, reference, moment, kills, again, c) && good;
        }
        return good;
}

/* The i-th moment at which the next daemon is killed. They are spread evenly, however many there will be: multiples of the golden
 * section. A few lie beyond the end, so that it is seen where that is. */
static uint64_t spread_again(const Run *run, uint64_t i)
{
        double at = (double)(i + 1) * 0.6180339887498949;

        at -= (double)(uint64_t)at;
        return 1 + (uint64_t)(at * ((double)run->next_moments * 1.05 + 2));
}

/* To kill the next daemon at each of its moments, after each first death, would take weeks. After each it is killed at one of them
 * at least, and in each play at about a third of them, which are others in each. */
static bool perform_again(Run *run, const Play *play, const Reference *reference, uint64_t moment, uint64_t *n,
                          Counts *c)
{
        uint64_t times = 1 + run->next_moments / (3 * (reference->moments + 1));
        bool good = true;

        if (run->again >= 0)
                return run->again == 0 || perform_at(run, play, reference, moment, true, (uint64_t)run->again, c);
        for (uint64_t i = 0; i < times; i++)
                good = perform_at(run, play, reference, moment, true, spread_again(run, (*n)++), c) && good;
        return good;
}

static bool perform_all(Run *run, const Play *play, const Reference *reference, Counts *c)
{
        uint64_t n_again = run->number * AGAIN_MOMENTS; /* not the same in each play */
        bool good = true;

        for (uint64_t i = 0; i <= reference->moments; i++) {
                if (run->moment >= 0 && i != (uint64_t)run->moment)
                        continue;
                good = perform_at(run, play, reference, i, true, 0, c) && good;
                good = perform_again(run, play, reference, i, &n_again, c) && good;
                good = perform_at(run, play, reference, i, false, 0, c) && good;
        }
        return good;
}

static void play_it(Run *run, const Play *play)
{
        Performance p = { .play = play, .moment = UINT64_MAX, .counts = run->all };
        double before = stage_now();
        Reference reference = {};
        Counts c = {};
        bool good;

        run->hurry = run->budget > 0 && before - run->began > run->budget * run->number / run->total;
        run->hurried += run->hurry;
        run->next_moments = AGAIN_MOMENTS;
        run->random = run->seed + run->number * UINT64_C(0xd1342543de82ef95);
        good = perform(&p, &reference);
        c.moments = reference.moments;
        c.instructions = reference.instructions;
        if (good && (run->all || run->moment >= 0))
                good = perform_all(run, play, &reference, &c);
        else if (good) {
                good = perform_sample(run, play, &reference, run->hurry ? SAMPLE_HURRY : SAMPLE_KILLS, true, &c);
                good = perform_sample(run, play, &reference, run->hurry ? SAMPLE_HURRY : SAMPLE_FREEZES, false, &c) &&
                       good;
        }

        printf("%sok %u - %s: ", good ? "" : "not ", ++run->number, play->name);
        say_counts(&c);
        if (run->time)
                printf("; %.2f s", stage_now() - before);
        putchar('\n');
        fflush(stdout);
        run->failed = run->failed || !good;
        run->sum.instructions += c.instructions;
        run->sum.moments += c.moments;
        run->sum.kills += c.kills;
        run->sum.again += c.again;
        run->sum.freezes += c.freezes;
}

static _Noreturn void usage(const char *name)
{
        fprintf(stderr,
                "usage: %s [--all] [--seed N] [--play PATTERN] [--moment N] [--again N] [--list] [--time]"
                " [--budget SECONDS]\n"
                "MONO_HANDLE_TEST_DAEMON is the daemon.\n",
                name);
        exit(2);
}

static void list(void)
{
        for (unsigned i = 0; i < n_plays; i++)
                puts(plays[i].name);
        exit(0);
}

static void parse(Run *run, int argc, char **argv)
{
        static const struct option options[] = {
                { "all", no_argument, NULL, 'a' },
                { "seed", required_argument, NULL, 's' },
                { "play", required_argument, NULL, 'p' },
                { "moment", required_argument, NULL, 'm' },
                { "list", no_argument, NULL, 'l' },
                { "time", no_argument, NULL, 't' },
                { "budget", required_argument, NULL, 'b' },
                { "again", required_argument, NULL, 'g' },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'a':
                        run->all = run->progress = true;
                        break;
                case 's':
                        run->seed = strtoull(optarg, NULL, 0);
                        break;
                case 'p':
                        run->pattern = optarg;
                        break;
                case 'm':
                        run->moment = strtoll(optarg, NULL, 0);
                        break;
                case 'g':
                        run->again = strtoll(optarg, NULL, 0);
                        break;
                case 'l':
                        list();
                        break;
                case 't':
                        run->time = true;
                        break;
                case 'b':
                        run->budget = strtod(optarg, NULL);
                        break;
                default:
                        usage(argv[0]);
                }
        if (optind < argc || !getenv("MONO_HANDLE_TEST_DAEMON"))
                usage(argv[0]);
}

static bool is_wanted(const Run *run, const Play *play)
{
        return !run->pattern || fnmatch(run->pattern, play->name, 0) == 0;
}

static void on_alarm(int sig)
{
        (void)sig;
        stage_abort("nothing happens any more");
}

int main(int argc, char **argv)
{
        Run run = { .seed = 1, .moment = -1, .again = -1, .began = stage_now() };

        (void)getrandom(&run.seed, sizeof(run.seed), 0);
        parse(&run, argc, argv);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGALRM, on_alarm);
        for (unsigned i = 0; i < n_plays; i++)
                run.total += is_wanted(&run, &plays[i]);
        printf("1..%u\n", run.total);
        if (!run.all)
                printf("# a sample: --seed 0x%llx\n", (unsigned long long)run.seed);
        fflush(stdout);
        for (unsigned i = 0; i < n_plays; i++)
                if (is_wanted(&run, &plays[i]))
                        play_it(&run, &plays[i]);
        fputs("# in all: ", stdout);
        say_counts(&run.sum);
        printf("; %.0f s\n", stage_now() - run.began);
        if (run.hurried > 0)
                printf("# the machine is slow: of %u plays only some of the sample\n", run.hurried);
        return run.failed;
}
