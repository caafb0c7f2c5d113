/* SPDX-License-Identifier: MIT */
#ifndef MH_SHM_LAYOUT_H
#define MH_SHM_LAYOUT_H

/*
 * The segment format, version 1: layout and nothing else. mono-handle-d-shm(7) tells it in prose.
 *
 * A segment is one POSIX shared-memory object of fixed logical size, sparse from the start. All numbers are in the byte
 * order of the machine, all offsets are bytes from the start of the segment, and every field that is not named is zero.
 * Peers take offsets and capacities from the header; nothing is computed from a build's own constants but what is
 * fixed here.
 *
 * Glossary
 *
 *   client      a process that is attached, numbered by its client id; id 0 is the daemon
 *   slot        128 bytes that hold one handle at a time
 *   chunk       512 slots, the unit in which slots get and lose their memory
 *   holder bit  one bit per slot and client: "this client holds the handle"
 *   ledger      one word per slot, of one client: what this client has to do with that slot
 *   span        64 KiB of scratch memory, the unit in which scratch gets and loses its memory
 *   owner word  one word per scratch block: who owns it
 *   hint        a word whose loss costs time and nothing else; everything that is not called a hint is the truth
 *
 * Equations that hold at every instant (src/shm/verify.c checks them on a segment at rest)
 *
 *   holder bit (c, s) set             => ledger (c, s) != 0
 *   slot s is RESERVED/DYING/DEAD(c)  => ledger (c, s) != 0, or c is the daemon and some ledger word of s is not 0
 *   slot s is LIVE, not being created => some holder bit of s is set, or some ledger word of s is IN_FLIGHT
 *   span p is CLAIMED/SMALL/LARGE(c)  => ledger bit (c, p) set, or that of the head of p, or a hazard of c names one of the
 *                                        two; a LARGE block given away: none needed, one that is FREEING(d): the same of d
 *   owner word names slot s, entry e  => entry e of slot s names that block, and s is LIVE, DYING or DEAD
 *   chunk is not OPEN                 => no slot of it is RESERVED, LIVE, DYING or DEAD for a client
 *
 * Change log
 *
 *   1  the first published format; until then it may change
 *      - mh_shm_shared tells the namespaces of the daemon, in what was padding: zeros, in a segment that does not tell,
 *        read as "not known"
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define MH_SHM_MAGIC   UINT64_C(0x314444484f4e4f4d) /* "MONOHDD1" in memory */
#define MH_SHM_VERSION 1U

/* Features that a reader may ignore, and those that it must know or else leave the segment alone. None so far. */
#define MH_SHM_COMPATIBLE_KNOWN   UINT64_C(0)
#define MH_SHM_INCOMPATIBLE_KNOWN UINT64_C(0)

#define MH_SHM_PAGE         4096U
#define MH_SHM_REGION_ALIGN 65536U

/* ------------------------------------------------------------------------------------------------ capacities */

#define MH_SHM_CHUNK_SLOTS     512U /* slots per chunk */
#define MH_SHM_SLOTS_MIN       MH_SHM_CHUNK_SLOTS
#define MH_SHM_SLOTS_MAX       (1U << 24)
#define MH_SHM_SLOTS_DEFAULT   (1U << 20)
#define MH_SHM_CLIENTS_MIN     2U /* the daemon is one of them */
#define MH_SHM_CLIENTS_MAX     4096U
#define MH_SHM_CLIENTS_DEFAULT 1024U
#define MH_SHM_SPAN_SIZE       65536U     /* bytes */
#define MH_SHM_SPANS_MAX       (1U << 24) /* 1 TiB of scratch */
#define MH_SHM_GROUP_CLIENTS   64U        /* clients per word of holder bits */
#define MH_SHM_CLIENT_DAEMON   0U

/* ------------------------------------------------------------------------------------------------ regions */

