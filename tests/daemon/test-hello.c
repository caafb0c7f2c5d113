/* SPDX-License-Identifier: MIT */

/* The first packet of a connection: who may send it, what it must say, and what becomes of those who send none. */

#include "harness.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

DAEMON_SUITE(hello);

Test(hello, a_client_gets_an_id_and_the_segment)
{
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_attach(&b, &the_daemon, 0), 0);
        cr_expect_eq(a.granted, MH_WIRE_HELLO_MAPS);
        cr_expect_eq(b.granted, 0);
        cr_expect_eq(a.id, 1);
        cr_expect_eq(b.id, 2);
        cr_expect_eq(a.last, 0);
        cr_expect_eq(a.epoch, 1);
        cr_expect_eq(a.epoch, b.epoch);
        cr_expect_eq(memcmp(a.segment, b.segment, 16), 0);
        cr_expect_eq(fd_same(a.segment_fd, b.segment_fd), 1);
        raw_done(&a);
        raw_done(&b);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* This daemon writes all ledgers itself. */
/* Who writes its ledger itself maps it; and what it writes there the daemon must not write, too. */
Test(hello, a_ledger_is_granted_to_who_asks_for_it)
{
        uint64_t handle;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER), 0);
        cr_expect_eq(a.granted, MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER);
        cr_assert_eq(raw_attach(&b, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_expect_eq(b.granted, MH_WIRE_HELLO_MAPS);
        cr_expect_eq(raw_new(&b, 1, &handle), 0);
        cr_expect_eq(raw_new(&a, 1, &handle), -EPROTO);
        raw_done(&a);
        raw_done(&b);
        cr_expect_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_LEDGER), -EINVAL);
        raw_done(&a);
        harness_pass();
}

Test(hello, repeated_with_the_same_nonce_finds_the_same_client)
{
        uint64_t handle, again;
        Raw a, b;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&a, 1, &handle), 0);

        b = a;
        b.fd = raw_connect(&the_daemon);
        b.segment_fd = -1;
        cr_assert_eq(raw_hello(&b), 0);
        cr_expect_eq(b.id, a.id);
        cr_expect_eq(b.last, 1);
        cr_expect(raw_ended(a.fd), "the older connection is closed");

        /* What it did before, it did: this is the same request. */
        b.seq = 1;
        struct mh_wire_new request = { .type = 1 };
        struct mh_wire_handle reply;
        cr_assert_eq(raw_call_again(&b, MH_WIRE_NEW, &request, sizeof(request), &reply, sizeof(reply)), 0);
        again = reply.handle;
        cr_expect_eq(again, handle);
        raw_done(&a);
        raw_done(&b);
        harness_pass();
}

static int ask_hello(const struct mh_wire_hello *hello, bool *ret_ended)
{
        int fd = raw_connect(&the_daemon), r;

        r = raw_ask(fd, hello, sizeof(*hello));
        if (ret_ended)
                *ret_ended = raw_ended(fd);
        (void)fd_close(fd);
        return r;
}

Test(hello, versions)
{
        struct mh_wire_hello hello;
        Raw r = { .nonce = 1 };
        bool ended;

        daemon_start(&the_daemon, NULL);
        raw_greeting(&r, MH_WIRE_HELLO, &hello);

        hello.version_min = MH_WIRE_VERSION_MAX + 1;
        hello.version_max = UINT16_MAX;
        cr_expect_eq(ask_hello(&hello, &ended), EPROTONOSUPPORT);
        cr_expect(ended);

        hello.version_min = 0;
        hello.version_max = 0;
        cr_expect_eq(ask_hello(&hello, &ended), EPROTONOSUPPORT);
        cr_expect(ended);

        hello.version_min = 2;
        hello.version_max = 1;
        cr_expect_eq(ask_hello(&hello, &ended), EPROTONOSUPPORT);
        cr_expect(ended);

        /* Of those spoken by a client of the future, one is ours. */
        hello.version_min = 0;
        hello.version_max = UINT16_MAX;
        cr_expect_eq(ask_hello(&hello, NULL), 0);
        harness_pass();
}

