/* SPDX-License-Identifier: MIT */

#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "pass.h"
#include "stage.h"

#define N_MAX 1000000U

typedef struct Report {
        uint64_t begin, end;
        uint64_t _pad[6];
} Report;

/* Shared with workers that are processes. */
typedef struct Board {
        pthread_barrier_t start, done;
        unsigned n;
        bool ours, over;
        Report reports[CREW_MAX] __attribute__((aligned(64)));
} Board;

typedef struct Worker {
        Crew *crew;
        unsigned i;
        pthread_t thread;
        StageChild child;
} Worker;

struct Crew {
        CrewPlan plan;
        Board *board;
        Worker workers[CREW_MAX];
};

static void work(Crew *crew, unsigned i)
{
        Board *board = crew->board;
        void *ours, *peer;

        stage_pin(0, i);
        crew->plan.prepare(crew->plan.plan, i, &ours, &peer);
        for (;;) {
                (void)pthread_barrier_wait(&board->start);
                if (board->over)
                        return;
                board->reports[i].begin = now_nsec();
                (board->ours ? crew->plan.ours : crew->plan.peer)(board->ours ? ours : peer, board->n);
                board->reports[i].end = now_nsec();
                (void)pthread_barrier_wait(&board->done);
        }
}

static void *as_thread(void *ctx)
{
        const Worker *worker = ctx;

        work(worker->crew, worker->i);
        return NULL;
}

static void as_process(int fd, void *ctx)
{
        (void)as_thread(ctx);
}

static void init_barrier(pthread_barrier_t *barrier, unsigned n)
{
        pthread_barrierattr_t attr;

        CHECK(-pthread_barrierattr_init(&attr), "pthread_barrierattr_init");
        CHECK(-pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), "PTHREAD_PROCESS_SHARED");
        CHECK(-pthread_barrier_init(barrier, &attr, n), "pthread_barrier_init");
}

Crew *crew_new(const CrewPlan *plan)
{
        Crew *crew = calloc(1, sizeof(*crew));

        if (!crew)
                die("out of memory");
        crew->plan = *plan;
        crew->board = stage_shared(sizeof(*crew->board));
        init_barrier(&crew->board->start, plan->n + 1);
        init_barrier(&crew->board->done, plan->n + 1);
        for (unsigned i = 0; i < plan->n; i++) {
                Worker *worker = &crew->workers[i];

                worker->crew = crew;
                worker->i = i;
                if (plan->processes)
                        stage_child_start(&worker->child, as_process, worker);
                else
                        CHECK(-pthread_create(&worker->thread, NULL, as_thread, worker), "pthread_create");
        }
        return crew;
}

Crew *crew_free(Crew *crew)
{
        crew->board->over = true;
        (void)pthread_barrier_wait(&crew->board->start);
        for (unsigned i = 0; i < crew->plan.n; i++)
                if (crew->plan.processes)
                        stage_child_kill(&crew->workers[i].child);
                else
                        (void)pthread_join(crew->workers[i].thread, NULL);
        (void)munmap(crew->board, sizeof(*crew->board));
        free(crew);
        return NULL;
}

static uint64_t turn(Crew *crew, bool ours, unsigned n)
{
        Board *board = crew->board;
        uint64_t begin = UINT64_MAX, end = 0;

        board->ours = ours;
        board->n = n;
        (void)pthread_barrier_wait(&board->start);
        (void)pthread_barrier_wait(&board->done);
        for (unsigned i = 0; i < crew->plan.n; i++) {
                if (board->reports[i].begin < begin)
                        begin = board->reports[i].begin;
                if (board->reports[i].end > end)
                        end = board->reports[i].end;
        }
        return end - begin;
}

/* Of two tries, as in measure.c. */
static uint64_t best_turn(Crew *crew, bool ours, unsigned n)
{
        uint64_t a = turn(crew, ours, n), b = turn(crew, ours, n);

        return MIN(a, b);
}

static unsigned fit(Crew *crew, bool ours, uint64_t nsec)
{
        unsigned n = 1;
        uint64_t took;

        while ((took = best_turn(crew, ours, n)) < nsec / 2 && n < N_MAX)
                n *= 2;
        if (took > nsec)
                n = (unsigned)((double)n * (double)nsec / (double)took);
        return n > 0 ? n : 1;
}

void crew_measure(Crew *crew, const char *key)
{
        unsigned n = crew->plan.n, busy = n < stage_cores() ? n : stage_cores(), n_ours, n_peer;
        unsigned rounds = the_pass.rounds / 8 + 1;

        if (!pass_wants(key))
                return;
        pass_begin(key);
        n_ours = fit(crew, true, the_pass.slice_nsec * 20);
        n_peer = fit(crew, false, the_pass.slice_nsec * 20);
        for (unsigned i = 0; i < rounds; i++) {
                double a, b;

                if (i % 2 == 0) {
                        a = (double)turn(crew, true, n_ours);
                        b = (double)turn(crew, false, n_peer);
                } else {
                        b = (double)turn(crew, false, n_peer);
                        a = (double)turn(crew, true, n_ours);
                }
                pass_sample(key, a * busy / n / n_ours, b * busy / n / n_peer);
        }
}
