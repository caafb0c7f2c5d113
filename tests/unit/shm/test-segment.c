/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit/shm/fixture.h"

#define HEADER_AT(field) offsetof(struct mh_shm_header, field)

static SegmentConfig small(void)
{
        return fixture_config;
}

static int new_object(void)
{
        int fd = memfd_create("segment", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        return fd;
}

static void poke(int fd, uint64_t at, const void *data, size_t size)
{
        cr_assert_eq(pwrite(fd, data, size, (off_t)at), (ssize_t)size);
}

static void poke32(int fd, uint64_t at, uint32_t value)
{
        poke(fd, at, &value, sizeof(value));
}

/* ---------------------------------------------------------------------------------------------- configuration */

Test(segment, configurations)
{
        SegmentConfig c = small();

        cr_assert_eq(segment_config_check(&c), 0);
#define BAD(field, value)                                                           \
        do {                                                                        \
                c = small();                                                        \
                c.field = value;                                                    \
                cr_assert_eq(segment_config_check(&c), -EINVAL, #field " " #value); \
        } while (0)
#define GOOD(field, value)                                                    \
        do {                                                                  \
                c = small();                                                  \
                c.field = value;                                              \
                cr_assert_eq(segment_config_check(&c), 0, #field " " #value); \
        } while (0)
        BAD(n_slots, 0);
        BAD(n_slots, 511);
        BAD(n_slots, 513);
        GOOD(n_slots, 512);
        GOOD(n_slots, 1U << 24);
        BAD(n_slots, (1U << 24) + 512);
        BAD(n_clients, 1);
        GOOD(n_clients, 2);
        GOOD(n_clients, 4096);
        BAD(n_clients, 4097);
        BAD(scratch_bytes, 0);
        BAD(scratch_bytes, 65535);
        BAD(scratch_bytes, 65537);
        GOOD(scratch_bytes, 65536);
        GOOD(scratch_bytes, UINT64_C(1) << 40);
        BAD(scratch_bytes, (UINT64_C(1) << 40) + 65536);
        GOOD(first_generation, (UINT64_C(1) << 40) - 1);
        BAD(first_generation, UINT64_C(1) << 40);
}

Test(segment, bad_configuration_makes_nothing)
{
        _cleanup_close_ int fd = new_object();
        SegmentConfig c = small();
        struct stat st;

        c.n_slots = 7;
        cr_assert_eq(segment_format(fd, &c), -EINVAL);
        cr_assert_eq(fstat(fd, &st), 0);
        cr_assert_eq(st.st_size, 0);
}

/* ---------------------------------------------------------------------------------------------- format and load */

static void check_layout(const Segment *seg, const SegmentConfig *c)
{
        uint64_t end = 0;

        cr_assert_eq(seg->n_slots, c->n_slots);
        cr_assert_eq(seg->n_clients, c->n_clients);
        cr_assert_eq(seg->n_spans, c->scratch_bytes / 65536);
        cr_assert_eq(seg->n_chunks, c->n_slots / 512);
        cr_assert_eq(seg->n_groups, (c->n_clients + 63) / 64);
        for (unsigned i = 0; i < MH_SHM_REGION_COUNT; i++) {
                cr_assert_eq(seg->regions[i].offset, end, "region %u follows the one before", i);
                cr_assert_eq(seg->regions[i].offset % 65536, 0);
                cr_assert_eq(seg->regions[i].size % 65536, 0);
                end += seg->regions[i].size;
        }
        cr_assert_eq(seg->total_size, end);
        cr_assert_geq(seg->regions[MH_SHM_REGION_SLOTS].size, (uint64_t)c->n_slots * 128);
        cr_assert_geq(seg->regions[MH_SHM_REGION_HOLDERS].size, (uint64_t)(seg->n_groups - 1) * c->n_slots * 8);
        cr_assert_geq(seg->regions[MH_SHM_REGION_LEDGERS].size, c->n_clients * seg->ledger_stride);
        cr_assert_geq(seg->regions[MH_SHM_REGION_OWNERS].size, (uint64_t)seg->n_spans * 9 * 4096);
        cr_assert_eq(seg->regions[MH_SHM_REGION_SCRATCH].size, c->scratch_bytes);
        cr_assert_eq(seg->ledger_slots, 4096);
        cr_assert_eq(seg->ledger_spans, 4096 + (uint64_t)c->n_slots * 8);
        cr_assert_geq(seg->ledger_stride, seg->ledger_spans + (seg->n_spans + 7) / 8);
        cr_assert_eq(seg->ledger_stride % 4096, 0);
        /* Each unit of the ledger has a bit that says whether it was reserved. */
        cr_assert_leq((seg->ledger_stride - seg->ledger_slots + 8191) / 8192,
                      (uint64_t)ELEMENTSOF(((struct mh_shm_account *)0)->reserved) * 64);
}

Test(segment, layouts)
{
        const SegmentConfig configs[] = {
                small(),
                { .n_slots = 512, .n_clients = 2, .scratch_bytes = 65536, .first_generation = 1 },
                { .n_slots = 512, .n_clients = 65, .scratch_bytes = 65 * UINT64_C(65536), .first_generation = 1 },
                { .n_slots = 1 << 20, .n_clients = 1024, .scratch_bytes = UINT64_C(1) << 33, .first_generation = 1 },
                { .n_slots = 1 << 24, .n_clients = 4096, .scratch_bytes = UINT64_C(1) << 40, .first_generation = 1 },
        };

        for (unsigned i = 0; i < ELEMENTSOF(configs); i++) {
                _cleanup_close_ int fd = new_object();
                Segment seg;
                struct stat st;

                cr_assert_eq(segment_format(fd, &configs[i]), 0);
                cr_assert_eq(segment_load(&seg, fd), 0);
                check_layout(&seg, &configs[i]);
                cr_assert_eq(fstat(fd, &st), 0);
                cr_assert_eq((uint64_t)st.st_size, seg.total_size);
                /* Header, marks, the daemon's entry, hazards and account; and two bitmaps. */
                cr_assert_leq((uint64_t)st.st_blocks * 512, 5 * 4096 + (seg.n_chunks / 8 + seg.n_spans / 8) + 2 * 4096);
        }
}

Test(segment, what_a_new_one_says)
{
        Fixture f;

        fixture_open(&f);
        cr_assert_eq(f.seg.header->magic, MH_SHM_MAGIC);
        cr_assert_eq(memcmp(&f.seg.header->magic, "MONOHDD1", 8), 0);
        cr_assert_eq(f.seg.header->version, 1);
        cr_assert_eq(f.seg.header->uid, geteuid());
        cr_assert_eq(f.seg.header->state, MH_SHM_STATE_READY);
        cr_assert_eq(f.seg.header->first_generation, FIXTURE_FIRST);
        cr_assert_eq(f.seg.first_generation, FIXTURE_FIRST);
        cr_assert_gt(f.seg.header->created_usec, UINT64_C(1500000000000000));
        cr_assert_eq(f.seg.shared->client_hwm, 1);
        cr_assert_eq(f.seg.shared->chunk_hwm, 0);
        cr_assert_eq(f.seg.shared->span_hwm, 0);
        cr_assert_eq(f.seg.shared->limit_client_handles, UINT64_MAX);
        cr_assert_eq(f.seg.shared->limit_client_scratch, UINT64_MAX);
        fixture_done(&f);
}

Test(segment, names_and_generations_are_random)
{
        _cleanup_close_ int one = new_object(), two = new_object();
        SegmentConfig c = small();
        Segment a, b;

        c.first_generation = 0;
        cr_assert_eq(segment_format(one, &c), 0);
        cr_assert_eq(segment_format(two, &c), 0);
        cr_assert_eq(segment_load(&a, one), 0);
        cr_assert_eq(segment_load(&b, two), 0);
        cr_assert_neq(memcmp(a.id, b.id, sizeof(a.id)), 0);
        cr_assert_neq(a.first_generation, b.first_generation);
        cr_assert_neq(a.first_generation, 0);
        cr_assert_leq(a.first_generation, MH_SHM_GENERATION_MASK);
}

Test(segment, format_without_memory)
{
        SegmentConfig c = small();
        unsigned n = 0;

        for (;; n++) {
                _cleanup_close_ int fd = new_object();
                Segment seg;
                int r;

                fixture_fail_reserve(n);
                r = segment_format(fd, &c);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(segment_load(&seg, fd), -EAGAIN, "never finished, so nobody takes it");
        }
        cr_assert_geq(n, 5);
}

/* ---------------------------------------------------------------------------------------------- what is not one */

typedef struct Damage {
        const char *what;
        uint64_t at;
        uint32_t value;
        int error;
} Damage;

Test(segment, damaged_headers)
{
        static const Damage damages[] = {
                { "magic", HEADER_AT(magic), 0x12345678, -EBADMSG },
                { "version 2", HEADER_AT(version), 2, -EPROTONOSUPPORT },
                { "version 0", HEADER_AT(version), 0, -EPROTONOSUPPORT },
                { "header size", HEADER_AT(header_size), 401, -EBADMSG },
                { "an incompatible flag", HEADER_AT(incompatible_flags), 1, -EPROTONOSUPPORT },
                { "an incompatible flag", HEADER_AT(incompatible_flags) + 4, 1U << 31, -EPROTONOSUPPORT },
                { "a compatible flag", HEADER_AT(compatible_flags), 1, 0 },
                { "id", HEADER_AT(id), 99, 0 },
                { "size", HEADER_AT(total_size), 65536, -EBADMSG },
                { "uid: of another user namespace, perhaps", HEADER_AT(uid), 4711, 0 },
                { "empty", HEADER_AT(state), MH_SHM_STATE_EMPTY, -EAGAIN },
                { "closed", HEADER_AT(state), MH_SHM_STATE_CLOSED, -ESTALE },
                { "no such state", HEADER_AT(state), 3, -EBADMSG },
                { "slots", HEADER_AT(n_slots), 512, -EBADMSG },
                { "slots", HEADER_AT(n_slots), 0, -EBADMSG },
                { "slots", HEADER_AT(n_slots), 0xffffffff, -EBADMSG },
                { "clients", HEADER_AT(n_clients), 100, -EBADMSG },
                { "clients", HEADER_AT(n_clients), 0xffffffff, -EBADMSG },
                { "spans", HEADER_AT(n_spans), 255, -EBADMSG },
                { "spans", HEADER_AT(n_spans), 0, -EBADMSG },
                { "groups", HEADER_AT(n_groups), 3, -EBADMSG },
                { "stride", HEADER_AT(ledger_stride), 4096, -EBADMSG },
                { "ledger slots", HEADER_AT(ledger_slots), 0, -EBADMSG },
                { "ledger spans", HEADER_AT(ledger_spans), 8, -EBADMSG },
                { "generation over 40 bits", HEADER_AT(first_generation) + 4, 0x100, -EBADMSG },
                { "generation 0", HEADER_AT(first_generation), 0, -EBADMSG },
                { "an offset", HEADER_AT(regions) + 16 * MH_SHM_REGION_SLOTS, 0, -EBADMSG },
                { "a size", HEADER_AT(regions) + 16 * MH_SHM_REGION_LEDGERS + 8, 65536, -EBADMSG },
                { "the last size", HEADER_AT(regions) + 16 * MH_SHM_REGION_SCRATCH + 12, 1, -EBADMSG },
        };

        for (unsigned i = 0; i < ELEMENTSOF(damages); i++) {
                _cleanup_close_ int fd = new_object();
                SegmentConfig c = small();
                Segment seg = { .n_slots = 77 };
                int r;

                cr_assert_eq(segment_format(fd, &c), 0);
                poke32(fd, damages[i].at, damages[i].value);
                r = segment_load(&seg, fd);
                cr_assert_eq(r, damages[i].error, "%s: %d", damages[i].what, r);
                cr_assert_eq(seg.n_slots, r < 0 ? 77 : c.n_slots, "%s: the output", damages[i].what);
        }
}

Test(segment, versions_can_be_told)
{
        _cleanup_close_ int fd = new_object();
        SegmentConfig c = small();
        uint32_t version = 77;

        cr_assert_eq(segment_version(fd, &version), -EBADMSG);
        cr_assert_eq(segment_format(fd, &c), 0);
        cr_assert_eq(segment_version(fd, &version), 0);
        cr_assert_eq(version, 1);
        poke32(fd, HEADER_AT(version), 12345);
        cr_assert_eq(segment_version(fd, &version), 0);
        cr_assert_eq(version, 12345);
        version = 77;
        poke32(fd, HEADER_AT(magic), 5);
        cr_assert_eq(segment_version(fd, &version), -EBADMSG);
        cr_assert_eq(version, 77);
        cr_assert_eq(segment_version(-1, &version), -EBADF);
}

Test(segment, objects_that_are_none)
{
        _cleanup_close_ int fd = new_object(), dir = -1, null = -1;
        SegmentConfig c = small();
        int pipes[2];
        Segment seg;

        cr_assert_eq(segment_load(&seg, fd), -EAGAIN, "empty: somebody may be making it");
        cr_assert_eq(ftruncate(fd, 399), 0);
        cr_assert_eq(segment_load(&seg, fd), -EBADMSG, "too short");
        cr_assert_eq(ftruncate(fd, 65536), 0);
        cr_assert_eq(segment_load(&seg, fd), -EAGAIN, "nothing but zeros");
        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(segment_format(fd, &c), 0);
        cr_assert_eq(segment_load(&seg, fd), 0);
        cr_assert_eq(ftruncate(fd, (off_t)seg.total_size - 1), 0);
        cr_assert_eq(segment_load(&seg, fd), -EBADMSG, "cut off");
        cr_assert_eq(ftruncate(fd, (off_t)seg.total_size + 1), 0);
        cr_assert_eq(segment_load(&seg, fd), -EBADMSG, "too long");

        dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
        cr_assert_eq(segment_load(&seg, dir), -EPERM);
        cr_assert_eq(segment_load(&seg, null), -EPERM);
        cr_assert_eq(segment_load(&seg, pipes[0]), -EPERM);
        cr_assert_eq(segment_load(&seg, -1), -EBADF);
        (void)close(pipes[1]);
        (void)close(pipes[0]);
}

Test(segment, of_another_user)
{
        _cleanup_close_ int fd = new_object();
        SegmentConfig c = small();
        Segment seg;

        if (geteuid() != 0)
                cr_skip_test("only root can give a file away");
        cr_assert_eq(segment_format(fd, &c), 0);
        cr_assert_eq(fchown(fd, 4711, (gid_t)-1), 0);
        cr_assert_eq(segment_load(&seg, fd), -EPERM);
}

/* ---------------------------------------------------------------------------------------------- mapping */

Test(segment, maps_all_of_it)
{
        Fixture f;

        fixture_open(&f);
        for (unsigned i = 0; i < MH_SHM_REGION_COUNT; i++)
                cr_assert_leq(f.seg.regions[i].offset + f.seg.regions[i].size, f.seg.total_size);
#define AT(pointer, region) cr_assert_eq((uint8_t *)f.seg.pointer, f.seg.base + f.seg.regions[region].offset)
        AT(header, MH_SHM_REGION_HEADER);
        AT(shared, MH_SHM_REGION_SHARED);
        AT(clients, MH_SHM_REGION_CLIENTS);
        AT(hazards, MH_SHM_REGION_HAZARDS);
        AT(chunks, MH_SHM_REGION_CHUNKS);
        AT(chunkmap, MH_SHM_REGION_CHUNKMAP);
        AT(slots, MH_SHM_REGION_SLOTS);
        AT(holders, MH_SHM_REGION_HOLDERS);
        AT(spans, MH_SHM_REGION_SPANS);
        AT(spanmap, MH_SHM_REGION_SPANMAP);
        AT(owners, MH_SHM_REGION_OWNERS);
        AT(scratch, MH_SHM_REGION_SCRATCH);
        cr_assert_eq((uint8_t *)segment_ledger(&f.seg, 3),
                     f.seg.base + f.seg.regions[MH_SHM_REGION_LEDGERS].offset + 3 * f.seg.ledger_stride);
        segment_unmap(&f.seg);
        cr_assert_null(f.seg.base);
        cr_assert_null(f.seg.slots);
        segment_unmap(&f.seg); /* once more does no harm */
        f.fd = fd_close(f.fd);
}

Test(segment, unmapping_what_never_was_mapped)
{
        Segment zero = { 0 };

        segment_unmap(&zero);
        segment_unmap_client(&zero, NULL);
}

Test(segment, a_client_maps_only_its_own_ledger)
{
        struct mh_shm_account *account;
        Segment mine;
        Fixture f;
        Actor a;
        uint32_t id;
        void *ledger = NULL;

        fixture_open(&f);
        id = fixture_attach(&f, FIXTURE_OWN, &a);
        cr_assert_eq(segment_load(&mine, f.fd), 0);
        cr_assert_eq(segment_map_client(&mine, 0, &ledger), -EINVAL);
        cr_assert_eq(segment_map_client(&mine, mine.n_clients, &ledger), -EINVAL);
        cr_assert_null(ledger);
        cr_assert_eq(segment_map_client(&mine, id, &ledger), 0);
        cr_assert_null(mine.base, "not as one piece");

        /* Both mappings show the same. */
        account = ledger;
        account->line[0].created = 77;
        cr_assert_eq(a.account->created, 77);
        account->line[0].created = 0;
        f.seg.shared->epoch = 5;
        cr_assert_eq(mine.shared->epoch, 5);
        cr_assert_eq(mine.header->magic, MH_SHM_MAGIC);
        segment_unmap_client(&mine, ledger);
        cr_assert_null(mine.header);
        cr_assert_null(mine.scratch);
        fixture_done(&f);
}

static int try_write(void *where)
{
        int pipes[2], r;

        /* The kernel says whether it can be written, without a signal. */
        cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
        cr_assert_eq(write(pipes[1], "", 1), 1);
        r = read(pipes[0], where, 1) < 0 ? -errno : 0;
        (void)close(pipes[0]);
        (void)close(pipes[1]);
        return r;
}

Test(segment, what_a_client_cannot_write)
{
        uint32_t wire, own;
        Segment mine;
        Fixture f;
        Actor a, b;
        void *ledger;

        fixture_open(&f);
        wire = fixture_attach(&f, MH_SHM_CLIENT_MAPS, &a);
        own = fixture_attach(&f, FIXTURE_OWN, &b);

        cr_assert_eq(segment_load(&mine, f.fd), 0);
        cr_assert_eq(segment_map_client(&mine, wire, &ledger), 0);
        cr_assert_eq(try_write(mine.header), -EFAULT);
        cr_assert_eq(try_write(&mine.clients[wire]), -EFAULT);
        cr_assert_eq(try_write(ledger), -EFAULT, "the daemon writes it");
        cr_assert_eq(try_write(&mine.hazards[wire].line[3].span), 0);
        cr_assert_eq(try_write(&mine.shared->chunk_cursor), 0);
        segment_unmap_client(&mine, ledger);

        cr_assert_eq(segment_load(&mine, f.fd), 0);
        cr_assert_eq(segment_map_client(&mine, own, &ledger), 0);
        cr_assert_eq(try_write(ledger), 0, "it writes its ledger itself");
        cr_assert_eq(try_write(&mine.clients[own]), -EFAULT);
        segment_unmap_client(&mine, ledger);
        fixture_done(&f);
}

/* ---------------------------------------------------------------------------------------------- pages */

Test(segment, reserving_and_punching)
{
        uint64_t before, region_size;
        Fixture f;

        fixture_open(&f);
        before = fixture_blocks(&f);
        region_size = f.seg.regions[MH_SHM_REGION_SCRATCH].size;
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, 65536, 65536), 0);
        cr_assert_eq(fixture_blocks(&f), before + 128);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, 65536, 65536), 0);
        cr_assert_eq(fixture_blocks(&f), before + 128, "idempotent");
        f.seg.scratch[65536] = 7;
        cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_SCRATCH, 65536 + 1, 65535), 0);
        cr_assert_eq(f.seg.scratch[65536], 7, "only whole pages inside the range");
        cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_SCRATCH, 65536, 65536), 0);
        cr_assert_eq(fixture_blocks(&f), before);

        /* Nothing beyond its region. */
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, region_size, 1), -EINVAL);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, region_size - 4096, 4097), -EINVAL);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, UINT64_MAX - 100, 200), -EINVAL);
        cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_CHUNKS, UINT64_MAX, 2), -EINVAL);
        cr_assert_eq(fixture_blocks(&f), before);

        fixture_fail_reserve(0);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, 0, 65536), -ENOSPC);
        fixture_fail_nothing();
        fixture_fail_punch(true);
        cr_assert_lt(segment_punch(&f.seg, MH_SHM_REGION_SCRATCH, 0, 65536), 0);
        fixture_fail_punch(false);
        fixture_done(&f);
}

