/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/loop.h"

/* The reading end of what is stderr now, and the test runner's stderr. */
static int reader = -1, original = -1;

static void make(void)
{
        (void)signal(SIGPIPE, SIG_IGN);
        (void)unsetenv("JOURNAL_STREAM");
        original = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        cr_assert_geq(original, 0);
}

static void clean(void)
{
        log_close();
        (void)dup2(original, STDERR_FILENO);
        original = fd_close(original);
        reader = fd_close(reader);
}

TestSuite(log, .init = make, .fini = clean);

static void stderr_is(const int fds[2])
{
        cr_assert_geq(dup2(fds[1], STDERR_FILENO), 0);
        (void)fd_close(fds[1]);
        reader = fds[0];
        cr_assert_eq(fd_set_nonblock(reader), 0);
}

static void stderr_is_pipe(void)
{
        int fds[2];

        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        stderr_is(fds);
}

static void stderr_is_socket(void)
{
        int fds[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        stderr_is(fds);
}

/* All that was written since. */
static char *written(void)
{
        static char text[1 << 20];
        size_t n = 0;
        ssize_t r;

        while (n < sizeof(text) - 1 && (r = read(reader, text + n, sizeof(text) - 1 - n)) > 0)
                n += (size_t)r;
        text[n] = '\0';
        return text;
}

static unsigned count(const char *text, const char *what)
{
        unsigned n = 0;

        for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
                n++;
        return n;
}

static void refuse_packets(unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                log_message(LOG_WARNING, MESSAGE_PACKET_REFUSED,
                            LOG_FIELDS(FIELD_CLIENT(3), FIELD_PID(77), FIELD_REASON("malformed")), "refused %u", i);
}

/* ------------------------------------------------------------------------------------------------ lines */

Test(log, lines_on_stderr)
{
        char expected[128];

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_AUTO, LOG_INFO), 0);
        errno = EPROTO;
        log_message(LOG_WARNING, MESSAGE_CLIENT_LOST, LOG_FIELDS(FIELD_CLIENT(3), FIELD_PID(77), FIELD_COMM("a")),
                    "client %d is lost", 3);
        cr_assert_eq(errno, EPROTO);
        (void)snprintf(expected, sizeof(expected), "mono_handle_d[%d]: warning: client 3 is lost\n", (int)getpid());
        cr_assert_str_eq(written(), expected);
}

Test(log, before_it_is_opened_and_after_it_is_closed)
{
        stderr_is_pipe();
        log_note(LOG_ERR, "early");
        log_note(LOG_DEBUG, "too much");
        cr_assert_not_null(strstr(written(), "error: early\n"));
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_DEBUG), 0);
        cr_assert_eq(log_max_level(), LOG_DEBUG);
        log_close();
        log_note(LOG_DEBUG, "too much");
        log_note(LOG_INFO, "late");
        cr_assert_not_null(strstr(written(), "info: late\n"));
}

static int evaluated;

static const char *evaluate(void)
{
        evaluated++;
        return "x";
}

Test(log, levels)
{
        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_WARNING), 0);
        log_note(LOG_NOTICE, "%s", evaluate());
        cr_assert_eq(evaluated, 0, "costs nothing");
        log_note(LOG_WARNING, "%s", evaluate());
        log_note(LOG_EMERG, "%s", evaluate());
        cr_assert_eq(evaluated, 2);
        cr_assert_eq(count(written(), "\n"), 2);
}

Test(log, names)
{
        static const char *const levels[] = { "emerg", "alert", "crit", "error", "warning", "notice", "info", "debug" };
        static const char *const targets[] = { "auto", "journal", "stderr" };
        int level = -7;
        LogTarget target;

        for (int i = LOG_EMERG; i <= LOG_DEBUG; i++) {
                cr_assert_eq(log_level_from_string(levels[i], &level), 0);
                cr_assert_eq(level, i);
                cr_assert_eq(log_level_from_string((char[]){ (char)('0' + i), '\0' }, &level), 0);
                cr_assert_eq(level, i);
        }
        cr_assert_eq(log_level_from_string("err", &level), 0);
        cr_assert_eq(level, LOG_ERR);
        cr_assert_eq(log_level_from_string("8", &level), -EINVAL);
        cr_assert_eq(log_level_from_string("", &level), -EINVAL);
        cr_assert_eq(log_level_from_string("INFO", &level), -EINVAL);
        cr_assert_eq(level, LOG_ERR);

        for (LogTarget t = LOG_TARGET_AUTO; t <= LOG_TARGET_STDERR; t++) {
                cr_assert_eq(log_target_from_string(targets[t], &target), 0);
                cr_assert_eq(target, t);
        }
        cr_assert_eq(log_target_from_string("syslog", &target), -EINVAL);
}

