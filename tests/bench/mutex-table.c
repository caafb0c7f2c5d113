/* SPDX-License-Identifier: MIT */

/*
 * A handle table as one would build it with a lock. A slot holds generation, type, the number of clients that hold it
 * and the payload; free slots are a list, and those beyond `n_used` were never touched. How many references each client
 * has stands in an array per client, so that somebody could take back what a dead one held. One robust process-shared
 * mutex, on the cache line of what it guards first, guards all of it.
 *
 * As good as it can be made: everything that needs no lock is checked before it is taken; the payload is cleared outside of
 * it, by the one who makes the handle, whom nobody knows yet; and each operation touches the lock's line, one line of
 * the slot and one of the counts.
 *
 * Who dies while holding the lock leaves the table half changed. The next one learns that, and rebuilds what can be
 * rebuilt: the numbers of holders and the free list, from the counts. That is a walk over the whole table, in which
 * everybody else waits, and the reason why this is the other answer.
 */

#include "mutex-table.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLIC      __attribute__((visibility("default")))
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PAGE      4096U
#define ALIVE     UINT64_C(0x6d757465785f7462)
#define SLOT_BITS 24U
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)
/*
 * What every operation touches lies in different cache sets: at the same offset in different pages, it would, at some
 * addresses and not at others, cost up to twice the time (the processors of AMD tell lines of one set apart by few bits).
 */
#define LOCK_OFFSET   0xf00U
#define ALIVE_OFFSET  0xe00U
#define CLIENT_OFFSET 0xc40U
/*
 * So do a slot and its count, where the table is nearly empty and slot 0 is used: without this gap both are at the
 * begin of a page, and at some addresses the pair costs 26 to 52 ns and not 22.
 */
#define COUNTS_GAP (PAGE + PAGE / 2)

#define COUNT_MAX  ((UINT32_C(1) << 21) - 1)
#define TYPE_PIPE  10
#define TYPE_FIRST 64
#define TYPE_MAX   255

struct slot {
        uint64_t generation; /* of the handle that is in it, or will be next */
        uint32_t holders;    /* clients whose count is not 0; 0: free */
        uint32_t type;
        uint32_t next; /* free: the next free slot, plus one */
        uint32_t _pad[11];
        uint8_t payload[64];
};

struct table {
        uint32_t n_slots;
        uint32_t n_clients;
        uint8_t _pad[LOCK_OFFSET - 8];
        pthread_mutex_t mutex;
        uint32_t free;   /* the first free slot, plus one */
        uint32_t n_used; /* slots from here on were never used */
        uint8_t _pad1[PAGE - LOCK_OFFSET - sizeof(pthread_mutex_t) - 8];
        struct slot slots[];
};

_Static_assert(sizeof(struct slot) == 128, "two cache lines");
_Static_assert(offsetof(struct table, mutex) == LOCK_OFFSET, "what never changes is not on the line of the lock");
_Static_assert(offsetof(struct table, slots) == PAGE, "layout");

struct mt_client {
        struct table *table;
        struct slot *slots;
        uint32_t *counts; /* of this client, per slot */
        uint32_t n_slots;
        size_t size;
};

static size_t counts_offset(uint32_t n_slots)
{
        return sizeof(struct table) + (size_t)n_slots * sizeof(struct slot) + COUNTS_GAP;
}

static size_t table_size(uint32_t n_slots, uint32_t n_clients)
{
        return counts_offset(n_slots) + (size_t)n_slots * n_clients * sizeof(uint32_t);
}

/* ------------------------------------------------------------------------------------------------ the lock */

/* Somebody died inside. */
static __attribute__((noinline, cold)) void rebuild(struct table *t)
{
        uint32_t *counts = (uint32_t *)(void *)((uint8_t *)t + counts_offset(t->n_slots));

        t->free = 0;
        for (uint32_t s = 0; s < t->n_used; s++) {
                struct slot *slot = &t->slots[s];
                uint32_t holders = 0;

                for (uint32_t c = 0; c < t->n_clients; c++)
                        holders += counts[(size_t)c * t->n_slots + s] > 0;
                if (holders == 0) {
                        if (slot->holders > 0)
                                slot->generation++;
                        slot->next = t->free;
                        t->free = s + 1;
                }
                slot->holders = holders;
        }
}

static __attribute__((noinline, cold)) int lock_failed(struct table *t, int error)
{
        if (error != EOWNERDEAD)
                return -error;
        rebuild(t);
        return -pthread_mutex_consistent(&t->mutex);
}

static inline int lock(struct table *t)
{
        int error = pthread_mutex_lock(&t->mutex);

        return unlikely(error != 0) ? lock_failed(t, error) : 0;
}

static inline void unlock(struct table *t)
{
        (void)pthread_mutex_unlock(&t->mutex);
}

/* ------------------------------------------------------------------------------------------------ attachment */

static int init_mutex(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attr;
        int r;

        r = -pthread_mutexattr_init(&attr);
        if (r < 0)
                return r;
        (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        r = -pthread_mutex_init(mutex, &attr);
        (void)pthread_mutexattr_destroy(&attr);
        return r;
}

PUBLIC int mt_create(uint32_t n_slots, uint32_t n_clients)
{
        struct table *t;
        int fd, r;

        if (n_slots == 0 || n_slots > SLOT_MASK || n_clients == 0)
                return -EINVAL;
        fd = memfd_create("mutex-table", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)table_size(n_slots, n_clients)) < 0)
                goto fail;
        t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (t == MAP_FAILED)
                goto fail;
        t->n_slots = n_slots;
        t->n_clients = n_clients;
        r = init_mutex(&t->mutex);
        (void)munmap(t, sizeof(*t));
        if (r == 0)
                return fd;
        errno = -r;
