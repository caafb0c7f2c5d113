/* SPDX-License-Identifier: MIT */

/* The words of the format, put together and taken apart. The numbers are those of mono-handle-d-shm(7): if one of these
 * fails, it is another format. */

#include <criterion/criterion.h>

#include "base/cleanup.h"
#include "shm/place.h"
#include "shm/words.h"

#define GEN_MAX ((UINT64_C(1) << 40) - 1)

Test(words, generations)
{
        cr_assert_eq(generation_after(1), 2);
        cr_assert_eq(generation_after(GEN_MAX - 1), GEN_MAX);
        cr_assert_eq(generation_after(GEN_MAX), 1, "0 is never a generation");

        cr_assert_eq(generation_age(7, 7), 0);
        cr_assert_eq(generation_age(9, 7), 2);
        cr_assert_eq(generation_age(GEN_MAX, GEN_MAX), 0);
        cr_assert_eq(generation_age(1, GEN_MAX), 2, "over the end, and over 0");
        cr_assert_eq(generation_age(6, 7), GEN_MAX, "the last one before it comes round");
}

Test(words, handles)
{
        uint64_t h = handle_make(GEN_MAX, 0xabcdef);

        cr_assert_eq(h, UINT64_C(0xffffffffffabcdef));
        cr_assert_eq(handle_generation(h), GEN_MAX);
        cr_assert_eq(handle_slot(h), 0xabcdef);
        cr_assert_eq(handle_make(1, 0), UINT64_C(1) << 24);
        cr_assert_eq(handle_slot(handle_make(5, (1 << 24) - 1)), (1 << 24) - 1);
}

Test(words, states)
{
        uint64_t s = state_make(0x123456789a, MH_SHM_PHASE_DEAD, 0xfe, 0x1abc);

        cr_assert_eq(s, UINT64_C(0x123456789a) << 24 | 4 << 21 | 0xfe << 13 | 0x1abc);
        cr_assert_eq(state_generation(s), 0x123456789a);
        cr_assert_eq(state_phase(s), MH_SHM_PHASE_DEAD);
        cr_assert_eq(state_type(s), 0xfe);
        cr_assert_eq(state_owner(s), 0x1abc);
        s = state_make(GEN_MAX, MH_SHM_PHASE_FREE, 0, 0);
        cr_assert_eq(s & 0xffffff, 0);
        s = state_make(0, (enum mh_shm_phase)7, 255, 0x1fff);
        cr_assert_eq(state_generation(s), 0, "no field runs into the next");
        cr_assert_eq(s, 0xffffff);
}

Test(words, references)
{
        uint64_t scratch = scratch_make(0xfedcba, 0x123456780), ref = ref_make(scratch, 0x1abc);

        cr_assert_eq(ref, (UINT64_C(0x12345678) + 1) << 28 | UINT64_C(0x1abc) << 15 | 0x5cba);
        cr_assert_eq(ref_offset(ref), 0x123456780);
        cr_assert_eq(ref_giver(ref), 0x1abc);
        cr_assert_neq(ref_make(scratch_make(1, 0), 0), 0, "the first block is not none");
        cr_assert_eq(ref_offset(ref_make(scratch_make(1, 0), 1)), 0);

        /* The very last block of the largest scratch there can be. */
        ref = ref_make(scratch_make(1, (UINT64_C(1) << 40) - 16), 5);
        cr_assert_eq(ref_offset(ref), (UINT64_C(1) << 40) - 16);
        cr_assert_eq(ref_giver(ref), 5);
        cr_assert_neq(ref, 0);
}

Test(words, chunks)
{
        uint64_t w = chunk_make(GEN_MAX, 0xa5, MH_SHM_CHUNK_PUNCHING, 0x1abc);

        cr_assert_eq(w, GEN_MAX << 24 | 0xa5 << 16 | 4 << 13 | 0x1abc);
        cr_assert_eq(chunk_floor(w), GEN_MAX);
        cr_assert_eq(chunk_groups(w), 0xa5);
        cr_assert_eq(chunk_state(w), MH_SHM_CHUNK_PUNCHING);
        cr_assert_eq(chunk_owner(w), 0x1abc);
        cr_assert_eq(chunk_make(0, 0, MH_SHM_CHUNK_HOLE, 0), 0, "a hole is zeros");
}

