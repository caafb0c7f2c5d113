/* SPDX-License-Identifier: MIT */
#pragma once

/* A small segment in a memfd, clients of it, their death, and a file system that becomes full on demand.
 *
 * Whoever reserves memory does it by fallocate(2); this file brings one of its own, which can be told to fail. So each
 * place where memory can be missing is reached by counting, on any machine and without privileges. For what the
 * counting cannot show there is fixture_open_tmpfs(), a file system that really is that small. */

#include <criterion/criterion.h>

#include "base/atomics.h"
#include "shm/actor.h"
#include "shm/client.h"
#include "shm/reap.h"
#include "shm/segment.h"
#include "shm/verify.h"
#include "shm/words.h"

#define FIXTURE_FIRST 1000U /* the first generation */

#define FIXTURE_OF_DAEMON 0U                                          /* flags of a client */
#define FIXTURE_OWN       (MH_SHM_CLIENT_MAPS | MH_SHM_CLIENT_LEDGER) /* may keep slots reserved */

typedef struct Fixture {
        int fd;
        Segment seg; /* as the daemon maps it */
} Fixture;

/* 2,048 slots, 200 clients (four words of holder bits), 256 spans; no limits. */
extern const SegmentConfig fixture_config;

void fixture_open(Fixture *f);
void fixture_open_as(Fixture *f, const SegmentConfig *config);

/* In a tmpfs of that many bytes. Skips the test where none can be had. */
void fixture_open_tmpfs(Fixture *f, const SegmentConfig *config, uint64_t bytes);

/* Without looking, for what a test has spoilt; and after verifying that all is in order and nothing pending. */
void fixture_close(Fixture *f);
void fixture_done(Fixture *f);

/* Fails the test unless verify_segment() finds nothing. `flags` are its own. */
void fixture_verify(const Fixture *f, unsigned flags, VerifyStats *ret);
#define fixture_verify_rest(f) fixture_verify(f, VERIFY_AT_REST | VERIFY_NO_DEAD, NULL)

/* A new client. Its id. */
uint32_t fixture_attach(Fixture *f, uint32_t flags, Actor *ret);

/* The private memory of an actor is lost, as when the daemon died. */
void fixture_forget(Fixture *f, Actor *a);

void fixture_kill(Fixture *f, uint32_t id);
ReapStats fixture_reap_dead(Fixture *f, uint32_t id);
ReapStats fixture_reap(Fixture *f, uint32_t id); /* both of these */

/* 512-byte blocks of memory that the segment has. */
uint64_t fixture_blocks(const Fixture *f);

/* From now on the n-th reservation (from 0) fails with ENOSPC, and all that follow; no reservation does. */
void fixture_fail_reserve(unsigned n);
void fixture_fail_nothing(void);
unsigned fixture_reserved(void); /* how many were made since */
void fixture_fail_punch(bool fail);

/* `n` of something that takes long, or fewer where a tool makes everything slow. */
unsigned fixture_scaled(unsigned n);

/* Words, looked at and written by hand. */
static inline struct mh_shm_slot *fixture_slot(Fixture *f, uint64_t handle)
{
        return &f->seg.slots[handle_slot(handle)];
}

static inline unsigned fixture_phase(Fixture *f, uint64_t handle)
{
        return state_phase(load_sc(&fixture_slot(f, handle)->state));
}

/* From now on the account says so much, whatever it said. */
static inline void fixture_own(Actor *a, uint64_t bytes)
{
        a->page->line[0].lost_bytes += account_owned(a->account) - bytes;
}

void fixture_set_ledger(Actor *a, uint32_t slot, uint64_t word);
bool fixture_holds(Fixture *f, uint32_t slot, uint32_t id);
void fixture_set_holder(Fixture *f, uint32_t slot, uint32_t id, bool on);

/* Numbers that are the same in each run. */
uint64_t fixture_random(uint64_t *state);
