/* SPDX-License-Identifier: MIT */

#include "results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "stage.h"

void result_add(Result *r, double ours, double peer)
{
        if (r->n == r->allocated) {
                r->allocated = r->allocated > 0 ? r->allocated * 2 : 256;
                r->samples = reallocarray(r->samples, r->allocated, sizeof(*r->samples));
                if (!r->samples)
                        die("out of memory");
        }
        r->samples[r->n++] = (Sample){ ours, peer };
}

/* ------------------------------------------------------------------------------------------------ statistics */

static int compare(const void *a, const void *b)
{
        const double *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

/* Between the two values nearest to it. `values` is sorted. */
static double quantile(const double *values, size_t n, double q)
{
        double at = q * (double)(n - 1);
        size_t i = (size_t)at;

        return i + 1 < n ? values[i] + (at - (double)i) * (values[i + 1] - values[i]) : values[i];
}

typedef double (*Field)(const Sample *);

static double field_ours(const Sample *s)
{
        return s->ours;
}

static double field_peer(const Sample *s)
{
        return s->peer;
}

static double field_ratio(const Sample *s)
{
        return s->peer > 0 ? s->ours / s->peer : s->ours;
}

/* Of each `step`th sample from `first` on: sorted, to be freed. */
static double *sorted(const Result *r, Field field, size_t first, size_t step, size_t *ret_n)
{
        double *values = malloc(r->n * sizeof(*values));
        size_t n = 0;

        if (!values)
                die("out of memory");
        for (size_t i = first; i < r->n; i += step)
                values[n++] = field(&r->samples[i]);
        qsort(values, n, sizeof(*values), compare);
        *ret_n = n;
        return values;
}

static double median(const Result *r, Field field, size_t first, size_t step)
{
        size_t n;
        double *values = sorted(r, field, first, step, &n);
        double m = n > 0 ? quantile(values, n, 0.5) : 0;

        free(values);
        return m;
}

double result_ratio(const Result *r, size_t key)
{
        return median(r, field_ratio, 0, 1);
}

void result_summary(const Result *r, size_t key, Summary *ret)
{
        size_t n;
        double *ratios = sorted(r, field_ratio, 0, 1, &n), even;

        ret->ratio = quantile(ratios, n, 0.5);
        ret->spread = (quantile(ratios, n, 0.75) - quantile(ratios, n, 0.25)) / 2 / ret->ratio * 100;
        free(ratios);
        /* What is worst counts for what has no peer: it is a limit on a state, not on a time. */
        if (!keys[key].peer)
                for (size_t i = 0; i < n; i++)
                        if (r->samples[i].ours > ret->ratio)
                                ret->ratio = r->samples[i].ours;
        ret->ours = median(r, field_ours, 0, 1);
        ret->peer = median(r, field_peer, 0, 1);
        even = median(r, field_ours, 0, 2);
        ret->itself = n > 1 && even > 0 ? median(r, field_ours, 1, 2) / even : 1;
        ret->exceeds = keys[key].limit > 0 && ret->ratio > keys[key].limit;
}

/* ------------------------------------------------------------------------------------------------ for people */

/* A ratio of a thousandth and one of three are both told with three digits. */
static const char *number(char buffer[static 32], double value)
{
        int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 0.1 ? 3 : 5;

        (void)snprintf(buffer, 32, "%.*f", digits, value);
        return buffer;
}

static void print_time(FILE *f, double nsec)
{
        if (nsec < 10000)
                (void)fprintf(f, "%9.1f ns ", nsec);
        else if (nsec < 10000000)
                (void)fprintf(f, "%9.1f us ", nsec / 1000);
        else
                (void)fprintf(f, "%9.1f ms ", nsec / 1000000);
}

static void print_line(FILE *f, size_t key, const Summary *s)
{
        char buffer[32];

        (void)fprintf(f, "%-34s %8s ", keys[key].name, number(buffer, s->ratio));
        (void)fprintf(f, "%8s %-5s", keys[key].limit > 0 ? number(buffer, keys[key].limit) : "",
                      keys[key].limit == 0 ? ""
                      : s->exceeds         ? "OVER"
                                           : "ok");
        if (keys[key].peer) {
                print_time(f, s->ours);
                print_time(f, s->peer);
                (void)fprintf(f, "%7.1f%% %6.3f  %s\n", s->spread, s->itself, keys[key].peer);
        } else {
                (void)fprintf(f, "%40s %s\n", "", keys[key].what);
        }
}

unsigned results_print(const Result *results, FILE *f)
{
        unsigned exceeded = 0;

        (void)fprintf(f, "%-34s %8s %8s %-5s%11s %12s %8s %6s  %s\n", "key", "ratio", "limit", "", "ours", "peer",
                      "spread", "itself", "peer");
        for (size_t i = 0; i < n_keys; i++) {
                Summary s;

                if (results[i].n == 0) {
                        if (results[i].skipped[0])
                                (void)fprintf(f, "%-34s skipped: %s\n", keys[i].name, results[i].skipped);
                        continue;
                }
                result_summary(&results[i], i, &s);
                exceeded += s.exceeds;
                print_line(f, i, &s);
        }
        return exceeded;
}

/* Not the median: these are compared across minutes, and what disturbs makes it longer and never shorter. */
static double undisturbed(const Result *r, Field field)
{
        size_t n;
        double *values = sorted(r, field, 0, 1, &n);
        double q = quantile(values, n, 0.25);

        free(values);
        return q;
}

static double growth(const Flat *flat, const Result *first, const Result *last)
{
        double more = flat->control ? undisturbed(last, field_peer) - undisturbed(first, field_peer) : 0;

        return (undisturbed(last, field_ours) - (more > 0 ? more : 0)) / undisturbed(first, field_ours);
}

unsigned results_print_flats(const Result *results, FILE *f)
{
        unsigned exceeded = 0;

        for (size_t i = 0; i < n_flats; i++) {
                const Result *first = &results[key_index(flats[i].first)], *last = &results[key_index(flats[i].last)];
                double grown;
                char a[32], b[32];

                if (first->n == 0 || last->n == 0)
                        continue;
                grown = growth(&flats[i], first, last);
                exceeded += grown > flats[i].limit;
                (void)fprintf(f, "%-34s %8s %8s %-5stimes %s\n", flats[i].last, number(a, grown),
                              number(b, flats[i].limit), grown > flats[i].limit ? "OVER" : "ok", flats[i].first);
        }
        return exceeded;
}

/* ------------------------------------------------------------------------------------------------ for programs */

int results_write_json(const Result *results, FILE *f)
{
        bool first = true;

        (void)fputs("[", f);
        for (size_t i = 0; i < n_keys; i++) {
                Summary s;

                if (results[i].n == 0)
                        continue;
                result_summary(&results[i], i, &s);
                (void)fprintf(f, "%s\n  {\"key\": \"%s\", \"ratio\": %.6g, \"limit\": ", first ? "" : ",", keys[i].name,
                              s.ratio);
                if (keys[i].limit > 0)
                        (void)fprintf(f, "%.6g", keys[i].limit);
                else
                        (void)fputs("null", f);
                if (keys[i].peer)
                        (void)fprintf(f,
                                      ", \"median_ns\": %.6g, \"spread\": %.3g, \"peer\": \"%s\", "
                                      "\"peer_median_ns\": %.6g, \"itself\": %.4g}",
                                      s.ours, s.spread, keys[i].peer, s.peer, s.itself);
                else
                        (void)fprintf(f,
                                      ", \"median_ns\": null, \"spread\": %.3g, \"peer\": null, "
                                      "\"peer_median_ns\": null, \"itself\": null}",
                                      s.spread);
                first = false;
        }
        (void)fputs("\n]\n", f);
        return fflush(f) == 0 && !ferror(f) ? 0 : -EIO;
}
