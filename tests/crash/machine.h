/* SPDX-License-Identifier: MIT */
#pragma once

/* A process that executes a function one instruction at a time, and whose state can be saved and put back.
 *
 * It is a fork of the test, so it has the same code and mappings at the same addresses. Its stack lies in memory that
 * both share. So registers, stack and what libc keeps for a thread are all that it has of its own, and saving them
 * makes it possible to let it go on from the same instruction as often as wanted, with another thing having happened
 * in the segment each time.
 *
 * Instructions that do not touch the segment change nothing for others, and nothing that others do changes them. To
 * know which ones do, the process is made to have no access to it: those that need it fail, and then get it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define MACHINE_STACK  (64U * 1024)
#define MACHINE_XSTATE 16384U

/* What libc keeps for a thread, around where the FS register points: errno below, and its own above. */
#define MACHINE_THREAD_BELOW 256U
#define MACHINE_THREAD       2304U

typedef void (*MachineFn)(void *userdata);
typedef void (*MachineSyscallFn)(void *userdata, const struct user_regs_struct *before, long result);

typedef struct Machine {
        pid_t pid;
        uint8_t *stack;                /* shared with the process */
        struct user_regs_struct first; /* as it was when it was started */
        uint8_t first_thread[MACHINE_THREAD];
        struct user_regs_struct regs; /* as it is now */
        MachineSyscallFn on_syscall;  /* told of each call */
        void *userdata;
        void *watched; /* memory of which each access is to be told */
        size_t watched_size;
        bool writes;  /* only of those that write */
        bool guarded; /* it cannot be accessed (written) now */
        bool pending; /* the next instruction will, and has been told */
} Machine;

typedef enum MachineStep {
        MACHINE_RAN,     /* one instruction was executed */
        MACHINE_TOUCHED, /* the same, and it accessed the watched memory, or was a system call */
        MACHINE_TOUCHES, /* nothing was executed: the next one accesses the watched memory, or is a system call */
        MACHINE_DONE,    /* nothing was executed: the function has returned */
} MachineStep;

typedef struct MachineState {
        struct user_regs_struct regs;
        size_t xsize;
        size_t stack_used;
        uint8_t thread[MACHINE_THREAD];
        uint8_t xstate[MACHINE_XSTATE];
        uint8_t stack[MACHINE_STACK];
} MachineState;

/* Can it be done here? If not, the reason. */
const char *machine_missing(void);

/* `stack`: MACHINE_STACK bytes of MAP_SHARED memory. -errno. */
int machine_start(Machine *m, uint8_t *stack);
void machine_kill(Machine *m);

/* Makes it stand before the first instruction of a call of fn(arg). */
void machine_call(Machine *m, MachineFn fn, void *arg);

/* From now on steps tell which instructions access this memory, or only which write to it. Size 0: they do not, and each
 * counts as one that does. */
void machine_watch(Machine *m, void *memory, size_t size, bool writes);

/* One instruction, see MachineStep. */
MachineStep machine_step(Machine *m);

/* The next instruction, whatever it is. False: there is none. */
bool machine_step_over(Machine *m);

/* Lets it run up to and with the next instruction that touches the watched memory: MACHINE_TOUCHED, or MACHINE_DONE. */
MachineStep machine_run(Machine *m);

/* Lets it run until the function has returned. */
void machine_finish(Machine *m);

void machine_save(const Machine *m, MachineState *ret);
void machine_restore(Machine *m, const MachineState *s);
