/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the clients of a soak believe, where the one who judges them can read it: memory that all of them share, and that is
 * no part of what is tested. Each thread writes down what it holds after an operation told it so. A client that is killed
 * leaves beliefs that mean nothing any more, and the next one in its place begins with none.
 *
 * A block that a client took may be freed by another one. So that a death in between is noticed, the note of a block has a state,
 * which changes by compare-and-swap:
 *
 *      OWN ──► OFFERED ──► TAKEN by somebody, who frees it ──► DONE ──► NONE
 *                             └── died meanwhile ──► ORPHANED: it may or may not be freed
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomics.h"
#include "monohandle.h"

#define PLAYERS_MAX 64U
#define THREADS_MAX 10U
#define HELD_MAX    40U
#define BLOCKS_MAX  40U
#define POOL_SIZE   96U /* handles that are offered to all */

enum block_state {
        BLOCK_NONE,
        BLOCK_OWN,
        BLOCK_OFFERED,
        BLOCK_TAKEN,
        BLOCK_ORPHANED,
        BLOCK_DONE
};

typedef struct Held {
        mh_handle handle;
        uint64_t count;
} Held;

typedef struct Block {
        uint64_t state; /* block_word() */
        mh_scratch index;
        uint64_t size;
        uint64_t filled; /* with what block_pattern() says */
} Block;

typedef struct ThreadBoard {
        uint64_t stopped; /* the last round in which it came to a stop */
        uint64_t operations;
        uint64_t longest;     /* operation, in microseconds */
        uint64_t longest_who; /* and which one that was */
        uint64_t operation;   /* under way */
        Held held[HELD_MAX];
        Block blocks[BLOCKS_MAX];
} __attribute__((aligned(128))) ThreadBoard;

typedef struct Player {
        uint64_t life;   /* how many clients this one was so far */
        uint64_t doomed; /* it was killed, or is about to end: what it holds may go at any time */
        uint64_t id;     /* of the client */
        uint64_t threads;
        uint64_t no_map;
        uint64_t seed;
        pid_t pid;
        ThreadBoard thread[THREADS_MAX];
} __attribute__((aligned(128))) Player;

typedef struct Board {
        uint64_t pause;  /* the round in which all come to a stop */
        uint64_t resume; /* and the last one that is over */
        uint64_t leave;
        uint64_t failed;
        uint64_t forks, execs, attachments, closefroms, threads, stale, again;
        uint64_t n_players;
        mh_handle pool[2][POOL_SIZE]; /* made by clients that map the segment, and by others */
        Player player[PLAYERS_MAX];
} Board;

extern Board *board;

/* For messages. */
const char *operation_name(uint64_t number);

/* One client, until it is told to leave, or killed. `fd` is the board's. */
_Noreturn void player_run(unsigned number, int fd);

/* Forgets what this one believes. Its process has ended, or it is its process that says so. */
void player_forget(unsigned number);

static inline uint64_t block_word(enum block_state state, unsigned player, uint64_t life)
{
        return life << 24 | (uint64_t)player << 8 | (uint64_t)state;
}

static inline enum block_state block_state(uint64_t word)
{
        return (enum block_state)(word & 0xff);
}

static inline uint64_t mix(uint64_t x)
{
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
        return x ^ x >> 31;
}

static inline uint64_t random_next(uint64_t *state)
{
        return mix((*state)++);
}
