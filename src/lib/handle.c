/* SPDX-License-Identifier: MIT */

/*
 * Handles. Making, opening and closing are requests to the daemon; where the payload is can be seen in the segment.
 */

#include "lib/call.h"
#include "lib/client.h"
#include "shm/slot.h"

static bool type_exists(int type)
{
        return (type >= MH_TYPE_FILE && type <= MH_TYPE_PIPE) || (type >= MH_TYPE_APPLICATION && type <= MH_TYPE_MAX);
}

int mh_new(mh_client *c, int type, mh_handle *ret)
{
        BORDER;
        CallReply reply;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret || !type_exists(type))
                return -EINVAL;

        r = call_run(c, MH_WIRE_NEW, (CallRequest){ .new = { .type = (uint32_t)type } }, &reply);
        if (r < 0)
                return r;
        *ret = reply.handle.handle;
        return 0;
}

int mh_open(mh_client *c, mh_handle h, int *ret_type)
{
        BORDER;
        CallReply reply;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!h)
                return -EINVAL;

        r = call_run(c, MH_WIRE_OPEN, (CallRequest){ .open = { .handle = h } }, &reply);
        if (r < 0)
                return r;
        if (ret_type)
                *ret_type = (int)reply.handle.type;
        return 0;
}

int mh_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        BORDER;
        CallReply reply;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!h)
                return -EINVAL;

        r = call_run(c, MH_WIRE_CLOSE, (CallRequest){ .close = { .handle = h } }, &reply);
        if (r < 0)
                return r;
        if (ret_flags)
                *ret_flags = (reply.closed.destroy & MH_WIRE_CLOSE_DESTROY ? MH_CLOSED_HERE : 0) |
                             (reply.closed.destroy & MH_WIRE_CLOSE_GONE ? MH_CLOSED_EVERYWHERE : 0);
        return 0;
}

int mh_payload(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        BORDER;
        struct mh_shm_slot *slot;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret || !h)
                return -EINVAL;
        if (!c->mapped)
                return -ENOMEM;

        /* All threads share one Actor. */
        (void)pthread_mutex_lock(&c->lookup_lock);
        r = slot_held(&c->actor, h, &slot);
        (void)pthread_mutex_unlock(&c->lookup_lock);
        if (r < 0)
                return r;
        *ret = slot->payload;
        if (ret_size)
                *ret_size = sizeof(slot->payload);
        return 0;
}

const char *mh_type_name(int type)
{
        static const char *const names[] = {
                [MH_TYPE_FILE] = "file",     [MH_TYPE_CONSOLE] = "console", [MH_TYPE_THREAD] = "thread",
                [MH_TYPE_SEM] = "sem",       [MH_TYPE_MUTEX] = "mutex",     [MH_TYPE_EVENT] = "event",
                [MH_TYPE_SOCKET] = "socket", [MH_TYPE_FIND] = "find",       [MH_TYPE_PROCESS] = "process",
                [MH_TYPE_PIPE] = "pipe",
        };

        return type > 0 && type < (int)ELEMENTSOF(names) ? names[type] : NULL;
}
