/* SPDX-License-Identifier: MIT */
#ifndef MONOHANDLE_H
#define MONOHANDLE_H

/*
 * libmonohandle: handles and scratch memory that several processes share, and that are reclaimed when a process dies.
 *
 * Link with -lmonohandle (pkg-config monohandle); monohandle(3) is the overview, and each call has a man page.
 *
 * Results    Every int call returns 0 or a positive, documented result, or a negative errno. Outputs are untouched on failure.
 * Errors     mean the same everywhere:
 *              -EINVAL    nonsense: a NULL where none may be, a type, size or flag that does not exist
 *              -ESTALE    a handle or index that is no longer, or never was, alive; or the segment is gone for good
 *              -EBADF     one that is alive, but not held or owned by this client where that is needed
 *              -EBUSY     a scratch block that belongs to a handle cannot be freed
 *              -ENOSPC    the segment, or the shared-memory file system, is full
 *              -EDQUOT    a limit of this client is reached
 *              -EAGAIN    nothing has happened: call again
 *              -EBADFD    the program closed the descriptor of the segment, and this kernel (before Linux 5.14) can reserve no
 *                         memory without it
 *              -EOVERFLOW more than 2,097,151 references of one client to one handle
 *              -ECHILD    used in the child of a fork(): attach there for yourself
 *              -ENOTCONN  the daemon is gone and cannot be reached. Operations of a client that maps the segment do not need
 *                         one: they tell this only after -ESTALE told that the segment is gone for good
 *              -ENOMEM    out of private memory, or the segment could not be mapped
 * Cost       A client that maps the segment works on it itself: usually a few atomic operations, no system call, no lock. One
 *            that does not asks the daemon each time.
 * Threads    An mh_client may be used by all threads of its process at once, but for mh_detach().
 * Fork       The child of a fork() holds nothing: every call but mh_detach() gives -ECHILD there, and the memory that
 *            mh_payload(), mh_scratch_data() and mh_scratch_base() told is not mapped in it.
 * Signals    No call but mh_type_name() and mh_version() is async-signal-safe: one that is made by a signal handler inside another one spoils what both work on.
 *            None is a cancellation point, and no thread may be cancelled asynchronously in one. None exits the process,
 *            prints anything, or touches a signal handler. Calls go on after EINTR.
 * Death      When a process dies, by whatever cause, all that it held is reclaimed. When the daemon dies, nothing is lost: a client
 *            that maps the segment goes on, and one of its calls now and then sees to it that there is a next daemon; calls
 *            of one that does not map it wait for that. Who does not map it lives as long as its connection.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One attachment of one process. */
typedef struct mh_client mh_client;

/* A handle, the same number in every process of the user. 0: none. */
typedef uint64_t mh_handle;

/* A scratch block, the same number in every process of the user: byte offset from mh_scratch_base() in the low 40
 * bits, and a tag. 0: none. */
typedef uint64_t mh_scratch;

/* Handle types. The names are those of the original; what a type means is up to those who share the handle. */
enum {
        MH_TYPE_FILE = 1,
        MH_TYPE_CONSOLE = 2,
        MH_TYPE_THREAD = 3,
        MH_TYPE_SEM = 4,
        MH_TYPE_MUTEX = 5,
        MH_TYPE_EVENT = 6,
        MH_TYPE_SOCKET = 7,
        MH_TYPE_FIND = 8,
        MH_TYPE_PROCESS = 9,
        MH_TYPE_PIPE = 10,
        MH_TYPE_APPLICATION = 64, /* 64 to 255 are the applications' own; 11 to 63 are not to be used */
        MH_TYPE_MAX = 255
};

/* Flags of mh_attach(). */

/* Do not start a daemon when none listens, neither now nor when it is gone later. */
#define MH_ATTACH_NO_SPAWN (UINT64_C(1) << 0)
/* Do not map the segment: no pointers, each operation asks the daemon, and at the end of the connection, which a call that
 * gets no answer in ten seconds brings about, this client counts as dead. */
#define MH_ATTACH_NO_MAP (UINT64_C(1) << 1)

/* Flags that mh_close() tells. */
#define MH_CLOSED_HERE       1U /* this client holds the handle no more: its private half may go */
#define MH_CLOSED_EVERYWHERE 2U /* nobody does: the handle is gone */

#define MH_PAYLOAD_SIZE 64U /* bytes of payload of each handle */

/* ---------------------------------------------------------------------------------------------- attachment, since 0.1 */

/*
 * Attaches this process. The socket is `path`, or else $MONO_HANDLE_D_SOCKET, or else
 * $XDG_RUNTIME_DIR/mono-handle-d/socket. When nothing listens there, the daemon is started: by the user's service manager
 * where one is and the path is the default one, else by this call; exactly one in any race.
 * *ret is to be released by mh_detach().
 * Errors: -EINVAL, -ENAMETOOLONG the path is too long for a socket, -ENOTCONN nothing listens and nothing could be started
 * (or MH_ATTACH_NO_SPAWN), -EPROTONOSUPPORT the daemon speaks another version, -EPERM the peer is of another user,
 * -EUSERS all client ids are in use, -ENOSPC, -EFBIG the daemon may not make a file that large, -ENOMEM, -EMFILE, -ENFILE,
 * -EACCES, -EPROTOTYPE a socket of another kind is there, -EPROTO, -EBADMSG, -EIO what answers is not as it should be.
 */
int mh_attach(mh_client **ret, const char *path, uint64_t flags);