enum mh_shm_region_id {
        MH_SHM_REGION_HEADER = 0,   /* struct mh_shm_header; written once, before the segment is READY */
        MH_SHM_REGION_SHARED = 1,   /* struct mh_shm_shared; high-water marks and hints */
        MH_SHM_REGION_CLIENTS = 2,  /* struct mh_shm_client [clients]; written by the daemon only */
        MH_SHM_REGION_HAZARDS = 3,  /* struct mh_shm_hazard [clients] */
        MH_SHM_REGION_CHUNKS = 4,   /* struct mh_shm_chunk [slots / 512] */
        MH_SHM_REGION_CHUNKMAP = 5, /* hint: one bit per chunk, set: no free slot was found there */
        MH_SHM_REGION_SLOTS = 6,    /* struct mh_shm_slot [slots] */
        /* uint64_t [groups - 1][slots]: holder bits of clients 64 and up. The word of slot s for group g is at [g - 1][s ^ (8 * g & 511)]:
         * otherwise all words of a slot would be at the same distance from a page, and so compete for few lines of the cache. */
        MH_SHM_REGION_HOLDERS = 7,
        MH_SHM_REGION_LEDGERS = 8,  /* [clients] of ledger_stride bytes, see below */
        MH_SHM_REGION_SPANS = 9,    /* struct mh_shm_span [spans] */
        MH_SHM_REGION_SPANMAP = 10, /* hint: one bit per span, set: not FREE */
        MH_SHM_REGION_OWNERS = 11,  /* struct mh_shm_owners [spans] */
        MH_SHM_REGION_SCRATCH = 12, /* the data: [spans] of 64 KiB */
        MH_SHM_REGION_COUNT = 13,
};

struct mh_shm_region {
        uint64_t offset; /* bytes from the start of the segment, a multiple of 65536 */
        uint64_t size;   /* bytes, a multiple of 65536 */
};

/* ------------------------------------------------------------------------------------------------ header */

enum mh_shm_header_state {
        MH_SHM_STATE_EMPTY = 0, /* being initialised, or abandoned while it was: never used */
        MH_SHM_STATE_READY = 1,
        MH_SHM_STATE_CLOSED = 2, /* the daemon left it for good; nobody may attach or resume */
};

struct mh_shm_header {
        uint64_t magic;       /* MH_SHM_MAGIC */
        uint32_t version;     /* MH_SHM_VERSION; another number: nothing below can be trusted */
        uint32_t header_size; /* sizeof(struct mh_shm_header) */
        uint64_t compatible_flags;
        uint64_t incompatible_flags;
        uint8_t id[16];      /* random; names this segment for good */
        uint64_t total_size; /* bytes */
        uint32_t uid;        /* of the user it belongs to, in the user namespace of the daemon that made it */
        uint32_t state;      /* enum mh_shm_header_state; stored last */
        uint32_t n_slots;    /* a multiple of 512 */
        uint32_t n_clients;
        uint32_t n_spans;
        uint32_t n_groups;         /* words of holder bits per slot: n_clients / 64, rounded up */
        uint64_t ledger_stride;    /* bytes */
        uint64_t ledger_slots;     /* offset of the slot words inside a ledger, bytes */
        uint64_t ledger_spans;     /* offset of the span bits inside a ledger, bytes */
        uint64_t first_generation; /* 40 bits, not 0: generations of all slots start here */
        uint64_t created_usec;     /* CLOCK_REALTIME, for people */
        struct mh_shm_region regions[MH_SHM_REGION_COUNT];
        uint64_t _pad[9];
};

/* Of the words that say where the daemon is: see place_check(). */
#define MH_SHM_PLACE_XOR   UINT64_C(0x9e3779b97f4a7c15)
#define MH_SHM_PLACE_MUL_1 UINT64_C(0xbf58476d1ce4e5b9)
#define MH_SHM_PLACE_MUL_2 UINT64_C(0x94d049bb133111eb)

/* The daemon's identity, limits, high-water marks and search hints. On a page of its own, because it changes. */
struct mh_shm_shared {
        /* written by the daemon only */
        uint64_t epoch;             /* grows by one with each daemon that adopts the segment */
        uint64_t daemon_start_time; /* clock ticks since boot, field 22 of /proc/PID/stat */
        uint32_t daemon_pid;
        uint32_t client_hwm; /* client ids below this have their entry and hazards reserved */
        /* per client, handles and bytes; UINT64_MAX: none. Enforced for those whose ledger the daemon writes */
        uint64_t limit_client_handles;
        uint64_t limit_client_scratch;
        /* where the daemon is, without which no pid and no start time in the segment means anything; 0: not known */
        uint64_t daemon_pid_ns;   /* inode number of its /proc/self/ns/pid */
        uint64_t daemon_time_ns;  /* and of its /proc/self/ns/time */
        uint64_t daemon_ns_check; /* place_check() of the two, or neither is known */

