/* SPDX-License-Identifier: MIT */

#include "daemon/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/log.h"

/* ------------------------------------------------------------------------------------------------ from the manager */

static void names_freep(char ***names)
{
        for (char **p = *names; p && *p; p++)
                free(*p);
        free(*names);
}

void listener_stored_done(ListenerStored *stored)
{
        fd_close_many(stored->fds, stored->n);
        free(stored->fds);
        *stored = (ListenerStored){};
}

/* Is it the one socket that we know? Else says what it is instead. */
static int check_socket(int fd, const char *name, const char *path)
{
        struct sockaddr_un sa = {};
        socklen_t length = sizeof(sa) - 1;
        int r;

        r = sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, path, 0);
        if (r != 0)
                return MIN(r, 0);
        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0 &&
            getsockname(fd, (struct sockaddr *)&sa, &length) == 0)
                log_note(LOG_ERR, "The socket \"%s\" passed at start listens at %s, and not at %s (see --socket)", name,
                         sa.sun_path[0] ? sa.sun_path : "no path", path);
        else
                log_note(LOG_ERR,
                         "The socket \"%s\" passed at start is not one for packets that listens at a path "
                         "(ListenSequentialPacket=%s)",
                         name, path);
        return -EINVAL;
}

static int take_socket(Listener *l, int fd, const char *name, const char *path)
{
        int r;

        r = check_socket(fd, name, path);
        if (r < 0)
                return r;
        if (l->fd >= 0) {
                log_note(LOG_ERR, "More than one socket was passed at start, and there is work for one");
                return -EINVAL;
        }
        r = fd_set_nonblock(fd);
        if (r < 0)
                return r;
        l->fd = fd;
        return 1;
}

/* Sorts one descriptor: 1 taken, 0 of no use. */
static int sort_one(Listener *l, ListenerStored *stored, int fd, const char *name, const char *path,
                    const char *stored_name)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (strcmp(name, stored_name) == 0) {
                stored->fds[stored->n++] = fd;
                return 1;
        }
        if (S_ISSOCK(st.st_mode))
                return take_socket(l, fd, name, path);
        log_note(LOG_NOTICE, "A descriptor \"%s\" was passed at start that this version does not know; closing it",
                 name);
        return 0;
}

int listener_receive(Listener *ret, const char *path, const char *stored_name, ListenerStored *ret_stored)
{
        _cleanup_(listener_stored_done) ListenerStored stored = {};
        _cleanup_(names_freep) char **names = NULL;
        Listener l = LISTENER_NONE;
        int n, r = 0;

        assert(ret && path && stored_name && ret_stored);

        n = sd_listen_fds_with_names(true, &names);
        if (n == -EINVAL)
                log_note(LOG_ERR, "What is said to have been passed at start (LISTEN_FDS) is not understood");
        if (n < 0)
                return n;
        if (n > 0)
                stored.fds = malloc((size_t)n * sizeof(int));
        if (n > 0 && !stored.fds)
                return -ENOMEM;

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                /* After one that is refused, the rest is only closed. */
                if (r >= 0)
                        r = sort_one(&l, &stored, fd, names[i], path, stored_name);
                if (r <= 0)
                        (void)fd_close(fd);
        }
        if (r < 0) {
                listener_close(&l);
                return r;
        }

        *ret_stored = STEAL(stored, (ListenerStored){});
        if (l.fd < 0)
                return 0;
        l.inherited = true;
        (void)strcpy(l.path, path); /* it fits: there is a socket at it */
        *ret = l;
        return 1;
}

/* ------------------------------------------------------------------------------------------------ by hand */

/* 0, or -ENAMETOOLONG after saying so. */
static int address(const char *path, struct sockaddr_un *ret)
{
        size_t n = strlen(path);

        if (n >= sizeof(ret->sun_path)) {
                log_note(LOG_ERR, "The path of the socket is too long: %zu characters, and %zu are the most: %s", n,
                         sizeof(ret->sun_path) - 1, path);
                return -ENAMETOOLONG;
        }
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret->sun_path, path, n);
        return 0;
}

