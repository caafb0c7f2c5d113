/* SPDX-License-Identifier: MIT */

#include "crash/fail.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_MAX 12U

/* Seconds of processor time; what is done between two calls of fail_alive() takes some milliseconds. */
#define LOOP_S      30.0
#define LOOK_S      10U
#define STILL_S     0.005
#define STILL_LOOKS 6U

Where where;
static unsigned count;
static clockid_t process_clock = CLOCK_PROCESS_CPUTIME_ID; /* of the other one */
static double used;                                        /* by both, when fail_alive() was last called */
static double seen;                                        /* at the last look */
static unsigned still;                                     /* looks since then without any use */

extern const char __executable_start[];

/* Instructions of this program are named so that addr2line(1) understands them. */
static void say_where(FILE *f)
{
        fprintf(f, "# %s (%s), instruction %llu", where.scenario ? where.scenario : "?", where.mode ? where.mode : "?",
                (unsigned long long)where.point);
        if (where.rip)
                fprintf(f, " at 0x%llx", (unsigned long long)(where.rip - (uint64_t)(uintptr_t)__executable_start));
        if (where.other)
                fprintf(f, ", meanwhile %s", where.other);
        if (where.what)
                fprintf(f, ", %s", where.what);
        fputs(": ", f);
}

bool fail(const char *format, ...)
{
        va_list ap;

        if (count++ >= SHOWN_MAX)
                return false;
        say_where(stdout);
        va_start(ap, format);
        vfprintf(stdout, format, ap);
        va_end(ap);
        putchar('\n');
        return false;
}

unsigned fail_count(void)
{
        return count;
}

void fail_reset(void)
{
        count = 0;
}

void fail_hard(const char *format, ...)
{
        va_list ap;

        printf("Bail out! ");
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        say_where(stdout);
        puts("here");
        fflush(stdout);
        _exit(1);
}

static double seconds(clockid_t clock)
{
        struct timespec t;

        return clock_gettime(clock, &t) < 0 ? 0 : (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double fail_now(void)
{
        return seconds(CLOCK_MONOTONIC);
}

static double seconds_used(void)
{
        return seconds(CLOCK_PROCESS_CPUTIME_ID) + seconds(process_clock);
}

/* Who waits for what does not come uses no time at all. */
static bool stands_still(double now_used)
{
        still = now_used - seen < STILL_S ? still + 1 : 0;
        seen = now_used;
        return still >= STILL_LOOKS;
}

static void on_signal(int sig)
{
        double now_used;

        if (sig != SIGALRM)
                fail_hard("%s", strsignal(sig));
        now_used = seconds_used();
        if (now_used - used >= LOOP_S)
                fail_hard("an endless loop");
        if (stands_still(now_used))
                fail_hard("a standstill");
        (void)alarm(LOOK_S);
}

void fail_watch(void)
{
        static const int signals[] = { SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };

        for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
                struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

                if (signals[i] != SIGALRM)
                        action.sa_flags = (int)SA_RESETHAND;
                (void)sigaction(signals[i], &action, NULL);
        }
        fail_alive();
}

void fail_alive(void)
{
        used = seconds_used();
        (void)alarm(LOOK_S);
}

void fail_process(pid_t pid)
{
        if (clock_getcpuclockid(pid, &process_clock) != 0)
                process_clock = CLOCK_PROCESS_CPUTIME_ID;
}
