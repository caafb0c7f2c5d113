/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/wire.h"

typedef union Buffer {
        struct mh_wire_header header;
        struct mh_wire_hello hello;
        struct mh_wire_new new;
        struct mh_wire_give give;
        struct mh_wire_scratch scratch;
        uint8_t data[WIRE_BUFFER_SIZE];
} Buffer;

static Buffer make(uint16_t type, size_t size, uint64_t seq)
{
        Buffer b = {};

        b.header = (struct mh_wire_header){ .type = type, .size = (uint32_t)size, .seq = seq };
        return b;
}

static Buffer make_hello(uint16_t type)
{
        Buffer b = make(type, sizeof(struct mh_wire_hello), 0);

        b.hello.magic = MH_WIRE_MAGIC;
        b.hello.version_min = 1;
        b.hello.version_max = 1;
        b.hello.nonce = 5;
        return b;
}

static int parse(const Buffer *b, size_t size, unsigned n_fds, WireMessage *ret)
{
        return wire_parse(&(WirePacket){ .data = b->data, .size = size, .n_fds = n_fds }, ret);
}

Test(wire, requests_are_taken_apart)
{
        WireMessage m;
        Buffer b;

        b = make(MH_WIRE_NEW, sizeof(struct mh_wire_new), 7);
        b.new.type = 9;
        cr_assert_eq(parse(&b, b.header.size, 0, &m), 0);
        cr_expect_eq(m.type, MH_WIRE_NEW);
        cr_expect_eq(m.seq, 7);
        cr_expect_eq(m.request.seq, 7);
        cr_expect_eq(m.request.op, MH_WIRE_NEW);
        cr_expect_eq(m.request.type, 9);
        cr_expect_eq(m.request.arg[0], 0);

        b = make(MH_WIRE_GIVE, sizeof(struct mh_wire_give), 1);
        b.give.idx = 11;
        b.give.handle = 12;
        cr_assert_eq(parse(&b, b.header.size, 0, &m), 0);
        cr_expect_eq(m.request.arg[0], 11);
        cr_expect_eq(m.request.arg[1], 12);

        static const uint16_t types[] = { MH_WIRE_OPEN, MH_WIRE_CLOSE, MH_WIRE_SCRATCH, MH_WIRE_SCRATCH_FREE };
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                b = make(types[i], sizeof(struct mh_wire_scratch), 1);
                b.scratch.length = UINT64_MAX;
                cr_assert_eq(parse(&b, b.header.size, 0, &m), 0);
                cr_expect_eq(m.request.op, types[i]);
                cr_expect_eq(m.request.arg[0], UINT64_MAX);
                cr_expect_eq(m.request.type, 0);
        }
}

Test(wire, each_length_but_one_is_wrong)
{
        static const struct {
                uint16_t type;
                size_t size;
        } kinds[] = {
                { MH_WIRE_NEW, 24 },          { MH_WIRE_OPEN, 24 },   { MH_WIRE_CLOSE, 24 },
                { MH_WIRE_SCRATCH, 24 },      { MH_WIRE_GIVE, 32 },   { MH_WIRE_DETACH, 16 },
                { MH_WIRE_SCRATCH_FREE, 24 }, { MH_WIRE_HELLO, 112 }, { MH_WIRE_RESUME, 112 },
        };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                for (size_t size = 0; size <= WIRE_BUFFER_SIZE; size++) {
                        Buffer b = make_hello(kinds[i].type);
                        WireMessage m;
                        int r;

                        b.header.size = (uint32_t)size;
                        if (kinds[i].size <= 32)
                                memset(b.data + 16, 0, sizeof(b.data) - 16);
                        r = parse(&b, size, 0, &m);
                        cr_assert_eq(r, size == kinds[i].size ? 0 : -EBADMSG, "type %u, %zu: %d", kinds[i].type, size,
                                     r);
                        /* The answer goes to whoever asked, as far as he said it. */
                        cr_assert_eq(m.type, size < 16 ? 0 : kinds[i].type);
                }
}

Test(wire, sizes_that_lie_and_packets_that_were_cut)
{
        Buffer b = make(MH_WIRE_OPEN, 24, 1);
        WireMessage m;

        b.header.size = 23;
        cr_expect_eq(parse(&b, 24, 0, &m), -EBADMSG);
        b.header.size = UINT32_MAX;
        cr_expect_eq(parse(&b, 24, 0, &m), -EBADMSG);
        b.header.size = 24;
        cr_expect_eq(wire_parse(&(WirePacket){ .data = b.data, .size = 24, .truncated = true }, &m), -EBADMSG);
        cr_expect_eq(wire_parse(&(WirePacket){}, &m), -EBADMSG);
        cr_expect_eq(m.type, 0);
        cr_expect_eq(m.seq, 0);
}

Test(wire, unknown_types)
{
        for (unsigned type = 0; type <= UINT16_MAX; type++) {
                Buffer b = make((uint16_t)type, 16, 3);
                WireMessage m;
                bool known = wire_type_is_request((uint16_t)type) || (type >= MH_WIRE_HELLO && type <= MH_WIRE_DETACH);

                if (!known)
                        cr_assert_eq(parse(&b, 16, 0, &m), -EOPNOTSUPP, "type %u", type);
        }
}

Test(wire, padding)
{
        Buffer b = make(MH_WIRE_NEW, 24, 1);
        WireMessage m;

        b.header._pad = 1;
        cr_expect_eq(parse(&b, 24, 0, &m), -EBADMSG);
        b.header._pad = 0;
        b.new._pad = UINT32_C(1) << 31;
        cr_expect_eq(parse(&b, 24, 0, &m), -EBADMSG);
}

