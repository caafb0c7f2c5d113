/* SPDX-License-Identifier: MIT */

#include "base/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

/* How often a process whose threads come and go is listed anew before we say -EAGAIN. */
#define LISTINGS_MAX 8

#define PATH_SIZE 64

/* A /proc of another pid namespace has other processes behind our numbers. */
static int check_proc(void)
{
        char link[32];
        ssize_t n;

        n = readlink("/proc/self", link, sizeof(link) - 1);
        if (n < 0)
                return -EOPNOTSUPP;
        link[n] = 0;
        return strtol(link, NULL, 10) == (long)getpid() ? 0 : -EOPNOTSUPP;
}

/* A process that /proc does not show: gone, or hidden from us by hidepid? */
static int why_not_shown(pid_t pid)
{
        return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : -EACCES;
}

/* Reads a small file of a process whole, as a string. */
static int read_proc(pid_t pid, const char *name, char *buffer, size_t size)
{
        _cleanup_discard_ int fd = -1;
        char path[PATH_SIZE];
        size_t used = 0;
        int r;

        if (pid <= 0)
                return -ESRCH;
        r = check_proc();
        if (r < 0)
                return r;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return errno == ENOENT ? why_not_shown(pid) : -errno;

        while (used < size - 1) {
                ssize_t n = read(fd, buffer + used, size - 1 - used);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno; /* ESRCH if it ended after the open */
                if (n == 0)
                        break;
                used += (size_t)n;
        }
        buffer[used] = 0;
        return 0;
}

int process_start_time(pid_t pid, uint64_t *ret)
{
        char stat[2048];
        uint64_t value;
        char *p;
        int r;

        assert(ret);

        r = read_proc(pid, "stat", stat, sizeof(stat));
        if (r < 0)
                return r;

        /* "pid (comm) state ppid ...": comm may hold blanks and parentheses, what follows it holds none. */
        p = strrchr(stat, ')');
        if (!p)
                return -EBADMSG;
        p++;
        /* Field 3 follows the first blank from here, field 22 the twentieth. */
        for (unsigned i = 0; i < 20; i++) {
                p = strchr(p, ' ');
                if (!p)
                        return -EBADMSG;
                p++;
        }
        if (sscanf(p, "%" SCNu64, &value) != 1)
                return -EBADMSG;
        *ret = value;
        return 0;
}

int process_pidfd(pid_t pid)
{
        int fd;

        if (pid <= 0)
                return -ESRCH;
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd >= 0)
                return fd;
        /* The number of a thread that is not the first of its process: EINVAL, in newer kernels ENOENT. */
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

int process_pidfd_started(pid_t pid, uint64_t start_time)
{
        _cleanup_discard_ int fd = -1;
        uint64_t now;
        int r;

        /* In this order: once the descriptor is there, the number cannot pass to somebody else unnoticed. */
        fd = process_pidfd(pid);
        if (fd < 0)
                return TAKE_FD(fd);
        r = process_start_time(pid, &now);
        if (r < 0)
                return r;
        if (now != start_time)
                return -ESRCH;
        /* The start time could still be that of a successor, had ours died in between. */
        r = process_pidfd_dead(fd);
        if (r != 0)
                return r < 0 ? r : -ESRCH;
        return TAKE_FD(fd);
}

int process_pidfd_dead(int pidfd)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, 0);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        if (r > 0 && p.revents & POLLNVAL)
                return -EBADF;
        return r > 0;
}

int process_comm(pid_t pid, char ret[static PROCESS_COMM_MAX])
{
        char comm[PROCESS_COMM_MAX];
        size_t n;
        int r;

        r = read_proc(pid, "comm", comm, sizeof(comm));
        if (r < 0)
                return r;
        n = strlen(comm);
        if (n > 0 && comm[n - 1] == '\n')
                comm[--n] = 0;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)comm[i] < 0x20 || (unsigned char)comm[i] >= 0x7f)
                        comm[i] = '?';
        memcpy(ret, comm, n + 1);
        return 0;
}

/* What is looked for in a process. */
typedef struct Question Question;
struct Question {
        /* 1 or 0; -ENODATA if that thread cannot tell, because it has ended. */
        int (*ask)(const Question *q, pid_t pid, const char *tid);
        bool each; /* one thread does not speak for the others */
        int fd;
        dev_t dev;
        ino_t ino;
        uint64_t offset; /* UINT64_MAX: wherever */
};

/* 1 or 0. */
static int line_shows(const char *line, const Question *q)
{
        uint64_t start, end, offset, ino;
        unsigned dev_major, dev_minor;

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNu64, &start, &end, &offset, &dev_major,
                   &dev_minor, &ino) != 6)
                return -EBADMSG;
        if (dev_major != major(q->dev) || dev_minor != minor(q->dev) || ino != q->ino)
                return 0;
        return q->offset == UINT64_MAX || (q->offset >= offset && q->offset - offset < end - start);
}

static int why_not_open(void)
{
        return errno == ENOENT || errno == ESRCH ? -ENODATA : -errno;
}

