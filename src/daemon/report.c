/* SPDX-License-Identifier: MIT */

#include "daemon/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/format.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "shm/totals.h"

static const char *name_or_none(const char *name)
{
        return name[0] != '\0' ? name : "(no name)";
}

static uint64_t count_handles(const Server *s)
{
        Totals totals = {};

        if (store_is_open(&s->store))
                totals_read(&s->store.segment, &totals);
        return totals.handles;
}

/* ------------------------------------------------------------------------------------------------ the daemon */

void report_ready(const Server *s)
{
        const char *segment = store_is_open(&s->store) ? s->store.name : "";

        log_message(LOG_INFO, MESSAGE_READY, LOG_FIELDS(FIELD_SOCKET(s->listener->path), FIELD_SEGMENT(segment)),
                    "Ready at %s", s->listener->path);
}

void report_stopping(const Server *s)
{
        log_message(LOG_INFO, MESSAGE_STOPPING,
                    LOG_FIELDS(FIELD_REASON(s->stop_reason), FIELD_CLIENTS(s->n_attachments),
                               FIELD_HANDLES(count_handles(s))),
                    s->n_attachments > 0 ? "Stopping (%s); %" PRIu32 " clients wait for the next daemon"
                                         : "Stopping (%s)",
                    s->stop_reason, s->n_attachments);
}

void report_status(const Server *s)
{
        log_note(LOG_INFO, "%s, %u connections", s->status, s->n_connections);
}

void report_accept(int error)
{
        log_message(LOG_WARNING, MESSAGE_LIMIT_REACHED,
                    LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(0), FIELD_LIMIT("descriptors"), FIELD_VALUE(0),
                               FIELD_ERRNO(error)),
                    "A connection has to wait: %s", strerror(-error));
}

void report_connections(const Server *s)
{
        log_message(
                LOG_WARNING, MESSAGE_LIMIT_REACHED,
                LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(0), FIELD_LIMIT("connections"), FIELD_VALUE(s->n_connections)),
                "All %u connections are in use; more have to wait", s->n_connections);
}

void report_other_user(uid_t uid, pid_t pid)
{
        log_message(LOG_WARNING, MESSAGE_PEER_REFUSED, LOG_FIELDS(FIELD_UID(uid), FIELD_PID(pid)),
                    "Refused a connection of another user (uid %u, pid %d)", (unsigned)uid, (int)pid);
}

/* ------------------------------------------------------------------------------------------------ connections */

static uint32_t client_of(const Connection *c)
{
        return c->attachment ? c->attachment->id : 0;
}

static const char *why_refused(int error)
{
        switch (error) {
        case -EBADMSG:
                return "malformed";
        case -EOPNOTSUPP:
                return "unknown type";
        case -EPROTO:
                return "out of order";
        case -EPROTONOSUPPORT:
                return "no version in common";
        case -EPERM:
                return "credentials do not fit";
        default:
                return strerror(-error);
        }
}

void report_refused(const Connection *c, uint16_t type, int error, bool end)
{
        log_message(LOG_WARNING, MESSAGE_PACKET_REFUSED,
                    LOG_FIELDS(FIELD_CLIENT(client_of(c)), FIELD_PID(c->pid), FIELD_REASON(why_refused(error)),
                               FIELD_REQUEST(wire_type_name(type)), FIELD_ERRNO(error)),
                    "Refused a packet of type %u from pid %d (client %" PRIu32 "): %s%s", type, (int)c->pid,
                    client_of(c), why_refused(error), end ? "; the connection ends" : "");
}

void report_not_attached(const Connection *c, uint16_t type, int error)
{
        const Server *s = c->server;

        if (error == -EUSERS)
                log_message(
                        LOG_WARNING, MESSAGE_LIMIT_REACHED,
                        LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(c->pid), FIELD_LIMIT("clients"), FIELD_VALUE(s->n_ids)),
                        "All %" PRIu32 " client ids are in use; pid %d was refused", s->n_ids - 1, (int)c->pid);
        else if (error == -ENOSPC)
                log_message(LOG_WARNING, MESSAGE_SEGMENT_FULL,
                            LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(c->pid), FIELD_RESOURCE("attach")),
                            "No shared memory left for a new client (pid %d)", (int)c->pid);
        else
                log_note(error == -ESTALE ? LOG_INFO : LOG_WARNING, "%s of pid %d failed: %s", wire_type_name(type),
                         (int)c->pid, strerror(-error));
}

void report_not_taken(const Connection *c, int error)
{
        log_note(LOG_INFO, "pid %d wants to resume in a segment that is not served here: %s", (int)c->pid,
                 strerror(-error));
}

