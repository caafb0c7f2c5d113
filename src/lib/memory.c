/* SPDX-License-Identifier: MIT */

/*
 * Scratch memory. Where the segment is mapped, the operation is done right here; else the daemon is asked for it.
 */

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

        if (!ret || size == 0 || size > SIZE_LIMIT)
                return -EINVAL;
        r = call_run(c, MH_WIRE_SCRATCH, (CallRequest){ .scratch = { .length = size } }, &reply);
        if (r == 0)
                *ret = reply.block.idx;
        return r;
}

static _cold_ int ask_free(mh_client *c, mh_scratch s)
{
        BORDER;

        if (!s)
                return -EINVAL;
        return call_run(c, MH_WIRE_SCRATCH_FREE, (CallRequest){ .scratch_free = { .idx = s } }, NULL);
}

static _cold_ int ask_give(mh_client *c, mh_scratch s, mh_handle h)
{
        BORDER;

        if (!s || !h)
                return -EINVAL;
        return call_run(c, MH_WIRE_GIVE, (CallRequest){ .give = { .idx = s, .handle = h } }, NULL);
}

/* ---------------------------------------------------------------------------------------------- public */

int mh_scratch_alloc(mh_client *c, size_t size, mh_scratch *ret)
{
        Actor *a;
        int r;

        r = client_enter(c, &a);
        if (unlikely(r <= 0))
                return r < 0 ? r : ask_scratch(c, size, ret);
        r = likely(ret) ? scratch_alloc(a, size, ret, NULL) : -EINVAL;
        client_leave(c, a);
        return r;
}

int mh_scratch_free(mh_client *c, mh_scratch s)
{
        Actor *a;
        int r;

        r = client_enter(c, &a);
        if (unlikely(r <= 0))
                return r < 0 ? r : ask_free(c, s);
        r = scratch_free(a, s);
        client_leave(c, a);
        return r;
}

int mh_scratch_data(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        uint64_t size;
        void *data;
        Actor *a;
        int r;

        r = client_enter(c, &a);
        if (unlikely(r <= 0))
                return r < 0 ? r : client_no_memory(c, ret && s);
        r = likely(ret) ? scratch_lookup(a, s, &data, &size) : -EINVAL;
        client_leave(c, a);
        if (unlikely(r < 0))
                return r;
        *ret = data;
        if (ret_size)
                *ret_size = size;
        return 0;
}

int mh_scratch_give(mh_client *c, mh_scratch s, mh_handle h)
{
        Actor *a;
        int r;

        r = client_enter(c, &a);
        if (unlikely(r <= 0))
                return r < 0 ? r : ask_give(c, s, h);
        r = likely(s && h) ? scratch_give(a, s, h) : -EINVAL;
        client_leave(c, a);
        return r;
}

void *mh_scratch_base(mh_client *c)
{
        return client_check(c) < 0 || !c->mapped ? NULL : c->segment.scratch;
}
