/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The file beside the socket, "<socket>.segment", that says which shared-memory object is the segment: one line, its
 * name and its id in hex. The next daemon finds the segment by it when no fd store brings it, and people do.
 *
 * It is written before the object is made, with an id of zeros, and again once it is whole: so whatever a daemon that
 * died in between left behind, its name is known. Only the holder of the lock writes it.
 */

#include <stddef.h>
#include <stdint.h>

/* "/mono-handle-d.", a uid, ".", 16 hex digits. */
#define RECORD_NAME_MAX 48

typedef struct Record {
        char name[RECORD_NAME_MAX]; /* as shm_open() takes it */
        uint8_t id[16];             /* zeros: the segment was not finished */
} Record;

/* Makes up a name that nobody has guessed, and an id of zeros. */
int record_make(Record *ret);

/* 0; 1: it is one of another user, or of this one under another number, in another user namespace. -ENOENT: there is none;
 * -EBADMSG: that is not one; -errno: who knows. */
int record_read(const char *path, Record *ret);

/* Replaces the file whole or not at all. */
int record_write(const char *path, const Record *record);

/* It is no error that there is none. */
int record_remove(const char *path);

/* Is it a name such as record_make() makes? 0; 1: for another user; -EBADMSG. */
int record_check_name(const char *name);
