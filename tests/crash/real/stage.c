/* SPDX-License-Identifier: MIT */

#include "crash/real/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "crash/real/play.h"

#define ANSWER_MAX 256U

static const Stage *on_stage; /* whose log is shown when the test cannot go on */

_Noreturn void stage_abort(const char *format, ...)
{
        va_list ap;

        fputs("Bail out! ", stdout);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        play_say_where();
        fflush(stdout);
        if (on_stage)
                stage_done((Stage *)(uintptr_t)on_stage, true);
        exit(1);
}

double stage_now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void stage_sleep(void)
{
        static const struct timespec millisecond = { .tv_nsec = 1000000 };

        (void)nanosleep(&millisecond, NULL);
}

/* ---------------------------------------------------------------------------------------------- the daemon */

void stage_init(Stage *s)
{
        const char *temporary = getenv("TMPDIR");

        *s = (Stage){ .unnamed = -1 };
        (void)snprintf(s->directory, sizeof(s->directory), "%.40s/mhd-XXXXXX", temporary ?: "/tmp");
        if (!mkdtemp(s->directory))
                stage_abort("mkdtemp: %s", strerror(errno));
        (void)snprintf(s->socket, sizeof(s->socket), "%s/socket", s->directory);
        (void)snprintf(s->log, sizeof(s->log), "%s/log", s->directory);
        s->board = mmap(NULL, sizeof(*s->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (s->board == MAP_FAILED)
                stage_abort("mmap: %s", strerror(errno));
        on_stage = s;
}

static void show_log(const Stage *s)
{
        _cleanup_fclose_ FILE *f = fopen(s->log, "re");
        char line[1024];

        while (f && fgets(line, sizeof(line), f))
                printf("#   %s", line);
}

void stage_done(Stage *s, bool show)
{
        _cleanup_closedir_ DIR *dir = NULL;
        struct dirent *de;

        on_stage = NULL;
        stage_kill(s);
        stage_note_segment(s);
        if (show)
                show_log(s);
        if (s->segment[0] != '\0')
                (void)shm_unlink(s->segment);
        if (s->opened[0] != '\0')
                (void)shm_unlink(s->opened);
        s->unnamed = fd_close(s->unnamed);
        dir = opendir(s->directory);
        while (dir && (de = readdir(dir)))
                (void)unlinkat(dirfd(dir), de->d_name, 0);
        (void)rmdir(s->directory);
        (void)munmap(s->board, sizeof(*s->board));
}

static _Noreturn void become_daemon(const Stage *s, int go, pid_t parent)
{
        const char *binary = getenv("MONO_HANDLE_TEST_DAEMON");
        char socket[128], byte;
        int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        const char *argv[] = { binary,
                               socket,
                               "--handles=1024",
                               "--clients=8",
                               "--scratch=4M",
                               "--idle-timeout=infinity",
                               "--log-target=stderr",
                               "--sweep=no",
                               NULL };

        (void)snprintf(socket, sizeof(socket), "--socket=%s", s->socket);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (log < 0 || dup2(log, STDERR_FILENO) < 0 || (getppid() != parent && getppid() != 0) ||
            read(go, &byte, 1) != 1)
                _exit(126);
        (void)execv(binary, (char *const *)(uintptr_t)argv);
        _exit(127);
}

void stage_start_held(Stage *s, int *ret_go)
{
        pid_t parent = getpid();
        int go[2];

        if (pipe2(go, O_CLOEXEC) < 0)
                stage_abort("pipe: %s", strerror(errno));
        s->daemon = fork();
        if (s->daemon < 0)
                stage_abort("fork: %s", strerror(errno));
        if (s->daemon == 0)
                become_daemon(s, go[0], parent);
        (void)close(go[0]);
        *ret_go = go[1];
}

void stage_start(Stage *s)
{
        _cleanup_close_ int go = -1;

        stage_start_held(s, &go);
        if (write(go, "g", 1) != 1 || !stage_wait_ready(s))
                stage_abort("the daemon does not begin to serve");
}

/* It listens before it has adopted what it found, and answers only after that, whatever it is sent. */
bool stage_is_ready(const Stage *s)
{
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", s->socket);
        return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && send(fd, "?", 1, MSG_NOSIGNAL) == 1 &&
               poll(&poll_fd, 1, (int)(STAGE_WAIT_S * 1000)) > 0;
}

bool stage_wait_ready(const Stage *s)
{
        double end = stage_now() + STAGE_WAIT_S;

        while (!stage_is_ready(s)) {
                if (stage_now() > end || waitpid(s->daemon, NULL, WNOHANG) == s->daemon)
                        return false;
                stage_sleep();
        }
        return true;
}

void stage_kill(Stage *s)
{
        if (s->daemon <= 0)
                return;
        (void)kill(s->daemon, SIGKILL);
        (void)waitpid(s->daemon, NULL, __WALL);
        s->daemon = 0;
}

bool stage_stop(Stage *s)
{
        double end = stage_now() + STAGE_WAIT_S;
        int status;

        (void)kill(s->daemon, SIGTERM);
        while (waitpid(s->daemon, &status, WNOHANG) == 0) {
                if (stage_now() > end)
                        return play_fail("the daemon does not leave");
                stage_sleep();
        }
        s->daemon = 0;
        return status == 0 || play_fail("the daemon left with status 0x%x", (unsigned)status);
}

/* ---------------------------------------------------------------------------------------------- the segment */

void stage_note_segment(Stage *s)
{
        char path[128];
        Record record;

        (void)snprintf(path, sizeof(path), "%s.segment", s->socket);
        if (record_read(path, &record) >= 0)
                memcpy(s->segment, record.name, sizeof(s->segment));
}

void stage_note_opened(Stage *s, pid_t pid)
{
        _cleanup_closedir_ DIR *dir = NULL;
        char path[64], target[256];
        struct dirent *de;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        while (dir && (de = readdir(dir))) {
                ssize_t n = readlinkat(dirfd(dir), de->d_name, target, sizeof(target) - 1);

                if (n < 9)
                        continue;
                target[n] = '\0';
                if (strncmp(target, "/dev/shm/", 8) == 0 && record_check_name(target + 8) >= 0)
                        (void)snprintf(s->opened, sizeof(s->opened), "%.*s", RECORD_NAME_MAX - 1, target + 8);
        }
}

static int open_segment(const Stage *s)
{
        if (s->unnamed >= 0)
                return fcntl(s->unnamed, F_DUPFD_CLOEXEC, 0);
        return s->segment[0] != '\0' ? shm_open(s->segment, O_RDWR | O_CLOEXEC, 0) : -1;
}

void stage_unname_segment(Stage *s)
{
        stage_note_segment(s);
        s->unnamed = open_segment(s);
        if (s->unnamed < 0 || shm_unlink(s->segment) < 0)
                stage_abort("the segment cannot be unlinked: %s", strerror(errno));
}

static bool is_gone(const char *name)
{
        _cleanup_close_ int fd = name[0] != '\0' ? shm_open(name, O_RDONLY | O_CLOEXEC, 0) : -1;

        return fd < 0;
}

bool stage_segment_is_gone(const Stage *s)
{
        return is_gone(s->segment) && is_gone(s->opened);
}

static void on_finding(const VerifyFinding *finding, void *userdata)
{
        (void)play_fail("%s: %s", finding->rule, finding->text);
}

int stage_verify(const Stage *s, bool tell, VerifyStats *ret)
{
        _cleanup_close_ int fd = open_segment(s);
        int r;

        *ret = (VerifyStats){};
        if (fd < 0)
                return -1;
        r = verify_segment(fd, VERIFY_AT_REST | VERIFY_NO_DEAD, tell ? on_finding : NULL, NULL, ret);
        return r < 0 ? -1 : r == 0;
}

void stage_totals(const Stage *s, Totals *ret)
{
        _cleanup_close_ int fd = open_segment(s);
        Segment seg;

        *ret = (Totals){};
        if (fd < 0 || segment_load(&seg, fd) < 0)
                return;
        if (segment_map(&seg) < 0)
                stage_abort("the segment cannot be mapped");
        totals_read(&seg, ret);
        segment_unmap(&seg);
}

/* ---------------------------------------------------------------------------------------------- clients */

static void answer(int to, const char *what)
{
        char line[ANSWER_MAX] = {};

        (void)snprintf(line, sizeof(line), "%s", what ?: "");
        if (write(to, line, sizeof(line)) != (ssize_t)sizeof(line))
                _exit(125);
}

static _Noreturn void be_person(const Stage *s, int from, int to, pid_t parent)
{
        Role role = { .stage = s, .board = s->board };
        Deed deed;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent && getppid() != 0)
                _exit(124);
        while (read(from, &deed, sizeof(deed)) == (ssize_t)sizeof(deed))
                answer(to, deed(&role));
        _exit(0);
}

void person_start(Person *p, const Stage *s)
{
        pid_t parent = getpid();
        int to[2], from[2];

        if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
                stage_abort("pipe: %s", strerror(errno));
        p->pid = fork();
        if (p->pid < 0)
                stage_abort("fork: %s", strerror(errno));
        if (p->pid == 0) {
                (void)close(to[1]);
                (void)close(from[0]);
                be_person(s, to[0], from[1], parent);
        }
        (void)close(to[0]);
        (void)close(from[1]);
        p->to = to[1];
        p->from = from[0];
}

void person_tell(Person *p, Deed deed)
{
        if (write(p->to, &deed, sizeof(deed)) != (ssize_t)sizeof(deed))
                stage_abort("a client has gone: %s", strerror(errno));
}

static bool has_answered(const Person *p, int msec)
{
        struct pollfd poll_fd = { .fd = p->from, .events = POLLIN };

        return poll(&poll_fd, 1, msec) > 0;
}

bool person_has_answered(const Person *p)
{
        return has_answered(p, 0);
}

bool person_hear(Person *p, const char *what)
{
        char line[ANSWER_MAX];

        if (!has_answered(p, (int)(STAGE_WAIT_S * 1000)))
                return play_fail("%s: no answer", what);
        if (read(p->from, line, sizeof(line)) != (ssize_t)sizeof(line))
                return play_fail("%s: the client has gone", what);
        return line[0] == '\0' || play_fail("%s: %s", what, line);
}

bool person_do(Person *p, Deed deed, const char *what)
{
        person_tell(p, deed);
        return person_hear(p, what);
}

void person_kill(Person *p)
{
        if (p->pid <= 0)
                return;
        (void)kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, __WALL);
        (void)close(p->to);
        (void)close(p->from);
        p->pid = 0;
}
