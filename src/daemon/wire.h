/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Packets taken apart and put together. Pure functions on buffers: nothing is received or sent here, and nothing is
 * known of who sent it, so that the whole of it can be tested, and fuzzed, without a socket.
 *
 * A packet is judged from the outside in: is there a whole header, does its size field tell the truth, is the type
 * known, and only then, has that type exactly this length, zeros where zeros belong, and no descriptors where none
 * belong. A Hello of a version that is not spoken here may have any length, so its magic and versions are looked at
 * before that.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"
#include "shm/request.h"

/* One byte more than the largest packet, so that a longer one is seen to be longer. */
#define WIRE_BUFFER_SIZE (MH_WIRE_PACKET_MAX + 1U)

/* What came with a packet. */
typedef struct WirePacket {
        const void *data;
        size_t size;    /* bytes that were received */
        bool truncated; /* there were more */
        unsigned n_fds; /* that came with it, whether they were kept or not */
} WirePacket;

typedef struct WireMessage {
        uint16_t type; /* enum mh_wire_type as the packet says it; 0 where it says nothing */
        uint64_t seq;  /* likewise */
        union {
                struct mh_wire_hello hello; /* HELLO, RESUME; the name is terminated */
                Request request;            /* NEW to SCRATCH_FREE, GIVE */
        };
} WireMessage;

typedef struct WireReply {
        size_t size; /* 0: none */
        union {
                struct mh_wire_header header;
                struct mh_wire_error error;
                struct mh_wire_welcome welcome;
                struct mh_wire_handle handle;
                struct mh_wire_closed closed;
                struct mh_wire_block block;
                uint8_t data[MH_WIRE_PACKET_MAX];
        };
} WireReply;

/*
 * Takes a packet apart. ret->type and ret->seq are told as far as there are any, whatever comes of it, because the
 * answer carries them; the rest is untouched on failure.
 *
 *   -EBADMSG          short, long, a size field that lies, a bit set where none may be, descriptors where none belong
 *   -EOPNOTSUPP       no such request
 *   -EPROTO           a Hello or Resume of another protocol altogether
 *   -EPROTONOSUPPORT  a Hello or Resume of versions that are not spoken here
 */
int wire_parse(const WirePacket *packet, WireMessage *ret);

/* Does the type ask for something that request_run() does? */
bool wire_type_is_request(uint16_t type);

/* For people: "New", "Hello". Static; "?" for what is no request. */
const char *wire_type_name(uint16_t type);

/* The answers. `error` is a positive errno. */
void wire_reply_error(WireReply *ret, uint16_t type, uint64_t seq, int error);
void wire_reply_bare(WireReply *ret, uint16_t type, uint64_t seq);
void wire_reply_outcome(WireReply *ret, const Request *request, const struct mh_shm_outcome *outcome);

typedef struct WireWelcome {
        uint32_t client;
        uint32_t flags;
        uint64_t epoch;
        uint64_t seq;
        uint64_t segment_size;
        const uint8_t *segment; /* 16 bytes */
} WireWelcome;

void wire_reply_welcome(WireReply *ret, uint16_t type, const WireWelcome *welcome);
