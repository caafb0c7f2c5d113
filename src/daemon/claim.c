/* SPDX-License-Identifier: MIT */

#include "daemon/claim.h"

#include <assert.h>
#include <errno.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/place.h"

/* Who holds the exclusive lock does so for as long as it takes to look through a client table. */
#define TRIES_MAX     200U
#define TRY_STEP_MSEC 10

/* Entries that are read at once. */
#define ENTRIES 16U

static int lock(int fd, int operation)
{
        int r;

        do
                r = flock(fd, operation | LOCK_NB);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int claim_share(int fd, bool patient)
{
        const struct timespec step = { .tv_nsec = TRY_STEP_MSEC * 1000000L };
        int r;

        r = lock(fd, LOCK_SH);
        for (unsigned i = 0; patient && r == -EWOULDBLOCK && i < TRIES_MAX; i++) {
                (void)nanosleep(&step, NULL);
                r = lock(fd, LOCK_SH);
        }
        return r == -EWOULDBLOCK ? -EBUSY : r;
}

int claim_alone(int fd)
{
        int r = lock(fd, LOCK_EX);

        return r == 0 ? 1 : r == -EWOULDBLOCK ? 0 : r;
}

/* The high-water mark is not asked: it may hold anything, and entries beyond it are holes, which read as FREE. */
int claim_search(const Segment *loaded, bool (*is_one)(const struct mh_shm_client *entry))
{
        struct mh_shm_client entries[ENTRIES];

        for (uint32_t id = 0; id < loaded->n_clients; id += ENTRIES) {
                uint32_t n = MIN(loaded->n_clients - id, ENTRIES);
                int r;

                r = segment_read(loaded, MH_SHM_REGION_CLIENTS, (uint64_t)id * sizeof(entries[0]), entries,
                                 n * sizeof(entries[0]));
                if (r < 0)
                        return r;
                for (uint32_t i = 0; i < n; i++)
                        if (id + i != MH_SHM_CLIENT_DAEMON && is_one(&entries[i]))
                                return 1;
        }
        return 0;
}

/* It needs the daemon and nothing else, so it may have closed the segment, and wait for the next one. */
static bool may_have_no_descriptor(const struct mh_shm_client *entry)
{
        return entry->state == MH_SHM_CLIENT_ATTACHED && !(entry->flags & MH_SHM_CLIENT_MAPS);
}

int claim_is_deserted(const Segment *loaded)
{
        struct mh_shm_shared shared;
        ProcessPlace there;
        int r;

        r = segment_read(loaded, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared));
        if (r < 0)
                return r;
        place_read(&shared, &there);
        if (there.pid_namespace == 0)
                return 0;
        r = claim_alone(loaded->fd);
        if (r <= 0)
                return r;
        r = claim_search(loaded, may_have_no_descriptor);
        return r < 0 ? r : r == 0;
}

int claim_check_place(const Segment *loaded)
{
        struct mh_shm_shared shared;
        int r;

        if (loaded->uid != geteuid())
                return -EXDEV;
        r = segment_read(loaded, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared));
        if (r < 0)
                return r;
        return place_is_elsewhere(&shared) ? -EREMOTE : 0;
}

int claim_adopt(const Segment *loaded, bool anew)
{
        bool deserted = false;
        int r;

        r = claim_check_place(loaded);
        if (r == -EREMOTE) {
                /* Those who have a description that was handed out share its lock with us. */
                r = anew ? claim_is_deserted(loaded) : 0;
                if (r == 0)
                        return -EREMOTE;
                deserted = r > 0;
        }
        if (r < 0)
                return r;
        /* A descriptor that came from a client comes while others wait for us; and it has the lock, if it is of a daemon. */
        r = claim_share(loaded->fd, anew);
        return r < 0 ? r : deserted;
}
