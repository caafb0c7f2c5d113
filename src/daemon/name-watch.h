/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether the name of a socket that we bound still leads to us.
 *
 * The name is in a directory of the user's, who may remove it; and a service manager that begins to listen at the same path
 * takes it away and binds its own, whoever is there. From then on nobody finds us, and nobody else can serve as long as
 * we hold the lock. So the directory is watched, and each change in it is a reason to look. Where it cannot be watched
 * (the number of inotify instances of a user is small), we look from time to time.
 */

#include <systemd/sd-event.h>

#include "daemon/listener.h"
#include "daemon/timer.h"

/* The name leads elsewhere, or nowhere. May be called more than once. */
typedef void (*NameWatchHandler)(void *userdata);

typedef struct NameWatch {
        const Listener *listener;
        NameWatchHandler lost;
        void *userdata;
        sd_event_source *source; /* NULL: the timer looks */
        Timer timer;
} NameWatch;

/* Also looks once, for what happened before. A socket of the service manager's is not watched. -errno. */
int name_watch_init(NameWatch *w, Loop *loop, const Listener *listener, NameWatchHandler lost, void *userdata);

/* Fine for one of zeroes, and twice. */
void name_watch_done(NameWatch *w);