Test(hello, a_longer_hello_of_another_version_is_told_the_version)
{
        uint8_t packet[sizeof(struct mh_wire_hello) + 8] = {};
        struct mh_wire_hello hello;
        Raw r = { .nonce = 1 };
        int fd;

        daemon_start(&the_daemon, NULL);
        raw_greeting(&r, MH_WIRE_HELLO, &hello);
        hello.header.size = sizeof(packet);
        hello.version_min = hello.version_max = MH_WIRE_VERSION_MAX + 1;
        memcpy(packet, &hello, sizeof(hello));
        fd = raw_connect(&the_daemon);
        cr_expect_eq(raw_ask(fd, packet, sizeof(packet)), EPROTONOSUPPORT);
        cr_expect(raw_ended(fd));
        (void)fd_close(fd);
        harness_pass();
}

Test(hello, nonsense)
{
        struct mh_wire_hello hello, good;
        Raw r = { .nonce = 1 };
        bool ended;

        daemon_start(&the_daemon, NULL);
        raw_greeting(&r, MH_WIRE_HELLO, &good);

        hello = good;
        hello.magic ^= 1;
        cr_expect_eq(ask_hello(&hello, &ended), EPROTO);
        cr_expect(ended);

        hello = good;
        hello.nonce = 0;
        cr_expect_eq(ask_hello(&hello, NULL), EINVAL);

        hello = good;
        hello.client = 1;
        cr_expect_eq(ask_hello(&hello, NULL), EBADMSG);

        hello = good;
        hello.segment[15] = 1;
        cr_expect_eq(ask_hello(&hello, NULL), EBADMSG);

        hello = good;
        hello.header.seq = 1;
        cr_expect_eq(ask_hello(&hello, NULL), EBADMSG);

        hello = good;
        memset(hello.name, 'x', sizeof(hello.name));
        cr_expect_eq(ask_hello(&hello, NULL), EBADMSG);

        /* The daemon may well see the process, but it will not take our word for it. */
        hello = good;
        hello.start_time ^= 1;
        cr_expect_eq(ask_hello(&hello, NULL), 0);
        harness_pass();
}

Test(hello, after_an_error_the_connection_can_still_be_used)
{
        struct mh_wire_hello hello;
        Raw r = { .nonce = 1, .segment_fd = -1 };

        daemon_start(&the_daemon, NULL);
        r.fd = raw_connect(&the_daemon);
        raw_greeting(&r, MH_WIRE_HELLO, &hello);
        cr_expect_eq(raw_ask(r.fd, &hello, sizeof(hello) - 1), EBADMSG);
        hello.nonce = 0;
        cr_expect_eq(raw_ask(r.fd, &hello, sizeof(hello)), EINVAL);
        cr_expect_eq(raw_hello(&r), 0);
        raw_done(&r);
        harness_pass();
}

Test(hello, credentials_are_demanded_and_compared)
{
        struct mh_wire_hello hello;
        Raw r = { .nonce = 1 };
        int status, fd;
        pid_t pid;

        daemon_start(&the_daemon, NULL);
        fd = raw_connect(&the_daemon);

        /* A child speaks on the parent's connection: the kernel says so, whatever it claims. */
        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
                raw_greeting(&r, MH_WIRE_HELLO, &hello);
                _exit(raw_ask(fd, &hello, sizeof(hello)) == EPERM && raw_ended(fd) ? 0 : 1);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect_eq(status, 0);
        (void)fd_close(fd);
        harness_pass();
}

Test(hello, requests_before_it_end_the_connection)
{
        struct mh_wire_new request = { .header = { .type = MH_WIRE_NEW, .size = sizeof(request), .seq = 1 },
                                       .type = 1 };
        struct mh_wire_detach detach = { .header = { .type = MH_WIRE_DETACH, .size = sizeof(detach) } };
        int fd;

        daemon_start(&the_daemon, NULL);
        fd = raw_connect(&the_daemon);
        cr_expect_eq(raw_ask(fd, &request, sizeof(request)), EPROTO);
        cr_expect(raw_ended(fd));
        (void)fd_close(fd);
        fd = raw_connect(&the_daemon);
        cr_expect_eq(raw_ask(fd, &detach, sizeof(detach)), EPROTO);
        cr_expect(raw_ended(fd));
        (void)fd_close(fd);
        harness_pass();
}

