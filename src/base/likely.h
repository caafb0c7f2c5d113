/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * For paths where nanoseconds count: which way a branch nearly always goes, and functions that are nearly never called and shall
 * not take up room or registers in their callers.
 */

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define _cold_      __attribute__((cold, noinline))
#define _noinline_  __attribute__((noinline))
/* Though all its callers are cold: it has a loop in it that is not. */
#define _hot_ __attribute__((hot, noinline))