int listener_make_directory(const char *path)
{
        _cleanup_close_ int fd = -1;
        struct sockaddr_un sa;
        struct stat st;
        char *slash;
        int r;

        assert(path && path[0] == '/');

        r = address(path, &sa);
        if (r < 0)
                return r;
        slash = strrchr(sa.sun_path, '/');
        slash[slash == sa.sun_path] = '\0';

        if (mkdir(sa.sun_path, 0700) < 0 && errno != EEXIST) {
                r = -errno;
                log_note(LOG_ERR, "Cannot make the directory of the socket, %s: %s", sa.sun_path, strerror(-r));
                return r;
        }
        fd = open(sa.sun_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0) {
                r = -errno;
                log_note(LOG_ERR, "Cannot look at the directory of the socket, %s: %s", sa.sun_path, strerror(-r));
                return r;
        }
        /* Who can write there can put a socket of his own in the place of ours. */
        if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
                log_note(LOG_ERR,
                         "The directory of the socket, %s, must belong to user %u and be writable for nobody else",
                         sa.sun_path, (unsigned)geteuid());
                return -EPERM;
        }
        return 0;
}

static int probe(const struct sockaddr_un *sa)
{
        _cleanup_close_ int fd = -1;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) >= 0)
                return 1;
        switch (errno) {
        case EAGAIN:     /* so many wait to be accepted that there is no room */
        case EPROTOTYPE: /* of another kind, but somebody is there */
                return 1;
        case ENOENT:
        case ECONNREFUSED:
                return 0;
        default:
                return -errno;
        }
}

int listener_probe(const char *path)
{
        struct sockaddr_un sa;
        int r;

        assert(path);

        r = address(path, &sa);
        return r < 0 ? r : probe(&sa);
}

/* Makes room for our socket: removes one that nobody listens at any more, and nothing else. */
static int remove_stale(const struct sockaddr_un *sa)
{
        struct stat st;
        int r;

        if (lstat(sa->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid()) {
                log_note(LOG_ERR, "%s is there already and is not a socket of user %u", sa->sun_path,
                         (unsigned)geteuid());
                return -EEXIST;
        }
        r = probe(sa);
        if (r < 0)
                return r;
        if (r > 0) {
                log_note(LOG_ERR, "Somebody listens at %s already", sa->sun_path);
                return -EADDRINUSE;
        }
        return unlink(sa->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *sa)
{
        mode_t before;
        int r;

        /* The mode is right from the first moment: there is no time in which somebody else could connect. */
        before = umask(0177);
        r = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;
        (void)umask(before);
        if (r < 0)
                return r;
        return listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

int listener_bind(Listener *ret, const char *path)
{
        _cleanup_close_ int fd = -1;
        struct sockaddr_un sa;
        struct stat st;
        int r;

        assert(ret && path);

        r = address(path, &sa);
        if (r < 0)
                return r;
        r = remove_stale(&sa);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        r = fd < 0 ? -errno : bind_and_listen(fd, &sa);
        if (r >= 0 && lstat(sa.sun_path, &st) < 0)
                r = -errno;
        if (r < 0) {
                log_note(LOG_ERR, "Cannot listen at %s: %s", path, strerror(-r));
                return r;
        }

        *ret = (Listener){ .fd = TAKE_FD(fd), .named = true, .dev = st.st_dev, .ino = st.st_ino };
        memcpy(ret->path, sa.sun_path, sizeof(ret->path));
        return 0;
}

/* 1: the name leads to us; 0: it leads elsewhere, or is not there; -errno. The inode is not given to anybody else as long as
 * our socket is open. */
static int leads_to_us(const Listener *l)
{
        struct stat st;

        if (lstat(l->path, &st) < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        return st.st_dev == l->dev && st.st_ino == l->ino;
}

bool listener_is_found(const Listener *l)
{
        assert(l);

        /* Where we may not look, clients may not either, and the next moment it may be otherwise. */
        return !l->named || leads_to_us(l) != 0;
}

int listener_unlink(Listener *l)
{
        int r;

        assert(l);

        if (!l->named)
                return 0;
        r = leads_to_us(l);
        if (r < 0)
                return r;
        if (r > 0 && unlink(l->path) < 0 && errno != ENOENT)
                return -errno;
        l->named = false;
        return 0;
}

int listener_bind_again(Listener *l)
{
        Listener again = LISTENER_NONE;
        int r;

        assert(l && !l->inherited && !l->named);

        r = listener_bind(&again, l->path);
        if (r < 0)
                return r;
        listener_close(l);
        *l = again;
        return 0;
}

void listener_close(Listener *l)
{
        assert(l);

        l->fd = fd_close(l->fd);
}

void listener_close_unlink(Listener *l)
{
        (void)listener_unlink(l);
        listener_close(l);
}
