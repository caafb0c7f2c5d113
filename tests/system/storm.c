/* SPDX-License-Identifier: MIT */

/*
 * Many clients at full load: "storm CLIENTS", half of which ask the daemon for everything. Each knows what it holds and what
 * each call must tell. On its standard input it is told when to come to a stop ("stop"), and when to close everything and
 * to end ("leave"); to each it answers with one line:
 *
 *   ok CLIENTS HANDLES BLOCKS OPERATIONS OUTAGES OUTAGE ASKED WORKED PAUSE AGAIN
 *
 * The times are in microseconds: the longest outage; how long an operation that asks the daemon took at most, not counting
 * when there was no daemon; how long one of a client that maps the segment took at most; and for how long the machine
 * let somebody wait who wanted nothing but to run. What an operation itself waited for a processor does not count, and in one
 * that asks, nor does it what the daemon waited for one, where the kernel tells it. AGAIN is how often an operation said that
 * others kept it busy.
 *
 * What fails is told on standard error, and the answer is "error". That is also when an operation was blocked by anything but
 * an outage and the machine; see allowed().
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <monohandle.h>

#include "proto/wire.h"
#include "tools/starve.h"

#define CLIENTS_MAX 200U
#define HELD        12U
#define SHARED      6U
#define PASSED      16U
#define CONTROLS    2U
#define OUTAGES_MAX 4096U
#define STARVED_MAX 65536U
#define AGAIN_MAX   1000U  /* in a row */
#define NAP         5000U  /* microseconds */
#define LONG        20000U /* microseconds: an operation whose time is looked into */
#define SHORT       1000U  /* microseconds */

/*
 * An operation of a client that maps the segment looks after the connection now and then, and waits for nobody longer than this.
 * One that asks waits so long before it tries again to connect.
 */
#define LOOK_PATIENCE 100000U
#define RETRY_PAUSE   10000U

typedef struct Told {
        uint64_t handles, blocks, operations, longest, again;
} Told;

typedef struct Period {
        uint64_t from, to;
} Period;

typedef struct Board {
        unsigned stop, leave;
        unsigned stopped, left, failed;
        mh_handle shared[SHARED];
        mh_scratch passed[PASSED]; /* from whoever took it to whoever frees it */
        Told told[CLIENTS_MAX];
        uint64_t pause[CONTROLS];
        uint64_t answered; /* when the witness was, the last time */
        unsigned n_outages;
        Period outages[OUTAGES_MAX]; /* from the last answer of a daemon to the first of the next */
        pid_t daemon;                /* that of the last answer */
        uint64_t watched;            /* up to when we know of it: */
        unsigned n_starved;
        Period starved[STARVED_MAX]; /* when the daemon could have run, and did not */
} Board;

typedef struct Thing {
        mh_handle handle;
        unsigned count;
        mh_scratch block, given;
        size_t size;
} Thing;

static Board *board;
static mh_client *client;
static bool maps;
static uint64_t delay_before; /* the run delay when the call under way began, or not long before */

