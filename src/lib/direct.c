/* SPDX-License-Identifier: MIT */

/*
 * Working on the segment from the threads of this process.
 *
 * An Actor is one thread's at a time: it keeps slots ready and knows the spans that its thread takes blocks from. A client
 * has as many seats as the segment has lines for its threads. A thread takes a free one when it first does something, and gives it
 * back when it ends; who takes the seat next goes on with what is in it. Threads that find none free share the last one,
 * under a lock.
 *
 * All of it is private memory and holds only hints. What the segment knows is that this client did it.
 *
 * As long as one thread has a seat and no other, it changes the ledger without locked instructions. The second one that comes
 * tells the first, and waits until that is not in the middle of an operation. The first writes that it is busy and then
 * looks whether it is alone, the second writes that it is not and then looks whether it is busy: one of the two looks last. That
 * needs a barrier on both sides, of which the second pays for both: see hazard.h.
 *
 * A thread that ends must find the attachments in which it has a seat, and must not look into one that was given up
 * meanwhile. So there is a list of those that exist. Its lock may be held by a thread that a fork() leaves
 * behind; therefore it lies in memory that the child finds wiped, which is an open lock and an empty list.
 */

#include "lib/direct.h"

#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "shm/slot.h"
#include "shm/stock.h"

typedef struct Registry {
        pthread_mutex_t lock; /* all zeros is what PTHREAD_MUTEX_INITIALIZER is */
        Direct *first;
} Registry;

/* No serial: neither that of an attachment nor what is said where there is none. */
#define NO_SERIAL    ACTOR_NO_PASS
#define FIRST_SERIAL UINT64_C(2)

__thread DirectMine direct_mine __attribute__((tls_model("initial-exec"))) = { .serial = NO_SERIAL };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Registry *registry; /* NULL: it could not be made */
static pthread_key_t key;
static uint64_t next_serial = FIRST_SERIAL; /* in a child it goes on: no two are alike there either */

/* ------------------------------------------------------------------------------------------------ alone or not */

/* Whose seat is the only one in use, or NULL. The lock is held. */
static DirectSeat *only_seat(Direct *d)
{
        DirectSeat *only = NULL;

        if (d->seats[MH_SHM_THREADS - 1].ready)
                return NULL;
        for (unsigned i = 0; i < MH_SHM_THREADS - 1; i++) {
                if (!d->seats[i].owner)
                        continue;
                if (only)
                        return NULL;
                only = &d->seats[i];
        }
        return only;
}

#define PATIENT_TURNS 100U
#define PAUSE_NSEC    100000
/* Where membarrier(2) is forbidden by now: a store of another processor is seen long before that. */
#define NO_BARRIER_NSEC 1000000

static void pause_for(long nsec)
{
        (void)nanosleep(&(struct timespec){ .tv_nsec = nsec }, NULL);
}

/* Every thread of this process passes one. It worked when it was registered, but a program may have given up system calls since. */
static void barrier(void)
{
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
                pause_for(NO_BARRIER_NSEC);
}

/* Until it is not in the middle of an operation. To yield is not enough where only its priority is in the way. */
static void await_end(const DirectSeat *seat)
{
        /* Acquire: what that operation did is seen. Pairs with direct_leave(). */
        for (unsigned i = 0; load_acquire(&seat->turns) % 2; i++)
                if (i < PATIENT_TURNS)
                        (void)sched_yield();
                else
                        pause_for(PAUSE_NSEC);
}

/* Before a second thread begins. The lock is held. */
static void have_company(Direct *d)
{
        for (unsigned i = 0; i < MH_SHM_THREADS - 1; i++) {
                DirectSeat *seat = &d->seats[i];

                if (!load_relaxed(&seat->actor.alone)) /* relaxed: the lock orders it */
                        continue;
                actor_set_alone(&seat->actor, false);
                barrier();
                actor_close_window(&seat->actor);
                barrier();
                await_end(seat);
        }
}

/* After a seat was taken or given back. The lock is held. */
static void count_company(Direct *d)
{
        DirectSeat *only = only_seat(d);

        if (!only)
                have_company(d);
        else if (d->barrier)
                actor_set_alone(&only->actor, true);
}

/* ------------------------------------------------------------------------------------------------ the list of all */

static void give_seats_back_in(Direct *d, const void *owner)
{
        bool any = false;

        (void)pthread_mutex_lock(&d->lock);
        for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                if (d->seats[i].owner == owner) {
                        actor_set_alone(&d->seats[i].actor, false);
                        actor_close_window(&d->seats[i].actor);
                        d->seats[i].actor.pass = NULL;
                        d->seats[i].owner = NULL;
                        any = true;
                }
        if (any)
                count_company(d);
        (void)pthread_mutex_unlock(&d->lock);
}

/* This thread ends: its seats are free. */
static void give_seats_back(void *owner)
{
        (void)pthread_mutex_lock(&registry->lock);
        for (Direct *d = registry->first; d; d = d->next)
                give_seats_back_in(d, owner);
        (void)pthread_mutex_unlock(&registry->lock);
        direct_mine = (DirectMine){ .serial = NO_SERIAL };
}

