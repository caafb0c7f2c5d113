/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "lib/client.h"
#include "lib/deadline.h"
#include "monohandle.h"
#include "unit/lib/fake-daemon.h"

/* How long calls wait here that are to fail for lack of an answer. */
#define IMPATIENT (DEADLINE_SECOND / 5)

TestSuite(call, .init = fake_set_up, .fini = fake_clean_up, .timeout = 60);

static mh_client *attach(void)
{
        mh_client *c = NULL;

        cr_assert_eq(mh_attach(&c, fake_path, MH_ATTACH_NO_SPAWN | MH_ATTACH_NO_MAP), 0);
        cr_assert_eq(mh_client_id(c), FAKE_CLIENT);
        return c;
}

static void detach(mh_client *c)
{
        c->patience = 10 * DEADLINE_SECOND;
        cr_assert_null(mh_detach(c));
        fake_join();
}

/* ------------------------------------------------------------------------------------------------ in good times */

static void *play_all(void *arg)
{
        struct mh_wire_give give;

        fake_hello();
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        fake_expect_open(2, 0x200);
        fake_send_handle(MH_WIRE_OPEN, 2, 0x200);
        fake_expect_close(3, 0x100);
        fake_send_closed(3, MH_WIRE_CLOSE_DESTROY);
        fake_expect_close(4, 0x200);
        fake_send_closed(4, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
        fake_expect_scratch(5, 77);
        fake_send_block(5, 0x300);
        fake_receive(&give, MH_WIRE_GIVE, sizeof(give), 6);
        FAKE_CHECK(give.idx == 0x300 && give.handle == 0x100);
        fake_send_bare(MH_WIRE_GIVE, 6);
        fake_expect_scratch_free(7, 0x300);
        fake_send_error(7, EBUSY);
        fake_expect_open(8, 0x999);
        fake_send_error(8, ESTALE);
        fake_detach();
        return NULL;
}

Test(call, requests_are_numbered)
{
        unsigned flags = 77;
        mh_scratch s = 0;
        mh_handle h = 0;
        int type = 0;
        mh_client *c;

        fake_start(play_all);
        c = attach();
        cr_assert_eq(mh_new(c, MH_TYPE_MUTEX, &h), 0);
        cr_assert_eq(h, 0x100);
        cr_assert_eq(mh_open(c, 0x200, &type), 0);
        cr_assert_eq(type, 6);
        cr_assert_eq(mh_close(c, 0x100, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE);
        cr_assert_eq(mh_close(c, 0x200, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        cr_assert_eq(mh_scratch_alloc(c, 77, &s), 0);
        cr_assert_eq(s, 0x300);
        cr_assert_eq(mh_scratch_give(c, s, 0x100), 0);
        cr_assert_eq(mh_scratch_free(c, s), -EBUSY);
        cr_assert_eq(mh_open(c, 0x999, &type), -ESTALE);
        detach(c);
        cr_assert_eq(fake_connections, 1);
}

static void *play_nothing(void *arg)
{
        fake_hello();
        fake_detach();
        return NULL;
}

Test(call, nonsense_is_not_even_sent)
{
        mh_client *c, *untouched = (mh_client *)(void *)&c;
        const char *string;
        mh_scratch s = 77;
        mh_handle h = 77;
        char **strv;
        void *p;

        cr_assert_eq(mh_attach(NULL, fake_path, 0), -EINVAL);
        c = untouched;
        cr_assert_eq(mh_attach(&c, fake_path, UINT64_C(1) << 63), -EINVAL);
        cr_assert_eq(mh_attach(&c, "", 0), -EINVAL);
        cr_assert_eq(c, untouched);

        fake_start(play_nothing);
        c = attach();
        for (int type = -2; type < 400; type++)
                if (type < 1 || (type > 10 && type < 64) || type > 255)
                        cr_assert_eq(mh_new(c, type, &h), -EINVAL);
        cr_assert_eq(mh_new(c, 1, NULL), -EINVAL);
        cr_assert_eq(mh_open(c, 0, NULL), -EINVAL);
        cr_assert_eq(mh_close(c, 0, NULL), -EINVAL);
        cr_assert_eq(mh_payload(c, 0, &p, NULL), -EINVAL);
        cr_assert_eq(mh_payload(c, 1, NULL, NULL), -EINVAL);
        cr_assert_eq(mh_payload(c, 1, &p, NULL), -ENOMEM);
        cr_assert_eq(mh_scratch_alloc(c, 0, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(c, (UINT64_C(1) << 40) + 1, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(c, SIZE_MAX, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(c, 1, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_free(c, 0), -EINVAL);
        cr_assert_eq(mh_scratch_give(c, 0, 1), -EINVAL);
        cr_assert_eq(mh_scratch_give(c, 1, 0), -EINVAL);
        cr_assert_eq(mh_scratch_data(c, 0, &p, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_data(c, 1, NULL, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_data(c, 1, &p, NULL), -ENOMEM);
        cr_assert_eq(mh_scratch_store(c, NULL, 1, &s), -EINVAL);
        cr_assert_eq(mh_scratch_store(c, "x", 0, &s), -EINVAL);
        cr_assert_eq(mh_scratch_store(c, "x", 1, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_store(c, "x", 1, &s), -ENOMEM);
        cr_assert_eq(mh_scratch_store_string(c, NULL, &s), -EINVAL);
        cr_assert_eq(mh_scratch_store_string(c, "x", NULL), -EINVAL);
        cr_assert_eq(mh_scratch_store_strv(c, NULL, &s), -EINVAL);
        cr_assert_eq(mh_scratch_store_strv(c, (const char *const[]){ NULL }, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_get_string(c, 1, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_get_string(c, 0, &string), -EINVAL);
        cr_assert_eq(mh_scratch_get_strv(c, 1, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_get_strv(c, 0, &strv), -EINVAL);
        cr_assert_null(mh_scratch_base(c));
        cr_assert_eq(s, 77);
        cr_assert_eq(h, 77);
        detach(c);
}

Test(call, without_a_client)
{
        const char *string;
        mh_scratch s;
        mh_handle h;
        char **strv;
        void *p;

        cr_assert_null(mh_detach(NULL));
        cr_assert_null(mh_scratch_base(NULL));
        cr_assert_eq(mh_client_id(NULL), -EINVAL);
        cr_assert_eq(mh_new(NULL, 1, &h), -EINVAL);
        cr_assert_eq(mh_open(NULL, 1, NULL), -EINVAL);
        cr_assert_eq(mh_close(NULL, 1, NULL), -EINVAL);
        cr_assert_eq(mh_payload(NULL, 1, &p, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(NULL, 1, &s), -EINVAL);
        cr_assert_eq(mh_scratch_free(NULL, 1), -EINVAL);
        cr_assert_eq(mh_scratch_data(NULL, 1, &p, NULL), -EINVAL);
        cr_assert_eq(mh_scratch_give(NULL, 1, 1), -EINVAL);
        cr_assert_eq(mh_scratch_store(NULL, "x", 1, &s), -EINVAL);
        cr_assert_eq(mh_scratch_store_string(NULL, "x", &s), -EINVAL);
        cr_assert_eq(mh_scratch_get_string(NULL, 1, &string), -EINVAL);
        cr_assert_eq(mh_scratch_store_strv(NULL, (const char *const[]){ NULL }, &s), -EINVAL);
        cr_assert_eq(mh_scratch_get_strv(NULL, 1, &strv), -EINVAL);
}

/*
 * ------------------------------------------------------------------------------------------------ broken connections
 */

static void *play_lost_requests(void *arg)
{
        fake_hello();
        /* Read and not answered; the successor did not see it. */
        fake_expect_new(1, 5);
        fake_hang_up();
        fake_resume(0);
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        /* Done and not answered. */
        fake_expect_open(2, 0x100);
        fake_hang_up();
        fake_resume(2);
        fake_expect_open(2, 0x100);
        fake_send_handle(MH_WIRE_OPEN, 2, 0x100);
        /* Resumed and lost again, several times. */
        fake_expect_close(3, 0x100);
        fake_hang_up();
        for (unsigned i = 0; i < 5; i++) {
                fake_receive_resume();
                fake_hang_up();
        }
        for (unsigned i = 0; i < 5; i++) {
                fake_resume(2);
                fake_hang_up();
        }
        fake_resume(2);
        fake_expect_close(3, 0x100);
        fake_send_closed(3, 0);
        /* Between two requests. */
        fake_hang_up();
        fake_resume(3);
        fake_expect_close(4, 0x100);
        fake_send_closed(4, MH_WIRE_CLOSE_DESTROY);
        /* And at the end. */
        fake_hang_up();
        fake_resume(4);
        fake_detach();
        return NULL;
}

Test(call, a_request_goes_out_again)
{
        unsigned flags = 0;
        mh_client *c;
        mh_handle h;

        fake_start(play_lost_requests);
        c = attach();
        cr_assert_eq(mh_new(c, 5, &h), 0);
        cr_assert_eq(mh_open(c, h, NULL), 0);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, 0);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE);
        detach(c);
}

static void *play_detached_already(void *arg)
{
        struct mh_wire_detach request;

        fake_hello();
        fake_receive(&request, MH_WIRE_DETACH, sizeof(request), 0);
        fake_hang_up();
        fake_receive_resume();
        fake_send_error(0, ESTALE);
        fake_expect_hang_up();
        return NULL;
}

Test(call, a_detach_whose_reply_is_lost)
{
        fake_start(play_detached_already);
        detach(attach());
}

static void *play_closed_under_us(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        fake_expect_hang_up();
        fake_resume(1);
        fake_expect_close(2, 0x100);
        fake_send_closed(2, 0);
        fake_detach();
        return NULL;
}

Test(call, the_program_closes_our_descriptors)
{
        int number, theirs[2];
        mh_client *c;
        mh_handle h;
        char x;

        fake_start(play_closed_under_us);
        c = attach();
        cr_assert_eq(mh_new(c, 5, &h), 0);

        /* closefrom() would hit the fake daemon's too. And somebody else gets the number. */
        number = c->socket.fd;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, theirs), 0);
        cr_assert_eq(dup2(theirs[0], number), number);
        cr_assert_eq(mh_close(c, h, NULL), 0);
        cr_assert_eq(recv(theirs[1], &x, 1, 0), -1);
        cr_assert_eq(errno, EAGAIN);
        cr_assert_eq(fcntl(number, F_GETFD), 0, "somebody else's descriptor was closed");
        detach(c);
}

/* ------------------------------------------------------------------------------------------------ no answer in time */

static void *play_same_again(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_expect_hang_up();
        /* It had taken effect. */
        fake_resume(1);
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);

        fake_expect_close(2, 0x100);
        fake_expect_hang_up();
        /* It had not. */
        fake_resume(1);
        fake_expect_close(2, 0x100);
        fake_send_closed(2, MH_WIRE_CLOSE_DESTROY);
        fake_detach();
        return NULL;
}

Test(call, a_call_that_failed_is_tried_again)
{
        unsigned flags = 77;
        mh_handle h = 77;
        mh_client *c;

        fake_start(play_same_again);
        c = attach();
        c->patience = IMPATIENT;
        cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
        cr_assert_eq(h, 77);
        cr_assert_eq(mh_new(c, 5, &h), 0);
        cr_assert_eq(h, 0x100);
        cr_assert_eq(mh_close(c, h, &flags), -ENOTCONN);
        cr_assert_eq(flags, 77);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE);
        detach(c);
}

static void *play_undo(void *arg)
{
        fake_hello();
        /* New that took effect, and another request after it. */
        fake_expect_new(1, 5);
        fake_expect_hang_up();
        fake_resume(1);
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        fake_expect_close(2, 0x100);
        fake_send_closed(2, MH_WIRE_CLOSE_DESTROY | MH_WIRE_CLOSE_GONE);
        fake_expect_new(3, 6);
        fake_send_handle(MH_WIRE_NEW, 3, 0x200);
        /* Open. */
        fake_expect_open(4, 0x200);
        fake_expect_hang_up();
        fake_resume(4);
        fake_expect_open(4, 0x200);
        fake_send_handle(MH_WIRE_OPEN, 4, 0x200);
        fake_expect_close(5, 0x200);
        fake_send_closed(5, 0);
        fake_expect_open(6, 0x300);
        fake_send_error(6, ESTALE);
        /* Scratch. */
        fake_expect_scratch(7, 10);
        fake_expect_hang_up();
        fake_resume(7);
        fake_expect_scratch(7, 10);
        fake_send_block(7, 0x400);
        fake_expect_scratch_free(8, 0x400);
        fake_send_bare(MH_WIRE_SCRATCH_FREE, 8);
        fake_expect_scratch(9, 11);
        fake_send_block(9, 0x500);
        fake_detach();
        return NULL;
}

Test(call, what_a_failed_call_took_is_given_back)
{
        mh_scratch s = 77;
        mh_handle h = 77;
        mh_client *c;

        fake_start(play_undo);
        c = attach();
        c->patience = IMPATIENT;
        cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), 0);
        cr_assert_eq(h, 0x200);
        cr_assert_eq(mh_open(c, h, NULL), -ENOTCONN);
        cr_assert_eq(mh_open(c, 0x300, NULL), -ESTALE);
        cr_assert_eq(mh_scratch_alloc(c, 10, &s), -ENOTCONN);
        cr_assert_eq(mh_scratch_alloc(c, 11, &s), 0);
        cr_assert_eq(s, 0x500);
        detach(c);
}

static void *play_nothing_to_undo(void *arg)
{
        fake_hello();
        /* It did not take effect: the number is used anew. */
        fake_expect_new(1, 5);
        fake_expect_hang_up();
        fake_resume(0);
        fake_expect_new(1, 6);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        /* It took effect, and was an error. */
        fake_expect_new(2, 5);
        fake_expect_hang_up();
        fake_resume(2);
        fake_expect_new(2, 5);
        fake_send_error(2, ENOSPC);
        fake_expect_new(3, 6);
        fake_send_handle(MH_WIRE_NEW, 3, 0x200);
        /* A Close that took effect cannot be undone. */
        fake_expect_close(4, 0x200);
        fake_expect_hang_up();
        fake_resume(4);
        fake_expect_close(4, 0x200);
        fake_send_closed(4, 0);
        fake_expect_new(5, 7);
        fake_send_handle(MH_WIRE_NEW, 5, 0x300);
        fake_detach();
        return NULL;
}

Test(call, where_nothing_was_taken_nothing_is_given_back)
{
        mh_client *c;
        mh_handle h;

        fake_start(play_nothing_to_undo);
        c = attach();
        c->patience = IMPATIENT;
        cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), 0);
        cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), 0);
        cr_assert_eq(mh_close(c, h, NULL), -ENOTCONN);
        cr_assert_eq(mh_new(c, 7, &h), 0);
        cr_assert_eq(h, 0x300);
        detach(c);
}

static void *play_stubborn_undo(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_expect_hang_up();
        fake_resume(1);
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        /* The giving back is not answered either; it did not take effect, but must. */
        fake_expect_close(2, 0x100);
        fake_expect_hang_up();
        fake_resume(1);
        fake_expect_close(2, 0x100);
        fake_expect_hang_up();
        fake_resume(2);
        fake_expect_close(2, 0x100);
        fake_send_closed(2, MH_WIRE_CLOSE_DESTROY);
        fake_expect_new(3, 6);
        fake_send_handle(MH_WIRE_NEW, 3, 0x200);
        fake_detach();
        return NULL;
}

Test(call, giving_back_is_not_given_up)
{
        mh_handle h = 77;
        mh_client *c;

        fake_start(play_stubborn_undo);
        c = attach();
        c->patience = IMPATIENT;
        cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), -ENOTCONN);
        cr_assert_eq(mh_new(c, 6, &h), 0);
        cr_assert_eq(h, 0x200);
        detach(c);
}

/* ------------------------------------------------------------------------------------------------ gone for good */

static void *play_gone(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_hang_up();
        fake_receive_resume();
        fake_send_error(0, ESTALE);
        fake_expect_hang_up();
        return NULL;
}

static void expect_gone(void *(*script)(void *))
{
        mh_client *c;
        mh_handle h;

        fake_start(script);
        c = attach();
        cr_assert_eq(mh_new(c, 5, &h), -ESTALE);
        fake_join();
        /* Nobody listens to these. */
        for (unsigned i = 0; i < 3; i++) {
                cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN);
                cr_assert_eq(mh_scratch_free(c, 5), -ENOTCONN);
        }
        cr_assert_eq(mh_client_id(c), FAKE_CLIENT);
        cr_assert_null(mh_detach(c));
        cr_assert_eq(fake_connections, 2);
}

