/* SPDX-License-Identifier: MIT */

#include "lib/private.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/deadline.h"
#include "tools/say.h"
#include "tools/starve.h"

char private_directory[64];
char private_socket[80];

/* ------------------------------------------------------------------------------------------------ time */

static unsigned slowness(void)
{
        const char *value = getenv("MONO_HANDLE_TEST_SLOWNESS");
        int n = value ? atoi(value) : 1;

        return n > 0 ? (unsigned)n : 1;
}

uint64_t private_deadline(unsigned seconds)
{
        return deadline_in(seconds * slowness() * DEADLINE_SECOND);
}

/* ------------------------------------------------------------------------------------------------ the daemon */

pid_t private_daemon(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        struct ucred peer = {};
        socklen_t size = sizeof(peer);
        int fd;

        (void)strcpy(sa.sun_path, private_socket);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        cr_assert_geq(fd, 0);
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
                (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
        (void)close(fd);
        return peer.pid;
}

/* Is that a daemon, or about to become one, of this world? Its environment names the socket, and it is not us. */
static bool serves_here(const char *pid)
{
        char path[300], environment[65536], assignment[128];
        ssize_t n = -1;
        size_t length;
        int fd;

        if (atoi(pid) == getpid())
                return false;
        (void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
                n = read(fd, environment, sizeof(environment) - 1);
                (void)close(fd);
        }
        if (n <= 0 || strncmp(environment, "mono_handle_d\n", 14) != 0)
                return false;

        (void)snprintf(path, sizeof(path), "/proc/%s/environ", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, environment, sizeof(environment) - 1);
        (void)close(fd);
        length = (size_t)snprintf(assignment, sizeof(assignment), "MONO_HANDLE_D_SOCKET=%s", private_socket) + 1;
        return n > 0 && memmem(environment, (size_t)n, assignment, length) != NULL;
}

/* Calls `fn` for each; returns how many there are. */
static unsigned each_daemon(void (*fn)(pid_t))
{
        _cleanup_closedir_ DIR *d = opendir("/proc");
        unsigned n = 0;
        struct dirent *de;

        cr_assert_not_null(d);
        while ((de = readdir(d)))
                if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && serves_here(de->d_name)) {
                        if (fn)
                                fn(atoi(de->d_name));
                        n++;
                }
        return n;
}

/* For all daemons here: how long they waited for a processor, and whether one does right now. */
static uint64_t starved;
static bool starves;

static void look_at(pid_t pid)
{
        uint64_t ran, delay;

        if (!starve_read(pid, &ran, &delay))
                return;
        starved += delay;
        starves = starves || starve_now(pid, 50000);
}

/* Not while the daemon only waits for a processor: it is not stuck. */
static bool is_late(uint64_t deadline)
{
        if (deadline_now() < deadline)
                return false;
        starved = 0;
        starves = false;
        (void)each_daemon(look_at);
        return !starves && deadline_now() >= deadline + starved;
}

bool private_poll(bool (*condition)(void *), void *userdata)
{
        uint64_t deadline = private_deadline(20);

        while (!condition(userdata)) {
                if (is_late(deadline))
                        return false;
                deadline_sleep(deadline_in(DEADLINE_SECOND / 200));
        }
        return true;
}

unsigned private_daemons(void)
{
        return each_daemon(NULL);
}

static void kill_and_wait(pid_t pid)
{
        struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

        if (p.fd < 0)
                return;
        (void)kill(pid, SIGKILL);
        (void)kill(pid, SIGCONT);
        cr_expect_eq(poll(&p, 1, 20000), 1);
        (void)close(p.fd);
}

bool private_kill_daemon(void)
{
        pid_t pid = private_daemon();

        if (pid <= 0)
                return false;
        kill_and_wait(pid);
        return true;
}

