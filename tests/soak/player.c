/* SPDX-License-Identifier: MIT */

/*
 * A client of the soak: does one random thing after the other, and knows of each what must come of it.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/client.h"
#include "lib/deadline.h"
#include "soak/board.h"
#include "soak/pattern.h"

#define AGAIN_MAX    1000U /* times in a row that a close may say that others keep the handle busy */
#define BURST        1500U
#define BURST_BLOCKS 300U

Board *board;

static mh_client *client;
static unsigned me;
static int board_fd;

typedef struct Thread {
        ThreadBoard *notes;
        uint64_t random;
        pthread_t id;
} Thread;

typedef struct Operation {
        const char *name;
        unsigned weight;
        bool alone; /* not where other threads use the same client */
        bool maps;  /* not where it does not map the segment */
        void (*run)(Thread *t);
} Operation;

/* ------------------------------------------------------------------------------------------------ complaints */

static _printf_(2, 3) _Noreturn void complain(const Thread *t, const char *format, ...)
{
        const Player *p = &board->player[me];
        char text[256];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void)fprintf(stderr, "soak: client %u (id %llu, process %d, %s, thread %u of %llu), %s: %s\n", me,
                      (unsigned long long)p->id, (int)getpid(), p->no_map ? "asks the daemon" : "maps",
                      t ? (unsigned)(t->notes - p->thread) : 0, (unsigned long long)p->threads,
                      t ? operation_name(t->notes->operation) : "beginning", text);
        store_sc(&board->failed, 1);
        store_sc(&board->player[me].doomed, 1);
        _exit(1);
}

static void expect(const Thread *t, int r, int wanted, const char *what, uint64_t number)
{
        if (r != wanted)
                complain(t, "%s of %#llx: %d (%s) instead of %d", what, (unsigned long long)number, r,
                         r < 0 ? strerror(-r) : "success", wanted);
}

static void check_no_map(const Thread *t, int r, const char *what, uint64_t number)
{
        expect(t, r, board->player[me].no_map ? -ENOMEM : 0, what, number);
}

static unsigned below(Thread *t, unsigned n)
{
        return (unsigned)(random_next(&t->random) % n);
}

/* ------------------------------------------------------------------------------------------------ handles */

static Held *find_held(Thread *t, mh_handle h)
{
        for (unsigned i = 0; i < HELD_MAX; i++)
                if (t->notes->held[i].count > 0 && t->notes->held[i].handle == h)
                        return &t->notes->held[i];
        return NULL;
}

static Held *free_held(Thread *t)
{
        for (unsigned i = 0, at = below(t, HELD_MAX); i < HELD_MAX; i++)
                if (t->notes->held[(at + i) % HELD_MAX].count == 0)
                        return &t->notes->held[(at + i) % HELD_MAX];
        return NULL;
}

static Held *any_held(Thread *t)
{
        for (unsigned i = 0, at = below(t, HELD_MAX); i < HELD_MAX; i++)
                if (t->notes->held[(at + i) % HELD_MAX].count > 0)
                        return &t->notes->held[(at + i) % HELD_MAX];
        return NULL;
}

/* Of handles whose maker maps the segment. The words in between are for blocks that were given to the handle. */
enum {
        PAYLOAD_MARK = 0,
        PAYLOAD_GIVEN = 1,
        PAYLOAD_END = 5,
        PAYLOAD_TYPE = 7
};

static void check_payload(Thread *t, mh_handle h, int type, bool marked)
{
        void *data = NULL;
        uint64_t *word;

        check_no_map(t, mh_payload(client, h, &data, NULL), "payload", h);
        if (!data)
                return;
        word = data;
        if (load_relaxed(&word[PAYLOAD_MARK]) != (marked ? mix(h) : 0) ||
            load_relaxed(&word[PAYLOAD_END]) != (marked ? mix(h + 1) : 0) ||
            (marked && type > 0 && load_relaxed(&word[PAYLOAD_TYPE]) != (uint64_t)type))
                complain(t, "the payload of %#llx is another one's", (unsigned long long)h);
}

