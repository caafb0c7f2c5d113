/* SPDX-License-Identifier: MIT */

/* What clients do, by the public functions. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crash/real/play.h"
#include "lib/call.h"
#include "lib/deadline.h"

#define LARGE    200000U
#define PATIENCE (200 * DEADLINE_SECOND)

static const char *wrong(const char *what, int r)
{
        static char text[200];

        (void)snprintf(text, sizeof(text), "%s: %s", what, r < 0 ? strerror(-r) : "not what it should be");
        return text;
}

#define TRY(call)                                \
        do {                                     \
                int r_ = (call);                 \
                if (r_ < 0)                      \
                        return wrong(#call, r_); \
        } while (0)

#define MUST(condition)                              \
        do {                                         \
                if (!(condition))                    \
                        return wrong(#condition, 0); \
        } while (0)

/* ---------------------------------------------------------------------------------------------- coming, going */

/* Who does not start a daemon is told when there is none; the next one is on its way. */
static const char *attach(Role *role, uint64_t flags)
{
        double end = stage_now() + STAGE_WAIT_S / 2;
        int r;

        while ((r = mh_attach(&role->client, role->stage->socket, flags | MH_ATTACH_NO_SPAWN)) == -ENOTCONN &&
               stage_now() < end)
                stage_sleep();
        TRY(r);
        /* Its daemon may be single-stepped while it waits. */
        role->client->patience = PATIENCE;
        return NULL;
}

const char *deed_attach(Role *role)
{
        return attach(role, 0);
}

static const char *deed_attach_unmapped(Role *role)
{
        return attach(role, MH_ATTACH_NO_MAP);
}

const char *deed_detach(Role *role)
{
        role->client = mh_detach(role->client);
        return NULL;
}

/* Who works on the segment itself has nothing to ask, and looks after its connection only now and then: here at once. */
const char *deed_come_back(Role *role)
{
        TRY(call_look(role->client, deadline_in(PATIENCE)));
        return NULL;
}

/* ---------------------------------------------------------------------------------------------- B */

static const char *fill(mh_client *c, mh_scratch s, uint8_t with)
{
        size_t size;
        void *data;

        TRY(mh_scratch_data(c, s, &data, &size));
        memset(data, with, 16);
        memset((uint8_t *)data + size - 16, with, 16);
        return NULL;
}

static const char *look(mh_client *c, mh_scratch s, uint8_t with)
{
        const uint8_t *bytes;
        size_t size;
        void *data;

        TRY(mh_scratch_data(c, s, &data, &size));
        bytes = data;
        for (unsigned i = 0; i < 16; i++)
                MUST(bytes[i] == with && bytes[size - 1 - i] == with);
        return NULL;
}

/* What B has all the time. */
const char *deed_have(Role *role)
{
        mh_client *c = role->client;
        Board *b = role->board;
        const char *problem = NULL;
        void *payload;

        TRY(mh_new(c, MH_TYPE_MUTEX, &b->stale));
        TRY(mh_close(c, b->stale, NULL));
        TRY(mh_new(c, MH_TYPE_EVENT, &b->ours));
        TRY(mh_payload(c, b->ours, &payload, NULL));
        memset(payload, 'o', MH_PAYLOAD_SIZE);
        TRY(mh_scratch_alloc(c, 64, &b->kept[0]));
        TRY(mh_scratch_alloc(c, LARGE, &b->kept[1]));
        TRY(mh_scratch_alloc(c, 100, &b->kept[2]));
        TRY(mh_scratch_alloc(c, 48, &b->gift));
        for (unsigned i = 0; i < ELEMENTSOF(b->kept) && !problem; i++)
                problem = fill(c, b->kept[i], (uint8_t)('a' + i));
        TRY(mh_scratch_give(c, b->kept[2], b->ours));
        return problem;
}

static const char *check_own(mh_client *c, const Board *b)
{
        const char *problem = NULL;
        const uint8_t *bytes;
        void *payload;
        int type = 0;

        TRY(mh_payload(c, b->ours, &payload, NULL));
        bytes = payload;
        for (unsigned i = 0; i < MH_PAYLOAD_SIZE; i++)
                MUST(bytes[i] == 'o');
        TRY(mh_open(c, b->ours, &type));
        MUST(type == MH_TYPE_EVENT);
        TRY(mh_close(c, b->ours, NULL));
        for (unsigned i = 0; i < ELEMENTSOF(b->kept) && !problem; i++)
                problem = look(c, b->kept[i], (uint8_t)('a' + i));
        MUST(mh_open(c, b->stale, NULL) == -ESTALE);
        MUST(mh_scratch_free(c, b->kept[2]) == -EBUSY);
        return problem;
}

