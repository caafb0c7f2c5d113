/* SPDX-License-Identifier: MIT */

/*
 * Many clients at full load: "storm CLIENTS", half of which ask the daemon for everything. Each knows what it holds and what
 * each call must tell. On its standard input it is told when to come to a stop ("stop"), and when to close everything and
 * to end ("leave"); to each it answers with one line:
 *
 *   ok CLIENTS HANDLES BLOCKS OPERATIONS LONGEST
 *
 * where LONGEST is that of the longest operation in microseconds. What fails is told on standard error, and the answer is "error".
 *
 * "storm hold FD" attaches, takes a handle and a block, writes a byte to FD, and stays.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <monohandle.h>

#define CLIENTS_MAX 200U
#define HELD        12U
#define SHARED      6U

typedef struct Told {
        uint64_t handles, blocks, operations, longest;
} Told;

typedef struct Board {
        unsigned stop, leave;
        unsigned stopped, failed;
        mh_handle shared[SHARED];
        Told told[CLIENTS_MAX];
} Board;

typedef struct Thing {
        mh_handle handle;
        unsigned count;
        mh_scratch block;
        size_t size;
} Thing;

static Board *board;
static mh_client *client;
static bool maps;

static uint64_t now(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void nap(void)
{
        (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static _Noreturn void failed(const char *what, int r)
{
        (void)fprintf(stderr, "# storm, process %d, %s: %s: %d (%s)\n", (int)getpid(), maps ? "maps" : "asks", what, r,
                      r < 0 ? strerror(-r) : "");
        (void)__atomic_fetch_add(&board->failed, 1, __ATOMIC_SEQ_CST);
        _exit(1);
}

/* Each call, and how long it took. */
#define CALL(told, call)                                 \
        ({                                               \
                uint64_t call_begin = now();             \
                int call_r = (call);                     \
                uint64_t call_took = now() - call_begin; \
                (told)->operations++;                    \
                if (call_took > (told)->longest)         \
                        (told)->longest = call_took;     \
                call_r;                                  \
        })

static void must(const char *what, int r)
{
        if (r != 0)
                failed(what, r);
}

static void close_thing(Told *told, Thing *t)
{
        unsigned flags = 77;

        must("close", CALL(told, mh_close(client, t->handle, &flags)));
        t->count--;
        if (flags != (t->count == 0 ? MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE : 0U))
                failed("flags of close", (int)flags);
}

static void free_thing(Told *told, Thing *t)
{
        void *data;

        if (maps) {
                must("data", mh_scratch_data(client, t->block, &data, NULL));
                if (memcmp(data, &t->block, sizeof(t->block)) != 0)
                        failed("a block was overwritten", 0);
        }
        must("free", CALL(told, mh_scratch_free(client, t->block)));
        t->block = 0;
}

static void alloc_thing(Told *told, Thing *t, long n)
{
        void *data;

        t->size = 8 + (size_t)n % 3000;
        must("scratch", CALL(told, mh_scratch_alloc(client, t->size, &t->block)));
        if (maps) {
                must("data", mh_scratch_data(client, t->block, &data, NULL));
                memcpy(data, &t->block, sizeof(t->block));
        }
}

/* What all others hold, too. */
static void visit(Told *told, mh_handle h)
{
        unsigned flags = 77;
        int type = 0, r;

        must("open", CALL(told, mh_open(client, h, &type)));
        if (type != MH_TYPE_MUTEX)
                failed("type", type);
        do
                r = CALL(told, mh_close(client, h, &flags));
        while (r == -EAGAIN);
        must("close", r);
        if (flags != MH_CLOSED_HERE)
                failed("flags of close of a shared one", (int)flags);
}

