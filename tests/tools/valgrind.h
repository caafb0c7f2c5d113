/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Does this run under valgrind? Some of the kernel it plays itself, such as the limit of descriptors, and some calls it does
 * not know.
 */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool on_valgrind(void)
{
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "vgpreload");
}
