/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * An array of strings in one block of memory, without pointers, so that it means the same wherever it is mapped:
 *
 *      count     uint64_t
 *      offsets   uint64_t [count]   of each string, in bytes from the start of the block
 *      bytes     the strings, each with its NUL
 *
 * Somebody may write to such a block while it is read. So reading copies it first, and checks the copy.
 */

#include <stddef.h>
#include <stdint.h>

/* How large a block for it must be. -EOVERFLOW. */
int strv_packed_size(const char *const *strv, size_t *ret);

/*
 * Writes it into a block of strv_packed_size() bytes. The strings may be changed by somebody meanwhile, as strings of a
 * program's can: no more than `size` bytes are written. -EINVAL they were.
 */
int strv_pack(const char *const *strv, void *block, size_t size);

/* A private copy: NULL-terminated, in one piece, for free(3). -EBADMSG no such array, -ENOMEM. */
int strv_unpack(const void *block, size_t size, char ***ret);
