/* SPDX-License-Identifier: MIT */
#pragma once

/* What is measured: one table, which the measuring, the printed table, the JSON and --list all go by. */

#include <stdbool.h>
#include <stddef.h>

typedef struct Key {
        const char *name;
        const char *peer; /* NULL: the number is not compared with anything */
        double limit;     /* the ratio is at most that; 0: there is none */
        const char *what; /* what the two do */
} Key;

extern const Key keys[];
extern const size_t n_keys;

/*
 * "Flat": what shall take the same time, however many there are. Our time at the last key of a series, by that at the
 * first. Of it is taken off by how much more the peer takes there, if that is a control: code that does nothing but
 * touch the same places, so that what the caches and the TLB make of it is not ours.
 */
typedef struct Flat {
        const char *first, *last;
        double limit;
        bool control;
} Flat;

extern const Flat flats[];
extern const size_t n_flats;

/* Ends the program if there is no such key. */
size_t key_index(const char *name);
