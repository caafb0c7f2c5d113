/* SPDX-License-Identifier: MIT */
#pragma once

/* Time that goes on at the same pace whatever is done to the clock on the wall. */

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC UINT64_C(1000000)

/* Microseconds of CLOCK_MONOTONIC. */
static inline uint64_t clock_usec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}
