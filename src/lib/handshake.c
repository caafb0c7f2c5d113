/* SPDX-License-Identifier: MIT */

/*
 * From a path to a connection on which requests can be sent.
 *
 * The daemon may be absent, starting, leaving because it was idle, or dying at this moment; it may be reached through a
 * socket that a service manager holds for it. All this looks the same from here: until a Welcome has come, nothing is
 * certain, and a connection that fails before is followed by another try, after a pause that doubles. Only an answer is
 * an answer.
 *
 * If nobody listens, somebody is started, and again after a while if still nobody does: the one we started may have
 * been a moment too early, when its predecessor still held the lock.
 */

#include "lib/handshake.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "lib/conn.h"
#include "lib/deadline.h"
#include "lib/spawn.h"

#define PAUSE_MIN       UINT64_C(1000) /* microseconds */
#define PAUSE_MAX       UINT64_C(50000)
#define SPAWN_PAUSE_MIN UINT64_C(250000)
#define SPAWN_PAUSE_MAX UINT64_C(2000000)

typedef struct Pace {
        uint64_t deadline;
        uint64_t pause;
        uint64_t spawn_pause;
        uint64_t spawn_at;
} Pace;

/* Does nobody listen? */
static bool is_absent(int r)
{
        return r == -ENOENT || r == -ECONNREFUSED;
}

/* May the next try end otherwise? */
static bool is_passing(int r)
{
        return is_absent(r) || r == -ECONNRESET || r == -EAGAIN || r == -ENOBUFS || r == -ECONNABORTED;
}

