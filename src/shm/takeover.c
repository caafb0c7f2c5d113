/* SPDX-License-Identifier: MIT */

#include "shm/takeover.h"

#include "shm/totals.h"
#include "shm/trim.h"

int takeover_run(Segment *seg, const Takeover *takeover)
{
        int r;

        /* First: see there. */
        trim_recover(seg);
        for (uint32_t id = 1; id < seg->n_clients; id++) {
                r = takeover->entry(id, takeover->userdata);
                if (r < 0)
                        return r;
        }
        r = takeover->reap(takeover->userdata);
        if (r < 0)
                return r;
        /* Last: whoever died may have been in the middle of taking over the account of one that had died before. */
        totals_recount(seg);
        return 0;
}
