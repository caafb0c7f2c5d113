/* SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <errno.h>

#include "lib/client.h"
#include "lib/deadline.h"
#include "lib/handshake.h"
#include "monohandle.h"
#include "unit/lib/fake-daemon.h"

#define LATER deadline_in(20 * DEADLINE_SECOND)

static mh_client *client;

static void set_up(void)
{
        fake_set_up();
        client = fork_alloc(sizeof(*client));
        (void)strcpy(client->path, fake_path);
        client->flags = MH_ATTACH_NO_SPAWN;
        client->nonce = 42;
        client->socket = GUARD_NONE;
        client->segment_fd = GUARD_NONE;
        client->life = GUARD_NONE;
}

TestSuite(handshake, .init = set_up, .fini = fake_clean_up, .timeout = 60);

/* But for the one that a client has that does not map. */
static unsigned count_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        while (readdir(d))
                n++;
        (void)closedir(d);
        return n - guard_holds(&client->life);
}

static struct mh_wire_welcome answer;
static uint16_t answer_type;
static size_t answer_size;
static uint64_t answer_seq;
static unsigned answer_fds;
static uint32_t refusal;

static void good_answer(void)
{
        answer = fake_welcome(0);
        answer_type = MH_WIRE_HELLO;
        answer_size = sizeof(answer);
        answer_seq = 0;
        answer_fds = 0;
        refusal = 0;
}

static void send_answer(void)
{
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(8 * sizeof(int))];
        } control = {};
        char packet[512] = {};
        struct iovec iov = { .iov_base = packet, .iov_len = answer_size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[8];

        memcpy(packet, &answer, sizeof(answer));
        *(struct mh_wire_header *)(void *)packet = (struct mh_wire_header){
                .type = answer_type,
                .size = (uint32_t)answer_size,
                .seq = answer_seq,
        };
        if (answer_fds > 0) {
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(answer_fds * sizeof(int));
                CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
                CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
                CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(answer_fds * sizeof(int));
                for (unsigned i = 0; i < answer_fds; i++)
                        fds[i] = memfd_create("x", 0);
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, answer_fds * sizeof(int));
        }
        FAKE_CHECK(sendmsg(fake_peer, &m, MSG_NOSIGNAL) == (ssize_t)answer_size);
        for (unsigned i = 0; i < answer_fds; i++)
                (void)close(fds[i]);
}

static void *play_answer(void *arg)
{
        struct mh_wire_hello hello;

        fake_accept();
        fake_receive(&hello, MH_WIRE_HELLO, sizeof(hello), 0);
        if (refusal > 0)
                fake_send_error(0, refusal);
        else
                send_answer();
        fake_expect_hang_up();
        return NULL;
}

static int say_hello(Handshake *ret)
{
        int r;

        fake_start(play_answer);
        r = handshake_hello(client, 0, LATER, ret);
        if (r >= 0) {
                guard_close(&ret->socket);
                guard_close(&ret->segment_fd);
        }
        fake_join();
        return r;
}

Test(handshake, welcome)
{
        unsigned before = count_fds();
        Handshake h;

        for (unsigned n = 0; n <= 8; n++) {
                good_answer();
                answer_fds = n;
                cr_assert_eq(say_hello(&h), 0);
                cr_assert_eq(h.welcome.client, FAKE_CLIENT);
                cr_assert_eq(count_fds(), before, "with %u", n);
        }
}

Test(handshake, answers_that_are_none)
{
        unsigned before = count_fds();
        Handshake h;

        for (size_t size = 1; size <= 300; size++) {
                good_answer();
                answer_size = size;
                answer_fds = 1;
                if (size != sizeof(answer))
                        cr_assert_eq(say_hello(&h), size > MH_WIRE_PACKET_MAX ? -EBADMSG : -EPROTO, "%zu", size);
        }
        good_answer();
        answer_seq = 1;
        cr_assert_eq(say_hello(&h), -EPROTO);
        good_answer();
        answer_type = MH_WIRE_RESUME;
        cr_assert_eq(say_hello(&h), -EPROTO);
        good_answer();
        answer.client = 0;
        cr_assert_eq(say_hello(&h), -EPROTO);
        good_answer();
        answer.client = 4096;
        cr_assert_eq(say_hello(&h), -EPROTO);
        good_answer();
        answer.version = 0;
        cr_assert_eq(say_hello(&h), -EPROTONOSUPPORT);
        good_answer();
        answer.version = MH_WIRE_VERSION_MAX + 1;
        cr_assert_eq(say_hello(&h), -EPROTONOSUPPORT);
        cr_assert_eq(count_fds(), before);
}

