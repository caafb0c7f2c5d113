/* SPDX-License-Identifier: MIT */
#pragma once

/* What comes from the segment, as text that is safe to show. Each writes into the caller's buffer of TEXT_MAX bytes and
 * returns it. */

#include <stddef.h>
#include <stdint.h>

#include "proto/shm-layout.h"

#define TEXT_MAX 256

/* Printable ASCII stays; a backslash and all else become a backslash and three octal digits. At most `size` bytes, or up to a
 * NUL. */
char *text_escape(char buffer[static TEXT_MAX], const char *s, size_t size);

/* The same bytes as dots where they cannot be shown, without the NULs at the end: a preview. */
char *text_preview(char buffer[static TEXT_MAX], const void *data, size_t size);

/* All of them in hex, at most 127. */
char *text_hex(char buffer[static TEXT_MAX], const void *data, size_t size);

/* Microseconds since 1970 as ISO 8601 in local time, or "". */
char *text_time(char buffer[static TEXT_MAX], uint64_t usec);

/* "mutex", or the number. */
char *text_type(char buffer[static TEXT_MAX], unsigned type);

/* Is that process still there, of which a segment with this SHARED tells? "yes", "no", or "unknown". */
const char *text_alive(const struct mh_shm_shared *shared, uint32_t pid, uint64_t start_time);
