/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the test is, for whatever goes wrong there; and how it says so. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Where {
        const char *scenario;
        const char *mode;  /* client, wire */
        const char *what;  /* what is tried at the moment */
        const char *other; /* what another client did meanwhile, or NULL */
        uint64_t point;    /* instructions that were executed */
        uint64_t rip;      /* of the next one */
} Where;

extern Where where;

/* Counts, and says the first few of each scenario. Always false, so that a check can return it. */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
unsigned fail_count(void);
void fail_reset(void);

/* The test itself cannot go on. */
void fail_hard(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* From now on, a crash or an endless loop says where. fail_alive() is to be called every so many seconds. A loop is what
 * takes processor time, in this process or in that one; a machine may be slow, or stopped for an hour. */
void fail_watch(void);
void fail_alive(void);
void fail_process(pid_t pid);

/* Seconds, from whenever. */
double fail_now(void);
