/* SPDX-License-Identifier: MIT */

/*
 * Segments that cannot be used: damaged ones, unfinished ones, those of another version, and one that is spoiled while
 * the daemon works on it. The daemon says so and begins afresh; it crashes over none, and destroys none that others
 * can still use.
 */

#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/record.h"
#include "monohandle.h"

DAEMON_SUITE(damage);

static void record_path(char ret[static 128])
{
        (void)snprintf(ret, 128, "%s.segment", the_daemon.socket);
}

static void sleep_usec(unsigned usec)
{
        struct timespec t = { .tv_nsec = (long)usec * 1000 };

        (void)nanosleep(&t, NULL);
}

static int attach_and_hold(const Daemon *d, int tell, void *argument)
{
        const unsigned *n = argument;
        uint64_t handle = 0, idx, size;
        Raw r;

        if (raw_attach(&r, d, MH_WIRE_HELLO_MAPS) != 0)
                return 10;
        (void)raw_map(&r);
        for (unsigned i = 0; i < *n; i++)
                if (raw_new(&r, 1, &handle) != 0)
                        return 11;
        for (unsigned i = 0; i < 10; i++)
                if (raw_scratch(&r, 65536, &idx, &size) != 0)
                        return 12;
        child_tell(tell, &handle, sizeof(handle));
        return 0;
}

static void expect_fresh(Raw *old)
{
        uint64_t handle;
        Raw r;

        cr_expect_eq(raw_resume(old, &the_daemon), -ESTALE);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_expect_neq(memcmp(r.segment, old->segment, 16), 0);
        cr_expect_eq(raw_new(&r, 1, &handle), 0);
        daemon_verify(&the_daemon, NULL);
        raw_done(&r);
}

Test(damage, a_damaged_segment_is_left_and_a_new_one_begun)
{
        uint64_t zero = 0;
        char path[128];
        Record record;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        daemon_kill(&the_daemon);
        record_path(path);
        cr_assert_eq(record_read(path, &record), 0);
        cr_assert_eq(pwrite(r.segment_fd, &zero, sizeof(zero), offsetof(struct mh_shm_header, n_slots)), 8);
        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "its header is damaged"), 1);
        cr_expect_lt(shm_open(record.name, O_RDONLY, 0), 0, "it leaks nothing");
        expect_fresh(&r);
        raw_done(&r);
        harness_pass();
}

Test(damage, a_segment_that_was_never_finished_is_removed)
{
        char path[128];
        Record record;
        int fd;
        Raw r;

        cr_assert_eq(record_make(&record), 0);
        record_path(path);
        cr_assert_eq(record_write(path, &record), 0);
        fd = shm_open(record.name, O_RDWR | O_CREAT | O_EXCL, 0600);
        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, 1 << 20), 0);
        (void)fd_close(fd);

        daemon_start(&the_daemon, NULL);
        cr_expect_eq(daemon_said(&the_daemon, "it was never finished"), 1);
        cr_expect_lt(shm_open(record.name, O_RDONLY, 0), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        raw_done(&r);
        harness_pass();
}

Test(damage, a_record_that_names_nothing)
{
        static const char *const texts[] = {
                "",
                "\n",
                "nonsense\n",
                "/etc/passwd 00000000000000000000000000000000\n",
                "/../../etc/passwd 00000000000000000000000000000000\n",
        };
        char path[128];
        Raw r;

        record_path(path);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                cr_assert_geq(fd, 0);
                cr_assert_eq(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
                (void)fd_close(fd);
                daemon_start(&the_daemon, NULL);
                cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
                raw_done(&r);
                cr_expect_eq(daemon_stop(&the_daemon), 0);
        }
        harness_pass();
}

