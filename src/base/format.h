/* SPDX-License-Identifier: MIT */
#pragma once

/* Numbers as people read them: the other direction of parse.h.
 *
 * Each writes into the caller's buffer of FORMAT_MAX bytes and returns it, so that a call can stand in a list of
 * arguments: `printf("%s", format_bytes((char[FORMAT_MAX]){}, n))`. */

#include <stdint.h>

#define FORMAT_MAX 32

/* With one decimal in the largest unit that fits: "0 B", "1023 B", "48.0 KiB", "2.5 GiB". */
char *format_bytes(char buffer[static FORMAT_MAX], uint64_t bytes);

/* Exactly, and so that parse_size() reads it: "64K", "1000", "infinity" for PARSE_INFINITY. */
char *format_size(char buffer[static FORMAT_MAX], uint64_t bytes);
