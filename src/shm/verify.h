/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Checks a whole segment against the equations of src/proto/shm-layout.h, reading it with pread(2): nothing is mapped, no page
 * is allocated, and no daemon is needed.
 */

#include "shm/segment.h"

typedef struct VerifyFinding {
        const char *rule; /* short and stable, such as "holder-without-ledger" */
        const char *text; /* a sentence with the numbers */
} VerifyFinding;

typedef struct VerifyStats {
        uint32_t clients;
        uint64_t handles;       /* LIVE slots */
        uint64_t reserved;      /* slots RESERVED, DYING or DEAD */
        uint64_t blocks;        /* scratch blocks in use */
        uint64_t scratch_bytes; /* in whole blocks */
        uint64_t spans;         /* not FREE */
        uint64_t findings;
} VerifyStats;

typedef void (*VerifyFn)(const VerifyFinding *finding, void *userdata);

#define VERIFY_AT_REST (1U << 0) /* nobody works on it: leaks and pending states are findings too */
#define VERIFY_NO_DEAD (1U << 1) /* nor is anybody dead: all entries are FREE or ATTACHED */

/*
 * Calls `fn` (may be NULL) for each finding. On a segment that is in use, what changes while it is looked at is looked at
 * again before it is called a finding. Returns the number of findings, or -errno where it cannot be read at all.
 */
int verify_segment(int fd, unsigned flags, VerifyFn fn, void *userdata, VerifyStats *ret);
