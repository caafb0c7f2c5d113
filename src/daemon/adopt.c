/* SPDX-License-Identifier: MIT */

#include "daemon/adopt.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "base/process.h"
#include "daemon/claim.h"
#include "daemon/server.h"
#include "daemon/sigbus.h"
#include "shm/place.h"
#include "shm/takeover.h"
#include "shm/trim.h"

/* How long the dead are reaped before anybody is served; what is left then is reaped meanwhile. */
#define REAP_FIRST_USEC UINT64_C(1000000)

typedef struct Found {
        Server *server;
        unsigned living;
        unsigned dead;
} Found;

/* A limit that is no lower than the capacity is none: what is full is -ENOSPC, not -EDQUOT. */
static uint64_t limit_below(uint64_t limit, uint64_t capacity)
{
        return limit < capacity ? limit : UINT64_MAX;
}

/* Writes down whose segment it is now. The words may hold anything: they are replaced, not believed. */
static void sign(Server *s)
{
        const SegmentConfig *config = &s->options->segment;
        struct mh_shm_shared *shared = s->store.segment.shared;

        /*
         * Relaxed: nobody is served yet. Who is later gets the segment over a socket, which orders; a limit that is
         * seen late is advice that comes late.
         */
        store_relaxed(&shared->limit_client_handles, limit_below(config->limit_client_handles, config->n_slots));
        store_relaxed(&shared->limit_client_scratch, limit_below(config->limit_client_scratch, config->scratch_bytes));
        store_relaxed(&shared->daemon_start_time, s->daemon_start_time);
        store_relaxed(&shared->daemon_pid, s->daemon_pid);
        place_write(shared, &s->place);
        store_release(&shared->epoch, load_relaxed(&shared->epoch) + 1); /* for people who look; pairs with nothing */
}

/* What stands in the entry of somebody who is dead does not matter any more. */
static int adopt_dead(Server *s, uint32_t id, const ClientInfo *info, Found *found)
{
        Peer nobody = PEER_NONE;
        Attachment *a;
        int r;

        r = attachment_new(&a, s, id, info, &nobody);
        if (r < 0)
                return r;
        server_add(s, a);
        attachment_die(a);
        found->dead++;
        return 0;
}

static int adopt_entry(Server *s, uint32_t id, Found *found)
{
        const Segment *seg = &s->store.segment;
        ClientInfo info = {};
        Attachment *a;
        int r;

        switch (client_state(seg, id)) {
        case MH_SHM_CLIENT_FREE:
                return 0;
        case MH_SHM_CLIENT_ATTACHED:
                client_info(seg, id, &info);
                /* A process with that number here would be another one. */
                r = s->store.deserted ? -ESRCH : attachment_new(&a, s, id, &info, NULL);
                if (r == -ESRCH)
                        return adopt_dead(s, id, &info, found);
                if (r < 0)
                        return r;
                server_add(s, a);
                if (!attachment_is_direct(a))
                        request_recover(&a->actor);
                attachment_wait(a);
                found->living++;
                return 0;
        default:
                return adopt_dead(s, id, &info, found);
        }
}

static int adopt_next(uint32_t id, void *userdata)
{
        Found *found = userdata;

        return sigbus_hit() ? -EIO : adopt_entry(found->server, id, found);
}

static int reap_first(void *userdata)
{
        Found *found = userdata;

        (void)reaper_hurry(&found->server->reaper, true, REAP_FIRST_USEC);
        return 0;
}

static int adopt_all(Server *s, Found *found)
{
        return takeover_run(&s->store.segment,
                            &(Takeover){ .entry = adopt_next, .reap = reap_first, .userdata = found });
}

int adopt_segment(Server *s, AdoptFrom from)
{
        Found found = { .server = s };
        int r;

        assert(store_is_open(&s->store));

        r = server_open_tables(s);
        if (r >= 0) {
                sign(s);
                if (from == ADOPT_NEW)
                        trim_recover(&s->store.segment);
                else
                        r = adopt_all(s, &found);
        }
        if (r >= 0)
                r = store_check(&s->store);
        if (r < 0) {
                if (from == ADOPT_NEW)
                        server_drop_empty_segment(s);
                else
                        server_leave_segment(s);
                return r;
        }

        server_keep_segment(s);
        if (from == ADOPT_NEW)
                report_created(&s->store);
        else
                report_adopted(s, from, found.living, found.dead);
        server_changed(s);
        return 0;
}

