/* SPDX-License-Identifier: MIT */
#pragma once

/* How much there is in a segment, for people: sums over the clients' accounts, which no two processes share. */

#include <stdbool.h>

#include "shm/segment.h"

/* Totals from the accounts: cheap, and a hint. */
typedef struct Totals {
        uint32_t clients; /* entries in use but the daemon's */
        uint64_t handles;
        uint64_t scratch_bytes;
        uint64_t destroyed; /* handles that ever ended; only whether it is another number than before means something */
        uint64_t activity;  /* likewise, for all that comes and goes */
} Totals;

void totals_read(const Segment *seg, Totals *ret);

/* Hints: is there no slot, no span left that anybody could take? */
bool totals_no_slot(const Segment *seg);
bool totals_no_span(const Segment *seg);

/* Counts what is there and corrects the daemon's account so that totals_read() is exact, unless clients work on meanwhile: after a
 * daemon died. For the daemon alone, whose first hazard line it uses. */
void totals_recount(Segment *seg);