Test(call, the_segment_is_gone)
{
        expect_gone(play_gone);
}

static void *play_other_segment(void *arg)
{
        struct mh_wire_welcome w = fake_welcome(0);

        w.segment[3]++;
        fake_hello();
        fake_expect_new(1, 5);
        fake_hang_up();
        fake_receive_resume();
        fake_send(&w, MH_WIRE_RESUME, sizeof(w), 0);
        fake_expect_hang_up();
        return NULL;
}

Test(call, another_segment)
{
        expect_gone(play_other_segment);
}

static void *play_other_numbers(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_hang_up();
        fake_resume(2);
        fake_expect_hang_up();
        return NULL;
}

Test(call, numbers_of_somebody_else)
{
        expect_gone(play_other_numbers);
}

/* ------------------------------------------------------------------------------------------------ bad replies */

/* Each is followed by a connection on which the request is run again. */
static unsigned bad_reply;

static void send_bad_reply(void)
{
        union {
                struct mh_wire_header header;
                struct mh_wire_handle handle;
                struct mh_wire_error error;
                char data[512];
        } p = {};

        switch (bad_reply) {
        case 0: /* shorter than a header */
                FAKE_CHECK(send(fake_peer, &p, 5, MSG_NOSIGNAL) == 5);
                break;
        case 1: /* of another request */
                fake_send(&p, MH_WIRE_NEW, sizeof(p.handle), 7);
                break;
        case 2:
                fake_send(&p, MH_WIRE_OPEN, sizeof(p.handle), 1);
                break;
        case 3: /* too short, too long */
                fake_send(&p, MH_WIRE_NEW, sizeof(p.handle) - 1, 1);
                break;
        case 4:
                fake_send(&p, MH_WIRE_NEW, sizeof(p.handle) + 1, 1);
                break;
        case 5:
                fake_send(&p, MH_WIRE_NEW, sizeof(p.data), 1);
                break;
        case 6: /* the length lies */
                p.header = (struct mh_wire_header){ .type = MH_WIRE_NEW, .size = 31, .seq = 1 };
                FAKE_CHECK(send(fake_peer, &p, 32, MSG_NOSIGNAL) == 32);
                break;
        case 7: /* errors that are none */
                fake_send_error(1, 0);
                break;
        case 8:
                fake_send_error(1, 4096);
                break;
        case 9:
                fake_send_error(1, UINT32_MAX);
                break;
        case 10: /* it did not understand us */
                fake_send_error(1, EBADMSG);
                break;
        case 11:
                fake_send_error(1, EPROTO);
                break;
        default:
                fake_send_error(1, EOPNOTSUPP);
                break;
        }
}

