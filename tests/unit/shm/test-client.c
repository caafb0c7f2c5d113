/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <string.h>

#include "unit/shm/fixture.h"

static const SegmentConfig few = {
        .n_slots = 512,
        .n_clients = 4,
        .scratch_bytes = MH_SHM_SPAN_SIZE,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
        .first_generation = FIXTURE_FIRST,
};

static uint32_t attach(Fixture *f, uint32_t pid, uint64_t start_time, uint64_t nonce)
{
        ClientInfo info = { .pid = pid, .start_time = start_time, .nonce = nonce, .name = "somebody" };
        uint32_t id = 0;

        cr_assert_eq(client_attach(&f->seg, &info, &id), 0);
        return id;
}

Test(client, lowest_free_id)
{
        ClientInfo info = { .nonce = 1 };
        uint32_t id = 77;
        Fixture f;

        fixture_open_as(&f, &few);
        cr_assert_eq(client_end(&f.seg), 1);
        cr_assert_eq(attach(&f, 1, 1, 1), 1, "0 is the daemon");
        cr_assert_eq(attach(&f, 1, 1, 2), 2);
        cr_assert_eq(attach(&f, 1, 1, 3), 3);
        cr_assert_eq(client_end(&f.seg), 4);
        cr_assert_eq(client_attach(&f.seg, &info, &id), -EUSERS);
        cr_assert_eq(id, 77);

        client_kill(&f.seg, 2);
        cr_assert_eq(client_attach(&f.seg, &info, &id), -EUSERS, "dead is not free");
        (void)fixture_reap_dead(&f, 2);
        cr_assert_eq(client_state(&f.seg, 2), MH_SHM_CLIENT_FREE);
        cr_assert_eq(attach(&f, 1, 1, 4), 2);
        cr_assert_eq(client_end(&f.seg), 4);
        fixture_done(&f);
}

Test(client, what_the_entry_says)
{
        ClientInfo info = { .flags = MH_SHM_CLIENT_MAPS, .pid = 12, .start_time = 34, .nonce = 56 }, again;
        struct mh_shm_client *c;
        Fixture f;
        uint32_t id;

        fixture_open(&f);
        memset(info.name, 'x', sizeof(info.name)); /* without an end */
        cr_assert_eq(client_attach(&f.seg, &info, &id), 0);
        c = &f.seg.clients[id];
        cr_assert_eq(client_state(&f.seg, id), MH_SHM_CLIENT_ATTACHED);
        cr_assert_eq(c->flags, MH_SHM_CLIENT_MAPS);
        cr_assert_gt(c->attached_usec, UINT64_C(1500000000000000));
        cr_assert_eq(strnlen(c->name, sizeof(c->name)), sizeof(c->name) - 1, "there is an end");

        client_info(&f.seg, id, &again);
        cr_assert_eq(again.flags, MH_SHM_CLIENT_MAPS);
        cr_assert_eq(again.pid, 12);
        cr_assert_eq(again.start_time, 34);
        cr_assert_eq(again.nonce, 56);
        memset(c->name, 'y', sizeof(c->name));
        client_info(&f.seg, id, &again);
        cr_assert_eq(strnlen(again.name, sizeof(again.name)), sizeof(again.name) - 1);
        memset(c->name, 0, sizeof(c->name));
        fixture_done(&f);
}

Test(client, nothing_is_left_of_the_one_before)
{
        struct mh_shm_client *c;
        Fixture f;
        uint32_t id;

        fixture_open(&f);
        id = attach(&f, 1, 2, 3);
        c = &f.seg.clients[id];
        c->intent.seq = 5;
        c->intent.op = 5;
        c->intent.target = 5;
        c->outcome.seq = 5;
        c->outcome.error = 5;
        c->outcome.value[1] = 5;
        c->requests = 5;
        c->errors = 5;
        ((struct mh_shm_account *)segment_ledger(&f.seg, id))->line[0].created = 5;
        ((struct mh_shm_account *)segment_ledger(&f.seg, id))->line[0].destroyed = 5;
        (void)fixture_reap(&f, id);

        cr_assert_eq(attach(&f, 7, 8, 9), id);
        cr_assert_eq(c->intent.seq, 0);
        cr_assert_eq(c->intent.op, 0);
        cr_assert_eq(c->intent.target, 0);
        cr_assert_eq(c->outcome.seq, 0);
        cr_assert_eq(c->outcome.error, 0);
        cr_assert_eq(c->outcome.value[1], 0);
        cr_assert_eq(c->requests, 0);
        cr_assert_eq(c->errors, 0);
        cr_assert_eq(((struct mh_shm_account *)segment_ledger(&f.seg, id))->line[0].created, 0);
        fixture_done(&f);
}