void report_hello_timeout(const Connection *c)
{
        log_message(LOG_INFO, MESSAGE_PACKET_REFUSED,
                    LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(c->pid), FIELD_REASON("no hello in time")),
                    "Closed a connection of pid %d that did not say hello", (int)c->pid);
}

/* ------------------------------------------------------------------------------------------------ clients */

void report_attached(const Attachment *a)
{
        log_note(LOG_DEBUG, "Client %" PRIu32 " attached: pid %" PRIu32 " (%s), %s", a->id, a->info.pid, a->comm,
                 attachment_maps(a) ? "maps the segment" : "by wire only");
}

void report_lost(const Attachment *a)
{
        log_message(LOG_NOTICE, MESSAGE_CLIENT_LOST,
                    LOG_FIELDS(FIELD_CLIENT(a->id), FIELD_PID(a->info.pid), FIELD_COMM(a->comm)),
                    "Client %" PRIu32 " (pid %" PRIu32
                    ", %s) has no connection, but its process has the segment mapped: "
                    "it keeps what it holds",
                    a->id, a->info.pid, a->comm);
}

void report_reaped(const Attachment *a)
{
        const ReapStats *stats = &a->reap.stats;
        char bytes[FORMAT_MAX];

        if (a->detached) {
                log_note(LOG_DEBUG, "Client %" PRIu32 " detached", a->id);
                return;
        }
        log_message(stats->handles > 0 || stats->scratch_bytes > 0 ? LOG_NOTICE : LOG_INFO, MESSAGE_CLIENT_DIED,
                    LOG_FIELDS(FIELD_CLIENT(a->id), FIELD_PID(a->info.pid), FIELD_COMM(a->comm),
                               FIELD_HANDLES(stats->handles), FIELD_BYTES(stats->scratch_bytes)),
                    "Client %" PRIu32 " (pid %" PRIu32 ", %s) died holding %" PRIu64 " handles and %" PRIu64
                    " bytes of scratch (%s)",
                    a->id, a->info.pid, a->comm, stats->handles, stats->scratch_bytes,
                    format_bytes(bytes, stats->scratch_bytes));
}

void report_limit(const Attachment *a, const char *limit, uint64_t value)
{
        log_message(LOG_WARNING, MESSAGE_LIMIT_REACHED,
                    LOG_FIELDS(FIELD_CLIENT(a->id), FIELD_PID(a->info.pid), FIELD_LIMIT(limit), FIELD_VALUE(value)),
                    "Client %" PRIu32 " (pid %" PRIu32 ", %s) reached its limit of %" PRIu64 " (%s)", a->id,
                    a->info.pid, a->comm, value, limit);
}

void report_failed(const Attachment *a, const Request *request, int error)
{
        const SegmentConfig *config = &a->server->options->segment;
        bool scratch = request->op == MH_WIRE_SCRATCH;

        if (error == EDQUOT && scratch)
                report_limit(a, "client-scratch", config->limit_client_scratch);
        else if (error == EDQUOT)
                report_limit(a, "client-handles", config->limit_client_handles);
        else if (error == ENOSPC && request->op != MH_WIRE_GIVE)
                log_message(LOG_WARNING, MESSAGE_SEGMENT_FULL,
                            LOG_FIELDS(FIELD_CLIENT(a->id), FIELD_PID(a->info.pid),
                                       FIELD_RESOURCE(scratch ? "scratch" : "handles")),
                            "The segment, or shared memory as a whole, is full: no %s for client %" PRIu32
                            " (pid %" PRIu32 ", %s)",
                            scratch ? "scratch memory" : "handle", a->id, a->info.pid, a->comm);
}

void report_full(const Server *s, const char *resource)
{
        bool memory = strcmp(resource, "memory") == 0;

        log_message(LOG_WARNING, MESSAGE_SEGMENT_FULL,
                    LOG_FIELDS(FIELD_CLIENT(0), FIELD_PID(0), FIELD_RESOURCE(resource), FIELD_SEGMENT(s->store.name)),
                    memory ? "Shared memory as a whole is full: calls for more %s fail"
                           : "The segment is full: calls for more %s fail",
                    resource);
}

void report_scribbled(const Attachment *a)
{
        log_note(LOG_WARNING, "The entry of client %" PRIu32 " was overwritten by another process; it was put right",
                 a->id);
}

/* ------------------------------------------------------------------------------------------------ the segment */