/*
 * Drops everything that this client holds, unmaps the segment and frees `c`. Pointers into the segment die with it. NULL is
 * allowed. In the child of a fork() it frees what the child has of it, and changes nothing for the parent.
 * Returns NULL. No other thread may be using `c`.
 */
mh_client *mh_detach(mh_client *c);

/* This client's id, 1 to 4095: the number that mono-handlectl(1) and the journal show. -EINVAL, -ECHILD. */
int mh_client_id(mh_client *c);

/* ---------------------------------------------------------------------------------------------- handles, since 0.1 */

/*
 * Makes a handle of `type`, with one reference of this client and a payload of zeros.
 * Errors: -EINVAL, -ENOSPC, -EDQUOT, -ECHILD, -ENOTCONN, -ESTALE.
 */
int mh_new(mh_client *c, int type, mh_handle *ret);

/*
 * Takes one more reference of this client to `h`, which may have come from anywhere. *ret_type (may be NULL) is its type.
 * Errors: -ESTALE, -EINVAL `h` is 0, -EDQUOT, -EOVERFLOW, -ENOSPC, -ECHILD, -ENOTCONN.
 */
int mh_open(mh_client *c, mh_handle h, int *ret_type);

/*
 * Gives back one reference. *ret_flags (may be NULL) is MH_CLOSED_HERE when it was this client's last,
 * with MH_CLOSED_EVERYWHERE when nobody holds the handle any more, else 0. Scratch blocks given to a handle
 * are freed when it goes.
 * Errors: -ESTALE, -EBADF alive but not held by this client, -EINVAL, -EAGAIN others keep opening and closing it so fast that
 * it could not be settled (nothing has happened: call again), -ECHILD, -ENOTCONN.
 */
int mh_close(mh_client *c, mh_handle h, unsigned *ret_flags);

/*
 * Tells where the payload of `h` is: *ret_size (may be NULL) bytes, MH_PAYLOAD_SIZE of them, aligned to 64, shared by all
 * holders, who agree among themselves how they use it. The pointer is good until this client's last reference is closed.
 * Errors: -ESTALE, -EBADF, -EINVAL, -ECHILD, -ENOMEM not mapped.
 */
int mh_payload(mh_client *c, mh_handle h, void **ret, size_t *ret_size);

/* The name of a type ("mutex"), or NULL where it has none. The string is static. */
const char *mh_type_name(int type);

/* ---------------------------------------------------------------------------------------------- scratch, since 0.1 */

/*
 * Takes `size` bytes of scratch memory, 1 to 2^40. They belong to this client, are aligned to 16, and
 * hold anything. Works like malloc(3).
 * Errors: -EINVAL, -ENOSPC, -EDQUOT, -ECHILD, -ENOTCONN, -ESTALE.
 */
int mh_scratch_alloc(mh_client *c, size_t size, mh_scratch *ret);

/*
 * Frees a block of whichever client. Works like free(3), but that a second time is an error.
 * Errors: -ESTALE, -EBUSY it belongs to a handle, -EINVAL `s` is 0, -ECHILD, -ENOTCONN.
 */
int mh_scratch_free(mh_client *c, mh_scratch s);

/*
 * Tells where the block is in this process, and how many bytes it has (may be NULL; at least what was asked for). The pointer
 * is good until somebody frees the block.
 * Errors: -ESTALE, -EINVAL, -ECHILD, -ENOMEM not mapped.
 */
int mh_scratch_data(mh_client *c, mh_scratch s, void **ret, size_t *ret_size);

/*
 * Gives a block that this client owns to a handle that it holds: from now on the block lives as long as the
 * handle, and nobody can free it. A handle can own four.
 * Errors: -ESTALE, -EBADF not owned or not held by this client, -EBUSY it belongs to a handle already, -ENOSPC the handle owns
 * four, -EOVERFLOW, -EINVAL, -ECHILD, -ENOTCONN.
 */
int mh_scratch_give(mh_client *c, mh_scratch s, mh_handle h);

/*
 * Where scratch begins in this process, for those who keep offsets themselves: a block `s` is at
 * (char *) mh_scratch_base(c) + (s & 0xffffffffff). NULL where not mapped, or in the child of a fork().
 */
void *mh_scratch_base(mh_client *c);

/* ---------------------------------------------------------------------------------------------- strings, since 0.1 */

/* Takes a block and copies `size` bytes into it. Errors: as mh_scratch_alloc(), -ENOMEM not mapped. */
int mh_scratch_store(mh_client *c, const void *data, size_t size, mh_scratch *ret);

/* The same for a string with its final NUL. */
int mh_scratch_store_string(mh_client *c, const char *string, mh_scratch *ret);

/* The string in a block; the pointer is good until the block is freed. Errors: as mh_scratch_data(), -EBADMSG no NUL in it. */
int mh_scratch_get_string(mh_client *c, mh_scratch s, const char **ret);

/* Stores a NULL-terminated array of strings in one block, to be freed by mh_scratch_free(). Errors: as mh_scratch_store(). */
int mh_scratch_store_strv(mh_client *c, const char *const *strv, mh_scratch *ret);

/*
 * A private copy of such an array: NULL-terminated, in one piece, to be released by free(3).
 * Errors: as mh_scratch_data(), -EBADMSG the block holds no such array, -ENOMEM.
 */
int mh_scratch_get_strv(mh_client *c, mh_scratch s, char ***ret);

/* ---------------------------------------------------------------------------------------------- version, since 0.1 */

/* The version of the library that is linked, such as "0.1.0". The string is static. */
const char *mh_version(void);

#ifdef __cplusplus
}
#endif

#endif