Test(damage, another_format_version_is_refused_and_left_alone)
{
        uint32_t version = MH_SHM_VERSION + 1, now = 0;
        uint64_t handle;
        char path[128];
        Record record;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        daemon_kill(&the_daemon);
        record_path(path);
        cr_assert_eq(record_read(path, &record), 0);
        cr_assert_eq(pwrite(r.segment_fd, &version, sizeof(version), offsetof(struct mh_shm_header, version)), 4);

        the_daemon.pid = daemon_spawn(&the_daemon, NULL);
        cr_expect_eq(daemon_wait(&the_daemon), 3);
        cr_expect_eq(daemon_said(&the_daemon, "has format version 2"), 1);
        cr_expect_eq(daemon_said(&the_daemon, "Ready at"), 1, "only the first one was");
        cr_assert_eq(pread(r.segment_fd, &now, sizeof(now), offsetof(struct mh_shm_header, version)), 4);
        cr_expect_eq(now, version);

        /* The daemon that knows it finds it as it was. */
        version = MH_SHM_VERSION;
        cr_assert_eq(pwrite(r.segment_fd, &version, sizeof(version), offsetof(struct mh_shm_header, version)), 4);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(raw_close(&r, handle, NULL), 0);
        raw_done(&r);
        harness_pass();
}

