/* SPDX-License-Identifier: MIT */

/* The seats of threads, and who is alone: on a segment without a daemon. */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/direct.h"
#include "shm/ledger.h"
#include "shm/scratch.h"
#include "shm/slot.h"
#include "unit/shm/fixture.h"

#define SEATS (MH_SHM_THREADS - 1U) /* that are one thread's each */

TestSuite(direct, .timeout = 100);

static Fixture f;
static Direct d;
static Actor other; /* another client */
static uint32_t id;
static uint64_t handle;

static void open_all(void)
{
        Actor a;

        fixture_open(&f);
        id = fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &other);
        cr_assert_eq(slot_new(&other, 70, &handle), 0);
        cr_assert_eq(direct_open(&d, &f.seg, id, segment_ledger(&f.seg, id)), 0);
}

static void close_all(void)
{
        unsigned flags = 0;

        direct_close(&d);
        (void)fixture_reap(&f, id);
        cr_assert_eq(slot_close(&other, handle, &flags), 0);
        cr_assert_eq(flags, SLOT_CLOSED_HERE | SLOT_CLOSED_EVERYWHERE);
        fixture_done(&f);
}

static void need_barrier(void)
{
        if (!d.barrier)
                cr_skip_test("membarrier(2) is missing");
}

/* What the library does, with one operation in between. */
static int operate(int (*fn)(Actor *a, void *userdata), void *userdata)
{
        DirectPass pass = direct_enter(d.serial);
        Actor *a;
        int r;

        if (pass.actor) {
                r = fn(pass.actor, userdata);
                direct_leave(pass);
                return r;
        }
        a = direct_enter_anyhow(&d);
        r = fn(a, userdata);
        direct_leave_anyhow(&d, a);
        return r;
}

static int open_it(Actor *a, void *userdata)
{
        return slot_open(a, handle, NULL);
}

static int close_it(Actor *a, void *userdata)
{
        return slot_close(a, handle, NULL);
}

static int note_actor(Actor *a, void *userdata)
{
        *(Actor **)userdata = a;
        return 0;
}

static Actor *actor_of_this_thread(void)
{
        Actor *a = NULL;

        (void)operate(note_actor, &a);
        return a;
}

static uint64_t ledger_word(void)
{
        Actor a;

        actor_init(&a, &f.seg, id, segment_ledger(&f.seg, id));
        return ledger_load(&a, handle_slot(handle));
}

/* ---------------------------------------------------------------------------------------------- seats */

/* Threads that sit down, and stay until they are told to go. */
typedef struct Crowd {
        uint32_t n, seated, go;
        Actor *actors[2 * MH_SHM_THREADS];
        bool fast[2 * MH_SHM_THREADS];
} Crowd;

static void *sit(void *userdata)
{
        Crowd *crowd = userdata;
        uint32_t i = fetch_add_sc(&crowd->n, 1);

        crowd->actors[i] = actor_of_this_thread();
        crowd->fast[i] = direct_use(d.serial) != NULL;
        (void)fetch_add_sc(&crowd->seated, 1);
        while (!load_acquire(&crowd->go))
                (void)sched_yield();
        cr_assert_eq(operate(open_it, NULL), 0);
        cr_assert_eq(operate(close_it, NULL), 0);
        return NULL;
}

static void seat(Crowd *crowd, pthread_t *threads, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, sit, crowd), 0);
        while (load_acquire(&crowd->seated) < n)
                (void)sched_yield();
}

static void send_home(Crowd *crowd, pthread_t *threads, unsigned n)
{
        store_release(&crowd->go, 1);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
}

static unsigned seats_taken(void)
{
        unsigned n = 0;

        for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                n += d.seats[i].owner != NULL;
        return n;
}

/* Each seat is one thread's, and the last one is everybody's. A thread that ends gives its seat back. */
Test(direct, more_threads_than_seats)
{
        open_all();
        for (unsigned round = 0; round < 3; round++) {
                Crowd crowd = { 0 };
                pthread_t threads[SEATS + 4];
                unsigned fast = 0;

                seat(&crowd, threads, ELEMENTSOF(threads));
                cr_assert_eq(seats_taken(), SEATS);
                for (unsigned i = 0; i < ELEMENTSOF(threads); i++) {
                        fast += crowd.fast[i];
                        cr_assert_eq(crowd.fast[i], crowd.actors[i] != &d.seats[SEATS].actor);
                        for (unsigned k = 0; k < i; k++)
                                cr_assert(!crowd.fast[i] || crowd.actors[i] != crowd.actors[k], "two in one seat");
                        cr_assert_not(load_relaxed(&crowd.actors[i]->alone));
                }
                cr_assert_eq(fast, SEATS);
                send_home(&crowd, threads, ELEMENTSOF(threads));
                cr_assert_eq(seats_taken(), 0);
                cr_assert_eq(ledger_word(), 0);
        }
        /* Who came in the last seat may come again at any time, so nobody is alone any more. */
        cr_assert_not(load_relaxed(&actor_of_this_thread()->alone));
        close_all();
}

