/* SPDX-License-Identifier: MIT */

/*
 * Damaged segments for the daemon: it adopts one in which the input has changed words, reaps who is dead in it,
 * finishes what was being done for those who live, serves a new client in it, and gives back what is empty. Whatever
 * stands there, it must neither crash nor work without end.
 *
 * An input is records of 13 bytes: region, place (4 bytes), value (8 bytes). The high bit of the region byte says
 * whether the place is anywhere in the region, or in its first 40 KiB, where nearly all that matters is. If one byte
 * is left over, it says who lives: 1 the mapped client, 2 the wire-only one, 4 the one with a ledger of its own.
 */

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "fuzz/fuzz-server.h"
#include "tools/craft.h"

#define RECORD      13U
#define RECORDS_MAX 64U
#define NEAR        40960U

static void change(const Craft *c, const uint8_t record[static RECORD])
{
        enum mh_shm_region_id region = record[0] % MH_SHM_REGION_COUNT;
        uint64_t n, value;
        uint32_t place;

        memcpy(&place, record + 1, sizeof(place));
        memcpy(&value, record + 5, sizeof(value));
        n = c->seg.regions[region].size;
        if (!(record[0] & 0x80))
                n = MIN(n, (uint64_t)NEAR);
        if (n > 0)
                craft_put(c, region, place % (n / 8) * 8, value);
}

/* Those whose start time is not that of a living process are dead. */
static void revive(const Craft *c, uint8_t who)
{
        static const uint32_t ids[] = { CRAFT_MAPPED, CRAFT_WIRE, CRAFT_LEDGER };

        for (unsigned i = 0; i < ELEMENTSOF(ids); i++) {
                struct mh_shm_client entry = craft_get_entry(c, ids[i]);

                if (!(who & 1U << i))
                        continue;
                demand(process_start_time(getpid(), &entry.start_time) >= 0, "no start time");
                craft_entry(c, ids[i], &entry);
        }
}

/* A client that asks for a bit of everything; what it is answered does not matter. */
static void use(void)
{
        static const uint16_t types[] = { MH_WIRE_NEW,  MH_WIRE_SCRATCH,      MH_WIRE_SCRATCH, MH_WIRE_GIVE,
                                          MH_WIRE_OPEN, MH_WIRE_SCRATCH_FREE, MH_WIRE_CLOSE,   MH_WIRE_CLOSE };
        struct mh_wire_hello hello = {
                .header = { .type = MH_WIRE_HELLO, .size = sizeof(hello) },
                .magic = MH_WIRE_MAGIC,
                .version_min = 1,
                .version_max = 1,
                .nonce = 99,
        };
        uint64_t handle = handle_make(7, CRAFT_SHARED_SLOT), idx = 0;
        End end;

        connect_end(&end);
        send_packet(&end, &hello, sizeof(hello), -1);
        turn();
        for (unsigned i = 0; i < ELEMENTSOF(types); i++) {
                union {
                        struct mh_wire_header header;
                        struct mh_wire_new new;
                        struct mh_wire_give give;
                        struct mh_wire_open open;
                        struct mh_wire_block block;
                        struct mh_wire_handle handle;
                        uint8_t data[MH_WIRE_PACKET_MAX];
                } u = {};

                u.header = (struct mh_wire_header){ .type = types[i], .size = 24, .seq = i + 1 };
                switch (types[i]) {
                case MH_WIRE_NEW:
                        u.new.type = 1;
                        break;
                case MH_WIRE_SCRATCH:
                        u.open.handle = i == 1 ? 40 : 200000;
                        break;
                case MH_WIRE_GIVE:
                        u.header.size = sizeof(u.give);
                        u.give.idx = idx;
                        u.give.handle = handle;
                        break;
                case MH_WIRE_SCRATCH_FREE:
                        u.open.handle = idx;
                        break;
                default:
                        u.open.handle = handle;
                        break;
                }
                send_packet(&end, &u, u.header.size, -1);
                turn();
                while (recv(end.fd, &u, sizeof(u), MSG_DONTWAIT) > 0) {
                        if (u.header.type == MH_WIRE_NEW)
                                handle = u.handle.handle;
                        if (u.header.type == MH_WIRE_SCRATCH)
                                idx = u.block.idx;
                }
        }
        hang_up(&end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const SegmentConfig config = { .n_slots = 512, .n_clients = 4, .scratch_bytes = 1 << 20 };
        Craft c;
        int fd;

        if (!server)
                begin_server(&config);
        server_leave_segment(server);

        fd = memfd_create("fuzz", MFD_CLOEXEC);
        demand(fd >= 0 && craft_world(&c, fd, (uint32_t)getpid()) == 0, "no segment");
        revive(&c, size % RECORD == 1 ? data[size - 1] : 0);
        for (size_t i = 0; i + RECORD <= MIN(size, (size_t)RECORDS_MAX * RECORD); i += RECORD)
                change(&c, data + i);

        if (store_open_fd(&server->store, fd) < 0) {
                (void)close(fd);
                return 0;
        }
        if (adopt_segment(server, ADOPT_BROUGHT) < 0)
                return 0;
        turn();
        use();
        kill_all();
        /* In such a segment somebody may be left who cannot be reaped; but nobody works on him without end. */
        server_leave_segment(server);
        turn();
        return 0;
}
