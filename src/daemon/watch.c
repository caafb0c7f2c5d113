/* SPDX-License-Identifier: MIT */

#include "daemon/watch.h"

#include <sys/statvfs.h>

#include "daemon/server.h"
#include "shm/totals.h"
#include "shm/words.h"

#define PAUSE_MIN UINT64_C(1000000)
#define PAUSE_MAX (8 * PAUSE_MIN)

/* How near to a limit of bytes is as good as there: the next block may be larger than what is left. At small limits a sixteenth
 * of them. */
#define NEAR_BYTES ((uint64_t)MH_SHM_SPAN_SIZE)
#define NEAR_PART  16U

enum {
        TOLD_HANDLES = 1 << 0,
        TOLD_SCRATCH = 1 << 1,
        TOLD_MEMORY = 1 << 2,
};

/* Is this news? Once it is told, it is not told again until it was otherwise. */
static bool is_news(unsigned *told, unsigned what, bool now)
{
        bool news = now && !(*told & what);

        *told = now ? *told | what : *told & ~what;
        return news;
}

/* ------------------------------------------------------------------------------------------------ each client */

static void look_at_client(Attachment *a)
{
        const SegmentConfig *config = &a->server->options->segment;
        const Segment *seg = &a->server->store.segment;
        struct mh_shm_account_line sum = account_sum(segment_ledger(seg, a->id));
        uint64_t owned = account_owned(&sum), near = MIN(NEAR_BYTES, config->limit_client_scratch / NEAR_PART);

        /* A limit that is no lower than the capacity is none, see adopt.c. Sums below zero are none either. */
        if (config->limit_client_handles < config->n_slots &&
            is_news(&a->told_limits, TOLD_HANDLES,
                    (int64_t)sum.handles > 0 && sum.handles >= config->limit_client_handles))
                report_limit(a, "client-handles", config->limit_client_handles);
        if (config->limit_client_scratch < config->scratch_bytes &&
            is_news(&a->told_limits, TOLD_SCRATCH, (int64_t)owned > 0 && owned > config->limit_client_scratch - near))
                report_limit(a, "client-scratch", config->limit_client_scratch);
}

static unsigned look_at_clients(Server *s)
{
        unsigned n = 0;

        for (uint32_t id = 1; id < s->n_ids; id++) {
                Attachment *a = server_find_id(s, id);

                if (!a || !attachment_is_direct(a))
                        continue;
                look_at_client(a);
                n++;
        }
        return n;
}

/* ------------------------------------------------------------------------------------------------ all together */

/* Less memory than one span needs. Of a file system without a size nothing can be said. */
static bool is_memory_short(int fd)
{
        struct statvfs fs;

        return fstatvfs(fd, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail < MH_SHM_SPAN_SIZE / fs.f_frsize;
}

static void look_at_segment(Server *s)
{
        const Segment *seg = &s->store.segment;

        if (is_news(&s->watch.told, TOLD_HANDLES, totals_no_slot(seg)))
                report_full(s, "handles");
        if (is_news(&s->watch.told, TOLD_SCRATCH, totals_no_span(seg)))
                report_full(s, "scratch");
        if (is_news(&s->watch.told, TOLD_MEMORY, is_memory_short(s->store.fd)))
                report_full(s, "memory");
}

uint64_t watch_look(Server *s)
{
        Watch *w = &s->watch;
        Totals totals;

        if (!store_is_open(&s->store) || look_at_clients(s) == 0) {
                *w = (Watch){};
                return 0;
        }
        look_at_segment(s);
        totals_read(&s->store.segment, &totals);
        w->pause = totals.activity != w->activity || w->pause == 0 ? PAUSE_MIN : MIN(2 * w->pause, PAUSE_MAX);
        w->activity = totals.activity;
        return w->pause;
}