static void do_new(Thread *t)
{
        bool no_map = board->player[me].no_map != 0;
        int type = 64 + (int)below(t, 192);
        Held *held = free_held(t);
        void *data = NULL;
        mh_handle h;

        if (!held)
                return;
        expect(t, mh_new(client, type, &h), 0, "new", (uint64_t)type);
        held->handle = h;
        held->count = 1;
        check_no_map(t, mh_payload(client, h, &data, NULL), "payload", h);
        if (data) {
                uint64_t *word = data;

                for (unsigned i = 0; i < MH_PAYLOAD_SIZE / 8; i++)
                        if (word[i] != 0)
                                complain(t, "the payload of the new handle %#llx is not zero", (unsigned long long)h);
                word[PAYLOAD_MARK] = mix(h);
                word[PAYLOAD_END] = mix(h + 1);
                word[PAYLOAD_TYPE] = (uint64_t)type;
        }
        if (below(t, 3) > 0)
                store_sc(&board->pool[no_map][below(t, POOL_SIZE)], h);
}

static void close_one(Thread *t, Held *held);

static void do_open(Thread *t)
{
        unsigned kind = below(t, 2);
        mh_handle h = load_sc(&board->pool[kind][below(t, POOL_SIZE)]);
        Held *held = find_held(t, h), spare = {};
        int r, type = -1;

        if (!h)
                return;
        r = mh_open(client, h, &type);
        if (r == -ESTALE && !held) {
                (void)fetch_add_relaxed(&board->stale, 1);
                return;
        }
        expect(t, r, 0, "open", h);
        if (!held)
                held = free_held(t) ?: &spare;
        held->handle = h;
        held->count++;
        check_payload(t, h, type, kind == 0);
        if (held == &spare)
                close_one(t, held);
}

static void do_reopen(Thread *t)
{
        Held *held = any_held(t);

        if (!held)
                return;
        expect(t, mh_open(client, held->handle, NULL), 0, "open of a held handle", held->handle);
        held->count++;
}

/* Others may keep it busy, but not for ever. */
static int close_at_last(Thread *t, mh_handle h, unsigned *ret_flags)
{
        int r = mh_close(client, h, ret_flags);

        for (unsigned i = 0; r == -EAGAIN && i < AGAIN_MAX; i++) {
                (void)fetch_add_relaxed(&board->again, 1); /* a count */
                r = mh_close(client, h, ret_flags);
        }
        return r;
}

static void close_one(Thread *t, Held *held)
{
        bool alone = board->player[me].threads == 1;
        mh_handle h = held->handle;
        unsigned flags = 77;
        int r;

        expect(t, close_at_last(t, h, &flags), 0, "close", h);
        held->count--;
        if (flags > 3 || (flags & MH_CLOSED_EVERYWHERE && !(flags & MH_CLOSED_HERE)) ||
            (alone && !(flags & MH_CLOSED_HERE) != (held->count > 0)))
                complain(t, "close of %#llx: flags %#x with %llu references left", (unsigned long long)h, flags,
                         (unsigned long long)held->count);
        if (flags & MH_CLOSED_EVERYWHERE)
                expect(t, mh_open(client, h, NULL), -ESTALE, "open of one that is gone", h);
        else if (alone && flags && below(t, 8) == 0) {
                r = mh_close(client, h, NULL);
                if (r != -EBADF && r != -ESTALE)
                        complain(t, "one close too many of %#llx: %d", (unsigned long long)h, r);
        }
}

static void do_close(Thread *t)
{
        Held *held = any_held(t);

        if (held)
                close_one(t, held);
}