static uint64_t now(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void nap(void)
{
        (void)nanosleep(&(struct timespec){ .tv_nsec = NAP * 1000 }, NULL);
}

static _Noreturn void failed(const char *what, int r)
{
        (void)fprintf(stderr, "# storm, process %d, %s: %s: %d (%s)\n", (int)getpid(), maps ? "maps" : "asks", what, r,
                      r < 0 ? strerror(-r) : "");
        (void)__atomic_fetch_add(&board->failed, 1, __ATOMIC_SEQ_CST);
        _exit(1);
}

/* ------------------------------------------------------------------------------------------------ time */

static uint64_t common(Period p, Period q)
{
        uint64_t from = p.from > q.from ? p.from : q.from, to = p.to < q.to ? p.to : q.to;

        return to > from ? to - from : 0;
}

/* What of it there was a daemon in. */
static uint64_t outside_outages(Period p)
{
        unsigned n = __atomic_load_n(&board->n_outages, __ATOMIC_SEQ_CST);
        uint64_t time = p.to - p.from;

        for (unsigned i = 0; i < n; i++)
                time -= common(p, board->outages[i]);
        return time;
}

/* What of it there was a daemon in that did not lack a processor. Witness and watch have to know of its end, first. */
static uint64_t served(Period p)
{
        uint64_t deadline = p.to + 120000000, time;
        unsigned n;

        while (__atomic_load_n(&board->answered, __ATOMIC_SEQ_CST) < p.to ||
               __atomic_load_n(&board->watched, __ATOMIC_SEQ_CST) < p.to) {
                if (now() > deadline)
                        failed("there is no daemon any more", -ETIMEDOUT);
                nap();
        }
        time = outside_outages(p);
        n = __atomic_load_n(&board->n_starved, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < n; i++) {
                const Period *q = &board->starved[i];

                if (common(p, *q) > 0)
                        time -= outside_outages((Period){ .from = p.from > q->from ? p.from : q->from,
                                                          .to = p.to < q->to ? p.to : q->to });
        }
        return time;
}

/* For how long we could have run, and had to wait for a processor. */
static uint64_t run_delay(void)
{
        uint64_t ran, delay;

        return starve_read(0, &ran, &delay) ? delay : 0;
}

/* Now, before a call. Not each one shall pay for the question: what the last SHORT added to it, is forgiven, too. */
static uint64_t begin_call(void)
{
        static uint64_t asked;
        uint64_t time = now();

        if (time - asked > SHORT) {
                delay_before = run_delay();
                asked = time;
        }
        return time;
}

static void note_time(Told *told, uint64_t begin)
{
        uint64_t end = now(), time = end - begin;

        if (time > LONG) {
                uint64_t waited = run_delay() - delay_before;

                if (!maps)
                        time = served((Period){ .from = begin, .to = end });
                time -= waited < time ? waited : time;
        }
        if (time > told->longest)
                told->longest = time;
        told->operations++;
}

/* Each call, and how long it took. */
#define CALL(told, call)                            \
        ({                                          \
                uint64_t call_begin = begin_call(); \
                int call_r = (call);                \
                note_time(told, call_begin);        \
                call_r;                             \
        })

/* Wants nothing but to run, and to be woken. What it has to wait for is the machine. */
static _Noreturn void control(unsigned number)
{
        uint64_t last = now(), woken = last;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!__atomic_load_n(&board->stop, __ATOMIC_SEQ_CST)) {
                uint64_t time = now();

                if (time - last > board->pause[number])
                        board->pause[number] = time - last;
                last = time;
                if (time - woken < 5000)
                        continue;
                nap();
                woken = now();
                last += NAP;
                if (last > woken)
                        last = woken;
        }
        _exit(0);
}

static uint64_t longest_pause(void)
{
        uint64_t pause = 0;

        for (unsigned i = 0; i < CONTROLS; i++)
                if (board->pause[i] > pause)
                        pause = board->pause[i];
        return pause;
}

/*
 * How long an operation may take, when outages do not count, nor what it or the daemon waited for a processor. What is left
 * is mostly a lock of the kernel that somebody holds who waits for a processor.
 */
static uint64_t allowed(bool asks)
{
        return (asks ? RETRY_PAUSE : LOOK_PATIENCE) + 4 * longest_pause();
}

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
        if (t->count == 0 && t->given) {
                int r = CALL(told, mh_scratch_free(client, t->given));

                if (r != -ESTALE)
                        failed("free of a block whose handle is gone", r);
                t->given = 0;
        }
}

/* The block lives as long as the handle from then on, and cannot be freed. */
static void give_thing(Told *told, Thing *t)
{
        int r;

        if (!t->block || t->count == 0 || t->given)
                return;
        must("give", CALL(told, mh_scratch_give(client, t->block, t->handle)));
        t->given = t->block;
        t->block = 0;
        r = CALL(told, mh_scratch_free(client, t->given));
        if (r != -EBUSY)
                failed("free of a block that was given", r);
}

/* Somebody else's, as a rule; it is there, and there once. */
static void pass_on(Told *told, mh_scratch *place)
{
        mh_scratch block;

        must("scratch", CALL(told, mh_scratch_alloc(client, 100, &block)));
        block = __atomic_exchange_n(place, block, __ATOMIC_SEQ_CST);
        if (block)
                must("free of another's", CALL(told, mh_scratch_free(client, block)));
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
        unsigned flags = 77, again = 0;
        int type = 0, r;

        must("open", CALL(told, mh_open(client, h, &type)));
        if (type != MH_TYPE_MUTEX)
                failed("type", type);
        while ((r = CALL(told, mh_close(client, h, &flags))) == -EAGAIN && again < AGAIN_MAX)
                again++;
        told->again += again;
        must("close", r);
        if (flags != MH_CLOSED_HERE)
                failed("flags of close of a shared one", (int)flags);
}