/* Who works on that segment goes on with it, as long as daemons come that do not know it, and afterwards. */
Test(damage, another_format_version_harms_nobody_who_uses_the_segment)
{
        uint32_t version = MH_SHM_VERSION + 1;
        mh_client *a = NULL, *b = NULL;
        mh_scratch s;
        mh_handle h;
        void *data;
        Raw r;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(mh_attach(&a, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_eq(mh_attach(&b, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(mh_new(a, 1, &h), 0);
        cr_assert_eq(mh_scratch_alloc(a, 100, &s), 0);
        cr_assert_eq(mh_scratch_data(a, s, &data, NULL), 0);
        (void)strcpy(data, "kept");
        daemon_kill(&the_daemon);
        cr_assert_eq(pwrite(r.segment_fd, &version, sizeof(version), offsetof(struct mh_shm_header, version)), 4);

        for (unsigned round = 1; round <= 3; round++) {
                uint64_t until = now_msec() + (round == 1 ? 1500 : 0);
                unsigned flags = 77;

                the_daemon.pid = daemon_spawn(&the_daemon, NULL);
                /* Until they have looked for a daemon, too. */
                for (unsigned i = 0; i < 2000 || now_msec() < until; i++) {
                        mh_handle g;

                        cr_assert_eq(mh_open(b, h, NULL), 0);
                        cr_assert_eq(mh_close(b, h, &flags), 0);
                        cr_assert_eq(flags, MH_CLOSED_HERE);
                        cr_assert_eq(mh_new(b, 2, &g), 0);
                        cr_assert_eq(mh_close(b, g, NULL), 0);
                        cr_assert_eq(mh_scratch_data(b, s, &data, NULL), 0);
                        cr_assert_str_eq(data, "kept");
                }
                cr_expect_eq(daemon_wait(&the_daemon), 3);
                cr_expect_eq(daemon_said(&the_daemon, "has format version 2"), round);
        }

        version = MH_SHM_VERSION;
        cr_assert_eq(pwrite(r.segment_fd, &version, sizeof(version), offsetof(struct mh_shm_header, version)), 4);
        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(mh_scratch_free(b, s), 0);
        cr_expect_eq(mh_close(a, h, NULL), 0);
        a = mh_detach(a);
        b = mh_detach(b);
        raw_done(&r);
        daemon_verify(&the_daemon, NULL);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ under its feet */

static void lose(void (*spoil)(const Raw *r), const char *said)
{
        uint64_t handle;
        Raw r, other;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_attach(&other, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&r, 1, &handle), 0);
        spoil(&r);
        /* Noticed by the next request, or sooner. */
        (void)raw_new(&other, 1, &handle);
        WAIT_FOR(daemon_said(&the_daemon, said) == 1);
        cr_expect(raw_ended(r.fd));
        expect_fresh(&r);
        raw_done(&r);
        raw_done(&other);
        cr_expect_eq(daemon_stop(&the_daemon), 0, "the same daemon all the time");
        harness_pass();
}

static void truncate_all(const Raw *r)
{
        cr_assert_eq(ftruncate(r->segment_fd, 0), 0);
}

Test(damage, truncated_under_the_daemon)
{
        lose(truncate_all, "it was cut short");
}

static void truncate_half(const Raw *r)
{
        cr_assert_eq(ftruncate(r->segment_fd, (off_t)(r->segment_size / 2)), 0);
}

Test(damage, cut_in_half_under_the_daemon)
{
        lose(truncate_half, "it was cut short");
}

static void truncate_and_grow(const Raw *r)
{
        cr_assert_eq(ftruncate(r->segment_fd, 0), 0);
        cr_assert_eq(ftruncate(r->segment_fd, (off_t)r->segment_size), 0);
}

Test(damage, emptied_under_the_daemon)
{
        lose(truncate_and_grow, "its header is damaged");
}

static void overwrite_magic(const Raw *r)
{
        cr_assert_eq(pwrite(r->segment_fd, "xxxxxxxx", 8, 0), 8);
}

Test(damage, overwritten_under_the_daemon)
{
        lose(overwrite_magic, "its header is damaged");
}

static void overwrite_id(const Raw *r)
{
        cr_assert_eq(pwrite(r->segment_fd, "x", 1, offsetof(struct mh_shm_header, id) + 15), 1);
}

Test(damage, given_another_id_under_the_daemon)
{
        lose(overwrite_id, "its header is damaged");
}

/* Many wait for the daemon at the moment that it finds its segment gone. */
Test(damage, truncated_while_it_works)
{
        unsigned n = 3000;
        uint64_t handle;
        Child victim;
        Raw r;

        for (unsigned round = 0; round < 10; round++) {
                daemon_start(&the_daemon, NULL);
                cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
                child_start(&victim, &the_daemon, attach_and_hold, &n);
                child_hear(&victim, &handle, sizeof(handle));
                (void)kill(victim.pid, SIGKILL);
                sleep_usec(round * 100);
                cr_assert_eq(ftruncate(r.segment_fd, 0), 0);
                (void)child_wait(&victim);
                (void)raw_new(&r, 1, &handle);
                WAIT_FOR(daemon_said(&the_daemon, "it was cut short") == round + 1);
                expect_fresh(&r);
                raw_done(&r);
                cr_assert_eq(daemon_stop(&the_daemon), 0);
        }
        harness_pass();
}

/* A client that has it mapped scribbles over what only the daemon writes. */
Test(damage, a_scribbled_client_table_is_put_right)
{
        struct mh_shm_client *table;
        struct mh_shm_shared *shared;
        uint64_t handle;
        uint8_t *base;
        Raw bad, good, late;

        daemon_start(&the_daemon, NULL);
        cr_assert_eq(raw_attach(&good, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        cr_assert_eq(raw_new(&good, 1, &handle), 0);
        cr_assert_eq(raw_attach(&bad, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        base = raw_map(&bad);
        const struct mh_shm_header *h = (const void *)base;
        table = (void *)(base + h->regions[MH_SHM_REGION_CLIENTS].offset);
        shared = (void *)(base + h->regions[MH_SHM_REGION_SHARED].offset);

        table[good.id].state = MH_SHM_CLIENT_FREE;
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_expect_neq(late.id, good.id);
        cr_expect_eq(table[good.id].state, MH_SHM_CLIENT_ATTACHED);
        raw_done(&late);

        table[good.id].state = 12345;
        table[good.id].pid = 1;
        table[good.id].nonce = 0;
        shared->client_hwm = 0;
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_expect_neq(late.id, good.id);
        cr_expect_neq(late.id, bad.id);
        raw_done(&late);

        shared->client_hwm = UINT32_MAX;
        shared->epoch = 0;
        cr_assert_eq(raw_attach(&late, &the_daemon, 0), 0);
        cr_expect_neq(late.id, good.id);
        cr_expect_neq(late.id, bad.id);

        /* Who the clients are, the daemon has from nobody else. */
        cr_assert_eq(raw_resume(&good, &the_daemon), 0);
        cr_expect_eq(raw_close(&good, handle, NULL), 0);
        raw_done(&good);
        raw_done(&bad);
        raw_done(&late);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}
