/* SPDX-License-Identifier: MIT */
#pragma once

/* What is played on the stage, and how it is told. */

#include "crash/real/stage.h"
#include "crash/real/victim.h"

typedef enum Part {
        PART_DAEMON,   /* the victim is a daemon that serves */
        PART_STARTING, /* one that begins */
        PART_CLIENT,   /* A */
} Part;

typedef enum Cue {
        CUE_DEED,  /* A does something */
        CUE_DEATH, /* A dies */
        CUE_START, /* a daemon begins; if there was one before, it was killed, and so was a client */
        CUE_STOP,  /* the daemon is asked to leave */
} Cue;

/* What happened after A was set up and before the cue. */
typedef enum Before {
        BEFORE_NOTHING,
        BEFORE_DAEMON,  /* the daemon was killed, and this is the next one: who comes to it resumes */
        BEFORE_SEGMENT, /* the same, and the segment has lost its name: who comes brings it along */
} Before;

typedef struct Play {
        const char *name;
        Part victim;
        Cue cue;
        bool empty;               /* there is nobody else, and no segment */
        Deed attach, setup, deed; /* A's; NULL: none */
        Before before;
} Play;

extern const Play plays[];
extern const unsigned n_plays;

/* B's, and what A does in all plays. */
const char *deed_attach(Role *role);
const char *deed_detach(Role *role);
const char *deed_have(Role *role);
const char *deed_check(Role *role);
const char *deed_come_back(Role *role);
const char *deed_hold(Role *role);
const char *deed_go_on(Role *role);

/* Tells what is wrong, and where. Returns false. */
bool play_fail(const char *format, ...) _printf_(1, 2);
void play_say_where(void);
