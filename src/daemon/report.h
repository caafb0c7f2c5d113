/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the server tells about what it does: one function for each thing worth telling, so that those who do it need not
 * know how it is worded, which fields it has, or how loud it is.
 *
 *   warning   somebody loses something, or may: a limit, a full segment, a packet that nobody should send
 *   notice    what an administrator wants to find in the journal the day after
 *   info      ordinary life
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/adopt.h"
#include "shm/request.h"

typedef struct Attachment Attachment;
typedef struct Connection Connection;
typedef struct Server Server;
typedef struct Store Store;

/* ------------------------------------------------------------------------------------------------ the daemon */

void report_ready(const Server *s);
void report_stopping(const Server *s);
void report_status(const Server *s);

/* A connection could not be accepted. */
void report_accept(int error);
void report_connections(const Server *s);
void report_other_user(uid_t uid, pid_t pid);

/* ------------------------------------------------------------------------------------------------ connections */

/* A packet that is answered by an error because of what it is. */
void report_refused(const Connection *c, uint16_t type, int error, bool end);

/* A Hello or Resume that is well-formed, and failed. */
void report_not_attached(const Connection *c, uint16_t type, int error);

/* The segment that a client brought was not taken. */
void report_not_taken(const Connection *c, int error);
void report_hello_timeout(const Connection *c);

/* ------------------------------------------------------------------------------------------------ clients */

void report_attached(const Attachment *a);
void report_lost(const Attachment *a);

/* It is reaped. */
void report_reaped(const Attachment *a);

/* A request failed, `error` positive: told if it is a limit or a full segment. */
void report_failed(const Attachment *a, const Request *request, int error);

/* It has come to a limit of its own, by what its account says: `limit` is the name of the option. */
void report_limit(const Attachment *a, const char *limit, uint64_t value);

/* Nothing is left of that: "handles", "scratch", or "memory" for the file system. */
void report_full(const Server *s, const char *resource);

/* Its entry in the client table was changed by somebody else, and was put right. */
void report_scribbled(const Attachment *a);

/* ------------------------------------------------------------------------------------------------ the segment */

void report_created(const Store *store);
void report_adopted(const Server *s, AdoptFrom from, unsigned living, unsigned dead);

/* One that was found at start and is of no use. `name` may be empty. */
void report_unusable(const char *name, int error);

/* One that only a daemon in another place can serve. */
void report_elsewhere(const char *name, int error);

/* The record beside the socket is none (-EBADMSG), or cannot be read. */
void report_record(const char *path, int error);

/* One that was nobody's any more was removed. */
void report_removed(const char *name);

/* One of another format version. */
void report_foreign(int fd, const char *name);

/* Ours was damaged or cut short while we worked on it. */
void report_lost_segment(const Server *s, int error);
