/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A daemon that does as it is told: a thread that listens in a directory of its own and plays a script, a function of
 * the test. What it receives must be what the script expects, else the program ends at once, because nobody would
 * answer the client any more.
 */

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/wire.h"

#define FAKE_CLIENT 5U

static char fake_directory[] = "/tmp/mh-fake-XXXXXX";
static char fake_path[64];
static int fake_listener = -1, fake_peer = -1;
static pthread_t fake_thread;
static uint64_t fake_nonce;
static unsigned fake_connections;

#define FAKE_CHECK(expression)                                                                              \
        do {                                                                                                \
                if (!(expression)) {                                                                        \
                        (void)fprintf(stderr, "fake daemon: line %d: not so: %s\n", __LINE__, #expression); \
                        abort();                                                                            \
                }                                                                                           \
        } while (0)

static void fake_set_up(void)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        cr_assert_not_null(mkdtemp(fake_directory));
        (void)strcat(strcpy(fake_path, fake_directory), "/socket");
        (void)strcpy(sa.sun_path, fake_path);
        fake_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        cr_assert_geq(fake_listener, 0);
        cr_assert_eq(bind(fake_listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
        cr_assert_eq(listen(fake_listener, 8), 0);
}

static void fake_clean_up(void)
{
        (void)unlink(fake_path);
        (void)rmdir(fake_directory);
}

static void fake_start(void *(*script)(void *))
{
        cr_assert_eq(pthread_create(&fake_thread, NULL, script, NULL), 0);
}

static void fake_join(void)
{
        cr_assert_eq(pthread_join(fake_thread, NULL), 0);
}

/* ------------------------------------------------------------------------------------------------ for scripts */

static inline void fake_accept(void)
{
        fake_peer = accept4(fake_listener, NULL, NULL, SOCK_CLOEXEC);
        FAKE_CHECK(fake_peer >= 0);
        fake_connections++;
}

static inline void fake_hang_up(void)
{
        (void)close(fake_peer);
        fake_peer = -1;
}

static inline void fake_receive(void *ret, uint16_t type, size_t size, uint64_t seq)
{
        struct mh_wire_header *header = ret;
        ssize_t n = recv(fake_peer, ret, size, 0);

        FAKE_CHECK(n == (ssize_t)size);
        FAKE_CHECK(header->size == size);
        FAKE_CHECK(header->type == type);
        FAKE_CHECK(header->seq == seq);
}

/* Waits for the other side to go. */
static inline void fake_expect_hang_up(void)
{
        char c;

        FAKE_CHECK(recv(fake_peer, &c, 1, 0) <= 0);
        fake_hang_up();
}

static inline void fake_send(void *packet, uint16_t type, size_t size, uint64_t seq)
{
        *(struct mh_wire_header *)packet = (struct mh_wire_header){ .type = type, .size = (uint32_t)size, .seq = seq };
        FAKE_CHECK(send(fake_peer, packet, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static inline void fake_send_error(uint64_t seq, uint32_t reason)
{
        fake_send(&(struct mh_wire_error){ .reason = reason }, MH_WIRE_ERROR, sizeof(struct mh_wire_error), seq);
}

static inline struct mh_wire_welcome fake_welcome(uint64_t seq)
{
        struct mh_wire_welcome w = { .version = MH_WIRE_VERSION_MAX, .client = FAKE_CLIENT, .epoch = 1, .seq = seq };

        memset(w.segment, 0x5e, sizeof(w.segment));
        return w;
}

static inline void fake_receive_hello(void)
{
        struct mh_wire_hello hello;

        fake_receive(&hello, MH_WIRE_HELLO, sizeof(hello), 0);
        FAKE_CHECK(hello.magic == MH_WIRE_MAGIC);
        FAKE_CHECK(hello.client == 0 && hello.flags == 0 && hello.nonce != 0);
        fake_nonce = hello.nonce;
}

static inline void fake_hello(void)
{
        struct mh_wire_welcome w = fake_welcome(0);

        fake_accept();
        fake_receive_hello();
        fake_send(&w, MH_WIRE_HELLO, sizeof(w), 0);
}

/* A Resume of the one that said Hello; it is told that `seq` was its last request that took effect. */
static inline void fake_receive_resume(void)
{
        struct mh_wire_welcome w = fake_welcome(0);
        struct mh_wire_hello hello;

        fake_accept();
        fake_receive(&hello, MH_WIRE_RESUME, sizeof(hello), 0);
        FAKE_CHECK(hello.client == FAKE_CLIENT);
        FAKE_CHECK(hello.nonce == fake_nonce);
        FAKE_CHECK(memcmp(hello.segment, w.segment, sizeof(w.segment)) == 0);
}

static inline void fake_resume(uint64_t seq)
{
        struct mh_wire_welcome w = fake_welcome(seq);

        fake_receive_resume();
        fake_send(&w, MH_WIRE_RESUME, sizeof(w), 0);
}

static inline void fake_expect_new(uint64_t seq, uint32_t type)
{
        struct mh_wire_new request;

        fake_receive(&request, MH_WIRE_NEW, sizeof(request), seq);
        FAKE_CHECK(request.type == type && request._pad == 0);
}

static inline void fake_expect_open(uint64_t seq, uint64_t handle)
{
        struct mh_wire_open request;

        fake_receive(&request, MH_WIRE_OPEN, sizeof(request), seq);
        FAKE_CHECK(request.handle == handle);
}

static inline void fake_expect_close(uint64_t seq, uint64_t handle)
{
        struct mh_wire_close request;

        fake_receive(&request, MH_WIRE_CLOSE, sizeof(request), seq);
        FAKE_CHECK(request.handle == handle);
}

static inline void fake_expect_scratch(uint64_t seq, uint64_t length)
{
        struct mh_wire_scratch request;

        fake_receive(&request, MH_WIRE_SCRATCH, sizeof(request), seq);
        FAKE_CHECK(request.length == length);
}

static inline void fake_expect_scratch_free(uint64_t seq, uint64_t idx)
{
        struct mh_wire_scratch_free request;

        fake_receive(&request, MH_WIRE_SCRATCH_FREE, sizeof(request), seq);
        FAKE_CHECK(request.idx == idx);
}

static inline void fake_send_handle(uint16_t type, uint64_t seq, uint64_t handle)
{
        fake_send(&(struct mh_wire_handle){ .type = 6, .handle = handle }, type, sizeof(struct mh_wire_handle), seq);
}

static inline void fake_send_closed(uint64_t seq, uint32_t destroy)
{
        fake_send(&(struct mh_wire_closed){ .destroy = destroy }, MH_WIRE_CLOSE, sizeof(struct mh_wire_closed), seq);
}

static inline void fake_send_block(uint64_t seq, uint64_t idx)
{
        fake_send(&(struct mh_wire_block){ .idx = idx, .size = 64 }, MH_WIRE_SCRATCH, sizeof(struct mh_wire_block),
                  seq);
}

static inline void fake_send_bare(uint16_t type, uint64_t seq)
{
        struct mh_wire_header header;

        fake_send(&header, type, sizeof(header), seq);
}

static inline void fake_detach(void)
{
        struct mh_wire_detach request;

        fake_receive(&request, MH_WIRE_DETACH, sizeof(request), 0);
        fake_send_bare(MH_WIRE_DETACH, 0);
        fake_expect_hang_up();
}
