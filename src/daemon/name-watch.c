/* SPDX-License-Identifier: MIT */

#include "daemon/name-watch.h"

#include <assert.h>
#include <string.h>
#include <sys/inotify.h>

#include "daemon/log.h"

/* How long nobody may find us where only the timer looks. */
#define LOOK_USEC     UINT64_C(1000000)
#define ACCURACY_USEC (100 * UINT64_C(1000))

#define CHANGES (IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static bool look(NameWatch *w)
{
        bool found = listener_is_found(w->listener);

        if (!found)
                w->lost(w->userdata);
        return found;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        NameWatch *w = userdata;

        if (look(w))
                timer_arm(&w->timer, LOOK_USEC);
        return 0;
}

/* Which change it was does not matter, nor whether some were not told (IN_Q_OVERFLOW). Our own may be among them. */
static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
        NameWatch *w = userdata;

        /* Of this directory no more is told. If the path leads to us all the same, by another one, that one is looked at. */
        if (look(w) && event->mask & (IN_IGNORED | IN_MOVE_SELF | IN_UNMOUNT))
                timer_arm(&w->timer, LOOK_USEC);
        return 0;
}

static void watch_directory(NameWatch *w, Loop *loop)
{
        char directory[sizeof(w->listener->path)], *slash;
        int r;

        memcpy(directory, w->listener->path, sizeof(directory));
        slash = strrchr(directory, '/');
        assert(slash);
        slash[slash == directory] = '\0';

        r = sd_event_add_inotify(loop->event, &w->source, directory, CHANGES, on_change, w);
        if (r >= 0)
                return;
        log_note(LOG_INFO, "Cannot watch the directory of the socket, %s: %s; looking from time to time", directory,
                 strerror(-r));
        timer_arm(&w->timer, LOOK_USEC);
}

int name_watch_init(NameWatch *w, Loop *loop, const Listener *listener, NameWatchHandler lost, void *userdata)
{
        int r;

        *w = (NameWatch){ .listener = listener, .lost = lost, .userdata = userdata };
        if (listener_is_inherited(listener))
                return 0;
        r = timer_init(&w->timer, loop, ACCURACY_USEC, on_timer, w);
        if (r < 0)
                return r;
        watch_directory(w, loop);
        (void)look(w);
        return 0;
}

void name_watch_done(NameWatch *w)
{
        w->source = sd_event_source_disable_unref(w->source);
        timer_done(&w->timer);
}
