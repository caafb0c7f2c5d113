/* SPDX-License-Identifier: MIT */

#include "ctl/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define RECORD_MAX 512U

static const char *environment(const char *name)
{
        const char *value = getenv(name);

        return value && *value ? value : NULL;
}

static int find_socket(const Options *options, char ret[static PATH_MAX])
{
        const char *path = options->socket ?: environment("MONO_HANDLE_D_SOCKET");
        const char *runtime = environment("XDG_RUNTIME_DIR");
        int n;

        if (path)
                n = snprintf(ret, PATH_MAX, "%s", path);
        else if (runtime && runtime[0] == '/')
                n = snprintf(ret, PATH_MAX, "%s/mono-handle-d/socket", runtime);
        else
                return ctl_error("XDG_RUNTIME_DIR is not set: use --socket or --segment");
        return n < 0 || n >= PATH_MAX ? ctl_error("the path of the socket is too long") : CTL_OK;
}

/* ---------------------------------------------------------------------------------------------- the file beside it */

typedef struct Record {
        char name[RECORD_MAX];
        char id[33];
} Record;

/* A regular file of at most that size, as a string. What lies there may be anything: no FIFO is waited for. */
static int read_file(const char *path, char *ret, size_t size)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        ssize_t n;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        do
                n = read(fd, ret, size - 1);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        ret[n] = 0;
        return strlen(ret) == (size_t)n ? 0 : -EBADMSG;
}

static int read_record(const char *path, Record *ret)
{
        char text[RECORD_MAX];
        int r, end = 0;

        r = read_file(path, text, sizeof(text));
        if (r < 0)
                return r;
        *ret = (Record){};
        if (sscanf(text, "%511s %32[0-9a-f] %n", ret->name, ret->id, &end) != 2 || text[end] != 0 ||
            strlen(ret->id) != 32 || ret->name[0] != '/' || strchr(ret->name + 1, '/'))
                return -EBADMSG;
        return 0;
}

/* ---------------------------------------------------------------------------------------------- opening */

static int open_record(Source *s, const Options *options, Record *ret)
{
        char path[PATH_MAX + sizeof(".segment")];
        int r;

        r = find_socket(options, s->socket);
        if (r != CTL_OK)
                return r;
        (void)snprintf(path, sizeof(path), "%s.segment", s->socket);
        r = read_record(path, ret);
        if (r == -ENOENT || r == -ENOTDIR) {
                (void)ctl_error("there is no segment: no daemon has run at %s, or the last one had nothing to leave",
                                s->socket);
                return CTL_NOTHING;
        }
        if (r == -EBADMSG)
                return ctl_error("%s does not name a segment", path);
        if (r < 0)
                return ctl_error("cannot read %s: %s", path, strerror(-r));

        (void)snprintf(s->name, sizeof(s->name), "%s", ret->name);
        s->fd = shm_open(s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (s->fd < 0 && errno == ENOENT) {
                (void)ctl_error("there is no segment: %s names %s, and there is no such shared-memory object any more",
                                path, s->name);
                return CTL_NOTHING;
        }
        return s->fd < 0 ? ctl_error("cannot open %s: %s", s->name, strerror(errno)) : CTL_OK;
}

/* A name of shared memory looks like the path of a file in the root directory, where nobody has any. */
static int open_named(Source *s, const char *name)
{
        const char *slash = strchr(name + (name[0] == '/'), '/');

        if ((size_t)snprintf(s->name, sizeof(s->name), "%s", name) >= sizeof(s->name))
                return ctl_error("%s: %s", name, strerror(ENAMETOOLONG));
        if (!slash)
                s->fd = shm_open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (s->fd < 0)
                s->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        return s->fd < 0 ? ctl_error("cannot open %s: %s", name, strerror(errno)) : CTL_OK;
}

int source_complain(const Source *s, int error)
{
        uint32_t version = 0;

        switch (error) {
        case -EPROTONOSUPPORT:
                (void)segment_version(s->fd, &version);
                return ctl_error(
                        "%s has format version %u or features that this program does not know; it knows version %u",
                        s->name, version, MH_SHM_VERSION);
        case -EBADMSG:
                return ctl_error("%s is not a segment, or damaged beyond reading", s->name);
        case -EPERM:
                return ctl_error("%s belongs to another user, or is not shared memory", s->name);
        case -EAGAIN:
                return ctl_error("%s was never finished: its daemon died while making it", s->name);
        case -ESTALE:
                (void)ctl_error("there is no segment: the daemon closed %s for good", s->name);
                return CTL_NOTHING;
        default:
                return ctl_error("cannot read %s: %s", s->name, strerror(-error));
        }
}

static bool id_is(const Source *s, const char *hex)
{
        char id[33];

        for (size_t i = 0; i < sizeof(s->view.seg.id); i++)
                (void)snprintf(id + 2 * i, 3, "%02x", s->view.seg.id[i]);
        /* Zeros: the daemon was about to make it, or died before it could write the rest. */
        return strcmp(id, hex) == 0 || strspn(hex, "0") == strlen(hex);
}

int source_open(Source *s, const Options *options)
{
        Record record = {};
        int r;

        *s = SOURCE_NONE;
        r = options->segment ? open_named(s, options->segment) : open_record(s, options, &record);
        if (r != CTL_OK)
                return r;
        r = view_open(&s->view, s->fd);
        if (r < 0)
                return source_complain(s, r);
        if (!options->segment && !id_is(s, record.id))
                return ctl_error("%s is not the segment that %s.segment names: its id is another", s->name, s->socket);
        return CTL_OK;
}

void source_close(Source *s)
{
        view_done(&s->view);
        s->fd = fd_close(s->fd);
}

int source_check(const Source *s)
{
        return s->view.error < 0 ? source_complain(s, s->view.error) : CTL_OK;
}