Test(direct, a_seat_that_was_given_back_is_the_next_ones)
{
        Actor *first = NULL;

        open_all();
        for (unsigned i = 0; i < 5; i++) {
                Crowd crowd = { 0 };
                pthread_t thread;

                seat(&crowd, &thread, 1);
                send_home(&crowd, &thread, 1);
                first = first ? first : crowd.actors[0];
                cr_assert_eq(crowd.actors[0], first);
                cr_assert_not(load_relaxed(&first->alone));
                cr_assert_eq(load_relaxed(&first->window_size), 0);
        }
        close_all();
}

Test(direct, alone_and_in_company)
{
        Crowd crowd = { 0 };
        pthread_t thread;
        Actor *a;

        open_all();
        need_barrier();
        a = actor_of_this_thread();
        cr_assert(load_relaxed(&a->alone));
        cr_assert_eq(operate(open_it, NULL), 0);
        cr_assert_eq(operate(open_it, NULL), 0);
        cr_assert_gt(load_relaxed(&a->window_size), 0);
        seat(&crowd, &thread, 1);
        cr_assert_not(load_relaxed(&a->alone));
        cr_assert_eq(load_relaxed(&a->window_size), 0);
        cr_assert_eq(operate(close_it, NULL), 0);
        cr_assert_eq(load_relaxed(&a->window_size), 0);
        send_home(&crowd, &thread, 1);
        cr_assert(load_relaxed(&a->alone));
        cr_assert_eq(operate(open_it, NULL), 0);
        cr_assert_gt(load_relaxed(&a->window_size), 0);
        cr_assert_eq(ledger_count(ledger_word()), 2);
        cr_assert_eq(operate(close_it, NULL), 0);
        cr_assert_eq(operate(close_it, NULL), 0);
        cr_assert_eq(operate(close_it, NULL), -EBADF);
        close_all();
}

/* Who comes waits until the one who was alone is not in the middle of an operation. */
Test(direct, who_comes_waits)
{
        Crowd crowd = { 0 };
        DirectPass pass;
        pthread_t thread;
        Actor *a;

        open_all();
        need_barrier();
        a = actor_of_this_thread();
        pass = direct_enter(d.serial);
        cr_assert_eq(pass.actor, a);
        cr_assert_eq(pthread_create(&thread, NULL, sit, &crowd), 0);
        while (load_acquire(&a->alone))
                (void)sched_yield();
        for (unsigned i = 0; i < 20; i++) {
                cr_assert_eq(load_acquire(&crowd.seated), 0);
                (void)usleep(1000);
        }
        direct_leave(pass);
        while (!load_acquire(&crowd.seated))
                (void)sched_yield();
        send_home(&crowd, &thread, 1);
        close_all();
}

/* ---------------------------------------------------------------------------------------------- at full speed */

static uint32_t stop, worked;

/* Opens as often as it closes: from nothing to one, and from one to more. */
static void work(unsigned rounds)
{
        for (unsigned i = 0; i < rounds; i++) {
                unsigned n = 1 + i % 3;

                for (unsigned k = 0; k < n; k++)
                        cr_assert_eq(operate(open_it, NULL), 0);
                for (unsigned k = 0; k < n; k++)
                        cr_assert_eq(operate(close_it, NULL), 0);
        }
}

static void *work_until_told(void *userdata)
{
        while (!load_acquire(&stop)) {
                work(10);
                (void)fetch_add_relaxed(&worked, 10);
        }
        return NULL;
}

static void *work_for_a_while(void *userdata)
{
        work(*(unsigned *)userdata);
        return NULL;
}

/* One works all the time, and others come and go; now and then one keeps a reference for a while. */
Test(direct, threads_come_and_go_while_one_works)
{
        unsigned visits = fixture_scaled(1500), rounds = 20;
        pthread_t worker, visitor;
        bool have = false;

        open_all();
        cr_assert_eq(pthread_create(&worker, NULL, work_until_told, NULL), 0);
        while (!load_acquire(&worked))
                (void)sched_yield();
        for (unsigned i = 0; i < visits; i++) {
                unsigned so_far = load_acquire(&worked);

                cr_assert_eq(pthread_create(&visitor, NULL, work_for_a_while, &rounds), 0);
                cr_assert_eq(pthread_join(visitor, NULL), 0);
                if (i % 64 == 0)
                        while (load_acquire(&worked) == so_far) /* alone */
                                (void)sched_yield();
        }
        /* This thread too, which stays. */
        for (unsigned i = 0; i < visits; i++, have = !have)
                cr_assert_eq(operate(have ? close_it : open_it, NULL), 0);
        store_release(&stop, 1);
        cr_assert_eq(pthread_join(worker, NULL), 0);
        cr_assert_eq(ledger_count(ledger_word()), have);
        cr_assert_eq(load_relaxed(&actor_of_this_thread()->alone), d.barrier);
        if (have)
                cr_assert_eq(operate(close_it, NULL), 0);
        cr_assert_eq(ledger_word(), 0);
        cr_assert_eq(operate(close_it, NULL), -EBADF);
        close_all();
}

