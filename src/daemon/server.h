/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The daemon as one object: an event loop, a listening socket, connections, attached clients, and the segment.
 *
 * Everything but what takes long happens in one thread, in short turns. All sources of events that carry work have the same priority, so
 * sd-event lets them take turns: a connection has one packet handled in a turn, the reaper works for less than a
 * millisecond. Nobody waits for anybody: what a client does not take is kept, one reply long, and its connection is
 * not read until then.
 *
 *   connection.h   a socket: packets in, replies out, time-outs
 *   session.h      what a packet means
 *   attachment.h   a client, from attach until its death is noticed
 *   worker.h       requests that take long
 *   watch.h        what clients do that send no requests
 *   reaper.h       from death until everything it held is given back
 *   adopt.h        taking over a segment that another daemon left
 *   store.h        the segment as an object in the file system
 *   name-watch.h   whether anybody can find us
 *   report.h       what is told about all that
 *   loop.h         what happens next; timer.h: and when
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "daemon/adopt.h"
#include "daemon/attachment.h"
#include "daemon/connection.h"
#include "daemon/listener.h"
#include "daemon/loop.h"
#include "daemon/name-watch.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/reaper.h"
#include "daemon/report.h"
#include "daemon/store.h"
#include "daemon/timer.h"
#include "daemon/watch.h"
#include "daemon/worker.h"

struct Server {
        const Options *options;
        Listener *listener;
        Loop loop;
        Store store;
        Reaper reaper;
        Worker worker;
        Watch watch;
        uint32_t daemon_pid;
        uint64_t daemon_start_time;
        ProcessPlace place;

        /* by client id, n_ids of them; NULL where there is none. As long as a segment is open. */
        Attachment **attachments;
        uint32_t n_ids;
        uint32_t client_end;    /* what the segment's high-water mark is to be */
        uint32_t n_attachments; /* those being reaped included */

        Connection *connections; /* a doubly linked list */
        unsigned n_connections;

        sd_event_source *accept_source;
        NameWatch name_watch;
        Timer rest_timer;        /* the listener rests until then */
        Timer idle_timer;        /* armed while there is nobody */
        Timer status_timer;      /* armed while something has changed since the last status, or may have */
        bool seen_anybody;       /* whether ever a connection came */
        bool status_due;         /* something has changed */
        uint64_t last_destroyed; /* handles, at the last status */
        char status[128];
        char told_status[128]; /* what the service manager knows */
        const char *stop_reason;
};

/* ------------------------------------------------------------------------------------------------ the whole */

int server_new(Server **ret, const Options *options, Listener *listener);
Server *server_free(Server *s);
DEFINE_CLEANUP(Server *, server_free)

/* Serves until there is a reason to stop. 0, or -errno. */
int server_run(Server *s);

/* Something that the status tells may have changed. */
void server_changed(Server *s);

/* A connection is no more: the listener may go on, or the idle time begin. */
void server_connection_gone(Server *s);

/* ------------------------------------------------------------------------------------------------ clients */

void server_add(Server *s, Attachment *a);

/* All that it held is given back and its id is free: ends what is left of it. */
void server_reaped(Server *s, Attachment *a);

/* A request of it that took long is done. */
void server_worked(Server *s, Attachment *a);

/* NULL, if there is none that lives. */
Attachment *server_find_id(const Server *s, uint32_t id);
Attachment *server_find_nonce(const Server *s, uint32_t pid, uint64_t start_time, uint64_t nonce);

/* An entry of the client table that nobody stands behind. */
void server_drop_entry(Server *s, uint32_t id);

/* Puts right what somebody scribbled over the states of the entries that are in use: their ids must not be taken
 * twice. */
void server_mend_table(Server *s);

/* All ids are in use: those who lost their connection may be gone without having ended. */
void server_look_at_lost(Server *s);

/* ------------------------------------------------------------------------------------------------ the segment */

/* Sees to it that there is one and that it is whole. -ENOSPC, -errno. */
int server_need_segment(Server *s);

/* If it was damaged or cut short: says so, leaves it with all who are attached to it, and begins afresh. */
void server_check_segment(Server *s);

/* Nobody is attached to it: removes it. */
void server_drop_empty_segment(Server *s);

/* Lets go of it as it is, of the clients and their connections. */
void server_leave_segment(Server *s);

/* For adoption: room for its clients; and the fd store gets to know it. */
int server_open_tables(Server *s);
void server_keep_segment(Server *s);