Test(client, found_by_process_and_nonce)
{
        uint32_t id, other, found = 77;
        Fixture f;

        fixture_open(&f);
        cr_assert_eq(client_find(&f.seg, 1, 2, 3, &found), -ENOENT);
        id = attach(&f, 1, 2, 3);
        other = attach(&f, 1, 2, 4);
        cr_assert_eq(client_find(&f.seg, 1, 2, 4, &found), 0);
        cr_assert_eq(found, other);
        cr_assert_eq(client_find(&f.seg, 1, 2, 3, &found), 0);
        cr_assert_eq(found, id);
        found = 77;
        cr_assert_eq(client_find(&f.seg, 2, 2, 3, &found), -ENOENT);
        cr_assert_eq(client_find(&f.seg, 1, 3, 3, &found), -ENOENT);
        cr_assert_eq(client_find(&f.seg, 1, 2, 5, &found), -ENOENT);
        cr_assert_eq(found, 77);
        client_kill(&f.seg, id);
        cr_assert_eq(client_find(&f.seg, 1, 2, 3, &found), -ENOENT, "the dead are not found");
        (void)fixture_reap_dead(&f, id);
        cr_assert_eq(client_find(&f.seg, 1, 2, 3, &found), -ENOENT, "nor are those who are gone");
        fixture_done(&f);
}

Test(client, states_of_any_number)
{
        uint64_t before;
        Fixture f;

        fixture_open(&f);
        before = fixture_blocks(&f);
        cr_assert_eq(client_state(&f.seg, 0), MH_SHM_CLIENT_FREE, "the daemon is no client");
        cr_assert_eq(client_state(&f.seg, 199), MH_SHM_CLIENT_FREE);
        cr_assert_eq(client_state(&f.seg, 200), MH_SHM_CLIENT_FREE);
        cr_assert_eq(client_state(&f.seg, UINT32_MAX), MH_SHM_CLIENT_FREE);
        cr_assert_eq(fixture_blocks(&f), before, "no page was touched");
        f.seg.shared->client_hwm = UINT32_MAX; /* a scribble */
        cr_assert_eq(client_end(&f.seg), 200);
        cr_assert_eq(client_state(&f.seg, 200), MH_SHM_CLIENT_FREE);
        fixture_close(&f);
}

Test(client, without_memory)
{
        ClientInfo info = { .nonce = 1 };
        uint64_t before = 0;
        uint32_t id = 77;
        unsigned n;
        Fixture f;
        int r;

        fixture_open(&f);
        for (n = 0;; n++) {
                fixture_fail_reserve(n);
                r = client_attach(&f.seg, &info, &id);
                fixture_fail_nothing();
                if (r == 0)
                        break;
                cr_assert_eq(r, -ENOSPC);
                cr_assert_eq(id, 77);
                for (uint32_t i = 0; i < 10; i++)
                        cr_assert_eq(client_state(&f.seg, i), MH_SHM_CLIENT_FREE);
                fixture_verify_rest(&f);
                before = fixture_blocks(&f);
        }
        cr_assert_eq(n, 3, "entry, hazards, account");
        cr_assert_eq(id, 1, "nothing was lost by those that failed");
        cr_assert_leq(fixture_blocks(&f), before + 8);
        fixture_done(&f);
}

Test(client, an_attach_that_nobody_finished)
{
        Fixture f;
        Actor a;
        uint32_t id;

        fixture_open(&f);
        id = fixture_attach(&f, 0, &a);
        (void)fixture_reap(&f, id);
        /* As the daemon leaves it that dies in the middle: no account yet. */
        f.seg.clients[id].state = MH_SHM_CLIENT_ATTACHING;
        fixture_verify(&f, VERIFY_AT_REST, NULL);
        (void)fixture_reap(&f, id);
        cr_assert_eq(fixture_attach(&f, 0, &a), id);
        fixture_done(&f);
}
