/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One request of a client whose ledger the daemon writes, so that it takes effect exactly once: the intent is written
 * into the client's entry, then the thing is done, then the outcome is stored.
 */

#include "proto/wire.h"
#include "shm/actor.h"

typedef struct Request {
        uint64_t seq;
        uint32_t op;     /* MH_WIRE_NEW .. MH_WIRE_SCRATCH_FREE, MH_WIRE_GIVE */
        uint32_t type;   /* New */
        uint64_t arg[2]; /* Open, Close: handle; Scratch: length; ScratchFree: index; Give: index, handle */
} Request;

/*
 * Does it, or tells again what came of it if it is the client's last one. Failures of the operation are in ret->error.
 * ret->flags and ret->value: New: type, handle. Open: type, handle. Close: enum mh_wire_close_flags. Scratch: 0; index, size.
 * -EPROTO the sequence number is neither the last nor the next, or the last one asked for something else.
 */
int request_run(Actor *a, const Request *request, struct mh_shm_outcome *ret);

/* The sequence number of the last request that took effect; 0: none. */
uint64_t request_last(const Actor *a);

/* At adoption, for each client whose ledger the daemon writes: finishes or takes back what the former daemon was doing for it,
 * and makes its free blocks findable for the new actor. */
void request_recover(Actor *a);
