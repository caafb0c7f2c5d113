/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Diagnostics: to the journal as records with named fields, or to stderr as lines.
 *
 *     log_message(LOG_WARNING, MESSAGE_CLIENT_LOST,
 *                 LOG_FIELDS(FIELD_CLIENT(id), FIELD_PID(pid), FIELD_COMM(comm)),
 *                 "client %u (pid %d, %s) closed its connection and lives", id, pid, comm);
 *     log_note(LOG_DEBUG, "no record beside the socket");
 *
 * Whatever is told comes from somewhere: names of clients, contents of packets. So bytes that would upset a terminal or
 * forge a line are replaced, texts are cut at a length, and the number of messages of a kind is bounded in time: what is
 * suppressed is counted, and the count is told.
 *
 * The daemon never waits for whoever reads its diagnostics. If stderr or the journal takes no more, what would be written
 * is dropped and counted, and the count is told when there is room again. SIGPIPE must be ignored.
 *
 * One thread, and not from signal handlers.
 */

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "base/cleanup.h"
#include "daemon/messages.h"

#define LOG_RATE_INTERVAL UINT64_C(10000000) /* microseconds */

typedef enum LogTarget {
        LOG_TARGET_AUTO, /* the journal, if stderr goes there anyway */
        LOG_TARGET_JOURNAL,
        LOG_TARGET_STDERR,
} LogTarget;

typedef struct LogField {
        const char *name;
        const char *text; /* NULL: the number */
        int64_t number;
} LogField;

#define FIELD_TEXT(n, t)   ((LogField){ .name = (n), .text = (t) ?: "" })
#define FIELD_NUMBER(n, v) ((LogField){ .name = (n), .number = (int64_t)(v) })

/* The fields of the project, one name each (see messages.h for who has which). */
#define FIELD_SOCKET(path)   FIELD_TEXT("MONO_HANDLE_SOCKET", path)
#define FIELD_SEGMENT(name)  FIELD_TEXT("MONO_HANDLE_SEGMENT", name)
#define FIELD_CLIENT(id)     FIELD_NUMBER("MONO_HANDLE_CLIENT", id)
#define FIELD_PID(pid)       FIELD_NUMBER("MONO_HANDLE_PID", pid)
#define FIELD_UID(uid)       FIELD_NUMBER("MONO_HANDLE_UID", uid)
#define FIELD_COMM(comm)     FIELD_TEXT("MONO_HANDLE_COMM", comm)
#define FIELD_CLIENTS(n)     FIELD_NUMBER("MONO_HANDLE_CLIENTS", n)
#define FIELD_DEAD(n)        FIELD_NUMBER("MONO_HANDLE_DEAD", n)
#define FIELD_HANDLES(n)     FIELD_NUMBER("MONO_HANDLE_HANDLES", n)
#define FIELD_BYTES(n)       FIELD_NUMBER("MONO_HANDLE_BYTES", n)
#define FIELD_LIMIT(option)  FIELD_TEXT("MONO_HANDLE_LIMIT", option)
#define FIELD_VALUE(n)       FIELD_NUMBER("MONO_HANDLE_VALUE", n)
#define FIELD_RESOURCE(what) FIELD_TEXT("MONO_HANDLE_RESOURCE", what)
#define FIELD_REASON(text)   FIELD_TEXT("MONO_HANDLE_REASON", text)
#define FIELD_VERSION(n)     FIELD_NUMBER("MONO_HANDLE_VERSION", n)
#define FIELD_REQUEST(name)  FIELD_TEXT("MONO_HANDLE_REQUEST", name)
#define FIELD_HANDLE(text)   FIELD_TEXT("MONO_HANDLE_HANDLE", text)
#define FIELD_ERRNO(error)   FIELD_NUMBER("ERRNO", (error) < 0 ? -(error) : (error))

/* A list of them that ends by itself. At most LOG_FIELDS_MAX. */
#define LOG_FIELDS_MAX  12
#define LOG_FIELDS(...) ((const LogField[]){ __VA_ARGS__, {} })
#define LOG_NO_FIELDS   ((const LogField[]){ {} })

typedef struct Loop Loop;

/* Before this, messages from LOG_INFO up go to stderr; after it, too, where there is no journal. -errno if there is no
 * stderr either, and then it is as before. */
int log_open(LogTarget target, int max_level);

/* Tells what was suppressed or dropped and closes what log_open() opened; later messages go to stderr. */
void log_close(void);

/* Lets counts of suppressed messages be told when their time is over, though nothing else is said. NULL: no longer, as
 * after log_close(). */
void log_attach_loop(Loop *loop);

/* LOG_RATE_INTERVAL, unless a test has not that much time. */
void log_set_rate_interval(uint64_t usec);

int log_max_level(void);

/* "emerg" … "debug" or 0 … 7. -EINVAL. */
int log_level_from_string(const char *s, int *ret);
int log_target_from_string(const char *s, LogTarget *ret);

/* The id of a kind, 32 hexadecimal digits; NULL for MESSAGE_NONE. */
const char *log_message_id(MessageKind kind);

#define log_message(level, kind, fields, ...)                                                      \
        ({                                                                                         \
                if ((level) <= log_max_level())                                                    \
                        log_write(level, kind, fields, __FILE__, __LINE__, __func__, __VA_ARGS__); \
        })
#define log_note(level, ...) log_message(level, MESSAGE_NONE, LOG_NO_FIELDS, __VA_ARGS__)

void log_write(int level, MessageKind kind, const LogField *fields, const char *file, int line, const char *function,
               const char *format, ...) _printf_(7, 8);