static void step(Told *told, Thing *t, long n)
{
        long what = n % 10, which = n / 10;

        if (what == 9)
                pass_on(told, &board->passed[(unsigned long)which % PASSED]);
        else if (what == 8)
                give_thing(told, t);
        else if (what == 7)
                visit(told, board->shared[(unsigned long)which % SHARED]);
        else if (what == 6) {
                if (t->count > 0)
                        close_thing(told, t);
        } else if (what >= 4) {
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
                alloc_thing(told, t, which);
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
                told->blocks += (things[i].block != 0) + (things[i].given != 0);
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
        (void)__atomic_fetch_add(&board->left, 1, __ATOMIC_SEQ_CST);
        _exit(0);
}

/* ------------------------------------------------------------------------------------------------ the witness */

/* Its own words, past the library, whose patience it shall not share. -1: there was no answer. */
static int connect_to_daemon(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        const char *path = getenv("MONO_HANDLE_D_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        if (fd < 0)
                failed("socket", -errno);
        if (path)
                (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        else
                (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/mono-handle-d/socket", runtime ? runtime : "");
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
                return fd;
        (void)close(fd);
        return -1;
}

static bool say_hello(int fd)
{
        struct mh_wire_hello hello = { .header = { .type = MH_WIRE_HELLO, .size = sizeof(hello) },
                                       .magic = MH_WIRE_MAGIC,
                                       .version_min = MH_WIRE_VERSION_MIN,
                                       .version_max = MH_WIRE_VERSION_MAX,
                                       .nonce = now() | 1,
                                       .name = "witness" };
        struct stat st;
        struct ucred cred = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(struct ucred))];
        } c = { .header = {
                        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof(cred)) } };
        struct iovec iov = { .iov_base = &hello, .iov_len = sizeof(hello) };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

        /* By the connection it lives, also for the next daemon, so that nothing is left of it. */
        if (fstat(fd, &st) == 0) {
                hello.life = st.st_ino;
                hello.life_fd = (uint32_t)fd;
        }
        memcpy(CMSG_DATA(&c.header), &cred, sizeof(cred));
        return sendmsg(fd, &mh, MSG_NOSIGNAL) == sizeof(hello);
}

/* Notes, too, who it is from: the socket may be the service manager's. What else comes with it, the kernel closes. */
static bool hear_welcome(int fd, struct mh_wire_welcome *welcome)
{
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(struct ucred))];
        } c = {};
        struct iovec iov = { .iov_base = welcome, .iov_len = sizeof(*welcome) };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
        struct ucred cred;

        if (recvmsg(fd, &mh, 0) != sizeof(*welcome) || welcome->header.type != MH_WIRE_HELLO)
                return false;
        if (mh.msg_controllen >= CMSG_LEN(sizeof(cred)) && c.header.cmsg_type == SCM_CREDENTIALS) {
                memcpy(&cred, CMSG_DATA(&c.header), sizeof(cred));
                __atomic_store_n(&board->daemon, cred.pid, __ATOMIC_SEQ_CST);
        }
        return true;
}

/* The epoch of the daemon that answers; 0: none does. */
static uint64_t ask_for_epoch(void)
{
        struct mh_wire_welcome welcome = {};
        int fd = connect_to_daemon();
        uint64_t epoch = 0;

        if (fd < 0)
                return 0;
        if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) == 0 && say_hello(fd) &&
            hear_welcome(fd, &welcome))
                epoch = welcome.epoch;
        (void)close(fd);
        return epoch;
}

static void note_answer(uint64_t epoch, uint64_t *last_epoch)
{
        uint64_t time = now(), before = board->answered;

        if (*last_epoch && epoch != *last_epoch) {
                if (board->n_outages == OUTAGES_MAX)
                        failed("too many outages", 0);
                board->outages[board->n_outages] = (Period){ .from = before, .to = time };
                __atomic_store_n(&board->n_outages, board->n_outages + 1, __ATOMIC_SEQ_CST);
        }
        *last_epoch = epoch;
        __atomic_store_n(&board->answered, time, __ATOMIC_SEQ_CST);
}

static bool all_have(const unsigned *done, unsigned n)
{
        return __atomic_load_n(done, __ATOMIC_SEQ_CST) + __atomic_load_n(&board->failed, __ATOMIC_SEQ_CST) >= n;
}

/* Goes on until nobody needs to know any more. While all have come to a stop, nobody is attached but them. */
static _Noreturn void witness(unsigned n)
{
        uint64_t last = 0;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!all_have(&board->left, n)) {
                bool rest = all_have(&board->stopped, n) && !__atomic_load_n(&board->leave, __ATOMIC_SEQ_CST);
                uint64_t epoch = rest ? 0 : ask_for_epoch();

                if (epoch)
                        note_answer(epoch, &last);
                nap();
        }
        _exit(0);
}

