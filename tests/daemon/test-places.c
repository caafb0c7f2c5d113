/* SPDX-License-Identifier: MIT */

/*
 * A daemon that is started in other namespaces than the one before it. What that one wrote down of its clients' processes
 * means nothing there: it must take nobody for dead, and leave everything to a daemon in the right place.
 */

#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/record.h"
#include "monohandle.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define EXIT_ELSEWHERE 4
#define NOT_PERMITTED  1000

DAEMON_SUITE(places);

/* ------------------------------------------------------------------------------------------------ elsewhere */

static bool write_file(const char *path, const char *text)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Of the children to come: their clock of /proc/PID/stat is another one. */
static bool shift_time(void)
{
        return write_file("/proc/self/timens_offsets", "boottime 100000 0");
}

/* The same user with another number. */
static bool enter_user_namespace(void)
{
        char users[64], groups[64];

        (void)snprintf(users, sizeof(users), "%u %u 1", (unsigned)geteuid() + 1, (unsigned)geteuid());
        (void)snprintf(groups, sizeof(groups), "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
        return unshare(CLONE_NEWUSER) == 0 && write_file("/proc/self/setgroups", "deny") &&
               write_file("/proc/self/uid_map", users) && write_file("/proc/self/gid_map", groups);
}

static bool enter(int kind)
{
        if (kind == CLONE_NEWUSER)
                return enter_user_namespace();
        return unshare(kind) == 0 && (kind != CLONE_NEWTIME || shift_time());
}

/* Starts a daemon in a new namespace of that kind, and tells how it ended. */
static int start_elsewhere(const Daemon *d, int tell, void *argument)
{
        const int *kind = argument;
        int status = NOT_PERMITTED;
        pid_t pid;

        if (!enter(*kind)) {
                child_tell(tell, &status, sizeof(status));
                return 0;
        }
        pid = daemon_spawn(d, NULL);
        if (waitpid(pid, &status, 0) != pid)
                return 20;
        status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        child_tell(tell, &status, sizeof(status));
        return 0;
}

/* What a daemon that does not stay there exits with. */
static int try_elsewhere(int kind)
{
        Child nest;
        int status;

        child_start(&nest, &the_daemon, start_elsewhere, &kind);
        child_hear(&nest, &status, sizeof(status));
        child_kill(&nest);
        if (status == NOT_PERMITTED)
                harness_skip("no such namespace can be made here");
        return status;
}

/* One that stays, until the nest is killed. */
static void serve_elsewhere(Child *nest, int kind)
{
        unsigned before = daemon_said(&the_daemon, "Ready at ");

        child_start(nest, &the_daemon, start_elsewhere, &kind);
        while (daemon_said(&the_daemon, "Ready at ") == before) {
                struct pollfd p = { .fd = nest->ready, .events = POLLIN };

                if (poll(&p, 1, 5) > 0)
                        harness_skip("no such namespace can be made here");
        }
}

static void leave_elsewhere(Child *nest)
{
        child_kill(nest);
        /* Its daemon dies with it, but is not ours to wait for. */
        WAIT_FOR(raw_try_connect(the_daemon.socket) < 0);
}

static void read_record(Record *ret)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s.segment", the_daemon.socket);
        cr_assert_eq(record_read(path, ret), 0);
}

static uint64_t segment_epoch(void)
{
        _cleanup_close_ int fd = daemon_segment(&the_daemon);
        struct mh_shm_shared shared;
        Segment seg;

        cr_assert_eq(segment_load(&seg, fd), 0);
        cr_assert_eq(segment_read(&seg, MH_SHM_REGION_SHARED, 0, &shared, sizeof(shared)), 0);
        return shared.epoch;
}

/* ------------------------------------------------------------------------------------------------ nobody is judged */

static void check_that_it_is_left(int kind)
{
        Record before, after;
        uint64_t handle;
        VerifyStats stats;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        daemon_kill(&the_daemon);
        read_record(&before);

        cr_expect_eq(try_elsewhere(kind), EXIT_ELSEWHERE);
        cr_expect_eq(daemon_said(&the_daemon, "cannot be served from here"), 1);
        cr_expect_eq(daemon_said(&the_daemon, "died"), 0);
        read_record(&after);
        cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0);
        cr_expect_eq(segment_epoch(), 1);

        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 0 died; 1 handles"), 1);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_open(&r, handle, NULL), 0);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 1);
        raw_done(&r);
        harness_pass();
}