        /* raised by anybody, by compare-and-swap, after the pages were reserved; read often */
        uint32_t chunk_hwm; /* chunk descriptors below this are reserved; a multiple of 32 */
        uint32_t span_hwm;  /* span entries below this are reserved; a multiple of 128 */
        uint64_t _pad1[7];

        /* hints, written often */
        uint32_t chunk_cursor; /* where a search for a chunk starts */
        uint32_t span_cursor;  /* where a search for a span starts */
        uint64_t _pad2[7];
        uint32_t orphan[64]; /* per size class: a span that may be ORPHAN of it, plus one; 0: none known */
};

/* ------------------------------------------------------------------------------------------------ clients */

enum mh_shm_client_state {
        MH_SHM_CLIENT_FREE = 0,
        MH_SHM_CLIENT_ATTACHING = 1, /* the entry is being filled; it holds nothing yet */
        MH_SHM_CLIENT_ATTACHED = 2,
        MH_SHM_CLIENT_DEAD = 3, /* being reaped */
};

#define MH_SHM_CLIENT_MAPS   (1U << 0) /* its process maps the segment: it lives until its process ends */
#define MH_SHM_CLIENT_LEDGER (1U << 1) /* its process writes its ledger itself; implies MAPS */

/* What the daemon is about to do for a client, written before it is done, so that the next daemon can finish it. */
struct mh_shm_intent {
        uint64_t seq;      /* of the request; seq > outcome.seq: not finished. Stored last */
        uint32_t op;       /* enum mh_wire_type */
        uint32_t type;     /* New: the handle type asked for */
        uint64_t arg[2];   /* handle, index or length, as in the request */
        uint64_t target;   /* slot or scratch index that is being changed; 0: none yet */
        uint64_t old_word; /* Open, Close, Give: the ledger word; ScratchFree: the owner word; as it was before */
        uint64_t new_word; /* Give alone: the owner word, as it was before, too */
};

struct mh_shm_outcome {
        uint64_t seq;      /* stored last */
        int32_t error;     /* 0, or a positive errno */
        uint32_t flags;    /* Close: enum mh_wire_close_flags; Open: the type */
        uint64_t value[2]; /* handle, index, size */
};

struct mh_shm_client {
        uint32_t state;      /* enum mh_shm_client_state; the truth about the entry */
        uint32_t flags;      /* MH_SHM_CLIENT_* */
        uint32_t pid;        /* as the daemon sees it; 0: it cannot */
        uint32_t life_fd;    /* of `life`; changes only while that is 0 */
        uint64_t start_time; /* of that process, clock ticks since boot; 0: unknown */
        uint64_t nonce;      /* from its attach */
        uint64_t life; /* who does not map: inode number of a socket that is open while it uses this entry; or 0 */
        uint64_t attached_usec; /* CLOCK_REALTIME, for people */
        char name[32];          /* NUL-terminated; for people */
        struct mh_shm_intent intent;
        struct mh_shm_outcome outcome;
        uint64_t requests; /* answered so far; for people */
        uint64_t errors;   /* of those, answered with an error */
        uint64_t _pad1[41];
};

/* Threads of a client that have a line of their own where each writes one; others share the last, under a lock of theirs. */
#define MH_SHM_THREADS 8U

/*
 * The span that a thread of this client looks into at this moment without owning it, plus one; 0: none. Who gives a span's
 * pages back first makes the span unusable, then looks here, and keeps the pages of a span that it finds. The
 * reaper looks here too, for a free that a dead client had not finished.
 */
struct mh_shm_hazard_line {
        uint64_t span;
        uint64_t used;    /* the first line: how many were ever used, at least; 0 counts as 1 */
        uint64_t freeing; /* the scratch index of a block that this thread frees in a span of its own; 0: none */
        uint64_t _pad[5];
};

