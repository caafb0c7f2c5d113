/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What strings.c needs of scratch memory: mh_scratch_alloc(), _free() and _data() behind their border.
 */

#include "monohandle.h"

int memory_take(mh_client *c, uint64_t size, mh_scratch *ret);
int memory_give_back(mh_client *c, mh_scratch s);
int memory_where(mh_client *c, mh_scratch s, void **ret, size_t *ret_size);
