/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What clients do that do not ask. Who writes its ledger itself sends no requests, so the daemon learns neither what it made
 * and closed, nor that a call of it failed for a limit or for want of memory. But all of that leaves its mark in the segment:
 * so, as long as there is such a client, the accounts are looked at now and then. Often while something happens, seldom while
 * nothing does, and not at all when no such client is there: an idle daemon sleeps.
 *
 * What is found is what was so at that instant. A limit that was reached and left between two looks is not told.
 */

#include <stdint.h>

typedef struct Server Server;

typedef struct Watch {
        uint64_t activity; /* at the last look, see totals.h */
        uint64_t pause;    /* before the next look, in microseconds; 0: begin with the shortest */
        unsigned told;     /* what of the segment was full at the last look */
} Watch;

/* Looks, and tells what has come to its limit since the last time. In how many microseconds to do it again; 0: not before a
 * client of that kind comes. */
uint64_t watch_look(Server *s);