/* Many at once: tables grow, and give their memory back. */
static void do_burst(Thread *t)
{
        static __thread mh_handle handles[BURST];
        unsigned n = 1 + below(t, BURST);

        for (unsigned i = 0; i < n; i++)
                expect(t, mh_new(client, 1, &handles[i]), 0, "new", i);
        for (unsigned i = 0; i < n; i++) {
                unsigned flags = 77;

                expect(t, close_at_last(t, handles[i], &flags), 0, "close", handles[i]);
                expect(t, (int)flags, 3, "flags of close", handles[i]);
        }
}

/* ------------------------------------------------------------------------------------------------ scratch */

static uint64_t any_size(Thread *t)
{
        switch (below(t, 64)) {
        case 0:
                return 32769 + below(t, 400000);
        case 1:
        case 2:
                return 1 + below(t, 32768);
        case 3 ... 12:
                return 1 + below(t, 4096);
        default:
                return 1 + below(t, 256);
        }
}

static Block *any_block(Thread *t, enum block_state a, enum block_state b)
{
        for (unsigned i = 0, at = below(t, BLOCKS_MAX); i < BLOCKS_MAX; i++) {
                Block *block = &t->notes->blocks[(at + i) % BLOCKS_MAX];
                enum block_state state = block_state(load_sc(&block->state));

                if (state == a || state == b)
                        return block;
        }
        return NULL;
}

static void do_alloc(Thread *t)
{
        Block *b = any_block(t, BLOCK_NONE, BLOCK_DONE);
        uint64_t life = load_sc(&board->player[me].life), size = any_size(t);
        size_t got = 0;
        void *data = NULL;
        mh_scratch s;

        if (!b)
                return;
        expect(t, mh_scratch_alloc(client, size, &s), 0, "scratch", size);
        check_no_map(t, mh_scratch_data(client, s, &data, &got), "data", s);
        if (data) {
                if (got < size)
                        complain(t, "%zu bytes instead of %llu", got, (unsigned long long)size);
                pattern_fill(s, data, size);
        }
        b->index = s;
        b->size = size;
        b->filled = data != NULL;
        store_sc(&b->state, block_word(below(t, 3) == 0 ? BLOCK_OFFERED : BLOCK_OWN, me, life));
}

/* Does that client still live, in this life? In this order, because a new life begins before it is not doomed any more. */
static bool lives(const Player *p, uint64_t life)
{
        return !load_sc(&p->doomed) && load_sc(&p->life) == life;
}

static void check_block(Thread *t, const Block *b, const Player *owner, uint64_t life)
{
        mh_scratch s = b->index;
        uint64_t size = b->size, at;
        void *data = NULL;

        if (!b->filled || board->player[me].no_map)
                return;
        if (mh_scratch_data(client, s, &data, NULL) < 0)
                return;
        at = pattern_spoiled_at(s, data, size);
        if (at != UINT64_MAX && lives(owner, life))
                complain(t, "block %#llx of %llu bytes was overwritten at %llu", (unsigned long long)s,
                         (unsigned long long)size, (unsigned long long)at);
}

static void check_own_block(Thread *t, const Block *b)
{
        check_block(t, b, &board->player[me], load_sc(&board->player[me].life));
}

/* Somebody else may take it at the same time. */
static void free_block(Thread *t, Block *b)
{
        uint64_t word = load_sc(&b->state);
        enum block_state state = block_state(word);
        int r;

        if (state == BLOCK_DONE || state == BLOCK_NONE) {
                store_sc(&b->state, 0);
                return;
        }
        if (state == BLOCK_OFFERED && !cas_sc(&b->state, &word, block_word(BLOCK_OWN, me, 0)))
                return;
        if (state == BLOCK_TAKEN)
                return;
        if (state != BLOCK_ORPHANED)
                check_own_block(t, b);
        r = mh_scratch_free(client, b->index);
        if (state != BLOCK_ORPHANED || r != -ESTALE)
                expect(t, r, 0, "free", b->index);
        if (below(t, 16) == 0)
                expect(t, mh_scratch_free(client, b->index), -ESTALE, "a second free", b->index);
        store_sc(&b->state, 0);
}

