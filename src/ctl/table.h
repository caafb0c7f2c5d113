/* SPDX-License-Identifier: MIT */
#pragma once

/* A table of what was found, shown as the options say. The columns are described once, by Column: that is where --help,
 * --output, the headings and JSON have them from. A column is named by its place in that array. */

#include <libsmartcols.h>
#include <stdint.h>

#include "ctl/ctl.h"

#define TABLE_COLUMNS_MAX 32U

typedef struct Table {
        struct libscols_table *table;
        struct libscols_line *line; /* the row at hand */
        const Options *options;
        const Column *columns;
        size_t chosen[TABLE_COLUMNS_MAX]; /* in the order in which they are shown */
        size_t n_chosen;
        bool failed; /* no memory: told by table_print() */
} Table;

/* CTL_OK, or CTL_FAILED where --output names what there is not. Always to be released. */
int table_init(Table *t, const Options *options, const Command *command);
void table_done(Table *t);

/* Is it worth to find out? */
bool table_wants(const Table *t, size_t column);

/* Begins a row; then its cells are set. What is not shown is dropped; what is not set, or empty, is nothing: "-" in --raw,
 * null in JSON. */
void table_row(Table *t);
void table_set(Table *t, size_t column, const char *text);
void table_setf(Table *t, size_t column, const char *format, ...) __attribute__((format(printf, 3, 4)));
void table_set_number(Table *t, size_t column, uint64_t n);

/* Bytes: for people, or plainly with --bytes, --json and --raw. */
void table_set_bytes(Table *t, size_t column, uint64_t n);

/* A list in one cell: `text` with a line break between two items, which becomes a blank where no list can be shown. */
void table_set_list(Table *t, size_t column, char *text);

/* CTL_OK or CTL_FAILED. */
int table_print(Table *t);
