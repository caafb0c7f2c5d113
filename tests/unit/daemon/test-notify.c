/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/notify.h"

/* We are the service manager. */
static char path[] = "/tmp/mono-handle-d-notify-XXXXXX";
static struct sockaddr_un sa = { .sun_family = AF_UNIX };
static int manager = -1;

static void make(void)
{
        cr_assert_not_null(mkdtemp(path));
        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/socket", path);
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert_geq(manager, 0);
        cr_assert_eq(bind(manager, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(setenv("NOTIFY_SOCKET", sa.sun_path, 1), 0);
}

static void clean(void)
{
        manager = fd_close(manager);
        (void)unlink(sa.sun_path);
        (void)rmdir(path);
}

TestSuite(notify, .init = make, .fini = clean);

/* What came, and the descriptor that came with it, or -1. */
static const char *receive(int *ret_fd)
{
        static char text[4096];
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(4 * sizeof(int))];
        } control;
        struct iovec iov = { text, sizeof(text) - 1 };
        struct msghdr m = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n = recvmsg(manager, &m, MSG_CMSG_CLOEXEC);

        *ret_fd = -1;
        if (n < 0)
                return "nothing came";
        text[n] = '\0';
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
                if (c->cmsg_type == SCM_RIGHTS)
                        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
        return text;
}

Test(notify, states)
{
        int fd;

        cr_assert_eq(notify_ready(), 1);
        cr_assert_str_eq(receive(&fd), "READY=1");
        cr_assert_eq(notify_status("3 clients, 120 handles, 48.0 KiB scratch"), 1);
        cr_assert_str_eq(receive(&fd), "STATUS=3 clients, 120 handles, 48.0 KiB scratch");
        cr_assert_eq(notify_stopping(), 1);
        cr_assert_str_eq(receive(&fd), "STOPPING=1");
        cr_assert_str_eq(receive(&fd), "nothing came");
}

Test(notify, a_status_is_one_line_and_not_endless)
{
        char endless[2000];
        int fd;

        cr_assert_eq(notify_status("a\nMAINPID=1\nb"), 1);
        cr_assert_str_eq(receive(&fd), "STATUS=a MAINPID=1 b");
        memset(endless, 'x', sizeof(endless));
        endless[sizeof(endless) - 1] = '\0';
        cr_assert_eq(notify_status(endless), 1);
        cr_assert_eq(strncmp(receive(&fd), "STATUS=xxxx", 11), 0);
}

Test(notify, store)
{
        int fd = memfd_create("kept", MFD_CLOEXEC), got;

        cr_assert_eq(notify_store_fd(NOTIFY_SEGMENT, fd), 1);
        cr_assert_str_eq(receive(&got), "FDSTORE=1\nFDNAME=segment");
        cr_assert_geq(got, 0);
        cr_assert_eq(fd_same(fd, got), 1);
        got = fd_close(got);

        cr_assert_eq(notify_remove_fd(NOTIFY_SEGMENT), 1);
        cr_assert_str_eq(receive(&got), "FDSTOREREMOVE=1\nFDNAME=segment");
        cr_assert_eq(got, -1);
        (void)fd_close(fd);
}

Test(notify, names)
{
        char longest[257];
        int got;

        memset(longest, 'n', sizeof(longest));
        longest[256] = '\0';
        cr_assert_eq(notify_store_fd(longest, 1), -EINVAL);
        cr_assert_eq(notify_store_fd("", 1), -EINVAL);
        cr_assert_eq(notify_store_fd("a:b", 1), -EINVAL);
        cr_assert_eq(notify_store_fd("a\nREADY=1", 1), -EINVAL);
        cr_assert_eq(notify_remove_fd("a\nREADY=1"), -EINVAL);
        cr_assert_str_eq(receive(&got), "nothing came");
        longest[255] = '\0';
        cr_assert_eq(notify_remove_fd(longest), 1);
        cr_assert_eq(notify_store_fd("name", -1), -EBADF);
}

Test(notify, without_a_manager_nothing_happens)
{
        int got;

        cr_assert_eq(unsetenv("NOTIFY_SOCKET"), 0);
        cr_assert_eq(notify_ready(), 0);
        cr_assert_eq(notify_status("x"), 0);
        cr_assert_eq(notify_stopping(), 0);
        cr_assert_eq(notify_store_fd("name", 1), 0);
        cr_assert_eq(notify_remove_fd("name"), 0);
        cr_assert_str_eq(receive(&got), "nothing came");
}

Test(notify, a_manager_that_is_gone_is_an_error)
{
        cr_assert_eq(unlink(sa.sun_path), 0);
        cr_assert_lt(notify_ready(), 0);
}