void report_created(const Store *store)
{
        char bytes[FORMAT_MAX];

        log_note(LOG_INFO, "Made the segment %s: %" PRIu32 " handles, %" PRIu32 " clients, %s of scratch", store->name,
                 store->segment.n_slots, store->segment.n_clients,
                 format_bytes(bytes, (uint64_t)store->segment.n_spans * MH_SHM_SPAN_SIZE));
}

static const char *how_found(AdoptFrom from)
{
        switch (from) {
        case ADOPT_FDSTORE:
                return "kept by the service manager";
        case ADOPT_RECORD:
                return "found by its name";
        case ADOPT_BROUGHT:
                return "brought by a client";
        default:
                return "new";
        }
}

void report_adopted(const Server *s, AdoptFrom from, unsigned living, unsigned dead)
{
        const Segment *seg = &s->store.segment;
        const SegmentConfig *config = &s->options->segment;
        uint64_t handles = count_handles(s);

        log_message(LOG_NOTICE, MESSAGE_ADOPTED,
                    LOG_FIELDS(FIELD_SEGMENT(s->store.name), FIELD_CLIENTS(living), FIELD_DEAD(dead),
                               FIELD_HANDLES(handles)),
                    "Took over the segment %s, %s: %u clients live, %u died; %" PRIu64 " handles",
                    name_or_none(s->store.name), how_found(from), living, dead, handles);
        if (seg->n_slots != config->n_slots || seg->n_clients != config->n_clients ||
            (uint64_t)seg->n_spans * MH_SHM_SPAN_SIZE != config->scratch_bytes)
                log_note(LOG_INFO,
                         "It keeps the capacities that it was made with; those that are set now are for the next one");
}

static const char *why_unusable(int error)
{
        switch (error) {
        case -EBADMSG:
                return "its header is damaged";
        case -EIO:
                return "it was cut short";
        case -EAGAIN:
                return "it was never finished";
        case -ESTALE:
                return "it was closed for good";
        case -EPERM:
                return "it belongs to somebody else or is no shared memory";
        default:
                return strerror(-error);
        }
}

void report_unusable(const char *name, int error)
{
        int level = error == -EAGAIN || error == -ESTALE ? LOG_INFO : LOG_WARNING;

        log_message(level, MESSAGE_SEGMENT_LOST,
                    LOG_FIELDS(FIELD_SEGMENT(name), FIELD_REASON(why_unusable(error)), FIELD_ERRNO(error)),
                    "Left the segment %s alone: %s", name_or_none(name), why_unusable(error));
}

static const char *why_elsewhere(int error)
{
        if (error == -EXDEV)
                return "it was made under another user id, by another user or in another user namespace";
        return "its clients were attached in another pid or time namespace, and some of them may live";
}

void report_elsewhere(const char *name, int error)
{
        log_message(LOG_ERR, MESSAGE_ELSEWHERE,
                    LOG_FIELDS(FIELD_SEGMENT(name), FIELD_REASON(why_elsewhere(error)), FIELD_ERRNO(error)),
                    "The segment %s cannot be served from here: %s", name_or_none(name), why_elsewhere(error));
}

void report_record(const char *path, int error)
{
        if (error == -EBADMSG)
                log_note(LOG_WARNING, "%s is not a record of a segment; it is removed", path);
        else
                log_note(LOG_ERR, "Cannot read %s, which may name a segment that is in use: %s", path,
                         strerror(-error));
}

void report_removed(const char *name)
{
        log_note(LOG_NOTICE, "Removed the segment %s: nobody has it any more", name);
}

void report_foreign(int fd, const char *name)
{
        uint32_t version = 0;

        if (fd >= 0)
                (void)segment_version(fd, &version);
        log_message(LOG_ERR, MESSAGE_VERSION_REFUSED,
                    LOG_FIELDS(FIELD_PID(0), FIELD_VERSION(version), FIELD_SEGMENT(name)),
                    "The segment %s has format version %" PRIu32
                    ", this is mono_handle_d %s for version %u: it is left to a "
                    "daemon that knows it",
                    name_or_none(name), version, MONO_HANDLE_D_VERSION, MH_SHM_VERSION);
}

void report_lost_segment(const Server *s, int error)
{
        log_message(LOG_ERR, MESSAGE_SEGMENT_LOST,
                    LOG_FIELDS(FIELD_SEGMENT(s->store.name), FIELD_REASON(why_unusable(error)),
                               FIELD_CLIENTS(s->n_attachments), FIELD_ERRNO(error)),
                    "The segment %s is lost, with what %" PRIu32 " clients held: %s", name_or_none(s->store.name),
                    s->n_attachments, why_unusable(error));
}