Test(handshake, refusals)
{
        static const int reasons[] = { EUSERS, ENOSPC, EPROTONOSUPPORT, EPERM, EPROTO, EBADMSG, EMFILE };
        Handshake h;

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
                good_answer();
                refusal = (uint32_t)reasons[i];
                cr_assert_eq(say_hello(&h), -reasons[i]);
        }
        refusal = 5000;
        cr_assert_eq(say_hello(&h), -EPROTO);
}

static void *play_resets(void *arg)
{
        struct mh_wire_hello hello;

        for (unsigned i = 0; i < 8; i++) {
                fake_accept();
                if (i % 2)
                        fake_receive(&hello, MH_WIRE_HELLO, sizeof(hello), 0);
                fake_hang_up();
        }
        return play_answer(arg);
}

Test(handshake, until_there_is_an_answer)
{
        unsigned before = count_fds();
        Handshake h;

        good_answer();
        fake_start(play_resets);
        cr_assert_eq(handshake_hello(client, 0, LATER, &h), 0);
        guard_close(&h.socket);
        fake_join();
        cr_assert_eq(fake_connections, 9);
        cr_assert_eq(count_fds(), before);
}

static void *play_resume(void *arg)
{
        struct mh_wire_hello hello;

        fake_accept();
        fake_receive(&hello, MH_WIRE_RESUME, sizeof(hello), 0);
        send_answer();
        fake_expect_hang_up();
        return NULL;
}

/* A descriptor that nobody asked for. */
Test(handshake, resume)
{
        unsigned before = count_fds();

        good_answer();
        answer_type = MH_WIRE_RESUME;
        answer.seq = 8;
        answer_fds = 1;
        client->id = FAKE_CLIENT;
        client->seq = 7;
        memcpy(client->segment_id, answer.segment, sizeof(client->segment_id));
        for (unsigned i = 0; i < 3; i++) {
                fake_start(play_resume);
                cr_assert_eq(handshake_resume(client, LATER), 0);
                cr_assert_eq(client->daemon_seq, 8);
                guard_close(&client->socket);
                fake_join();
                cr_assert_eq(count_fds(), before);
        }
}

/* What the daemon says that may be otherwise the next time. */
static void *play_shortages(void *arg)
{
        static const uint32_t passing[] = { ENOMEM, EMFILE, ENFILE, EAGAIN };
        struct mh_wire_hello hello;

        for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
                fake_accept();
                fake_receive(&hello, MH_WIRE_RESUME, sizeof(hello), 0);
                fake_send_error(0, passing[i]);
                fake_expect_hang_up();
        }
        return play_resume(arg);
}

Test(handshake, a_resume_waits_for_better_times)
{
        good_answer();
        answer_type = MH_WIRE_RESUME;
        client->id = FAKE_CLIENT;
        memcpy(client->segment_id, answer.segment, sizeof(client->segment_id));
        fake_start(play_shortages);
        cr_assert_eq(handshake_resume(client, LATER), 0);
        guard_close(&client->socket);
        fake_join();
        cr_expect_eq(fake_connections, 5);
}

static void *play_silence(void *arg)
{
        struct mh_wire_hello hello;

        fake_accept();
        fake_receive(&hello, MH_WIRE_HELLO, sizeof(hello), 0);
        fake_expect_hang_up();
        return NULL;
}

Test(handshake, or_until_the_deadline)
{
        Handshake h;

        fake_start(play_silence);
        cr_assert_eq(handshake_hello(client, 0, deadline_in(DEADLINE_SECOND / 10), &h), -ETIMEDOUT);
        fake_join();
        /* A queue that nobody takes from. */
        cr_assert_eq(handshake_hello(client, 0, deadline_in(DEADLINE_SECOND / 10), &h), -ETIMEDOUT);
}

Test(handshake, nobody_is_there)
{
        Handshake h;

        (void)unlink(fake_path);
        cr_assert_eq(handshake_hello(client, 0, LATER, &h), -ENOTCONN);
        /* Who is attached waits for somebody. */
        cr_assert_eq(handshake_resume(client, deadline_in(DEADLINE_SECOND / 10)), -ETIMEDOUT);
        /* Nobody to be started. */
        client->flags = 0;
        (void)setenv("MONO_HANDLE_D_BINARY", "/nonexistent", 1);
        cr_assert_eq(handshake_hello(client, 0, LATER, &h), -ENOTCONN);
        cr_assert_eq(handshake_resume(client, deadline_in(DEADLINE_SECOND / 10)), -ETIMEDOUT);
}
