/* SPDX-License-Identifier: MIT */

#include "daemon/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

bool wire_type_is_request(uint16_t type)
{
        return (type >= MH_WIRE_NEW && type <= MH_WIRE_SCRATCH_FREE) || type == MH_WIRE_GIVE;
}

const char *wire_type_name(uint16_t type)
{
        switch (type) {
        case MH_WIRE_NEW:
                return "New";
        case MH_WIRE_OPEN:
                return "Open";
        case MH_WIRE_CLOSE:
                return "Close";
        case MH_WIRE_SCRATCH:
                return "Scratch";
        case MH_WIRE_SCRATCH_FREE:
                return "ScratchFree";
        case MH_WIRE_HELLO:
                return "Hello";
        case MH_WIRE_RESUME:
                return "Resume";
        case MH_WIRE_DETACH:
                return "Detach";
        case MH_WIRE_GIVE:
                return "Give";
        default:
                return "?";
        }
}

/* The one size that a packet of this type has; 0: there is no such request. */
static size_t type_size(uint16_t type)
{
        switch (type) {
        case MH_WIRE_NEW:
                return sizeof(struct mh_wire_new);
        case MH_WIRE_OPEN:
                return sizeof(struct mh_wire_open);
        case MH_WIRE_CLOSE:
                return sizeof(struct mh_wire_close);
        case MH_WIRE_SCRATCH:
                return sizeof(struct mh_wire_scratch);
        case MH_WIRE_SCRATCH_FREE:
                return sizeof(struct mh_wire_scratch_free);
        case MH_WIRE_HELLO:
        case MH_WIRE_RESUME:
                return sizeof(struct mh_wire_hello);
        case MH_WIRE_DETACH:
                return sizeof(struct mh_wire_detach);
        case MH_WIRE_GIVE:
                return sizeof(struct mh_wire_give);
        default:
                return 0;
        }
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

/* What every version of a Hello begins with. */
static int check_version(const WirePacket *packet)
{
        struct mh_wire_hello hello = {};

        if (packet->size < offsetof(struct mh_wire_hello, flags))
                return -EBADMSG;
        memcpy(&hello, packet->data, offsetof(struct mh_wire_hello, flags));

        if (hello.magic != MH_WIRE_MAGIC)
                return -EPROTO;
        if (hello.version_min > MH_WIRE_VERSION_MAX || hello.version_max < MH_WIRE_VERSION_MIN ||
            hello.version_min > hello.version_max)
                return -EPROTONOSUPPORT;
        return 0;
}

static int parse_hello(const WirePacket *packet, WireMessage *ret)
{
        struct mh_wire_hello hello;

        memcpy(&hello, packet->data, sizeof(hello));
        if (hello.header.seq != 0)
                return -EBADMSG;
        if (hello._pad != 0 || !memchr(hello.name, 0, sizeof(hello.name)))
                return -EBADMSG;
        if (hello.header.type == MH_WIRE_HELLO &&
            (hello.client != 0 || !all_zero(hello.segment, sizeof(hello.segment))))
                return -EBADMSG;
        ret->hello = hello;
        return 0;
}

static int parse_request(const WirePacket *packet, WireMessage *ret)
{
        union {
                struct mh_wire_header header;
                struct mh_wire_new new;
                struct mh_wire_open open;
                struct mh_wire_close close;
                struct mh_wire_scratch scratch;
                struct mh_wire_scratch_free scratch_free;
                struct mh_wire_give give;
        } u = {};
        Request request = {};

        assert(packet->size <= sizeof(u));
        memcpy(&u, packet->data, packet->size);

        request.seq = u.header.seq;
        request.op = u.header.type;
        switch (u.header.type) {
        case MH_WIRE_NEW:
                if (u.new._pad != 0)
                        return -EBADMSG;
                request.type = u.new.type;
                break;
        case MH_WIRE_OPEN:
                request.arg[0] = u.open.handle;
                break;
        case MH_WIRE_CLOSE:
                request.arg[0] = u.close.handle;
                break;
        case MH_WIRE_SCRATCH:
                request.arg[0] = u.scratch.length;
                break;
        case MH_WIRE_SCRATCH_FREE:
                request.arg[0] = u.scratch_free.idx;
                break;
        default:
                request.arg[0] = u.give.idx;
                request.arg[1] = u.give.handle;
                break;
        }
        ret->request = request;
        return 0;
}

int wire_parse(const WirePacket *packet, WireMessage *ret)
{
        struct mh_wire_header header;
        bool greeting;
        int r;

        assert(packet && ret);
        assert(packet->data || packet->size == 0);

        ret->type = MH_WIRE_ERROR;
        ret->seq = 0;
        if (packet->size < sizeof(header))
                return -EBADMSG;
        memcpy(&header, packet->data, sizeof(header));
        ret->type = header.type;
        ret->seq = header.seq;

        if (packet->truncated || packet->size > MH_WIRE_PACKET_MAX || header.size != packet->size || header._pad != 0)
                return -EBADMSG;
        if (type_size(header.type) == 0)
                return -EOPNOTSUPP;

        greeting = header.type == MH_WIRE_HELLO || header.type == MH_WIRE_RESUME;
        if (greeting) {
                r = check_version(packet);
                if (r < 0)
                        return r;
        }

        if (packet->size != type_size(header.type))
                return -EBADMSG;
        if (packet->n_fds > (header.type == MH_WIRE_RESUME ? 1U : 0U))
                return -EBADMSG;

        if (greeting)
                return parse_hello(packet, ret);
        if (header.type == MH_WIRE_DETACH)
                return header.seq == 0 ? 0 : -EBADMSG;
        return parse_request(packet, ret);
}

static void reply_begin(WireReply *ret, uint16_t type, uint64_t seq, size_t size)
{
        assert(size <= sizeof(ret->data));

        memset(ret, 0, sizeof(*ret));
        ret->size = size;
        ret->header.type = type;
        ret->header.size = (uint32_t)size;
        ret->header.seq = seq;
}

void wire_reply_error(WireReply *ret, uint16_t type, uint64_t seq, int error)
{
        assert(error > 0);

        reply_begin(ret, MH_WIRE_ERROR, seq, sizeof(ret->error));
        ret->error.reason = (uint32_t)error;
        ret->error.request = type;
}

void wire_reply_bare(WireReply *ret, uint16_t type, uint64_t seq)
{
        reply_begin(ret, type, seq, sizeof(ret->header));
}

void wire_reply_outcome(WireReply *ret, const Request *request, const struct mh_shm_outcome *outcome)
{
        uint16_t type = (uint16_t)request->op;

        /* The outcome was read back from memory that others can write: any number may stand there. */
        if (outcome->error != 0) {
                wire_reply_error(ret, type, request->seq, outcome->error > 0 ? outcome->error : EIO);
                return;
        }

        switch (type) {
        case MH_WIRE_NEW:
        case MH_WIRE_OPEN:
                reply_begin(ret, type, request->seq, sizeof(ret->handle));
                ret->handle.type = outcome->flags;
                ret->handle.handle = outcome->value[0];
                break;
        case MH_WIRE_CLOSE:
                reply_begin(ret, type, request->seq, sizeof(ret->closed));
                ret->closed.destroy = outcome->flags;
                break;
        case MH_WIRE_SCRATCH:
                reply_begin(ret, type, request->seq, sizeof(ret->block));
                ret->block.idx = outcome->value[0];
                ret->block.size = outcome->value[1];
                break;
        default:
                wire_reply_bare(ret, type, request->seq);
                break;
        }
}

void wire_reply_welcome(WireReply *ret, uint16_t type, const WireWelcome *welcome)
{
        reply_begin(ret, type, 0, sizeof(ret->welcome));
        ret->welcome.version = MH_WIRE_VERSION_MAX;
        ret->welcome.client = welcome->client;
        ret->welcome.flags = welcome->flags;
        ret->welcome.epoch = welcome->epoch;
        ret->welcome.seq = welcome->seq;
        ret->welcome.segment_size = welcome->segment_size;
        memcpy(ret->welcome.segment, welcome->segment, sizeof(ret->welcome.segment));
}