Test(log, nobody_forges_a_line_or_upsets_a_terminal)
{
        char *text;

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        log_note(LOG_INFO, "%s", "a\nmono_handle_d[1]: error: b\r\t\033[2J\177 \xc2\x9b \xff \xe2\x82");
        text = written();
        cr_assert_eq(count(text, "\n"), 1);
        cr_assert_not_null(strstr(text, "info: a?mono_handle_d[1]: error: b???[2J? ?? ? ??\n"), "%s", text);
        log_note(LOG_INFO, "%s", "Grüße, 漢字, 🎉");
        cr_assert_not_null(strstr(written(), "Grüße, 漢字, 🎉\n"));
}

Test(log, long_ones_are_cut)
{
        char endless[10000];
        char *text;

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        memset(endless, 'x', sizeof(endless));
        endless[sizeof(endless) - 1] = '\0';
        log_note(LOG_INFO, "%s", endless);
        text = written();
        cr_assert_gt(strlen(text), 1000);
        cr_assert_lt(strlen(text), 2000);
        cr_assert_eq(text[strlen(text) - 1], '\n');
}

Test(log, a_priority_for_a_journal_that_reads_lines)
{
        char stream[64];
        struct stat st;

        stderr_is_socket();
        cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
        cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        log_note(LOG_WARNING, "text");
        cr_assert_str_eq(written(), "<4>text\n");
}

/* ------------------------------------------------------------------------------------------------ never waiting */

/* Fills stderr with messages, looks that none of them blocked and that the loss is told. An alarm ends the test
 * otherwise. */
static void fill_and_tell(unsigned most)
{
        unsigned n = 0;
        char *text;

        (void)alarm(20);
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_DEBUG), 0);
        while (poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, 0) > 0 && n < most) {
                log_note(LOG_DEBUG, "%0*u", 900, n);
                n++;
        }
        cr_assert_lt(n, most, "never full");
        (void)written();
        while (poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, 0) > 0)
                log_note(LOG_DEBUG, "%0*u", 900, n);

        for (unsigned i = 0; i < 10; i++)
                log_note(LOG_INFO, "lost %u", i);
        cr_assert_eq(count(written(), "lost "), 0);
        log_note(LOG_INFO, "there is room");
        text = written();
        cr_assert_not_null(strstr(text, " messages were lost: nobody took them\n"), "%s", text);
        cr_assert_not_null(strstr(text, "info: there is room\n"));
        log_note(LOG_INFO, "again");
        cr_assert_eq(count(written(), "\n"), 1);
        (void)alarm(0);
}

Test(log, a_full_pipe_stops_nobody)
{
        stderr_is_pipe();
        fill_and_tell(100000);
        cr_assert_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0, "who shares it need not notice");
}

Test(log, a_full_socket_stops_nobody)
{
        stderr_is_socket();
        fill_and_tell(100000);
        cr_assert_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

Test(log, nobody_there_at_all)
{
        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        reader = fd_close(reader);
        errno = EPROTO;
        log_note(LOG_INFO, "into the void");
        cr_assert_eq(errno, EPROTO);

        cr_assert_eq(close(STDERR_FILENO), 0);
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), -EBADF);
        log_note(LOG_INFO, "and nowhere");
}

/* ------------------------------------------------------------------------------------------------ bounds */

Test(log, a_burst_is_cut_and_counted)
{
        char *text;

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        refuse_packets(25);
        log_message(LOG_WARNING, MESSAGE_PEER_REFUSED, LOG_FIELDS(FIELD_UID(1), FIELD_PID(2)), "another kind");
        text = written();
        cr_assert_eq(count(text, "refused "), 20);
        cr_assert_eq(count(text, "another kind"), 1);
        cr_assert_null(strstr(text, "suppressed"));
        log_close();
        text = written();
        cr_assert_not_null(strstr(text, "warning: 5 more messages of the kind PACKET_REFUSED were suppressed\n"), "%s",
                           text);
        cr_assert_eq(count(text, "\n"), 1);
}

