/* SPDX-License-Identifier: MIT */

#include "handles.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void our_new_close(void *ctx, unsigned n)
{
        mh_client *c = ((OurHandles *)ctx)->client;

        for (unsigned i = 0; i < n; i++) {
                unsigned flags;
                mh_handle h;

                CHECK(mh_new(c, MH_TYPE_EVENT, &h), "mh_new");
                CHECK(mh_close(c, h, &flags), "mh_close");
        }
}

void their_new_close(void *ctx, unsigned n)
{
        mt_client *c = ((TheirHandles *)ctx)->client;

        for (unsigned i = 0; i < n; i++) {
                unsigned flags;
                uint64_t h;

                CHECK(mt_new(c, MH_TYPE_EVENT, &h), "mt_new");
                CHECK(mt_close(c, h, &flags), "mt_close");
        }
}

void our_open_close(void *ctx, unsigned n)
{
        OurHandles *handles = ctx;
        mh_client *c = handles->client;

        for (unsigned i = 0; i < n; i++) {
                mh_handle h = handles->held[i % HANDLES_HELD];
                unsigned flags;
                int type;

                CHECK(mh_open(c, h, &type), "mh_open");
                CHECK(mh_close(c, h, &flags), "mh_close");
        }
}

void their_open_close(void *ctx, unsigned n)
{
        TheirHandles *handles = ctx;
        mt_client *c = handles->client;

        for (unsigned i = 0; i < n; i++) {
                uint64_t h = handles->held[i % HANDLES_HELD];
                unsigned flags;
                int type;

                CHECK(mt_open(c, h, &type), "mt_open");
                CHECK(mt_close(c, h, &flags), "mt_close");
        }
}

static __attribute__((noinline)) int plain_count(PlainHandles *h, uint32_t slot, uint64_t n)
{
        if (__atomic_load_n(&h->slots[slot].state, __ATOMIC_RELAXED) == 0)
                return -ESTALE;
        __atomic_store_n(&h->counts[slot], h->counts[slot] + n, __ATOMIC_RELEASE);
        return 0;
}

void plain_open_close(void *ctx, unsigned n)
{
        PlainHandles *h = ctx;

        for (unsigned i = 0; i < n; i++) {
                uint32_t slot = h->held[i % HANDLES_HELD];

                CHECK(plain_count(h, slot, 1), "plain array");
                CHECK(plain_count(h, slot, -UINT64_C(1)), "plain array");
        }
}

mh_client *handles_attach(const StageDaemon *d, uint64_t flags)
{
        mh_client *c;

        CHECK(mh_attach(&c, d->socket, flags | MH_ATTACH_NO_SPAWN), "mh_attach");
        return c;
}

void our_handles_make(OurHandles *h)
{
        for (unsigned i = 0; i < HANDLES_HELD; i++)
                CHECK(mh_new(h->client, MH_TYPE_EVENT, &h->held[i]), "mh_new");
}

void their_handles_make(TheirHandles *h)
{
        for (unsigned i = 0; i < HANDLES_HELD; i++)
                CHECK(mt_new(h->client, MH_TYPE_EVENT, &h->held[i]), "mt_new");
}

static void hold(int fd, void *ctx)
{
        Holder *holder = ctx;
        OurHandles ours = { .client = handles_attach(holder->daemon, 0) };
        TheirHandles theirs;

        CHECK(mt_attach(&theirs.client, holder->table, holder->id), "mt_attach");
        our_handles_make(&ours);
        their_handles_make(&theirs);
        stage_tell(fd, ours.held, sizeof(ours.held));
        stage_tell(fd, theirs.held, sizeof(theirs.held));
        for (;;)
                (void)pause();
}

void holder_start(StageChild *child, Holder *holder, OurHandles *ours, TheirHandles *theirs)
{
        stage_child_start(child, hold, holder);
        stage_hear(child->fd, ours->held, sizeof(ours->held));
        stage_hear(child->fd, theirs->held, sizeof(theirs->held));
}
