/* SPDX-License-Identifier: MIT */
#pragma once

/* Which segment to look at, and opening it.
 *
 * The daemon leaves a file beside its socket, "<socket>.segment", that says which shared-memory object is the segment: one
 * line, its name and its id in hex. So the segment is found without the daemon. */

#include <limits.h>

#include "ctl/ctl.h"
#include "shm/view.h"

typedef struct Source {
        int fd;
        char name[PATH_MAX];   /* as shm_open(3) takes it, or a path */
        char socket[PATH_MAX]; /* "": the segment was named by the user */
        View view;
} Source;

#define SOURCE_NONE ((Source){ .fd = -1 })

/* CTL_OK, or what to exit with: then it has said why. Always to be released. */
int source_open(Source *s, const Options *options);
void source_close(Source *s);

/* CTL_OK, or CTL_FAILED if something could not be read meanwhile. */
int source_check(const Source *s);

/* Says what is wrong with what segment_load() or a View would not take. Returns what to exit with. */
int source_complain(const Source *s, int error);
