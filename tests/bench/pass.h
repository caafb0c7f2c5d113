/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A pass: every pair of operations once, in a process that was made for it. Where things happen to lie in memory makes a
 * difference of several percent, and stays the same as long as the process lives; so there are several passes, and
 * what they found is thrown together.
 *
 * A pass writes lines for the one who collects them: "key NAME" when it begins with one, "sample NAME OURS PEER" in
 * nanoseconds (or KiB), "skip NAME REASON".
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Pass {
        FILE *out;
        bool quick;
        const char *only; /* keys, separated by commas; NULL: all */
        const char *source_root;
        const char *build_root;
        const char *self;        /* this program */
        const char *notify_peer; /* the one of notify-peer.c */
        unsigned rounds;
        uint64_t slice_nsec; /* how long one side runs before it is the other's turn */
} Pass;

extern Pass the_pass;

void pass_run(void);

/* Are any of the keys that begin so asked for? */
bool pass_wants(const char *prefix);

void pass_begin(const char *key);
void pass_sample(const char *key, double ours, double peer);
__attribute__((format(printf, 2, 3))) void pass_skip(const char *key, const char *reason, ...);

/* The parts of it; see their files. */
void run_handles(void);
void run_scratch(void);
void run_wire(void);
void run_reap(void);
void run_restart(void);
void run_grow(void);

/* The inner part of run_restart(), which runs in a world with a service manager: see restart.sh. */
void restart_loop(unsigned rounds);
