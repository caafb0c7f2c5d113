/* SPDX-License-Identifier: MIT */
#pragma once

/* mono-handlectl: what a person looks with.
 *
 * It reads the segment with pread(2) and nothing else: it maps nothing, changes nothing, and does not talk to the daemon. So
 * it works while the daemon is down or hangs, and looking costs no memory.
 *
 * What it shows comes from memory that any process of the user can write, and goes to a terminal: strings are escaped, and
 * no number is followed before it was checked (view.h does that). */

#include <stdbool.h>
#include <stddef.h>

/* Also in mono-handlectl(1). */
enum {
        CTL_OK = 0,
        CTL_FINDINGS = 1, /* check found something */
        CTL_FAILED = 2,   /* wrong usage, or the segment cannot be read */
        CTL_NOTHING = 3,  /* there is no segment */
};

typedef struct Options {
        const char *socket;  /* NULL: the default */
        const char *segment; /* NULL: the one of the socket */
        const char *output;  /* NULL: the default columns */
        bool json;
        bool raw;
        bool noheadings;
        bool bytes;
        bool at_rest;
} Options;

typedef struct Column {
        const char *name;
        const char *help;
        int flags;    /* SCOLS_FL_* */
        int json;     /* SCOLS_JSON_* */
        bool initial; /* shown unless others are asked for */
} Column;

typedef struct Command {
        const char *name;
        const char *help;
        const Column *columns;
        size_t n_columns;
        int (*run)(const Options *options); /* one of CTL_* */
} Command;

extern const Command command_status;
extern const Command command_clients;
extern const Command command_list;
extern const Command command_scratch;
extern const Command command_check;

/* On stderr, with the program's name before it and a line break behind. Returns CTL_FAILED. */
int ctl_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
