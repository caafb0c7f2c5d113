/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The client table. Only the daemon writes it. The state word of an entry is the truth; all else in it is written before
 * the state says ATTACHED.
 */

#include "shm/segment.h"

typedef struct ClientInfo {
        uint32_t flags; /* MH_SHM_CLIENT_* */
        uint32_t pid;
        uint64_t start_time;
        uint64_t nonce;
        uint64_t life; /* 0: none */
        uint32_t life_fd;
        char name[32]; /* NUL-terminated */
} ClientInfo;

/* Takes the lowest free id, reserves what the client needs at once, fills the entry. -EUSERS, -ENOSPC. */
int client_attach(Segment *seg, const ClientInfo *info, uint32_t *ret_id);

/* The one that attached with this nonce from this process, or -ENOENT. */
int client_find(Segment *seg, uint32_t pid, uint64_t start_time, uint64_t nonce, uint32_t *ret_id);

/* One of enum mh_shm_client_state, whatever the word holds. `id` may be any number: out of range is FREE. */
unsigned client_state(const Segment *seg, uint32_t id);

/* Ids from 1 to below this may be in use. */
uint32_t client_end(const Segment *seg);

/* ATTACHED (or ATTACHING, whose attach nobody finishes) to DEAD: from now on reap_step() may work on it. */
void client_kill(Segment *seg, uint32_t id);

/* DEAD to FREE: the last step of reaping. */
void client_free(Segment *seg, uint32_t id);

/* Another socket tells that it lives. */
void client_set_life(Segment *seg, uint32_t id, uint64_t life, uint32_t life_fd);

/* A copy of the entry with bounded strings. `id` below n_clients and not FREE. */
void client_info(const Segment *seg, uint32_t id, ClientInfo *ret);