Test(direct, two_threads_at_full_speed)
{
        unsigned rounds = fixture_scaled(100000);
        pthread_t threads[2];

        open_all();
        for (unsigned i = 0; i < 2; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, work_for_a_while, &rounds), 0);
        for (unsigned i = 0; i < 2; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_eq(ledger_word(), 0);
        cr_assert_eq(seats_taken(), 0);
        close_all();
}

/* ---------------------------------------------------------------------------------------------- fork */

/* What the child finds: no seat, open locks, and an attachment of its own works. */
static int in_child(uint32_t child_id)
{
        uint64_t serial = d.serial;
        Segment seg;

        /* The mapping is not inherited. */
        if (segment_load(&seg, f.fd) < 0 || segment_map(&seg) < 0 ||
            direct_open(&d, &seg, child_id, segment_ledger(&seg, child_id)) < 0 || d.serial == serial)
                return 1;
        if (direct_use(d.serial) || direct_enter(d.serial).actor)
                return 2;
        if (operate(open_it, NULL) < 0 || operate(open_it, NULL) < 0 || !direct_use(d.serial))
                return 3;
        if (d.barrier && !load_relaxed(&direct_use(d.serial)->alone))
                return 4;
        if (operate(close_it, NULL) < 0 || operate(close_it, NULL) < 0)
                return 5;
        direct_close(&d);
        return 0;
}

/* ---------------------------------------------------------------------------------------------- scratch */

static uint64_t blocks[300 * 64]; /* more than there are of 1 KiB */
static unsigned n_blocks;

static int fill(Actor *a, void *userdata)
{
        int r;

        while ((r = scratch_take(a, 1024, &blocks[n_blocks])) == 0)
                n_blocks++;
        return r;
}

static void *filler(void *userdata)
{
        cr_expect_eq(operate(fill, NULL), -ENOSPC);
        return NULL;
}

static int free_all(Actor *a, void *userdata)
{
        while (n_blocks > 0)
                if (scratch_free(a, blocks[--n_blocks]) < 0)
                        return -EIO;
        return 0;
}

static int take_of_size(Actor *a, void *userdata)
{
        uint64_t s;
        int r;

        r = scratch_take(a, *(const uint64_t *)userdata, &s);
        return r < 0 ? r : scratch_free(a, s);
}

/* All is full of what a thread took that has ended, and another one has freed all of it. */
Test(direct, what_ended_threads_took_can_be_had_again)
{
        static const uint64_t sizes[] = { 64, 1024, 3 << 20 };

        for (unsigned i = 0; i < ELEMENTSOF(sizes); i++) {
                pthread_t thread;

                open_all();
                (void)actor_of_this_thread(); /* it has a seat before */
                cr_assert_eq(pthread_create(&thread, NULL, filler, NULL), 0);
                cr_assert_eq(pthread_join(thread, NULL), 0);
                cr_assert_gt(n_blocks, 200 * 64);
                cr_assert_eq(operate(free_all, NULL), 0);
                cr_expect_eq(operate(take_of_size, (void *)(uintptr_t)&sizes[i]), 0, "%u", (unsigned)sizes[i]);
                close_all();
        }
}

Test(direct, forked_in_between)
{
        unsigned forks = fixture_scaled(40);
        pthread_t worker;

        open_all();
        cr_assert_eq(operate(open_it, NULL), 0);
        cr_assert_eq(pthread_create(&worker, NULL, work_until_told, NULL), 0);
        for (unsigned i = 0; i < forks; i++) {
                Actor child;
                uint32_t child_id = fixture_attach(&f, FIXTURE_OWN, &child);
                int status;
                pid_t pid = fork();

                cr_assert_geq(pid, 0);
                if (pid == 0)
                        _exit(in_child(child_id));
                cr_assert_eq(waitpid(pid, &status, 0), pid);
                cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
                (void)fixture_reap(&f, child_id);
                cr_assert_eq(operate(open_it, NULL), 0);
        }
        store_release(&stop, 1);
        cr_assert_eq(pthread_join(worker, NULL), 0);
        cr_assert_eq(ledger_count(ledger_word()), forks + 1);
        for (unsigned i = 0; i < forks + 1; i++)
                cr_assert_eq(operate(close_it, NULL), 0);
        cr_assert_eq(ledger_word(), 0);
        close_all();
}
