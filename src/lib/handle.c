/* SPDX-License-Identifier: MIT */

/*
 * Handles. Where the segment is mapped, the operation is done right here; the rest of this file asks the daemon for it.
 */

#include "lib/call.h"
#include "lib/client.h"
#include "shm/slot.h"

static bool type_exists(int type)
{
        return (type >= MH_TYPE_FILE && type <= MH_TYPE_PIPE) || (type >= MH_TYPE_APPLICATION && type <= MH_TYPE_MAX);
}

_Static_assert(MH_CLOSED_HERE == SLOT_CLOSED_HERE && MH_CLOSED_EVERYWHERE == SLOT_CLOSED_EVERYWHERE,
               "what slot_close() says is what mh_close() says");

/* ---------------------------------------------------------------------------------------------- by request */

static _cold_ int ask_new(mh_client *c, int type, mh_handle *ret)
{
        BORDER;
        CallReply reply;
        int r;

        if (!ret || !type_exists(type))
                return -EINVAL;
        r = call_run(c, MH_WIRE_NEW, (CallRequest){ .new = { .type = (uint32_t)type } }, &reply);
        if (r == 0)
                *ret = reply.handle.handle;
        return r;
}

static _cold_ int ask_open(mh_client *c, mh_handle h, int *ret_type)
{
        BORDER;
        CallReply reply;
        int r;

        if (!h)
                return -EINVAL;
        r = call_run(c, MH_WIRE_OPEN, (CallRequest){ .open = { .handle = h } }, &reply);
        if (r == 0 && ret_type)
                *ret_type = (int)reply.handle.type;
        return r;
}

static _cold_ int ask_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        BORDER;
        CallReply reply;
        int r;

        if (!h)
                return -EINVAL;
        r = call_run(c, MH_WIRE_CLOSE, (CallRequest){ .close = { .handle = h } }, &reply);
        if (r == 0 && ret_flags)
                *ret_flags = (reply.closed.destroy & MH_WIRE_CLOSE_DESTROY ? MH_CLOSED_HERE : 0) |
                             (reply.closed.destroy & MH_WIRE_CLOSE_GONE ? MH_CLOSED_EVERYWHERE : 0);
        return r;
}

/* ---------------------------------------------------------------------------------------------- public */

static inline int new_here(Actor *a, int type, mh_handle *ret)
{
        return likely(ret) ? slot_new(a, (unsigned)type, ret) : -EINVAL;
}

static int payload_here(Actor *a, mh_handle h, void **ret, size_t *ret_size)
{
        struct mh_shm_slot *slot;
        int r;

        if (unlikely(!ret))
                return -EINVAL;
        r = slot_held(a, h, &slot);
        if (unlikely(r < 0))
                return r;
        *ret = slot->payload;
        if (ret_size)
                *ret_size = sizeof(slot->payload);
        return 0;
}

static _cold_ int new_slowly(mh_client *c, int type, mh_handle *ret)
{
        return CLIENT_RUN_SLOWLY(c, a, new_here(a, type, ret), ask_new(c, type, ret));
}

int mh_new(mh_client *c, int type, mh_handle *ret)
{
        return CLIENT_RUN(c, a, new_here(a, type, ret), new_slowly(c, type, ret));
}

static _cold_ int open_slowly(mh_client *c, mh_handle h, int *ret_type)
{
        return CLIENT_RUN_SLOWLY(c, a, slot_open(a, h, (unsigned *)ret_type), ask_open(c, h, ret_type));
}

int mh_open(mh_client *c, mh_handle h, int *ret_type)
{
        return CLIENT_RUN(c, a, slot_open(a, h, (unsigned *)ret_type), open_slowly(c, h, ret_type));
}

static _cold_ int close_slowly(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        return CLIENT_RUN_SLOWLY(c, a, slot_close(a, h, ret_flags), ask_close(c, h, ret_flags));
}

int mh_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        return CLIENT_RUN(c, a, slot_close(a, h, ret_flags), close_slowly(c, h, ret_flags));
}

static _cold_ int payload_slowly(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        return CLIENT_RUN_SLOWLY(c, a, payload_here(a, h, ret, ret_size), client_no_memory(c, ret && h));
}

int mh_payload(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        return CLIENT_RUN(c, a, payload_here(a, h, ret, ret_size), payload_slowly(c, h, ret, ret_size));
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
