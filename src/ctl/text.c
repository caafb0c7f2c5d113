/* SPDX-License-Identifier: MIT */

#include "ctl/text.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "shm/place.h"

static bool printable(unsigned char c)
{
        return c >= 0x20 && c < 0x7f;
}

char *text_escape(char buffer[static TEXT_MAX], const char *s, size_t size)
{
        size_t used = 0;

        for (size_t i = 0; i < size && s[i] && used < TEXT_MAX - 5; i++) {
                if (printable((unsigned char)s[i]) && s[i] != '\\')
                        buffer[used++] = s[i];
                else
                        used += (size_t)snprintf(buffer + used, TEXT_MAX - used, "\\%03o", (unsigned char)s[i]);
        }
        buffer[used] = 0;
        return buffer;
}

char *text_preview(char buffer[static TEXT_MAX], const void *data, size_t size)
{
        const unsigned char *bytes = data;

        size = MIN(size, (size_t)TEXT_MAX - 1);
        while (size > 0 && bytes[size - 1] == 0)
                size--;
        for (size_t i = 0; i < size; i++)
                buffer[i] = printable(bytes[i]) ? (char)bytes[i] : '.';
        buffer[size] = 0;
        return buffer;
}

char *text_hex(char buffer[static TEXT_MAX], const void *data, size_t size)
{
        const unsigned char *bytes = data;

        buffer[0] = 0;
        for (size_t i = 0; i < MIN(size, (size_t)TEXT_MAX / 2 - 1); i++)
                (void)snprintf(buffer + 2 * i, 3, "%02x", bytes[i]);
        return buffer;
}

char *text_time(char buffer[static TEXT_MAX], uint64_t usec)
{
        time_t seconds = (time_t)(usec / 1000000);
        struct tm tm;

        /* A year of more than four digits is scribble. */
        if (usec == 0 || usec / 1000000 > UINT64_C(253402300799) || !localtime_r(&seconds, &tm) ||
            strftime(buffer, TEXT_MAX, "%Y-%m-%dT%H:%M:%S%z", &tm) == 0)
                buffer[0] = 0;
        return buffer;
}

char *text_type(char buffer[static TEXT_MAX], unsigned type)
{
        static const char *const names[] = {
                [1] = "file",  [2] = "console", [3] = "thread", [4] = "sem",     [5] = "mutex",
                [6] = "event", [7] = "socket",  [8] = "find",   [9] = "process", [10] = "pipe",
        };

        if (type < ELEMENTSOF(names) && names[type])
                (void)snprintf(buffer, TEXT_MAX, "%s", names[type]);
        else
                (void)snprintf(buffer, TEXT_MAX, "%u", type);
        return buffer;
}

const char *text_alive(const struct mh_shm_shared *shared, uint32_t pid, uint64_t start_time)
{
        uint64_t started;
        int r;

        if (pid == 0 || pid > INT_MAX || start_time == 0 || place_is_elsewhere(shared))
                return "unknown";
        r = process_start_time((pid_t)pid, &started);
        if (r == -ESRCH)
                return "no";
        if (r < 0)
                return "unknown";
        return started == start_time ? "yes" : "no";
}
