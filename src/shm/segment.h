/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A segment and where its regions are mapped. A Segment is filled in by its owner and lives where the owner wants it:
 * nothing here allocates.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/shm-layout.h"

typedef struct SegmentConfig {
        uint32_t n_slots;       /* a multiple of 512 */
        uint32_t n_clients;     /* the daemon included */
        uint64_t scratch_bytes; /* a multiple of 64 KiB, at least one */
        uint64_t limit_client_handles;
        uint64_t limit_client_scratch;
        uint64_t first_generation; /* 0: a random one */
} SegmentConfig;

typedef struct Segment {
        int fd;                 /* not owned; before it is used it is compared with these: */
        uint64_t device, inode; /* of the object */
        bool asymmetric;        /* membarrier(2) works: who gives memory back pays for the order (see hazard.h) */

        /* copies of what the header said when it was checked; the header itself is never asked again */
        uint64_t total_size;
        uint64_t ledger_stride, ledger_slots, ledger_spans;
        uint64_t first_generation;
        uint32_t n_slots, n_clients, n_spans, n_groups, n_chunks;
        uint32_t uid; /* the number that the user had in its daemon's user namespace */
        uint8_t id[16];
        struct mh_shm_region regions[MH_SHM_REGION_COUNT];

        /* the regions; NULL where this process did not map one */
        uint8_t *base; /* the whole, where it is mapped as one */
        void *ledger;  /* a client's own, which is `ledger_id`'s */
        uint32_t ledger_id;
        struct mh_shm_header *header;
        struct mh_shm_shared *shared;
        struct mh_shm_client *clients;
        struct mh_shm_hazard *hazards;
        struct mh_shm_chunk *chunks;
        uint64_t *chunkmap;
        struct mh_shm_slot *slots;
        uint64_t *holders; /* [group - 1][slot] */
        struct mh_shm_span *spans;
        uint64_t *spanmap;
        struct mh_shm_owners *owners;
        uint8_t *scratch;
} Segment;

/* Checks a configuration. -EINVAL. */
int segment_config_check(const SegmentConfig *config);

/*
 * Makes an empty segment of the object behind `fd`, which is new (size 0). Its pages are reserved as far as they are
 * needed at once. READY is stored last. -EINVAL, -ENOSPC, -errno.
 */
int segment_format(int fd, const SegmentConfig *config);

/*
 * Reads the header behind `fd` and checks it: all of it, against the size of the object and against what this version
 * would lay out for these capacities. Nothing is mapped. *ret is filled but for the mappings.
 * -EPROTONOSUPPORT another format version or unknown incompatible flags; -EBADMSG not a segment, or damaged;
 * -EAGAIN one that was never finished; -EPERM of another user, or not a shared-memory object; -ESTALE closed for good.
 * Whose it is the kernel says, who knows the user in every user namespace; the number in the header is for the daemon.
 */
int segment_load(Segment *ret, int fd);

/* The version in the header, for messages, after -EPROTONOSUPPORT. */
int segment_version(int fd, uint32_t *ret);

/* Maps all of a loaded segment for reading and writing (the daemon). -ENOMEM. */
int segment_map(Segment *seg);

/*
 * Maps what a client needs for reading and writing, and of the ledgers only its own: *ret_ledger. Not inherited by children,
 * not in core dumps. -ENOMEM.
 */
int segment_map_client(Segment *seg, uint32_t id, void **ret_ledger);

/* Takes back either mapping; closes nothing. A Segment that was only loaded, or is zero, is fine. */
void segment_unmap(Segment *seg);
void segment_unmap_client(Segment *seg, void *ledger);

/* The daemon's mapping of one client's ledger. Needs segment_map(). */
void *segment_ledger(const Segment *seg, uint32_t id);

/*
 * What follows works through the descriptor, keeps errno, and is no cancellation point. If the descriptor is another file's
 * now, because the program has closed ours, nothing is done to that one: pages are changed through the mapping then, and what
 * cannot be done so is -EBADFD.
 */

/* Reserves pages of a region; idempotent. `offset` is from the start of the region. -ENOSPC, -errno. */
int segment_reserve(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, uint64_t size);

/* Gives pages back, whole pages inside the range only. -errno. */
int segment_punch(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, uint64_t size);

/* Reads at most `size` bytes of a region without touching the mapping: holes read as zeros. -EBADMSG if there is less. */
int segment_read(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size);

/*
 * The same through the mapping, for when our descriptor is not there any more (-EBADFD): for what nobody else can give back
 * meanwhile. A hole becomes memory by it. -EBADFD.
 */
int segment_read_mapped(const Segment *seg, enum mh_shm_region_id region, uint64_t offset, void *ret, size_t size);

/*
 * The next range of [from, end), in bytes from the start of the segment, that has memory: 1 and the range, or 0. Reserved
 * pages that were never written may be left out: they are zero.
 */
int segment_next_data(const Segment *seg, uint64_t from, uint64_t end, uint64_t *ret_start, uint64_t *ret_end);

/* Lets go of the pages that the daemon's mapping has touched: they stay in the segment and leave this process. */
void segment_relax(Segment *seg);
