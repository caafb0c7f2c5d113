/* SPDX-License-Identifier: MIT */

#include <linux/membarrier.h>

#include "base/atomics.h"
#include "shm/hazard.h"
#include "shm/quiet.h"

bool hazard_barrier(const Segment *seg)
{
        if (!seg->asymmetric)
                return false;
        return QUIET_SYSCALL(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool hazard_seen(const Actor *a, uint32_t span)
{
        const Segment *seg = a->seg;
        uint32_t hwm = load_acquire(&seg->shared->client_hwm); /* pairs with the raise in client_attach() */

        if (hwm > seg->n_clients)
                hwm = seg->n_clients;
        for (uint32_t id = 0; id < hwm; id++) {
                const struct mh_shm_hazard_line *line = seg->hazards[id].line;
                uint64_t used = load_acquire(&line[0].used); /* pairs with actor_set_thread() */

                for (unsigned i = 0; i < MH_SHM_THREADS && (i == 0 || i < used); i++)
                        if (load_acquire(&line[i].span) == (uint64_t)span + 1 && &line[i] != a->hazard)
                                return true;
        }
        return false;
}
