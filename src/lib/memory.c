/* SPDX-License-Identifier: MIT */

/*
 * Scratch memory. Where the segment is mapped, the operation is done right here; else the daemon is asked for it.
 */

#include "lib/memory.h"

#include "lib/call.h"
#include "lib/client.h"
#include "shm/scratch.h"

#define SIZE_LIMIT (UINT64_C(1) << 40)

/* ---------------------------------------------------------------------------------------------- by request */

static _cold_ int ask_scratch(mh_client *c, uint64_t size, mh_scratch *ret)
{
        BORDER;
        CallReply reply;
        int r;

        r = call_run(c, MH_WIRE_SCRATCH, (CallRequest){ .scratch = { .length = size } }, &reply);
        if (r == 0)
                *ret = reply.block.idx;
        return r;
}

static _cold_ int ask_free(mh_client *c, mh_scratch s)
{
        BORDER;

        return call_run(c, MH_WIRE_SCRATCH_FREE, (CallRequest){ .scratch_free = { .idx = s } }, NULL);
}

static _cold_ int ask_give(mh_client *c, mh_scratch s, mh_handle h)
{
        BORDER;

        return call_run(c, MH_WIRE_GIVE, (CallRequest){ .give = { .idx = s, .handle = h } }, NULL);
}

/* ---------------------------------------------------------------------------------------------- behind the border */

int memory_take(mh_client *c, uint64_t size, mh_scratch *ret)
{
        Actor *a;
        int r;

        if (unlikely(size == 0 || size > SIZE_LIMIT))
                return -EINVAL;
        if (unlikely(!c->mapped))
                return ask_scratch(c, size, ret);

        a = direct_enter(&c->direct);
        r = scratch_alloc(a, size, ret, NULL);
        direct_leave(&c->direct, a);
        return r;
}

int memory_give_back(mh_client *c, mh_scratch s)
{
        Actor *a;
        int r;

        if (unlikely(!c->mapped))
                return ask_free(c, s);

        a = direct_enter(&c->direct);
        r = scratch_free(a, s);
        direct_leave(&c->direct, a);
        return r;
}

int memory_where(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        uint64_t size;
        void *data;
        Actor *a;
        int r;

        if (unlikely(!s))
                return -EINVAL;
        if (unlikely(!c->mapped))
                return -ENOMEM;

        a = direct_enter(&c->direct);
        r = scratch_lookup(a, s, &data, &size);
        direct_leave(&c->direct, a);
        if (r < 0)
                return r;
        *ret = data;
        if (ret_size)
                *ret_size = size;
        return 0;
}

/* ---------------------------------------------------------------------------------------------- public */

int mh_scratch_alloc(mh_client *c, size_t size, mh_scratch *ret)
{
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!ret))
                return -EINVAL;
        return memory_take(c, size, ret);
}

int mh_scratch_free(mh_client *c, mh_scratch s)
{
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!s))
                return -EINVAL;
        return memory_give_back(c, s);
}

int mh_scratch_data(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!ret))
                return -EINVAL;
        return memory_where(c, s, ret, ret_size);
}

int mh_scratch_give(mh_client *c, mh_scratch s, mh_handle h)
{
        Actor *a;
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!s || !h))
                return -EINVAL;
        if (unlikely(!c->mapped))
                return ask_give(c, s, h);

        a = direct_enter(&c->direct);
        r = scratch_give(a, s, h);
        direct_leave(&c->direct, a);
        return r;
}

void *mh_scratch_base(mh_client *c)
{
        return client_check(c) < 0 || !c->mapped ? NULL : c->segment.scratch;
}