struct mh_shm_hazard {
        struct mh_shm_hazard_line line[MH_SHM_THREADS];
};

/* ------------------------------------------------------------------------------------------------ handles */

/* A handle: generation (40), slot (24). */
#define MH_SHM_HANDLE_SLOT_BITS 24U
#define MH_SHM_GENERATION_BITS  40U
#define MH_SHM_GENERATION_MASK  ((UINT64_C(1) << MH_SHM_GENERATION_BITS) - 1)

/* State word: generation (40), phase (3), type (8), owner (13). Zero: no memory, or retired for ever. */
#define MH_SHM_STATE_GEN_SHIFT   24U
#define MH_SHM_STATE_PHASE_SHIFT 21U
#define MH_SHM_STATE_TYPE_SHIFT  13U
#define MH_SHM_STATE_OWNER_MASK  UINT64_C(0x1fff)

enum mh_shm_phase {
        MH_SHM_PHASE_FREE = 0,
        MH_SHM_PHASE_RESERVED = 1, /* owner: who will make a handle of it */
        MH_SHM_PHASE_LIVE = 2,     /* owner: 0 */
        MH_SHM_PHASE_DYING = 3,    /* owner: who tries to destroy it; anyone may rescue it */
        MH_SHM_PHASE_DEAD = 4,     /* owner: who cleans it up */
};

/* A scratch reference: block (36; its offset / 16, plus one), giver (13), the low 15 bits of the block's tag. 0: empty. */
#define MH_SHM_SLOT_REFS       4U
#define MH_SHM_REF_BLOCK_SHIFT 28U
#define MH_SHM_REF_GIVER_SHIFT 15U
#define MH_SHM_REF_TAG_MASK    UINT64_C(0x7fff)

#define MH_SHM_PAYLOAD_SIZE 64U /* bytes */

struct mh_shm_slot {
        uint64_t state;
        uint64_t holders; /* bits of clients 0..63; those of others are in REGION_HOLDERS */
        uint32_t wait[2]; /* for waiters; the kinds that can be waited for define them */
        uint64_t refs[MH_SHM_SLOT_REFS];
        uint64_t _pad;
        uint8_t payload[MH_SHM_PAYLOAD_SIZE]; /* the user's; zero in a new handle */
};

/* Chunk word: generation floor (40), groups (8), state (3), owner (13). Zero: a hole whose floor is the first generation. */
#define MH_SHM_CHUNK_FLOOR_SHIFT  24U
#define MH_SHM_CHUNK_GROUPS_SHIFT 16U /* how many words of holder bits beyond the first are reserved in this chunk */
#define MH_SHM_CHUNK_GROUPS_MASK  UINT64_C(0xff)
#define MH_SHM_CHUNK_STATE_SHIFT  13U
#define MH_SHM_CHUNK_STATE_MASK   UINT64_C(0x7)
#define MH_SHM_CHUNK_OWNER_MASK   UINT64_C(0x1fff)

enum mh_shm_chunk_state {
        MH_SHM_CHUNK_HOLE = 0,    /* no memory; slots will start at the floor */
        MH_SHM_CHUNK_OPENING = 1, /* owner reserves and fills it */
        MH_SHM_CHUNK_OPEN = 2,
        MH_SHM_CHUNK_CLOSING = 3,  /* the daemon has reserved all its slots and looks for others that may touch them */
        MH_SHM_CHUNK_PUNCHING = 4, /* nobody can: the memory is being given back */
};

struct mh_shm_chunk {
        uint64_t word;
        uint64_t _pad[7];
        uint64_t taken[8]; /* hint: one bit per slot, set: not FREE */
};

/* ------------------------------------------------------------------------------------------------ ledgers */

/*
 * A ledger is ledger_stride bytes: a page of struct mh_shm_account, then (at ledger_slots) one word per slot, then (at
 * ledger_spans) one bit per span. Its pages are reserved 8 KiB at a time.
 *
 * Ledger word: generation (40), IN_FLIGHT, RESERVED, WAITERS, count (21). Zero: nothing to do with that slot.
 * IN_FLIGHT and RESERVED exclude a count.
 */
