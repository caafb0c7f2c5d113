/* SPDX-License-Identifier: MIT */
#pragma once

/* Numbers as people write them.
 *
 * Strict: no blanks, no sign, nothing left over, and what does not fit is -ERANGE rather than something else; all that
 * is not a number is -EINVAL. The output is untouched on failure. */

#include <stdint.h>

#define PARSE_INFINITY UINT64_MAX

/* Decimal, from `min` to `max`, both included. */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/* Bytes, plainly or in units of 1,024: "65536", "64K", "2G"; K, M, G, T, P, E in either case. */
int parse_size(const char *s, uint64_t *ret);

/* Microseconds. A unit of us, ms, s, min, h or d; seconds without one; "0.5" is fine. "infinity" is PARSE_INFINITY. */
int parse_duration(const char *s, uint64_t *ret_usec);
