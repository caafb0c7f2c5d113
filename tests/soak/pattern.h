/* SPDX-License-Identifier: MIT */
#pragma once

/* What the soak writes into blocks of scratch memory: words that tell of which block they are, and where in it. */

#include <stdint.h>

#include "monohandle.h"

/* The beginning and the end of the block; of a small one, all but what is left over of a word. */
void pattern_fill(mh_scratch s, uint8_t *data, uint64_t size);

/* The first of these places where something else stands, or UINT64_MAX. */
uint64_t pattern_spoiled_at(mh_scratch s, const uint8_t *data, uint64_t size);
