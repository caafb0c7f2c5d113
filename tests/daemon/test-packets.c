/* SPDX-License-Identifier: MIT */

/* Packets that nobody should send: each is answered by an error, or ends that one connection; a second client notices
 * nothing. */

#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(packets);

#define LONGEST (MH_WIRE_PACKET_MAX + 64U)

typedef struct Kind {
        uint16_t type;
        size_t size;
} Kind;

static const Kind kinds[] = {
        { MH_WIRE_NEW, sizeof(struct mh_wire_new) },
        { MH_WIRE_OPEN, sizeof(struct mh_wire_open) },
        { MH_WIRE_CLOSE, sizeof(struct mh_wire_close) },
        { MH_WIRE_SCRATCH, sizeof(struct mh_wire_scratch) },
        { MH_WIRE_SCRATCH_FREE, sizeof(struct mh_wire_scratch_free) },
        { MH_WIRE_GIVE, sizeof(struct mh_wire_give) },
        { MH_WIRE_DETACH, sizeof(struct mh_wire_detach) },
        { MH_WIRE_HELLO, sizeof(struct mh_wire_hello) },
        { MH_WIRE_RESUME, sizeof(struct mh_wire_hello) },
};

static void fill(uint8_t *packet, const Kind *kind, size_t size, uint64_t seq)
{
        struct mh_wire_header header = { .type = kind->type, .size = (uint32_t)size, .seq = seq };

        memset(packet, 0, LONGEST);
        if (kind->type == MH_WIRE_HELLO || kind->type == MH_WIRE_RESUME) {
                struct mh_wire_hello hello;
                Raw r = { .nonce = 1 };

                raw_greeting(&r, kind->type, &hello);
                memcpy(packet, &hello, sizeof(hello));
        }
        memcpy(packet, &header, sizeof(header));
}

/* A client that is attached, and stays so whatever its errors; it is replaced before it has too many of them. */
static void ask_bad(Raw *r, const void *packet, size_t size, int reason, const char *what, const Kind *kind)
{
        static unsigned bad;
        uint64_t handle;
        int k;

        if (++bad % 50 == 0) {
                raw_done(r);
                cr_assert_eq(raw_attach(r, &the_daemon, 0), 0);
        }
        k = raw_ask(r->fd, packet, size);
        cr_assert_eq(k, reason, "%s: type %u, %zu bytes: %d", what, kind->type, size, k);
        if (bad % 16 == 0)
                cr_assert_eq(raw_new(r, 1, &handle), 0, "and the connection goes on");
}

Test(packets, truncated_and_overlong_at_each_byte)
{
        uint8_t packet[LONGEST];
        uint64_t handle;
        Raw r, other;
        unsigned fds;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        fds = daemon_fds(&the_daemon);

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                for (size_t size = 0; size <= LONGEST; size++) {
                        if (size == kinds[i].size)
                                continue;
                        /* The size field tells the truth, which is not what the type demands. */
                        fill(packet, &kinds[i], size, r.seq + 1);
                        ask_bad(&r, packet, size, EBADMSG, "honest", &kinds[i]);
                        /* It tells what the type demands, which is not the truth. */
                        fill(packet, &kinds[i], kinds[i].size, r.seq + 1);
                        ask_bad(&r, packet, size, EBADMSG, "lying", &kinds[i]);
                        /* And the other way round. */
                        fill(packet, &kinds[i], size, r.seq + 1);
                        ask_bad(&r, packet, kinds[i].size, EBADMSG, "lying", &kinds[i]);
                }

        cr_expect_eq(raw_new(&other, 1, &handle), 0);
        WAIT_FOR(daemon_fds(&the_daemon) == fds);
        raw_done(&r);
        raw_done(&other);
        harness_pass();
}

Test(packets, unknown_types)
{
        uint8_t packet[LONGEST];
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        for (unsigned type = 0; type <= UINT16_MAX; type += type < 70 ? 1 : 509) {
                Kind kind = { (uint16_t)type, sizeof(struct mh_wire_header) };
                bool known = false;

                for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                        known = known || kinds[i].type == type;
                if (known)
                        continue;
                fill(packet, &kind, kind.size, 1);
                ask_bad(&r, packet, kind.size, EOPNOTSUPP, "unknown", &kind);
        }
        raw_done(&r);
        harness_pass();
}

Test(packets, padding_must_be_zero)
{
        struct mh_wire_new request = { .header = { .type = MH_WIRE_NEW, .size = sizeof(request), .seq = 1 },
                                       .type = 1 };
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        request._pad = 1;
        cr_expect_eq(raw_ask(r.fd, &request, sizeof(request)), EBADMSG);
        request._pad = 0;
        request.header._pad = 1;
        cr_expect_eq(raw_ask(r.fd, &request, sizeof(request)), EBADMSG);
        /* A packet that was refused has not used up its number. */
        cr_expect_eq(raw_new(&r, 1, &handle), 0);
        raw_done(&r);
        harness_pass();
}

Test(packets, an_empty_packet_is_not_the_end)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_expect_eq(raw_ask(r.fd, "", 0), EBADMSG);
        cr_expect_eq(raw_new(&r, 1, &handle), 0);
        raw_done(&r);
        harness_pass();
}