/* It all still is as it was, and everything works. */
const char *deed_check(Role *role)
{
        mh_client *c = role->client;
        mh_scratch small, large, single;
        const char *problem = check_own(c, role->board);
        unsigned flags = 0;
        mh_handle h;

        if (problem)
                return problem;
        TRY(mh_new(c, MH_TYPE_PIPE, &h));
        TRY(mh_open(c, h, NULL));
        TRY(mh_scratch_alloc(c, 64, &small));
        TRY(mh_scratch_alloc(c, LARGE, &large));
        TRY(mh_scratch_alloc(c, 1000, &single));
        TRY(mh_scratch_give(c, small, h));
        TRY(mh_scratch_give(c, large, h));
        TRY(mh_close(c, h, &flags));
        MUST(flags == 0);
        TRY(mh_close(c, h, &flags));
        MUST(flags == (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE));
        MUST(mh_open(c, h, NULL) == -ESTALE);
        MUST(mh_scratch_free(c, small) == -ESTALE);
        MUST(mh_scratch_free(c, large) == -ESTALE);
        TRY(mh_scratch_free(c, single));
        MUST(mh_scratch_free(c, single) == -ESTALE);
        return NULL;
}

/* ---------------------------------------------------------------------------------------------- A */

/* Something of everything. */
const char *deed_hold(Role *role)
{
        mh_client *c = role->client;
        Board *b = role->board;

        TRY(mh_new(c, MH_TYPE_FILE, &b->mine[0]));
        TRY(mh_open(c, b->mine[0], NULL));
        TRY(mh_new(c, MH_TYPE_APPLICATION, &b->mine[1]));
        TRY(mh_scratch_alloc(c, 64, &b->block[0]));
        TRY(mh_scratch_alloc(c, LARGE, &b->block[1]));
        TRY(mh_scratch_alloc(c, 100, &b->block[2]));
        TRY(mh_scratch_alloc(c, 1000, &b->block[3]));
        TRY(mh_scratch_alloc(c, LARGE, &b->block[4]));
        TRY(mh_scratch_give(c, b->block[2], b->mine[1]));
        TRY(mh_scratch_give(c, b->block[4], b->mine[1]));
        return NULL;
}

static const char *deed_hold_ours(Role *role)
{
        TRY(mh_open(role->client, role->board->ours, NULL));
        return deed_hold(role);
}

/* Whoever it was, it can still do everything. */
const char *deed_go_on(Role *role)
{
        mh_client *c = role->client;
        unsigned flags = 0;
        mh_scratch block;
        mh_handle h;

        TRY(mh_new(c, MH_TYPE_THREAD, &h));
        TRY(mh_scratch_alloc(c, 500, &block));
        TRY(mh_scratch_give(c, block, h));
        TRY(mh_close(c, h, &flags));
        MUST(flags == (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE));
        MUST(mh_scratch_free(c, block) == -ESTALE);
        return NULL;
}

static const char *deed_new(Role *role)
{
        mh_handle h;

        TRY(mh_new(role->client, MH_TYPE_SEM, &h));
        return NULL;
}

static const char *deed_open(Role *role)
{
        int type = 0;

        TRY(mh_open(role->client, role->board->ours, &type));
        MUST(type == MH_TYPE_EVENT);
        return NULL;
}

static const char *deed_open_again(Role *role)
{
        TRY(mh_open(role->client, role->board->mine[0], NULL));
        return NULL;
}

static const char *deed_open_stale(Role *role)
{
        MUST(mh_open(role->client, role->board->stale, NULL) == -ESTALE);
        return NULL;
}

static const char *deed_close_counted(Role *role)
{
        unsigned flags = 9;

        TRY(mh_close(role->client, role->board->mine[0], &flags));
        MUST(flags == 0);
        return NULL;
}

static const char *deed_close_shared(Role *role)
{
        unsigned flags = 9;

        TRY(mh_close(role->client, role->board->ours, &flags));
        MUST(flags == MH_CLOSED_HERE);
        return NULL;
}

/* With all that it owns. */
static const char *deed_close_last(Role *role)
{
        unsigned flags = 9;

        TRY(mh_close(role->client, role->board->mine[1], &flags));
        MUST(flags == (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE));
        return NULL;
}

static const char *deed_alloc(Role *role)
{
        mh_scratch s;

        TRY(mh_scratch_alloc(role->client, 64, &s));
        return NULL;
}

static const char *deed_alloc_large(Role *role)
{
        mh_scratch s;

        TRY(mh_scratch_alloc(role->client, LARGE, &s));
        return NULL;
}

static const char *deed_free(Role *role)
{
        TRY(mh_scratch_free(role->client, role->board->block[0]));
        return NULL;
}

static const char *deed_free_large(Role *role)
{
        TRY(mh_scratch_free(role->client, role->board->block[1]));
        return NULL;
}

static const char *deed_free_foreign(Role *role)
{
        TRY(mh_scratch_free(role->client, role->board->gift));
        return NULL;
}

static const char *deed_give(Role *role)
{
        TRY(mh_scratch_give(role->client, role->board->block[3], role->board->ours));
        return NULL;
}

/* One after the other, by a client that works on the segment itself. One of them, the last, changes what stays when it
 * dies: then there are two ways how it can look. */
