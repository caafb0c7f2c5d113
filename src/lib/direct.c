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
 * A thread that ends must find the attachments in which it has a seat, and must not look into one that was given up
 * meanwhile. So there is a list of those that exist. Its lock may be held by a thread that a fork() leaves
 * behind; therefore it lies in memory that the child finds wiped, which is an open lock and an empty list.
 */

#include "lib/direct.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "shm/slot.h"

typedef struct Registry {
        pthread_mutex_t lock; /* all zeros is what PTHREAD_MUTEX_INITIALIZER is */
        Direct *first;
} Registry;

__thread DirectMine direct_mine __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Registry *registry; /* NULL: it could not be made */
static pthread_key_t key;

/* This thread ends: its seats are free. */
static void give_seats_back(void *owner)
{
        (void)pthread_mutex_lock(&registry->lock);
        for (Direct *d = registry->first; d; d = d->next) {
                (void)pthread_mutex_lock(&d->lock);
                for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                        if (d->seats[i].owner == owner)
                                d->seats[i].owner = NULL;
                (void)pthread_mutex_unlock(&d->lock);
        }
        (void)pthread_mutex_unlock(&registry->lock);
        direct_mine = (DirectMine){ 0 };
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

int direct_open(Direct *d, Segment *seg, uint32_t id, void *ledger, uint64_t serial)
{
        assert(serial != 0);

        (void)pthread_once(&once, make_registry);
        if (!registry)
                return -ENOMEM;

        *d = (Direct){ .serial = serial };
        (void)pthread_mutex_init(&d->lock, NULL);
        (void)pthread_mutex_init(&d->shared_lock, NULL);
        for (unsigned i = 0; i < MH_SHM_THREADS; i++)
                actor_init(&d->seats[i].actor, seg, id, ledger);

        (void)pthread_mutex_lock(&registry->lock);
        d->next = registry->first;
        d->previous = &registry->first;
        if (d->next)
                d->next->previous = &d->next;
        registry->first = d;
        (void)pthread_mutex_unlock(&registry->lock);
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
        return free_seat;
}

/* What is not in it yet when nobody has sat there. */
static void prepare_seat(Direct *d, unsigned i)
{
        DirectSeat *s = &d->seats[i];

        if (s->ready)
                return;
        actor_set_thread(&s->actor, i);
        slot_keep(&s->actor);
        s->ready = true;
}

Actor *direct_find(Direct *d)
{
        DirectSeat *seat;

        (void)pthread_mutex_lock(&d->lock);
        seat = take_seat(d);
        if (seat)
                prepare_seat(d, (unsigned)(seat - d->seats));
        (void)pthread_mutex_unlock(&d->lock);

        if (seat) {
                direct_mine = (DirectMine){ .serial = d->serial, .actor = &seat->actor };
                return &seat->actor;
        }
        (void)pthread_mutex_lock(&d->shared_lock);
        prepare_seat(d, MH_SHM_THREADS - 1);
        return &d->seats[MH_SHM_THREADS - 1].actor;
}

void direct_unlock(Direct *d)
{
        (void)pthread_mutex_unlock(&d->shared_lock);
}
