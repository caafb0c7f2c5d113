/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the daemon of a segment is, as it wrote it down: see process.h for what a place is. */

#include <stdbool.h>

#include "base/atomics.h"
#include "base/process.h"
#include "proto/shm-layout.h"

/*
 * Written by the daemon when it signs. Of a daemon that dies in between, the check does not fit, and nothing is known, so
 * the words need no order; who reads them comes after that daemon.
 */
static inline void place_write(struct mh_shm_shared *shared, const ProcessPlace *place)
{
        store_relaxed(&shared->daemon_pid_ns, place->pid_namespace);
        store_relaxed(&shared->daemon_time_ns, place->time_namespace);
        store_relaxed(&shared->daemon_ns_check, MH_SHM_NS_CHECK(place->pid_namespace, place->time_namespace));
}

/* From a copy, which nobody changes. */
static inline void place_read(const struct mh_shm_shared *copy, ProcessPlace *ret)
{
        *ret = (ProcessPlace){};
        if (copy->daemon_ns_check != MH_SHM_NS_CHECK(copy->daemon_pid_ns, copy->daemon_time_ns))
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
