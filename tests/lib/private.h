/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A world of the test's own: a directory with a socket in it, whose daemon is started by the library, as for any
 * program. When the test ends, whatever daemon serves there is ended, and no segment is left.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "monohandle.h"
#include "shm/verify.h"

extern char private_directory[64];
extern char private_socket[80];

void private_set_up(void);
void private_clean_up(void);

/* For TestSuite(). */
#define PRIVATE_WORLD .init = private_set_up, .fini = private_clean_up, .timeout = 120

/* Microseconds, longer where MONO_HANDLE_TEST_SLOWNESS says that this is a slow build. */
uint64_t private_deadline(unsigned seconds);

/* Asks again and again until it is true; false at the deadline. */
bool private_poll(bool (*condition)(void *), void *userdata);

/* Who serves there, by what the socket says; 0: nobody. */
pid_t private_daemon(void);

/* How many processes were started to serve there and have not ended. */
unsigned private_daemons(void);

/* SIGKILL for who serves there, and waits until it has ended. False: nobody does. */
bool private_kill_daemon(void);

/*
 * Works with a handle that `c` holds until a daemon serves again: who works on the segment itself does not need one and looks only
 * now and then. Returns what the last operation did: 0 there is one; 1 there is none in all that time; -errno.
 */
int private_work_until_served(mh_client *c, mh_handle held);

/* The descriptor of the segment, by the name in the record beside the socket; -ENOENT. */
int private_segment(void);

/* Unlinks the segment, and the record of its name: what is left of both is what processes hold. */
void private_forget_segment(void);

/* Checks the segment while nobody works on it, prints what is found, and returns how much that is. */
int private_verify(VerifyStats *ret);

/* Waits until so many clients are in the segment, and so many handles. */
bool private_settled(uint32_t clients, uint64_t handles);

/* Forks; the child runs `fn` and ends with what it returns. */
pid_t private_fork(int (*fn)(void *), void *userdata);

/* 0 if that child ended with 0, else something that is not. */
int private_wait(pid_t pid);