int adopt_is_served(const Segment *loaded)
{
        _cleanup_close_ int pidfd = -1;
        struct mh_shm_shared shared;
        int r;

        r = claim_check_place(loaded);
        if (r < 0)
                return r;
        r = segment_read(loaded, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared));
        if (r < 0)
                return r;
        if (shared.daemon_pid == (uint32_t)getpid())
                return 0;
        pidfd = process_pidfd_started((pid_t)shared.daemon_pid, shared.daemon_start_time);
        if (pidfd == -ESRCH)
                return 0;
        return pidfd < 0 ? TAKE_FD(pidfd) : 1;
}

/* ------------------------------------------------------------------------------------------------ at start */

/* Can the daemon start without this segment? Then it is left, and if it is nobody's any more, removed. */
static int leave_unusable(Server *s, const char *name, int error)
{
        switch (error) {
        case -EBADMSG: /* damaged */
        case -EIO:     /* cut short while we looked */
        case -EAGAIN:  /* never finished */
        case -ESTALE:  /* closed for good */
                report_unusable(name, error);
                if (name[0] != '\0')
                        store_remove_name(&s->store, name);
                return 0;
        case -EPERM: /* not ours to remove */
                report_unusable(name, error);
                return 0;
        case -EREMOTE: /* somebody may live in it */
        case -EXDEV:
                report_elsewhere(name, error);
                return error;
        default:
                return error;
        }
}

/* The one of them that the record names comes first: there is more than one only if a daemon died while it changed
 * them. */
static void sort_fds(const Record *record, int *fds, size_t n_fds)
{
        Segment probe;

        for (size_t i = 1; i < n_fds; i++)
                if (segment_load(&probe, fds[i]) == 0 && memcmp(probe.id, record->id, sizeof(probe.id)) == 0) {
                        int fd = fds[0];

                        fds[0] = fds[i];
                        fds[i] = fd;
                        return;
                }
}

static int try_fd(Server *s, int *fd)
{
        char name[RECORD_NAME_MAX];
        int r;

        r = store_open_fd(&s->store, *fd);
        if (r < 0) {
                store_find_name(*fd, name);
                if (r == -EPROTONOSUPPORT)
                        report_foreign(*fd, name);
                return leave_unusable(s, name, r);
        }
        (void)TAKE_FD(*fd);
        memcpy(name, s->store.name, sizeof(name));
        r = adopt_segment(s, ADOPT_FDSTORE);
        return r < 0 ? leave_unusable(s, name, r) : 1;
}

static int try_record(Server *s, const Record *record)
{
        int r;

        r = store_open_record(&s->store, record);
        if (r == -ENOENT) {
                (void)record_remove(s->store.record_path);
                return 0;
        }
        if (r == -EPROTONOSUPPORT) {
                _cleanup_close_ int fd = shm_open(record->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);

                report_foreign(fd, record->name);
        }
        if (r >= 0)
                r = adopt_segment(s, ADOPT_RECORD);
        return r < 0 ? leave_unusable(s, record->name, r) : 1;
}

/*
 * The record is of another user, or of ourselves under another number: a second segment beside that one would shut its
 * clients out. Unless it can be proven that it has none.
 */
static int try_other_user(Server *s, const Record *record)
{
        _cleanup_close_ int fd = -1;
        Segment seg;

        fd = shm_open(record->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd >= 0 && segment_load(&seg, fd) == 0 && memcmp(seg.id, record->id, sizeof(seg.id)) == 0 &&
            claim_is_deserted(&seg) > 0) {
                report_removed(record->name);
                store_remove_name(&s->store, record->name);
                return 0;
        }
        report_elsewhere(record->name, -EXDEV);
        return -EXDEV;
}

/* No descriptor brought one. `known` is what record_read() said. */
static int try_by_name(Server *s, int known, const Record *record)
{
        switch (known) {
        case 0:
                return try_record(s, record);
        case -ENOENT:
                return 0;
        case -EBADMSG:
                report_record(s->store.record_path, known);
                (void)record_remove(s->store.record_path);
                return 0;
        default:
                /* It may name a segment that is in use. */
                report_record(s->store.record_path, known);
                return known;
        }
}

int adopt_at_start(Server *s, int *fds, size_t n_fds)
{
        Record record;
        int known, r = 0;

        known = record_read(s->store.record_path, &record);
        if (known == 0)
                sort_fds(&record, fds, n_fds);
        if (known > 0) {
                r = try_other_user(s, &record);
                known = -ENOENT;
        }
        for (size_t i = 0; i < n_fds && r == 0; i++)
                r = try_fd(s, &fds[i]);
        fd_close_many(fds, n_fds);
        return r != 0 ? r : try_by_name(s, known, &record);
}
