/* SPDX-License-Identifier: MIT */

/* The life of handles, by one process that nobody disturbs. */

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "handles.h"
#include "measure.h"
#include "pass.h"
#include "peer-lmdb.h"

static void lock_unlock(void *ctx, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                CHECK(-pthread_mutex_lock(ctx), "pthread_mutex_lock");
                CHECK(-pthread_mutex_unlock(ctx), "pthread_mutex_unlock");
        }
}

static pthread_mutex_t *make_mutex(void)
{
        pthread_mutex_t *mutex = stage_shared(sizeof(*mutex));
        pthread_mutexattr_t attr;

        CHECK(-pthread_mutexattr_init(&attr), "pthread_mutexattr_init");
        CHECK(-pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), "PTHREAD_PROCESS_SHARED");
        CHECK(-pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), "PTHREAD_MUTEX_ROBUST");
        CHECK(-pthread_mutex_init(mutex, &attr), "pthread_mutex_init");
        return mutex;
}

#ifdef HAVE_LMDB
static void renew_reset(void *ctx, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                CHECK(peer_lmdb_renew_reset(ctx), "mdb_txn_renew");
}

static void with_lmdb(OurHandles *ours)
{
        PeerLmdb *lmdb;

        CHECK(peer_lmdb_new(&lmdb, stage_directory), "LMDB");
        measure("first_open_close_lmdb", (Side){ our_open_close, ours }, (Side){ renew_reset, lmdb });
        peer_lmdb_free(lmdb);
}
#else
static void with_lmdb(OurHandles *ours)
{
        pass_skip("first_open_close_lmdb", "built without LMDB (liblmdb-dev)");
}
#endif

/* Both ends on one core, where a round trip is fastest. */
static void against_wire(const StageDaemon *d, OurHandles *ours)
{
        OurHandles wire = { .client = handles_attach(d, MH_ATTACH_NO_MAP) };

        stage_pin(d->pid, 0);
        measure("new_close_wire", (Side){ our_new_close, ours }, (Side){ our_new_close, &wire });
        stage_unpin(d->pid);
        (void)mh_detach(wire.client);
}

void run_handles(void)
{
        OurHandles ours, ours_of_others;
        TheirHandles theirs, theirs_of_others;
        StageDaemon daemon;
        StageChild child;
        Holder holder = { .daemon = &daemon, .id = 1 };

        if (!pass_wants("noise") && !pass_wants("new_close") && !pass_wants("new_close_") &&
            !pass_wants("first_open_close") && !pass_wants("first_open_close_lmdb") && !pass_wants("held_open_close"))
                return;

        stage_daemon_start(&daemon, NULL);
        stage_pin(0, 0);
        holder.table = mt_create(1 << 20, 8);
        CHECK(holder.table, "mt_create");
        holder_start(&child, &holder, &ours_of_others, &theirs_of_others);

        ours.client = ours_of_others.client = handles_attach(&daemon, 0);
        CHECK(mt_attach(&theirs.client, holder.table, 0), "mt_attach");
        theirs_of_others.client = theirs.client;
        our_handles_make(&ours);
        their_handles_make(&theirs);

        measure("noise", (Side){ our_new_close, &ours }, (Side){ our_new_close, &ours });
        measure("new_close", (Side){ our_new_close, &ours }, (Side){ their_new_close, &theirs });
        measure("first_open_close", (Side){ our_open_close, &ours_of_others },
                (Side){ their_open_close, &theirs_of_others });
        measure("held_open_close", (Side){ our_open_close, &ours }, (Side){ their_open_close, &theirs });
        measure("new_close_mutex", (Side){ our_new_close, &ours }, (Side){ lock_unlock, make_mutex() });
        with_lmdb(&ours_of_others);
        against_wire(&daemon, &ours);

        (void)mh_detach(ours.client);
        (void)mt_detach(theirs.client);
        (void)close(holder.table);
        stage_child_kill(&child);
        stage_daemon_stop(&daemon);
        stage_unpin(0);
}
