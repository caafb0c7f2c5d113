/* SPDX-License-Identifier: MIT */

#include "crash/fail.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX    12U
#define STANDSTILL_S 60U

Where where;
static unsigned count;

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

static void on_signal(int sig)
{
        fail_hard("%s", sig == SIGALRM ? "standstill" : strsignal(sig));
}

void fail_watch(void)
{
        static const int signals[] = { SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
        struct sigaction action = { .sa_handler = on_signal };

        action.sa_flags = (int)SA_RESETHAND;
        for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                (void)sigaction(signals[i], &action, NULL);
        fail_alive();
}

void fail_alive(void)
{
        (void)alarm(STANDSTILL_S);
}
