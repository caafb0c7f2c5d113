/* SPDX-License-Identifier: MIT */
#pragma once

/* What must be true after something happened, and what of it can be compared with what might have happened instead. */

#include "crash/world.h"

/* A state without the names that chance gives: which slot and which block were taken is nobody's business. */
typedef struct Abstract {
        uint8_t attached[WHO_COUNT];
        uint8_t clients;
        struct {
                uint8_t type;    /* 0: it is no more */
                uint8_t payload; /* as it should be */
                uint8_t count[WHO_COUNT];
        } handle[TRACKED_MAX];
        struct {
                uint8_t kind; /* enum mh_shm_owner_kind; FREE: it is no more */
                uint8_t who;  /* client: Who; slot: number of the handle */
                uint8_t data; /* as it should be */
        } block[TRACKED_MAX];
        uint64_t handles, blocks, bytes;
} Abstract;

/* The same for what an operation returned. */
typedef struct Result {
        int result;
        uint32_t flags;
        uint8_t object; /* what it returned is there, and who asked has it */
} Result;

/* verify_segment() finds nothing. */
bool check_verify(World *w, unsigned flags);

/* The same after a daemon took over the segment, when nobody is in the middle of anything and nobody is dead; and the
 * accounts, which that daemon counted anew, say what there is. */
bool check_adopted(World *w);

/* Reaps who is dead; then there is nothing to be found, and *ret is what there is. */
bool check_settle(World *w, Abstract *ret);

Result check_result(World *w, const Job *job);

/* That is left can be used, and everybody's death leaves nothing at all. Ends the scenario. */
bool check_drain(World *w, const Abstract *now);

/* For messages: how one differs from the other. */
void check_explain(const Abstract *is, const Abstract *expected);