#define MH_SHM_LEDGER_UNIT       8192U
#define MH_SHM_LEDGER_GEN_SHIFT  24U
#define MH_SHM_LEDGER_IN_FLIGHT  (UINT64_C(1) << 23)
#define MH_SHM_LEDGER_RESERVED   (UINT64_C(1) << 22)
#define MH_SHM_LEDGER_WAITERS    (UINT64_C(1) << 21) /* a thread of this client sleeps on the word */
#define MH_SHM_LEDGER_COUNT_MASK ((UINT64_C(1) << 21) - 1)

/*
 * Hints for limits and for people, one line per thread; only the sums mean something, and a line may well be below zero.
 * The first five but handles only grow. alloc less free less disowned less lost is what the client owns, at most: it cannot know
 * what others free.
 */
struct mh_shm_account_line {
        uint64_t handles;        /* ledger words that are not zero */
        uint64_t created;        /* handles that this client made */
        uint64_t destroyed;      /* handles that this client was the last to close */
        uint64_t alloc_bytes;    /* scratch taken, in bytes of whole blocks */
        uint64_t free_bytes;     /* scratch freed by this client, whoever had taken it */
        uint64_t disowned_bytes; /* what it gave to handles, less what it freed of others' */
        uint64_t lost_bytes; /* the first line: what others had freed when it was last counted; by compare-and-swap */
        uint64_t _pad[1];
};

struct mh_shm_account {
        struct mh_shm_account_line line[MH_SHM_THREADS];
        /* one bit per 8 KiB of the ledger from ledger_slots on, set once their pages were reserved */
        uint64_t reserved[448];
};

/* ------------------------------------------------------------------------------------------------ scratch */

/*
 * A scratch index: tag (24), byte offset (40).
 * Owner word: tag (24), kind (3), entry (3), 10 zero bits, who (24): a client or a slot. Zero: free, never used since its
 * span got its memory; the first block there gets the tag that follows the span's tag_floor.
 */
#define MH_SHM_SCRATCH_TAG_SHIFT   40U
#define MH_SHM_SCRATCH_OFFSET_MASK ((UINT64_C(1) << 40) - 1)
#define MH_SHM_TAG_MASK            UINT64_C(0xffffff)
#define MH_SHM_OWNER_KIND_SHIFT    37U
#define MH_SHM_OWNER_ENTRY_SHIFT   34U
#define MH_SHM_OWNER_WHO_MASK      UINT64_C(0xffffff)

enum mh_shm_owner_kind {
        MH_SHM_OWNER_FREE = 0,
        MH_SHM_OWNER_CLIENT = 1,  /* who: client id */
        MH_SHM_OWNER_SLOT = 2,    /* who: slot; entry: which of its references */
        MH_SHM_OWNER_FREEING = 3, /* who: client id. Large blocks only: freed, and that client gives the spans back */
};

#define MH_SHM_BLOCK_ALIGN     16U /* bytes; also the smallest block */
#define MH_SHM_SPAN_BLOCKS_MAX (MH_SHM_SPAN_SIZE / MH_SHM_BLOCK_ALIGN)
#define MH_SHM_SMALL_MAX       32768U /* bytes; larger blocks take whole spans */

/*
 * Size classes: 16 to 128 bytes in steps of 16, then four to each doubling up to 32768.
 *   class k < 8:  16 * (k + 1)
 *   class k >= 8: (5 + (k - 8) % 4) << (5 + (k - 8) / 4)
 */
#define MH_SHM_CLASSES 40U

/* Span word: incarnation (20), state (4), thread (3), client (13), head span or size class (24). */
#define MH_SHM_SPAN_INC_SHIFT    44U /* 20 bits; one more with each release, so that a late compare-and-swap fails */
#define MH_SHM_SPAN_STATE_SHIFT  40U /* 4 bits */
#define MH_SHM_SPAN_THREAD_SHIFT 37U /* 3 bits; SMALL: which thread of the client takes blocks from it */
#define MH_SHM_SPAN_THREAD_MASK  UINT64_C(0x7)
#define MH_SHM_SPAN_CLIENT_SHIFT 24U /* 13 bits */
#define MH_SHM_SPAN_CLIENT_MASK  UINT64_C(0x1fff)
#define MH_SHM_SPAN_ARG_MASK \
        UINT64_C(0xffffff) /* 24 bits: CLAIMED, CONT: the head span; SMALL, ORPHAN: the size class */

