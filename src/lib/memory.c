/* SPDX-License-Identifier: MIT */

/*
 * Scratch memory. Where the segment is mapped, the operation is done right here; else the daemon is asked for it.
 */

#include "lib/call.h"
#include "lib/client.h"
#include "shm/give.h"
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

static inline int alloc_here(Actor *a, size_t size, mh_scratch *ret)
{
        return likely(ret) ? scratch_take(a, size, ret) : -EINVAL;
}

static int data_here(Actor *a, mh_scratch s, void **ret, size_t *ret_size)
{
        uint64_t size;
        void *data;
        int r;

        if (unlikely(!ret))
                return -EINVAL;
        r = scratch_lookup(a, s, &data, &size);
        if (unlikely(r < 0))
                return r;
        *ret = data;
        if (ret_size)
                *ret_size = size;
        return 0;
}

static int give_here(Actor *a, mh_scratch s, mh_handle h)
{
        return likely(s && h) ? give_block(a, s, h) : -EINVAL;
}

static _cold_ int scratch_alloc_slowly(mh_client *c, size_t size, mh_scratch *ret)
{
        return CLIENT_RUN_SLOWLY(c, a, alloc_here(a, size, ret), ask_scratch(c, size, ret));
}

int mh_scratch_alloc(mh_client *c, size_t size, mh_scratch *ret)
{
        Actor *a = client_use(c);

        return likely(a) ? alloc_here(a, size, ret) : scratch_alloc_slowly(c, size, ret);
}

static _cold_ int scratch_free_slowly(mh_client *c, mh_scratch s)
{
        return CLIENT_RUN_SLOWLY(c, a, scratch_free(a, s), ask_free(c, s));
}

int mh_scratch_free(mh_client *c, mh_scratch s)
{
        Actor *a = client_use(c);

        return likely(a) ? scratch_free(a, s) : scratch_free_slowly(c, s);
}

static _cold_ int scratch_data_slowly(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        return CLIENT_RUN_SLOWLY(c, a, data_here(a, s, ret, ret_size), client_no_memory(c, ret && s));
}

int mh_scratch_data(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        return CLIENT_RUN(c, a, data_here(a, s, ret, ret_size), scratch_data_slowly(c, s, ret, ret_size));
}

static _cold_ int scratch_give_slowly(mh_client *c, mh_scratch s, mh_handle h)
{
        return CLIENT_RUN_SLOWLY(c, a, give_here(a, s, h), ask_give(c, s, h));
}

int mh_scratch_give(mh_client *c, mh_scratch s, mh_handle h)
{
        return CLIENT_RUN(c, a, give_here(a, s, h), scratch_give_slowly(c, s, h));
}

void *mh_scratch_base(mh_client *c)
{
        return client_check(c) < 0 || !c->mapped ? NULL : c->segment.scratch;
}
