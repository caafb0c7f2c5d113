/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What can be set. One table (in options.c) is the command line, the environment and --help at once: every option
 * `--idle-timeout` is also the variable MONO_HANDLE_D_IDLE_TIMEOUT, for the unit; the command line wins. A variable that
 * is empty counts as not set.
 *
 * A wrong value is never replaced by a guess: it is refused, with a message that names the option or the variable, and
 * the daemon exits with OPTIONS_EXIT_WRONG, which tells the service manager that trying again is of no use.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/log.h"
#include "shm/segment.h"

#define OPTIONS_EXIT_WRONG 2

#define OPTIONS_HANDLES_MIN     512
#define OPTIONS_HANDLES_MAX     (1 << 24)
#define OPTIONS_HANDLES_STEP    512
#define OPTIONS_CLIENTS_MIN     2 /* id 0 is the daemon itself */
#define OPTIONS_CLIENTS_MAX     4096
#define OPTIONS_SCRATCH_STEP    (UINT64_C(64) << 10)
#define OPTIONS_SCRATCH_MAX     (UINT64_C(1) << 40)
#define OPTIONS_CONNECTIONS_MAX 65536

typedef struct Options {
        char socket[PATH_MAX];       /* absolute */
        uint64_t idle_timeout_usec;  /* PARSE_INFINITY: stays; 0: leaves as soon as nobody is there */
        uint64_t hello_timeout_usec; /* PARSE_INFINITY: none */
        SegmentConfig segment;       /* capacities and limits per client, each limit at most the capacity */
        uint32_t connections;        /* at most so many at once */
        bool sweep;                  /* look for segments that are nobody's */
        int log_level;               /* LOG_EMERG … LOG_DEBUG */
        LogTarget log_target;
} Options;

typedef enum OptionsOutcome {
        OPTIONS_RUN,  /* *ret is filled */
        OPTIONS_DONE, /* --help or --version: it is printed, exit with 0 */
} OptionsOutcome;

/*
 * Reads the environment and the arguments. An OptionsOutcome, or -EINVAL after a message on `err`: exit with
 * OPTIONS_EXIT_WRONG.
 */
int options_parse(Options *ret, int argc, char *const argv[], FILE *out, FILE *err);
