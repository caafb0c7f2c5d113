/* SPDX-License-Identifier: MIT */

/*
 * The client table. Only the daemon writes it, so its own loads of what it wrote need no order; who else reads an entry finds it
 * complete because the state becomes ATTACHED last, with a sequentially consistent store that pairs with client_state().
 *
 * Relaxed: therefore all fields of an entry but its state; and the first mark of its hazards, which nobody looks at before.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/atomics.h"
#include "shm/client.h"

unsigned client_state(const Segment *seg, uint32_t id)
{
        uint32_t hwm = load_acquire(&seg->shared->client_hwm); /* entries below have memory; pairs with raise_mark() */

        if (id >= seg->n_clients || id >= hwm || id == MH_SHM_CLIENT_DAEMON)
                return MH_SHM_CLIENT_FREE;
        return load_sc(&seg->clients[id].state);
}

uint32_t client_end(const Segment *seg)
{
        uint32_t hwm = load_acquire(&seg->shared->client_hwm); /* pairs with raise_mark() */

        return hwm < seg->n_clients ? hwm : seg->n_clients;
}

/* Gives memory to the entry and the hazards of the next id. */
static int raise_mark(Segment *seg, uint32_t id)
{
        int r;

        r = segment_reserve(seg, MH_SHM_REGION_CLIENTS, (uint64_t)id * sizeof(struct mh_shm_client),
                            sizeof(struct mh_shm_client));
        if (r < 0)
                return r;
        r = segment_reserve(seg, MH_SHM_REGION_HAZARDS, (uint64_t)id * sizeof(struct mh_shm_hazard),
                            sizeof(struct mh_shm_hazard));
        if (r < 0)
                return r;
        /* Only the daemon raises it. Sequentially consistent, as the looks of those who give memory back: see hazard.h. */
        store_sc(&seg->shared->client_hwm, id + 1);
        return 0;
}

static int find_free(Segment *seg, uint32_t *ret_id)
{
        uint32_t end = client_end(seg);
        int r;

        for (uint32_t id = 1; id < end; id++)
                if (client_state(seg, id) == MH_SHM_CLIENT_FREE) {
                        *ret_id = id;
                        return 0;
                }
        if (end < 1)
                end = 1;
        if (end >= seg->n_clients)
                return -EUSERS;
        r = raise_mark(seg, end);
        if (r < 0)
                return r;
        *ret_id = end;
        return 0;
}

static void fill(struct mh_shm_client *c, const ClientInfo *info)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        store_relaxed(&c->flags, info->flags);
        store_relaxed(&c->pid, info->pid);
        store_relaxed(&c->start_time, info->start_time);
        store_relaxed(&c->nonce, info->nonce);
        store_relaxed(&c->life_fd, info->life_fd);
        store_relaxed(&c->life, info->life);
        store_relaxed(&c->attached_usec, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
        memcpy(c->name, info->name, sizeof(c->name));
        c->name[sizeof(c->name) - 1] = '\0';
        memset(&c->intent, 0, sizeof(c->intent));
        memset(&c->outcome, 0, sizeof(c->outcome));
        store_relaxed(&c->requests, 0);
        store_relaxed(&c->errors, 0);
}

int client_attach(Segment *seg, const ClientInfo *info, uint32_t *ret_id)
{
        struct mh_shm_client *c;
        uint32_t id;
        int r;

        r = find_free(seg, &id);
        if (r < 0)
                return r;
        c = &seg->clients[id];
        store_sc(&c->state, MH_SHM_CLIENT_ATTACHING);
        r = segment_reserve(seg, MH_SHM_REGION_LEDGERS, id * seg->ledger_stride, sizeof(struct mh_shm_account));
        if (r < 0) {
                store_sc(&c->state, MH_SHM_CLIENT_FREE);
                return r;
        }
        fill(c, info);
        store_relaxed(&seg->hazards[id].line[0].used, 0);
        store_sc(&c->state, MH_SHM_CLIENT_ATTACHED);
        *ret_id = id;
        return 0;
}

int client_find(Segment *seg, uint32_t pid, uint64_t start_time, uint64_t nonce, uint32_t *ret_id)
{
        uint32_t end = client_end(seg);

        for (uint32_t id = 1; id < end; id++) {
                const struct mh_shm_client *c = &seg->clients[id];

                if (client_state(seg, id) == MH_SHM_CLIENT_ATTACHED && load_relaxed(&c->nonce) == nonce &&
                    load_relaxed(&c->pid) == pid && load_relaxed(&c->start_time) == start_time) {
                        *ret_id = id;
                        return 0;
                }
        }
        return -ENOENT;
}

void client_kill(Segment *seg, uint32_t id)
{
        assert(id != MH_SHM_CLIENT_DAEMON && id < seg->n_clients);
        store_sc(&seg->clients[id].state, MH_SHM_CLIENT_DEAD);
}

void client_free(Segment *seg, uint32_t id)
{
        assert(id != MH_SHM_CLIENT_DAEMON && id < seg->n_clients);
        store_sc(&seg->clients[id].state, MH_SHM_CLIENT_FREE);
}

void client_set_life(Segment *seg, uint32_t id, uint64_t life, uint32_t life_fd)
{
        struct mh_shm_client *c = &seg->clients[id];

        assert(id < seg->n_clients);
        /* The daemon may die in between, and the next one must not look for what never was: in this order, which release keeps. */
        store_release(&c->life, 0);
        store_release(&c->life_fd, life_fd);
        store_release(&c->life, life);
}

void client_info(const Segment *seg, uint32_t id, ClientInfo *ret)
{
        const struct mh_shm_client *c = &seg->clients[id];

        assert(id < seg->n_clients);
        *ret = (ClientInfo){
                .flags = load_relaxed(&c->flags),
                .pid = load_relaxed(&c->pid),
                .start_time = load_relaxed(&c->start_time),
                .nonce = load_relaxed(&c->nonce),
                .life = load_relaxed(&c->life),
                .life_fd = load_relaxed(&c->life_fd),
        };
        memcpy(ret->name, c->name, sizeof(ret->name));
        ret->name[sizeof(ret->name) - 1] = '\0';
}