/* Does its memory map show the file? It has ended if it has no map, up to the end of it. */
static int thread_maps_file(const Question *q, pid_t pid, const char *tid)
{
        _cleanup_fclose_ FILE *f = NULL;
        _cleanup_free_ char *line = NULL;
        char path[PATH_SIZE];
        bool any = false;
        size_t size = 0;

        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/maps", (int)pid, tid);
        f = fopen(path, "re");
        if (!f)
                return why_not_open();

        for (;;) {
                int r;

                errno = 0;
                if (getline(&line, &size, f) < 0)
                        break;
                any = true;
                r = line_shows(line, q);
                if (r != 0)
                        return r;
        }
        /* ESRCH: the thread ended while we read, and what it had beyond this point we do not know. */
        if (ferror(f))
                return errno == ESRCH ? -ENODATA : errno > 0 ? -errno : -EIO;
        return any ? 0 : -ENODATA;
}

static struct dirent *next_number(DIR *d)
{
        struct dirent *de;

        do {
                errno = 0;
                de = readdir(d);
        } while (de && de->d_name[0] == '.');
        return de;
}

/*
 * Is its descriptor of that number that socket? A thread that ends has no descriptors any more, so one that does not have this
 * must have others afterwards. (One that lives may have none at all: it cannot be told from one that ends.)
 */
static int thread_has_socket(const Question *q, pid_t pid, const char *tid)
{
        _cleanup_closedir_ DIR *d = NULL;
        char path[PATH_SIZE], wanted[PATH_SIZE], link[PATH_SIZE];
        ssize_t n;

        (void)snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", (uint64_t)q->ino);
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/fd", (int)pid, tid);
        d = opendir(path);
        if (!d)
                return why_not_open();
        (void)snprintf(path, sizeof(path), "%d", q->fd);
        n = readlinkat(dirfd(d), path, link, sizeof(link) - 1);
        if (n >= 0) {
                link[n] = 0;
                return strcmp(link, wanted) == 0;
        }
        if (errno != ENOENT)
                return why_not_open();
        if (next_number(d))
                return 0;
        return errno > 0 ? why_not_open() : -ENODATA;
}

/*
 * -ENODATA if no thread can tell; or where each is asked, if one of them cannot: it may have had what is looked for, and have
 * passed it on to one that we did not see. The leader has nothing any more once it ended by itself, though the others live on.
 */
static int ask_once(const Question *q, pid_t pid)
{
        _cleanup_closedir_ DIR *d = NULL;
        char path[PATH_SIZE];
        bool missed = false;
        struct dirent *de;
        int r, answer = -ENODATA;

        (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
        d = opendir(path);
        if (!d)
                return errno == ENOENT ? why_not_shown(pid) : -errno;

        while ((de = next_number(d))) {
                r = q->ask(q, pid, de->d_name);
                if (r == -ENODATA) {
                        missed = missed || (q->each && strtol(de->d_name, NULL, 10) != (long)pid);
                        continue;
                }
                if (r != 0 || !q->each)
                        return r;
                answer = 0;
        }
        if (errno > 0 && errno != ENOENT && errno != ESRCH)
                return -errno;
        return missed ? -ENODATA : answer;
}

static int ask(const Question *q, pid_t pid)
{
        _cleanup_close_ int pidfd = -1;
        int r;

        if (pid <= 0)
                return -ESRCH;
        r = check_proc();
        if (r < 0)
                return r;
        pidfd = process_pidfd(pid);
        if (pidfd < 0)
                return TAKE_FD(pidfd);

        /* No thread that could tell: either the process has ended, or a thread that we saw has ended since, and one that
         * we did not see, because it began later, goes on. */
        for (unsigned i = 0; i < LISTINGS_MAX; i++) {
                r = ask_once(q, pid);
                if (r != -ENODATA && r != -ESRCH)
                        return r;
                r = process_pidfd_dead(pidfd);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
        return -EAGAIN;
}

int process_maps_file(pid_t pid, dev_t dev, ino_t ino)
{
        return process_maps_file_at(pid, dev, ino, UINT64_MAX);
}

int process_maps_file_at(pid_t pid, dev_t dev, ino_t ino, uint64_t offset)
{
        /* The threads of a process share one memory map. */
        return ask(&(Question){ .ask = thread_maps_file, .dev = dev, .ino = ino, .offset = offset }, pid);
}

int process_has_socket(pid_t pid, int fd, ino_t ino)
{
        /* They need not share their descriptors: see unshare(2). */
        return ask(&(Question){ .ask = thread_has_socket, .each = true, .fd = fd, .ino = ino }, pid);
}

static uint64_t namespace_inode(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

void process_place(ProcessPlace *ret)
{
        assert(ret);

        *ret = (ProcessPlace){
                .pid_namespace = namespace_inode("/proc/self/ns/pid"),
                .time_namespace = namespace_inode("/proc/self/ns/time"),
        };
}

static bool differs(uint64_t a, uint64_t b)
{
        return a != 0 && b != 0 && a != b;
}

bool process_place_differs(const ProcessPlace *a, const ProcessPlace *b)
{
        return differs(a->pid_namespace, b->pid_namespace) || differs(a->time_namespace, b->time_namespace);
}