Test(places, in_another_pid_namespace_it_is_left_alone)
{
        check_that_it_is_left(CLONE_NEWPID);
}

Test(places, in_another_time_namespace_it_is_left_alone)
{
        check_that_it_is_left(CLONE_NEWTIME);
}

/* ------------------------------------------------------------------------------------------------ who is left */

typedef struct Guest {
        uint32_t flags;
        bool map;
} Guest;

/* Has the segment mapped or not at all; a descriptor it has not. */
static int attach_and_close(const Daemon *d, int tell, void *argument)
{
        const Guest *guest = argument;
        uint64_t handle;
        Raw r;

        if (raw_attach(&r, d, guest->flags) != 0 || raw_new(&r, 1, &handle) != 0)
                return 10;
        if (guest->map)
                (void)raw_map(&r);
        child_tell(tell, &handle, sizeof(handle));
        for (int fd = 3; fd < 1024; fd++)
                if (fd != tell && fd != r.fd)
                        (void)close(fd);
        child_tell(tell, &handle, sizeof(handle));
        return 0;
}

static void start_guest(Child *ret, Guest *guest)
{
        uint64_t handle;

        child_start(ret, &the_daemon, attach_and_close, guest);
        child_hear(ret, &handle, sizeof(handle));
        child_hear(ret, &handle, sizeof(handle));
}

Test(places, a_mapping_is_enough_and_without_one_it_is_taken_over)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .map = true };
        VerifyStats stats;
        Child client, nest;

        daemon_start(&the_daemon, NULL);
        start_guest(&client, &guest);
        daemon_kill(&the_daemon);
        cr_expect_eq(try_elsewhere(CLONE_NEWPID), EXIT_ELSEWHERE);

        child_kill(&client);
        serve_elsewhere(&nest, CLONE_NEWPID);
        cr_expect_eq(daemon_said(&the_daemon, "0 clients live, 1 died; 0 handles"), 1);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles, 0);

        /* Now it is that one's, and those here are the strangers. */
        Raw r;
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        leave_elsewhere(&nest);
        the_daemon.pid = daemon_spawn(&the_daemon, NULL);
        cr_expect_eq(daemon_wait(&the_daemon), EXIT_ELSEWHERE);
        raw_done(&r);
        harness_pass();
}

/* The lock has to be on what this daemon hands out, not on what the one before it did. */
Test(places, who_attached_to_the_second_daemon_is_seen_too)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .map = true };
        Child client;
        Raw first;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&first, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        daemon_kill(&the_daemon);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&first, &the_daemon), 0);
        start_guest(&client, &guest);
        cr_assert_eq(raw_detach(&first), 0);
        raw_done(&first);
        daemon_kill(&the_daemon);
        cr_expect_eq(try_elsewhere(CLONE_NEWPID), EXIT_ELSEWHERE);
        child_kill(&client);
        harness_pass();
}

/* It came back through a client, and goes out to others. */
Test(places, who_attached_to_a_segment_that_was_brought_is_seen_too)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .map = true };
        char path[128];
        Child client;
        Raw first;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&first, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        daemon_kill(&the_daemon);
        (void)snprintf(path, sizeof(path), "%s.segment", the_daemon.socket);
        cr_assert_eq(unlink(path), 0);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&first, &the_daemon), 0);
        start_guest(&client, &guest);
        cr_assert_eq(raw_detach(&first), 0);
        raw_done(&first);
        daemon_kill(&the_daemon);
        cr_expect_eq(try_elsewhere(CLONE_NEWPID), EXIT_ELSEWHERE);
        child_kill(&client);
        harness_pass();
}

/* It needs no descriptor to come back, so that nobody has one says nothing about it. */
Test(places, who_does_not_map_counts_as_alive)
{
        Guest guest = { .flags = 0 };
        Child client;

        daemon_start(&the_daemon, NULL);
        start_guest(&client, &guest);
        daemon_kill(&the_daemon);
        cr_expect_eq(try_elsewhere(CLONE_NEWPID), EXIT_ELSEWHERE);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "1 clients live, 0 died; 1 handles"), 1);
        child_kill(&client);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ what is brought */

