/* SPDX-License-Identifier: MIT */

#define SD_JOURNAL_SUPPRESS_LOCATION 1

#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "daemon/timer.h"

#define IDENTIFIER   "mono_handle_d"
#define JOURNAL_PATH "/run/systemd/journal/socket"

/* Less than PIPE_BUF, so that a line gets into a pipe whole or not at all. */
#define TEXT_MAX        1024
#define LINE_MAX_LENGTH 1280

#define ACCURACY_USEC UINT64_C(50000)

/* A record: the project's fields, and MESSAGE, MESSAGE_ID, PRIORITY, SYSLOG_IDENTIFIER and three of where it came from. */
#define RECORD_FIELDS (LOG_FIELDS_MAX + 7)
#define RECORD_SIZE   8192

/* What happened to a message. */
typedef enum Outcome {
        WRITTEN,
        DROPPED, /* there is no room for it now */
        FAILED,
} Outcome;

typedef struct Kind {
        const char *name;
        const char *id;
        unsigned burst;
        /* in the current interval */
        uint64_t since_usec;
        unsigned told;
        unsigned suppressed;
} Kind;

#define KIND(kind, hex, most, fields) [MESSAGE_##kind] = { .name = #kind, .id = (hex), .burst = (most) },
static Kind kinds[] = {
        /* Without an id: what nobody else can provoke often, but a mistake of ours could. */
        [MESSAGE_NONE] = { .name = "NONE", .burst = 200 },
        MESSAGES(KIND)
};
#undef KIND

static struct {
        int level;
        bool journal;
        bool prefix;    /* stderr goes to the journal line by line: it reads a priority from "<4>" */
        bool is_socket; /* stderr */
        int fd;         /* stderr, of our own and not blocking; or stderr itself */
        int probe;      /* connected to the journal's socket, tells whether it has room; -1: none */
        uint64_t dropped;
        uint64_t interval_usec;
        Timer timer; /* for what was suppressed, if there is a loop */
} self = {
        .level = LOG_INFO,
        .fd = STDERR_FILENO,
        .probe = -1,
        .interval_usec = LOG_RATE_INTERVAL,
};

static const char *const level_names[] = { "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug" };
static const char *const target_names[] = { "auto", "journal", "stderr" };

/* ------------------------------------------------------------------------------------------------ names */

void log_set_rate_interval(uint64_t usec)
{
        self.interval_usec = usec;
}

int log_max_level(void)
{
        return self.level;
}

int log_level_from_string(const char *s, int *ret)
{
        uint64_t number;

        assert(s && ret);

        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (strcmp(s, level_names[i]) == 0) {
                        *ret = (int)i;
                        return 0;
                }
        if (strcmp(s, "err") == 0)
                number = LOG_ERR;
        else if (parse_u64(s, LOG_EMERG, LOG_DEBUG, &number) < 0)
                return -EINVAL;
        *ret = (int)number;
        return 0;
}

int log_target_from_string(const char *s, LogTarget *ret)
{
        assert(s && ret);

        for (size_t i = 0; i < ELEMENTSOF(target_names); i++)
                if (strcmp(s, target_names[i]) == 0) {
                        *ret = (LogTarget)i;
                        return 0;
                }
        return -EINVAL;
}

const char *log_message_id(MessageKind kind)
{
        assert(kind < MESSAGE_KIND_COUNT);
        return kinds[kind].id;
}

/* ------------------------------------------------------------------------------------------------ opening */

/* systemd tells in $JOURNAL_STREAM which socket it connected stderr to; if we were redirected since, it is another. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        uint64_t dev, ino;
        struct stat st;

        return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) >= 0 &&
               st.st_dev == dev && st.st_ino == ino;
}

/* sendmsg() to a journal that hangs blocks once its queue is full, and there is no way to tell sd_journal_sendv() not to.
 * A socket of our own that is connected to the same place polls writable exactly while there is room. */
static int probe_open(void)
{
        static const struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = JOURNAL_PATH };
        _cleanup_close_ int fd = -1;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

/* O_NONBLOCK on stderr itself would be seen by all who share it: the shell that started us, too. So a pipe or a terminal
 * is opened once more, for us alone. Where that is not possible, we ask before each line whether there is room. */
static int stderr_open(bool *ret_is_socket)
{
        struct stat st;
        int fd;

        if (fstat(STDERR_FILENO, &st) < 0)
                return -errno;
        *ret_is_socket = S_ISSOCK(st.st_mode);
        if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
                return STDERR_FILENO;
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return fd >= 0 ? fd : STDERR_FILENO;
}

