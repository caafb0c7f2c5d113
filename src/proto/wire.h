/* SPDX-License-Identifier: MIT */
#ifndef MH_WIRE_H
#define MH_WIRE_H

/*
 * The wire protocol, version 1: layout and nothing else. mono-handle-d-wire(7) tells it in prose, with diagrams.
 *
 * AF_UNIX, SOCK_SEQPACKET; one request or one reply is one packet; a client sends a request and reads its reply before it
 * sends the next. Numbers are in the byte order of the machine: both ends share it. Padding and unused fields are zero and
 * checked to be.
 *
 * Every packet begins with struct mh_wire_header. A reply carries the sequence number of its request, and its type, or
 * MH_WIRE_ERROR. Sequence numbers of the requests that change something (New to ScratchFree and Give) begin at 1
 * and grow by one; a request that is sent again with the same number, after a connection was lost, takes effect once and
 * gets the reply of the first time. Hello, Resume and Detach have the number 0.
 *
 * Change log
 *
 *   1  the first published version; until then it may change
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define MH_WIRE_MAGIC       UINT32_C(0x4448484d) /* "MHHD" in memory */
#define MH_WIRE_VERSION_MIN 1U
#define MH_WIRE_VERSION_MAX 1U
#define MH_WIRE_PACKET_MAX  256U /* bytes; no packet of this version is larger */

enum mh_wire_type {
        MH_WIRE_ERROR = 0, /* reply only */
        MH_WIRE_NEW = 1,
        MH_WIRE_OPEN = 2,
        MH_WIRE_CLOSE = 3,
        MH_WIRE_SCRATCH = 4,
        MH_WIRE_SCRATCH_FREE = 5,
        MH_WIRE_HELLO = 16, /* the first packet of a connection: Hello or Resume */
        MH_WIRE_RESUME = 17,
        MH_WIRE_DETACH = 18,
        MH_WIRE_GIVE = 19,
};

struct mh_wire_header {
        uint16_t type; /* enum mh_wire_type */
        uint16_t _pad;
        uint32_t size; /* bytes of the whole packet, this header included */
        uint64_t seq;
};

/* Any request may be answered by this. */
struct mh_wire_error {
        struct mh_wire_header header;
        uint32_t reason;  /* a positive errno */
        uint32_t request; /* type of the request that failed */
};

/* ------------------------------------------------------------------------------------------------ attach, detach */

enum mh_wire_hello_flags {
        MH_WIRE_HELLO_MAPS = 1 << 0,   /* the client maps the segment: it lives as long as its process */
        MH_WIRE_HELLO_LEDGER = 1 << 1, /* it writes its ledger itself, and sends no New, ..., Give. Needs MAPS */
};

/*
 * Hello carries SCM_CREDENTIALS of the sender, Resume does too; a Resume may carry the segment's fd (SCM_RIGHTS). The nonce
 * is any random number that is not 0, chosen once for an attachment: a Hello repeated with it finds what the first one made.
 */
struct mh_wire_hello {
        struct mh_wire_header header;
        uint32_t magic;       /* MH_WIRE_MAGIC */
        uint16_t version_min; /* the range of versions that the client speaks */
        uint16_t version_max;
        uint32_t flags;      /* enum mh_wire_hello_flags */
        uint32_t client;     /* Resume: the client id; Hello: 0 */
        uint64_t start_time; /* field 22 of the sender's /proc/self/stat, or 0 if it cannot tell */
        uint64_t nonce;
        uint64_t life;    /* who does not map: inode number of a socket that is open while this is in use; or 0 */
        uint32_t life_fd; /* its descriptor */
        uint32_t _pad;
        uint8_t segment[16]; /* Resume: the segment's id; Hello: zero */
        char name[32];       /* NUL-terminated, for people; may be empty */
};

/* The reply to both. Hello's carries the segment's fd (SCM_RIGHTS), opened for reading and writing. */
struct mh_wire_welcome {
        struct mh_wire_header header;
        uint16_t version; /* the one to speak */
        uint16_t _pad;
        uint32_t client; /* the client id */
        uint32_t flags;  /* of those asked for, what was granted: a client whose pid the daemon
                                           cannot see gets none */
        uint32_t _pad1;
        uint64_t epoch;        /* of the daemon that answers */
        uint64_t seq;          /* last sequence number that took effect; 0: none */
        uint64_t segment_size; /* bytes */
        uint8_t segment[16];   /* the segment's id */
};

/* Drops all that the client holds and frees its id. The client has unmapped the segment before. Reply: a bare header. */
struct mh_wire_detach {
        struct mh_wire_header header;
};

/* ------------------------------------------------------------------------------------------------ handles */

struct mh_wire_new {
        struct mh_wire_header header;
        uint32_t type; /* 1..255 */
        uint32_t _pad;
};

struct mh_wire_open {
        struct mh_wire_header header;
        uint64_t handle;
};

struct mh_wire_close {
        struct mh_wire_header header;
        uint64_t handle;
};

/* The reply to New and Open. */
struct mh_wire_handle {
        struct mh_wire_header header;
        uint32_t type;
        uint32_t _pad;
        uint64_t handle;
};

enum mh_wire_close_flags {
        MH_WIRE_CLOSE_DESTROY = 1 << 0, /* this client holds it no more */
        MH_WIRE_CLOSE_GONE = 1 << 1,    /* nobody does: the handle is gone */
};

struct mh_wire_closed {
        struct mh_wire_header header;
        uint32_t destroy; /* enum mh_wire_close_flags */
        uint32_t _pad;
};

/* ------------------------------------------------------------------------------------------------ scratch */

struct mh_wire_scratch {
        struct mh_wire_header header;
        uint64_t length; /* bytes */
};

struct mh_wire_block {
        struct mh_wire_header header;
        uint64_t idx;  /* tag (24), byte offset into the scratch region (40) */
        uint64_t size; /* bytes that can be used, at least the length asked for */
};

/* Reply: a bare header. */
struct mh_wire_scratch_free {
        struct mh_wire_header header;
        uint64_t idx;
};

/* Makes the handle the owner of a block that this client owns. Reply: a bare header. */
struct mh_wire_give {
        struct mh_wire_header header;
        uint64_t idx;
        uint64_t handle;
};

static_assert(sizeof(struct mh_wire_header) == 16, "protocol");
static_assert(sizeof(struct mh_wire_error) == 24, "protocol");
static_assert(sizeof(struct mh_wire_hello) == 112, "protocol");
static_assert(sizeof(struct mh_wire_welcome) == 72, "protocol");
static_assert(sizeof(struct mh_wire_detach) == 16, "protocol");
static_assert(sizeof(struct mh_wire_new) == 24, "protocol");
static_assert(sizeof(struct mh_wire_open) == 24, "protocol");
static_assert(sizeof(struct mh_wire_close) == 24, "protocol");
static_assert(sizeof(struct mh_wire_handle) == 32, "protocol");
static_assert(sizeof(struct mh_wire_closed) == 24, "protocol");
static_assert(sizeof(struct mh_wire_scratch) == 24, "protocol");
static_assert(sizeof(struct mh_wire_block) == 32, "protocol");
static_assert(sizeof(struct mh_wire_scratch_free) == 24, "protocol");
static_assert(sizeof(struct mh_wire_give) == 32, "protocol");

#endif