/* A resuming client that is out of descriptors or memory waits for better times; one that attaches is told. */
static bool is_shortage(int r)
{
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

static int pause_before_next(Pace *pace)
{
        uint64_t now = deadline_now();

        if (now >= pace->deadline)
                return -ETIMEDOUT;
        deadline_sleep(MIN(now + pace->pause, pace->deadline));
        pace->pause = MIN(pace->pause * 2, PAUSE_MAX);
        return 0;
}

static int maybe_spawn(const mh_client *c, Pace *pace)
{
        if (deadline_now() < pace->spawn_at)
                return 0;
        pace->spawn_pause = MIN(pace->spawn_pause * 2, SPAWN_PAUSE_MAX);
        pace->spawn_at = deadline_in(pace->spawn_pause);
        return spawn_daemon(c->path, c->path_is_default);
}

/* Is it the Welcome that a Hello or Resume asks for? 0, or the error that came instead. */
static int judge(const struct mh_wire_hello *hello, const void *packet, size_t size)
{
        const struct mh_wire_header *header = packet;
        const struct mh_wire_error *error = packet;
        const struct mh_wire_welcome *welcome = packet;

        if (size < sizeof(*header) || header->size != size || header->seq != 0)
                return -EPROTO;
        if (header->type == MH_WIRE_ERROR && size == sizeof(*error))
                return error->reason > 0 && error->reason < 4096 ? -(int)error->reason : -EPROTO;
        if (header->type != hello->header.type || size != sizeof(*welcome))
                return -EPROTO;
        if (welcome->version < MH_WIRE_VERSION_MIN || welcome->version > MH_WIRE_VERSION_MAX)
                return -EPROTONOSUPPORT;
        return welcome->client > 0 && welcome->client < MH_SHM_CLIENTS_MAX ? 0 : -EPROTO;
}

/* One try. *ret_fd is -1 if none came. */
static int try_once(const mh_client *c, const struct mh_wire_hello *hello, int segment_fd, uint64_t deadline,
                    Guard *ret_socket, int *ret_fd, struct mh_wire_welcome *ret)
{
        _cleanup_(guard_close) Guard socket = GUARD_NONE;
        union {
                struct mh_wire_header header;
                struct mh_wire_welcome welcome;
                uint8_t data[MH_WIRE_PACKET_MAX];
        } reply;
        size_t size = 0;
        int fd = -1, r;

        r = conn_open(c->path, &socket);
        if (r < 0)
                return r;
        r = conn_send_hello(&socket, hello, sizeof(*hello), segment_fd, deadline);
        if (r < 0)
                return r;
        r = conn_receive(&socket, &reply, sizeof(reply), &size, &fd, deadline);
        /* Without the descriptor: whether that matters depends on what was granted. */
        if (r < 0 && r != -EMFILE)
                return r;
        r = judge(hello, &reply, size);
        if (r < 0) {
                fd_discard(fd);
                return r;
        }

        *ret = reply.welcome;
        *ret_fd = fd;
        *ret_socket = socket;
        socket = GUARD_NONE;
        return 0;
}

/* Tries until there is an answer. */
static int run(const mh_client *c, const struct mh_wire_hello *hello, uint64_t deadline, Guard *ret_socket, int *ret_fd,
               struct mh_wire_welcome *ret)
{
        bool attaching = hello->header.type == MH_WIRE_HELLO, asked = false;
        Pace pace = { .deadline = deadline, .pause = PAUSE_MIN, .spawn_pause = SPAWN_PAUSE_MIN / 2 };

        for (;;) {
                /* Whoever comes without a name may need one: after RemoveIPC the descriptor is all that is left. */
                int segment_fd = !attaching && guard_holds(&c->segment_fd) ? c->segment_fd.fd : -1;
                int r = try_once(c, hello, segment_fd, deadline, ret_socket, ret_fd, ret);

                if (!is_passing(r) && (attaching || !is_shortage(r)))
                        return r;
                if (!is_absent(r)) {
                        /* Somebody was there. If he is not any more, that is a new situation. */
                        pace.spawn_at = 0;
                        pace.spawn_pause = SPAWN_PAUSE_MIN / 2;
                        asked = asked || r == -ECONNRESET;
                } else {
                        r = c->flags & MH_ATTACH_NO_SPAWN ? -ENOTCONN : maybe_spawn(c, &pace);
                        /* Who is attached already waits for whoever else may start it. So does who may be: a Hello whose
                         * Welcome did not come may have taken effect, and only the same one again finds what it made. */
                        if (r < 0 && attaching && !asked)
                                return -ENOTCONN;
                }
                r = pause_before_next(&pace);
                if (r < 0)
                        return r;
        }
}

static struct mh_wire_hello make_hello(const mh_client *c, enum mh_wire_type type, uint32_t flags)
{
        struct mh_wire_hello hello = {
                .header = { .type = type, .size = sizeof(hello) },
                .magic = MH_WIRE_MAGIC,
                .version_min = MH_WIRE_VERSION_MIN,
                .version_max = MH_WIRE_VERSION_MAX,
                .flags = flags,
                .start_time = c->start_time,
                .nonce = c->nonce,
                .life = c->life.fd >= 0 ? c->life.ino : 0,
                .life_fd = c->life.fd >= 0 ? (uint32_t)c->life.fd : 0,
        };
        char comm[PROCESS_COMM_MAX];

        if (process_comm(getpid(), comm) >= 0)
                memcpy(hello.name, comm, strnlen(comm, sizeof(hello.name) - 1));
        return hello;
}

/*
 * A client that does not map is dead when its connection ends. While there is no daemon, nobody is there to see that: the next
 * one finds a client without a connection in a process that lives. Has it nothing to ask at present, or did it call
 * execve(), or detach in vain? So it has a socket that does nothing, and is open as long as the attachment is in use.
 */
static int open_life(mh_client *c)
{
        int fd;

        if (guard_holds(&c->life))
                return 0;
        c->life = GUARD_NONE;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return fd < 0 ? -errno : guard_take(fd, &c->life);
}

int handshake_hello(mh_client *c, uint32_t flags, uint64_t deadline, Handshake *ret)
{
        Handshake result = { .socket = GUARD_NONE, .segment_fd = GUARD_NONE };
        struct mh_wire_hello hello;
        int fd, r;

        r = flags == 0 ? open_life(c) : 0;
        if (r < 0)
                return r;
        hello = make_hello(c, MH_WIRE_HELLO, flags);
        r = run(c, &hello, deadline, &result.socket, &fd, &result.welcome);
        if (r < 0)
                return r;
        if (fd >= 0) {
                r = guard_take(fd, &result.segment_fd);
                if (r < 0) {
                        guard_close(&result.socket);
                        return r;
                }
        }
        *ret = result;
        return 0;
}

int handshake_resume(mh_client *c, uint64_t deadline)
{
        struct mh_wire_welcome welcome;
        struct mh_wire_hello hello;
        Guard socket;
        int fd, r;

        /* It may have been closed with all the rest. If there is none to be had now, the daemon is told that there is none. */
        if (!c->mapped)
                (void)open_life(c);
        hello = make_hello(c, MH_WIRE_RESUME, c->mapped ? MH_WIRE_HELLO_MAPS | MH_WIRE_HELLO_LEDGER : 0);
        hello.client = c->id;
        memcpy(hello.segment, c->segment_id, sizeof(hello.segment));

        r = run(c, &hello, deadline, &socket, &fd, &welcome);
        if (r < 0)
                return r;
        fd_discard(fd);

        /* Of our requests at most one is open: any other number belongs to somebody else's conversation. */
        if (welcome.client != c->id || memcmp(welcome.segment, c->segment_id, sizeof(welcome.segment)) != 0 ||
            welcome.seq < c->seq || welcome.seq > c->seq + 1) {
                guard_close(&socket);
                return -ESTALE;
        }
        guard_close(&c->socket);
        c->socket = socket;
        c->daemon_seq = welcome.seq;
        return 0;
}