static void *play_bad_reply(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        send_bad_reply();
        fake_expect_hang_up();
        fake_resume(0);
        fake_expect_new(1, 5);
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        fake_detach();
        return NULL;
}

Test(call, bad_replies)
{
        mh_client *c;
        mh_handle h;

        for (bad_reply = 0; bad_reply <= 12; bad_reply++) {
                fake_start(play_bad_reply);
                c = attach();
                h = 77;
                cr_assert_eq(mh_new(c, 5, &h), -ENOTCONN, "%u", bad_reply);
                cr_assert_eq(h, 77);
                cr_assert_eq(mh_new(c, 5, &h), 0);
                detach(c);
        }
}

/* ------------------------------------------------------------------------------------------------ threads */

static mh_client *shared;

static void *call_in_thread(void *arg)
{
        mh_handle h;

        cr_assert_eq(mh_new(shared, 5, &h), -ENOTCONN);
        return NULL;
}

static void *play_dead_silence(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        fake_expect_hang_up();
        return NULL;
}

/* They all wait for the same daemon, so they all give up together, and not each after all before it. */
Test(call, threads_give_up_together)
{
        pthread_t threads[8];
        uint64_t start;

        fake_start(play_dead_silence);
        shared = attach();
        shared->patience = DEADLINE_SECOND;
        start = deadline_now();
        for (unsigned i = 0; i < 8; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, call_in_thread, NULL), 0);
        for (unsigned i = 0; i < 8; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_lt(deadline_now() - start, 5 * DEADLINE_SECOND);
        fake_join();
        (void)unlink(fake_path);
        cr_assert_null(mh_detach(shared));
}