/* ------------------------------------------------------------------------------------------------ texts */

/* Bytes that would move a cursor, end a line or are not text. What is beyond ASCII stays, if it is UTF-8 and no C1. */
static size_t character(const unsigned char *p)
{
        size_t n = *p < 0x80                 ? 1
                   : *p >= 0xc3 && *p < 0xe0 ? 2
                   : *p >= 0xe0 && *p < 0xf0 ? 3
                   : *p >= 0xf0 && *p < 0xf5 ? 4
                                             : 0;

        if (*p == 0xc2)
                n = p[1] >= 0xa0 ? 2 : 0;
        if (n == 1)
                return *p >= ' ' && *p != 0x7f;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return n;
}

static void make_harmless(char *s)
{
        unsigned char *p = (unsigned char *)s;

        while (*p) {
                size_t n = character(p);

                if (n == 0)
                        *p = '?';
                p += MAX(n, (size_t)1);
        }
}

/* ------------------------------------------------------------------------------------------------ journal */

typedef struct Record {
        struct iovec fields[RECORD_FIELDS];
        int n;
        size_t used;
        char text[RECORD_SIZE];
} Record;

/* One field, "NAME=value"; what does not fit is cut. */
static _printf_(2, 3) void record_add(Record *r, const char *format, ...)
{
        size_t room = sizeof(r->text) - r->used;
        char *field = r->text + r->used;
        va_list ap;
        int n;

        assert(r->n < RECORD_FIELDS);

        va_start(ap, format);
        n = vsnprintf(field, room, format, ap);
        va_end(ap);
        if (n <= 0 || room <= 1)
                return;
        make_harmless(field);
        r->fields[r->n++] = (struct iovec){ .iov_base = field, .iov_len = MIN((size_t)n, room - 1) };
        r->used += MIN((size_t)n + 1, room);
}

typedef struct Place {
        const char *file;
        int line;
        const char *function;
} Place;

static Outcome to_journal(int level, MessageKind kind, const LogField *fields, const Place *place, const char *text)
{
        struct pollfd room = { .fd = self.probe, .events = POLLOUT };
        Record r = {};

        record_add(&r, "MESSAGE=%s", text);
        record_add(&r, "PRIORITY=%d", level);
        record_add(&r, "SYSLOG_IDENTIFIER=%s", IDENTIFIER);
        record_add(&r, "CODE_FILE=%s", place->file);
        record_add(&r, "CODE_LINE=%d", place->line);
        record_add(&r, "CODE_FUNC=%s", place->function);
        if (kinds[kind].id)
                record_add(&r, "MESSAGE_ID=%s", kinds[kind].id);
        for (size_t i = 0; fields[i].name && i < LOG_FIELDS_MAX; i++)
                if (fields[i].text)
                        record_add(&r, "%s=%.*s", fields[i].name, TEXT_MAX, fields[i].text);
                else
                        record_add(&r, "%s=%" PRId64, fields[i].name, fields[i].number);

        /* sd_journal_sendv() calls it a success if there is no journal. */
        if (access(JOURNAL_PATH, W_OK) < 0)
                return FAILED;
        if (poll(&room, 1, 0) == 0)
                return DROPPED;
        return sd_journal_sendv(r.fields, r.n) < 0 ? FAILED : WRITTEN;
}

/* ------------------------------------------------------------------------------------------------ stderr */

static Outcome to_stderr(int level, const char *text)
{
        struct pollfd room = { .fd = self.fd, .events = POLLOUT };
        char line[LINE_MAX_LENGTH];
        ssize_t n;
        int length;

        if (self.prefix)
                length = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
        else
                length = snprintf(line, sizeof(line), IDENTIFIER "[%d]: %s: %s\n", (int)getpid(), level_names[level],
                                  text);
        assert(length > 0 && (size_t)length < sizeof(line));

        /* Asked for all of them; those that are ours alone would not block either way. */
        if (poll(&room, 1, 0) == 0)
                return DROPPED;
        do
                n = self.is_socket ? send(self.fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL)
                                   : write(self.fd, line, (size_t)length);
        while (n < 0 && errno == EINTR);
        if (n >= 0)
                return WRITTEN;
        return errno == EAGAIN || errno == ENOBUFS ? DROPPED : FAILED;
}

/* ------------------------------------------------------------------------------------------------ bounds */