Test(hello, a_second_one_ends_the_connection)
{
        struct mh_wire_hello hello;
        Raw a;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&a, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        raw_greeting(&a, MH_WIRE_HELLO, &hello);
        cr_expect_eq(raw_ask(a.fd, &hello, sizeof(hello)), EPROTO);
        cr_expect(raw_ended(a.fd));
        raw_done(&a);
        harness_pass();
}

Test(hello, who_sends_none_is_disconnected)
{
        Raw a;
        int fd;

        daemon_start(&the_daemon, (const char *const[]){ "--hello-timeout=100ms", NULL });
        cr_assert_eq(raw_attach(&a, &the_daemon, 0), 0);
        fd = raw_connect(&the_daemon);
        cr_expect(raw_ended(fd));
        cr_expect_eq(daemon_said(&the_daemon, "did not say hello"), 1);

        /* Who did may be silent as long as he likes. */
        uint64_t handle;
        cr_expect_eq(raw_new(&a, 1, &handle), 0);
        (void)fd_close(fd);
        raw_done(&a);
        harness_pass();
}

static int attach_as_other_user(void)
{
        uint8_t byte;
        int fd;

        if (setgroups(0, NULL) < 0 || setgid(12345) < 0 || setuid(12345) < 0)
                return 2;
        fd = raw_try_connect(the_daemon.socket);
        if (fd < 0)
                return 3;
        /* Before a byte of ours was read. */
        return recv(fd, &byte, 1, 0) <= 0 ? 0 : 1;
}

Test(hello, another_user_is_refused)
{
        int status;
        pid_t pid;

        if (geteuid() != 0)
                cr_skip_test("only root can become another user");

        daemon_start(&the_daemon, NULL);
        /* The modes would keep him away; they are not what this is about. */
        cr_assert_eq(chmod(the_daemon.directory, 0777), 0);
        cr_assert_eq(chmod(the_daemon.socket, 0777), 0);
        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0)
                _exit(attach_as_other_user());
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect_eq(status, 0);
        cr_expect_eq(daemon_said(&the_daemon, "another user (uid 12345"), 1);
        harness_pass();
}

static int attach_and_wait(const Daemon *d, int tell, void *argument)
{
        Raw r;
        int k = raw_attach(&r, d, 0);

        child_tell(tell, &k, sizeof(k));
        return 0;
}

Test(hello, when_all_ids_are_in_use_one_more_is_refused_until_one_is_free)
{
        Child children[3];
        Raw r;
        int k;

        daemon_start(&the_daemon, (const char *const[]){ "--clients=4", NULL });
        for (unsigned i = 0; i < 3; i++) {
                child_start(&children[i], &the_daemon, attach_and_wait, NULL);
                child_hear(&children[i], &k, sizeof(k));
                cr_assert_eq(k, 0);
        }
        cr_expect_eq(raw_attach(&r, &the_daemon, 0), -EUSERS);
        cr_expect_eq(daemon_said(&the_daemon, "client ids are in use"), 1);
        child_kill(&children[1]);
        WAIT_FOR(raw_hello(&r) == 0);
        cr_expect_eq(r.id, 2);
        raw_done(&r);
        for (unsigned i = 0; i < 3; i += 2)
                child_kill(&children[i]);
        harness_pass();
}

/* Who starts it may have said how large files may become. */
Test(hello, a_limit_for_files_is_an_error_and_not_the_end)
{
        struct rlimit limit = { .rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY };
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_FSIZE, &limit, NULL), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), -EFBIG);
        raw_done(&r);
        cr_expect_eq(daemon_said(&the_daemon, "Hello of pid"), 1);
        cr_expect_lt(daemon_segment(&the_daemon), 0, "nothing is left of it");
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(prlimit(the_daemon.pid, RLIMIT_FSIZE, &limit, NULL), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        raw_done(&r);
        harness_pass();
}
