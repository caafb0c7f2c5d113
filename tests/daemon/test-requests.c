/* SPDX-License-Identifier: MIT */

/* The requests themselves, with arguments good and bad. */

#include "harness.h"

#include <string.h>

#include "base/cleanup.h"
#include "shm/words.h"

DAEMON_SUITE(requests);

#define DESTROY MH_WIRE_CLOSE_DESTROY
#define GONE    MH_WIRE_CLOSE_GONE

static void attach(Raw *r)
{
        cr_assert_eq(raw_attach(r, &the_daemon, 0), 0);
}

static void finish(void)
{
        WAIT_FOR(daemon_said(&the_daemon, "attached: pid") ==
                 daemon_said(&the_daemon, "died holding") + daemon_said(&the_daemon, " detached"));
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

Test(requests, a_handle_lives_as_long_as_somebody_holds_it)
{
        unsigned type, flags;
        uint64_t handle;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        attach(&a);
        attach(&b);
        cr_assert_eq(raw_new(&a, 5, &handle), 0);
        cr_assert_eq(raw_open(&b, handle, &type), 0);
        cr_expect_eq(type, 5);
        cr_assert_eq(raw_open(&a, handle, &type), 0);
        cr_assert_eq(raw_close(&a, handle, &flags), 0);
        cr_expect_eq(flags, 0);
        cr_assert_eq(raw_close(&a, handle, &flags), 0);
        cr_expect_eq(flags, DESTROY, "this client holds it no more, another one does");
        cr_expect_eq(raw_close(&a, handle, &flags), -EBADF);
        cr_assert_eq(raw_close(&b, handle, &flags), 0);
        cr_expect_eq(flags, DESTROY | GONE);
        cr_expect_eq(raw_close(&b, handle, &flags), -ESTALE);
        cr_expect_eq(raw_open(&a, handle, &type), -ESTALE);
        raw_done(&a);
        raw_done(&b);
        finish();
}

Test(requests, types)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        attach(&r);
        for (unsigned type = 0; type < 300; type++) {
                bool valid = (type >= 1 && type <= 10) || (type >= 64 && type <= 255);

                cr_assert_eq(raw_new(&r, type, &handle), valid ? 0 : -EINVAL, "type %u", type);
        }
        cr_assert_eq(raw_new(&r, UINT32_MAX, &handle), -EINVAL);
        raw_done(&r);
        finish();
}

Test(requests, handles_stale_foreign_and_out_of_range)
{
        uint64_t handle, other, stale;
        unsigned flags;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        attach(&a);
        attach(&b);
        cr_assert_eq(raw_new(&a, 1, &handle), 0);
        cr_assert_eq(raw_new(&a, 1, &stale), 0);
        cr_assert_eq(raw_close(&a, stale, &flags), 0);

        const uint64_t bad[] = {
                stale,
                handle + 1000,                                                   /* a slot never used */
                handle_make(handle_generation(handle), 0xffffff),                /* beyond the table */
                handle_make(handle_generation(handle) + 1, handle_slot(handle)), /* of the future */
                handle_make(handle_generation(handle) - 1, handle_slot(handle)), /* of the past */
                handle_slot(handle),                                             /* generation 0 */
                handle_make(MH_SHM_GENERATION_MASK, handle_slot(handle)),
                1,
                UINT64_MAX,
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int k = raw_open(&a, bad[i], NULL), l = raw_close(&a, bad[i], &flags);

                cr_expect_eq(k, -ESTALE, "open %#lx: %d", bad[i], k);
                cr_expect_eq(l, -ESTALE, "close %#lx: %d", bad[i], l);
        }
        cr_expect_eq(raw_open(&a, 0, NULL), -EINVAL);
        cr_expect_eq(raw_close(&a, 0, &flags), -EINVAL);

        cr_expect_eq(raw_close(&b, handle, &flags), -EBADF, "alive, and not his");
        cr_expect_eq(raw_open(&b, handle, NULL), 0, "the attempt did no harm");
        cr_assert_eq(raw_new(&b, 1, &other), 0);
        cr_expect_neq(other, stale, "the slot may come again, the handle may not");
        raw_done(&a);
        raw_done(&b);
        finish();
}

