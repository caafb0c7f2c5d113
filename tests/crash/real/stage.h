/* SPDX-License-Identifier: MIT */
#pragma once

/* A daemon of the test's own, the clients that play with it, and what must be true of the segment when they are done. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "daemon/record.h"
#include "monohandle.h"
#include "shm/totals.h"
#include "shm/verify.h"

#define STAGE_WAIT_S 20.0

/* What all of them know: numbers that they tell each other. It is shared. */
typedef struct Board {
        mh_handle ours;     /* B's, which others open too */
        mh_handle stale;    /* there was one */
        mh_scratch gift;    /* a block of B that somebody else may free */
        mh_scratch kept[3]; /* B's: small, large, and one that it gave to `ours` */
        mh_handle mine[2];  /* A's */
        mh_scratch block[5];
} Board;

typedef struct Stage {
        char directory[64], socket[96], log[96];
        pid_t daemon;                  /* 0: none */
        char segment[RECORD_NAME_MAX]; /* as the record says */
        char opened[RECORD_NAME_MAX];  /* as a daemon had it open that was killed */
        int unnamed;                   /* the segment, if its name was taken from it; else -1 */
        Board *board;
} Stage;

/* In the process of a client. */
typedef struct Role {
        const Stage *stage;
        mh_client *client;
        Board *board;
} Role;

/* What a client does when it is told to: NULL, or what went wrong. */
typedef const char *(*Deed)(Role *role);

/* The process of a client. */
typedef struct Person {
        pid_t pid; /* 0: none */
        int to, from;
} Person;

/* The test cannot go on. */
_Noreturn void stage_abort(const char *format, ...) _printf_(1, 2);

double stage_now(void);
void stage_sleep(void); /* a millisecond */

void stage_init(Stage *s);
void stage_done(Stage *s, bool show_log);

/* Without waiting for anything. The process stands before execve(2) until it is told by a byte to *ret_go. */
void stage_start_held(Stage *s, int *ret_go);
void stage_start(Stage *s);
/* Does it answer, and so has it adopted what there was, while nobody worked? Waits for it. */
bool stage_wait_ready(const Stage *s);
bool stage_is_ready(const Stage *s);
void stage_kill(Stage *s);
/* SIGTERM: false, and it was told, if it does not leave in good order. */
bool stage_stop(Stage *s);

/* Remembers the name of the segment, if there is one. */
void stage_note_segment(Stage *s);

/* It has no name any more, as when logind cleans up after a user: who has it open has it, and the test, too. */
void stage_unname_segment(Stage *s);

/* The same as stage_note_segment() for the one that this process has open, whatever the record says. */
void stage_note_opened(Stage *s, pid_t pid);
bool stage_segment_is_gone(const Stage *s);

/* 1 if no invariant is broken, 0 if one is, -1: there is no segment. */
int stage_verify(const Stage *s, bool tell, VerifyStats *ret);

/* What the accounts say that there is. Zeros: there is no segment. */
void stage_totals(const Stage *s, Totals *ret);

void person_start(Person *p, const Stage *s);
/* person_tell() and person_hear() in one: false, and it was told, if it went wrong. */
bool person_do(Person *p, Deed deed, const char *what);
void person_tell(Person *p, Deed deed);
bool person_has_answered(const Person *p);
bool person_hear(Person *p, const char *what);
void person_kill(Person *p);