Test(segment, reading_touches_nothing)
{
        uint64_t before, words[512];
        Fixture f;

        fixture_open(&f);
        before = fixture_blocks(&f);
        memset(words, 0xff, sizeof(words));
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SLOTS, 0, words, sizeof(words)), 0);
        for (unsigned i = 0; i < 512; i++)
                cr_assert_eq(words[i], 0);
        cr_assert_eq(fixture_blocks(&f), before);
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SLOTS, f.seg.regions[MH_SHM_REGION_SLOTS].size, words, 8),
                     -EINVAL);
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SLOTS, UINT64_MAX, words, 8), -EINVAL);
        f.seg.shared->epoch = 77;
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SHARED, offsetof(struct mh_shm_shared, epoch), words, 8), 0);
        cr_assert_eq(words[0], 77);

        cr_assert_eq(ftruncate(f.fd, (off_t)f.seg.regions[MH_SHM_REGION_SLOTS].offset + 4), 0);
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SLOTS, 0, words, 8), -EBADMSG, "cut off under us");
        cr_assert_eq(segment_read(&f.seg, MH_SHM_REGION_SCRATCH, 0, words, 8), -EBADMSG);
        fixture_close(&f);
}

Test(segment, where_there_is_memory)
{
        uint64_t base, start = 1, end = 2, before;
        Fixture f;

        fixture_open(&f);
        base = f.seg.regions[MH_SHM_REGION_SCRATCH].offset;
        before = fixture_blocks(&f);
        cr_assert_eq(segment_next_data(&f.seg, base, f.seg.total_size, &start, &end), 0);
        cr_assert_eq(start, 1);
        cr_assert_eq(end, 2);
        cr_assert_eq(fixture_blocks(&f), before);

        f.seg.scratch[3 * 4096 + 5] = 1;
        f.seg.scratch[4 * 4096] = 1;
        f.seg.scratch[9 * 4096] = 1;
        cr_assert_eq(segment_next_data(&f.seg, base, f.seg.total_size, &start, &end), 1);
        cr_assert_eq(start, base + 3 * 4096);
        cr_assert_eq(end, base + 5 * 4096);
        cr_assert_eq(segment_next_data(&f.seg, base + 3 * 4096 + 8, f.seg.total_size, &start, &end), 1);
        cr_assert_eq(start, base + 3 * 4096 + 8);
        cr_assert_eq(segment_next_data(&f.seg, end, f.seg.total_size, &start, &end), 1);
        cr_assert_eq(start, base + 9 * 4096);
        cr_assert_eq(segment_next_data(&f.seg, base, base + 4 * 4096, &start, &end), 1);
        cr_assert_eq(end, base + 4 * 4096, "not beyond what was asked for");
        cr_assert_eq(segment_next_data(&f.seg, base, base + 3 * 4096, &start, &end), 0);
        cr_assert_eq(segment_next_data(&f.seg, base, base, &start, &end), 0);
        cr_assert_eq(segment_next_data(&f.seg, end, start, &start, &end), 0);
        f.seg.fd = -1;
        cr_assert_eq(segment_next_data(&f.seg, base, f.seg.total_size, &start, &end), -EBADF);
        f.seg.fd = f.fd;
        fixture_close(&f);
}

Test(segment, relaxing_loses_nothing)
{
        uint64_t before;
        Fixture f;

        fixture_open(&f);
        f.seg.shared->epoch = 99;
        before = fixture_blocks(&f);
        segment_relax(&f.seg);
        cr_assert_eq(f.seg.shared->epoch, 99);
        cr_assert_eq(fixture_blocks(&f), before);
        fixture_done(&f);
}

Test(segment, on_a_file_system_that_is_full)
{
        SegmentConfig c = small();
        Fixture f;
        uint64_t n = 0;

        fixture_open_tmpfs(&f, &c, 512 * 1024);
        while (segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, n * 65536, 65536) == 0)
                n++;
        cr_assert_geq(n, 4);
        cr_assert_lt(n, 9);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, n * 65536, 65536), -ENOSPC);
        cr_assert_eq(segment_punch(&f.seg, MH_SHM_REGION_SCRATCH, 0, n * 65536), 0);
        cr_assert_eq(segment_reserve(&f.seg, MH_SHM_REGION_SCRATCH, n * 65536, 65536), 0, "what failed took nothing");
        fixture_close(&f);
}