Test(places, a_client_keeps_what_it_brings_to_the_wrong_place)
{
        uint64_t handle;
        Record record;
        Child nest;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        daemon_kill(&the_daemon);
        read_record(&record);
        cr_assert_eq(shm_unlink(record.name), 0);

        serve_elsewhere(&nest, CLONE_NEWPID);
        cr_expect_eq(raw_resume(&r, &the_daemon), -EAGAIN);
        cr_expect_eq(daemon_said(&the_daemon, "died"), 0);
        leave_elsewhere(&nest);

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_open(&r, handle, NULL), 0);
        raw_done(&r);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ other user numbers */

static int attach_with_another_number(const Daemon *d, int tell, void *argument)
{
        int status = NOT_PERMITTED;
        mh_client *c = NULL;
        mh_handle handle;

        if (enter_user_namespace()) {
                status = mh_attach(&c, d->socket, MH_ATTACH_NO_SPAWN);
                if (status == 0)
                        status = mh_new(c, 1, &handle);
        }
        child_tell(tell, &status, sizeof(status));
        return 0;
}

Test(places, a_daemon_with_another_user_number_leaves_it_alone)
{
        check_that_it_is_left(CLONE_NEWUSER);
}

/* It would stay for ever. */
Test(places, a_daemon_with_another_user_number_removes_what_is_nobodys)
{
        Guest guest = { .flags = MH_WIRE_HELLO_MAPS, .map = true };
        Record record;
        Child client, nest;

        daemon_start(&the_daemon, NULL);
        start_guest(&client, &guest);
        daemon_kill(&the_daemon);
        cr_expect_eq(try_elsewhere(CLONE_NEWUSER), EXIT_ELSEWHERE);
        read_record(&record);
        child_kill(&client);
        serve_elsewhere(&nest, CLONE_NEWUSER);
        cr_expect_eq(daemon_said(&the_daemon, "nobody has it any more"), 1);
        cr_expect_lt(shm_open(record.name, O_RDONLY, 0), 0);
        leave_elsewhere(&nest);
        harness_pass();
}

Test(places, a_client_with_another_user_number_maps_it)
{
        Child client;
        int status;

        daemon_start(&the_daemon, NULL);
        child_start(&client, &the_daemon, attach_with_another_number, NULL);
        child_hear(&client, &status, sizeof(status));
        if (status == NOT_PERMITTED)
                harness_skip("no user namespace can be made here");
        cr_expect_eq(status, 0);
        cr_expect_eq(daemon_said(&the_daemon, "maps the segment"), 1);
        child_kill(&client);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 1 handles") == 1);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ what is not known */

/* Reading fails: that is no reason to begin afresh beside what it names. */
Test(places, a_record_that_cannot_be_read_is_kept)
{
        char path[128];
        Raw r;

        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                cr_skip_test("no mount namespace can be made here");
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        daemon_kill(&the_daemon);

        (void)snprintf(path, sizeof(path), "%s.segment", the_daemon.socket);
        cr_assert_eq(mount("/proc/self/mem", path, NULL, MS_BIND, NULL), 0, "of which the first byte is EIO");
        the_daemon.pid = daemon_spawn(&the_daemon, NULL);
        cr_expect_eq(daemon_wait(&the_daemon), 1);
        cr_expect_eq(daemon_said(&the_daemon, "may name a segment that is in use"), 1);
        cr_assert_eq(umount(path), 0);

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        raw_done(&r);
        harness_pass();
}

Test(places, what_is_no_record_is_told_and_removed)
{
        _cleanup_close_ int fd = -1;
        char path[128];

        (void)snprintf(path, sizeof(path), "%s.segment", the_daemon.socket);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        cr_assert_eq(write(fd, "nonsense\n", 9), 9);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "is not a record of a segment"), 1);
        cr_expect_neq(access(path, F_OK), 0);
        harness_pass();
}

/* Somebody scribbled there: that is no namespace, and no reason to serve nobody. */
Test(places, nonsense_is_no_namespace)
{
        Segment seg;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(segment_load(&seg, r.segment_fd), 0);
        for (unsigned word = 0; word < 3; word++) {
                uint64_t at = seg.regions[MH_SHM_REGION_SHARED].offset + offsetof(struct mh_shm_shared, daemon_pid_ns) +
                              8 * word;
                uint64_t value;

                daemon_kill(&the_daemon);
                cr_assert_eq(pread(r.segment_fd, &value, sizeof(value), (off_t)at), sizeof(value));
                value++;
                cr_assert_eq(pwrite(r.segment_fd, &value, sizeof(value), (off_t)at), sizeof(value));
                daemon_start(&the_daemon, NULL);
                cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        }
        raw_done(&r);
        harness_pass();
}
