/* SPDX-License-Identifier: MIT */

/* Segments that are in order, that are nonsense, that are large. test-verify-rules.c breaks one rule after the other. */

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify-fixture.h"

/* ---------------------------------------------------------------------------------------------- in order */

Test(verify, clean)
{
        VerifyStats stats = {};
        Craft c;

        make(&c);
        cr_assert_eq(verify_segment(c.fd, REST, show, NULL, &stats), 0);
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        cr_assert_eq(stats.clients, 3);
        cr_assert_eq(stats.handles, 2);
        cr_assert_eq(stats.reserved, 1);
        cr_assert_eq(stats.blocks, 6);
        cr_assert_eq(stats.scratch_bytes, 2 * 48 + 16 + 32768 + 3 * 65536 + 65536);
        cr_assert_eq(stats.spans, 7);
        cr_assert_eq(stats.findings, 0);
        drop(&c);
}

Test(verify, looking_allocates_nothing)
{
        struct stat before, after;
        Craft c;

        make(&c);
        cr_assert_eq(fstat(c.fd, &before), 0);
        cr_assert_eq(verify_segment(c.fd, REST, NULL, NULL, NULL), 0);
        cr_assert_eq(fstat(c.fd, &after), 0);
        cr_assert_eq(before.st_blocks, after.st_blocks);
        drop(&c);
}

Test(verify, empty)
{
        VerifyStats stats = {};
        Craft c;
        int fd = memfd_create("verify", MFD_CLOEXEC);

        cr_assert_eq(verify_segment(fd, REST, show, NULL, &stats), -EAGAIN);
        cr_assert_eq(craft_open(&c, fd), 0);
        cr_assert_eq(verify_segment(fd, REST, show, NULL, &stats), 0);
        cr_assert_eq(stats.clients, 0);
        drop(&c);
}

Test(verify, cannot_be_read)
{
        VerifyStats stats = { .handles = 42 };
        Craft c;

        make(&c);
        cr_assert_eq(ftruncate(c.fd, (off_t)c.seg.total_size - 1), 0);
        cr_assert_eq(verify_segment(c.fd, REST, show, NULL, &stats), -EBADMSG);
        cr_assert_eq(ftruncate(c.fd, (off_t)c.seg.total_size), 0);
        cr_assert_eq(verify_segment(c.fd, REST, show, NULL, NULL), 0);
        craft_put(&c, MH_SHM_REGION_HEADER, 0, 1);
        cr_assert_eq(verify_segment(c.fd, REST, show, NULL, &stats), -EBADMSG);
        cr_assert_eq(verify_segment(-1, REST, show, NULL, &stats), -EBADF);
        cr_assert_eq(stats.handles, 42);
        drop(&c);
}
/* ---------------------------------------------------------------------------------------------- garbage */

/* Whatever is in it, it ends, and it says so. */
Test(verify, garbage, .timeout = 60)
{
        static const enum mh_shm_region_id regions[] = {
                MH_SHM_REGION_SHARED,  MH_SHM_REGION_CLIENTS, MH_SHM_REGION_HAZARDS, MH_SHM_REGION_CHUNKS,
                MH_SHM_REGION_SLOTS,   MH_SHM_REGION_HOLDERS, MH_SHM_REGION_LEDGERS, MH_SHM_REGION_SPANS,
                MH_SHM_REGION_SPANMAP, MH_SHM_REGION_OWNERS,
        };
        static uint64_t page[512];
        uint64_t x = 88172645463325252;
        Craft c;

        for (unsigned round = 0; round < 8; round++) {
                make(&c);
                for (size_t i = 0; i < ELEMENTSOF(regions); i++)
                        for (uint64_t at = 0; at < MIN(c.seg.regions[regions[i]].size, UINT64_C(1) << 20); at += 4096) {
                                for (size_t w = 0; w < ELEMENTSOF(page); w++) {
                                        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                                        page[w] = round % 2 ? x : x & (x << 21) & (x >> 17);
                                }
                                craft_write(&c, regions[i], at, page, sizeof(page));
                        }
                cr_assert_gt(verify_segment(c.fd, REST, count, &(Seen){}, NULL), 0);
                drop(&c);
        }
}

/* Each large block claims all that follow: work that grows with the square of it, if one lets it. */
Test(verify, overlapping_runs_cost_nothing, .timeout = 30)
{
        _cleanup_close_ int fd = memfd_create("verify", MFD_CLOEXEC);
        const SegmentConfig config = { .n_slots = 512,
                                       .n_clients = 2,
                                       .scratch_bytes = (UINT64_C(1) << 17) * MH_SHM_SPAN_SIZE };
        Craft c = { .fd = fd };

        cr_assert_eq(segment_format(fd, &config), 0);
        cr_assert_eq(segment_load(&c.seg, fd), 0);
        CRAFT_SHARED(&c, span_hwm, 1U << 17);
        for (uint32_t p = 0; p < 1U << 17; p++) {
                struct mh_shm_span s = { .word = span_make(0, MH_SHM_SPAN_LARGE, 0, 0),
                                         .run = (1U << 17) - p,
                                         .size = 1 };

                craft_write(&c, MH_SHM_REGION_SPANS, p * sizeof(s), &s, sizeof(s));
        }
        cr_assert_gt(verify_segment(fd, REST, NULL, NULL, NULL), 0);
}

/* ---------------------------------------------------------------------------------------------- how long it takes */

/* The default size, with 100,000 handles: no figure here, because machines differ, but far from minutes. */
Test(verify, a_large_one, .timeout = 60)
{
        _cleanup_close_ int fd = memfd_create("verify", MFD_CLOEXEC);
        const SegmentConfig config = { .n_slots = MH_SHM_SLOTS_DEFAULT,
                                       .n_clients = MH_SHM_CLIENTS_DEFAULT,
                                       .scratch_bytes = UINT64_C(1) << 30 };
        VerifyStats stats = {};
        Craft c = { .fd = fd };

        cr_assert_eq(segment_format(fd, &config), 0);
        cr_assert_eq(segment_load(&c.seg, fd), 0);
        CRAFT_SHARED(&c, client_hwm, 2);
        CRAFT_SHARED(&c, chunk_hwm, 224);
        craft_client(&c, 1, 0, 0, "many");
        for (uint32_t chunk = 0; chunk < 200; chunk++) {
                craft_chunk(&c, chunk, 0);
                for (uint32_t s = chunk * MH_SHM_CHUNK_SLOTS; s < (chunk + 1) * MH_SHM_CHUNK_SLOTS && s < 100000; s++) {
                        craft_hold(&c, s, 1, 1);
                        craft_state(&c, s, MH_SHM_PHASE_LIVE, 7, 0);
                }
        }
        cr_assert_eq(verify_segment(fd, REST, show, NULL, &stats), 0);
        cr_assert_eq(stats.handles, 100000);
}