fail:
        r = -errno;
        (void)close(fd);
        return r;
}

PUBLIC int mt_attach(mt_client **ret, int fd, uint32_t id)
{
        struct stat st;
        struct table *t;
        mt_client *c;
        uint8_t *p;

        if (!ret || fstat(fd, &st) < 0)
                return -EINVAL;
        /* The same guard against use in the child of a fork() as in libmonohandle: a page that is wiped there. */
        p = mmap(NULL, 2 * (size_t)PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return -ENOMEM;
        if (madvise(p, PAGE, MADV_WIPEONFORK) < 0) {
                (void)munmap(p, 2 * (size_t)PAGE);
                return -ENOMEM;
        }
        *(uint64_t *)(void *)(p + ALIVE_OFFSET) = ALIVE;
        c = (mt_client *)(void *)(p + PAGE + CLIENT_OFFSET);

        t = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (t == MAP_FAILED || id >= t->n_clients) {
                if (t != MAP_FAILED)
                        (void)munmap(t, (size_t)st.st_size);
                (void)munmap(p, 2 * (size_t)PAGE);
                return t == MAP_FAILED ? -ENOMEM : -EINVAL;
        }
        *c = (mt_client){
                .table = t,
                .slots = t->slots,
                .counts = (uint32_t *)(void *)((uint8_t *)t + counts_offset(t->n_slots)) + (size_t)id * t->n_slots,
                .n_slots = t->n_slots,
                .size = (size_t)st.st_size,
        };
        *ret = c;
        return 0;
}

PUBLIC mt_client *mt_detach(mt_client *c)
{
        if (c) {
                (void)munmap(c->table, c->size);
                (void)munmap((uint8_t *)c - CLIENT_OFFSET - PAGE, 2 * (size_t)PAGE);
        }
        return NULL;
}

/* ------------------------------------------------------------------------------------------------ handles */

static inline const volatile uint64_t *alive_word(const mt_client *c)
{
        return (const volatile uint64_t *)(const void *)((const uint8_t *)c - CLIENT_OFFSET - PAGE + ALIVE_OFFSET);
}

static inline int check(const mt_client *c)
{
        if (unlikely(!c))
                return -EINVAL;
        if (unlikely(*alive_word(c) != ALIVE))
                return -ECHILD;
        return 0;
}

static inline bool type_exists(int type)
{
        return (type >= 1 && type <= TYPE_PIPE) || (type >= TYPE_FIRST && type <= TYPE_MAX);
}

PUBLIC int mt_new(mt_client *c, int type, uint64_t *ret)
{
        struct table *t;
        struct slot *slot;
        uint64_t generation;
        uint32_t s;
        int r = check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!ret || !type_exists(type)))
                return -EINVAL;
        t = c->table;

        r = lock(t);
        if (unlikely(r < 0))
                return r;
        if (t->free > 0) {
                s = t->free - 1;
                slot = &c->slots[s];
                t->free = slot->next;
        } else if (t->n_used < c->n_slots) {
                s = t->n_used++;
                slot = &c->slots[s];
                slot->generation = 1;
        } else {
                unlock(t);
                return -ENOSPC;
        }
        c->counts[s] = 1;
        slot->holders = 1;
        slot->type = (uint32_t)type;
        generation = slot->generation;
        unlock(t);

        memset(slot->payload, 0, sizeof(slot->payload));
        *ret = generation << SLOT_BITS | s;
        return 0;
}

PUBLIC int mt_open(mt_client *c, uint64_t h, int *ret_type)
{
        uint32_t s = (uint32_t)(h & SLOT_MASK);
        struct slot *slot;
        int r = check(c), type;

        if (unlikely(r < 0))
                return r;
        if (unlikely(!h))
                return -EINVAL;
        if (unlikely(s >= c->n_slots))
                return -ESTALE;
        slot = &c->slots[s];

        r = lock(c->table);
        if (unlikely(r < 0))
                return r;
        if (unlikely(slot->generation != h >> SLOT_BITS || slot->holders == 0)) {
                unlock(c->table);
                return -ESTALE;
        }
        if (unlikely(c->counts[s] == COUNT_MAX)) {
                unlock(c->table);
                return -EOVERFLOW;
        }
        if (c->counts[s]++ == 0)
                slot->holders++;
        type = (int)slot->type;
        unlock(c->table);

        if (ret_type)
                *ret_type = type;
        return 0;
}

PUBLIC int mt_close(mt_client *c, uint64_t h, unsigned *ret_flags)
{
        uint32_t s = (uint32_t)(h & SLOT_MASK);
        struct slot *slot;
        unsigned flags = 0;
        int r = check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!h))
                return -EINVAL;
        if (unlikely(s >= c->n_slots))
                return -ESTALE;
        slot = &c->slots[s];

        r = lock(c->table);
        if (unlikely(r < 0))
                return r;
        if (unlikely(slot->generation != h >> SLOT_BITS || slot->holders == 0)) {
                unlock(c->table);
                return -ESTALE;
        }
        if (unlikely(c->counts[s] == 0)) {
                unlock(c->table);
                return -EBADF;
        }
        if (--c->counts[s] == 0) {
                flags = MT_CLOSED_HERE;
                if (--slot->holders == 0) {
                        flags |= MT_CLOSED_EVERYWHERE;
                        slot->generation++;
                        slot->next = c->table->free;
                        c->table->free = s + 1;
                }
        }
        unlock(c->table);

        if (ret_flags)
                *ret_flags = flags;
        return 0;
}