static void make_registry(void)
{
        void *p = mmap(NULL, sizeof(Registry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return;
        if (madvise(p, sizeof(Registry), MADV_WIPEONFORK) < 0 || pthread_key_create(&key, give_seats_back) != 0) {
                (void)munmap(p, sizeof(Registry));
                return;
        }
        registry = p;
}

static void enlist(Direct *d)
{
        (void)pthread_mutex_lock(&registry->lock);
        d->next = registry->first;
        d->previous = &registry->first;
        if (d->next)
                d->next->previous = &d->next;
        registry->first = d;
        (void)pthread_mutex_unlock(&registry->lock);
}

int direct_open(Direct *d, Segment *seg, uint32_t id, void *ledger)
{
        (void)pthread_once(&once, make_registry);
        if (!registry)
                return -ENOMEM;

        *d = (Direct){
                .serial = fetch_add_relaxed(&next_serial, 1), /* only that they differ matters */
                .barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0,
        };
        (void)pthread_mutex_init(&d->lock, NULL);
        (void)pthread_mutex_init(&d->shared_lock, NULL);
        for (unsigned i = 0; i < MH_SHM_THREADS; i++) {
                actor_init(&d->seats[i].actor, seg, id, ledger);
                d->seats[i].direct = d;
        }
        d->seats[MH_SHM_THREADS - 1].shared = true;
        enlist(d);
        return 0;
}

void direct_close(Direct *d)
{
        if (!d->serial)
                return;
        (void)pthread_mutex_lock(&registry->lock);
        *d->previous = d->next;
        if (d->next)
                d->next->previous = d->previous;
        (void)pthread_mutex_unlock(&registry->lock);
        (void)pthread_mutex_destroy(&d->lock);
        (void)pthread_mutex_destroy(&d->shared_lock);
        d->serial = 0;
}

/* ------------------------------------------------------------------------------------------------ seats */

/* A seat of its own for this thread, or NULL. */
static DirectSeat *take_seat(Direct *d)
{
        DirectSeat *free_seat = NULL;

        for (unsigned i = 0; i < MH_SHM_THREADS - 1; i++) {
                if (d->seats[i].owner == &direct_mine)
                        return &d->seats[i];
                if (!free_seat && !d->seats[i].owner)
                        free_seat = &d->seats[i];
        }
        /* Without a word at its end the seat would stay taken for ever. */
        if (!free_seat || pthread_setspecific(key, &direct_mine) != 0)
                return NULL;
        free_seat->owner = &direct_mine;
        free_seat->actor.pass = &direct_mine.serial;
        return free_seat;
}

/*
 * The segment is full. What a thread took that has ended others may have freed since, and nobody would look there before somebody
 * takes its seat. Whoever holds the lock may wait for this very operation to end, so this does not wait for it.
 */
static bool trim_empty_seats(Actor *a)
{
        Direct *d = direct_seat(a)->direct;
        bool any = false;

        if (pthread_mutex_trylock(&d->lock) != 0)
                return false;
        for (unsigned i = 0; i < MH_SHM_THREADS - 1; i++)
                if (d->seats[i].ready && !d->seats[i].owner)
                        any = stock_trim(&d->seats[i].actor) || any;
        (void)pthread_mutex_unlock(&d->lock);
        return any;
}

/* What is not in it yet when nobody has sat there. */
static DirectSeat *prepare_seat(Direct *d, DirectSeat *seat)
{
        if (!seat->ready) {
                actor_set_thread(&seat->actor, (unsigned)(seat - d->seats));
                slot_keep(&seat->actor);
                seat->actor.when_short = trim_empty_seats;
                seat->ready = true;
        }
        count_company(d);
        return seat;
}

bool direct_is_due(Direct *d)
{
        const DirectSeat *seat = direct_mine.serial == d->serial ? direct_mine.seat : &d->seats[MH_SHM_THREADS - 1];

        if (direct_mine.serial == NO_SERIAL && direct_mine.seat)
                return true; /* it was stopped for that */
        /* Relaxed: the last seat is everybody's, and it does not matter who sees it. */
        return load_relaxed(&seat->turns) % DIRECT_TURNS == 0;
}

Actor *direct_enter_anyhow(Direct *d)
{
        DirectSeat *seat = direct_mine.seat;

        if (direct_mine.serial != d->serial) {
                (void)pthread_mutex_lock(&d->lock);
                seat = take_seat(d);
                if (!seat)
                        seat = &d->seats[MH_SHM_THREADS - 1];
                prepare_seat(d, seat);
                (void)pthread_mutex_unlock(&d->lock);
        }
        if (seat->shared)
                (void)pthread_mutex_lock(&d->shared_lock);
        else
                direct_mine = (DirectMine){ .serial = d->serial, .seat = seat };
        /*
         * Relaxed: the seat is this thread's, or it holds the lock of the shared one; who looks does so after a
         * barrier in every thread.
         */
        store_relaxed(&seat->turns, load_relaxed(&seat->turns) + 1);
        __atomic_signal_fence(__ATOMIC_SEQ_CST); /* as in direct_enter() */
        return &seat->actor;
}

void direct_leave_anyhow(Direct *d, Actor *a)
{
        direct_leave((DirectPass){ .actor = a, .turns = direct_seat(a)->turns + 1 });
        if (direct_seat(a)->shared)
                (void)pthread_mutex_unlock(&d->shared_lock);
}