/* The longer one that begins as the last one did takes its place. */
static void note_starved(Period p)
{
        unsigned n = board->n_starved;

        if (n > 0 && board->starved[n - 1].from == p.from) {
                __atomic_store_n(&board->starved[n - 1].to, p.to, __ATOMIC_SEQ_CST);
                return;
        }
        if (n == STARVED_MAX)
                failed("too many times without a processor", 0);
        board->starved[n] = p;
        __atomic_store_n(&board->n_starved, n + 1, __ATOMIC_SEQ_CST);
}

/*
 * The daemon, and how long it lacks a processor. What it has run for is brought up to date by the tick of the clock, at the
 * least, so only what is longer than LONG is to be believed.
 */
static _Noreturn void watch(unsigned n)
{
        uint64_t had_run = 0, since = 0;
        pid_t before = 0;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!all_have(&board->left, n)) {
                pid_t pid = __atomic_load_n(&board->daemon, __ATOMIC_SEQ_CST);
                uint64_t time = now(), ran = 0, delay;
                bool waits = pid > 0 && starve_is_runnable(pid) && starve_read(pid, &ran, &delay);

                if (!waits || pid != before || ran != had_run) {
                        __atomic_store_n(&board->watched, time, __ATOMIC_SEQ_CST);
                        since = waits ? time : 0;
                } else if (time - since > LONG) {
                        note_starved((Period){ .from = since, .to = time });
                        __atomic_store_n(&board->watched, time, __ATOMIC_SEQ_CST);
                }
                before = pid;
                had_run = ran;
                nap();
        }
        _exit(0);
}

/* ------------------------------------------------------------------------------------------------ all of them */

static uint64_t longest(unsigned n, bool asks)
{
        uint64_t time = 0;

        for (unsigned i = asks; i < n; i += 2)
                if (board->told[i].longest > time)
                        time = board->told[i].longest;
        if (time > allowed(asks)) {
                (void)fprintf(stderr, "# storm: %s %" PRIu64 " us, and no more than %" PRIu64 " are allowed\n",
                              asks ? "one that asks was blocked, while there was a daemon, for" : "one that maps took",
                              time, allowed(asks));
                board->failed++;
        }
        return time;
}

static uint64_t longest_outage(void)
{
        uint64_t time = 0;

        for (unsigned i = 0; i < board->n_outages; i++)
                if (board->outages[i].to - board->outages[i].from > time)
                        time = board->outages[i].to - board->outages[i].from;
        return time;
}

static void answer(unsigned n)
{
        uint64_t asked = longest(n, true), worked = longest(n, false);
        Told sum = { .handles = SHARED };

        for (unsigned i = 0; i < n; i++) {
                sum.handles += board->told[i].handles;
                sum.blocks += board->told[i].blocks;
                sum.operations += board->told[i].operations;
                sum.again += board->told[i].again;
        }
        for (unsigned i = 0; i < PASSED; i++)
                sum.blocks += board->passed[i] != 0;
        printf("%s %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
               "\n",
               board->failed ? "error" : "ok", n + 1, sum.handles, sum.blocks, sum.operations, board->n_outages,
               longest_outage(), asked, worked, longest_pause(), sum.again);
}

static void start(void (*fn)(unsigned), unsigned argument)
{
        pid_t pid = fork();

        if (pid < 0)
                failed("fork", -errno);
        if (pid == 0)
                fn(argument);
}

/* What went from hand to hand went with who had taken it, if nobody freed it. */
static void check_passed(void)
{
        for (unsigned i = 0; i < PASSED; i++) {
                int r = board->passed[i] ? mh_scratch_free(client, board->passed[i]) : -ESTALE;

                if (r != -ESTALE)
                        failed("free of a block of one that has left", r);
        }
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
        for (unsigned i = 0; i < n; i++)
                start(work, i);
        for (unsigned i = 0; i < CONTROLS; i++)
                start(control, i);
        start(witness, n);
        start(watch, n);
        printf("ok\n");

        /* Whatever it is told, or if nobody is there any more to tell it. */
        (void)fgets(line, sizeof(line), stdin);
        __atomic_store_n(&board->stop, 1, __ATOMIC_SEQ_CST);
        while (!all_have(&board->stopped, n))
                nap();
        answer(n);

        (void)fgets(line, sizeof(line), stdin);
        __atomic_store_n(&board->leave, 1, __ATOMIC_SEQ_CST);
        while (wait(&status) > 0)
                good = good && status == 0;
        check_passed();
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
