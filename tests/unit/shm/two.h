/* SPDX-License-Identifier: MIT */
#pragma once

/* Two clients of a small segment, and the shortest way to do what nearly every test does. One to a program. */

#include "shm/scratch.h"
#include "shm/slot.h"
#include "unit/shm/fixture.h"

#define SPAN ((uint64_t)MH_SHM_SPAN_SIZE)

static Fixture f;
static Actor a, b;

static inline void open_two(void)
{
        fixture_open(&f);
        (void)fixture_attach(&f, FIXTURE_OWN, &a);
        (void)fixture_attach(&f, FIXTURE_OWN, &b);
}

static inline uint64_t take(Actor *by, uint64_t size)
{
        uint64_t s = 0;

        cr_assert_eq(scratch_alloc(by, size, &s, NULL), 0, "%llu bytes", (unsigned long long)size);
        return s;
}

static inline uint32_t span_of(uint64_t s)
{
        return (uint32_t)(scratch_offset(s) / SPAN);
}

#define TYPE 64U /* of handles that make() makes */

static inline uint64_t make(Actor *by)
{
        uint64_t h = 0;

        cr_assert_eq(slot_new(by, TYPE, &h), 0);
        cr_assert_neq(h, 0);
        return h;
}

#define GONE (SLOT_CLOSED_HERE | SLOT_CLOSED_EVERYWHERE)

/* What the close said. */
static inline unsigned closed(Actor *by, uint64_t h)
{
        unsigned flags = 77;

        cr_assert_eq(slot_close(by, h, &flags), 0);
        return flags;
}
