/* SPDX-License-Identifier: MIT */
#pragma once

/* A small segment with its clients, the process that is single-stepped, and the things whose fate is watched. */

#include "crash/job.h"
#include "crash/memory.h"

#define TRACKED_MAX 16U

typedef enum Config {
        CONFIG_SMALL, /* 8 clients */
        CONFIG_GROUPS, /* 80 clients, A and C are above 64; generations come round to the first number; scratch is limited */
        CONFIG_COUNT,
} Config;

typedef struct World {
        Config config;
        int fd;
        Shared *shared;
        uint8_t *stack;
        Memory memory;
        Machine machine;
        Snapshot empty; /* nobody is attached */

        /* the scenario's */
        bool wire, keep, library, crowd; /* how A works */
        Job job;
        Job others[4]; /* what B may do meanwhile, besides what it always may */
        unsigned n_others;
        uint64_t handle[TRACKED_MAX]; /* the first is the one that all is about, if there is one */
        unsigned n_handles;
        uint64_t block[TRACKED_MAX]; /* the same */
        unsigned n_blocks;
        uint64_t own;                /* a block of B that it may give */
        bool full;                   /* so that not all that usually works does */
        bool last_hole;              /* A opens or closes the only chunk that could have a free slot */
        bool retired;                /* a slot is, and so its chunk stays for ever */
        uint64_t stale[TRACKED_MAX]; /* handles that must never be alive again */
        unsigned n_stale;
} World;

void world_init(World *w, Config config);
void world_done(World *w);

/* Nobody is attached, nothing is tracked. */
void world_reset(World *w);

/* For scenarios: what must succeed. When all are attached, world_attached() sends those away that only made ids high.
 */
void world_attach(World *w, Who who);
void world_attached(World *w);
uint64_t world_new(World *w, Who who, unsigned type);
void world_open(World *w, Who who, uint64_t handle);
void world_close(World *w, Who who, uint64_t handle);
uint64_t world_alloc(World *w, Who who, uint64_t size);
void world_free(World *w, Who who, uint64_t scratch);
void world_give(World *w, Who who, uint64_t scratch, uint64_t handle);
void world_kill(World *w, Who who);
void world_reap(World *w, Who who);
void world_run(World *w, Job *job);

/* Something is written into it, and must be there as long as it lives. */
void world_track_handle(World *w, uint64_t handle);
void world_track_block(World *w, uint64_t scratch);
void world_track_stale(World *w, uint64_t handle);

/* A job for that client, complete with the number of the request where it is one. */
Job world_job(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1);