static void do_free(Thread *t)
{
        free_block(t, &t->notes->blocks[below(t, BLOCKS_MAX)]);
}

static void do_take(Thread *t)
{
        Player *from = &board->player[below(t, (unsigned)board->n_players)];
        Block *b = &from->thread[below(t, (unsigned)MAX(from->threads, UINT64_C(1)))].blocks[below(t, BLOCKS_MAX)];
        uint64_t word = load_sc(&b->state), life = word >> 24;
        int r;

        if (block_state(word) != BLOCK_OFFERED ||
            !cas_sc(&b->state, &word, block_word(BLOCK_TAKEN, me, load_sc(&board->player[me].life))))
                return;
        /* It is the other's for as long as that one lives. */
        check_block(t, b, from, life);
        r = mh_scratch_free(client, b->index);
        if (r != -ESTALE || lives(from, life))
                expect(t, r, 0, "free of another's block", b->index);
        store_sc(&b->state, block_word(BLOCK_DONE, me, 0));
}

static void do_burst_of_blocks(Thread *t)
{
        static __thread mh_scratch blocks[BURST_BLOCKS];
        unsigned n = 1 + below(t, BURST_BLOCKS);

        for (unsigned i = 0; i < n; i++)
                expect(t, mh_scratch_alloc(client, any_size(t), &blocks[i]), 0, "scratch", i);
        for (unsigned i = n; i > 0; i--) {
                unsigned k = below(t, i);

                expect(t, mh_scratch_free(client, blocks[k]), 0, "free", blocks[k]);
                blocks[k] = blocks[i - 1];
        }
}

/* ------------------------------------------------------------------------------------------------ giving */

static void do_give(Thread *t)
{
        Block *b = any_block(t, BLOCK_OWN, BLOCK_OWN);
        Held *held = any_held(t);
        void *data = NULL;
        int r;

        if (!b || !held)
                return;
        r = mh_scratch_give(client, b->index, held->handle);
        if (r == -ENOSPC)
                return;
        expect(t, r, 0, "give", b->index);
        expect(t, mh_scratch_free(client, b->index), -EBUSY, "free of a given block", b->index);
        check_own_block(t, b);
        store_sc(&b->state, 0);
        if (!b->filled || b->size < sizeof(uint64_t))
                return;
        expect(t, mh_payload(client, held->handle, &data, NULL), 0, "payload", held->handle);
        for (unsigned i = PAYLOAD_GIVEN; i < PAYLOAD_END; i++) {
                uint64_t none = 0;

                if (cas_sc(&((uint64_t *)data)[i], &none, b->index))
                        break;
        }
}

/* Whoever holds the handle finds there what was given to it. */
static void do_look(Thread *t)
{
        Held *held = any_held(t);
        void *data = NULL;
        uint64_t *word;

        if (!held)
                return;
        expect(t, mh_payload(client, held->handle, &data, NULL), 0, "payload", held->handle);
        word = data;
        for (unsigned i = PAYLOAD_GIVEN; i < PAYLOAD_END; i++) {
                mh_scratch s = load_sc(&word[i]);
                size_t size;

                if (!s)
                        continue;
                expect(t, mh_scratch_data(client, s, &data, &size), 0, "data of a given block", s);
                if (pattern_spoiled_at(s, data, sizeof(uint64_t)) == 0)
                        complain(t, "block %#llx, given to %#llx, was overwritten", (unsigned long long)s,
                                 (unsigned long long)held->handle);
                expect(t, mh_scratch_free(client, s), -EBUSY, "free of a given block", s);
        }
}

/* ------------------------------------------------------------------------------------------------ nonsense */

