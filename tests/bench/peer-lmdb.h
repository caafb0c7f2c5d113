/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A reader of LMDB announces itself in a table that all processes share, much like somebody who opens a handle: renewing
 * and resetting a read transaction is taking and giving back such a mark.
 */

typedef struct PeerLmdb PeerLmdb;

/* Makes an empty environment in `directory`. */
int peer_lmdb_new(PeerLmdb **ret, const char *directory);
PeerLmdb *peer_lmdb_free(PeerLmdb *p);

int peer_lmdb_renew_reset(PeerLmdb *p);
