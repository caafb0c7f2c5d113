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

static unsigned public_flags(bool here, bool everywhere)
{
        return (here ? MH_CLOSED_HERE : 0) | (everywhere ? MH_CLOSED_EVERYWHERE : 0);
}

/* ---------------------------------------------------------------------------------------------- by request */

static _cold_ int ask_new(mh_client *c, int type, mh_handle *ret)
{
        BORDER;
        CallReply reply;
        int r;

        r = call_run(c, MH_WIRE_NEW, (CallRequest){ .new = { .type = (uint32_t)type } }, &reply);
        if (r == 0)
                *ret = reply.handle.handle;
        return r;
}

static _cold_ int ask_open(mh_client *c, mh_handle h, unsigned *ret_type)
{
        BORDER;
        CallReply reply;
        int r;

        r = call_run(c, MH_WIRE_OPEN, (CallRequest){ .open = { .handle = h } }, &reply);
        if (r == 0)
                *ret_type = reply.handle.type;
        return r;
}

static _cold_ int ask_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        BORDER;
        CallReply reply;
        int r;

        r = call_run(c, MH_WIRE_CLOSE, (CallRequest){ .close = { .handle = h } }, &reply);
        if (r == 0)
                *ret_flags = public_flags(reply.closed.destroy & MH_WIRE_CLOSE_DESTROY,
                                          reply.closed.destroy & MH_WIRE_CLOSE_GONE);
        return r;
}

/* ---------------------------------------------------------------------------------------------- public */

int mh_new(mh_client *c, int type, mh_handle *ret)
{
        Actor *a;
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!ret || !type_exists(type)))
                return -EINVAL;
        if (unlikely(!c->mapped))
                return ask_new(c, type, ret);

        a = direct_enter(&c->direct);
        r = slot_new(a, (unsigned)type, ret);
        direct_leave(&c->direct, a);
        return r;
}

int mh_open(mh_client *c, mh_handle h, int *ret_type)
{
        unsigned type;
        Actor *a;
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!h))
                return -EINVAL;
        if (likely(c->mapped)) {
                a = direct_enter(&c->direct);
                r = slot_open(a, h, &type);
                direct_leave(&c->direct, a);
        } else {
                r = ask_open(c, h, &type);
        }
        if (r == 0 && ret_type)
                *ret_type = (int)type;
        return r;
}

int mh_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        unsigned flags;
        Actor *a;
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (unlikely(!h))
                return -EINVAL;
        if (likely(c->mapped)) {
                a = direct_enter(&c->direct);
                r = slot_close(a, h, &flags);
                direct_leave(&c->direct, a);
                if (r == 0)
                        flags = public_flags(flags & SLOT_CLOSED_HERE, flags & SLOT_CLOSED_EVERYWHERE);
        } else {
                r = ask_close(c, h, &flags);
        }
        if (r == 0 && ret_flags)
                *ret_flags = flags;
        return r;
}

int mh_payload(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        struct mh_shm_slot *slot;
        Actor *a;
        int r = client_check(c);

        if (unlikely(r < 0))
                return r;
        if (!ret || !h)
                return -EINVAL;
        if (!c->mapped)
                return -ENOMEM;

        a = direct_enter(&c->direct);
        r = slot_held(a, h, &slot);
        direct_leave(&c->direct, a);
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