Test(requests, scratch_sizes)
{
        static const struct {
                uint64_t length;
                int result;
        } cases[] = {
                { 0, -EINVAL },
                { 1, 0 },
                { 16, 0 },
                { 17, 0 },
                { 32768, 0 },
                { 32769, 0 },
                { 65537, 0 },
                { UINT64_C(1) << 20, 0 },
                { UINT64_C(1) << 31, -ENOSPC }, /* of a segment with 64 MiB */
                { UINT64_C(1) << 40, -ENOSPC },
                { (UINT64_C(1) << 40) + 1, -EINVAL },
                { UINT64_C(1) << 63, -EINVAL },
                { UINT64_MAX, -EINVAL },
        };
        uint64_t idx[ELEMENTSOF(cases)] = {}, size;
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--scratch=64M", NULL });
        attach(&r);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int k = raw_scratch(&r, cases[i].length, &idx[i], &size);

                cr_expect_eq(k, cases[i].result, "%lu bytes: %d", cases[i].length, k);
                if (k == 0) {
                        cr_expect_geq(size, cases[i].length);
                        cr_expect_eq(scratch_offset(idx[i]) % 16, 0);
                }
        }
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if (idx[i] != 0) {
                        cr_expect_eq(raw_scratch_free(&r, idx[i]), 0);
                        cr_expect_eq(raw_scratch_free(&r, idx[i]), -ESTALE, "a second time");
                }
        raw_done(&r);
        finish();
}

Test(requests, scratch_indexes_that_are_none)
{
        uint64_t idx, size;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        attach(&a);
        attach(&b);
        cr_assert_eq(raw_scratch(&a, 100, &idx, &size), 0);

        const uint64_t bad[] = {
                idx + 1,
                idx + 16,
                scratch_make(scratch_tag(idx) + 1, scratch_offset(idx)),
                scratch_make(scratch_tag(idx) - 1, scratch_offset(idx)),
                scratch_make(scratch_tag(idx), scratch_offset(idx) + (UINT64_C(1) << 30)),
                MH_SHM_SCRATCH_OFFSET_MASK,
                scratch_make(1, MH_SHM_SCRATCH_OFFSET_MASK),
                UINT64_MAX,
                1,
        };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int k = raw_scratch_free(&a, bad[i]);

                cr_expect(k == -ESTALE || k == -EINVAL, "free %#lx: %d", bad[i], k);
        }
        cr_expect_eq(raw_scratch_free(&a, 0), -EINVAL);
        cr_expect_eq(raw_scratch_free(&b, idx), 0, "anybody may free a block");
        cr_expect_eq(raw_scratch_free(&a, idx), -ESTALE);
        raw_done(&a);
        raw_done(&b);
        finish();
}

Test(requests, a_given_block_lives_as_long_as_the_handle)
{
        uint64_t handle, idx[5], large, size;
        unsigned flags;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        attach(&a);
        attach(&b);
        cr_assert_eq(raw_new(&a, 1, &handle), 0);
        for (unsigned i = 0; i < 5; i++)
                cr_assert_eq(raw_scratch(&a, 100, &idx[i], &size), 0);
        cr_assert_eq(raw_scratch(&a, 300000, &large, &size), 0);

        cr_expect_eq(raw_give(&b, idx[0], handle), -EBADF, "neither is his");
        cr_expect_eq(raw_give(&a, idx[0], handle + 1), -ESTALE);
        cr_expect_eq(raw_give(&a, idx[0] + 16, handle), -ESTALE);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(raw_give(&a, idx[i], handle), 0);
        cr_assert_eq(raw_give(&a, large, handle), 0);
        cr_expect_eq(raw_give(&a, idx[3], handle), -ENOSPC, "a handle can own four");
        cr_expect_eq(raw_give(&a, idx[0], handle), -EBUSY);
        cr_expect_eq(raw_scratch_free(&a, idx[0]), -EBUSY);
        cr_expect_eq(raw_scratch_free(&b, large), -EBUSY);

        cr_assert_eq(raw_open(&b, handle, NULL), 0);
        cr_assert_eq(raw_close(&a, handle, &flags), 0);
        cr_expect_eq(raw_scratch_free(&a, idx[0]), -EBUSY, "somebody still holds the handle");
        cr_assert_eq(raw_close(&b, handle, &flags), 0);
        cr_expect_eq(flags, DESTROY | GONE);
        cr_expect_eq(raw_scratch_free(&a, idx[0]), -ESTALE);
        cr_expect_eq(raw_scratch_free(&a, large), -ESTALE);
        cr_expect_eq(raw_scratch_free(&a, idx[3]), 0);
        raw_done(&a);
        raw_done(&b);
        finish();
}

