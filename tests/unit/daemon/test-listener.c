/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/listener.h"
#include "daemon/notify.h"

static char root[] = "/tmp/mono-handle-d-listener-XXXXXX";
static char directory[80], path[96], elsewhere[96];

static void make(void)
{
        cr_assert_not_null(mkdtemp(root));
        (void)snprintf(directory, sizeof(directory), "%s/directory", root);
        (void)snprintf(path, sizeof(path), "%s/socket", directory);
        (void)snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", root);
}

static void clean(void)
{
        (void)unlink(path);
        (void)unlink(elsewhere);
        (void)unlink(directory);
        (void)rmdir(directory);
        (void)rmdir(root);
}

TestSuite(listener, .init = make, .fini = clean);

static struct sockaddr_un address_of(const char *p)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", p);
        return sa;
}

/* A connected client's socket, or -errno. */
static int connect_to(const char *p)
{
        struct sockaddr_un sa = address_of(p);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
                (void)fd_close(fd);
                return -errno;
        }
        return fd;
}

/* A socket of our own making at a path. */
static int listen_at(const char *p, int type, bool listening)
{
        struct sockaddr_un sa = address_of(p);
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || (listening && listen(fd, 0) < 0))
                return -1;
        return fd;
}

/* ------------------------------------------------------------------------------------------------ by hand */

Test(listener, binds)
{
        mode_t before = umask(0);
        Listener l = LISTENER_NONE;
        struct stat st;
        int c, kind;

        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(stat(directory, &st), 0);
        cr_assert_eq(st.st_mode, S_IFDIR | 0700);
        cr_assert_eq(listener_make_directory(path), 0, "it is there already");

        cr_assert_eq(listener_probe(path), 0);
        cr_assert_eq(listener_bind(&l, path), 0);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_eq(st.st_mode, S_IFSOCK | 0600);
        cr_assert_eq(umask(before), 0, "as it was");
        cr_assert_eq(fcntl(l.fd, F_GETFD), FD_CLOEXEC);
        cr_assert_neq(fcntl(l.fd, F_GETFL) & O_NONBLOCK, 0);
        cr_assert_eq(getsockopt(l.fd, SOL_SOCKET, SO_TYPE, &kind, &(socklen_t){ sizeof(kind) }), 0);
        cr_assert_eq(kind, SOCK_SEQPACKET);
        cr_assert_str_eq(l.path, path);
        cr_assert_not(listener_is_inherited(&l));
        cr_assert_eq(listener_probe(path), 1);

        c = connect_to(path);
        cr_assert_geq(c, 0);
        (void)fd_close(c);

        listener_close_unlink(&l);
        cr_assert_eq(l.fd, -1);
        cr_assert_eq(access(path, F_OK), -1);
        listener_close_unlink(&l);
        l = LISTENER_NONE;
        listener_close_unlink(&l);
}

Test(listener, leaves_alone_whoever_listens)
{
        Listener l = LISTENER_NONE, second = LISTENER_NONE;
        int other;

        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(listener_bind(&l, path), 0);
        cr_assert_eq(listener_bind(&second, path), -EADDRINUSE);
        cr_assert_eq(second.fd, -1);
        cr_assert_eq(listener_probe(path), 1);
        listener_close_unlink(&l);

        /* One of another kind listens, too; and one whose queue is full. */
        other = listen_at(path, SOCK_STREAM, true);
        cr_assert_geq(other, 0);
        cr_assert_eq(listener_probe(path), 1);
        cr_assert_eq(listener_bind(&l, path), -EADDRINUSE);
        (void)fd_close(other);
        cr_assert_eq(unlink(path), 0);

        other = listen_at(path, SOCK_SEQPACKET, true);
        cr_assert_geq(other, 0);
        while (connect_to(path) >= 0)
                ;
        cr_assert_eq(connect_to(path), -EAGAIN);
        cr_assert_eq(listener_probe(path), 1);
        cr_assert_eq(listener_bind(&l, path), -EADDRINUSE);
        (void)fd_close(other);
}

Test(listener, removes_what_a_dead_one_left)
{
        Listener l = LISTENER_NONE;
        struct stat before, after;

        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(listener_bind(&l, path), 0);
        cr_assert_eq(stat(path, &before), 0);
        listener_close(&l); /* its name stays */
        cr_assert_eq(access(path, F_OK), 0);
        cr_assert_eq(listener_probe(path), 0);

        cr_assert_eq(listener_bind(&l, path), 0);
        cr_assert_eq(stat(path, &after), 0);
        cr_assert_eq(listener_probe(path), 1);
        listener_close_unlink(&l);
}

