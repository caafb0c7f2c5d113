/* SPDX-License-Identifier: MIT */

/* How one operation is explored.
 *
 * The operation is run by the Machine, one instruction at a time. After k instructions everything stands still, and
 * the state of the world is saved. Then one thing after the other is tried from there, and the world is put back each
 * time:
 *
 *   nobody else does anything, and A dies                      its client is reaped
 *   nobody else does anything, and the daemon dies             the next one adopts, and is asked again
 *   the same, and the one who cleans up dies as well           at each of his instructions; another one cleans up
 *   B does something, and then A goes on to its end            it was only slow
 *   B does something, and then A or the daemon dies            as above
 *
 * What is right is not written down for each of these. It is computed: B's operation and A's come one after the other
 * in some order, or A's did not happen at all, if A died in it; each of these sequences is run for itself, from the
 * same beginning and without interruption. What came of the interrupted one must be what came of one of them, and
 * this includes the results, what each client holds, what is in the payloads and blocks, and how much there is in
 * all. On top of that verify_segment() must find nothing, before and after, and when everybody has gone there must be
 * nothing left at all.
 *
 * Two things make it possible to do this at each instruction. That a process was killed can be seen in the segment
 * only: where the segment has not changed since the last instruction, killing would show nothing new. And where the
 * next instruction does not touch the segment, it comes to the same whether something happens before or after it. So
 * what is done at those points that remain covers all. (In a loop over hundreds of words, some of the passes do.) A
 * process is really killed, by SIGKILL, at some points, to see that this is the same. */

#include "crash/explore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crash/check.h"
#include "crash/fail.h"
#include "crash/sample.h"
#include "shm/client.h"
#include "shm/verify.h"

/* Of a sample, for each scenario: so many at least, see sample.h. */
#define SAMPLE_KILLS   2U
#define SAMPLE_FREEZES 2U
#define SAMPLE_WRITES  1U
#define SAMPLE_REAL    12U   /* one of so many points of death */
#define SAMPLE_AGAIN   8U    /* the same */
#define SAMPLE_AGAIN_2 10U   /* and then at one of so many points of that */
#define SAMPLE_FAR     5000U /* instructions; it takes long to get there again */

#define PROGRESS_S 10.0

/* Of an instruction in a loop, the first passes count, and then some more. */
#define LOOP_FIRST 8U
#define LOOP_EVERY 61U
#define LOOPS_MAX  4096U

#define STEPS_MAX  1000000U
#define OTHERS_MAX 12U
#define WAYS_MAX   8U

typedef enum Ending {
        END_GO_ON,     /* it was only slow */
        END_DIE,       /* the client is dead */
        END_ADOPT,     /* the daemon is dead; the next one is asked again */
        END_ADOPT_DIE, /* both are dead */
        END_COUNT,
} Ending;

typedef struct Final {
        Result a, b;
        Abstract abstract;
} Final;

/* What may come of it. */
typedef struct Ways {
        bool known;
        unsigned n;
        Final final[WAYS_MAX];
} Ways;

/* How often an instruction came by; in a table of them, hashed. */
typedef struct Pass {
        uint64_t rip;
        unsigned n;
} Pass;

typedef struct Explorer {
        World *w;
        const Scenario *scenario;
        Mode mode;
        const Options *options;
        Counts *counts;
        uint64_t seed, random;
        double told; /* when progress was last said */

        bool somebody_is_dead;                     /* at the beginning */
        Job others[OTHERS_MAX];                    /* the first is nothing */
        unsigned n_others, n_own_others;           /* the last are the scenario's own */
        Ways living[OTHERS_MAX], dead[OTHERS_MAX]; /* is A alive at the end? */

        /* Between what somebody has looked at and what he then writes there is one point, and many others around it: so
         * these, where he is about to write, have a sample of their own. */
        Sample kills, freezes, writes;
        Pass passes[LOOPS_MAX], inner_passes[LOOPS_MAX];

        Snapshot start, last, here, inner, inner_last;
        MachineState *here_machine, *inner_machine;
        uint64_t point; /* where `here` is */
} Explorer;

