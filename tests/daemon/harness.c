/* SPDX-License-Identifier: MIT */

#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "base/random.h"
#include "daemon/record.h"
#include "tools/say.h"

#define ARGUMENTS_MAX 24

/* ------------------------------------------------------------------------------------------------ time */

uint64_t now_msec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sleep_msec(unsigned msec)
{
        struct timespec t = { .tv_sec = msec / 1000, .tv_nsec = (long)(msec % 1000) * 1000000 };

        while (nanosleep(&t, &t) < 0 && errno == EINTR)
                ;
}

uint64_t deadline_msec(unsigned msec)
{
        const char *slowness = getenv("MONO_HANDLE_TEST_SLOWNESS");
        long factor = slowness ? strtol(slowness, NULL, 10) : 1;

        return now_msec() + (uint64_t)msec * (uint64_t)(factor > 0 ? factor : 1);
}

/* ------------------------------------------------------------------------------------------------ the frame */

Daemon the_daemon;
static bool passed;

void harness_init(void)
{
        daemon_prepare(&the_daemon);
}

void harness_fini(void)
{
        daemon_clean(&the_daemon, !passed);
}

void harness_pass(void)
{
        passed = true;
}

void harness_skip(const char *why)
{
        daemon_clean(&the_daemon, false);
        cr_skip_test("%s", why);
}

void harness_note(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)fputs("# ", say_stream());
        (void)vfprintf(say_stream(), format, ap);
        (void)fputc('\n', say_stream());
        va_end(ap);
}

/* ------------------------------------------------------------------------------------------------ the daemon */

void daemon_prepare(Daemon *d)
{
        const char *temporary = getenv("TMPDIR");

        *d = (Daemon){};
        (void)snprintf(d->directory, sizeof(d->directory), "%.40s/mhd-XXXXXX", temporary ?: "/tmp");
        cr_assert_not_null(mkdtemp(d->directory), "mkdtemp: %s", strerror(errno));
        (void)snprintf(d->socket, sizeof(d->socket), "%s/socket", d->directory);
        (void)snprintf(d->log, sizeof(d->log), "%s/log", d->directory);
}

static const char *daemon_binary(void)
{
        const char *binary = getenv("MONO_HANDLE_TEST_DAEMON");

        cr_assert_not_null(binary, "MONO_HANDLE_TEST_DAEMON is not set");
        return binary;
}

void daemon_become(const Daemon *d, const char *const *arguments)
{
        const char *argv[ARGUMENTS_MAX + 7], *binary = daemon_binary();
        int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        char socket[128];
        size_t n = 0;

        (void)snprintf(socket, sizeof(socket), "--socket=%s", d->socket);
        argv[n++] = binary;
        argv[n++] = socket;
        argv[n++] = "--log-target=stderr";
        argv[n++] = "--log-level=debug";
        argv[n++] = "--sweep=no"; /* of other tests, what they left for a moment */
        for (size_t i = 0; arguments && arguments[i] && i < ARGUMENTS_MAX; i++)
                argv[n++] = arguments[i];
        argv[n] = NULL;

        if (log < 0 || dup2(log, STDERR_FILENO) < 0)
                _exit(126);
        (void)execv(binary, (char *const *)(uintptr_t)argv);
        _exit(127);
}

pid_t daemon_spawn(const Daemon *d, const char *const *arguments)
{
        pid_t pid, parent = getpid();

        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
                /* The parent is 0 in a pid namespace of its own. */
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent && getppid() != 0)
                        _exit(126);
                daemon_become(d, arguments);
        }
        return pid;
}

void daemon_start(Daemon *d, const char *const *arguments)
{
        unsigned before = daemon_said(d, "Ready at ");
        uint64_t deadline = deadline_msec(WAIT_MSEC);

        d->pid = daemon_spawn(d, arguments);
        while (daemon_said(d, "Ready at ") == before) {
                int status;

                if (waitpid(d->pid, &status, WNOHANG) == d->pid) {
                        d->pid = 0;
                        daemon_clean(d, true);
                        cr_assert(false, "the daemon did not start: status %#x", (unsigned)status);
                }
                if (now_msec() > deadline) {
                        daemon_clean(d, true);
                        cr_assert(false, "the daemon does not begin to serve");
                }
                sleep_msec(1);
        }
}

