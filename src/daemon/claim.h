/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whose is a segment? The lock beside the socket says who serves there; it does not say who still has the segment. So every
 * daemon holds a shared flock(2) on the open file description that it hands to its clients. Such a lock lives as long as the
 * description: as long as anybody has that open or mapped, closefrom() or not, and whether the daemon lives or not. Whoever
 * opens the segment anew and gets the exclusive lock knows that no one is left, in any namespace. (He does not know it of
 * clients that do not map the segment, which need no descriptor.)
 *
 * Whether a process lives can only be told in the place where its pid was written down (see process.h). A daemon in another
 * one can tell nothing but that no one is left.
 */

#include <stdbool.h>

#include "shm/segment.h"

/* A shared lock on the description behind `fd`, which is to be handed out. -EBUSY: somebody looks whether anybody is left;
 * if `patient`, he does not come to an end, and otherwise nobody waited for that. */
int claim_share(int fd, bool patient);

/* The exclusive lock, on a description of our own that nobody else has. 1: it is ours, and nobody has the segment; 0. */
int claim_alone(int fd);

/* A client table from the file, looked through without a mapping. 1: `is_one` says so of an entry; 0: of none; -errno. */
int claim_search(const Segment *loaded, bool (*is_one)(const struct mh_shm_client *entry));

/*
 * Is it certain, from wherever we are, that no client is left? For a descriptor of our own, which then has the exclusive lock.
 * 0 also where its daemon did not tell where it is: that one may be of a version without such locks. 1, 0, -errno.
 */
int claim_is_deserted(const Segment *loaded);

/*
 * Can its daemon and its clients be judged from here? 0; -EREMOTE: they have other pids or start times here; -EXDEV: its user
 * has another number here, which is to say another name for it.
 */
int claim_check_place(const Segment *loaded);

/*
 * For a segment that is about to be adopted: takes the shared lock. `anew`: its descriptor was opened by us, by name.
 * 0: whether its clients live can be seen from here; 1: it cannot, but it is certain that none is left; -EREMOTE: neither,
 * and it has to be left to a daemon in another place; -EXDEV: as above; -EBUSY, -errno.
 */
int claim_adopt(const Segment *loaded, bool anew);
