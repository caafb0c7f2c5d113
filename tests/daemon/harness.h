/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A daemon of the test's own, and clients that speak the wire protocol with bare hands.
 *
 * The daemon is started by hand in a fresh directory, told with PR_SET_PDEATHSIG to die with the test, and what it
 * leaves in /dev/shm is removed with it. Its diagnostics go to a file; when a test fails they are shown.
 *
 * Nothing waits for a fixed time: WAIT_FOR() looks again until a condition holds, and only a broken program makes it
 * give up. Deadlines are stretched by MONO_HANDLE_TEST_SLOWNESS.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "proto/wire.h"
#include "shm/verify.h"

/* ------------------------------------------------------------------------------------------------ time */

uint64_t now_msec(void);
void sleep_msec(unsigned msec);

/* When a wait that is allowed `msec` has to give up. */
uint64_t deadline_msec(unsigned msec);

#define WAIT_MSEC 20000U

#define WAIT_FOR(condition)                                                                                       \
        do {                                                                                                      \
                uint64_t _deadline = deadline_msec(WAIT_MSEC);                                                    \
                while (!(condition)) {                                                                            \
                        if (now_msec() > _deadline)                                                               \
                                cr_assert(false, "%s:%d: did not come true: %s", __FILE__, __LINE__, #condition); \
                        sleep_msec(2);                                                                            \
                }                                                                                                 \
        } while (0)

/* ------------------------------------------------------------------------------------------------ the frame */

/* A suite whose tests find a directory made for `the_daemon`, and have all of it removed again. A test that ends with
 * harness_pass() is believed to have passed; for others the daemon's diagnostics are shown. */
#define DAEMON_SUITE(name, ...) \
        TestSuite(name, .init = harness_init, .fini = harness_fini, .timeout = 200, ##__VA_ARGS__)

void harness_init(void);
void harness_fini(void);
void harness_pass(void);

/* Once there is a daemon: a test that is skipped does not come to harness_fini(), which cleans up. */
void harness_skip(const char *why);

/* A line for whoever reads the test's output. */
void harness_note(const char *format, ...) _printf_(1, 2);

/* ------------------------------------------------------------------------------------------------ the daemon */

typedef struct Daemon {
        pid_t pid; /* 0: not running */
        char directory[64];
        char socket[96];
        char log[96];
} Daemon;

extern Daemon the_daemon;

/* Makes the directory; nothing runs yet. */
void daemon_prepare(Daemon *d);

/* Starts it with further arguments (NULL: none) and waits until it listens. Again in the same directory, too. */
void daemon_start(Daemon *d, const char *const *arguments);

/* Starts it without waiting for anything. */
pid_t daemon_spawn(const Daemon *d, const char *const *arguments);

/* In a process that was made for it, after whatever it is to inherit: becomes the daemon. */
_Noreturn void daemon_become(const Daemon *d, const char *const *arguments);

/* Waits for its end. What it exits with, or 128 and the signal. */
int daemon_wait(Daemon *d);

/* SIGTERM, and waits. */
int daemon_stop(Daemon *d);

/* SIGKILL, and waits. */
void daemon_kill(Daemon *d);

/* Ends it, if it runs, and removes everything. Shows its diagnostics, if `show`. */
void daemon_clean(Daemon *d, bool show);

/* Does a line of its diagnostics hold this text? How often? */
unsigned daemon_said(const Daemon *d, const char *text);

/* Processor time that it has used. */
uint64_t daemon_cpu_msec(const Daemon *d);

/* Fails the test if it works although nobody asks for anything. */
void daemon_check_idle(const Daemon *d);

/* Descriptors that it has open when it comes to rest. */
unsigned daemon_fds(const Daemon *d);

/* The segment that the record names, opened; -1 if there is none. */
int daemon_segment(const Daemon *d);

/* KiB of memory that it takes. */
uint64_t daemon_segment_kib(const Daemon *d);

/* Fails the test, with the findings, if an invariant is broken and stays so. No client may be working on it. */
void daemon_verify(const Daemon *d, VerifyStats *ret);

/* ------------------------------------------------------------------------------------------------ raw packets */

/* A connection, with patience: a daemon that is just leaving makes the next try succeed. -1 is never returned. */
int raw_connect(const Daemon *d);

/* One try. -errno. */
int raw_try_connect(const char *path);

/* Sends a packet with descriptors. `credentials`: those of this process are sent along. 0 or -errno. */
int raw_send(int fd, const void *data, size_t size, const int *fds, size_t n_fds, bool credentials);

/* Waits for a packet: its size, 0 at the end of the connection, or -errno (-ETIMEDOUT). *ret_fd may be NULL. */
ssize_t raw_receive(int fd, void *buffer, size_t size, int *ret_fd);

/* Sends it without fds, receives the reply, which must be an Error: the reason. 0: it was no Error; -ECONNRESET: the
 * end. */
int raw_ask(int fd, const void *data, size_t size);

/* Does the other end hang up? Waits for it. */
bool raw_ended(int fd);

/* ------------------------------------------------------------------------------------------------ clients */

typedef struct Raw {
        int fd;
        int segment_fd;
        uint32_t flags; /* asked for */
        uint32_t granted;
        uint32_t id;
        uint64_t nonce;
        uint64_t seq;  /* of the last request */
        uint64_t last; /* as the last Welcome told it */
        uint64_t epoch;
        uint64_t segment_size;
        uint8_t segment[16];
} Raw;

/* A Hello or Resume as this process would send it, for `r`. */
void raw_greeting(const Raw *r, uint16_t type, struct mh_wire_hello *ret);

/* Connects and says Hello. 0 or the negative reason. */
int raw_attach(Raw *ret, const Daemon *d, uint32_t flags);

/* The same on a connection that is there. */
int raw_hello(Raw *r);

/* Connects anew and resumes, with the segment's descriptor if there is one. 0, or the negative reason. */
int raw_resume(Raw *r, const Daemon *d);
int raw_resume_here(Raw *r, int with_fd);

/* Sends a request (its header is filled in here) and receives the reply. 0 or the negative reason; -ECONNRESET,
 * -ETIMEDOUT. */
int raw_call(Raw *r, uint16_t type, void *request, size_t size, void *reply, size_t reply_size);

/* The same with the number of the last request. */
int raw_call_again(Raw *r, uint16_t type, void *request, size_t size, void *reply, size_t reply_size);

int raw_new(Raw *r, unsigned type, uint64_t *ret_handle);
int raw_open(Raw *r, uint64_t handle, unsigned *ret_type);
int raw_close(Raw *r, uint64_t handle, unsigned *ret_flags);
int raw_scratch(Raw *r, uint64_t length, uint64_t *ret_idx, uint64_t *ret_size);
int raw_scratch_free(Raw *r, uint64_t idx);
int raw_give(Raw *r, uint64_t idx, uint64_t handle);
int raw_detach(Raw *r);

/* Maps the segment, as a client does that asked for MAPS. */
void *raw_map(const Raw *r);

/* Hangs up. */
void raw_done(Raw *r);

/* ------------------------------------------------------------------------------------------------ processes */

/*
 * A child that runs `fn` and then stays until it is killed, or ends if `fn` returns not 0. It tells the parent through
 * its pipe that `fn` is done.
 */
typedef struct Child {
        pid_t pid;
        int ready; /* to read from: what fn wrote to its pipe, by child_tell() */
} Child;

typedef int (*ChildFn)(const Daemon *d, int tell, void *argument);

void child_start(Child *c, const Daemon *d, ChildFn fn, void *argument);
void child_tell(int tell, const void *data, size_t size);
void child_hear(const Child *c, void *ret, size_t size);
void child_kill(Child *c);

/* Waits for its end: what it exits with, or 128 and the signal. */
int child_wait(Child *c);
