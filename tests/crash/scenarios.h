/* SPDX-License-Identifier: MIT */
#pragma once

/* Situations in which something is done. */

#include "crash/world.h"

typedef struct Scenario {
        const char *name;
        void (*setup)(World *w); /* attaches whoever takes part, and says what A does: w->job */
        unsigned flags;
} Scenario;

#define SCENARIO_DAEMON (1U << 0) /* the daemon does it, in its own name */
#define SCENARIO_CLIENT (1U << 1) /* there is no request for it */
#define SCENARIO_GROUPS (1U << 2) /* once more with many clients, and a limit */
#define SCENARIO_KEEP   (1U << 3) /* once more with a client that keeps slots ready */
#define SCENARIO_INNER  (1U << 4) /* there is no public function for it */
#define SCENARIO_ALONE  (1U << 5) /* only in the library, by the only thread */

/* Who A is. */
typedef enum Mode {
        MODE_CLIENT,  /* a process that works on the segment itself */
        MODE_KEEP,    /* the same, and it keeps slots ready */
        MODE_LIBRARY, /* one that calls the public functions: it keeps slots, and knows that it has one thread only */
        MODE_CROWD,   /* the same, and it shares its seat with other threads */
        MODE_WIRE,    /* the daemon, in the name of a client that sends requests */
        MODE_DAEMON,  /* the daemon for itself */
        MODE_COUNT,
} Mode;

const char *mode_name(Mode mode);
bool scenario_has(const Scenario *s, Mode mode);

extern const Scenario scenarios[];
extern const unsigned n_scenarios;

/* Their setup functions, for the table. */
void scenario_open_first(World *w);
void scenario_open_second(World *w);
void scenario_open_again(World *w);
void scenario_open_stale(World *w);
void scenario_open_old(World *w);
void scenario_open_beyond(World *w);
void scenario_open_dying(World *w);
void scenario_close_counted(World *w);
void scenario_close_shared(World *w);
void scenario_close_with_dead(World *w);
void scenario_close_last(World *w);
void scenario_close_unheld(World *w);
void scenario_close_stale(World *w);
void scenario_close_retiring(World *w);
void scenario_close_owning(World *w);
void scenario_close_owning_many(World *w);
void scenario_new_first(World *w);
void scenario_new_next(World *w);
void scenario_new_in_next_chunk(World *w);
void scenario_new_in_full_table(World *w);
void scenario_new_last_of_chunk(World *w);
void scenario_new_after_trim(World *w);
void scenario_new_with_wrong_hints(World *w);
void scenario_new_again(World *w);
void scenario_new_of_no_type(World *w);
void scenario_reserve(World *w);
void scenario_alloc_first(World *w);
void scenario_alloc_next(World *w);
void scenario_alloc_next_group(World *w);
void scenario_alloc_other_span(World *w);
void scenario_alloc_next_span(World *w);
void scenario_alloc_adopting(World *w);
void scenario_alloc_beside_dead(World *w);
void scenario_alloc_from_spare(World *w);
void scenario_alloc_from_kept(World *w);
void scenario_alloc_when_full(World *w);
void scenario_alloc_stopping(World *w);
void scenario_alloc_stopped(World *w);
void scenario_alloc_large(World *w);
void scenario_alloc_large_first(World *w);
void scenario_alloc_large_with_wrong_hints(World *w);
void scenario_alloc_large_without_spares(World *w);
void scenario_free_own(World *w);
void scenario_free_foreign_stopping(World *w);
void scenario_free_to_spare(World *w);
void scenario_free_to_nobody(World *w);
void scenario_free_foreign(World *w);
void scenario_free_of_dead(World *w);
void scenario_free_stale(World *w);
void scenario_free_given(World *w);
void scenario_free_large(World *w);
void scenario_free_large_foreign(World *w);
void scenario_free_large_foreign_many(World *w);
void scenario_free_large_of_dead(World *w);
void scenario_give(World *w);
void scenario_give_large(World *w);
void scenario_give_to_own(World *w);
void scenario_give_to_full(World *w);
void scenario_give_foreign(World *w);
void scenario_give_to_unheld(World *w);
void scenario_give_again(World *w);
void scenario_give_freed(World *w);
void scenario_lookup(World *w);
void scenario_payload(World *w);
void scenario_reap_all(World *w);
void scenario_reap_dying(World *w);
void scenario_reap_freeing(World *w);
void scenario_reap_large(World *w);
void scenario_reap_owning_many(World *w);
void scenario_reap_orphan(World *w);
void scenario_trim_empty(World *w);
void scenario_trim_second(World *w);
void scenario_trim_watched(World *w);
void scenario_attach(World *w);
void scenario_attach_again(World *w);