enum mh_shm_span_state {
        MH_SHM_SPAN_FREE = 0,    /* no memory, but for what `kept` says */
        MH_SHM_SPAN_CLAIMED = 1, /* client, head: on its way in or out */
        MH_SHM_SPAN_SMALL = 2,   /* client, thread, class */
        MH_SHM_SPAN_ORPHAN = 3,  /* class: its client is dead, blocks in it live; anyone may adopt it */
        MH_SHM_SPAN_LARGE = 4,   /* client that took it; first span of a large block of `run` spans */
        MH_SHM_SPAN_CONT = 5,    /* head: another span of a large block */
};

struct mh_shm_span {
        uint64_t word;
        uint64_t size;      /* LARGE: bytes asked for */
        uint32_t run;       /* LARGE: spans in the block. Written before the word says LARGE */
        uint32_t kept;      /* FREE, CLAIMED: not 0: owner pages were kept and are to be zeroed by the next claim */
        uint32_t tag_floor; /* 24 bits: no block of this span ever had a later tag */
        uint32_t _pad;
};

/*
 * SMALL: until somebody else comes, the thread whose span it is frees its client's blocks by plain stores. Who else wants to free or
 * give away such a block says EXPECTED, makes every thread pass a barrier, and says SEEN. From then on everybody uses a
 * compare-and-swap; only who is in the middle of a plain free still finishes that, and the `freeing` of its hazard
 * line tells of which block.
 */
#define MH_SHM_VISITORS_EXPECTED 1U
#define MH_SHM_VISITORS_SEEN     2U

/* What goes with the blocks of one span, and has memory only as long as the span: as many pages as its words need. */
struct mh_shm_owners {
        uint64_t hints;     /* hint: one bit per 64 blocks, set by who freed one there; a line of its own */
        uint32_t countdown; /* hint: frees to wait for before looking whether the span is empty */
        uint32_t visitors;  /* MH_SHM_VISITORS_*: who may change the owner words of blocks in use */
        uint64_t _pad1[6];
        uint64_t word[MH_SHM_SPAN_BLOCKS_MAX]; /* owner words, dense: as many as the span has blocks */
        uint64_t _pad2[504];
};

/* ------------------------------------------------------------------------------------------------ assertions */

static_assert(sizeof(struct mh_shm_region) == 16, "format");
static_assert(sizeof(struct mh_shm_header) == 400, "format");
static_assert(sizeof(struct mh_shm_shared) == 448, "format");
static_assert(offsetof(struct mh_shm_shared, daemon_pid_ns) == 40, "format");
static_assert(offsetof(struct mh_shm_shared, chunk_hwm) == 64, "format");
static_assert(offsetof(struct mh_shm_shared, chunk_cursor) == 128, "format");
static_assert(sizeof(struct mh_shm_intent) == 56, "format");
static_assert(sizeof(struct mh_shm_outcome) == 32, "format");
static_assert(sizeof(struct mh_shm_client) == 512, "format");
static_assert(sizeof(struct mh_shm_hazard_line) == 64, "format");
static_assert(sizeof(struct mh_shm_hazard) == 512, "format");
static_assert(sizeof(struct mh_shm_account_line) == 64, "format");
static_assert(sizeof(struct mh_shm_slot) == 128, "format");
static_assert(offsetof(struct mh_shm_slot, payload) == 64, "format");
static_assert(sizeof(struct mh_shm_chunk) == 128, "format");
static_assert(offsetof(struct mh_shm_chunk, taken) == 64, "format");
static_assert(sizeof(struct mh_shm_account) == MH_SHM_PAGE, "format");
static_assert(sizeof(struct mh_shm_span) == 32, "format");
static_assert(sizeof(struct mh_shm_owners) == 9 * MH_SHM_PAGE, "format");
static_assert(offsetof(struct mh_shm_owners, word) == 64, "format");

#endif
