/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the daemon of a segment is, as it wrote it down: see process.h for what a place is. */

#include <stdbool.h>

#include "base/atomics.h"
#include "base/process.h"
#include "proto/shm-layout.h"

/*
 * Who believes a wrong place refuses to serve the segment, for ever, so what somebody scribbled there must not look like
 * one: not equal words, nor zeros and ones, nor a right one with a few bits turned over. Steps and multipliers are those of
 * splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
 */
static inline uint64_t place_check(uint64_t pid_namespace, uint64_t time_namespace)
{
        uint64_t x = (pid_namespace ^ MH_SHM_PLACE_XOR) * MH_SHM_PLACE_MUL_1;

        x = ((x ^ x >> 27) ^ time_namespace) * MH_SHM_PLACE_MUL_2;
        return x ^ x >> 31;
}

/*
 * Written by the daemon when it signs. Of a daemon that dies in between, the check does not fit, and nothing is known, so
 * the words need no order; who reads them comes after that daemon.
 */
static inline void place_write(struct mh_shm_shared *shared, const ProcessPlace *place)
{
        store_relaxed(&shared->daemon_pid_ns, place->pid_namespace);
        store_relaxed(&shared->daemon_time_ns, place->time_namespace);
        store_relaxed(&shared->daemon_ns_check, place_check(place->pid_namespace, place->time_namespace));
}

/* From a copy, which nobody changes. */
static inline void place_read(const struct mh_shm_shared *copy, ProcessPlace *ret)
{
        *ret = (ProcessPlace){};
        if (copy->daemon_ns_check != place_check(copy->daemon_pid_ns, copy->daemon_time_ns))
                return;
        ret->pid_namespace = copy->daemon_pid_ns;
        ret->time_namespace = copy->daemon_time_ns;
}

/* Does what the segment says of processes, by this copy, certainly mean nothing here? */
static inline bool place_is_elsewhere(const struct mh_shm_shared *copy)
{
        ProcessPlace there, here;

        place_read(copy, &there);
        process_place(&here);
        return process_place_differs(&there, &here);
}
