/* SPDX-License-Identifier: MIT */

#include "base/format.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/parse.h"

char *format_bytes(char buffer[static FORMAT_MAX], uint64_t bytes)
{
        static const char units[] = "KMGTPE";
        uint64_t whole, tenths;
        unsigned unit = 0;

        if (bytes < 1024) {
                (void)snprintf(buffer, FORMAT_MAX, "%" PRIu64 " B", bytes);
                return buffer;
        }

        while (unit < 5 && bytes >> (10 * (unit + 2)) > 0)
                unit++;

        /* Rounded down, in integers: what is shown is never more than there is. */
        whole = bytes >> (10 * (unit + 1));
        tenths = ((bytes >> (10 * unit)) % 1024) * 10 / 1024;
        (void)snprintf(buffer, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 " %ciB", whole, tenths, units[unit]);
        return buffer;
}

char *format_size(char buffer[static FORMAT_MAX], uint64_t bytes)
{
        static const char units[] = { 'K', 'M', 'G', 'T', 'P', 'E' };
        char suffix[2] = "";

        if (bytes == PARSE_INFINITY) {
                (void)snprintf(buffer, FORMAT_MAX, "infinity");
                return buffer;
        }
        for (size_t i = 0; i < ELEMENTSOF(units) && bytes > 0 && bytes % 1024 == 0; i++) {
                bytes /= 1024;
                suffix[0] = units[i];
        }
        (void)snprintf(buffer, FORMAT_MAX, "%" PRIu64 "%s", bytes, suffix);
        return buffer;
}
