/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Which tool the tests run under, and how much slower all is there: ./dev test says it in the environment.
 */

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

/* "valgrind", "asan", "tsan", or "" where it is none. */
static inline const char *under_tool(void)
{
        return getenv("MONO_HANDLE_TEST_TOOL") ?: "";
}

/* For what a tool cannot do at all. Whatever it only does slowly is done less often: see under_slowness(). */
static inline void skip_under(const char *tool, const char *why)
{
        if (strcmp(under_tool(), tool) == 0)
                cr_skip_test("%s %s", tool, why);
}

/* 1, or about how many times slower everything is: by so much deadlines may be longer, and repetitions fewer. */
static inline unsigned under_slowness(void)
{
        const char *s = getenv("MONO_HANDLE_TEST_SLOWNESS");
        int n = s ? atoi(s) : 1;

        return n > 1 ? (unsigned)n : 1;
}