static void do_nonsense(Thread *t)
{
        uint64_t number = random_next(&t->random) | 1;
        int r = mh_close(client, number, NULL);

        if (r != -ESTALE && r != -EBADF)
                complain(t, "close of nonsense %#llx: %d", (unsigned long long)number, r);
        expect(t, mh_open(client, number, NULL), -ESTALE, "open of nonsense", number);
        expect(t, mh_scratch_free(client, number), -ESTALE, "free of nonsense", number);
        r = mh_scratch_give(client, number, number);
        if (r != -ESTALE && r != -EBADF)
                complain(t, "give of nonsense %#llx: %d", (unsigned long long)number, r);
        expect(t, mh_new(client, 300, &number), -EINVAL, "new of nonsense", 300);
}

/* ------------------------------------------------------------------------------------------------ processes */

/* No call gives up: whether anybody waits for good is found out by who judges, and a machine may be stopped for a while. */
static int attach_patiently(mh_client **ret, uint64_t flags)
{
        uint64_t begin;
        int r;

        do {
                begin = deadline_now();
                r = mh_attach(ret, NULL, flags);
        } while (r == -ENOTCONN && deadline_now() - begin > 30 * DEADLINE_SECOND);
        if (r == 0)
                (*ret)->patience = 36000 * DEADLINE_SECOND;
        return r;
}

static int attach(void)
{
        return attach_patiently(&client, board->player[me].no_map ? MH_ATTACH_NO_MAP : 0);
}

static _Noreturn void in_child(Thread *t, pid_t parent)
{
        uint64_t flags = below(t, 4) == 0 ? MH_ATTACH_NO_MAP : 0;
        mh_client *mine = NULL;
        unsigned what = below(t, 4);
        mh_scratch s;
        mh_handle h = 1;
        int r;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(0);
        expect(t, mh_new(client, 1, &h), -ECHILD, "new in the child", 0);
        expect(t, mh_scratch_alloc(client, 16, &s), -ECHILD, "scratch in the child", 0);
        expect(t, mh_open(client, h, NULL), -ECHILD, "open in the child", 0);
        if (what == 0)
                client = mh_detach(client);
        if (what == 1) {
                (void)execl("/bin/true", "true", NULL);
                _exit(0);
        }
        if (what >= 2) {
                expect(t, attach_patiently(&mine, flags), 0, "attach in the child", flags);
                expect(t, mh_new(mine, 1, &h), 0, "new in the child", 0);
                expect(t, mh_scratch_alloc(mine, 16 + below(t, 70000), &s), 0, "scratch in the child", 0);
                for (unsigned i = 0; i < 10; i++) {
                        h = load_sc(&board->pool[0][below(t, POOL_SIZE)]);
                        r = h ? mh_open(mine, h, NULL) : 0;
                        if (r != -ESTALE)
                                expect(t, r, 0, "open in the child", h);
                }
        }
        if (what == 2)
                mine = mh_detach(mine);
        _exit(0);
}

static void do_fork(Thread *t)
{
        pid_t parent = getpid(), pid = fork();
        int status;

        if (pid < 0)
                complain(t, "fork: %s", strerror(errno));
        if (pid == 0)
                in_child(t, parent);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        complain(t, "waitpid: %s", strerror(errno));
        if (status != 0)
                complain(t, "its child ended with %#x", (unsigned)status);
        (void)fetch_add_relaxed(&board->forks, 1);
}

/* The same process, another program: all that it held is nobody's. */
static void do_exec(Thread *t)
{
        char number[16], fd[16];
        char *argv[] = { (char *)(uintptr_t) "soak", (char *)(uintptr_t) "--player", number, fd, NULL };

        (void)snprintf(number, sizeof(number), "%u", me);
        (void)snprintf(fd, sizeof(fd), "%d", board_fd);
        (void)fetch_add_relaxed(&board->execs, 1);
        store_sc(&board->player[me].doomed, 1);
        (void)fcntl(board_fd, F_SETFD, 0);
        (void)execv("/proc/self/exe", argv);
        complain(t, "exec: %s", strerror(errno));
}