Test(log, who_asks_for_everything_gets_it)
{
        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_DEBUG), 0);
        for (unsigned i = 0; i < 300; i++)
                log_note(LOG_DEBUG, "everything");
        cr_assert_eq(count(written(), "everything"), 300);
        for (unsigned i = 0; i < 300; i++)
                log_note(LOG_INFO, "not");
        cr_assert_eq(count(written(), "info: not"), 200);
}

static void sleep_until(const struct timespec *t)
{
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, t, NULL) == EINTR)
                ;
}

Test(log, after_the_interval_it_begins_anew)
{
        struct timespec t;
        char *text;

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        log_set_rate_interval(2000000);
        refuse_packets(22);
        cr_assert_eq(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        (void)written();
        t.tv_sec += 3;
        sleep_until(&t);
        refuse_packets(1);
        text = written();
        cr_assert_not_null(strstr(text, " 2 more messages of the kind PACKET_REFUSED"), "%s", text);
        cr_assert_eq(count(text, "refused 0"), 1);
        cr_assert_eq(count(text, "\n"), 2);
        t.tv_sec += 3;
        sleep_until(&t);
        refuse_packets(1);
        cr_assert_eq(count(written(), "\n"), 1, "told once");
}

Test(log, the_count_is_told_though_nothing_else_is_said)
{
        Loop loop;
        char *text = NULL;

        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_STDERR, LOG_INFO), 0);
        cr_assert_eq(loop_init(&loop), 0);
        log_attach_loop(&loop);
        /* Long enough to be done with the burst before it is over, on a slow machine, too. */
        log_set_rate_interval(getenv("MONO_HANDLE_TEST_SLOWNESS") ? 4000000 : 1000000);
        for (unsigned round = 0; round < 2; round++) {
                refuse_packets(23);
                (void)written();
                for (unsigned i = 0; i < 200; i++) {
                        cr_assert_geq(loop_turn(&loop, 100), 0);
                        text = written();
                        if (*text)
                                break;
                }
                cr_assert_not_null(strstr(text, "more messages of the kind PACKET_REFUSED were suppressed\n"), "%s",
                                   text);
                /* And the burst is there again. */
                refuse_packets(1);
                cr_assert_eq(count(written(), "refused 0"), 1);
        }
        log_attach_loop(NULL);
        loop_done(&loop);
}

/* ------------------------------------------------------------------------------------------------ the journal */

/* A namespace in which /run is ours, and we are the journal. -1 where that is not allowed. */
static int be_the_journal(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
        int fd;

        if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return -1;
        if (mount("none", "/", "none", MS_REC | MS_PRIVATE, "") < 0 || mount("tmpfs", "/run", "tmpfs", 0, "") < 0)
                return -1;
        if (mkdir("/run/systemd", 0755) < 0 || mkdir("/run/systemd/journal", 0755) < 0)
                return -1;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

/* The next record as lines, or "". */
static char *record(int journal)
{
        static char text[16384];
        ssize_t n = recv(journal, text + 1, sizeof(text) - 2, 0);

        text[0] = '\n';
        text[n < 0 ? 1 : 1 + n] = '\0';
        return n < 0 ? text + 1 : text;
}

static bool has(const char *text, const char *field)
{
        char line[256];

        (void)snprintf(line, sizeof(line), "\n%s\n", field);
        return strstr(text, line);
}

Test(log, records_in_the_journal)
{
        int journal = be_the_journal();
        char *text;

        if (journal < 0)
                cr_skip_test("may not make a mount namespace");
        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_JOURNAL, LOG_INFO), 0);
        log_message(LOG_NOTICE, MESSAGE_CLIENT_DIED,
                    LOG_FIELDS(FIELD_CLIENT(3), FIELD_PID(77), FIELD_COMM("a\nPRIORITY=0"), FIELD_HANDLES(10000),
                               FIELD_BYTES(UINT64_C(1) << 40)),
                    "client %d died", 3);
        text = record(journal);
        cr_assert(has(text, "MESSAGE=client 3 died"), "%s", text);
        cr_assert(has(text, "MESSAGE_ID=2e1983fdb2fc4636b1842df42ad1fbc4"));
        cr_assert(has(text, "PRIORITY=5"));
        cr_assert(has(text, "SYSLOG_IDENTIFIER=mono_handle_d"));
        cr_assert(has(text, "CODE_FUNC=log_records_in_the_journal_impl"), "%s", text);
        cr_assert_eq(count(text, "\nCODE_FILE="), 1);
        cr_assert_eq(count(text, "\nCODE_LINE="), 1);
        cr_assert(has(text, "MONO_HANDLE_CLIENT=3"));
        cr_assert(has(text, "MONO_HANDLE_PID=77"));
        cr_assert(has(text, "MONO_HANDLE_COMM=a?PRIORITY=0"));
        cr_assert(has(text, "MONO_HANDLE_HANDLES=10000"));
        cr_assert(has(text, "MONO_HANDLE_BYTES=1099511627776"));

        log_note(LOG_INFO, "without an id");
        text = record(journal);
        cr_assert(has(text, "MESSAGE=without an id"));
        cr_assert_null(strstr(text, "MESSAGE_ID="));
        cr_assert_str_empty(written(), "not on stderr as well");

        refuse_packets(22);
        while (*(text = record(journal)))
                cr_assert_null(strstr(text, "suppressed"));
        (void)fd_close(journal);
}

