/* SPDX-License-Identifier: MIT */

#pragma once

/* What scenarios begin with. */

#include "crash/world.h"

/* More than the reaper does in one step. */
#define SETUP_MANY_SPANS 40U

/* Attaches A and B, and C if there is one. */
void setup_begin(World *w, bool with_c);

/* B was there before, and has something of its own that must stay as it is. */
void setup_furnish(World *w);

/* The same, and this handle is the one that all is about. */
void setup_with(World *w, uint64_t handle);

/* What A does. */
void setup_job(World *w, Op op, uint64_t arg0, uint64_t arg1);

/* What may happen meanwhile, besides what B always may do. */
void setup_other(World *w, Who who, Op op, uint64_t arg0, uint64_t arg1);

/* C is dead, and reaping it is one of the things that may happen meanwhile. */
void setup_kill_c(World *w);

/* C was the last to hold it, and died in the middle of destroying it. */
void setup_leave_dying(World *w, uint64_t handle);
