/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Giving back the memory of chunks without handles. Only the daemon does, in its own name (client 0).
 */

#include "shm/actor.h"

/*
 * Looks at chunks from *cursor (start at 0) on, for about `units` of work (a chunk to look at is one unit, one to close
 * counts for more), and closes those without handles but for the first `keep` of them. 1: go on later; 0: once through, and
 * *cursor is 0 again.
 */
int trim_step(Segment *seg, uint32_t *cursor, unsigned keep, unsigned units);

/*
 * What a former daemon was closing when it died. At adoption, before anything else, and for a new segment. And some memory is put
 * by, because to give memory back takes some, and there may be none just when it matters.
 */
void trim_recover(Segment *seg);