Test(log, a_journal_that_hangs_stops_nobody)
{
        int journal = be_the_journal();
        unsigned n = 0;
        char *text;

        if (journal < 0)
                cr_skip_test("may not make a mount namespace");
        (void)alarm(20);
        stderr_is_pipe();
        cr_assert_eq(log_open(LOG_TARGET_JOURNAL, LOG_DEBUG), 0);
        for (unsigned i = 0; i < 2000; i++)
                log_note(LOG_DEBUG, "message %u", i);
        while (*(text = record(journal)))
                n++;
        cr_assert_gt(n, 0);
        cr_assert_lt(n, 2000);
        log_note(LOG_DEBUG, "there is room");
        text = record(journal);
        cr_assert_not_null(strstr(text, " messages were lost: nobody took them\n"), "%s", text);
        cr_assert_eq((unsigned)atoi(strstr(text, "MESSAGE=") + 8), 2000 - n);
        cr_assert(has(record(journal), "MESSAGE=there is room"));
        cr_assert_str_empty(written());
        (void)fd_close(journal);
}

Test(log, automatically_the_journal_if_stderr_goes_there)
{
        int journal = be_the_journal();
        char stream[64];
        struct stat st;

        if (journal < 0)
                cr_skip_test("may not make a mount namespace");
        stderr_is_socket();
        cr_assert_eq(fstat(STDERR_FILENO, &st), 0);

        cr_assert_eq(setenv("JOURNAL_STREAM", "1:1", 1), 0);
        cr_assert_eq(log_open(LOG_TARGET_AUTO, LOG_INFO), 0);
        log_note(LOG_INFO, "a line");
        cr_assert_str_empty(record(journal));
        cr_assert_not_null(strstr(written(), "info: a line\n"));

        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
        cr_assert_eq(setenv("JOURNAL_STREAM", stream, 1), 0);
        cr_assert_eq(log_open(LOG_TARGET_AUTO, LOG_INFO), 0);
        log_note(LOG_INFO, "a record");
        cr_assert(has(record(journal), "MESSAGE=a record"));
        cr_assert_str_empty(written());

        /* It goes: then lines are better than nothing. */
        cr_assert_eq(unlink("/run/systemd/journal/socket"), 0);
        (void)fd_close(journal);
        log_note(LOG_INFO, "to whoever reads");
        cr_assert_str_eq(written(), "<6>to whoever reads\n");
        for (LogTarget t = LOG_TARGET_AUTO; t <= LOG_TARGET_JOURNAL; t++) {
                cr_assert_eq(log_open(t, LOG_DEBUG), 0);
                cr_assert_eq(strncmp(written(), "<5>No journal can be reached", 28), 0);
                log_note(LOG_DEBUG, "and on");
                cr_assert_str_eq(written(), "<7>and on\n");
        }
}
