/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the service manager is told, and what it keeps for us. Without one, all of this does nothing and is no error.
 *
 * The status is told at most once a second, since somebody who watches it reads no faster and each costs the manager a
 * wake-up; but the last one always gets there: what comes too early waits for its timer, and is replaced by what comes
 * later.
 */

#include <stdint.h>
#include <systemd/sd-event.h>

#define NOTIFY_SEGMENT         "segment" /* in the fd store */
#define NOTIFY_STATUS_INTERVAL UINT64_C(1000000)
#define NOTIFY_STATUS_MAX      256

typedef struct Notify {
        sd_event *event;
        sd_event_source *timer;
        uint64_t last_usec; /* CLOCK_MONOTONIC, when the status was told last; 0: never */
        char told[NOTIFY_STATUS_MAX];
        char next[NOTIFY_STATUS_MAX];
} Notify;

/* Answers the watchdog as well, if the manager asks for it: from within the event loop, so that a daemon that hangs does
 * not. -errno. */
int notify_init(Notify *n, sd_event *event);
void notify_done(Notify *n);

void notify_ready(Notify *n, const char *status);
void notify_status(Notify *n, const char *status);

/* At once, and what still waited is dropped. */
void notify_stopping(Notify *n, const char *status);

/* Into the fd store, under a name: a duplicate of `fd` comes back to the next daemon that is started. Under one name
 * there can be several. 1: sent; 0: there is no manager; -errno. */
int notify_store_fd(const char *name, int fd);

/* Out of it: all of that name. */
int notify_remove_fd(const char *name);