Test(packets, sixty_four_bad_ones_end_the_connection)
{
        Raw r, other;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        for (unsigned i = 0; i < 64; i++)
                cr_assert_eq(raw_ask(r.fd, "abc", 3), EBADMSG, "number %u", i);
        cr_expect(raw_ended(r.fd));
        uint64_t handle;
        cr_expect_eq(raw_new(&other, 1, &handle), 0);
        raw_done(&r);
        raw_done(&other);
        harness_pass();
}

Test(packets, sequence_numbers_out_of_order_end_the_connection)
{
        static const uint64_t wrong[] = { 0, 3, 4, UINT64_MAX };
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                struct mh_wire_new request = {
                        .header = { .type = MH_WIRE_NEW, .size = sizeof(request), .seq = wrong[i] }, .type = 1
                };

                cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
                cr_assert_eq(raw_new(&r, 1, &handle), 0);
                cr_expect_eq(raw_ask(r.fd, &request, sizeof(request)), EPROTO, "number %lu", wrong[i]);
                cr_expect(raw_ended(r.fd));
                raw_done(&r);
        }

        /* The last number, but for something else. */
        struct mh_wire_open request = { .header = { .type = MH_WIRE_OPEN, .size = sizeof(request), .seq = 1 } };
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        request.handle = handle;
        cr_expect_eq(raw_ask(r.fd, &request, sizeof(request)), EPROTO);
        cr_expect(raw_ended(r.fd));
        raw_done(&r);
        harness_pass();
}

/* Sends a packet of that kind with descriptors of a pipe. The error that comes back, or 0; and none of them was kept. */
static int ask_with_fds(int fd, const Kind *kind, uint64_t seq, unsigned n)
{
        uint8_t packet[LONGEST], reply[MH_WIRE_PACKET_MAX];
        struct mh_wire_error error;
        int pipe_fds[2], fds[64];
        char byte;

        cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
        for (unsigned f = 0; f < n; f++)
                fds[f] = pipe_fds[1];
        fill(packet, kind, kind->size, seq);
        cr_assert_eq(raw_send(fd, packet, kind->size, fds, n, true), 0);
        cr_assert_geq(raw_receive(fd, reply, sizeof(reply), NULL), (ssize_t)sizeof(error.header));
        memcpy(&error, reply, sizeof(error));

        /* Once ours is closed, there is no writer left: the daemon kept none. */
        (void)fd_close(pipe_fds[1]);
        WAIT_FOR(read(pipe_fds[0], &byte, 1) == 0);
        (void)fd_close(pipe_fds[0]);
        return error.header.type == MH_WIRE_ERROR ? (int)error.reason : 0;
}

static const unsigned numbers[] = { 1, 2, 4, 5, 64 };

Test(packets, descriptors_where_none_belong_are_refused_and_closed)
{
        unsigned before;

        daemon_start(&the_daemon, NULL);
        before = daemon_fds(&the_daemon);

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                for (size_t n = 0; n < ELEMENTSOF(numbers); n++) {
                        int fd, reason;

                        /* With a Resume one may come. */
                        if (kinds[i].type == MH_WIRE_RESUME && numbers[n] == 1)
                                continue;
                        fd = raw_connect(&the_daemon);
                        cr_assert_geq(fd, 0);
                        reason = ask_with_fds(fd, &kinds[i], 0, numbers[n]);
                        cr_assert_eq(reason, EBADMSG, "type %u with %u: %d", kinds[i].type, numbers[n], reason);
                        (void)fd_close(fd);
                }
        WAIT_FOR(daemon_fds(&the_daemon) == before);
        harness_pass();
}

/* As soon as it is known who sends, nothing but data is received. */
Test(packets, descriptors_of_the_attached_come_to_nothing)
{
        unsigned before;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        before = daemon_fds(&the_daemon);

        for (size_t n = 0; n < ELEMENTSOF(numbers); n++) {
                /* Of type 0, length 0, handle 0 and block 0, all of which there are not: what is said is what would be
                 * said without. */
                for (size_t i = 0; kinds[i].type != MH_WIRE_DETACH; i++) {
                        int reason = ask_with_fds(r.fd, &kinds[i], ++r.seq, numbers[n]);

                        cr_expect_eq(reason, EINVAL, "type %u with %u: %d", kinds[i].type, numbers[n], reason);
                }
                cr_assert_eq(daemon_fds(&the_daemon), before);
        }
        cr_expect_eq(ask_with_fds(r.fd, &(Kind){ MH_WIRE_DETACH, sizeof(struct mh_wire_detach) }, 0, 1), 0);
        cr_expect(raw_ended(r.fd));
        raw_done(&r);
        harness_pass();
}

Test(packets, a_descriptor_that_is_no_segment_does_not_resume)
{
        static const uint8_t id[16] = { 1 };
        unsigned before;
        int fds[2];
        Raw r;

        daemon_start(&the_daemon, NULL);
        before = daemon_fds(&the_daemon);
        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        r = (Raw){ .nonce = 1, .id = 1, .segment_fd = -1 };
        memcpy(r.segment, id, sizeof(id));
        r.fd = raw_connect(&the_daemon);
        cr_expect_eq(raw_resume_here(&r, fds[0]), -ESTALE);
        cr_expect_eq(raw_hello(&r), 0, "the connection is as good as before");
        raw_done(&r);
        (void)fd_close(fds[0]);
        (void)fd_close(fds[1]);
        WAIT_FOR(daemon_said(&the_daemon, "died") == 1);
        /* And what is open now is the segment that was made for the Hello. */
        WAIT_FOR(daemon_fds(&the_daemon) == before + 1);
        harness_pass();
}
