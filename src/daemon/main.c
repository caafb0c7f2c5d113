/* SPDX-License-Identifier: MIT */

/*
 * The order in which the daemon comes to life. Until it holds the lock it touches nothing that another daemon may be
 * using; after that, everything that it finds is what a dead one left.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/listener.h"
#include "daemon/lock.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/server.h"
#include "daemon/sigbus.h"
#include "daemon/sweep.h"

/* The segment is of another format version: trying again does not help, and a daemon that knows it may yet come. */
#define EXIT_OTHER_FORMAT 3

/* The segment is for a daemon in another place: likewise. */
#define EXIT_ELSEWHERE 4

/* How long a lock is waited for whose holder does not serve: it may be about to begin, or to end. */
#define LOCK_WAIT_MSEC 10000U
#define LOCK_STEP_MSEC 20U

/* 0, 1 and 2 must be something, or the first socket we open would be our stderr. */
static void open_standard_fds(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        while (fd >= 0 && fd <= STDERR_FILENO);
        (void)fd_close(fd);
}

/* Whoever started us may have had other ideas about signals; both his mask and what he ignored are inherited. */
static int set_up_signals(void)
{
        struct sigaction deflt = { .sa_handler = SIG_DFL }, ignore = { .sa_handler = SIG_IGN };
        sigset_t mask;

        for (int sig = 1; sig < NSIG; sig++)
                (void)sigaction(sig, &deflt, NULL); /* SIGKILL, SIGSTOP and those of the C library refuse */
        /* SIGXFSZ: that a file may not be as large as the segment is an error for who asked for one. */
        if (sigaction(SIGPIPE, &ignore, NULL) < 0 || sigaction(SIGXFSZ, &ignore, NULL) < 0)
                return -errno;

        /* The event loop receives these by a descriptor. */
        if (sigemptyset(&mask) < 0 || sigaddset(&mask, SIGTERM) < 0 || sigaddset(&mask, SIGINT) < 0 ||
            sigaddset(&mask, SIGHUP) < 0 || sigprocmask(SIG_SETMASK, &mask, NULL) < 0)
                return -errno;
        return sigbus_install();
}

/* A descriptor for each connection and one for each process: as many as we may. */
static void raise_limits(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* There is no event loop yet that would receive these. True: it is time to leave. */
static bool wait_for_stop(unsigned msec)
{
        struct timespec t = { .tv_sec = msec / 1000, .tv_nsec = (long)(msec % 1000) * 1000000 };
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        return sigtimedwait(&set, NULL, &t) > 0;
}

static void tell_already_running(const char *socket, pid_t pid)
{
        log_message(LOG_INFO, MESSAGE_ALREADY_RUNNING, LOG_FIELDS(FIELD_SOCKET(socket), FIELD_PID(pid)),
                    "A daemon serves %s already", socket);
}

/* 1: the lock is ours, *ret_fd. 0: `by_hand`, and somebody serves there; or we were asked to stop. -EBUSY: somebody has it
 * and does not serve. */
static int take_lock(const char *socket, bool by_hand, int *ret_fd)
{
        pid_t holder = 0;
        int r;

        for (unsigned msec = 0; msec <= LOCK_WAIT_MSEC; msec += LOCK_STEP_MSEC) {
                /* Under a service manager it is the manager who listens: that says nothing. */
                if (by_hand) {
                        r = listener_probe(socket);
                        if (r > 0) {
                                tell_already_running(socket, holder);
                                return 0;
                        }
                }
                r = lock_acquire(socket, ret_fd, &holder);
                if (r != 0)
                        return r;
                if (wait_for_stop(LOCK_STEP_MSEC))
                        return 0;
        }

        log_message(LOG_ERR, MESSAGE_ALREADY_RUNNING, LOG_FIELDS(FIELD_SOCKET(socket), FIELD_PID(holder)),
                    "Process %d holds the lock %s.lock and does not leave: is it stopped?", (int)holder, socket);
        return -EBUSY;
}

static int serve(const Options *options, Listener *listener, ListenerStored *stored)
{
        _cleanup_(server_freep) Server *s = NULL;
        int r;

        r = server_new(&s, options, listener);
        if (r < 0)
                return r;
        r = adopt_at_start(s, stored->fds, stored->n);
        if (r < 0)
                return r;
        if (options->sweep)
                sweep(s->store.name);
        return server_run(s);
}

static int run(const Options *options, Listener *listener, ListenerStored *stored)
{
        _cleanup_close_ int lock = -1;
        bool by_hand;
        int r;

        r = listener_receive(listener, options->socket, NOTIFY_SEGMENT, stored);
        if (r == -EINVAL)
                return OPTIONS_EXIT_WRONG; /* it was said what is wrong; the next start would get the same */
        if (r < 0) {
                log_note(LOG_ERR, "Cannot take what was passed at start: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        by_hand = r == 0;

        if (by_hand) {
                r = listener_make_directory(options->socket);
                if (r < 0)
                        return r == -ENAMETOOLONG ? OPTIONS_EXIT_WRONG : EXIT_FAILURE;
        }
        r = take_lock(options->socket, by_hand, &lock);
        if (r == 0)
                return EXIT_SUCCESS;
        if (r < 0) {
                if (r != -EBUSY)
                        log_note(LOG_ERR, "Cannot lock %s.lock: %s", options->socket, strerror(-r));
                return EXIT_FAILURE;
        }
        if (by_hand) {
                r = listener_bind(listener, options->socket);
                if (r < 0)
                        return EXIT_FAILURE;
        }

        r = serve(options, listener, stored);
        (void)listener_close_unlink(listener);
        if (r == -EPROTONOSUPPORT)
                return EXIT_OTHER_FORMAT;
        if (r == -EREMOTE || r == -EXDEV)
                return EXIT_ELSEWHERE;
        if (r < 0) {
                log_note(LOG_ERR, "Cannot go on: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
        Listener listener = LISTENER_NONE;
        ListenerStored stored = {};
        Options options;
        int r;

        open_standard_fds();
        (void)umask(0077);
        r = options_parse(&options, argc, argv, stdout, stderr);
        if (r == OPTIONS_DONE)
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        if (r < 0)
                return OPTIONS_EXIT_WRONG;

        r = set_up_signals();
        if (r < 0) {
                (void)fprintf(stderr, "mono_handle_d: cannot set up signals: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        (void)log_open(options.log_target, options.log_level);
        (void)chdir("/");
        raise_limits();

        r = run(&options, &listener, &stored);
        listener_close(&listener);
        listener_stored_done(&stored);
        log_close();
        return r;
}