static void do_attach_anew(Thread *t)
{
        store_sc(&board->player[me].doomed, 1);
        client = mh_detach(client);
        player_forget(me);
        expect(t, attach(), 0, "attach", 0);
        store_sc(&board->player[me].id, (uint64_t)mh_client_id(client));
        (void)fetch_add_relaxed(&board->attachments, 1);
}

static void do_closefrom(Thread *t)
{
        (void)syscall(SYS_close_range, 3U, (unsigned)board_fd - 1, 0U);
        (void)syscall(SYS_close_range, (unsigned)board_fd + 1, ~0U, 0U);
        (void)fetch_add_relaxed(&board->closefroms, 1);
}

static void play(Thread *t, unsigned n, bool errand);

static void *on_errand(void *thread)
{
        play(thread, 200, true);
        return NULL;
}

static bool make_thread(Thread *t, pthread_t *ret, void *(*fn)(void *))
{
        int r = pthread_create(ret, NULL, fn, t);

        /* Another thread executes something in this instant, and there will be no other threads. */
        if (r == EAGAIN && load_sc(&board->player[me].doomed))
                return false;
        if (r != 0)
                complain(t, "no thread can be made: %s", strerror(r));
        return true;
}

/* Threads come and go. */
static void do_thread(Thread *t)
{
        pthread_t id;

        if (!make_thread(t, &id, on_errand))
                return;
        (void)pthread_join(id, NULL);
        (void)fetch_add_relaxed(&board->threads, 1);
}

/* ------------------------------------------------------------------------------------------------ playing */

/* Those of low weight come last: an errand does none of them. */
static const Operation operations[] = {
        { .name = "new", .weight = 6000, .run = do_new },
        { .name = "open", .weight = 9000, .run = do_open },
        { .name = "open again", .weight = 4000, .run = do_reopen },
        { .name = "close", .weight = 15000, .run = do_close },
        { .name = "scratch", .weight = 9000, .run = do_alloc },
        { .name = "free", .weight = 9000, .run = do_free },
        { .name = "free another's", .weight = 8000, .run = do_take },
        { .name = "give", .weight = 1500, .run = do_give },
        { .name = "look at what was given", .weight = 1500, .maps = true, .run = do_look },
        { .name = "nonsense", .weight = 600, .run = do_nonsense },
        { .name = "many handles", .weight = 15, .run = do_burst },
        { .name = "many blocks", .weight = 15, .run = do_burst_of_blocks },
        { .name = "thread", .weight = 20, .run = do_thread },
        { .name = "fork", .weight = 12, .run = do_fork },
        { .name = "exec", .weight = 2, .run = do_exec },
        { .name = "attach anew", .weight = 8, .alone = true, .run = do_attach_anew },
        { .name = "closefrom", .weight = 8, .maps = true, .run = do_closefrom },
};

#define ERRAND_OPERATIONS 10U

const char *operation_name(uint64_t number)
{
        return number < ELEMENTSOF(operations) ? operations[number].name : "nothing";
}

static unsigned choose(Thread *t, bool errand)
{
        unsigned n = errand ? ERRAND_OPERATIONS : ELEMENTSOF(operations), sum = 0, at;
        const Player *p = &board->player[me];

        for (unsigned i = 0; i < n; i++)
                sum += operations[i].weight;
        at = below(t, sum);
        for (unsigned i = 0; i < n; i++) {
                if (at < operations[i].weight)
                        return (operations[i].alone && p->threads > 1) || (operations[i].maps && p->no_map) ? 0 : i;
                at -= operations[i].weight;
        }
        return 0;
}

static void stop_for(Thread *t, uint64_t round)
{
        if (load_relaxed(&t->notes->stopped) == round)
                return;
        store_sc(&t->notes->stopped, round);
        while (load_sc(&board->resume) < round)
                deadline_sleep(deadline_in(DEADLINE_SECOND / 1000));
}