/* ---------------------------------------------------------------------------------------------- chance */

static uint64_t next_random(Explorer *x)
{
        /* splitmix64 */
        uint64_t z = x->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

/* One of so many; all of them where everything is done. */
static bool chance(Explorer *x, uint64_t of)
{
        return x->options->all || x->options->point >= 0 || next_random(x) % of == 0;
}

static bool is_worth(Explorer *x, Pass *passes)
{
        uint64_t rip = x->w->machine.regs.rip;
        Pass *p = &passes[rip * UINT64_C(0x9e3779b97f4a7c15) >> 52];

        if (p->rip != rip)
                *p = (Pass){ .rip = rip };
        p->n++;
        return p->n <= LOOP_FIRST || p->n % LOOP_EVERY == 0;
}

/* ---------------------------------------------------------------------------------------------- the world */

static void save_here(Explorer *x)
{
        memory_save(&x->w->memory, &x->here);
        machine_save(&x->w->machine, x->here_machine);
}

static void back_here(Explorer *x)
{
        memory_restore(&x->w->memory, &x->here);
        machine_restore(&x->w->machine, x->here_machine);
}

static void begin_call(Explorer *x, const Job *job)
{
        x->w->shared->job = *job;
        machine_call(&x->w->machine, job_run_shared, x->w->shared);
}

/* ---------------------------------------------------------------------------------------------- endings */

static void kill_a(World *w)
{
        if (w->shared->id[WHO_A] && client_state(&w->shared->seg, w->shared->id[WHO_A]) == MH_SHM_CLIENT_ATTACHED)
                world_kill(w, WHO_A);
}

static bool adopt(World *w)
{
        Job job = { .op = OP_ADOPT };

        world_run(w, &job);
        if (job.result < 0)
                return fail("adopting: %s", strerror(-job.result));
        return check_adopted(w);
}

/* The new daemon is asked again, and then once more: it must not do it twice. */
static bool ask_again(World *w, Job *a)
{
        Job again;

        world_run(w, a);
        if (!a->wire)
                return true;
        again = *a;
        world_run(w, &again);
        if (again.result != a->result || again.flags != a->flags || again.value[0] != a->value[0] ||
            again.value[1] != a->value[1])
                return fail("asked once more, the answer is another one");
        return true;
}

static bool end_it(Explorer *x, Ending ending, Job *a)
{
        World *w = x->w;
        bool good = true;

        switch (ending) {
        case END_GO_ON:
                machine_finish(&w->machine);
                *a = w->shared->job;
                break;
        case END_DIE:
                kill_a(w);
                where.what = "A is dead";
                good = check_verify(w, VERIFY_AT_REST);
                where.what = "A dies";
                break;
        case END_ADOPT:
                good = adopt(w);
                good = ask_again(w, a) && good;
                break;
        case END_ADOPT_DIE:
                kill_a(w);
                good = adopt(w);
                break;
        default:
                break;
        }
        return good;
}

static bool is_dead_at(Ending ending)
{
        return ending == END_DIE || ending == END_ADOPT_DIE;
}

/* ---------------------------------------------------------------------------------------------- what may come of it */

/* `order` is such as "ab": who does his part, one after the other, uninterrupted. c: the dead are reaped. */
static void run_way(Explorer *x, const Job *other, const char *order, bool die, Final *ret)
{
        World *w = x->w;
        Job a = w->job, b = *other, c = { .op = OP_ADOPT };
        const char *what = where.what;

        where.what = order;
        memory_restore(&w->memory, &x->start);
        for (const char *p = order; *p; p++)
                world_run(w, *p == 'a' ? &a : *p == 'b' ? &b : &c);
        memset(ret, 0, sizeof(*ret));
        if (die)
                kill_a(w);
        (void)check_settle(w, &ret->abstract);
        if (!die)
                ret->a = check_result(w, &a);
        if (strchr(order, 'b'))
                ret->b = check_result(w, &b);
        (void)check_drain(w, &ret->abstract);
        where.what = what;
}

/* When a daemon adopts, it reaps whoever was dead already, before it is asked again. */
static bool reaps_others(const Explorer *x)
{
        return job_is_daemons(&x->w->job) && x->somebody_is_dead;
}

/* The world is another one afterwards. */
static const Ways *ways(Explorer *x, unsigned other, bool die)
{
        static const char *const living[] = { "ab", "ba", "cab", "bca", "cba", NULL };
        static const char *const living_alone[] = { "a", "ca", NULL };
        static const char *const dead[] = { "b", "ab", "ba", NULL };
        static const char *const dead_alone[] = { "", "a", NULL };
        const char *const *orders = die ? (other ? dead : dead_alone) : (other ? living : living_alone);
        Ways *ret = die ? &x->dead[other] : &x->living[other];

        if (ret->known)
                return ret;
        ret->known = true;
        for (; *orders; orders++)
                if (!strchr(*orders, 'c') || reaps_others(x))
                        run_way(x, &x->others[other], *orders, die, &ret->final[ret->n++]);
        return ret;
}

static void explain(const Ways *w, const Final *is)
{
        for (unsigned i = 0; i < w->n; i++) {
                const Final *f = &w->final[i];

                printf("#   way %u: A %d/%x/%u instead of %d/%x/%u, B %d/%x/%u instead of %d/%x/%u\n", i, is->a.result,
                       is->a.flags, is->a.object, f->a.result, f->a.flags, f->a.object, is->b.result, is->b.flags,
                       is->b.object, f->b.result, f->b.flags, f->b.object);
                check_explain(&is->abstract, &f->abstract);
        }
}

/* What is known to be different, and accepted. */
static bool is_accepted(const World *w, const Job *b, Ending ending, const Final *is, const Final *way)
{
        const Job *a = &w->job;
        Final as_if = *is;

        /* Two free the same block, and the daemon dies in between: the next one cannot tell whose free it was that it
         * finds done. A double free is an error of the clients, and one of them may not be told of it. */
        if (ending == END_ADOPT && a->op == OP_FREE && b->op == OP_FREE && a->arg[0] == b->arg[0])
                as_if.a = way->a;
        /* The only chunk with room is being opened, or closed, by one who is frozen: nobody can have it meanwhile. */
        if (w->last_hole && b->op == OP_NEW && is->b.result == -ENOSPC && way->b.result == 0) {
                as_if.b = way->b;
                as_if.abstract.handles++;
        }
        /* What one gives back because it is short of memory, another one may get who is quicker. */
        if (w->full && a->op == OP_ALLOC && b->op == OP_ALLOC && is->b.result == 0 && way->b.result == -ENOSPC &&
            (is_dead_at(ending) || is->a.result == -ENOSPC)) {
                as_if.a = way->a;
                as_if.b = way->b;
                as_if.abstract.blocks = way->abstract.blocks;
                as_if.abstract.bytes = way->abstract.bytes;
        }
        return memcmp(&as_if, way, sizeof(as_if)) == 0;
}

static bool is_one_of(Explorer *x, unsigned other, Ending ending, const Final *is)
{
        const Ways *w = ways(x, other, is_dead_at(ending));
        unsigned before = fail_count();

        for (unsigned i = 0; i < w->n; i++)
                if (is_accepted(x->w, &x->others[other], ending, is, &w->final[i]))
                        return true;
        fail("this cannot come of any sequence");
        if (before < 3)
                explain(w, is);
        return false;
}

/* ---------------------------------------------------------------------------------------------- one try */

static bool conclude(Explorer *x, unsigned other, Ending ending, const Job *a, const Job *b)
{
        bool die = is_dead_at(ending), good;
        Final is;

        memset(&is, 0, sizeof(is));
        good = check_settle(x->w, &is.abstract);
        if (!die)
                is.a = check_result(x->w, a);
        if (other)
                is.b = check_result(x->w, b);
        good = check_drain(x->w, &is.abstract) && good;
        return is_one_of(x, other, ending, &is) && good;
}

/* Here, B does something, and then it ends in one way. Comes back to here. */
static bool try_ending(Explorer *x, unsigned other, Ending ending)
{
        static const char *const names[END_COUNT] = { "A goes on", "A dies", "the daemon dies",
                                                      "A and the daemon die" };
        Job a = x->w->job, b = x->others[other];
        bool good;

        where.what = names[ending];
        where.other = other ? job_name(b.op) : NULL;
        if (other)
                world_run(x->w, &b);
        good = end_it(x, ending, &a);
        good = conclude(x, other, ending, &a, &b) && good;
        back_here(x);
        where.what = where.other = NULL;
        return good;
}

/* Which of them there are, for this job. */
static bool ending_applies(const Explorer *x, Ending ending)
{
        const Job *job = &x->w->job;

        switch (ending) {
        case END_GO_ON:
                return true;
        case END_DIE:
                return !job_is_daemons(job);
        case END_ADOPT:
                return job_is_daemons(job);
        default:
                return job->wire;
        }
}

/* ---------------------------------------------------------------------------------------------- the second death */

/* At a point of the recovery. */
static bool die_again(Explorer *x, Ending ending)
{
        Job a = x->w->job;
        bool good;

        memory_save(&x->w->memory, &x->inner);
        machine_save(&x->w->machine, x->inner_machine);
        x->counts->again++;
        good = adopt(x->w);
        if (ending == END_ADOPT)
                good = ask_again(x->w, &a) && good;
        good = conclude(x, 0, ending, &a, NULL) && good;
        memory_restore(&x->w->memory, &x->inner);
        machine_restore(&x->w->machine, x->inner_machine);
        return good;
}

/* Here the first one has died; whoever cleans up is killed in turn. Comes back to here. */
static bool try_again(Explorer *x, Ending ending)
{
        World *w = x->w;
        Job adopt_job = { .op = OP_ADOPT };
        uint64_t outer = where.point, steps = 0;
        bool good = true;

        where.what = is_dead_at(ending) ? "A dies, and then the daemon" : "the daemon dies, and then the next one";
        if (is_dead_at(ending))
                kill_a(w);
        begin_call(x, &adopt_job);
        machine_watch(&w->machine, w->shared->seg.base, w->shared->seg.total_size, true);
        memory_save(&w->memory, &x->inner_last);
        memset(x->inner_passes, 0, sizeof(x->inner_passes));
        while (steps++ < STEPS_MAX && machine_run(&w->machine) != MACHINE_DONE) {
                if (!memory_differs(&w->memory, &x->inner_last))
                        continue;
                memory_save(&w->memory, &x->inner_last);
                if (!is_worth(x, x->inner_passes) || !chance(x, SAMPLE_AGAIN_2))
                        continue;
                fail_alive();
                good = die_again(x, ending) && good;
        }
        where.point = outer;
        where.what = NULL;
        machine_watch(&w->machine, NULL, 0, false);
        back_here(x);
        return good;
}

/* ---------------------------------------------------------------------------------------------- a real death */

/* Another process goes the same way, and is killed by SIGKILL where this one stands: the segment is the same. */
static bool try_real(Explorer *x, uint64_t point)
{
        World *w = x->w;
        Machine other;
        bool good = true;

        where.what = "really killed";
        memory_restore(&w->memory, &x->start);
        if (machine_start(&other, w->stack) < 0)
                fail_hard("a second process cannot be traced");
        other.on_syscall = w->machine.on_syscall;
        other.userdata = w;
        w->shared->job = w->job;
        machine_call(&other, job_run_shared, w->shared);
        for (uint64_t i = 0; i < point; i++)
                if (!machine_step_over(&other))
                        good = fail("it was at its end after %llu instructions", (unsigned long long)i);
        machine_kill(&other);
        x->counts->real++;
        if (memory_differs(&w->memory, &x->here))
                good = fail("the segment differs from that of the process that was not killed");
        back_here(x);
        where.what = NULL;
        return good;
}

/* ---------------------------------------------------------------------------------------------- one point */

static bool wants_real(Explorer *x)
{
        if (x->options->all)
                return x->point % 16 == 0 && x->point < SAMPLE_FAR;
        return x->point < SAMPLE_FAR && chance(x, SAMPLE_REAL);
}

/* What a thread among others leaves is what one that is alone leaves, who is tried in full. */
static bool wants_again(Explorer *x)
{
        if (x->options->all && x->mode == MODE_CROWD)
                return next_random(x) % SAMPLE_AGAIN == 0;
        return chance(x, SAMPLE_AGAIN);
}

static bool try_kills(Explorer *x)
{
        bool good = true;

        x->counts->kills++;
        where.what = "at this moment";
        good = check_verify(x->w, 0);
        for (unsigned e = END_DIE; e < END_COUNT; e++) {
                if (!ending_applies(x, (Ending)e))
                        continue;
                good = try_ending(x, 0, (Ending)e) && good;
                if (wants_again(x))
                        good = try_again(x, (Ending)e) && good;
        }
        if (wants_real(x))
                good = try_real(x, x->point) && good;
        return good;
}

static bool try_freeze(Explorer *x, unsigned other, bool changed)
{
        bool good = true;

        x->counts->freezes++;
        for (unsigned e = 0; e < END_COUNT; e++)
                if (ending_applies(x, (Ending)e) && (e == END_GO_ON || changed))
                        good = try_ending(x, other, (Ending)e) && good;
        return good;
}

static bool try_freezes(Explorer *x, bool changed)
{
        bool good = true;

        for (unsigned i = 1; i < x->n_others; i++)
                if (!x->options->other || strcmp(x->options->other, job_name(x->others[i].op)) == 0)
                        good = try_freeze(x, i, changed) && good;
        return good;
}

/* ---------------------------------------------------------------------------------------------- a sample of them */

/* From here on chance depends on nothing but the seed and the point: who does only some of the stops does the same there. */
static void go_to(Explorer *x, const Stop *stop)
{
        x->random = x->seed + stop->point * UINT64_C(0xd1342543de82ef95);
        memory_restore(&x->w->memory, &stop->memory);
        machine_restore(&x->w->machine, stop->machine);
        x->point = where.point = stop->point;
        save_here(x);
        fail_alive();
}

/* What the scenario has in mind is done by every other one. */
static unsigned draw_other(Explorer *x)
{
        unsigned own = x->n_own_others, first = 1;

        if (own > 0 && next_random(x) % 2)
                first = x->n_others - own;
        return first + (unsigned)(next_random(x) % (x->n_others - first));
}

static bool try_samples(Explorer *x)
{
        unsigned kills = sample_end(&x->kills, x->options->hurry), freezes = sample_end(&x->freezes, x->options->hurry);
        unsigned writes = sample_end(&x->writes, x->options->hurry);
        bool good = true;

        machine_watch(&x->w->machine, NULL, 0, false);
        for (unsigned i = 0; i < kills; i++) {
                go_to(x, &x->kills.stop[i]);
                good = try_kills(x) && good;
        }
        for (unsigned i = 0; i < freezes && x->n_others > 1; i++) {
                go_to(x, &x->freezes.stop[i]);
                good = try_freeze(x, draw_other(x), true) && good;
        }
        for (unsigned i = 0; i < writes && x->n_others > 1; i++) {
                go_to(x, &x->writes.stop[i]);
                good = try_freeze(x, draw_other(x), true) && good;
        }
        return good;
}

/* ---------------------------------------------------------------------------------------------- all points */

static void say_progress(Explorer *x)
{
        const Counts *c = x->counts;

        if (!x->options->progress || fail_now() - x->told < PROGRESS_S)
                return;
        x->told = fail_now();
        printf("# %s, %s: at instruction %" PRIu64 "; killed at %" PRIu64 ", twice at %" PRIu64 "; frozen at %" PRIu64
               "\n",
               x->scenario->name, mode_name(x->mode), x->point, c->kills, c->again, c->freezes);
        fflush(stdout);
}

/* `changed`: for those who kill. `touches`: for those who are quick. */
static bool at_point(Explorer *x, bool changed, bool touches)
{
        const Options *o = x->options;
        bool good = true;

        where.point = x->point;
        where.rip = x->w->machine.regs.rip;
        where.what = NULL;
        touches = touches && is_worth(x, x->passes);
        if (o->point < 0 && !o->all) {
                if (changed)
                        sample_offer(&x->kills, x->w, x->point, next_random(x), true);
                if (touches) {
                        sample_offer(&x->freezes, x->w, x->point, next_random(x), changed);
                        sample_maybe(&x->writes, x->w, x->point, next_random(x), changed);
                }
                return true;
        }
        if ((!changed && !touches) || (o->point >= 0 && x->point != (uint64_t)o->point))
                return true;
        fail_alive();
        say_progress(x);
        save_here(x);
        machine_watch(&x->w->machine, NULL, 0, false);
        if (changed && !o->other)
                good = try_kills(x);
        if (touches)
                good = try_freezes(x, true) && good;
        machine_watch(&x->w->machine, x->w->shared->seg.base, x->w->shared->seg.total_size, false);
        x->w->machine.pending = touches;
        return good;
}

/* After an instruction that touched the segment. */
static bool look(Explorer *x)
{
        World *w = x->w;
        long pages = memory_check(&w->memory);

        if (pages != 0) {
                memory_forgive(&w->memory);
                fail("%ld pages are there that nobody reserved", pages);
        }
        if (!memory_differs(&w->memory, &x->last)) {
                sample_settle(&x->writes, false);
                return pages == 0;
        }
        sample_settle(&x->writes, true);
        memory_save(&w->memory, &x->last);
        x->counts->states++;
        return at_point(x, true, false) && pages == 0;
}

static bool walk(Explorer *x)
{
        World *w = x->w;
        bool good;

        begin_call(x, &w->job);
        memory_save(&w->memory, &x->last);
        machine_watch(&w->machine, w->shared->seg.base, w->shared->seg.total_size, false);
        x->counts->states = 1;
        good = at_point(x, true, false);
        while (x->point < STEPS_MAX) {
                where.point = x->point;
                where.what = "on the way";
                switch (machine_step(&w->machine)) {
                case MACHINE_DONE:
                        x->counts->instructions = x->point;
                        /* To be late is to be slow, too. */
                        return at_point(x, false, true) && good;
                case MACHINE_TOUCHES:
                        x->counts->touches++;
                        good = at_point(x, false, true) && good;
                        break;
                case MACHINE_TOUCHED:
                        x->point++;
                        good = look(x) && good;
                        break;
                case MACHINE_RAN:
                        x->point++;
                        break;
                }
        }
        return fail("it does not come to an end");
}

/* ---------------------------------------------------------------------------------------------- what others do */

static void add_other(Explorer *x, Who who, Op op, uint64_t arg0, uint64_t arg1)
{
        if (x->n_others >= OTHERS_MAX)
                fail_hard("too many others");
        x->others[x->n_others++] = world_job(x->w, who, op, arg0, arg1);
}

static void collect_others(Explorer *x)
{
        World *w = x->w;

        add_other(x, WHO_B, OP_NONE, 0, 0);
        if (w->n_handles > 0) {
                add_other(x, WHO_B, OP_OPEN, w->handle[0], 0);
                add_other(x, WHO_B, OP_CLOSE, w->handle[0], 0);
                if (w->own)
                        add_other(x, WHO_B, OP_GIVE, w->own, w->handle[0]);
        }
        if (w->n_blocks > 0)
                add_other(x, WHO_B, OP_FREE, w->block[0], 0);
        add_other(x, WHO_B, OP_NEW, 2, 0);
        add_other(x, WHO_B, OP_ALLOC, w->job.op == OP_ALLOC ? w->job.arg[0] : 64, 0);
        add_other(x, WHO_B, OP_ALLOC, 2 * MH_SHM_SPAN_SIZE, 0);
        if (!job_is_daemons(&w->job))
                add_other(x, WHO_B, OP_TRIM, 0, 0);
        /* There is one daemon, and while it is frozen nobody is reaped. */
        for (unsigned i = 0; i < w->n_others; i++)
                if (!job_is_daemons(&w->job) || !job_is_daemons(&w->others[i])) {
                        x->others[x->n_others++] = w->others[i];
                        x->n_own_others++;
                }
}

/* ---------------------------------------------------------------------------------------------- */

static void done(Explorer *x)
{
        snapshot_done(&x->start, &x->w->memory);
        snapshot_done(&x->last, &x->w->memory);
        snapshot_done(&x->here, &x->w->memory);
        snapshot_done(&x->inner, &x->w->memory);
        snapshot_done(&x->inner_last, &x->w->memory);
        sample_done(&x->kills, &x->w->memory);
        sample_done(&x->freezes, &x->w->memory);
        sample_done(&x->writes, &x->w->memory);
        free(x->here_machine);
        free(x->inner_machine);
}

static uint64_t seed_of(uint64_t seed, const char *name, Mode mode)
{
        for (; *name; name++)
                seed = (seed ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
        return seed + mode;
}

bool explore(World *w, const Scenario *scenario, Mode mode, const Options *options, Counts *ret)
{
        static Explorer x;
        bool good;

        x = (Explorer){
                .w = w,
                .scenario = scenario,
                .mode = mode,
                .options = options,
                .counts = ret,
                .seed = seed_of(options->seed, scenario->name, mode),
                .random = seed_of(options->seed, scenario->name, mode),
                .told = fail_now(),
                .kills = { .least = SAMPLE_KILLS, .every = 1 },
                .freezes = { .least = SAMPLE_FREEZES, .every = 3 },
                .writes = { .least = SAMPLE_WRITES, .every = 1 },
                .here_machine = malloc(sizeof(MachineState)),
                .inner_machine = malloc(sizeof(MachineState)),
        };

        if (!x.here_machine || !x.inner_machine)
                fail_hard("out of memory");
        *ret = (Counts){};
        fail_reset();
        fail_alive();
        where = (Where){
                .scenario = scenario->name,
                .mode = mode_name(mode),
        };
        snapshot_init(&x.start, &w->memory);
        snapshot_init(&x.last, &w->memory);
        snapshot_init(&x.here, &w->memory);
        snapshot_init(&x.inner, &w->memory);
        snapshot_init(&x.inner_last, &w->memory);

        where.what = "at the beginning";
        world_reset(w);
        w->wire = mode == MODE_WIRE;
        w->keep = mode == MODE_KEEP;
        w->library = mode == MODE_LIBRARY || mode == MODE_CROWD;
        w->crowd = mode == MODE_CROWD;
        scenario->setup(w);
        collect_others(&x);
        for (uint32_t id = 1; id < client_end(&w->shared->seg); id++)
                if (client_state(&w->shared->seg, id) == MH_SHM_CLIENT_DEAD)
                        x.somebody_is_dead = true;
        memory_save(&w->memory, &x.start);
        good = check_verify(w, VERIFY_AT_REST);
        good = walk(&x) && good;
        good = try_samples(&x) && good;
        done(&x);
        return good && fail_count() == 0;
}