Test(words, ledgers)
{
        uint64_t w = ledger_make(GEN_MAX, 5);

        cr_assert_eq(w, GEN_MAX << 24 | 5);
        cr_assert_eq(ledger_generation(w), GEN_MAX);
        cr_assert_eq(ledger_count(w), 5);
        cr_assert_eq(ledger_count(ledger_make(3, MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_WAITERS)), 0);
        cr_assert_eq(ledger_count(MH_SHM_LEDGER_RESERVED), 0);
        cr_assert_eq(ledger_generation(MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_RESERVED | MH_SHM_LEDGER_WAITERS), 0);
        cr_assert_eq(MH_SHM_LEDGER_COUNT_MASK, 0x1fffff);
}

Test(words, scratch_indexes)
{
        uint64_t s = scratch_make(0xfedcba, 0x123456789a);

        cr_assert_eq(s, UINT64_C(0xfedcba123456789a));
        cr_assert_eq(scratch_tag(s), 0xfedcba);
        cr_assert_eq(scratch_offset(s), 0x123456789a);
        cr_assert_eq(tag_after(1), 2);
        cr_assert_eq(tag_after(0xfffffe), 0xffffff);
        cr_assert_eq(tag_after(0xffffff), 1, "0 is never a tag");
        cr_assert_eq(tag_after(0), 1);
}

Test(words, owners)
{
        uint64_t w = owner_make(0xfedcba, MH_SHM_OWNER_FREEING, 3, 0xabcdef);

        cr_assert_eq(w, UINT64_C(0xfedcba) << 40 | UINT64_C(3) << 37 | UINT64_C(3) << 34 | 0xabcdef);
        cr_assert_eq(owner_tag(w), 0xfedcba);
        cr_assert_eq(owner_kind(w), MH_SHM_OWNER_FREEING);
        cr_assert_eq(owner_entry(w), 3);
        cr_assert_eq(owner_who(w), 0xabcdef);
        cr_assert_eq(owner_kind(0), MH_SHM_OWNER_FREE);
}

Test(words, spans)
{
        uint64_t w = span_make(0xfffff, MH_SHM_SPAN_CONT, 0x1abc, 0xabcdef);

        cr_assert_eq(w, UINT64_C(0xfffff) << 44 | UINT64_C(5) << 40 | UINT64_C(0x1abc) << 24 | 0xabcdef);
        cr_assert_eq(span_incarnation(w), 0xfffff);
        cr_assert_eq(span_state(w), MH_SHM_SPAN_CONT);
        cr_assert_eq(span_client(w), 0x1abc);
        cr_assert_eq(span_arg(w), 0xabcdef);

        w = span_with(w, MH_SHM_SPAN_SMALL, 7, 39);
        cr_assert_eq(w, span_make(0xfffff, MH_SHM_SPAN_SMALL, 7, 39), "the incarnation stays");
        cr_assert_eq(span_make(0, MH_SHM_SPAN_FREE, 0, 0), 0);

        w = span_make_small(5, 7, 6, 39);
        cr_assert_eq(w, UINT64_C(5) << 44 | UINT64_C(2) << 40 | UINT64_C(6) << 37 | 7 << 24 | 39);
        cr_assert_eq(span_thread(w), 6);
        cr_assert_eq(span_client(w), 7);
        cr_assert_eq(span_arg(w), 39);
        cr_assert_eq(span_incarnation(w), 5);
}

/* ---------------------------------------------------------------------------------------------- size classes */

