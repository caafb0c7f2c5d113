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
        Actor *a;
        int r = client_enter_slowly(c, &a);

        if (r == 0)
                return ask_new(c, type, ret);
        if (r > 0) {
                r = new_here(a, type, ret);
                client_leave_slowly(c, a);
        }
        return r;
}

int mh_new(mh_client *c, int type, mh_handle *ret)
{
        DirectPass pass = client_enter(c);
        int r;

        if (unlikely(!pass.actor))
                return new_slowly(c, type, ret);
        r = new_here(pass.actor, type, ret);
        client_leave(pass);
        return r;
}

static _cold_ int open_slowly(mh_client *c, mh_handle h, int *ret_type)
{
        Actor *a;
        int r = client_enter_slowly(c, &a);

        if (r == 0)
                return ask_open(c, h, ret_type);
        if (r > 0) {
                r = slot_open(a, h, (unsigned *)ret_type);
                client_leave_slowly(c, a);
        }
        return r;
}

int mh_open(mh_client *c, mh_handle h, int *ret_type)
{
        DirectPass pass = client_enter(c);
        int r;

        if (unlikely(!pass.actor))
                return open_slowly(c, h, ret_type);
        r = slot_open(pass.actor, h, (unsigned *)ret_type);
        client_leave(pass);
        return r;
}

static _cold_ int close_slowly(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        Actor *a;
        int r = client_enter_slowly(c, &a);

        if (r == 0)
                return ask_close(c, h, ret_flags);
        if (r > 0) {
                r = slot_close(a, h, ret_flags);
                client_leave_slowly(c, a);
        }
        return r;
}

int mh_close(mh_client *c, mh_handle h, unsigned *ret_flags)
{
        DirectPass pass = client_enter(c);
        int r;

        if (unlikely(!pass.actor))
                return close_slowly(c, h, ret_flags);
        r = slot_close(pass.actor, h, ret_flags);
        client_leave(pass);
        return r;
}

static _cold_ int payload_slowly(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        Actor *a;
        int r = client_enter_slowly(c, &a);

        if (r == 0)
                return client_no_memory(c, ret && h);
        if (r > 0) {
                r = payload_here(a, h, ret, ret_size);
                client_leave_slowly(c, a);
        }
        return r;
}

int mh_payload(mh_client *c, mh_handle h, void **ret, size_t *ret_size)
{
        DirectPass pass = client_enter(c);
        int r;

        if (unlikely(!pass.actor))
                return payload_slowly(c, h, ret, ret_size);
        r = payload_here(pass.actor, h, ret, ret_size);
        client_leave(pass);
        return r;
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