/* AddressSanitizer does not see that a cancelled thread leaves its stack. */
__attribute__((no_sanitize_address)) static void *cancel_me(void *arg)
{
        mh_handle h;

        (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        /* Comes back, though somebody wants this thread to end and each wait in there is a cancellation point. */
        *(int *)arg = mh_new(shared, 5, &h);
        pthread_testcancel();
        return arg;
}

static void *play_slow(void *arg)
{
        fake_hello();
        fake_expect_new(1, 5);
        deadline_sleep(deadline_in(DEADLINE_SECOND / 5));
        fake_send_handle(MH_WIRE_NEW, 1, 0x100);
        fake_expect_new(2, 5);
        fake_send_handle(MH_WIRE_NEW, 2, 0x200);
        fake_detach();
        return NULL;
}

Test(call, is_no_cancellation_point)
{
        pthread_t thread;
        mh_handle h;
        void *ret;
        int r = 77;

        fake_start(play_slow);
        shared = attach();
        cr_assert_eq(pthread_create(&thread, NULL, cancel_me, &r), 0);
        deadline_sleep(deadline_in(DEADLINE_SECOND / 20));
        (void)pthread_cancel(thread);
        cr_assert_eq(pthread_join(thread, &ret), 0);
        cr_assert_eq(ret, PTHREAD_CANCELED);
        cr_assert(r == 0 || r == 77, "%d", r);
        /* No lock was left behind. */
        if (r == 0)
                cr_assert_eq(mh_new(shared, 5, &h), 0);
        else
                cr_assert_eq(mh_new(shared, 5, &h) + mh_new(shared, 5, &h), 0);
        detach(shared);
}

Test(call, errno_is_left_alone)
{
        mh_client *c;
        mh_handle h;

        fake_start(play_lost_requests);
        errno = ETXTBSY;
        c = attach();
        cr_assert_eq(errno, ETXTBSY);
        cr_assert_eq(mh_new(c, 5, &h), 0);
        cr_assert_eq(mh_open(c, h, NULL), 0);
        cr_assert_eq(mh_close(c, h, NULL), 0);
        cr_assert_eq(mh_close(c, h, NULL), 0);
        cr_assert_eq(mh_new(c, 0, &h), -EINVAL);
        cr_assert_eq(errno, ETXTBSY);
        (void)mh_detach(c);
        cr_assert_eq(errno, ETXTBSY);
        fake_join();
        c = NULL;
        cr_assert_eq(mh_attach(&c, "/nonexistent/socket", MH_ATTACH_NO_SPAWN), -ENOTCONN);
        cr_assert_eq(errno, ETXTBSY);
}
