/* SPDX-License-Identifier: MIT */
#pragma once

/* Numbers that nobody guesses by accident: names, nonces, the first generation of a segment.
 *
 * They come from the kernel. Early at boot, before its pool is seeded, getrandom() would wait, perhaps for ever, on a
 * machine where nothing happens; then numbers of less quality are taken instead, because what they are for is telling
 * things apart, not secrets. Where the kernel gives none at all the caller learns it: there is no fallback to a clock. */

#include <stddef.h>
#include <stdint.h>

int random_bytes(void *buffer, size_t size);
int random_u64(uint64_t *ret);
