/* SPDX-License-Identifier: MIT */
#pragma once

/* What all passes found, and how it is told. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct Sample {
        double ours, peer;
} Sample;

typedef struct Result {
        Sample *samples;
        size_t n, allocated;
        char skipped[160]; /* why; empty: it was not */
} Result;

/* Of one key. The ratio is the median of the ratios of neighbours, not the ratio of the medians. */
typedef struct Summary {
        double ratio;
        double ours, peer; /* medians */
        double spread;     /* half of what is between the quartiles of the ratio, in percent of it */
        double itself;     /* the same code against itself: medians of the odd rounds and the even ones of ours */
        bool exceeds;      /* the limit */
} Summary;

void result_add(Result *r, double ours, double peer);

/* Median of the ratios so far, or of ours where there is no peer. */
double result_ratio(const Result *r, size_t key);

void result_summary(const Result *r, size_t key, Summary *ret);

/* `results` has an entry for each key. How many limits are exceeded. */
unsigned results_print(const Result *results, FILE *f);

/* The same for what shall be flat. What was not measured is left out. */
unsigned results_print_flats(const Result *results, FILE *f);

int results_write_json(const Result *results, FILE *f);
