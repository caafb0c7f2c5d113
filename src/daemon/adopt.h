/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Taking over a segment. A daemon can die between any two instructions, and all that it knew stands in the segment:
 * who is attached, what they hold, and what was being done for them. Each step here can be repeated, so a daemon that
 * dies while it adopts is followed by one that adopts again.
 */

#include <stdbool.h>

#include "shm/segment.h"

typedef struct Server Server;

typedef enum AdoptFrom {
        ADOPT_NEW,     /* just made: nobody is in it */
        ADOPT_FDSTORE, /* the service manager kept it */
        ADOPT_RECORD,  /* found by the record beside the socket */
        ADOPT_BROUGHT, /* a client brought it */
} AdoptFrom;

/* The store has opened a segment: makes it the server's. On failure the server is without a segment. */
int adopt_segment(Server *s, AdoptFrom from);

/* At start: `fds` are those that the fd store kept under the name of the segment; all are taken. 1: found and adopted;
 * 0: there is none, or none that can be used; -EPROTONOSUPPORT: one of another format, -EREMOTE: one whose clients cannot be
 * seen from here, -EXDEV: one of another user, or of this one in another user namespace; they are left as they are, and so
 * is the record; -errno. */
int adopt_at_start(Server *s, int *fds, size_t n_fds);

/* Does another daemon serve this segment at this moment? Only for one that did not come to us by right of the lock. 1, 0;
 * -EREMOTE, -EXDEV: that cannot be told from here, see claim.h; -errno. */
int adopt_is_served(const Segment *loaded);