static int wait_for(pid_t pid)
{
        uint64_t deadline = deadline_msec(WAIT_MSEC);
        int status;

        for (;;) {
                pid_t p = waitpid(pid, &status, WNOHANG);

                if (p == pid)
                        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                cr_assert(p == 0 || errno == EINTR, "waitpid: %s", strerror(errno));
                if (now_msec() > deadline)
                        cr_assert(false, "process %d does not end", (int)pid);
                sleep_msec(1);
        }
}

int daemon_wait(Daemon *d)
{
        return wait_for(STEAL(d->pid, 0));
}

int daemon_stop(Daemon *d)
{
        (void)kill(d->pid, SIGTERM);
        return daemon_wait(d);
}

void daemon_kill(Daemon *d)
{
        (void)kill(d->pid, SIGKILL);
        (void)daemon_wait(d);
}

static void show_log(const Daemon *d)
{
        _cleanup_fclose_ FILE *f = fopen(d->log, "re");
        char line[1024];

        while (f && fgets(line, sizeof(line), f))
                (void)fprintf(say_stream(), "# %s", line);
}

static void remove_segment(const Daemon *d)
{
        char path[128];
        Record record;

        (void)snprintf(path, sizeof(path), "%s.segment", d->socket);
        if (record_read(path, &record) >= 0)
                (void)shm_unlink(record.name);
}

void daemon_clean(Daemon *d, bool show)
{
        _cleanup_closedir_ DIR *dir = NULL;
        struct dirent *de;

        if (d->pid > 0) {
                (void)kill(d->pid, SIGKILL);
                (void)waitpid(STEAL(d->pid, 0), NULL, 0);
        }
        if (show)
                show_log(d);
        remove_segment(d);
        dir = opendir(d->directory);
        while (dir && (de = readdir(dir)))
                (void)unlinkat(dirfd(dir), de->d_name, 0);
        (void)rmdir(d->directory);
}

unsigned daemon_said(const Daemon *d, const char *text)
{
        _cleanup_fclose_ FILE *f = fopen(d->log, "re");
        char line[1024];
        unsigned n = 0;

        while (f && fgets(line, sizeof(line), f))
                n += strstr(line, text) ? 1 : 0;
        return n;
}

uint64_t daemon_cpu_msec(const Daemon *d)
{
        struct timespec t;
        clockid_t clock;

        cr_assert_eq(clock_getcpuclockid(d->pid, &clock), 0);
        cr_assert_eq(clock_gettime(clock, &t), 0);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void daemon_check_idle(const Daemon *d)
{
        uint64_t cpu = daemon_cpu_msec(d);

        sleep_msec(1000);
        cr_expect_leq(daemon_cpu_msec(d) - cpu, 300, "the daemon spins");
}

/* Until then it may still have descriptors that it is about to close. */
static bool sleeps(pid_t pid)
{
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[512], *end;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        if (!f || !fgets(line, sizeof(line), f))
                return false;
        end = strrchr(line, ')');
        return end && strncmp(end, ") S", 3) == 0;
}

unsigned daemon_fds(const Daemon *d)
{
        _cleanup_closedir_ DIR *dir = NULL;
        struct dirent *de;
        char path[64];
        unsigned n = 0;

        WAIT_FOR(sleeps(d->pid));
        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)d->pid);
        dir = opendir(path);
        while (dir && (de = readdir(dir)))
                n += de->d_name[0] != '.';
        return n;
}

int daemon_segment(const Daemon *d)
{
        char path[128];
        Record record;

        (void)snprintf(path, sizeof(path), "%s.segment", d->socket);
        if (record_read(path, &record) < 0)
                return -1;
        return shm_open(record.name, O_RDWR | O_CLOEXEC, 0);
}

uint64_t daemon_segment_kib(const Daemon *d)
{
        _cleanup_close_ int fd = daemon_segment(d);
        struct stat st;

        cr_assert_geq(fd, 0, "there is no segment");
        cr_assert_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks / 2;
}

static void on_finding(const VerifyFinding *finding, void *userdata)
{
        (void)fprintf(say_stream(), "# %s: %s\n", finding->rule, finding->text);
}

void daemon_verify(const Daemon *d, VerifyStats *ret)
{
        _cleanup_close_ int fd = daemon_segment(d);
        uint64_t deadline = deadline_msec(WAIT_MSEC / 4);
        VerifyStats stats;
        int r;

        cr_assert_geq(fd, 0, "there is no segment");

        /* The daemon may still be giving memory back; what is broken stays broken. */
        while ((r = verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, NULL, NULL, &stats)) > 0 &&
               now_msec() < deadline)
                sleep_msec(5);
        if (r > 0)
                r = verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, on_finding, NULL, &stats);
        cr_assert_eq(r, 0, "verify: %d", r);
        if (ret)
                *ret = stats;
}

