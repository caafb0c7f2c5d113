/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Where the listening socket comes from. Under a service manager it comes with the start, bound and listening, and with
 * it what the fd store kept for us; the manager owns it, and it outlives us. Started by hand, the daemon binds it itself,
 * under the lock (see lock.h), and its name goes when the daemon goes.
 *
 * A socket by hand, in this order:
 *
 *   listener_make_directory()   the lock's file stands there, too
 *   listener_probe()            somebody listens: leave him alone
 *   lock_acquire()
 *   listener_bind()             removes what a dead daemon left behind, and nothing else
 *
 * Leaving when idle, a socket by hand: listener_unlink(), so that nobody finds it any more; accept what still came;
 * listener_close(). If anything did come, listener_bind_again() and serve on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

typedef struct Listener {
        int fd;         /* non-blocking; -1: none */
        bool inherited; /* from the service manager */
        bool named;     /* bound by us, and its name is still there, as far as we know */
        dev_t dev;      /* of that name: a socket that somebody put in its place is not ours */
        ino_t ino;
        char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
} Listener;

#define LISTENER_NONE ((Listener){ .fd = -1 })

static inline bool listener_is_inherited(const Listener *l)
{
        return l->inherited;
}

/* What the fd store kept under one name. */
typedef struct ListenerStored {
        int *fds;
        size_t n;
} ListenerStored;

/*
 * What the service manager passed on: our socket, and stored descriptors by the name `stored_name`; all others are closed
 * and that is said. 1: *ret listens; 0: no socket came with the start, but stored descriptors may have. -EINVAL if a
 * socket came that is not a listening AF_UNIX SOCK_SEQPACKET socket at `path`, or a second one: that is said, and all of
 * them are closed. Another -errno: it may be otherwise the next time. Once per process: it takes the variables out of the environment.
 */
int listener_receive(Listener *ret, const char *path, const char *stored_name, ListenerStored *ret_stored);

/* Closes those that were not taken (which are -1), and frees the list. */
void listener_stored_done(ListenerStored *stored);

/*
 * Makes the directory of the socket (0700), if it is not there; its parent must be. -EPERM if it belongs to somebody else
 * or others can write to it; -ENAMETOOLONG if the path is too long for a socket; -errno. Says what is wrong.
 */
int listener_make_directory(const char *path);

/* 1: somebody listens there; 0: nobody; -errno. */
int listener_probe(const char *path);

/*
 * Under the lock. -EADDRINUSE if somebody listens there all the same, -EEXIST if something is there that is not a socket
 * of ours, -ENAMETOOLONG, -errno. Says what is wrong.
 */
int listener_bind(Listener *ret, const char *path);

/* Does the name that we bound still lead to us? Also true where none is ours to lose: the manager's, or one that we took
 * away ourselves. */
bool listener_is_found(const Listener *l);

/* Under the lock. Takes away the name, if we bound it and it is still ours; who knocked before can still be accepted. */
int listener_unlink(Listener *l);

/* Under the lock, after listener_unlink(): a new socket of the same name, and the old one is closed. As listener_bind(). */
int listener_bind_again(Listener *l);

/* Closes the socket and leaves its name. Fine for LISTENER_NONE and twice. */
void listener_close(Listener *l);

/* Both. */
void listener_close_unlink(Listener *l);
