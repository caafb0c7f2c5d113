/* SPDX-License-Identifier: MIT */
#pragma once

/* Other processes: who one is, and whether it still has what it had.
 *
 * A pid alone names nobody: numbers come round. A process is named by its pid and its start time, and held by a
 * pidfd, which stays that process's for ever. Every answer here that could make somebody take a process for dead is
 * given only when it is sure:
 *
 *   -ESRCH        there is no such process (any more)
 *   -EACCES       it is there, but we may not look
 *   -EOPNOTSUPP   /proc is not that of our pid namespace, or is not there: nothing can be said about anybody
 *   -EAGAIN       it is changing too fast; ask again
 *
 * A pid may come from somebody who is not trusted: 0 and negative ones are nobody, -ESRCH. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_COMM_MAX 64

/* When it started, in clock ticks since boot. */
int process_start_time(pid_t pid, uint64_t *ret);

/* A descriptor (CLOEXEC) that polls readable once the whole process, all its threads, has ended. */
int process_pidfd(pid_t pid);

/* The same, but -ESRCH if that process did not start at `start_time`: then it is another one with that number. */
int process_pidfd_started(pid_t pid, uint64_t start_time);

/* 1 if the whole process has ended, 0 if not. */
int process_pidfd_dead(int pidfd);

/* Its name for people; bytes that would upset a terminal are '?'. */
int process_comm(pid_t pid, char ret[static PROCESS_COMM_MAX]);

/* 1 if the file (st_dev and st_ino) is mapped there, 0 if it certainly is not, or the process has ended. */
int process_maps_file(pid_t pid, dev_t dev, ino_t ino);

/* The same for one byte of the file. */
int process_maps_file_at(pid_t pid, dev_t dev, ino_t ino, uint64_t offset);

/* 1 if its descriptor `fd` is the socket with that inode number, 0 if certainly not, or the process has ended. */
int process_has_socket(pid_t pid, int fd, ino_t ino);

/*
 * Where a process stands when it looks at others. A pid counts in a pid namespace, and a start time is shifted by the time
 * namespace of who reads it: from another place, the same two numbers mean somebody else or nobody.
 */
typedef struct ProcessPlace {
        uint64_t pid_namespace;  /* inode number of /proc/self/ns/pid; 0: not known */
        uint64_t time_namespace; /* of /proc/self/ns/time; likewise */
} ProcessPlace;

/* Ours. What /proc does not tell is not known. */
void process_place(ProcessPlace *ret);

/* Certainly not the same place: what the one tells about processes is no answer in the other. */
bool process_place_differs(const ProcessPlace *a, const ProcessPlace *b);
