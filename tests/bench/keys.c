/* SPDX-License-Identifier: MIT */

#include "keys.h"

#include <string.h>

#include "base/cleanup.h"
#include "stage.h"

#define TABLE       "mutex table"
#define MALLOC      "mimalloc"
#define LAST_CLIENT "open + close of another's handle by the last of so many clients"

/* One line for each of 1, 2, 4, 8 (how many threads or processes), or another series of four. */
#define SERIES(name, a, b, c, d, peer, what)                                                \
        { name #a, peer, 0, what }, { name #b, peer, 0, what }, { name #c, peer, 0, what }, \
        {                                                                                   \
                name #d, peer, 0, what                                                      \
        }

const Key keys[] = {
        { "noise", "itself", 0, "new + close, the same code on both sides" },

        { "new_close", TABLE, 0.75, "new + close" },
        { "first_open_close", TABLE, 0.55, "open + close of a handle that only another process holds" },
        { "held_open_close", TABLE, 0.45, "open + close of a handle that is held already" },
        { "new_close_mutex", "bare mutex", 0, "new + close; one lock + unlock" },
        { "first_open_close_lmdb", "LMDB reader", 0, "open + close; renew + reset of a reader's slot" },

        { "scratch_16", MALLOC, 1.75, "scratch + free of 16 bytes, 20 blocks live" },
        { "scratch_64", MALLOC, 1.75, "scratch + free of 64 bytes, 20 blocks live" },
        { "scratch_256", MALLOC, 1.75, "scratch + free of 256 bytes, 20 blocks live" },
        { "scratch_1024", MALLOC, 1.75, "scratch + free of 1 KiB, 20 blocks live" },
        { "scratch_4096", MALLOC, 0.9, "scratch + free of 4 KiB, 20 blocks live" },
        { "scratch_batch_256", MALLOC, 1.4, "1,000 blocks of 256 bytes, then freed in random order" },
        { "scratch_pass_64", MALLOC ", threads", 0.7, "64 bytes, taken by one process and freed by another" },
        { "scratch_64_boost", "Boost.Interprocess", 0.1, "scratch + free of 64 bytes, 20 blocks live" },

        { "new_close_wire", "over the wire", 0.001, "new + close" },
        { "wire", "ping-pong", 1.15, "a request over the wire, both ends on one core" },
        { "wire_epoll", "ping-pong, epoll", 0, "the same against one who waits with epoll, as for several clients" },

        { "reap", "first open + close", 10, "reaping a client, for each of its 100,000 handles" },
        { "restart", "notify service", 2, "from SIGKILL of the daemon until it answers, under systemd" },
        { "idle_rss_kib", NULL, 4096, "KiB resident in the idle daemon, also after it reaped 100,000 handles" },

        SERIES("grow_threads_new_close_", 1, 2, 4, 8, TABLE, "new + close in so many threads"),
        SERIES("grow_processes_new_close_", 1, 2, 4, 8, TABLE, "new + close in so many processes"),
        SERIES("grow_threads_scratch_64_", 1, 2, 4, 8, MALLOC, "scratch + free of 64 bytes in so many threads"),
        SERIES("grow_processes_scratch_64_", 1, 2, 4, 8, MALLOC, "scratch + free of 64 bytes in so many processes"),
        SERIES("grow_live_new_close_", 1000, 10000, 100000, 1000000, TABLE, "new + close beside so many handles"),
        SERIES("grow_live_held_open_close_", 1000, 10000, 100000, 1000000, TABLE,
               "open + close of 16 of so many handles that are held"),
        SERIES("grow_live_held_plain_", 1000, 10000, 100000, 1000000, "plain arrays",
               "the same; two counts and looks there, which is what the machine takes"),
        SERIES("grow_clients_new_close_", 1, 10, 100, 1000, TABLE, "new + close by the last of so many clients"),
        { "grow_clients_first_open_close_10", TABLE, 0, LAST_CLIENT },
        { "grow_clients_first_open_close_100", TABLE, 0, LAST_CLIENT },
        { "grow_clients_first_open_close_1000", TABLE, 0, LAST_CLIENT },
        { "same_handle_1", TABLE, 0, "open + close of one handle, by one process" },
        { "same_handle_2", TABLE, 0, "open + close of the same handle, by two processes at once" },
};

const size_t n_keys = ELEMENTSOF(keys);

/* Where nothing grows, what is measured still differs by some percent from one hour to the next. */
const Flat flats[] = {
        { "grow_live_new_close_1000", "grow_live_new_close_1000000", 1.15, false },
        { "grow_live_held_plain_1000", "grow_live_held_plain_1000000", 1.15, true },
};

const size_t n_flats = ELEMENTSOF(flats);

size_t key_index(const char *name)
{
        for (size_t i = 0; i < n_keys; i++)
                if (strcmp(keys[i].name, name) == 0)
                        return i;
        die("there is no key \"%s\"", name);
}