static void play(Thread *t, unsigned n, bool errand)
{
        while (n-- > 0) {
                uint64_t begin = deadline_now(), took;
                unsigned i = choose(t, errand);

                store_relaxed(&t->notes->operation, i);
                operations[i].run(t);
                took = deadline_now() - begin;
                store_relaxed(&t->notes->operations, t->notes->operations + 1);
                if (took > t->notes->longest) {
                        t->notes->longest = took;
                        t->notes->longest_who = i;
                }
                if (below(t, 300) == 0)
                        deadline_sleep(deadline_in(below(t, 1500)));
        }
}

static void put_down_everything(Thread *t)
{
        for (unsigned i = 0; i < HELD_MAX; i++)
                while (t->notes->held[i].count > 0)
                        close_one(t, &t->notes->held[i]);
        for (unsigned i = 0; i < BLOCKS_MAX; i++)
                while (load_sc(&t->notes->blocks[i].state) != 0) {
                        free_block(t, &t->notes->blocks[i]);
                        cpu_relax();
                }
}

static void *run_thread(void *thread)
{
        Thread *t = thread;

        while (!load_sc(&board->leave)) {
                uint64_t round = load_sc(&board->pause);

                if (round > load_sc(&board->resume))
                        stop_for(t, round);
                play(t, 20, false);
        }
        put_down_everything(t);
        return NULL;
}

void player_forget(unsigned number)
{
        Player *p = &board->player[number];
        uint64_t life = load_sc(&p->life);

        /* What it was about to free. */
        for (unsigned i = 0; i < board->n_players; i++)
                for (unsigned j = 0; j < THREADS_MAX; j++)
                        for (unsigned k = 0; k < BLOCKS_MAX; k++) {
                                uint64_t *state = &board->player[i].thread[j].blocks[k].state;
                                uint64_t word = block_word(BLOCK_TAKEN, number, life);

                                (void)cas_sc(state, &word, block_word(BLOCK_ORPHANED, 0, 0));
                        }
        /* What it had. Of what others are about to free they will say that they did. */
        for (unsigned j = 0; j < THREADS_MAX; j++) {
                ThreadBoard *t = &p->thread[j];

                memset(t->held, 0, sizeof(t->held));
                for (unsigned k = 0; k < BLOCKS_MAX; k++) {
                        uint64_t word = load_sc(&t->blocks[k].state);

                        while (block_state(word) != BLOCK_TAKEN && !cas_sc(&t->blocks[k].state, &word, 0))
                                ;
                }
        }
        store_sc(&p->life, life + 1);
        store_sc(&p->doomed, 0);
}

_Noreturn void player_run(unsigned number, int fd)
{
        static Thread threads[THREADS_MAX];
        Player *p = &board->player[number];
        uint64_t seed;
        int r;

        me = number;
        board_fd = fd;
        /* Of a life before, in which one thread came to a stop and another one executed something meanwhile. */
        for (unsigned i = 0; i < THREADS_MAX; i++)
                store_sc(&p->thread[i].stopped, 0);
        player_forget(number);
        seed = mix(p->seed ^ p->life << 32);
        r = attach();
        if (r < 0)
                complain(NULL, "attach: %s", strerror(-r));
        store_sc(&p->id, (uint64_t)mh_client_id(client));

        for (unsigned i = 0; i < p->threads; i++) {
                threads[i] = (Thread){ .notes = &p->thread[i], .random = mix(seed + i) };
                if (i > 0 && !make_thread(&threads[i], &threads[i].id, run_thread))
                        break;
        }
        (void)run_thread(&threads[0]);
        for (unsigned i = 1; i < p->threads; i++)
                (void)pthread_join(threads[i].id, NULL);
        /* From here on nobody must believe that it owns something. */
        store_sc(&p->doomed, 1);
        client = mh_detach(client);
        _exit(0);
}
