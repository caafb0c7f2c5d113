/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What stands around a measurement: the cores it runs on, a daemon of its own, other processes that hold things.
 *
 * Nothing here goes on after a failure: the program says what is wrong and ends, and with it its children.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------------------------------ the end */

#define EXIT_BROKEN 2

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* "r < 0 is a negative errno of `what`, and the end". */
#define CHECK(r, what)                                                                       \
        do {                                                                                 \
                int _check = (int)(r);                                                       \
                if (__builtin_expect(_check < 0, 0))                                         \
                        die("%s:%d: %s: %s", __FILE__, __LINE__, what, stage_error(_check)); \
        } while (0)

const char *stage_error(int r);

/* ------------------------------------------------------------------------------------------------ time, cores */

uint64_t now_nsec(void);
void sleep_nsec(uint64_t nsec);

/* Must be called first: remembers which cores there are, and raises the limit of descriptors. */
void stage_init(void);

unsigned stage_cores(void);

/* Ties a process (0: this thread) to core number i modulo the number of cores, or lets it go. */
void stage_pin(pid_t pid, unsigned i);
void stage_unpin(pid_t pid);

/* Processor time that a process has used, nanoseconds, exact also while it runs. */
uint64_t stage_cpu_nsec(pid_t pid);

/* Waits until it has used none for a while: it sleeps. */
void stage_wait_idle(pid_t pid);

/* Resident memory, KiB. */
uint64_t stage_rss_kib(pid_t pid);

/* ------------------------------------------------------------------------------------------------ the daemon */

typedef struct StageDaemon {
        pid_t pid;
        int log; /* what it writes to stderr; read only by stage_daemon_hear() */
        size_t n_heard;
        char heard[4096];
        char directory[64];
        char socket[80];
} StageDaemon;

/* Which binary; and where directories are made. */
extern const char *stage_daemon_binary;
extern const char *stage_directory;

/* Starts one in a directory of its own, with at most one more option (NULL: none), and waits until it serves. */
void stage_daemon_start(StageDaemon *d, const char *option);

/* Ends it, and removes what it leaves. Who is still attached will not find it again. */
void stage_daemon_stop(StageDaemon *d);

/* Waits for a line with this text. */
void stage_daemon_hear(StageDaemon *d, const char *text);

/* ------------------------------------------------------------------------------------------------ children */

/* A process that runs `fn`, with a socket to its parent, and is killed when the parent ends. */
typedef struct StageChild {
        pid_t pid;
        int fd;
} StageChild;

typedef void (*StageFn)(int fd, void *ctx);

void stage_child_start(StageChild *c, StageFn fn, void *ctx);
void stage_child_kill(StageChild *c);

/* Whole messages, both ways. */
void stage_tell(int fd, const void *data, size_t size);
void stage_hear(int fd, void *ret, size_t size);

/* Memory that is shared with children. */
void *stage_shared(size_t size);
