/* SPDX-License-Identifier: MIT */

/* A daemon whose socket nobody finds any more makes room for the one who is found. */

#include "harness.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(name);

/* What a service manager does that begins to listen there. */
static int listen_over(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        cr_assert_geq(fd, 0);
        (void)strcpy(sa.sun_path, path);
        cr_assert_eq(unlink(path), 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(listen(fd, 16), 0);
        return fd;
}

static int pass_socket(const Daemon *d, int tell, void *argument)
{
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        (void)setenv("LISTEN_PID", pid, 1);
        (void)setenv("LISTEN_FDS", "1", 1);
        if (dup2(*(int *)argument, 3) != 3 || (*(int *)argument == 3 && fcntl(3, F_SETFD, 0) < 0))
                return 126;
        daemon_become(d, NULL);
}

static uint64_t attach(Raw *r)
{
        uint64_t handle;

        cr_assert_eq(raw_attach(r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(r, 1, &handle), 0);
        return handle;
}

static void expect_leaves(void)
{
        cr_expect_eq(daemon_wait(&the_daemon), 0);
        cr_expect_eq(daemon_said(&the_daemon, "Stopping (socket removed or replaced)"), 1);
}

static void expect_goes_on(Raw *r, uint64_t handle)
{
        cr_assert_eq(raw_resume(r, &the_daemon), 0);
        cr_expect_eq(r->epoch, 2);
        cr_expect_eq(raw_close(r, handle, NULL), 0);
        raw_done(r);
}

Test(name, who_listens_there_now_is_the_successor)
{
        uint64_t handle;
        Child successor;
        int socket;
        Raw r;

        daemon_start(&the_daemon, NULL);
        handle = attach(&r);
        socket = listen_over(the_daemon.socket);
        child_start(&successor, &the_daemon, pass_socket, &socket);
        expect_leaves();
        cr_expect_eq(access(the_daemon.socket, F_OK), 0, "that is not its own any more");
        expect_goes_on(&r, handle);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 0 died"), 1);
        child_kill(&successor);
        (void)fd_close(socket);
        harness_pass();
}

Test(name, somebody_removes_it)
{
        uint64_t handle;
        Raw r;

        daemon_start(&the_daemon, NULL);
        handle = attach(&r);
        cr_assert_eq(unlink(the_daemon.socket), 0);
        expect_leaves();
        cr_expect(raw_ended(r.fd));
        daemon_start(&the_daemon, NULL);
        expect_goes_on(&r, handle);
        harness_pass();
}

/* From now on for this process and those that it starts. */
static void forbid_inotify(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_inotify_init1, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMFILE),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = ELEMENTSOF(code), .filter = code };

        cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

Test(name, also_where_nothing_can_be_watched)
{
        uint64_t handle;
        Raw r;

        forbid_inotify();
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "looking from time to time"), 1);
        handle = attach(&r);
        cr_assert_eq(unlink(the_daemon.socket), 0);
        expect_leaves();
        daemon_start(&the_daemon, NULL);
        expect_goes_on(&r, handle);
        harness_pass();
}
