/* SPDX-License-Identifier: MIT */

#include "daemon/sweep.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "daemon/claim.h"
#include "daemon/record.h"
#include "daemon/report.h"
#include "shm/place.h"

#define SHM_DIRECTORY "/dev/shm"

/* What is not looked at this time is looked at by a later daemon: clients wait meanwhile. */
#define ENTRIES_MAX  16384U
#define SEGMENTS_MAX 256U
#define SWEEP_USEC   UINT64_C(500000)

/* Any error but -ESRCH may hide one that lives, and so may numbers that are nobody's. */
static bool may_live(uint32_t pid, uint64_t start_time)
{
        _cleanup_close_ int pidfd = -1;

        if (pid == 0 || pid > INT_MAX || start_time == 0)
                return true;
        pidfd = process_pidfd_started((pid_t)pid, start_time);
        return pidfd != -ESRCH;
}

static bool client_may_live(const struct mh_shm_client *entry)
{
        switch (entry->state) {
        case MH_SHM_CLIENT_FREE:
                return false;
        case MH_SHM_CLIENT_ATTACHING:
                /* It was welcomed by nobody yet, and may not even have been noted. */
                return entry->pid != 0 && may_live(entry->pid, entry->start_time);
        default:
                return may_live(entry->pid, entry->start_time);
        }
}

/* Was it signed, and where we are? What is not known is not enough here: it would be known of a segment of this version. */
static bool is_of_this_place(const struct mh_shm_shared *shared)
{
        ProcessPlace there, here;

        place_read(shared, &there);
        process_place(&here);
        return there.pid_namespace != 0 && there.pid_namespace == here.pid_namespace &&
               there.time_namespace == here.time_namespace;
}

/*
 * The lock comes first: as long as we have it nobody adopts what we look at, for who does waits for his own, and then looks
 * whether the name is still there (store.c). It is not to be had while anybody has the segment open or mapped through a
 * daemon: a daemon, a client, a fd store. Who makes a segment has his lock before it is one (store_create()).
 */
static bool is_nobodys(int fd)
{
        struct mh_shm_shared shared;
        Segment seg;

        return segment_load(&seg, fd) == 0 && claim_check_place(&seg) == 0 && claim_alone(fd) > 0 &&
               segment_read(&seg, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared)) == 0 && is_of_this_place(&shared) &&
               !may_live(shared.daemon_pid, shared.daemon_start_time) && claim_search(&seg, client_may_live) == 0;
}

static bool is_still_named(int directory, const char *file, int fd)
{
        struct stat a, b;

        return fstat(fd, &a) == 0 && fstatat(directory, file, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
               a.st_ino == b.st_ino;
}

/* Whatever has such a name: links are not followed, and a FIFO is not waited for. */
static void look_at(int directory, const char *file, const char *name)
{
        _cleanup_close_ int fd = -1;

        fd = openat(directory, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || !is_nobodys(fd) || !is_still_named(directory, file, fd))
                return;
        if (unlinkat(directory, file, 0) == 0)
                report_removed(name);
}

void sweep(const char *own)
{
        _cleanup_closedir_ DIR *d = opendir(SHM_DIRECTORY);
        uint64_t end = clock_usec() + SWEEP_USEC;
        unsigned segments = 0;
        struct dirent *de;

        assert(own);

        for (unsigned i = 0; d && i < ENTRIES_MAX && segments < SEGMENTS_MAX && clock_usec() < end; i++) {
                char name[RECORD_NAME_MAX];

                de = readdir(d);
                if (!de)
                        break;
                if ((size_t)snprintf(name, sizeof(name), "/%s", de->d_name) >= sizeof(name) ||
                    record_check_name(name) != 0 || strcmp(name, own) == 0)
                        continue;
                segments++;
                look_at(dirfd(d), de->d_name, name);
        }
}
