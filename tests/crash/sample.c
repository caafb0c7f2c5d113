/* SPDX-License-Identifier: MIT */

#include "crash/sample.h"

#include <stdlib.h>

#include "crash/fail.h"

/* One of so many, when time is short. */
#define HURRY 4U

static void stop_init(Stop *s, const Memory *m)
{
        snapshot_init(&s->memory, m);
        s->machine = malloc(sizeof(MachineState));
        if (!s->machine)
                fail_hard("out of memory");
}

static void stop_done(Stop *s, const Memory *m)
{
        if (!s->machine)
                return;
        snapshot_done(&s->memory, m);
        free(s->machine);
}

void sample_done(Sample *s, const Memory *m)
{
        for (unsigned i = 0; i < s->n; i++)
                stop_done(&s->stop[i], m);
        stop_done(&s->spare, m);
}

static void stop_here(Stop *s, const World *w, uint64_t point, uint64_t key, bool changed)
{
        s->point = point;
        s->key = key;
        s->changed = changed;
        memory_save(&w->memory, &s->memory);
        machine_save(&w->machine, s->machine);
}

static bool has_room(const Sample *s)
{
        unsigned root = 0;

        while ((uint64_t)(root + 1) * (root + 1) * s->every <= s->seen)
                root++;
        return s->n < s->least + root && s->n < SAMPLE_MAX;
}

static Stop *highest(Sample *s)
{
        Stop *ret = &s->stop[0];

        for (unsigned i = 1; i < s->n; i++)
                if (s->stop[i].key > ret->key)
                        ret = &s->stop[i];
        return ret;
}

void sample_offer(Sample *s, const World *w, uint64_t point, uint64_t key, bool changed)
{
        Stop *stop;

        s->seen++;
        if (has_room(s)) {
                stop = &s->stop[s->n++];
                stop_init(stop, &w->memory);
        } else {
                stop = highest(s);
                if (key >= stop->key)
                        return;
        }
        stop_here(stop, w, point, key, changed);
}

void sample_maybe(Sample *s, const World *w, uint64_t point, uint64_t key, bool changed)
{
        if (!has_room(s) && key >= highest(s)->key)
                return;
        if (!s->spare.machine)
                stop_init(&s->spare, &w->memory);
        stop_here(&s->spare, w, point, key, changed);
        s->has_spare = true;
}

void sample_settle(Sample *s, bool it_is)
{
        Stop spare = s->spare, *stop;

        s->seen += it_is;
        if (it_is && s->has_spare) {
                if (has_room(s)) {
                        s->stop[s->n++] = spare;
                        s->spare = (Stop){};
                } else {
                        stop = highest(s);
                        s->spare = *stop;
                        *stop = spare;
                }
        }
        s->has_spare = false;
}

static int by_key(const void *a, const void *b)
{
        const Stop *one = a, *other = b;

        return (one->key > other->key) - (one->key < other->key);
}

unsigned sample_end(Sample *s, bool hurry)
{
        qsort(s->stop, s->n, sizeof(s->stop[0]), by_key);
        return hurry ? (s->n + HURRY - 1) / HURRY : s->n;
}
