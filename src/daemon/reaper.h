/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Gives back what the dead held. They stand in a queue; one of them is worked on at a time, for less than a
 * millisecond in one turn of the event loop, and everybody else has his turn in between. When there is nothing else that
 * sd-event has to do, empty chunks of the handle table give their memory back in turns of the same kind.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/timer.h"

typedef struct Attachment Attachment;
typedef struct Server Server;

typedef struct Reaper {
        Server *server;
        int kick; /* an eventfd that is always readable: an event source that takes turns like a socket does */
        sd_event_source *work;
        Timer later; /* when there was no memory to begin */
        sd_event_source *trim;
        uint32_t trim_cursor;
        Attachment *first, *last;
        unsigned n;           /* in the queue */
        unsigned n_postponed; /* in a row, for want of memory */
        unsigned n_stalled;   /* turns in which the first one did not get on */
} Reaper;

int reaper_init(Reaper *r, Server *server);
void reaper_done(Reaper *r);

/* `a` is dead. It is freed once it is reaped. */
void reaper_add(Reaper *r, Attachment *a);

/* Works on without letting others have their turn, until one entry (`all`: the queue) is done, or the time is over.
 * True if it was done. */
bool reaper_hurry(Reaper *r, bool all, uint64_t usec);

/* Handles have gone: look for memory to give back when there is time. */
void reaper_trim(Reaper *r);

/* The segment is no more: forgets the queue. Whose attachments they are frees them. */
void reaper_forget(Reaper *r);