static Outcome deliver(int level, MessageKind kind, const LogField *fields, const Place *place, const char *text)
{
        Outcome o = FAILED;

        if (self.journal)
                o = to_journal(level, kind, fields, place, text);
        /* One that is not there, or refuses the record; one that is merely slow gets no second try elsewhere. */
        if (o == FAILED)
                o = to_stderr(level, text);
        return o;
}

/* Tells what has been suppressed, of each kind whose interval is over, or of all. */
static void tell_suppressed(bool all)
{
        static const Place place = { __FILE__, __LINE__, "tell_suppressed" };
        uint64_t now = clock_usec();

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                Kind *k = &kinds[i];
                char text[128];

                if (k->suppressed == 0 || (!all && now - k->since_usec < self.interval_usec))
                        continue;
                (void)snprintf(text, sizeof(text), "%u more messages of the kind %s were suppressed", k->suppressed,
                               k->name);
                if (deliver(LOG_WARNING, MESSAGE_SUPPRESSED,
                            LOG_FIELDS(FIELD_NUMBER("MONO_HANDLE_SUPPRESSED", k->suppressed),
                                       FIELD_TEXT("MONO_HANDLE_KIND", k->name)),
                            &place, text) == DROPPED &&
                    !all)
                        continue;
                k->suppressed = 0;
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        tell_suppressed(false);
        return 0;
}

/* Sees to it that what was suppressed is told when the interval is over. */
static void arm(uint64_t usec)
{
        if (self.timer.source && !timer_is_armed(&self.timer))
                timer_arm(&self.timer, usec);
}

/* May another one of the kind be told? */
static bool admit(MessageKind kind)
{
        Kind *k = &kinds[kind];
        uint64_t now = clock_usec();

        if (k->told == 0 || now - k->since_usec >= self.interval_usec) {
                k->since_usec = now;
                k->told = 0;
        }
        if (k->told < k->burst) {
                k->told++;
                return true;
        }
        k->suppressed++;
        arm(k->since_usec + self.interval_usec - now);
        return false;
}

void log_write(int level, MessageKind kind, const LogField *fields, const char *file, int line, const char *function,
               const char *format, ...)
{
        const Place place = { file, line, function };
        char text[TEXT_MAX];
        int saved = errno;
        va_list ap;

        assert(level >= LOG_EMERG && level <= LOG_DEBUG && kind < MESSAGE_KIND_COUNT && fields && format);

        tell_suppressed(false);
        /* Who asks for LOG_DEBUG wants all of it. */
        if (level < LOG_DEBUG && !admit(kind))
                goto end;

        if (self.dropped > 0) {
                (void)snprintf(text, sizeof(text), "%" PRIu64 " messages were lost: nobody took them", self.dropped);
                if (deliver(LOG_WARNING, MESSAGE_NONE, LOG_NO_FIELDS, &place, text) != DROPPED)
                        self.dropped = 0;
        }

        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        make_harmless(text);
        if (deliver(level, kind, fields, &place, text) == DROPPED)
                self.dropped++;
end:
        errno = saved;
}

void log_attach_loop(Loop *loop)
{
        timer_done(&self.timer);
        /* Without a timer it is told with the next record. */
        if (loop)
                (void)timer_init(&self.timer, loop, ACCURACY_USEC, on_timer, NULL);
}

static void close_targets(void)
{
        tell_suppressed(true);
        if (self.fd != STDERR_FILENO)
                (void)fd_close(self.fd);
        self.fd = STDERR_FILENO;
        self.probe = fd_close(self.probe);
        self.journal = false;
        self.prefix = false;
        self.is_socket = false;
        self.level = LOG_INFO;
}

int log_open(LogTarget target, int max_level)
{
        _cleanup_close_ int probe = -1;
        bool is_socket = false, is_journal = stderr_is_journal();
        int fd, missed = 0;

        assert(max_level >= LOG_EMERG && max_level <= LOG_DEBUG);

        if (target == LOG_TARGET_JOURNAL || (target == LOG_TARGET_AUTO && is_journal)) {
                probe = probe_open();
                missed = probe < 0 ? probe : 0;
        }
        fd = stderr_open(&is_socket);
        if (fd < 0)
                return fd;

        close_targets();
        self.level = max_level;
        self.journal = probe >= 0;
        self.prefix = is_journal;
        self.is_socket = is_socket;
        self.fd = fd;
        self.probe = TAKE_FD(probe);
        if (missed < 0)
                log_note(LOG_NOTICE, "No journal can be reached (%s); telling it here", strerror(-missed));
        return 0;
}

void log_close(void)
{
        log_attach_loop(NULL);
        close_targets();
}
