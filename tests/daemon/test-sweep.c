/* SPDX-License-Identifier: MIT */

/*
 * Segments to which nothing leads any more. What is proven to be nobody's goes when the next daemon starts, and nothing
 * else. Each test has a /dev/shm of its own, so that it does not come across what other tests have in theirs.
 */

#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/record.h"

DAEMON_SUITE(sweep);

static const char *const sweeping[] = { "--sweep=yes", NULL };

static void own_shm(void)
{
        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", "/dev/shm", "tmpfs", 0, "mode=1777") < 0)
                cr_skip_test("/dev/shm cannot be mounted here");
}

static bool exists(const char *name)
{
        char path[320];

        (void)snprintf(path, sizeof(path), "/dev/shm%s", name);
        return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ------------------------------------------------------------------------------------------------ left behind */

typedef struct Guest {
        uint32_t flags;
        bool map;     /* and close the descriptor */
        bool bequest; /* a child of its own keeps the descriptor, and nothing else */
        bool keep;    /* the descriptor, without a mapping */
} Guest;

static int attach_as(const Daemon *d, int tell, void *argument)
{
        const Guest *guest = argument;
        uint64_t handle;
        pid_t heir = 0;
        Raw r;

        if (raw_attach(&r, d, guest->flags) != 0 || raw_new(&r, 1, &handle) != 0)
                return 10;
        if (guest->map)
                (void)raw_map(&r);
        if (guest->bequest) {
                heir = fork();
                if (heir == 0) {
                        (void)close(r.fd);
                        for (;;)
                                (void)pause();
                }
        }
        if (!guest->keep)
                r.segment_fd = fd_close(r.segment_fd);
        child_tell(tell, &heir, sizeof(heir));
        return 0;
}

/* A segment with a client in it whose daemon was killed, and nothing that leads there. Of its client, and the heir of that. */
static void leave_one(Child *client, Guest *guest, pid_t *ret_heir, Record *ret)
{
        char path[128];
        pid_t heir;

        (void)snprintf(path, sizeof(path), "%s.segment", the_daemon.socket);
        daemon_start(&the_daemon, NULL);
        child_start(client, &the_daemon, attach_as, guest);
        child_hear(client, &heir, sizeof(heir));
        cr_assert_eq(record_read(path, ret), 0);
        daemon_kill(&the_daemon);
        cr_assert_eq(unlink(path), 0);
        cr_assert(exists(ret->name));
        if (ret_heir)
                *ret_heir = heir;
}

static void sweep_once(void)
{
        daemon_start(&the_daemon, sweeping);
        daemon_kill(&the_daemon);
}

/* ------------------------------------------------------------------------------------------------ what goes */

Test(sweep, what_is_nobodys_goes)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .map = true };
        Record record;
        Child client;

        own_shm();
        leave_one(&client, &guest, NULL, &record);
        sweep_once();
        cr_expect(exists(record.name), "its client lives");
        child_kill(&client);
        daemon_start(&the_daemon, NULL);
        daemon_kill(&the_daemon);
        cr_expect(exists(record.name), "--sweep=no");
        sweep_once();
        cr_expect(!exists(record.name));
        cr_expect_eq(daemon_said(&the_daemon, "nobody has it any more"), 1);
        cr_expect_eq(daemon_said(&the_daemon, record.name), 2, "when it was made, and when it went");
        harness_pass();
}

Test(sweep, who_does_not_map_is_seen_by_its_process)
{
        Guest guest = {};
        Record record;
        Child client;

        own_shm();
        leave_one(&client, &guest, NULL, &record);
        sweep_once();
        cr_expect(exists(record.name));
        child_kill(&client);
        sweep_once();
        cr_expect(!exists(record.name));
        harness_pass();
}

/* As the fd store of a service manager does. */
Test(sweep, a_description_that_is_kept_keeps_it)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .bequest = true };
        Record record;
        Child client;
        pid_t heir;

        own_shm();
        leave_one(&client, &guest, &heir, &record);
        child_kill(&client);
        sweep_once();
        cr_expect(exists(record.name));
        (void)kill(heir, SIGKILL);
        /* It is not ours to wait for. */
        WAIT_FOR((sweep_once(), !exists(record.name)));
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ what stays */

