/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/ledger.h"
#include "unit/shm/fixture.h"

const SegmentConfig fixture_config = {
        .n_slots = 2048,
        .n_clients = 200,
        .scratch_bytes = 256 * (uint64_t)MH_SHM_SPAN_SIZE,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
        .first_generation = FIXTURE_FIRST,
};

/* ---------------------------------------------------------------------------------------------- fallocate(2) */

static uint32_t reservations, may_reserve = UINT32_MAX, punch_fails;

/* In the place of that of libc. */
int fallocate(int fd, int mode, off_t offset, off_t len)
{
        if (mode & FALLOC_FL_PUNCH_HOLE) {
                if (load_relaxed(&punch_fails)) {
                        errno = EOPNOTSUPP;
                        return -1;
                }
        } else if (fetch_add_relaxed(&reservations, 1) >= load_relaxed(&may_reserve)) {
                errno = ENOSPC;
                return -1;
        }
        return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

void fixture_fail_reserve(unsigned n)
{
        store_relaxed(&reservations, 0);
        store_relaxed(&may_reserve, n);
}

void fixture_fail_nothing(void)
{
        fixture_fail_reserve(UINT32_MAX);
}

unsigned fixture_reserved(void)
{
        return load_relaxed(&reservations);
}

void fixture_fail_punch(bool fail)
{
        store_relaxed(&punch_fails, fail);
}

/* ---------------------------------------------------------------------------------------------- segments */

static void open_in(Fixture *f, int fd, const SegmentConfig *config)
{
        *f = (Fixture){ .fd = fd };
        cr_assert_eq(segment_format(fd, config), 0);
        cr_assert_eq(segment_load(&f->seg, fd), 0);
        cr_assert_eq(segment_map(&f->seg), 0);
}

void fixture_open_as(Fixture *f, const SegmentConfig *config)
{
        int fd = memfd_create("segment", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        open_in(f, fd, config);
}

void fixture_open(Fixture *f)
{
        fixture_open_as(f, &fixture_config);
}

static int write_file(const char *path, const char *text)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

/* Root in a user namespace of its own, with the same uid inside. */
static int become_root(void)
{
        uid_t uid = geteuid();
        char map[64];

        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return -errno;
        (void)snprintf(map, sizeof(map), "%u %u 1", uid, uid);
        return write_file("/proc/self/uid_map", map);
}

/* A mount that is in no tree, and goes with the last file in it. */
static int open_tmpfs(uint64_t bytes)
{
        _cleanup_close_ int fs = -1, mount = -1;
        char size[32];
        int r;

        fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        if (fs < 0 && errno == EPERM) {
                r = become_root();
                if (r < 0)
                        return r;
                fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
        }
        (void)snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
        if (mount < 0)
                return -errno;
        r = openat(mount, "segment", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return r < 0 ? -errno : r;
}

void fixture_open_tmpfs(Fixture *f, const SegmentConfig *config, uint64_t bytes)
{
        int fd = open_tmpfs(bytes);

        if (fd < 0)
                cr_skip_test("no file system of its own to be had: %s", strerror(-fd));
        open_in(f, fd, config);
}

void fixture_close(Fixture *f)
{
        fixture_fail_nothing();
        fixture_fail_punch(false);
        segment_unmap(&f->seg);
        f->fd = fd_close(f->fd);
}

void fixture_done(Fixture *f)
{
        fixture_verify_rest(f);
        fixture_close(f);
}

static void show(const VerifyFinding *finding, void *userdata)
{
        cr_log_error("%s: %s", finding->rule, finding->text);
}

void fixture_verify(const Fixture *f, unsigned flags, VerifyStats *ret)
{
        VerifyStats stats;

        cr_assert_eq(verify_segment(f->fd, flags, show, NULL, &stats), 0);
        if (ret)
                *ret = stats;
}

uint64_t fixture_blocks(const Fixture *f)
{
        struct stat st;

        cr_assert_eq(fstat(f->fd, &st), 0);
        return (uint64_t)st.st_blocks;
}

/* ---------------------------------------------------------------------------------------------- clients */

void fixture_forget(Fixture *f, Actor *a)
{
        actor_init(a, &f->seg, a->id, segment_ledger(&f->seg, a->id));
}

uint32_t fixture_attach(Fixture *f, uint32_t flags, Actor *ret)
{
        static uint32_t nonce;
        ClientInfo info = { .flags = flags, .nonce = fetch_add_relaxed(&nonce, 1) + 1, .name = "test" };
        uint32_t id = 0;

        cr_assert_eq(client_attach(&f->seg, &info, &id), 0);
        actor_init(ret, &f->seg, id, segment_ledger(&f->seg, id));
#ifdef FIXTURE_ALONE
        actor_set_alone(ret, flags == FIXTURE_OWN);
#endif
        return id;
}

void fixture_kill(Fixture *f, uint32_t id)
{
        client_kill(&f->seg, id);
        cr_assert_eq(client_state(&f->seg, id), MH_SHM_CLIENT_DEAD);
}

ReapStats fixture_reap_dead(Fixture *f, uint32_t id)
{
        Reap reap;

        cr_assert_eq(reap_init(&reap, &f->seg, id), 0);
        for (unsigned i = 0; reap_step(&reap, 2000) > 0; i++)
                cr_assert_lt(i, 100000, "reaping has no end");
        cr_assert_eq(client_state(&f->seg, id), MH_SHM_CLIENT_FREE);
        return reap.stats;
}

ReapStats fixture_reap(Fixture *f, uint32_t id)
{
        fixture_kill(f, id);
        return fixture_reap_dead(f, id);
}

/* ---------------------------------------------------------------------------------------------- by hand */

void fixture_set_ledger(Actor *a, uint32_t slot, uint64_t word)
{
        uint64_t old;

        cr_assert_eq(ledger_reserve_slot(a, slot), 0);
        old = ledger_load(a, slot);
        a->ledger[slot] = word;
        a->account->handles += (uint64_t)(word != 0) - (uint64_t)(old != 0);
}

static uint64_t *holder_word(Fixture *f, uint32_t slot, uint32_t id)
{
        return id < 64 ? &f->seg.slots[slot].holders : &f->seg.holders[holder_index(f->seg.n_slots, slot, id / 64)];
}

bool fixture_holds(Fixture *f, uint32_t slot, uint32_t id)
{
        return *holder_word(f, slot, id) >> id % 64 & 1;
}

void fixture_set_holder(Fixture *f, uint32_t slot, uint32_t id, bool on)
{
        uint64_t bit = UINT64_C(1) << id % 64;

        if (on)
                *holder_word(f, slot, id) |= bit;
        else
                *holder_word(f, slot, id) &= ~bit;
}

/* ---------------------------------------------------------------------------------------------- */

unsigned fixture_scaled(unsigned n)
{
        const char *slowness = getenv("MONO_HANDLE_TEST_SLOWNESS");
        unsigned by = slowness ? (unsigned)atoi(slowness) : 1;

        return by > 1 ? MAX(n / by, 1U) : n;
}

uint64_t fixture_random(uint64_t *state)
{
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}
