/* SPDX-License-Identifier: MIT */
#pragma once

/* What a segment is made of, saved and put back.
 *
 * A segment is nothing but pages that are there or not, and what is in them. So "the process was killed here" is a
 * Snapshot, and to go on from there, as often as wanted, is to put it back: that takes tens of microseconds.
 *
 * Which pages are there is known by watching fallocate(2), because asking the kernel does not tell reserved pages
 * from holes. A page that appears without such a call was touched without being reserved, which nobody may:
 * memory_check() finds it by comparing the number of pages.
 *
 * Nothing in src/shm looks into the blocks that it hands out, and they are most of the memory. So of the data region
 * only those pages are kept that the test itself wrote to, see memory_mark(). */

#include "shm/segment.h"

typedef struct Snapshot {
        uint64_t *present; /* a bit for each page */
        uint64_t *marked;  /* in the data region: its content counts */
        uint8_t *pages;    /* as far as they are present */
        void *extra;       /* the other memory that belongs to the state */
} Snapshot;

typedef struct Memory {
        const Segment *seg;
        uint64_t *present, *marked;
        uint32_t n_pages, first_data; /* pages of the segment; first of the data region */
        void *extra;
        size_t extra_size;
} Memory;

/* `seg` is mapped as a whole and was made by this process after memory_watch(). */
void memory_watch(void);
void memory_init(Memory *m, const Segment *seg, void *extra, size_t extra_size);
void memory_done(Memory *m);

void snapshot_init(Snapshot *s, const Memory *m);
void snapshot_done(Snapshot *s, const Memory *m);

void memory_save(const Memory *m, Snapshot *ret);
void memory_restore(Memory *m, const Snapshot *s);

/* Does the segment differ from the snapshot? Without `extra`. */
bool memory_differs(const Memory *m, const Snapshot *s);

/* Content of the data region at this offset, from its start, counts from now on. */
void memory_mark(Memory *m, uint64_t offset);

/* Another process called fallocate(2) for the segment. */
void memory_note(Memory *m, int mode, uint64_t offset, uint64_t size);

/* The number of pages that are there although nobody reserved them, or the other way round (negative). */
long memory_check(const Memory *m);

/* Puts the books right after memory_check() found something. */
void memory_forgive(Memory *m);
