/* SPDX-License-Identifier: MIT */
#pragma once

/* What is measured: one table, which the measuring, the printed table, the JSON and --list all go by. */

#include <stddef.h>

typedef struct Key {
        const char *name;
        const char *peer; /* NULL: the number is not compared with anything */
        double limit;     /* the ratio is at most that; 0: there is none */
        const char *what; /* what the two do */
} Key;

extern const Key keys[];
extern const size_t n_keys;

/* Ends the program if there is no such key. */
size_t key_index(const char *name);
