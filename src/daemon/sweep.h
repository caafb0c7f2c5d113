/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Segments that nobody will come for. A segment is found by its record, by the fd store, or by a client that brings it; if the
 * runtime directory went at the end of a session while a client lived, and then that client went, nothing leads there any
 * more, and its memory is lost until the machine is started anew. So a daemon looks through /dev/shm when it starts.
 *
 * It may be another daemon's, at another socket; that one may just be making it, or be about to take it over. So a segment
 * goes only if it is proven to be nobody's, and what is not understood stays: see is_nobodys() in sweep.c.
 */

/* Looks at what this user has in /dev/shm, but for `own` ("": none). Bounded in number and in time. */
void sweep(const char *own);
