/* SPDX-License-Identifier: MIT */
#pragma once

/* One operation on the segment, done by whoever runs it: the test itself, or the process that is single-stepped.
 *
 * Everything that an operation needs lies in Shared, which both see, and which is saved and put back together with the
 * segment: the private memory of the clients is part of the state too, although only hints are in it. */

#include "crash/machine.h"
#include "lib/client.h"
#include "shm/actor.h"
#include "shm/request.h"
#include "shm/segment.h"

/* Everybody in a scenario. A is the one that is killed or frozen, B lives and must not notice, C has other parts. */
typedef enum Who {
        WHO_A,
        WHO_B,
        WHO_C,
        WHO_COUNT,
} Who;

typedef enum Op {
        OP_NONE,
        OP_NEW,     /* type */
        OP_OPEN,    /* handle */
        OP_CLOSE,   /* handle */
        OP_RESERVE, /* nothing: a slot, and gives it up again */
        OP_ALLOC,   /* size */
        OP_FREE,    /* index */
        OP_GIVE,    /* index, handle */
        OP_LOOKUP,  /* index */
        OP_PAYLOAD, /* handle */
        OP_REAP,    /* client id, which is DEAD */
        OP_TRIM,    /* all of it */
        OP_ATTACH,  /* one more client */
        OP_ADOPT,   /* what a daemon does with a segment that it finds */
        OP_COUNT,
} Op;

typedef struct Job {
        Op op;
        Who who;
        bool wire;    /* by request_run() */
        uint64_t seq; /* then: which one */
        uint64_t arg[2];

        int result; /* 0 or -errno */
        uint32_t flags;
        uint64_t value[2];
} Job;

/* A client of the library, as mh_attach() makes it, but that it lies here: see fork.h. */
typedef struct LibraryClient {
        uint8_t unused[128 - sizeof(ForkHead)];
        ForkHead head;
        mh_client client;
        DirectMine mine; /* what the thread of whoever runs it knows of its seat */
} LibraryClient;

_Static_assert(offsetof(LibraryClient, client) == 128, "its head is directly before it");

typedef struct Shared {
        Job job; /* of the machine */
        Segment seg;
        uint32_t id[WHO_COUNT]; /* 0: not there */
        Actor actor[WHO_COUNT];
        bool by_library; /* A calls the public functions */
        LibraryClient library;
} Shared;

const char *job_name(Op op);

/* Takes a Shared and runs its job; with this signature a Machine can call it. */
void job_run_shared(void *shared);

void job_run(Shared *sh, Job *job);

/* A calls the public functions from now on. `crowded`: and all seats for single threads are taken. */
void job_use_library(Shared *sh, bool crowded);

/* Once in a process that does, before there is another one: what the library makes for a process. */
void job_prepare_library(Shared *sh);

/* Is it the daemon who does it? */
static inline bool job_is_daemons(const Job *job)
{
        return job->wire || job->op == OP_REAP || job->op == OP_TRIM || job->op == OP_ATTACH || job->op == OP_ADOPT;
}