Test(wire, descriptors_belong_to_resume_and_to_one_of_it)
{
        WireMessage m;
        Buffer b;

        b = make_hello(MH_WIRE_RESUME);
        cr_expect_eq(parse(&b, 112, 0, &m), 0);
        cr_expect_eq(parse(&b, 112, 1, &m), 0);
        cr_expect_eq(parse(&b, 112, 2, &m), -EBADMSG);
        b = make_hello(MH_WIRE_HELLO);
        cr_expect_eq(parse(&b, 112, 1, &m), -EBADMSG);
        b = make(MH_WIRE_OPEN, 24, 1);
        cr_expect_eq(parse(&b, 24, 1, &m), -EBADMSG);
}

Test(wire, hello_of_other_protocols_and_versions)
{
        Buffer b = make_hello(MH_WIRE_HELLO);
        WireMessage m;

        b.hello.magic = 0;
        cr_expect_eq(parse(&b, 112, 0, &m), -EPROTO);
        b = make_hello(MH_WIRE_HELLO);
        b.hello.version_min = 2;
        b.hello.version_max = 9;
        cr_expect_eq(parse(&b, 112, 0, &m), -EPROTONOSUPPORT);
        b.header.size = 200;
        cr_expect_eq(parse(&b, 200, 0, &m), -EPROTONOSUPPORT, "whatever its length");
        b.header.size = 23;
        cr_expect_eq(parse(&b, 23, 0, &m), -EBADMSG, "but for one without a version");
        b = make_hello(MH_WIRE_HELLO);
        b.hello.version_min = 0;
        b.hello.version_max = 9;
        cr_expect_eq(parse(&b, 112, 0, &m), 0);
}

Test(wire, hello_says_nothing_that_only_resume_may_say)
{
        WireMessage m;
        Buffer b;

        b = make_hello(MH_WIRE_HELLO);
        b.hello.client = 1;
        cr_expect_eq(parse(&b, 112, 0, &m), -EBADMSG);
        b = make_hello(MH_WIRE_HELLO);
        b.hello.segment[3] = 1;
        cr_expect_eq(parse(&b, 112, 0, &m), -EBADMSG);
        b = make_hello(MH_WIRE_RESUME);
        b.hello.client = 1;
        b.hello.segment[3] = 1;
        cr_expect_eq(parse(&b, 112, 0, &m), 0);
        memset(b.hello.name, 'n', sizeof(b.hello.name));
        cr_expect_eq(parse(&b, 112, 0, &m), -EBADMSG);
        b = make_hello(MH_WIRE_RESUME);
        b.header.seq = 1;
        cr_expect_eq(parse(&b, 112, 0, &m), -EBADMSG);
        b = make(MH_WIRE_DETACH, 16, 1);
        cr_expect_eq(parse(&b, 16, 0, &m), -EBADMSG);
}

Test(wire, replies)
{
        const Request request = { .seq = 4, .op = MH_WIRE_SCRATCH };
        WireReply reply;

        memset(&reply, 0xff, sizeof(reply));
        wire_reply_outcome(&reply, &request, &(struct mh_shm_outcome){ .seq = 4, .value = { 77, 128 } });
        cr_expect_eq(reply.size, sizeof(struct mh_wire_block));
        cr_expect_eq(reply.header.size, sizeof(struct mh_wire_block));
        cr_expect_eq(reply.header.type, MH_WIRE_SCRATCH);
        cr_expect_eq(reply.header._pad, 0);
        cr_expect_eq(reply.header.seq, 4);
        cr_expect_eq(reply.block.idx, 77);
        cr_expect_eq(reply.block.size, 128);

        wire_reply_outcome(&reply, &request, &(struct mh_shm_outcome){ .seq = 4, .error = ENOSPC });
        cr_expect_eq(reply.size, sizeof(struct mh_wire_error));
        cr_expect_eq(reply.header.type, MH_WIRE_ERROR);
        cr_expect_eq(reply.error.reason, ENOSPC);
        cr_expect_eq(reply.error.request, MH_WIRE_SCRATCH);

        /* What stands in the segment may be anything. */
        wire_reply_outcome(&reply, &request, &(struct mh_shm_outcome){ .seq = 4, .error = INT32_MIN });
        cr_expect_eq(reply.header.type, MH_WIRE_ERROR);
        cr_expect_eq(reply.error.reason, EIO);

        memset(&reply, 0xff, sizeof(reply));
        wire_reply_outcome(&reply, &(Request){ .seq = 1, .op = MH_WIRE_CLOSE }, &(struct mh_shm_outcome){ .flags = 3 });
        cr_expect_eq(reply.size, sizeof(struct mh_wire_closed));
        cr_expect_eq(reply.closed.destroy, 3);
        cr_expect_eq(reply.closed._pad, 0);

        wire_reply_outcome(&reply, &(Request){ .seq = 1, .op = MH_WIRE_GIVE }, &(struct mh_shm_outcome){});
        cr_expect_eq(reply.size, sizeof(struct mh_wire_header));
        cr_expect_eq(reply.header.type, MH_WIRE_GIVE);
}

Test(wire, types_have_names)
{
        cr_expect_str_eq(wire_type_name(MH_WIRE_NEW), "New");
        cr_expect_str_eq(wire_type_name(MH_WIRE_GIVE), "Give");
        cr_expect_str_eq(wire_type_name(MH_WIRE_ERROR), "?");
        cr_expect_str_eq(wire_type_name(12345), "?");
}
