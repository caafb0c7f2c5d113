/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether a process lacked a processor. Where many want to run, one that could may have to wait for seconds, and whoever
 * waits for what it does must not take it for stuck. Time that it spends so is the machine's; time in which it sleeps, or
 * runs and gets nowhere, is its own.
 *
 * By schedstat and stat in proc(5); where the kernel does not tell, nobody ever waited. Of a process with several threads
 * the first one is looked at.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* An empty text if there is no such file. `pid` 0: of this thread. */
static inline void starve_read_file(pid_t pid, const char *name, char *text, size_t size)
{
        char path[64];
        ssize_t n = -1;
        int fd;

        if (pid > 0)
                (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        else
                (void)snprintf(path, sizeof(path), "/proc/thread-self/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
                n = read(fd, text, size - 1);
                (void)close(fd);
        }
        text[n > 0 ? n : 0] = 0;
}

/*
 * How long it ran (*ret_ran, nanoseconds), and how long it could have and did not (*ret_delay, microseconds), both only up
 * to when it last began to run. `pid` 0: this thread.
 */
static inline bool starve_read(pid_t pid, uint64_t *ret_ran, uint64_t *ret_delay)
{
        unsigned long long ran, delay;
        char text[64];

        starve_read_file(pid, "schedstat", text, sizeof(text));
        if (sscanf(text, "%llu %llu", &ran, &delay) != 2)
                return false;
        *ret_ran = ran;
        *ret_delay = delay / 1000;
        return true;
}

/* It could run, or does. */
static inline bool starve_is_runnable(pid_t pid)
{
        char text[512], *end;

        starve_read_file(pid, "stat", text, sizeof(text));
        end = strrchr(text, ')'); /* its name may have any character in it */
        return end && end[1] == ' ' && end[2] == 'R';
}

/* It can run, and did not in all the time that `usec` says, which is how long this takes. */
static inline bool starve_now(pid_t pid, unsigned usec)
{
        uint64_t before, after, delay;

        if (!starve_is_runnable(pid) || !starve_read(pid, &before, &delay))
                return false;
        (void)usleep(usec);
        return starve_is_runnable(pid) && starve_read(pid, &after, &delay) && after == before;
}