int private_work_until_served(mh_client *c, mh_handle held)
{
        uint64_t deadline = private_deadline(30);

        do {
                for (unsigned i = 0; i < 1000; i++) {
                        int r = mh_open(c, held, NULL);

                        if (r == 0)
                                r = mh_close(c, held, NULL);
                        if (r < 0)
                                return r;
                }
                if (private_daemon() > 0)
                        return 0;
                deadline_sleep(deadline_in(DEADLINE_SECOND / 100));
        } while (!is_late(deadline));
        return 1;
}

/* ------------------------------------------------------------------------------------------------ the segment */

/* Its name; false: there is none. */
static bool segment_name(char *ret, size_t size)
{
        char path[128], *end;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "%s.segment", private_socket);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, ret, size - 1);
        (void)close(fd);
        if (n <= 0)
                return false;
        ret[n] = 0;
        end = strpbrk(ret, " \n");
        if (end)
                *end = 0;
        return ret[0] == '/';
}

int private_segment(void)
{
        char name[128];
        int fd;

        if (!segment_name(name, sizeof(name)))
                return -ENOENT;
        fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

void private_forget_segment(void)
{
        char name[128], path[128];

        if (segment_name(name, sizeof(name)))
                (void)shm_unlink(name);
        (void)snprintf(path, sizeof(path), "%s.segment", private_socket);
        (void)unlink(path);
}

static void print_finding(const VerifyFinding *finding, void *userdata)
{
        (void)fprintf(say_stream(), "# %s: %s\n", finding->rule, finding->text);
}

int private_verify(VerifyStats *ret)
{
        _cleanup_close_ int fd = private_segment();

        if (fd < 0)
                return fd;
        return verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, print_finding, NULL, ret);
}

typedef struct Expectation {
        uint32_t clients;
        uint64_t handles;
        VerifyStats found;
} Expectation;

static bool is_as_expected(void *userdata)
{
        Expectation *e = userdata;
        _cleanup_close_ int fd = private_segment();

        /* The daemon removes one that nobody uses. */
        if (fd == -ENOENT)
                return e->clients == 0 && e->handles == 0;
        if (fd < 0 || verify_segment(fd, 0, NULL, NULL, &e->found) < 0)
                return false;
        return e->found.clients == e->clients && e->found.handles == e->handles;
}

bool private_settled(uint32_t clients, uint64_t handles)
{
        Expectation e = { .clients = clients, .handles = handles };

        if (private_poll(is_as_expected, &e))
                return true;
        (void)fprintf(say_stream(), "# %u clients and %llu handles\n", e.found.clients,
                      (unsigned long long)e.found.handles);
        return false;
}

/* ------------------------------------------------------------------------------------------------ beginning and end */

void private_set_up(void)
{
        const char *binary = getenv("MONO_HANDLE_TEST_DAEMON");

        cr_assert_not_null(binary, "run me by meson test");
        (void)say_stream(); /* for children, too */
        (void)strcpy(private_directory, "/tmp/mh-lib-XXXXXX");
        cr_assert_not_null(mkdtemp(private_directory));
        (void)snprintf(private_socket, sizeof(private_socket), "%s/socket", private_directory);
        (void)setenv("MONO_HANDLE_D_BINARY", binary, 1);
        (void)setenv("MONO_HANDLE_D_SOCKET", private_socket, 1);
        (void)setenv("MONO_HANDLE_D_SWEEP", "no", 1); /* of other tests, what they left for a moment */
        (void)unsetenv("XDG_RUNTIME_DIR");
}

static bool none_left(void *userdata)
{
        return each_daemon(kill_and_wait) == 0;
}

void private_clean_up(void)
{
        static const char *const names[] = { "socket", "socket.lock", "daemon", "" };
        char path[128];

        cr_expect(private_poll(none_left, NULL), "a daemon cannot be ended");
        private_forget_segment();
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", private_directory, names[i]);
                if (unlink(path) < 0)
                        (void)rmdir(path);
        }
}

/* ------------------------------------------------------------------------------------------------ processes */

pid_t private_fork(int (*fn)(void *), void *userdata)
{
        pid_t pid = fork();

        cr_assert_geq(pid, 0);
        if (pid == 0)
                _exit(fn(userdata));
        return pid;
}

int private_wait(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return status;
}
