/* SPDX-License-Identifier: MIT */

/* From Welcome to the first operation: what a daemon that comes and goes can do in between. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "lib/client.h"
#include "lib/deadline.h"
#include "monohandle.h"
#include "shm/segment.h"
#include "unit/lib/fake-daemon.h"

#define DIRECT (MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER)

static int segment_fd = -1;
static Segment segment;

static void set_up(void)
{
        const SegmentConfig config = {
                .n_slots = 512,
                .n_clients = 16,
                .scratch_bytes = 1 << 20,
                .limit_client_handles = UINT64_MAX,
                .limit_client_scratch = UINT64_MAX,
        };

        fake_set_up();
        segment_fd = memfd_create("segment", MFD_CLOEXEC);
        cr_assert_geq(segment_fd, 0);
        cr_assert_eq(segment_format(segment_fd, &config), 0);
        cr_assert_eq(segment_load(&segment, segment_fd), 0);
}

TestSuite(attach, .init = set_up, .fini = fake_clean_up, .timeout = 60);

/* ---------------------------------------------------------------------------------------------- for scripts */

static void receive_hello(uint32_t flags)
{
        struct mh_wire_hello hello;
        uint64_t before = fake_nonce;

        fake_receive(&hello, MH_WIRE_HELLO, sizeof(hello), 0);
        FAKE_CHECK(hello.client == 0 && hello.flags == flags && hello.nonce != 0);
        FAKE_CHECK(hello.nonce != before);
        fake_nonce = hello.nonce;
}

static struct mh_wire_welcome make_welcome(uint16_t type)
{
        struct mh_wire_welcome w = fake_welcome(0);

        w.header = (struct mh_wire_header){ .type = type, .size = sizeof(w) };
        w.flags = DIRECT;
        w.segment_size = segment.total_size;
        memcpy(w.segment, segment.id, sizeof(w.segment));
        return w;
}

/* A Welcome with the segment. */
static void welcome(void)
{
        struct mh_wire_welcome w = make_welcome(MH_WIRE_HELLO);
        union {
                struct cmsghdr header;
                uint8_t buffer[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = &w, .iov_len = sizeof(w) };
        struct msghdr m = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };

        control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS,
                                           .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(&control.header), &segment_fd, sizeof(segment_fd));
        FAKE_CHECK(sendmsg(fake_peer, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(w));
}

/*
 * The Welcome comes, and then the hang-up, and only then does the library go on, which looks at the descriptor first. (A function of this
 * name in the program takes the place of the one in libc.)
 */
static unsigned leaving;

int fstat(int fd, struct stat *st)
{
        while (load_sc(&leaving))
                (void)sched_yield();
        return fstatat(fd, "", st, AT_EMPTY_PATH);
}

static void welcome_and_hang_up(void)
{
        store_sc(&leaving, 1);
        welcome();
        fake_hang_up();
        store_sc(&leaving, 0);
}

/* Accepts a Resume of the one that said Hello; no descriptor is looked for that may come with it. */
static void receive_resume(void)
{
        struct mh_wire_hello hello;

        fake_accept();
        fake_receive(&hello, MH_WIRE_RESUME, sizeof(hello), 0);
        FAKE_CHECK(hello.client == FAKE_CLIENT && hello.nonce == fake_nonce && hello.flags == DIRECT);
        FAKE_CHECK(memcmp(hello.segment, segment.id, sizeof(segment.id)) == 0);
}

/* ---------------------------------------------------------------------------------------------- tests */

static void *play_standing(void *arg)
{
        fake_accept();
        receive_hello(DIRECT);
        welcome();
        fake_detach();
        return NULL;
}

Test(attach, nobody_is_asked_again_as_long_as_the_connection_stands)
{
        mh_client *c;

        fake_start(play_standing);
        cr_assert_eq(mh_attach(&c, fake_path, MH_ATTACH_NO_SPAWN), 0);
        cr_expect_not_null(mh_scratch_base(c));
        (void)mh_detach(c);
        fake_join();
        cr_expect_eq(fake_connections, 1);
}

static void *play_hang_up(void *arg)
{
        struct mh_wire_welcome w = make_welcome(MH_WIRE_RESUME);

        fake_accept();
        receive_hello(DIRECT);
        welcome_and_hang_up();
        receive_resume();
        fake_send(&w, MH_WIRE_RESUME, sizeof(w), 0);
        fake_detach();
        return NULL;
}

/* It died, and the next one knows us. */
Test(attach, a_connection_that_ended_before_the_segment_was_mapped_is_resumed_first)
{
        mh_client *c;

        fake_start(play_hang_up);
        cr_assert_eq(mh_attach(&c, fake_path, MH_ATTACH_NO_SPAWN), 0);
        cr_expect_eq(fake_connections, 2, "before anything is done");
        cr_expect_not_null(mh_scratch_base(c));
        (void)mh_detach(c);
        fake_join();
}

static void *play_given_up(void *arg)
{
        struct mh_wire_welcome w = fake_welcome(0);

        for (unsigned i = 0; i < 3; i++) {
                fake_accept();
                receive_hello(DIRECT);
                welcome_and_hang_up();
                receive_resume();
                fake_send_error(0, ESTALE);
                fake_expect_hang_up();
        }
        fake_accept();
        receive_hello(DIRECT);
        fake_send(&w, MH_WIRE_HELLO, sizeof(w), 0);
        fake_detach();
        return NULL;
}

/* The next one looked before the segment was mapped, and took us for gone: our id may be somebody else's. */
Test(attach, who_was_taken_for_gone_attaches_anew)
{
        mh_client *c;
        void *p;

        fake_start(play_given_up);
        cr_assert_eq(mh_attach(&c, fake_path, MH_ATTACH_NO_SPAWN), 0);
        cr_expect_eq(fake_connections, 7);
        cr_expect_null(mh_scratch_base(c), "nothing of the others is left");
        cr_expect_eq(mh_scratch_data(c, 1, &p, NULL), -ENOMEM);
        (void)mh_detach(c);
        fake_join();
}
