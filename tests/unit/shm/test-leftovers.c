/* SPDX-License-Identifier: MIT */

/* What a death can leave behind, made by hand in the order of the words, then cleaned up, then verified. These are the
 * places where the last words of an operation are hints: nothing else would miss them. */

#include <criterion/criterion.h>
#include <sys/mman.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "shm/block.h"
#include "shm/reap.h"
#include "shm/request.h"
#include "shm/trim.h"
#include "shm/verify.h"
#include "tools/craft.h"
#include "tools/say.h"

#define REST (VERIFY_AT_REST | VERIFY_NO_DEAD)

static Craft c;

static void show(const VerifyFinding *f, void *userdata)
{
        (void)fprintf(say_stream(), "# %s: %s\n", f->rule, f->text);
}

static void make(void)
{
        int fd = memfd_create("leftovers", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        cr_assert_eq(craft_world(&c, fd, 0), 0);
        cr_assert_eq(segment_map(&c.seg), 0);
}

static void drop(void)
{
        segment_unmap(&c.seg);
        c.fd = fd_close(c.fd);
}

static void reap(uint32_t id)
{
        Reap r;

        craft_client_state(&c, id, MH_SHM_CLIENT_DEAD);
        cr_assert_eq(reap_init(&r, &c.seg, id), 0);
        while (reap_step(&r, 1000) > 0)
                ;
}

#define expect_in_order() cr_assert_eq(verify_segment(c.fd, REST, show, NULL, NULL), 0)

TestSuite(leftovers, .init = make, .fini = drop);

Test(leftovers, nothing)
{
        reap(CRAFT_MAPPED);
        expect_in_order();
        reap(CRAFT_LEDGER);
        expect_in_order();
        reap(CRAFT_WIRE);
        expect_in_order();
}

/* A span of somebody else was given back, and the one who did it died before its bit in the map. */
Test(leftovers, bit_of_a_released_span)
{
        craft_bit(&c, MH_SHM_REGION_SPANMAP, 0, CRAFT_FREE_SPAN, true);
        craft_hazard(&c, CRAFT_LEDGER, 0, CRAFT_FREE_SPAN + 1);
        reap(CRAFT_LEDGER);
        expect_in_order();
}

static void free_by_another(uint32_t head, uint32_t run)
{
        craft_large(&c, head, run, (uint64_t)run * MH_SHM_SPAN_SIZE, CRAFT_MAPPED);
        craft_owner(&c, head, 0, owner_make(2, MH_SHM_OWNER_FREEING, 0, CRAFT_LEDGER));
        craft_hazard(&c, CRAFT_LEDGER, 0, head + 1);
}

/* The same within a large block: some of its other spans are free already, the last of them not in the map. */
Test(leftovers, bit_of_a_part_of_a_large_block)
{
        const uint32_t head = 20;

        free_by_another(head, 4);
        craft_span(&c, head + 3, MH_SHM_SPAN_FREE, 0, 0);
        craft_span(&c, head + 2, MH_SHM_SPAN_FREE, 0, 0);
        craft_bit(&c, MH_SHM_REGION_SPANMAP, 0, head + 2, true);
        craft_span(&c, head + 1, MH_SHM_SPAN_CLAIMED, CRAFT_LEDGER, head);
        cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        reap(CRAFT_LEDGER);
        expect_in_order();
}

/* As long as there is more to give back, the hazard leads there: the daemon may die between two slices. */
Test(leftovers, hazard_stays_while_there_is_more)
{
        const uint32_t head = 20;
        Actor a;

        free_by_another(head, 60);
        actor_init(&a, &c.seg, CRAFT_LEDGER, segment_ledger(&c.seg, CRAFT_LEDGER));
        while (block_resume_free(&a, head, 10) > 0) {
                cr_assert_eq(load_relaxed(&c.seg.hazards[CRAFT_LEDGER].line[0].span), head + 1);
                cr_assert_eq(verify_segment(c.fd, 0, show, NULL, NULL), 0);
        }
        expect_in_order();
}

static void recover(uint32_t id)
{
        struct mh_shm_client e = craft_get_entry(&c, id);
        Actor a;

        e.intent.seq = 1;
        e.intent.op = MH_WIRE_SCRATCH_FREE;
        craft_entry(&c, id, &e);
        actor_init(&a, &c.seg, id, segment_ledger(&c.seg, id));
        request_recover(&a);
        e.intent.seq = 0;
        craft_entry(&c, id, &e);
}

/* The daemon died while it freed a client's large block, and the client lives. */
Test(leftovers, free_of_an_own_large_block)
{
        craft_large(&c, 20, 3, 3 * MH_SHM_SPAN_SIZE, CRAFT_WIRE);
        craft_owner(&c, 20, 0, owner_make(2, MH_SHM_OWNER_FREEING, 0, CRAFT_WIRE));
        craft_hazard(&c, CRAFT_WIRE, 0, 20 + 1);
        recover(CRAFT_WIRE);
        expect_in_order();
}

/* The same with somebody else's, while it has a large block of its own. */
Test(leftovers, free_of_another_s_large_block)
{
        craft_large(&c, 20, 3, 3 * MH_SHM_SPAN_SIZE, CRAFT_LEDGER);
        craft_owner(&c, 20, 0, owner_make(2, MH_SHM_OWNER_FREEING, 0, CRAFT_WIRE));
        craft_hazard(&c, CRAFT_WIRE, 0, 20 + 1);
        recover(CRAFT_WIRE);
        expect_in_order();
}

/* While the daemon had reserved a slot to close its chunk, a client found it taken and noted that. */
Test(leftovers, hint_of_a_slot_that_is_put_back)
{
        craft_ledger(&c, 0, CRAFT_FREE_SLOT, MH_SHM_LEDGER_RESERVED);
        craft_state(&c, CRAFT_FREE_SLOT, MH_SHM_PHASE_RESERVED, 0, 0);
        craft_taken(&c, CRAFT_FREE_SLOT, true);
        craft_bit(&c, MH_SHM_REGION_CHUNKMAP, 0, 0, true);
        trim_recover(&c.seg);
        craft_put(&c, MH_SHM_REGION_LEDGERS, CRAFT_ACCOUNT(&c, 0, line[0].handles), 0);
        expect_in_order();
}
