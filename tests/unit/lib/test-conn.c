/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/conn.h"
#include "lib/deadline.h"
#include "tools/under.h"
#include "tools/valgrind.h"

#define SOON  deadline_in(DEADLINE_SECOND / 20)
#define LATER deadline_in(20 * DEADLINE_SECOND)

static Guard ours = GUARD_NONE;
static int theirs = -1;

static void set_up(void)
{
        int fds[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        cr_assert_eq(guard_take(fds[0], &ours), 0);
        theirs = fds[1];
}

TestSuite(conn, .init = set_up);

static unsigned count_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        cr_assert_not_null(d);
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n;
}

/* Sends "hello" with `n` descriptors of new files. */
static void send_with_fds(unsigned n)
{
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(16 * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (char[]){ "hello" }, .iov_len = 5 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        struct cmsghdr *cmsg;
        int fds[16];

        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&m);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (unsigned i = 0; i < n; i++) {
                fds[i] = memfd_create("sent", 0);
                cr_assert_geq(fds[i], 0);
        }
        memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
        cr_assert_eq(sendmsg(theirs, &m, 0), 5);
        for (unsigned i = 0; i < n; i++)
                (void)close(fds[i]);
}

Test(conn, packets_go_out_and_come_in)
{
        char buffer[16] = "";
        size_t size = 0;
        int fd = 7;

        cr_assert_eq(conn_send(&ours, "request", 7, LATER), 0);
        cr_assert_eq(recv(theirs, buffer, sizeof(buffer), 0), 7);
        cr_assert_eq(memcmp(buffer, "request", 7), 0);

        cr_assert_eq(send(theirs, "reply", 5, 0), 5);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), 0);
        cr_assert_eq(size, 5);
        cr_assert_eq(memcmp(buffer, "reply", 5), 0);
        cr_assert_eq(fd, -1);
}

Test(conn, the_deadline_is_kept)
{
        char buffer[16] = {};
        size_t size;
        int r;

        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, SOON), -ETIMEDOUT);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, 0), -ETIMEDOUT);

        /* Nobody reads. */
        do
                r = conn_send(&ours, buffer, sizeof(buffer), SOON);
        while (r == 0);
        cr_assert_eq(r, -ETIMEDOUT);
}

Test(conn, what_is_there_comes_in_after_the_deadline_too)
{
        char buffer[16];
        size_t size;

        cr_assert_eq(send(theirs, "x", 1, 0), 1);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, 0), 0);
}

Test(conn, a_hang_up_raises_no_signal)
{
        char buffer[16];
        size_t size;

        (void)signal(SIGPIPE, SIG_DFL);
        (void)close(theirs);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), -ECONNRESET);
        cr_assert_eq(conn_send(&ours, "x", 1, LATER), -ECONNRESET);
}

Test(conn, a_packet_larger_than_the_buffer)
{
        unsigned before = count_fds();
        char buffer[4];
        size_t size = 77;
        int fd = 77;

        send_with_fds(1);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), -EBADMSG);
        cr_assert_eq(size, 77);
        cr_assert_eq(fd, 77);
        cr_assert_eq(count_fds(), before);
}

Test(conn, one_descriptor_is_taken)
{
        unsigned before = count_fds();
        char buffer[16];
        size_t size;
        int fd = -1;

        send_with_fds(1);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), 0);
        cr_assert_geq(fd, 0);
        cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        cr_assert_eq(count_fds(), before + 1);
}

Test(conn, more_descriptors_are_closed)
{
        unsigned before = count_fds();
        char buffer[16];
        size_t size;
        int fd = -1;

        /* Some that are taken out and closed, and more than that. */
        send_with_fds(3);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), 0);
        cr_assert_eq(count_fds(), before + 1);
        (void)close(fd);
        send_with_fds(16);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), 0);
        cr_assert_eq(count_fds(), before + 1);
        (void)close(fd);
}

Test(conn, unexpected_descriptors_are_closed)
{
        unsigned before = count_fds();
        char buffer[16];
        size_t size;

        send_with_fds(2);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), 0);
        cr_assert_eq(count_fds(), before);
}

Test(conn, no_number_left_for_a_descriptor)
{
        struct rlimit limit, none;
        char buffer[16];
        size_t size = 0;
        int fd = 77;

        if (on_valgrind())
                cr_skip_test("valgrind has limits of its own");
        skip_under("valgrind", "keeps a limit of its own");
        send_with_fds(1);
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        none.rlim_cur = 0;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, &fd, LATER), -EMFILE);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        cr_assert_eq(size, 5, "the packet itself is there");
        cr_assert_eq(fd, -1);
}

Test(conn, closed_under_us)
{
        char buffer[16];
        size_t size;

        (void)close(ours.fd);
        cr_assert_eq(conn_send(&ours, "x", 1, LATER), -ECONNRESET);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), -ECONNRESET);
}

Test(conn, closed_under_us_and_the_number_taken)
{
        char buffer[16];
        size_t size;
        int other[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, other), 0);
        cr_assert_eq(send(other[1], "private", 7, 0), 7);
        cr_assert_eq(dup2(other[0], ours.fd), ours.fd);

        cr_assert_eq(conn_send(&ours, "x", 1, LATER), -ECONNRESET);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), -ECONNRESET);
        cr_assert_eq(recv(other[1], buffer, sizeof(buffer), 0), -1, "somebody else's socket was written to");
        cr_assert_eq(recv(other[0], buffer, sizeof(buffer), 0), 7, "somebody else's socket was read from");
}

static void *close_and_take(void *arg)
{
        int *other = arg;

        /* When exactly does not matter: the waiting one must come out of it either way. */
        deadline_sleep(SOON);
        (void)dup2(other[0], ours.fd);
        (void)send(theirs, "late", 4, 0);
        return NULL;
}

