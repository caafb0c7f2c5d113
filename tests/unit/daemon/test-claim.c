/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/claim.h"
#include "shm/place.h"

static const SegmentConfig config = {
        .n_slots = 512,
        .n_clients = 40,
        .scratch_bytes = 1 << 20,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
};

static int made; /* the description of its maker */
static Segment seg;

static void set_up(void)
{
        made = memfd_create("segment", MFD_CLOEXEC);
        cr_assert_eq(segment_format(made, &config), 0);
        cr_assert_eq(segment_load(&seg, made), 0);
}

static void tear_down(void)
{
        made = fd_close(made);
}

TestSuite(claim, .init = set_up, .fini = tear_down);

static int open_anew(Segment *ret)
{
        char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", made);
        fd = open(path, O_RDWR | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(segment_load(ret, fd), 0);
        return fd;
}

static void write_place(uint64_t shift)
{
        struct mh_shm_shared shared;
        ProcessPlace place;
        uint64_t at = seg.regions[MH_SHM_REGION_SHARED].offset;

        cr_assert_eq(pread(made, &shared, sizeof(shared), (off_t)at), sizeof(shared));
        process_place(&place);
        place.pid_namespace += shift;
        place_write(&shared, &place);
        cr_assert_eq(pwrite(made, &shared, sizeof(shared), (off_t)at), sizeof(shared));
}

static void write_entry(uint32_t id, uint32_t state, uint32_t flags)
{
        struct mh_shm_client entry = { .state = state, .flags = flags };

        cr_assert_eq(pwrite(made, &entry, sizeof(entry),
                            (off_t)(seg.regions[MH_SHM_REGION_CLIENTS].offset + id * sizeof(entry))),
                     sizeof(entry));
}

static bool is_attached(const struct mh_shm_client *entry)
{
        return entry->state == MH_SHM_CLIENT_ATTACHED;
}

Test(claim, a_mapping_holds_the_lock)
{
        _cleanup_close_ int fd = -1;
        Segment again;
        void *p;

        fd = open_anew(&again);
        cr_assert_eq(claim_alone(fd), 1, "nobody locked it");
        cr_assert_eq(flock(fd, LOCK_UN), 0);

        cr_assert_eq(claim_share(made, true), 0);
        cr_assert_eq(claim_share(made, true), 0, "again");
        cr_assert_eq(claim_alone(fd), 0);
        cr_assert_eq(claim_share(fd, true), 0, "many may have it");
        cr_assert_eq(flock(fd, LOCK_UN), 0);

        p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, made, 0);
        cr_assert_neq(p, MAP_FAILED);
        made = fd_close(made);
        cr_assert_eq(claim_alone(fd), 0, "the mapping alone");
        cr_assert_eq(munmap(p, 4096), 0);
        cr_assert_eq(claim_alone(fd), 1);
}

Test(claim, who_looks_and_never_ends_is_not_waited_for)
{
        _cleanup_close_ int fd = -1;
        Segment again;

        fd = open_anew(&again);
        cr_assert_eq(claim_alone(fd), 1);
        cr_assert_eq(claim_share(made, true), -EBUSY);
        cr_assert_eq(claim_share(made, false), -EBUSY);
        fd = fd_close(fd);
        cr_assert_eq(claim_share(made, true), 0);
}

Test(claim, all_entries_but_the_daemons_are_looked_at)
{
        static const uint32_t ids[] = { 1, 15, 16, 17, 39 };

        cr_assert_eq(claim_search(&seg, is_attached), 0);
        write_entry(0, MH_SHM_CLIENT_ATTACHED, 0);
        cr_assert_eq(claim_search(&seg, is_attached), 0);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                write_entry(ids[i], MH_SHM_CLIENT_ATTACHED, 0);
                cr_expect_eq(claim_search(&seg, is_attached), 1, "%u", ids[i]);
                write_entry(ids[i], MH_SHM_CLIENT_FREE, 0);
        }
        cr_assert_eq(ftruncate(made, (off_t)seg.regions[MH_SHM_REGION_CLIENTS].offset + 100), 0);
        cr_assert_eq(claim_search(&seg, is_attached), -EBADMSG);
}

Test(claim, here_and_unknown_are_adopted)
{
        _cleanup_close_ int fd = -1;
        Segment again;

        fd = open_anew(&again);
        cr_assert_eq(claim_adopt(&again, true), 0, "no daemon signed it");
        write_place(0);
        cr_assert_eq(claim_adopt(&again, true), 0);
        cr_assert_eq(claim_adopt(&seg, false), 0);
        fd = fd_close(fd);
        fd = open_anew(&again);
        cr_assert_eq(claim_alone(fd), 0, "the lock was taken");
}

Test(claim, under_another_number_it_is_not_ours_to_serve)
{
        const uint32_t uid = geteuid() + 1;
        Segment again;

        cr_assert_eq(pwrite(made, &uid, sizeof(uid), offsetof(struct mh_shm_header, uid)), sizeof(uid));
        cr_assert_eq(segment_load(&again, made), 0);
        cr_assert_eq(claim_check_place(&again), -EXDEV);
        cr_assert_eq(claim_adopt(&again, true), -EXDEV);
}

Test(claim, from_elsewhere_only_when_nobody_is_left)
{
        _cleanup_close_ int fd = -1, other = -1;
        Segment again, more;

        write_place(1);
        write_entry(1, MH_SHM_CLIENT_ATTACHED, MH_SHM_CLIENT_MAPS);
        cr_assert_eq(claim_adopt(&seg, false), -EREMOTE, "others may have this description");
        cr_assert_eq(claim_share(made, true), 0);
        fd = open_anew(&again);
        cr_assert_eq(claim_adopt(&again, true), -EREMOTE);
        cr_assert_eq(flock(made, LOCK_UN), 0);
        cr_assert_eq(claim_adopt(&again, true), 1);
        other = open_anew(&more);
        cr_assert_eq(claim_alone(other), 0, "it has the shared lock now");
        cr_assert_eq(claim_share(other, true), 0);
        cr_assert_eq(flock(other, LOCK_UN), 0);
        cr_assert_eq(flock(fd, LOCK_UN), 0);

        write_entry(2, MH_SHM_CLIENT_DEAD, 0);
        cr_assert_eq(claim_adopt(&again, true), 1);
        cr_assert_eq(flock(fd, LOCK_UN), 0);
        write_entry(3, MH_SHM_CLIENT_ATTACHED, 0);
        cr_assert_eq(claim_adopt(&again, true), -EREMOTE, "it needs no descriptor");
}
