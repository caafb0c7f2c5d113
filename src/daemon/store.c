/* SPDX-License-Identifier: MIT */

#include "daemon/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "daemon/claim.h"
#include "daemon/sigbus.h"

#define SHM_DIRECTORY "/dev/shm"

int store_init(Store *s, const char *socket_path)
{
        int n;

        *s = (Store){ .fd = -1 };
        n = snprintf(s->record_path, sizeof(s->record_path), "%s.segment", socket_path);
        return n < 0 || (size_t)n >= sizeof(s->record_path) ? -ENAMETOOLONG : 0;
}

void store_find_name(int fd, char ret[static RECORD_NAME_MAX])
{
        char link[64], target[PATH_MAX];
        const size_t n = strlen(SHM_DIRECTORY);
        struct stat a, b;
        ssize_t size;

        ret[0] = '\0';
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        size = readlink(link, target, sizeof(target) - 1);
        if (size < 0)
                return;
        target[size] = '\0';

        /* One that was unlinked reads "... (deleted)", which is no name that we make. */
        if (strncmp(target, SHM_DIRECTORY, n) != 0 || record_check_name(target + n) != 0)
                return;
        if (fstat(fd, &a) < 0 || stat(target, &b) < 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
                return;
        (void)snprintf(ret, RECORD_NAME_MAX, "%.*s", RECORD_NAME_MAX - 1, target + n);
}

/* That the next daemon finds it only by a descriptor is no reason not to serve: so the result is not asked for. */
static void update_record(Store *s)
{
        Record record = {};

        if (s->name[0] == '\0') {
                (void)record_remove(s->record_path);
                return;
        }
        memcpy(record.name, s->name, sizeof(record.name));
        memcpy(record.id, s->segment.id, sizeof(record.id));
        (void)record_write(s->record_path, &record);
}

/* `anew`: by name, and not through a description that others may have. */
static int load_and_map(Store *s, int fd, bool anew)
{
        bool deserted;
        int r;

        r = segment_load(&s->segment, fd);
        if (r < 0)
                return r;
        r = claim_adopt(&s->segment, anew);
        if (r < 0)
                return r;
        deserted = r > 0;
        r = segment_map(&s->segment);
        if (r < 0)
                return r;
        sigbus_watch(s->segment.base, s->segment.total_size);
        s->fd = fd;
        s->deserted = deserted;
        return 0;
}

int store_open_fd(Store *s, int fd)
{
        int r;

        assert(!store_is_open(s) && fd >= 0);

        r = load_and_map(s, fd, false);
        if (r < 0)
                return r;
        store_find_name(fd, s->name);
        update_record(s);
        return 0;
}

static bool is_unlinked(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

int store_open_record(Store *s, const Record *record)
{
        static const uint8_t unfinished[16] = {};
        _cleanup_close_ int fd = -1;
        int r;

        assert(!store_is_open(s));

        fd = shm_open(record->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0)
                return errno == EACCES ? -EPERM : -errno;
        r = load_and_map(s, fd, true);
        if (r < 0)
                return r;
        (void)TAKE_FD(fd);
        /* Until we had the lock, somebody may have found that it is nobody's, and removed it. */
        if (is_unlinked(s->fd)) {
                store_leave(s);
                return -ENOENT;
        }

        memcpy(s->name, record->name, sizeof(s->name));
        if (memcmp(record->id, s->segment.id, sizeof(record->id)) != 0) {
                /* Made whole in the instant its maker died; or another one took its name, which nobody does by
                 * accident. */
                if (memcmp(record->id, unfinished, sizeof(unfinished)) != 0) {
                        store_leave(s);
                        return -EBADMSG;
                }
                update_record(s);
        }
        return 0;
}

int store_create(Store *s, const SegmentConfig *config)
{
        _cleanup_close_ int fd = -1;
        Record record;
        int r;

        assert(!store_is_open(s));

        r = record_make(&record);
        if (r < 0)
                return r;
        /* The record first: an object that nobody knows of would stay for ever. */
        r = record_write(s->record_path, &record);
        if (r < 0)
                return r;
        fd = shm_open(record.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
                r = -errno;
                (void)record_remove(s->record_path);
                return r;
        }

        /* Before it is a segment: whoever looks for segments that are nobody's must not take it for one. */
        r = claim_share(fd, false);
        if (r >= 0)
                r = segment_format(fd, config);
        if (r >= 0)
                r = load_and_map(s, fd, true);
        if (r < 0) {
                store_remove_name(s, record.name);
                return r;
        }
        (void)TAKE_FD(fd);

        memcpy(s->name, record.name, sizeof(s->name));
        update_record(s);
        return 0;
}

int store_check(const Store *s)
{
        const struct mh_shm_header *h = s->segment.header;
        uint8_t id[16];
        struct stat st;

        assert(store_is_open(s));

        if (sigbus_hit())
                return -EIO;
        if (fstat(s->fd, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_size < s->segment.total_size)
                return -EIO;
        /*
         * Relaxed: written once, before anybody else had the segment; what is looked for here is damage, which has
         * no order.
         */
        if (load_relaxed(&h->magic) != MH_SHM_MAGIC || load_relaxed(&h->version) != MH_SHM_VERSION ||
            load_relaxed(&h->state) != MH_SHM_STATE_READY)
                return sigbus_hit() ? -EIO : -EBADMSG;
        memcpy(id, h->id, sizeof(id));
        if (memcmp(id, s->segment.id, sizeof(id)) != 0)
                return sigbus_hit() ? -EIO : -EBADMSG;
        return 0;
}

void store_leave(Store *s)
{
        if (!store_is_open(s))
                return;
        sigbus_watch(NULL, 0);
        segment_unmap(&s->segment);
        s->fd = fd_close(s->fd);
        s->name[0] = '\0';
        s->deserted = false;
}

void store_remove_name(Store *s, const char *name)
{
        (void)shm_unlink(name);
        (void)record_remove(s->record_path);
}

void store_discard(Store *s, bool close)
{
        if (!store_is_open(s))
                return;
        if (close && !sigbus_hit())
                store_release(&s->segment.header->state, (uint32_t)MH_SHM_STATE_CLOSED); /* pairs with segment_load() */
        if (s->name[0] != '\0')
                (void)shm_unlink(s->name);
        (void)record_remove(s->record_path);
        store_leave(s);
}