/* ------------------------------------------------------------------------------------------------ raw packets */

int raw_try_connect(const char *path)
{
        _cleanup_close_ int fd = -1;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        cr_assert_lt(strlen(path), sizeof(sa.sun_path));
        (void)strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int raw_connect(const Daemon *d)
{
        uint64_t deadline = deadline_msec(WAIT_MSEC);
        int fd;

        for (;;) {
                fd = raw_try_connect(d->socket);
                if (fd >= 0)
                        return fd;
                if (now_msec() > deadline)
                        cr_assert(false, "cannot connect: %s", strerror(-fd));
                sleep_msec(2);
        }
}

int raw_send(int fd, const void *data, size_t size, const int *fds, size_t n_fds, bool credentials)
{
        struct ucred cred = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        union {
                struct cmsghdr align;
                uint8_t buffer[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(64 * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buffer };
        struct cmsghdr *c;
        ssize_t n;

        cr_assert_leq(n_fds, 64);
        mh.msg_controllen = (credentials ? CMSG_SPACE(sizeof(cred)) : 0) +
                            (n_fds > 0 ? CMSG_SPACE(n_fds * sizeof(int)) : 0);
        c = mh.msg_controllen > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
        if (credentials) {
                *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_CREDENTIALS,
                                       .cmsg_len = CMSG_LEN(sizeof(cred)) };
                memcpy(CMSG_DATA(c), &cred, sizeof(cred));
                c = CMSG_NXTHDR(&mh, c);
        }
        if (n_fds > 0) {
                *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                       .cmsg_type = SCM_RIGHTS,
                                       .cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        do
                n = sendmsg(fd, &mh, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

static void take_fd(struct msghdr *mh, int *ret_fd)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
                        if (ret_fd)
                                *ret_fd = fd;
                        else
                                (void)fd_close(fd);
                }
}

ssize_t raw_receive(int fd, void *buffer, size_t size, int *ret_fd)
{
        uint8_t control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { .iov_base = buffer, .iov_len = size };
        struct msghdr mh = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        uint64_t deadline = deadline_msec(WAIT_MSEC);
        ssize_t n;

        if (ret_fd)
                *ret_fd = -1;
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                if (poll(&p, 1, 20) > 0)
                        break;
                if (now_msec() > deadline)
                        return -ETIMEDOUT;
        }
        n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return -errno;
        take_fd(&mh, ret_fd);
        return n;
}

static int reason_of(const void *reply, ssize_t n)
{
        struct mh_wire_error error;

        if (n == 0)
                return -ECONNRESET;
        if (n < 0)
                return (int)n;
        if ((size_t)n < sizeof(error.header))
                return -EBADMSG;
        memcpy(&error.header, reply, sizeof(error.header));
        if (error.header.size != (size_t)n)
                return -EBADMSG;
        if (error.header.type != MH_WIRE_ERROR)
                return 0;
        if ((size_t)n != sizeof(error))
                return -EBADMSG;
        memcpy(&error, reply, sizeof(error));
        return (int)error.reason;
}

int raw_ask(int fd, const void *data, size_t size)
{
        uint8_t reply[MH_WIRE_PACKET_MAX];
        int r;

        r = raw_send(fd, data, size, NULL, 0, true);
        if (r < 0)
                return r == -EPIPE ? -ECONNRESET : r;
        return reason_of(reply, raw_receive(fd, reply, sizeof(reply), NULL));
}

bool raw_ended(int fd)
{
        uint8_t reply[MH_WIRE_PACKET_MAX];
        ssize_t n = raw_receive(fd, reply, sizeof(reply), NULL);

        return n == 0 || n == -ECONNRESET;
}

/* ------------------------------------------------------------------------------------------------ clients */

void raw_greeting(const Raw *r, uint16_t type, struct mh_wire_hello *ret)
{
        *ret = (struct mh_wire_hello){
                .header = { .type = type, .size = sizeof(*ret) },
                .magic = MH_WIRE_MAGIC,
                .version_min = MH_WIRE_VERSION_MIN,
                .version_max = MH_WIRE_VERSION_MAX,
                .flags = r->flags,
                .nonce = r->nonce,
                .name = "raw",
        };
        (void)process_start_time(getpid(), &ret->start_time);
        if (type == MH_WIRE_RESUME) {
                ret->client = r->id;
                memcpy(ret->segment, r->segment, sizeof(ret->segment));
        }
}

static int take_welcome(Raw *r, bool resume)
{
        struct mh_wire_welcome welcome;
        int fd, reason;
        ssize_t n;

        n = raw_receive(r->fd, &welcome, sizeof(welcome), &fd);
        reason = reason_of(&welcome, n);
        if (reason != 0) {
                (void)fd_close(fd);
                return reason > 0 ? -reason : reason;
        }
        cr_assert_eq((size_t)n, sizeof(welcome));
        r->granted = welcome.flags;
        r->id = welcome.client;
        r->epoch = welcome.epoch;
        r->last = welcome.seq;
        r->segment_size = welcome.segment_size;
        memcpy(r->segment, welcome.segment, sizeof(r->segment));
        if (resume) {
                cr_assert_lt(fd, 0, "a Welcome to Resume carries no descriptor");
                return 0;
        }
        cr_assert_geq(fd, 0, "a Welcome to Hello carries the segment");
        (void)fd_close(r->segment_fd);
        r->segment_fd = fd;
        return 0;
}

int raw_hello(Raw *r)
{
        struct mh_wire_hello hello;
        int k;

        raw_greeting(r, MH_WIRE_HELLO, &hello);
        k = raw_send(r->fd, &hello, sizeof(hello), NULL, 0, true);
        return k < 0 ? k : take_welcome(r, false);
}

int raw_attach(Raw *ret, const Daemon *d, uint32_t flags)
{
        uint64_t deadline = deadline_msec(WAIT_MSEC);
        int r;

        *ret = (Raw){ .fd = -1, .segment_fd = -1, .flags = flags };
        cr_assert_geq(random_u64(&ret->nonce), 0);
        ret->nonce |= 1;
        /* A daemon that is just leaving may end the connection before it has read the Hello. */
        do {
                (void)fd_close(ret->fd);
                ret->fd = raw_connect(d);
                r = raw_hello(ret);
        } while ((r == -ECONNRESET || r == -EPIPE) && now_msec() < deadline);
        return r;
}

int raw_resume_here(Raw *r, int with_fd)
{
        struct mh_wire_hello hello;
        int k;

        raw_greeting(r, MH_WIRE_RESUME, &hello);
        k = raw_send(r->fd, &hello, sizeof(hello), &with_fd, with_fd >= 0 ? 1 : 0, true);
        return k < 0 ? k : take_welcome(r, true);
}

int raw_resume(Raw *r, const Daemon *d)
{
        uint64_t deadline = deadline_msec(WAIT_MSEC);
        int k;

        do {
                (void)fd_close(r->fd);
                r->fd = raw_connect(d);
                k = raw_resume_here(r, r->segment_fd);
        } while ((k == -ECONNRESET || k == -EPIPE) && now_msec() < deadline);
        return k;
}

int raw_call_again(Raw *r, uint16_t type, void *request, size_t size, void *reply, size_t reply_size)
{
        struct mh_wire_header header = { .type = type, .size = (uint32_t)size, .seq = r->seq };
        uint8_t buffer[MH_WIRE_PACKET_MAX];
        ssize_t n;
        int reason;

        memcpy(request, &header, sizeof(header));
        reason = raw_send(r->fd, request, size, NULL, 0, false);
        if (reason < 0)
                return reason == -EPIPE ? -ECONNRESET : reason;
        n = raw_receive(r->fd, buffer, sizeof(buffer), NULL);
        reason = reason_of(buffer, n);
        if (reason != 0)
                return reason > 0 ? -reason : reason;
        cr_assert_eq((size_t)n, reply_size, "a reply to type %u of %zd bytes", type, n);
        memcpy(&header, buffer, sizeof(header));
        cr_assert_eq(header.type, type);
        cr_assert_eq(header.seq, r->seq);
        memcpy(reply, buffer, reply_size);
        return 0;
}

int raw_call(Raw *r, uint16_t type, void *request, size_t size, void *reply, size_t reply_size)
{
        r->seq++;
        return raw_call_again(r, type, request, size, reply, reply_size);
}

int raw_new(Raw *r, unsigned type, uint64_t *ret_handle)
{
        struct mh_wire_new request = { .type = type };
        struct mh_wire_handle reply;
        int k = raw_call(r, MH_WIRE_NEW, &request, sizeof(request), &reply, sizeof(reply));

        if (k == 0) {
                cr_assert_eq(reply.type, type);
                *ret_handle = reply.handle;
        }
        return k;
}

int raw_open(Raw *r, uint64_t handle, unsigned *ret_type)
{
        struct mh_wire_open request = { .handle = handle };
        struct mh_wire_handle reply;
        int k = raw_call(r, MH_WIRE_OPEN, &request, sizeof(request), &reply, sizeof(reply));

        if (k == 0) {
                cr_assert_eq(reply.handle, handle);
                if (ret_type)
                        *ret_type = reply.type;
        }
        return k;
}

int raw_close(Raw *r, uint64_t handle, unsigned *ret_flags)
{
        struct mh_wire_close request = { .handle = handle };
        struct mh_wire_closed reply;
        int k = raw_call(r, MH_WIRE_CLOSE, &request, sizeof(request), &reply, sizeof(reply));

        if (k == 0 && ret_flags)
                *ret_flags = reply.destroy;
        return k;
}

int raw_scratch(Raw *r, uint64_t length, uint64_t *ret_idx, uint64_t *ret_size)
{
        struct mh_wire_scratch request = { .length = length };
        struct mh_wire_block reply;
        int k = raw_call(r, MH_WIRE_SCRATCH, &request, sizeof(request), &reply, sizeof(reply));

        if (k == 0) {
                *ret_idx = reply.idx;
                if (ret_size)
                        *ret_size = reply.size;
        }
        return k;
}

int raw_scratch_free(Raw *r, uint64_t idx)
{
        struct mh_wire_scratch_free request = { .idx = idx };
        struct mh_wire_header reply;

        return raw_call(r, MH_WIRE_SCRATCH_FREE, &request, sizeof(request), &reply, sizeof(reply));
}

int raw_give(Raw *r, uint64_t idx, uint64_t handle)
{
        struct mh_wire_give request = { .idx = idx, .handle = handle };
        struct mh_wire_header reply;

        return raw_call(r, MH_WIRE_GIVE, &request, sizeof(request), &reply, sizeof(reply));
}

int raw_detach(Raw *r)
{
        struct mh_wire_detach request;
        struct mh_wire_header reply;

        r->seq = 0;
        return raw_call_again(r, MH_WIRE_DETACH, &request, sizeof(request), &reply, sizeof(reply));
}

void *raw_map(const Raw *r)
{
        void *p = mmap(NULL, r->segment_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->segment_fd, 0);

        cr_assert_neq(p, MAP_FAILED, "mmap: %s", strerror(errno));
        cr_assert_eq(madvise(p, r->segment_size, MADV_DONTFORK), 0);
        return p;
}

void raw_done(Raw *r)
{
        r->fd = fd_close(r->fd);
        r->segment_fd = fd_close(r->segment_fd);
}

/* ------------------------------------------------------------------------------------------------ processes */

void child_start(Child *c, const Daemon *d, ChildFn fn, void *argument)
{
        int fds[2];
        pid_t parent = getpid();

        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        c->pid = fork();
        cr_assert_geq(c->pid, 0);
        if (c->pid == 0) {
                int r;

                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(126);
                (void)fd_close(fds[0]);
                r = fn(d, fds[1], argument);
                if (r != 0)
                        _exit(r);
                for (;;)
                        (void)pause();
        }
        (void)fd_close(fds[1]);
        c->ready = fds[0];
}

void child_tell(int tell, const void *data, size_t size)
{
        ssize_t n = write(tell, data, size);

        if (n != (ssize_t)size)
                _exit(125);
}

void child_hear(const Child *c, void *ret, size_t size)
{
        uint64_t deadline = deadline_msec(WAIT_MSEC * 3);
        size_t done = 0;

        while (done < size) {
                struct pollfd p = { .fd = c->ready, .events = POLLIN };
                ssize_t n;

                if (poll(&p, 1, 20) <= 0) {
                        if (now_msec() > deadline)
                                cr_assert(false, "a child says nothing");
                        continue;
                }
                n = read(c->ready, (uint8_t *)ret + done, size - done);
                if (n <= 0)
                        cr_assert(false, "a child ended early");
                done += (size_t)n;
        }
}

void child_kill(Child *c)
{
        (void)kill(c->pid, SIGKILL);
        (void)child_wait(c);
}

int child_wait(Child *c)
{
        c->ready = fd_close(c->ready);
        return wait_for(STEAL(c->pid, 0));
}
