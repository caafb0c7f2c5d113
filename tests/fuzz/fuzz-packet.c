/* SPDX-License-Identifier: MIT */

/*
 * Packets of all kinds, sent to a server in this process over two connections at once: from the kernel's socket
 * through the parser, the session and the algorithms on a small segment back to the replies, and at the end through
 * the reaper.
 *
 * An input is a sequence of steps. A step is a byte of flags, a byte of length, and so many bytes of a packet, with
 * which the flags help, because a fuzzer would seldom guess a sequence number or a handle:
 *
 *   1  on the second connection
 *   2  the connection is closed before, and a new one made
 *   4  the header's size is set right, and a Hello's magic, versions and nonce
 *   8  the header's number is set to the next one (or 0 for those that have 0)
 *
 * 16  the first argument is replaced by the first value of an earlier reply, which its lowest bits choose 32  the
 * segment's descriptor comes with it 64  twice
 *
 * When all clients have gone, nothing may be left in the segment.
 */

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/packet.h"
#include "fuzz/fuzz-server.h"
#include "shm/totals.h"
#include "shm/verify.h"

enum {
        SECOND = 1,
        RECONNECT = 2,
        SIZE = 4,
        NUMBER = 8,
        VALUE = 16,
        DESCRIPTOR = 32,
        TWICE = 64
};

#define STEPS_MAX    64U
#define VALUES       8U
#define VERIFY_EVERY 64U

static uint64_t values[VALUES];
static unsigned n_values;

static void read_replies(End *end)
{
        uint8_t buffer[MH_WIRE_PACKET_MAX + 1], control[CMSG_SPACE(sizeof(int))];

        for (;;) {
                struct iovec iov = { .iov_base = buffer, .iov_len = sizeof(buffer) };
                struct msghdr mh = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
                };
                struct mh_wire_header header;
                ssize_t n = recvmsg(end->fd, &mh, MSG_CMSG_CLOEXEC);

                if (n <= 0)
                        return;
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
                        (void)close(fd);
                }
                demand((size_t)n >= sizeof(header) && n <= MH_WIRE_PACKET_MAX, "a reply of a strange size");
                memcpy(&header, buffer, sizeof(header));
                demand(header.size == (size_t)n && header._pad == 0, "a reply with a bad header");
                if (header.type == MH_WIRE_NEW || header.type == MH_WIRE_SCRATCH)
                        memcpy(&values[n_values++ % VALUES], buffer + (header.type == MH_WIRE_NEW ? 24 : 16), 8);
                if (header.seq == end->seq + 1)
                        end->seq++;
        }
}

static void help_hello(uint8_t *packet, size_t size)
{
        struct mh_wire_hello hello;

        if (size != sizeof(hello))
                return;
        memcpy(&hello, packet, sizeof(hello));
        hello.magic = MH_WIRE_MAGIC;
        hello.version_min = 0;
        hello.version_max = UINT16_MAX;
        hello.name[sizeof(hello.name) - 1] = '\0';
        if (hello.header.type == MH_WIRE_RESUME && store_is_open(&server->store))
                memcpy(hello.segment, server->store.segment.id, sizeof(hello.segment));
        memcpy(packet, &hello, sizeof(hello));
}

static void help(const End *end, uint8_t flags, uint8_t *packet, size_t size)
{
        struct mh_wire_header header;

        if (size < sizeof(header))
                return;
        memcpy(&header, packet, sizeof(header));
        if (flags & SIZE) {
                header._pad = 0;
                header.size = (uint32_t)size;
        }
        if (flags & NUMBER)
                header.seq = wire_type_is_request(header.type) ? end->seq + 1 : 0;
        memcpy(packet, &header, sizeof(header));
        if ((flags & SIZE) && (header.type == MH_WIRE_HELLO || header.type == MH_WIRE_RESUME))
                help_hello(packet, size);
        if ((flags & VALUE) && size >= 24)
                memcpy(packet + 16, &values[packet[16] % VALUES], 8);
}

static void step(End *end, uint8_t flags, const uint8_t *data, size_t size)
{
        uint8_t packet[UINT8_MAX + 1];

        if (flags & RECONNECT) {
                hang_up(end);
                connect_end(end);
        }
        memcpy(packet, data, size);
        help(end, flags, packet, size);
        for (unsigned i = 0; i < (flags & TWICE ? 2U : 1U); i++)
                send_packet(end, packet, size, flags & DESCRIPTOR ? server->store.fd : -1);
        turn();
        read_replies(end);
        turn();
}

static void check(void)
{
        static unsigned runs;
        Totals totals;

        demand(server->n_attachments == 0 && server->n_connections == 0, "somebody stayed");
        if (!store_is_open(&server->store))
                return;
        totals_read(&server->store.segment, &totals);
        demand(totals.clients == 0 && totals.handles == 0, "something is left");
        if (runs++ % VERIFY_EVERY == 0)
                demand(verify_segment(server->store.fd, VERIFY_AT_REST | VERIFY_NO_DEAD, NULL, NULL,
                                      &(VerifyStats){}) == 0,
                       "an invariant is broken");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        End ends[2];

        static const SegmentConfig segment = {
                .n_slots = 512,
                .n_clients = 70,
                .scratch_bytes = 4 << 20,
                .limit_client_handles = 64,
                .limit_client_scratch = 2 << 20,
                .first_generation = 1,
        };

        if (!server)
                begin_server(&segment);
        for (unsigned i = 0; i < 2; i++)
                connect_end(&ends[i]);
        memset(values, 0, sizeof(values));
        n_values = 0;

        for (unsigned i = 0; i < STEPS_MAX && size >= 2; i++) {
                uint8_t flags = data[0];
                size_t length = MIN((size_t)data[1], size - 2);

                step(&ends[flags & SECOND], flags, data + 2, length);
                data += 2 + length;
                size -= 2 + length;
        }

        for (unsigned i = 0; i < 2; i++)
                hang_up(&ends[i]);
        kill_all();
        check();
        return 0;
}
