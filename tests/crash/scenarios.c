/* SPDX-License-Identifier: MIT */

#include "crash/scenarios.h"

#include "base/cleanup.h"

#define KEEP   SCENARIO_KEEP
#define CLIENT SCENARIO_CLIENT
#define DAEMON SCENARIO_DAEMON
#define GROUPS SCENARIO_GROUPS
#define ALONE  SCENARIO_ALONE

const Scenario scenarios[] = {
        { "open-first", scenario_open_first, KEEP | GROUPS },
        { "open-second", scenario_open_second, KEEP | GROUPS },
        { "open-again", scenario_open_again, 0 },
        { "open-stale", scenario_open_stale, KEEP | GROUPS },
        { "open-old", scenario_open_old, KEEP | GROUPS },
        { "open-beyond", scenario_open_beyond, 0 },
        { "open-dying", scenario_open_dying, GROUPS },
        { "close-counted", scenario_close_counted, 0 },
        { "close-shared", scenario_close_shared, KEEP | GROUPS },
        { "close-with-dead", scenario_close_with_dead, KEEP | GROUPS },
        { "close-last", scenario_close_last, KEEP | GROUPS },
        { "close-unheld", scenario_close_unheld, 0 },
        { "close-stale", scenario_close_stale, 0 },
        { "close-retiring", scenario_close_retiring, KEEP | GROUPS },
        { "close-owning", scenario_close_owning, KEEP },
        { "close-owning-many", scenario_close_owning_many, 0 },
        { "new-first", scenario_new_first, KEEP | GROUPS },
        { "new-next", scenario_new_next, KEEP | GROUPS },
        { "new-in-next-chunk", scenario_new_in_next_chunk, KEEP | GROUPS },
        { "new-in-full-table", scenario_new_in_full_table, 0 },
        { "new-last-of-chunk", scenario_new_last_of_chunk, KEEP },
        { "new-after-trim", scenario_new_after_trim, KEEP | GROUPS },
        { "new-with-wrong-hints", scenario_new_with_wrong_hints, KEEP },
        { "new-again", scenario_new_again, KEEP },
        { "new-of-no-type", scenario_new_of_no_type, 0 },
        { "reserve", scenario_reserve, CLIENT | SCENARIO_INNER },
        { "alloc-first", scenario_alloc_first, 0 },
        { "alloc-next", scenario_alloc_next, GROUPS },
        { "alloc-next-group", scenario_alloc_next_group, GROUPS },
        { "alloc-other-span", scenario_alloc_other_span, 0 },
        { "alloc-next-span", scenario_alloc_next_span, 0 },
        { "alloc-adopting", scenario_alloc_adopting, 0 },
        { "alloc-beside-dead", scenario_alloc_beside_dead, 0 },
        { "alloc-from-spare", scenario_alloc_from_spare, 0 },
        { "alloc-from-kept", scenario_alloc_from_kept, 0 },
        { "alloc-when-full", scenario_alloc_when_full, 0 },
        { "alloc-stopping", scenario_alloc_stopping, ALONE },
        { "alloc-stopped", scenario_alloc_stopped, ALONE },
        { "alloc-large", scenario_alloc_large, GROUPS },
        { "alloc-large-first", scenario_alloc_large_first, 0 },
        { "alloc-large-with-wrong-hints", scenario_alloc_large_with_wrong_hints, 0 },
        { "alloc-large-without-spares", scenario_alloc_large_without_spares, 0 },
        { "free-own", scenario_free_own, 0 },
        { "free-foreign-stopping", scenario_free_foreign_stopping, ALONE },
        { "free-to-spare", scenario_free_to_spare, 0 },
        { "free-to-nobody", scenario_free_to_nobody, 0 },
        { "free-foreign", scenario_free_foreign, 0 },
        { "free-of-dead", scenario_free_of_dead, 0 },
        { "free-stale", scenario_free_stale, 0 },
        { "free-given", scenario_free_given, 0 },
        { "free-large", scenario_free_large, 0 },
        { "free-large-foreign", scenario_free_large_foreign, 0 },
        { "free-large-foreign-many", scenario_free_large_foreign_many, 0 },
        { "free-large-of-dead", scenario_free_large_of_dead, 0 },
        { "give", scenario_give, GROUPS },
        { "give-large", scenario_give_large, 0 },
        { "give-to-own", scenario_give_to_own, KEEP },
        { "give-to-full", scenario_give_to_full, 0 },
        { "give-foreign", scenario_give_foreign, 0 },
        { "give-to-unheld", scenario_give_to_unheld, 0 },
        { "give-again", scenario_give_again, 0 },
        { "give-freed", scenario_give_freed, 0 },
        { "lookup", scenario_lookup, CLIENT },
        { "payload", scenario_payload, CLIENT | KEEP },
        { "reap-all", scenario_reap_all, DAEMON | GROUPS },
        { "reap-dying", scenario_reap_dying, DAEMON | GROUPS },
        { "reap-freeing", scenario_reap_freeing, DAEMON },
        { "reap-large", scenario_reap_large, DAEMON },
        { "reap-owning-many", scenario_reap_owning_many, DAEMON },
        { "reap-orphan", scenario_reap_orphan, DAEMON },
        { "trim-empty", scenario_trim_empty, DAEMON | GROUPS },
        { "trim-second", scenario_trim_second, DAEMON | GROUPS },
        { "trim-watched", scenario_trim_watched, DAEMON },
        { "attach", scenario_attach, DAEMON },
        { "attach-again", scenario_attach_again, DAEMON },
};

const unsigned n_scenarios = ELEMENTSOF(scenarios);

const char *mode_name(Mode mode)
{
        static const char *const names[MODE_COUNT] = {
                [MODE_CLIENT] = "client",   [MODE_KEEP] = "keeping client",
                [MODE_LIBRARY] = "library", [MODE_CROWD] = "library, many threads",
                [MODE_WIRE] = "wire",       [MODE_DAEMON] = "daemon",
        };

        return names[mode];
}

bool scenario_has(const Scenario *s, Mode mode)
{
        if (s->flags & SCENARIO_ALONE)
                return mode == MODE_LIBRARY;
        switch (mode) {
        case MODE_CLIENT:
                return !(s->flags & SCENARIO_DAEMON);
        case MODE_KEEP:
                return s->flags & SCENARIO_KEEP;
        case MODE_LIBRARY:
        case MODE_CROWD:
                return !(s->flags & (SCENARIO_DAEMON | SCENARIO_INNER));
        case MODE_WIRE:
                return !(s->flags & (SCENARIO_DAEMON | SCENARIO_CLIENT));
        default:
                return s->flags & SCENARIO_DAEMON;
        }
}