Test(listener, removes_nothing_else)
{
        Listener l = LISTENER_NONE;
        int fd;

        cr_assert_eq(listener_make_directory(path), 0);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        (void)fd_close(fd);
        cr_assert_eq(listener_bind(&l, path), -EEXIST);
        cr_assert_eq(access(path, F_OK), 0);
        cr_assert_eq(unlink(path), 0);

        /* A link, even if it leads to a dead socket of ours. */
        fd = listen_at(elsewhere, SOCK_SEQPACKET, false);
        (void)fd_close(fd);
        cr_assert_eq(symlink(elsewhere, path), 0);
        cr_assert_eq(listener_bind(&l, path), -EEXIST);
        cr_assert_eq(access(elsewhere, F_OK), 0);
        cr_assert_eq(unlink(path), 0);

        if (geteuid() == 0) {
                cr_assert_eq(rename(elsewhere, path), 0);
                cr_assert_eq(chown(path, 4711, 4711), 0);
                cr_assert_eq(listener_bind(&l, path), -EEXIST);
                cr_assert_eq(access(path, F_OK), 0);
        }
        cr_assert_eq(l.fd, -1);
}

Test(listener, directories_that_others_can_write_to)
{
        char below[112];

        (void)snprintf(below, sizeof(below), "%s/deeper/socket", directory);
        cr_assert_eq(listener_make_directory(below), -ENOENT, "one directory, not a tree");

        cr_assert_eq(mkdir(directory, 0700), 0);
        cr_assert_eq(chmod(directory, 0755), 0);
        cr_assert_eq(listener_make_directory(path), 0, "others may look");
        cr_assert_eq(chmod(directory, 0770), 0);
        cr_assert_eq(listener_make_directory(path), -EPERM);
        cr_assert_eq(chmod(directory, 01777), 0);
        cr_assert_eq(listener_make_directory(path), -EPERM);
        cr_assert_eq(chmod(directory, 0700), 0);
        if (geteuid() == 0) {
                cr_assert_eq(chown(directory, 4711, 4711), 0);
                cr_assert_eq(listener_make_directory(path), -EPERM);
        }
        cr_assert_eq(rmdir(directory), 0);

        cr_assert_eq(symlink(root, directory), 0);
        cr_assert_eq(listener_make_directory(path), -ENOTDIR);
        cr_assert_eq(unlink(directory), 0);
        (void)fd_close(open(directory, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        cr_assert_eq(listener_make_directory(path), -ENOTDIR);
}

Test(listener, path_too_long)
{
        char longest[109];
        Listener l = LISTENER_NONE;

        /* 107 characters and the zero fit; 108 do not. */
        memset(longest, 'x', sizeof(longest));
        memcpy(longest, root, strlen(root));
        longest[strlen(root)] = '/';
        longest[108] = '\0';
        cr_assert_eq(listener_make_directory(longest), -ENAMETOOLONG);
        cr_assert_eq(listener_probe(longest), -ENAMETOOLONG);
        cr_assert_eq(listener_bind(&l, longest), -ENAMETOOLONG);
        longest[107] = '\0';
        cr_assert_eq(listener_probe(longest), 0);
        cr_assert_eq(listener_bind(&l, longest), 0);
        cr_assert_eq(listener_probe(longest), 1);
        cr_assert_str_eq(l.path, longest);
        listener_close_unlink(&l);
        cr_assert_eq(access(longest, F_OK), -1);
}

Test(listener, whoever_knocked_before_it_left_is_served)
{
        Listener l = LISTENER_NONE;
        int early, late, accepted, old;

        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(listener_bind(&l, path), 0);
        early = connect_to(path);
        cr_assert_geq(early, 0);
        cr_assert_eq(listener_unlink(&l), 0);
        cr_assert_eq(listener_unlink(&l), 0);
        cr_assert_eq(connect_to(path), -ENOENT);
        accepted = accept4(l.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        cr_assert_geq(accepted, 0);
        cr_assert_eq(accept4(l.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), -1);

        old = l.fd;
        cr_assert_eq(listener_bind_again(&l), 0);
        cr_assert(l.fd == old || fcntl(old, F_GETFD) < 0, "the old one is closed");
        late = connect_to(path);
        cr_assert_geq(late, 0);
        (void)fd_close(accepted);
        accepted = accept4(l.fd, NULL, NULL, SOCK_CLOEXEC);
        cr_assert_geq(accepted, 0);
        (void)fd_close(accepted);
        (void)fd_close(early);
        (void)fd_close(late);
        listener_close_unlink(&l);
        cr_assert_eq(access(path, F_OK), -1);
}

Test(listener, takes_away_no_name_but_its_own)
{
        Listener l = LISTENER_NONE, other = LISTENER_NONE;

        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(listener_bind(&l, path), 0);
        cr_assert_eq(unlink(path), 0);
        cr_assert_eq(listener_bind(&other, path), 0);
        listener_close_unlink(&l);
        cr_assert_eq(listener_probe(path), 1);
        listener_close_unlink(&other);
}

/* ------------------------------------------------------------------------------------------------ from the manager */

/* A child that was started with these descriptors at 3, 4, …; `check` says whether it found what it should. */
static int started_with(const int *fds, size_t n, const char *names, bool (*check)(void))
{
        pid_t pid = fork();
        int status = -1;

        if (pid == 0) {
                char text[32];
                int moved[8];

                for (size_t i = 0; i < n; i++)
                        moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
                /* What else is open there, of the test runner, is of no use to the child. */
                (void)close_range(3, 99, 0);
                for (size_t i = 0; i < n; i++)
                        if (dup2(moved[i], 3 + (int)i) < 0)
                                _exit(2);
                if (n == 0)
                        _exit(check() ? 0 : 1);
                (void)snprintf(text, sizeof(text), "%d", (int)getpid());
                (void)setenv("LISTEN_PID", text, 1);
                (void)snprintf(text, sizeof(text), "%zu", n);
                (void)setenv("LISTEN_FDS", text, 1);
                (void)setenv("LISTEN_FDNAMES", names, 1);
                _exit(check() ? 0 : 1);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static Listener got;
static ListenerStored stored;

static int receive(void)
{
        got = LISTENER_NONE;
        return listener_receive(&got, path, NOTIFY_SEGMENT, &stored);
}

static bool socket_and_store(void)
{
        bool good = receive() == 1 && got.fd == 3 && listener_is_inherited(&got) && strcmp(got.path, path) == 0 &&
                    stored.n == 2 && stored.fds[0] == 4 && stored.fds[1] == 6 && !is_open(5) && is_open(6) &&
                    (fcntl(3, F_GETFD) & fcntl(4, F_GETFD) & FD_CLOEXEC) && (fcntl(3, F_GETFL) & O_NONBLOCK) &&
                    !getenv("LISTEN_FDS") && !getenv("LISTEN_PID");

        /* One was taken. */
        stored.fds[0] = -1;
        listener_stored_done(&stored);
        good = good && stored.n == 0 && !stored.fds && is_open(4) && !is_open(6);

        /* The name is not ours to take away. */
        listener_close_unlink(&got);
        return good && !is_open(3) && access(path, F_OK) == 0;
}

static bool store_alone(void)
{
        return receive() == 0 && got.fd == -1 && stored.n == 1 && stored.fds[0] == 3 && is_open(3);
}

static bool nothing(void)
{
        return receive() == 0 && got.fd == -1 && stored.n == 0;
}

static bool refused(void)
{
        return receive() == -EINVAL && got.fd == -1 && stored.n == 0 && !is_open(3) && !is_open(4) && !is_open(5);
}

static bool for_somebody_else(void)
{
        (void)setenv("LISTEN_PID", "1", 1);
        return nothing() && is_open(3);
}

Test(listener, receives_its_socket_and_what_was_stored)
{
        int s, m = memfd_create("kept", MFD_CLOEXEC), unknown = open("/dev/null", O_RDONLY | O_CLOEXEC);

        cr_assert_eq(listener_make_directory(path), 0);
        s = listen_at(path, SOCK_SEQPACKET, true);
        cr_assert_geq(s, 0);

        cr_assert_eq(started_with((int[]){ s, m, unknown, m }, 4, "mono-handle-d:segment:whatever:segment",
                                  socket_and_store),
                     0);
        cr_assert_eq(started_with((int[]){ m }, 1, "segment", store_alone), 0);
        cr_assert_eq(started_with((int[]){ s }, 1, "mono-handle-d", for_somebody_else), 0);
        cr_assert_eq(started_with(NULL, 0, "", nothing), 0);
        (void)fd_close(s);
        (void)fd_close(m);
        (void)fd_close(unknown);
}

Test(listener, refuses_sockets_that_it_does_not_know)
{
        int s, stream, deaf, another, m = memfd_create("kept", MFD_CLOEXEC), pair[2];

        cr_assert_eq(listener_make_directory(path), 0);
        another = listen_at(elsewhere, SOCK_SEQPACKET, true);
        cr_assert_geq(another, 0);
        cr_assert_eq(started_with((int[]){ m, another }, 2, "segment:mono-handle-d", refused), 0, "another path");

        stream = listen_at(path, SOCK_STREAM, true);
        cr_assert_eq(started_with((int[]){ stream, m }, 2, "mono-handle-d:segment", refused), 0, "stream");
        (void)fd_close(stream);
        cr_assert_eq(unlink(path), 0);

        deaf = listen_at(path, SOCK_SEQPACKET, false);
        cr_assert_eq(started_with((int[]){ deaf, m }, 2, "mono-handle-d:segment", refused), 0, "not listening");
        (void)fd_close(deaf);
        cr_assert_eq(unlink(path), 0);

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        cr_assert_eq(started_with((int[]){ pair[0] }, 1, "connection", refused), 0, "Accept=yes");
        fd_close_many(pair, 2);

        s = listen_at(path, SOCK_SEQPACKET, true);
        cr_assert_eq(started_with((int[]){ s, s, m }, 3, "mono-handle-d:mono-handle-d:segment", refused), 0, "two");
        (void)fd_close(s);
        (void)fd_close(another);
        (void)fd_close(m);
}