Test(words, class_table)
{
        static const uint32_t sizes[] = { 16,   32,   48,    64,    80,    96,    112,   128,   160,   192,
                                          224,  256,  320,   384,   448,   512,   640,   768,   896,   1024,
                                          1280, 1536, 1792,  2048,  2560,  3072,  3584,  4096,  5120,  6144,
                                          7168, 8192, 10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768 };

        cr_assert_eq(ELEMENTSOF(sizes), MH_SHM_CLASSES);
        for (unsigned k = 0; k < MH_SHM_CLASSES; k++) {
                cr_assert_eq(class_size(k), sizes[k], "class %u", k);
                cr_assert_eq(class_size(k) % MH_SHM_BLOCK_ALIGN, 0);
                cr_assert_eq(class_blocks(k), 65536 / sizes[k]);
                cr_assert_leq(class_blocks(k), MH_SHM_SPAN_BLOCKS_MAX);
                cr_assert_leq((uint64_t)class_blocks(k) * class_size(k), MH_SHM_SPAN_SIZE);
        }
        cr_assert_eq(class_size(MH_SHM_CLASSES - 1), MH_SHM_SMALL_MAX);
}

Test(words, each_size_has_the_smallest_class_that_fits)
{
        for (uint32_t size = 1; size <= MH_SHM_SMALL_MAX; size++) {
                unsigned k = class_of(size);

                cr_assert_lt(k, MH_SHM_CLASSES, "%u bytes", size);
                cr_assert_geq(class_size(k), size, "%u bytes", size);
                if (k > 0)
                        cr_assert_lt(class_size(k - 1), size, "%u bytes", size);
        }
}

Test(words, blocks_by_their_offset)
{
        for (unsigned k = 0; k < MH_SHM_CLASSES; k++)
                for (uint32_t within = 0; within < MH_SHM_SPAN_SIZE; within++) {
                        uint32_t index = class_index(k, within);

                        if (within % class_size(k))
                                cr_assert_eq(index, UINT32_MAX, "class %u, offset %u", k, within);
                        else
                                cr_assert_eq(index, within / class_size(k), "class %u, offset %u", k, within);
                }
}

Test(words, check_of_a_place)
{
        cr_assert_eq(place_check(0, 0), UINT64_C(0xd85d1d823d12cde7));
        cr_assert_eq(place_check(4026531836, 4026531834), UINT64_C(0x547d64b85ac913d3));
}

static bool is_known(uint64_t pid_ns, uint64_t time_ns, uint64_t check)
{
        const struct mh_shm_shared copy = { .daemon_pid_ns = pid_ns,
                                            .daemon_time_ns = time_ns,
                                            .daemon_ns_check = check };
        ProcessPlace place;

        place_read(&copy, &place);
        return place.pid_namespace != 0 || place.time_namespace != 0;
}

/* What a program that has gone wild writes is not random: the same word everywhere, all bits set, small numbers, a bit off. */
Test(words, a_place_that_was_scribbled_over_is_not_known)
{
        static const uint64_t likely[] = { 0,
                                           1,
                                           2,
                                           0xff,
                                           UINT32_MAX,
                                           INT64_MAX,
                                           UINT64_MAX,
                                           UINT64_MAX - 1,
                                           UINT64_C(1) << 63,
                                           0x4141414141414141,
                                           0xdeadbeef,
                                           4026531834,
                                           4026531836,
                                           UINT64_C(0xf000000200000000) };
        const uint64_t pid_ns = 4026531836, time_ns = 4026531834, check = place_check(pid_ns, time_ns);

        cr_assert(is_known(pid_ns, time_ns, check), "the right one");

        for (size_t a = 0; a < ELEMENTSOF(likely); a++)
                for (size_t b = 0; b < ELEMENTSOF(likely); b++)
                        for (size_t c = 0; c < ELEMENTSOF(likely); c++)
                                cr_assert_not(is_known(likely[a], likely[b], likely[c]), "%zu %zu %zu", a, b, c);

        for (unsigned i = 0; i < 192; i++)
                for (unsigned j = 0; j < 192; j++) {
                        uint64_t w[3] = { pid_ns, time_ns, check };

                        w[i / 64] ^= UINT64_C(1) << i % 64;
                        if (j != i)
                                w[j / 64] ^= UINT64_C(1) << j % 64;
                        cr_assert_not(is_known(w[0], w[1], w[2]), "bits %u and %u", i, j);
                }
}
