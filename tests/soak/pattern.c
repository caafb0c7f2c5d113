/* SPDX-License-Identifier: MIT */

#include "soak/pattern.h"

#include "base/cleanup.h"
#include "soak/board.h"

#define FIRST_MAX 4096U /* bytes from the beginning */
#define LAST_MAX  64U   /* and up to the end */

static uint64_t word_at(mh_scratch s, uint64_t at)
{
        return mix(s ^ at << 20);
}

/* Bytes from the beginning, and from where on to the end. */
static void find_parts(uint64_t size, uint64_t *ret_first, uint64_t *ret_rest)
{
        size &= ~UINT64_C(7);
        *ret_first = MIN(size, UINT64_C(0) + FIRST_MAX);
        *ret_rest = size - MIN(size - *ret_first, UINT64_C(0) + LAST_MAX);
}

void pattern_fill(mh_scratch s, uint8_t *data, uint64_t size)
{
        uint64_t first, rest;

        find_parts(size, &first, &rest);
        for (uint64_t at = 0; at + 8 <= size; at = at + 8 == first && rest > first ? rest : at + 8)
                *(uint64_t *)(void *)(data + at) = word_at(s, at);
}

uint64_t pattern_spoiled_at(mh_scratch s, const uint8_t *data, uint64_t size)
{
        uint64_t first, rest;

        find_parts(size, &first, &rest);
        for (uint64_t at = 0; at + 8 <= size; at = at + 8 == first && rest > first ? rest : at + 8)
                if (*(const uint64_t *)(const void *)(data + at) != word_at(s, at))
                        return at;
        return UINT64_MAX;
}