static void step(Told *told, Thing *t, long n)
{
        if (n % 8 == 7)
                visit(told, board->shared[(unsigned long)n / 8 % SHARED]);
        else if (n % 8 == 6) {
                if (t->count > 0)
                        close_thing(told, t);
        } else if (n % 8 >= 4) {
                if (t->count == 0)
                        must("new", CALL(told, mh_new(client, MH_TYPE_EVENT, &t->handle)));
                else
                        must("open", CALL(told, mh_open(client, t->handle, NULL)));
                t->count++;
                if (t->count > 3)
                        close_thing(told, t);
        } else if (t->block)
                free_thing(told, t);
        else
                alloc_thing(told, t, n / 8);
}

static _Noreturn void work(unsigned number)
{
        unsigned short seed[3] = { (unsigned short)number, 1, 2 };
        Told *told = &board->told[number];
        Thing things[HELD] = {};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        maps = number % 2 == 0;
        must("attach", mh_attach(&client, NULL, maps ? 0 : MH_ATTACH_NO_MAP));
        while (!__atomic_load_n(&board->stop, __ATOMIC_SEQ_CST))
                step(told, &things[nrand48(seed) % HELD], nrand48(seed));
        for (unsigned i = 0; i < HELD; i++) {
                told->handles += things[i].count > 0;
                told->blocks += things[i].block != 0;
        }
        (void)__atomic_fetch_add(&board->stopped, 1, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&board->leave, __ATOMIC_SEQ_CST))
                nap();
        for (unsigned i = 0; i < HELD; i++) {
                while (things[i].count > 0)
                        close_thing(told, &things[i]);
                if (things[i].block)
                        free_thing(told, &things[i]);
        }
        client = mh_detach(client);
        _exit(0);
}

static void answer(unsigned n)
{
        Told sum = { .handles = SHARED };

        for (unsigned i = 0; i < n; i++) {
                sum.handles += board->told[i].handles;
                sum.blocks += board->told[i].blocks;
                sum.operations += board->told[i].operations;
                if (board->told[i].longest > sum.longest)
                        sum.longest = board->told[i].longest;
        }
        printf("%s %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", board->failed ? "error" : "ok", n + 1,
               sum.handles, sum.blocks, sum.operations, sum.longest);
}

static int storm(unsigned n)
{
        char line[64];
        bool good = true;
        int status;

        maps = true;
        must("attach", mh_attach(&client, NULL, 0));
        for (unsigned i = 0; i < SHARED; i++)
                must("new", mh_new(client, MH_TYPE_MUTEX, &board->shared[i]));
        for (unsigned i = 0; i < n; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        failed("fork", -errno);
                if (pid == 0)
                        work(i);
        }
        printf("ok\n");

        /* Whatever it is told, or if nobody is there any more to tell it. */
        (void)fgets(line, sizeof(line), stdin);
        __atomic_store_n(&board->stop, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&board->stopped, __ATOMIC_SEQ_CST) + __atomic_load_n(&board->failed, __ATOMIC_SEQ_CST) <
               n)
                nap();
        answer(n);

        (void)fgets(line, sizeof(line), stdin);
        __atomic_store_n(&board->leave, 1, __ATOMIC_SEQ_CST);
        while (wait(&status) > 0)
                good = good && status == 0;
        for (unsigned i = 0; i < SHARED; i++) {
                unsigned flags = 77;

                must("close", mh_close(client, board->shared[i], &flags));
                if (flags != (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE))
                        failed("flags of the last close", (int)flags);
        }
        client = mh_detach(client);
        answer(n);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int hold(int fd)
{
        mh_handle h;
        mh_scratch s;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        must("attach", mh_attach(&client, NULL, 0));
        must("new", mh_new(client, MH_TYPE_EVENT, &h));
        must("scratch", mh_scratch_alloc(client, 100, &s));
        if (write(fd, "x", 1) != 1)
                return EXIT_FAILURE;
        for (;;)
                (void)pause();
}

int main(int argc, char *argv[])
{
        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED)
                return EXIT_FAILURE;
        if (argc == 3 && strcmp(argv[1], "hold") == 0)
                return hold(atoi(argv[2]));
        if (argc != 2 || atoi(argv[1]) < 1 || atoi(argv[1]) > (int)CLIENTS_MAX)
                return 2;
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        return storm((unsigned)atoi(argv[1]));
}
