/* SPDX-License-Identifier: MIT */
#pragma once

/* Compares the segment with what the clients believe. */

#include "shm/verify.h"

/* All clients have come to a stop. True if all is as they believe; else what is not was said. */
bool judge(int fd, VerifyStats *ret);

/* Says what is wrong, and returns false. */
bool judge_says(const char *format, ...) __attribute__((format(printf, 1, 2)));