static const char *deed_work(Role *role)
{
        static const Deed deeds[] = { deed_new,           deed_open,       deed_open_again, deed_open_stale,
                                      deed_close_counted, deed_close_last, deed_alloc,      deed_alloc_large,
                                      deed_free,          deed_free_large, deed_give };

        for (unsigned i = 0; i < ELEMENTSOF(deeds); i++) {
                const char *problem = deeds[i](role);

                if (problem)
                        return problem;
        }
        return NULL;
}

/* ---------------------------------------------------------------------------------------------- plays */

#define REQUEST(what, how)                                                                                \
        {                                                                                                 \
                "daemon: " what, PART_DAEMON, CUE_DEED, false, deed_attach_unmapped, deed_hold_ours, how, \
                        BEFORE_NOTHING                                                                    \
        }
#define RESUME(what, attach, deed, before)                                                          \
        {                                                                                           \
                "daemon: " what, PART_DAEMON, CUE_DEED, false, attach, deed_hold_ours, deed, before \
        }

const Play plays[] = {
        { "daemon: start", PART_STARTING, CUE_START, true, NULL, NULL, NULL, BEFORE_NOTHING },
        { "daemon: adopt", PART_STARTING, CUE_START, false, deed_attach_unmapped, deed_hold_ours, NULL,
          BEFORE_NOTHING },
        { "daemon: first hello", PART_DAEMON, CUE_DEED, true, NULL, NULL, deed_attach, BEFORE_NOTHING },
        { "daemon: hello", PART_DAEMON, CUE_DEED, false, NULL, NULL, deed_attach, BEFORE_NOTHING },
        { "daemon: hello, not mapping", PART_DAEMON, CUE_DEED, false, NULL, NULL, deed_attach_unmapped,
          BEFORE_NOTHING },
        REQUEST("new", deed_new),
        { "daemon: open", PART_DAEMON, CUE_DEED, false, deed_attach_unmapped, deed_hold, deed_open, BEFORE_NOTHING },
        REQUEST("open again", deed_open_again),
        REQUEST("open stale", deed_open_stale),
        REQUEST("close counted", deed_close_counted),
        REQUEST("close shared", deed_close_shared),
        REQUEST("close last", deed_close_last),
        REQUEST("scratch", deed_alloc),
        REQUEST("scratch, large", deed_alloc_large),
        REQUEST("scratch free", deed_free),
        REQUEST("scratch free, large", deed_free_large),
        REQUEST("scratch free, foreign", deed_free_foreign),
        REQUEST("give", deed_give),
        REQUEST("detach, not mapping", deed_detach),
        RESUME("resume", deed_attach, deed_come_back, BEFORE_DAEMON),
        RESUME("resume, not mapping", deed_attach_unmapped, deed_new, BEFORE_DAEMON),
        RESUME("resume, bringing the segment", deed_attach, deed_come_back, BEFORE_SEGMENT),
        RESUME("resume, bringing the segment, not mapping", deed_attach_unmapped, deed_new, BEFORE_SEGMENT),
        { "daemon: detach", PART_DAEMON, CUE_DEED, false, deed_attach, deed_hold_ours, deed_detach, BEFORE_NOTHING },
        { "daemon: reap", PART_DAEMON, CUE_DEATH, false, deed_attach, deed_hold_ours, NULL, BEFORE_NOTHING },
        { "daemon: reap, not mapping", PART_DAEMON, CUE_DEATH, false, deed_attach_unmapped, deed_hold_ours, NULL,
          BEFORE_NOTHING },
        { "daemon: leave", PART_DAEMON, CUE_STOP, false, deed_attach, deed_hold_ours, NULL, BEFORE_NOTHING },
        { "daemon: leave, empty", PART_DAEMON, CUE_STOP, true, NULL, NULL, NULL, BEFORE_NOTHING },
        { "client: attach", PART_CLIENT, CUE_DEED, false, NULL, NULL, deed_attach, BEFORE_NOTHING },
        { "client: attach, not mapping", PART_CLIENT, CUE_DEED, false, NULL, NULL, deed_attach_unmapped,
          BEFORE_NOTHING },
        { "client: first attach", PART_CLIENT, CUE_DEED, true, NULL, NULL, deed_attach, BEFORE_NOTHING },
        { "client: hold", PART_CLIENT, CUE_DEED, false, deed_attach, NULL, deed_hold_ours, BEFORE_NOTHING },
        { "client: work", PART_CLIENT, CUE_DEED, false, deed_attach, deed_hold, deed_work, BEFORE_NOTHING },
        { "client: free foreign", PART_CLIENT, CUE_DEED, false, deed_attach, deed_hold, deed_free_foreign,
          BEFORE_NOTHING },
        { "client: request", PART_CLIENT, CUE_DEED, false, deed_attach_unmapped, deed_hold, deed_new, BEFORE_NOTHING },
        { "client: detach", PART_CLIENT, CUE_DEED, false, deed_attach, deed_hold_ours, deed_detach, BEFORE_NOTHING },
        { "client: detach, not mapping", PART_CLIENT, CUE_DEED, false, deed_attach_unmapped, deed_hold_ours,
          deed_detach, BEFORE_NOTHING },
};

const unsigned n_plays = ELEMENTSOF(plays);
