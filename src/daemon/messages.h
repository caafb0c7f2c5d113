/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The kinds of diagnostics that mean something to a machine or need an explanation: each has an id, by which the journal
 * finds its records (`journalctl MESSAGE_ID=…`) and its text in the catalog (mono-handle-d.catalog, shown by `journalctl
 * -x`). An id is random, and is given to one meaning for ever.
 *
 * X(KIND, id, burst, fields): at most `burst` of a kind are told in LOG_RATE_INTERVAL; what a hostile client can provoke as
 * often as it likes has a small one. Every record of the kind has these `fields`; the catalog uses no others.
 */

#define MESSAGES(X)                                                                                                    \
        X(READY, "0c09a76063474229afa5975a34baafdc", 20, "MONO_HANDLE_SOCKET MONO_HANDLE_SEGMENT")                     \
        X(CLIENT_DIED, "2e1983fdb2fc4636b1842df42ad1fbc4", 500,                                                        \
          "MONO_HANDLE_CLIENT MONO_HANDLE_PID MONO_HANDLE_COMM MONO_HANDLE_HANDLES MONO_HANDLE_BYTES")                 \
        X(PACKET_REFUSED, "c54eb4087bff4538a5e0c6ba15f75b8c", 20,                                                      \
          "MONO_HANDLE_CLIENT MONO_HANDLE_PID MONO_HANDLE_REASON")                                                     \
        X(LIMIT_REACHED, "08e71312987f461da1e95f6be5fecef0", 20,                                                       \
          "MONO_HANDLE_CLIENT MONO_HANDLE_PID MONO_HANDLE_LIMIT MONO_HANDLE_VALUE")                                    \
        X(SEGMENT_FULL, "0c3c9fcc252a4df1a64e9ffd6738a253", 20,                                                        \
          "MONO_HANDLE_CLIENT MONO_HANDLE_PID MONO_HANDLE_RESOURCE")                                                   \
        X(ADOPTED, "6769d60acad1475aa4ea12bde203666b", 20,                                                             \
          "MONO_HANDLE_SEGMENT MONO_HANDLE_CLIENTS MONO_HANDLE_DEAD MONO_HANDLE_HANDLES")                              \
        X(STOPPING, "7d1645b8aa414c178e77b37a0f46e34d", 20,                                                            \
          "MONO_HANDLE_REASON MONO_HANDLE_CLIENTS MONO_HANDLE_HANDLES")                                                \
        X(PEER_REFUSED, "489bdf333ee14d9f829f46420feb8473", 20, "MONO_HANDLE_UID MONO_HANDLE_PID")                     \
        X(ALREADY_RUNNING, "e79fc8223413450fbc64bcc147ca8b17", 20, "MONO_HANDLE_SOCKET MONO_HANDLE_PID")               \
        X(SEGMENT_LOST, "f1f012143ff84459adbf8b981552f51f", 20, "MONO_HANDLE_SEGMENT MONO_HANDLE_REASON")              \
        X(CLIENT_LOST, "9f2abeb3331c45deac0c2ad508f3c4e6", 100, "MONO_HANDLE_CLIENT MONO_HANDLE_PID MONO_HANDLE_COMM") \
        X(VERSION_REFUSED, "e46ffc0e47cb42a694a01866f596baa3", 20, "MONO_HANDLE_SEGMENT MONO_HANDLE_VERSION")          \
        X(ELSEWHERE, "895087d202624f0cb035fc386b68c67d", 20, "MONO_HANDLE_SEGMENT MONO_HANDLE_REASON")                 \
        X(SUPPRESSED, "3cc5eb117e4e4c339f224a23a567cf55", 100, "MONO_HANDLE_SUPPRESSED MONO_HANDLE_KIND")

#define MESSAGE_ENUM(kind, id, burst, fields) MESSAGE_##kind,

typedef enum MessageKind {
        MESSAGE_NONE, /* no id: of interest to those who follow what happens, at LOG_INFO and below */
        MESSAGES(MESSAGE_ENUM) MESSAGE_KIND_COUNT
} MessageKind;

#undef MESSAGE_ENUM
