/* SPDX-License-Identifier: MIT */

#include "peer-lmdb.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct PeerLmdb {
        MDB_env *env;
        MDB_txn *txn;
        char path[128];
};

int peer_lmdb_new(PeerLmdb **ret, const char *directory)
{
        PeerLmdb *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        (void)snprintf(p->path, sizeof(p->path), "%.100s/lmdb.%d", directory, (int)getpid());
        if (mdb_env_create(&p->env) != 0 || mdb_env_open(p->env, p->path, MDB_NOSUBDIR, 0600) != 0 ||
            mdb_txn_begin(p->env, NULL, MDB_RDONLY, &p->txn) != 0) {
                (void)peer_lmdb_free(p);
                return -EIO;
        }
        mdb_txn_reset(p->txn);
        *ret = p;
        return 0;
}

PeerLmdb *peer_lmdb_free(PeerLmdb *p)
{
        char lock[144];

        if (p->txn)
                mdb_txn_abort(p->txn);
        if (p->env)
                mdb_env_close(p->env);
        (void)unlink(p->path);
        (void)snprintf(lock, sizeof(lock), "%s-lock", p->path);
        (void)unlink(lock);
        free(p);
        return NULL;
}

int peer_lmdb_renew_reset(PeerLmdb *p)
{
        if (mdb_txn_renew(p->txn) != 0)
                return -EIO;
        mdb_txn_reset(p->txn);
        return 0;
}
