/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/lock.h"

static char directory[] = "/tmp/mono-handle-d-lock-XXXXXX";
static char socket_path[64], path[64], other[64];

/* Called in the place of the C library's, before the kernel is asked. */
static void (*before_flock)(void);

int flock(int fd, int operation)
{
        if (before_flock)
                before_flock();
        return (int)syscall(SYS_flock, fd, operation);
}

static void make(void)
{
        cr_assert_not_null(mkdtemp(directory));
        (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        (void)snprintf(path, sizeof(path), "%s/socket.lock", directory);
        (void)snprintf(other, sizeof(other), "%s/other", directory);
}

static void clean(void)
{
        (void)unlink(path);
        (void)rmdir(path);
        (void)unlink(other);
        (void)rmdir(directory);
}

TestSuite(lock, .init = make, .fini = clean);

static int try_lock(int *ret_fd, pid_t *ret_holder)
{
        return lock_acquire(socket_path, ret_fd, ret_holder);
}

Test(lock, taken_and_released)
{
        pid_t holder = -7;
        int fd = -7, second = -7;
        char text[32] = {};
        struct stat st;

        cr_assert_eq(try_lock(&fd, &holder), 1);
        cr_assert_eq(holder, -7);
        cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_eq(st.st_mode, S_IFREG | 0600);
        cr_assert_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
        cr_assert_eq(atoi(text), getpid());

        /* Another descriptor of the same process is somebody else, too. */
        cr_assert_eq(try_lock(&second, &holder), 0);
        cr_assert_eq(holder, getpid());
        cr_assert_eq(second, -7);

        fd = fd_close(fd);
        cr_assert_eq(access(path, F_OK), 0, "never unlinked");
        cr_assert_eq(try_lock(&second, &holder), 1);
        (void)fd_close(second);
}

Test(lock, held_until_its_holder_ends_even_if_frozen)
{
        pid_t child, holder = 0;
        int fds[2], fd = -1, status;
        char byte;

        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        child = fork();
        if (child == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (try_lock(&fd, &holder) != 1 || write(fds[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        (void)pause();
        }
        cr_assert_eq(read(fds[0], &byte, 1), 1);
        cr_assert_eq(try_lock(&fd, &holder), 0);
        cr_assert_eq(holder, child);

        cr_assert_eq(kill(child, SIGSTOP), 0);
        cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
        cr_assert(WIFSTOPPED(status));
        holder = 0;
        cr_assert_eq(try_lock(&fd, &holder), 0);
        cr_assert_eq(holder, child);

        cr_assert_eq(kill(child, SIGKILL), 0);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(try_lock(&fd, &holder), 1);
        (void)fd_close(fd);
        fd_close_many(fds, 2);
}

Test(lock, a_longer_pid_from_before_does_not_show_through)
{
        char text[64] = {}, expected[32];
        pid_t holder = 0;
        int fd, second;

        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        cr_assert_eq(write(fd, "99999999999999999999\n12345\n", 27), 27);
        (void)fd_close(fd);
        cr_assert_eq(try_lock(&fd, &holder), 1);
        cr_assert_eq(try_lock(&second, &holder), 0);
        cr_assert_eq(holder, getpid());
        (void)snprintf(expected, sizeof(expected), "%d\n", (int)getpid());
        cr_assert_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
        cr_assert_str_eq(text, expected);

        /* And a holder who wrote nonsense, or nothing, is unknown. */
        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(try_lock(&second, &holder), 0);
        cr_assert_eq(holder, 0);
        cr_assert_eq(pwrite(fd, "-5 nonsense", 11, 0), 11);
        cr_assert_eq(try_lock(&second, &holder), 0);
        cr_assert_eq(holder, 0);
        (void)fd_close(fd);
}

Test(lock, refuses_what_is_not_ours)
{
        pid_t holder;
        int fd = -7;

        cr_assert_eq(symlink(other, path), 0);
        cr_assert_eq(try_lock(&fd, &holder), -ELOOP);
        cr_assert_eq(access(other, F_OK), -1, "nothing was made through it");
        cr_assert_eq(unlink(path), 0);

        cr_assert_eq(mkfifo(path, 0600), 0);
        cr_assert_eq(try_lock(&fd, &holder), -EPERM);
        cr_assert_eq(unlink(path), 0);

        cr_assert_eq(mkdir(path, 0700), 0);
        cr_assert_eq(try_lock(&fd, &holder), -EISDIR);
        cr_assert_eq(rmdir(path), 0);

        if (geteuid() == 0) {
                cr_assert_eq(try_lock(&fd, &holder), 1);
                fd = fd_close(fd);
                cr_assert_eq(chown(path, 4711, 4711), 0);
                fd = -7;
                cr_assert_eq(try_lock(&fd, &holder), -EPERM);
        }
        cr_assert_eq(fd, -7);
}

Test(lock, errors)
{
        char longest[5000];
        pid_t holder;
        int fd;

        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        cr_assert_eq(lock_acquire(longest, &fd, &holder), -ENAMETOOLONG);
        cr_assert_eq(lock_acquire("/nonexistent/directory/socket", &fd, &holder), -ENOENT);
}

static void replace_once(void)
{
        before_flock = NULL;
        cr_assert_eq(close(open(other, O_CREAT | O_WRONLY, 0600)), 0);
        cr_assert_eq(rename(other, path), 0);
}

static void remove_once(void)
{
        before_flock = NULL;
        cr_assert_eq(unlink(path), 0);
}

static void replace_always(void)
{
        void (*self)(void) = before_flock;

        replace_once();
        before_flock = self;
}

Test(lock, a_file_that_was_replaced_is_no_lock)
{
        struct stat a, b;
        pid_t holder;
        int fd = -7;

        before_flock = replace_once;
        cr_assert_eq(try_lock(&fd, &holder), 1);
        cr_assert_eq(fstat(fd, &a), 0);
        cr_assert_eq(stat(path, &b), 0);
        cr_assert_eq(a.st_ino, b.st_ino);
        fd = fd_close(fd);

        before_flock = remove_once;
        cr_assert_eq(try_lock(&fd, &holder), 1);
        cr_assert_eq(fstat(fd, &a), 0);
        cr_assert_eq(stat(path, &b), 0);
        cr_assert_eq(a.st_ino, b.st_ino);
        (void)fd_close(fd);

        fd = -7;
        before_flock = replace_always;
        cr_assert_eq(try_lock(&fd, &holder), -EAGAIN);
        cr_assert_eq(fd, -7);
}
