/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The other answer to the old question: the same handle table behind one robust process-shared mutex. The calls are
 * those of <monohandle.h> and give the same errors for the same arguments. It is a shared object of its own, so that
 * both are called across the same kind of border.
 */

#include <stdint.h>

typedef struct mt_client mt_client;

#define MT_CLOSED_HERE       1U
#define MT_CLOSED_EVERYWHERE 2U

/* A file descriptor of an empty table, for mt_attach() in this process and in others. -errno. */
int mt_create(uint32_t n_slots, uint32_t n_clients);

/* `id` is below the n_clients of mt_create(), and nobody else's. The descriptor stays the caller's. */
int mt_attach(mt_client **ret, int fd, uint32_t id);
mt_client *mt_detach(mt_client *c);

int mt_new(mt_client *c, int type, uint64_t *ret);
int mt_open(mt_client *c, uint64_t h, int *ret_type);
int mt_close(mt_client *c, uint64_t h, unsigned *ret_flags);