Test(requests, a_request_that_is_repeated_takes_effect_once)
{
        struct mh_wire_new make = { .type = 7 };
        struct mh_wire_handle made, again;
        struct mh_wire_close close_ = {};
        struct mh_wire_closed closed;
        VerifyStats stats;
        Raw r;

        daemon_start(&the_daemon, NULL);
        attach(&r);
        cr_assert_eq(raw_call(&r, MH_WIRE_NEW, &make, sizeof(make), &made, sizeof(made)), 0);
        for (unsigned i = 0; i < 3; i++) {
                cr_assert_eq(raw_call_again(&r, MH_WIRE_NEW, &make, sizeof(make), &again, sizeof(again)), 0);
                cr_expect_eq(again.handle, made.handle);
        }
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 1);

        close_.handle = made.handle;
        cr_assert_eq(raw_call(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), 0);
        cr_expect_eq(closed.destroy, DESTROY | GONE);
        cr_assert_eq(raw_call_again(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), 0);
        cr_expect_eq(closed.destroy, DESTROY | GONE, "the answer of the first time, not -ESTALE");

        /* A failure is an outcome like any other. */
        cr_expect_eq(raw_call(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), -ESTALE);
        cr_expect_eq(raw_call_again(&r, MH_WIRE_CLOSE, &close_, sizeof(close_), &closed, sizeof(closed)), -ESTALE);
        raw_done(&r);
        finish();
}

Test(requests, limits_of_one_client)
{
        uint64_t handle, idx, size;
        unsigned flags;
        Raw a, b;

        daemon_start(&the_daemon, (const char *const[]){ "--client-handles=3", "--client-scratch=64K", NULL });
        attach(&a);
        attach(&b);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_eq(raw_new(&a, 1, &handle), 0);
        cr_expect_eq(raw_new(&a, 1, &idx), -EDQUOT);
        cr_expect_eq(raw_new(&b, 1, &idx), 0, "the limit is for each");
        cr_expect_eq(raw_open(&b, handle, NULL), 0);
        cr_assert_eq(raw_close(&a, handle, &flags), 0);
        cr_expect_eq(raw_new(&a, 1, &idx), 0);

        cr_assert_eq(raw_scratch(&a, 32768, &idx, &size), 0);
        cr_assert_eq(raw_scratch(&a, 32768, &handle, &size), 0);
        cr_expect_eq(raw_scratch(&a, 16, &size, &size), -EDQUOT);
        cr_expect_eq(raw_scratch(&a, 100000, &size, &size), -EDQUOT);
        cr_assert_eq(raw_scratch_free(&a, idx), 0);
        cr_expect_eq(raw_scratch(&a, 16, &idx, &size), 0);
        cr_expect_geq(daemon_said(&the_daemon, "reached its limit of 3"), 1);
        cr_expect_geq(daemon_said(&the_daemon, "reached its limit of 65536"), 1);
        raw_done(&a);
        raw_done(&b);
        finish();
}

Test(requests, a_full_table_is_enospc_and_has_room_again)
{
        uint64_t handles[512], more;
        unsigned flags, n = 0;
        Raw r;

        daemon_start(&the_daemon, (const char *const[]){ "--handles=512", NULL });
        attach(&r);
        while (n < 512 && raw_new(&r, 1, &handles[n]) == 0)
                n++;
        cr_expect_eq(n, 512);
        cr_expect_eq(raw_new(&r, 1, &more), -ENOSPC);
        cr_expect_eq(daemon_said(&the_daemon, "is full: no handle"), 1);
        cr_assert_eq(raw_close(&r, handles[100], &flags), 0);
        cr_expect_eq(raw_new(&r, 1, &more), 0);
        raw_done(&r);
        finish();
}

Test(requests, detach_gives_everything_back_before_it_is_answered)
{
        uint64_t handle, idx, size;
        VerifyStats stats;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        attach(&b);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        for (unsigned i = 0; i < 2000; i++)
                cr_assert_eq(raw_new(&a, 1, &handle), 0);
        cr_assert_eq(raw_scratch(&a, 100000, &idx, &size), 0);
        cr_assert_eq(raw_open(&b, handle, NULL), 0);
        cr_assert_eq(raw_detach(&a), 0);
        cr_expect(raw_ended(a.fd));
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 1);
        cr_expect_eq(stats.blocks, 0);
        cr_expect_eq(stats.clients, 1);
        cr_expect_eq(raw_open(&b, handle, NULL), 0);
        raw_done(&a);
        raw_done(&b);
        finish();
}
