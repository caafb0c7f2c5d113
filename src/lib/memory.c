/* SPDX-License-Identifier: MIT */

/*
 * Scratch memory. Taking, freeing and giving are requests to the daemon; where a block is can be seen in the segment.
 */

#include "lib/memory.h"

#include "lib/call.h"
#include "lib/client.h"
#include "shm/scratch.h"

#define SIZE_LIMIT (UINT64_C(1) << 40)

int memory_take(mh_client *c, uint64_t size, mh_scratch *ret)
{
        CallReply reply;
        int r;

        if (size == 0 || size > SIZE_LIMIT)
                return -EINVAL;
        r = call_run(c, MH_WIRE_SCRATCH, (CallRequest){ .scratch = { .length = size } }, &reply);
        if (r < 0)
                return r;
        *ret = reply.block.idx;
        return 0;
}

int memory_where(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        uint64_t size;
        void *data;
        int r;

        if (!s)
                return -EINVAL;
        if (!c->mapped)
                return -ENOMEM;

        /* All threads share one Actor, and with it one hazard line. */
        (void)pthread_mutex_lock(&c->lookup_lock);
        r = scratch_lookup(&c->actor, s, &data, &size);
        (void)pthread_mutex_unlock(&c->lookup_lock);
        if (r < 0)
                return r;
        *ret = data;
        if (ret_size)
                *ret_size = size;
        return 0;
}

int mh_scratch_alloc(mh_client *c, size_t size, mh_scratch *ret)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret)
                return -EINVAL;
        return memory_take(c, size, ret);
}

int mh_scratch_free(mh_client *c, mh_scratch s)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!s)
                return -EINVAL;
        return call_run(c, MH_WIRE_SCRATCH_FREE, (CallRequest){ .scratch_free = { .idx = s } }, NULL);
}

int mh_scratch_data(mh_client *c, mh_scratch s, void **ret, size_t *ret_size)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret)
                return -EINVAL;
        return memory_where(c, s, ret, ret_size);
}

int mh_scratch_give(mh_client *c, mh_scratch s, mh_handle h)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!s || !h)
                return -EINVAL;
        return call_run(c, MH_WIRE_GIVE, (CallRequest){ .give = { .idx = s, .handle = h } }, NULL);
}

void *mh_scratch_base(mh_client *c)
{
        BORDER;

        return client_check(c) < 0 || !c->mapped ? NULL : c->segment.scratch;
}