Test(conn, closed_while_we_wait)
{
        char buffer[16];
        pthread_t thread;
        size_t size;
        int other[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, other), 0);
        cr_assert_eq(send(other[1], "private", 7, 0), 7);
        cr_assert_eq(pthread_create(&thread, NULL, close_and_take, other), 0);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), -ECONNRESET);
        (void)pthread_join(thread, NULL);
        cr_assert_eq(recv(other[0], buffer, sizeof(buffer), 0), 7, "somebody else's socket was read from");
}

static volatile sig_atomic_t signals;

static void on_signal(int s)
{
        if (++signals == 5)
                (void)send(theirs, "late", 4, 0);
}

Test(conn, signals_do_not_end_a_wait)
{
        struct itimerval often = { .it_interval = { .tv_usec = 2000 }, .it_value = { .tv_usec = 2000 } };
        char buffer[16];
        size_t size = 0;

        (void)sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_signal }, NULL);
        (void)setitimer(ITIMER_REAL, &often, NULL);
        cr_assert_eq(conn_receive(&ours, buffer, sizeof(buffer), &size, NULL, LATER), 0);
        cr_assert_eq(size, 4);
        cr_assert_geq(signals, 5);
        often.it_value.tv_usec = 0;
        (void)setitimer(ITIMER_REAL, &often, NULL);
}

Test(conn, a_hello_carries_credentials_and_a_descriptor)
{
        union {
                struct cmsghdr align;
                char space[256];
        } control;
        char buffer[16];
        struct iovec iov = { .iov_base = buffer, .iov_len = sizeof(buffer) };
        struct ucred creds = {};
        int one = 1, file = memfd_create("x", 0), got = -1;

        cr_assert_eq(setsockopt(theirs, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
        for (unsigned i = 0; i < 2; i++) {
                struct msghdr m = {
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control),
                };
                unsigned n = 0;

                got = -1;
                memset(&creds, 0, sizeof(creds));
                cr_assert_eq(conn_send_hello(&ours, "hello", 5, i == 0 ? -1 : file, LATER), 0);
                cr_assert_eq(recvmsg(theirs, &m, 0), 5);
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c), n++) {
                        if (c->cmsg_type == SCM_CREDENTIALS)
                                memcpy(&creds, CMSG_DATA(c), sizeof(creds));
                        else if (c->cmsg_type == SCM_RIGHTS)
                                memcpy(&got, CMSG_DATA(c), sizeof(got));
                }
                cr_assert_eq(n, i + 1);
                cr_assert_eq(creds.pid, getpid());
                cr_assert_eq(creds.uid, geteuid());
                cr_assert_eq(creds.gid, getegid());
                cr_assert_eq(got >= 0, i == 1);
        }
}

/* ------------------------------------------------------------------------------------------------ connecting */

static char directory[] = "/tmp/mh-conn-XXXXXX";
static char path[64];

static void make_directory(void)
{
        cr_assert_not_null(mkdtemp(directory));
        (void)strcat(strcpy(path, directory), "/socket");
}

static void remove_directory(void)
{
        (void)unlink(path);
        (void)rmdir(directory);
}

TestSuite(conn_open, .init = make_directory, .fini = remove_directory);

static int listen_there(int type)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)strcpy(sa.sun_path, path);
        cr_assert_geq(fd, 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(listen(fd, 1), 0);
        return fd;
}

Test(conn_open, connects)
{
        int fd = listen_there(SOCK_SEQPACKET), peer;
        Guard g = GUARD_NONE;

        cr_assert_eq(conn_open(path, &g), 0);
        cr_assert_eq(fcntl(g.fd, F_GETFD), FD_CLOEXEC);
        peer = accept(fd, NULL, NULL);
        cr_assert_geq(peer, 0);
        cr_assert_eq(conn_send(&g, "x", 1, LATER), 0);
        guard_close(&g);
}

Test(conn_open, nobody_listens)
{
        unsigned before = count_fds();
        Guard g = GUARD_NONE;
        int fd;

        cr_assert_eq(conn_open(path, &g), -ENOENT);
        fd = listen_there(SOCK_SEQPACKET);
        (void)close(fd);
        cr_assert_eq(conn_open(path, &g), -ECONNREFUSED);
        (void)unlink(path);
        (void)close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        cr_assert_eq(conn_open(path, &g), -ECONNREFUSED);
        cr_assert_eq(g.fd, -1);
        cr_assert_eq(count_fds(), before);
}

Test(conn_open, somebody_else_listens)
{
        Guard g = GUARD_NONE;

        (void)listen_there(SOCK_STREAM);
        cr_assert_eq(conn_open(path, &g), -EPROTOTYPE);
}

Test(conn_open, of_another_user)
{
        Guard g = GUARD_NONE;

        if (geteuid() != 0)
                cr_skip_test("only root can be another user");
        (void)listen_there(SOCK_SEQPACKET);
        cr_assert_eq(chmod(directory, 0755), 0);
        cr_assert_eq(chmod(path, 0666), 0);
        cr_assert_eq(seteuid(65534), 0);
        cr_assert_eq(conn_open(path, &g), -EPERM);
        cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(g.fd, -1);
}

Test(conn_open, does_not_wait_for_a_place_in_the_queue)
{
        Guard g = GUARD_NONE;
        int r = 0;

        (void)listen_there(SOCK_SEQPACKET);
        for (unsigned i = 0; i < 10 && r == 0; i++)
                r = conn_open(path, &g);
        cr_assert_eq(r, -EAGAIN);
}
