/* SPDX-License-Identifier: MIT */
#pragma once

/* A real process that is stopped at each moment that matters, and there killed, or frozen and let go on.
 *
 * What a process has done can be seen by others in the segment, and through the kernel. So it matters where it stands
 * only before and after each system call, and after each instruction that writes to the segment: between two of these
 * moments it is the same for everybody else whether one more instruction was executed. To find those that write, the
 * segment is made read-only for the process; what then fails is let through, one instruction at a time. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define VICTIM_REGIONS 16U

typedef enum VictimStop {
        VICTIM_CALLS,  /* before a system call */
        VICTIM_CALLED, /* after it */
        VICTIM_WROTE,  /* after an instruction that wrote to the segment */
        VICTIM_SLEEPS, /* it has been in a system call for a while, and still is */
        VICTIM_ENDED,
} VictimStop;

typedef struct VictimRegion {
        uint64_t start, end;
        bool guarded; /* it cannot be written to now */
} VictimRegion;

typedef struct Victim {
        pid_t pid;
        int status;  /* when it has ended */
        bool counts; /* the instructions, one by one, which takes long */
        uint64_t instructions;
        struct user_regs_struct regs;
        uint64_t call;    /* the system call that it is in, or was in last */
        uint64_t syscall; /* address of such an instruction in it */
        bool running, in_call;
        VictimRegion regions[VICTIM_REGIONS];
        unsigned n_regions;
} Victim;

/* Stops a process of this user. It may be in a system call, or about to call execve(2). */
void victim_seize(Victim *v, pid_t pid);

/* To the next moment that matters. */
VictimStop victim_next(Victim *v);

/* Is it in a call, or about to make one, in which it waits for something to do? */
bool victim_waits(const Victim *v);

/* And waits for its end. */
void victim_kill(Victim *v);

/* Lets it go on, untraced. */
void victim_release(Victim *v);
