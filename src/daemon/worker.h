/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Requests that take long. To give a client a gibibyte of scratch memory, or to take it back, keeps a processor busy
 * for a good part of a second, because the kernel has to clear every page of it. Meanwhile others want to be served,
 * and the service manager wants to hear that we live. So such a request is run by a thread of its own, one after the
 * other.
 *
 * That this is safe rests on what the segment is made for: those who work on it at the same time need not know of each
 * other, be they processes or threads. Only two must not act for one client; so while its request runs, its attachment
 * is `busy`: no other request of it is read, it is not reaped, and the segment is not unmapped.
 */

#include <pthread.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "shm/request.h"

typedef struct Attachment Attachment;
typedef struct Server Server;

typedef struct Worker {
        Server *server;
        bool started;
        pthread_t thread;
        int done_fd; /* an eventfd: something is done */
        sd_event_source *source;

        pthread_mutex_t lock; /* for what follows */
        pthread_cond_t changed;
        bool stop;
        bool working;
        Attachment *todo_first, *todo_last;
        Attachment *done_first, *done_last;
} Worker;

int worker_init(Worker *w, Server *server);

/* Waits for what is being run, and ends the thread. */
void worker_done(Worker *w);

/* Is it one of those? Nobody else acts for the client now. */
bool worker_is_for(Attachment *a, const Request *request);

/* Runs it, and calls server_worked() when it is done. -errno: there can be no thread. */
int worker_submit(Worker *w, Attachment *a, const Request *request);

/* Waits until nothing is being run, and forgets what waits to be. Attachments are no longer busy then; nobody is told. */
void worker_settle(Worker *w);