Test(sweep, what_another_daemon_serves_stays)
{
        Daemon second;
        Raw r;

        own_shm();
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        r.segment_fd = fd_close(r.segment_fd);
        daemon_prepare(&second);
        daemon_start(&second, sweeping);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&second, "nobody has it any more"), 0);
        daemon_clean(&second, false);
        raw_done(&r);
        harness_pass();
}

/* The one that is to be adopted is found by its record, though nobody lives in it. */
Test(sweep, its_own_is_adopted)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS };
        Child client;
        pid_t heir;

        own_shm();
        daemon_start(&the_daemon, NULL);
        child_start(&client, &the_daemon, attach_as, &guest);
        child_hear(&client, &heir, sizeof(heir));
        daemon_kill(&the_daemon);
        child_kill(&client);
        daemon_start(&the_daemon, sweeping);
        cr_expect_eq(daemon_said(&the_daemon, "0 clients live, 1 died"), 1);
        cr_expect_eq(daemon_said(&the_daemon, "nobody has it any more"), 0);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

static void put_word(const char *name, uint64_t offset, uint64_t value)
{
        _cleanup_close_ int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
        Segment seg;

        cr_assert_eq(segment_load(&seg, fd), 0);
        offset += seg.regions[MH_SHM_REGION_SHARED].offset;
        cr_assert_eq(pwrite(fd, &value, sizeof(value), (off_t)offset), sizeof(value));
}

Test(sweep, what_is_not_certain_stays)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS };
        const uint64_t check = offsetof(struct mh_shm_shared, daemon_ns_check);
        const uint64_t start = offsetof(struct mh_shm_shared, daemon_start_time);
        _cleanup_close_ int fd = -1;
        struct mh_shm_shared shared;
        Record record;
        Child client;
        Segment seg;

        own_shm();
        leave_one(&client, &guest, NULL, &record);
        child_kill(&client);
        fd = shm_open(record.name, O_RDONLY | O_CLOEXEC, 0);
        cr_assert_eq(segment_load(&seg, fd), 0);
        cr_assert_eq(segment_read(&seg, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared)), 0);

        put_word(record.name, check, 0);
        sweep_once();
        cr_expect(exists(record.name), "the namespaces are not known");
        put_word(record.name, check, shared.daemon_ns_check);

        put_word(record.name, start, 0);
        sweep_once();
        cr_expect(exists(record.name), "the daemon is not known");
        put_word(record.name, start, shared.daemon_start_time);

        cr_assert_eq(flock(fd, LOCK_SH), 0);
        sweep_once();
        cr_expect(exists(record.name), "somebody has it");
        cr_assert_eq(flock(fd, LOCK_UN), 0);
        sweep_once();
        cr_expect(!exists(record.name));
        harness_pass();
}

/* Their names are like those of segments. */
static void make_others(char names[static 6][48])
{
        char path[128];
        int fd;

        for (unsigned i = 0; i < 6; i++) {
                (void)snprintf(names[i], 48, "/mono-handle-d.%u.%016x", (unsigned)geteuid(), i + 1);
                (void)snprintf(path, sizeof(path), "/dev/shm%s", names[i]);
                switch (i) {
                case 0: /* nothing in it: somebody may be making it */
                case 1: /* nonsense in it */
                case 2: /* of somebody else */
                        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                        cr_assert_geq(fd, 0);
                        if (i > 0)
                                cr_assert_eq(write(fd, names, 48), 48);
                        if (i == 2)
                                cr_assert_eq(fchown(fd, 4711, (gid_t)-1), 0);
                        (void)fd_close(fd);
                        break;
                case 3:
                        cr_assert_eq(mkfifo(path, 0600), 0);
                        break;
                case 4:
                        cr_assert_eq(mkdir(path, 0700), 0);
                        break;
                default:
                        cr_assert_eq(symlink("/etc/passwd", path), 0);
                }
        }
}

Test(sweep, what_is_no_segment_stays)
{
        char names[6][48];

        own_shm();
        make_others(names);
        sweep_once();
        for (unsigned i = 0; i < 6; i++)
                cr_expect(exists(names[i]), "%u", i);
        harness_pass();
}
