/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one segment that the daemon works on: its object, its mapping, its name, and the record beside the socket.
 *
 * A segment can be reached in three ways, and each of them can fail alone: by the descriptor that the fd store kept,
 * by the name in the record, and by the descriptor that a client brings along when it resumes. Its name can vanish
 * under us (somebody cleans /dev/shm, logind's RemoveIPC=): then it goes on without one.
 *
 * There may be no segment at all: it is made when the first client comes, so that a daemon which found none does not
 * stand in the way of one that a client brings.
 */

#include <limits.h>
#include <stdbool.h>

#include "daemon/record.h"
#include "shm/segment.h"

typedef struct Store {
        char record_path[PATH_MAX];
        int fd;                     /* -1: there is no segment, and the rest means nothing */
        Segment segment;            /* mapped, and watched by sigbus.h */
        char name[RECORD_NAME_MAX]; /* "": none, or none any more */
        bool deserted;              /* nobody has it: who stands in its client table is dead, see claim.h */
} Store;

/* -ENAMETOOLONG. */
int store_init(Store *s, const char *socket_path);

static inline bool store_is_open(const Store *s)
{
        return s->fd >= 0;
}

/*
 * Takes the segment behind `fd`, which the store owns from then on; on failure it is still the caller's. The errors of
 * segment_load(), claim_adopt() and segment_map(); whatever the error, the object, its name and the record stay as they
 * are. The record is brought up to date.
 */
int store_open_fd(Store *s, int fd);

/*
 * What the record names. -ENOENT: there is no such object. Else the errors of store_open_fd(), and the object stays as it
 * is.
 */
int store_open_record(Store *s, const Record *record);

/* Makes a new one. -ENOSPC, -errno. Nothing is left behind on failure. */
int store_create(Store *s, const SegmentConfig *config);

/* Is it still what it was? 0, -EIO it was cut short, -EBADMSG its header was overwritten. */
int store_check(const Store *s);

/* Lets go of the segment, and leaves it to whoever comes next. */
void store_leave(Store *s);

/* Lets go of it and removes its name and the record: nobody shall find it again. If `close`, its header says so too. */
void store_discard(Store *s, bool close);

/* The name under which the object behind `fd` can be opened, or "". */
void store_find_name(int fd, char ret[static RECORD_NAME_MAX]);

/* Removes an object that is of no use, and the record that named it. */
void store_remove_name(Store *s, const char *name);
