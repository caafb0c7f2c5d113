/* SPDX-License-Identifier: MIT */

/*
 * /dev/shm is full, at every point where memory is needed. What asks for it gets ENOSPC; nobody gets SIGBUS, and
 * nothing is broken by it. For this the daemon runs with a small /dev/shm of its own, in a mount namespace that ends
 * with the test.
 */

#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/client.h"
#include "monohandle.h"

DAEMON_SUITE(space);

/* All of this test's process lives in the namespace, the daemon with it. */
static void small_shm(const char *size)
{
        char options[64];

        if (geteuid() != 0)
                cr_skip_test("only root can mount a small /dev/shm");
        if (unshare(CLONE_NEWNS) < 0)
                cr_skip_test("no mount namespace can be made here");
        (void)snprintf(options, sizeof(options), "size=%s,mode=1777", size);
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/dev/shm", "tmpfs", 0, options) < 0)
                cr_skip_test("/dev/shm cannot be mounted here");
}

/* Takes all the memory but `leave` KiB, in a file of its own. */
static int fill(off_t leave)
{
        int fd = open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        off_t size = 0;

        cr_assert_geq(fd, 0);
        for (off_t step = 1 << 20; step >= 4096; step /= 2)
                while (posix_fallocate(fd, size, step) == 0)
                        size += step;
        size -= leave * 1024;
        cr_assert_geq(size, 0);
        cr_assert_eq(ftruncate(fd, size), 0);
        return fd;
}

static void unfill(int fd)
{
        (void)fd_close(fd);
        (void)unlink("/dev/shm/filler");
}

Test(space, attach)
{
        int filler, k = -ENOSPC;
        unsigned refused = 0;
        off_t leave;
        Raw r;

        small_shm("8M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=4M", NULL });
        r = (Raw){ .fd = raw_connect(&the_daemon), .segment_fd = -1, .nonce = 1, .flags = MH_WIRE_HELLO_MAPS };

        /* A page more each time: so each page that an attach needs is the one that is missing, once. */
        for (leave = 0; leave < 400 && k == -ENOSPC; leave += 4) {
                filler = fill(leave);
                k = raw_hello(&r);
                cr_assert(k == 0 || k == -ENOSPC, "with %ld KiB: %d", leave, k);
                refused += k == -ENOSPC;
                unfill(filler);
        }
        cr_expect_eq(k, 0);
        cr_expect_geq(refused, 4);
        cr_expect_geq(daemon_said(&the_daemon, "No shared memory left"), 1);
        daemon_verify(&the_daemon, NULL);
        raw_done(&r);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* Asks until there is no more, with a page more of room each time, up to `most` KiB. */
static void exhaust(Raw *r, int (*ask)(Raw *r), off_t most)
{
        unsigned worked = 0, refused = 0;

        for (off_t leave = 0; leave < most; leave += 4) {
                int filler = fill(leave), k;

                do {
                        k = ask(r);
                        cr_assert(k == 0 || k == -ENOSPC, "with %ld KiB: %d", leave, k);
                        worked += k == 0;
                        refused += k != 0;
                } while (k == 0);
                unfill(filler);
                cr_assert_eq(ask(r), 0, "with room again");
        }
        cr_expect_geq(worked, 10);
        cr_expect_eq(refused, most / 4);
}

static int ask_new(Raw *r)
{
        uint64_t handle;

        return raw_new(r, 1, &handle);
}

static int ask_small(Raw *r)
{
        uint64_t idx, size;

        return raw_scratch(r, 16 + r->seq % 2000, &idx, &size);
}

static int ask_large(Raw *r)
{
        uint64_t idx, size;

        return raw_scratch(r, 70000, &idx, &size);
}

static uint64_t next_to_open;

static int ask_open(Raw *r)
{
        int k = raw_open(r, next_to_open, NULL);

        /* One in each chunk of slots, because that is what needs memory. */
        if (k == 0)
                next_to_open += 512;
        return k;
}

static void run(int (*ask)(Raw *r), off_t most)
{
        VerifyStats stats;
        Raw r;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        exhaust(&r, ask, most);
        daemon_verify(&the_daemon, NULL);
        raw_done(&r);
        WAIT_FOR(daemon_said(&the_daemon, "died holding") == 1);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks + stats.reserved + stats.spans, 0);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

Test(space, new_handles)
{
        run(ask_new, 120);
}

Test(space, small_scratch)
{
        run(ask_small, 120);
}

Test(space, large_scratch)
{
        run(ask_large, 400);
}

/* An open needs memory for the ledger of who opens. */
Test(space, open)
{
        uint64_t first, handle;
        Raw maker, r;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=1M", NULL });
        cr_assert_eq(raw_attach(&maker, &the_daemon, 0), 0);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_eq(raw_new(&maker, 1, &first), 0);
        for (unsigned i = 1; i < 512 * 80; i++)
                cr_assert_eq(raw_new(&maker, 1, &handle), 0);
        next_to_open = first;
        exhaust(&r, ask_open, 40);
        daemon_verify(&the_daemon, NULL);
        raw_done(&r);
        raw_done(&maker);
        harness_pass();
}

/* So many clients that the next one's holder bits are not in the slots, but in words that need memory of their own. */
static void crowd(Raw *clients)
{
        for (unsigned i = 0; i < MH_SHM_GROUP_CLIENTS; i++)
                cr_assert_eq(raw_attach(&clients[i], &the_daemon, 0), 0);
}

static void uncrowd(Raw *clients)
{
        for (unsigned i = 0; i < MH_SHM_GROUP_CLIENTS; i++)
                raw_done(&clients[i]);
}

/* An open then needs two pages for each chunk of slots, and either may be the one that is missing. */
Test(space, open_by_one_of_many)
{
        static Raw many[MH_SHM_GROUP_CLIENTS];
        uint64_t handle;
        Raw r;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=1M", "--clients=128", NULL });
        crowd(many);
        cr_assert_eq(raw_attach(&r, &the_daemon, 0), 0);
        cr_assert_geq(r.id, MH_SHM_GROUP_CLIENTS);
        cr_assert_eq(raw_new(&many[0], 1, &next_to_open), 0);
        for (unsigned i = 1; i < 512 * 80; i++)
                cr_assert_eq(raw_new(&many[0], 1, &handle), 0);
        exhaust(&r, ask_open, 60);
        daemon_verify(&the_daemon, NULL);
        raw_done(&r);
        uncrowd(many);
        harness_pass();
}

/* What is full stays usable: to close, to free, to detach and to reap takes no memory. */
Test(space, giving_back_needs_none)
{
        uint64_t handle, idx, size;
        int filler;
        Raw a, b;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        cr_assert_eq(raw_attach(&a, &the_daemon, 0), 0);
        cr_assert_eq(raw_attach(&b, &the_daemon, 0), 0);
        for (unsigned i = 0; i < 5000; i++)
                cr_assert_eq(raw_new(&a, 1, &handle), 0);
        for (unsigned i = 0; i < 100; i++)
                cr_assert_eq(raw_scratch(&a, 70000, &idx, &size), 0);
        cr_assert_eq(raw_give(&a, idx, handle), 0);
        cr_assert_eq(raw_open(&b, handle, NULL), 0);

        filler = fill(0);
        cr_expect_eq(raw_close(&a, handle, NULL), 0);
        raw_done(&a);
        WAIT_FOR(daemon_said(&the_daemon, "died holding 4999 handles") == 1);
        cr_expect_eq(raw_close(&b, handle, NULL), 0);
        cr_expect_eq(raw_detach(&b), 0);
        raw_done(&b);
        daemon_verify(&the_daemon, NULL);
        unfill(filler);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* And so does adoption. */
Test(space, adopting_needs_none)
{
        uint64_t handle, idx, size;
        int filler;
        Raw r;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        cr_assert_eq(raw_attach(&r, &the_daemon, MH_WIRE_HELLO_MAPS), 0);
        for (unsigned i = 0; i < 1000; i++)
                cr_assert_eq(raw_new(&r, 1, &handle), 0);
        cr_assert_eq(raw_scratch(&r, 200000, &idx, &size), 0);
        filler = fill(0);
        daemon_kill(&the_daemon);
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        cr_assert_eq(raw_resume(&r, &the_daemon), 0);
        cr_expect_eq(r.last, 1001);
        cr_expect_eq(raw_close(&r, handle, NULL), 0);
        cr_expect_eq(raw_scratch_free(&r, idx), 0);
        daemon_verify(&the_daemon, NULL);
        unfill(filler);
        raw_done(&r);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ direct clients */

/* Those that work on the segment themselves need memory at the same points, and touch it themselves. */

static mh_client *attach_direct(void)
{
        mh_client *c = NULL;

        cr_assert_eq(mh_attach(&c, the_daemon.socket, MH_ATTACH_NO_SPAWN), 0);
        cr_assert_not_null(mh_scratch_base(c));
        return c;
}

Test(space, direct_attach)
{
        mh_client *c = NULL, *first;
        unsigned refused = 0;
        int k = -ENOSPC;
        off_t leave;

        small_shm("8M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=4M", NULL });
        first = attach_direct();
        for (leave = 0; leave < 400 && k != 0; leave += 4) {
                int filler = fill(leave);

                k = mh_attach(&c, the_daemon.socket, MH_ATTACH_NO_SPAWN);
                cr_assert(k == 0 || k == -ENOSPC, "with %ld KiB: %d", leave, k);
                refused += k == -ENOSPC;
                unfill(filler);
        }
        cr_expect_eq(k, 0);
        cr_expect_geq(refused, 1);
        c = mh_detach(c);
        first = mh_detach(first);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

static int direct_news(mh_client *c)
{
        mh_handle h;
        void *payload;
        int k = mh_new(c, 1, &h);

        if (k == 0) {
                cr_assert_eq(mh_payload(c, h, &payload, NULL), 0);
                memset(payload, 1, MH_PAYLOAD_SIZE);
        }
        return k;
}

/* Memory that was given can be used. */
static int direct_scratch(mh_client *c, size_t size)
{
        mh_scratch s;
        void *data;
        int k = mh_scratch_alloc(c, size, &s);

        if (k == 0) {
                cr_assert_eq(mh_scratch_data(c, s, &data, &size), 0);
                memset(data, 1, size);
        }
        return k;
}

static int direct_small(mh_client *c)
{
        static size_t size;

        return direct_scratch(c, 16 + size++ % 2000);
}

static int direct_large(mh_client *c)
{
        return direct_scratch(c, 70000);
}

static int direct_opens(mh_client *c)
{
        int k = mh_open(c, next_to_open, NULL);

        if (k == 0)
                next_to_open += 512;
        return k;
}

static void exhaust_direct(mh_client *c, int (*ask)(mh_client *c), off_t most)
{
        unsigned worked = 0, refused = 0;

        for (off_t leave = 0; leave < most; leave += 4) {
                int filler = fill(leave), k;

                do {
                        k = ask(c);
                        cr_assert(k == 0 || k == -ENOSPC, "with %ld KiB: %d", leave, k);
                        worked += k == 0;
                        refused += k != 0;
                } while (k == 0);
                unfill(filler);
                cr_assert_eq(ask(c), 0, "with room again");
        }
        cr_expect_geq(worked, 10);
        cr_expect_eq(refused, most / 4);
}

static void run_direct(int (*ask)(mh_client *c), off_t most)
{
        VerifyStats stats;
        mh_client *c, *other;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        other = attach_direct();
        c = attach_direct();
        exhaust_direct(c, ask, most);
        daemon_verify(&the_daemon, NULL);
        c = mh_detach(c);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks + stats.spans, 0);
        other = mh_detach(other);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

Test(space, direct_new_handles)
{
        run_direct(direct_news, 120);
}

Test(space, direct_small_scratch)
{
        run_direct(direct_small, 120);
}

Test(space, direct_large_scratch)
{
        run_direct(direct_large, 400);
}

Test(space, direct_open)
{
        mh_client *maker, *c;
        uint64_t first;
        mh_handle h;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=1M", NULL });
        maker = attach_direct();
        c = attach_direct();
        cr_assert_eq(mh_new(maker, 1, &first), 0);
        for (unsigned i = 1; i < 512 * 80; i++)
                cr_assert_eq(mh_new(maker, 1, &h), 0);
        next_to_open = first;
        exhaust_direct(c, direct_opens, 40);
        daemon_verify(&the_daemon, NULL);
        c = mh_detach(c);
        maker = mh_detach(maker);
        harness_pass();
}

/* The same as in open_by_one_of_many, but that it is this process that touches those words; and to make a handle takes them, too. */
static void run_direct_of_many(int (*ask)(mh_client *c), off_t most)
{
        static Raw many[MH_SHM_GROUP_CLIENTS];
        uint64_t handle;
        mh_client *c;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=1M", "--clients=128", NULL });
        crowd(many);
        c = attach_direct();
        cr_assert_geq(mh_client_id(c), (int)MH_SHM_GROUP_CLIENTS);
        cr_assert_eq(raw_new(&many[0], 1, &next_to_open), 0);
        for (unsigned i = 1; i < 512 * 80; i++)
                cr_assert_eq(raw_new(&many[0], 1, &handle), 0);
        exhaust_direct(c, ask, most);
        daemon_verify(&the_daemon, NULL);
        c = mh_detach(c);
        daemon_verify(&the_daemon, NULL);
        uncrowd(many);
        harness_pass();
}

Test(space, direct_open_by_one_of_many)
{
        run_direct_of_many(direct_opens, 60);
}

Test(space, direct_new_by_one_of_many)
{
        run_direct_of_many(direct_news, 120);
}

/* To close, to free, to give and to die takes no memory. */
Test(space, direct_giving_back_needs_none)
{
        mh_client *c, *other;
        mh_handle h[2000];
        mh_scratch s[100];
        unsigned flags;
        int filler;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        c = attach_direct();
        other = attach_direct();
        for (unsigned i = 0; i < ELEMENTSOF(h); i++)
                cr_assert_eq(mh_new(c, 1, &h[i]), 0);
        for (unsigned i = 0; i < ELEMENTSOF(s); i++)
                cr_assert_eq(mh_scratch_alloc(c, 1000 * i + 1, &s[i]), 0);
        cr_assert_eq(mh_open(other, h[0], NULL), 0);
        filler = fill(0);
        cr_expect_eq(mh_scratch_give(c, s[99], h[0]), 0);
        for (unsigned i = 0; i < 99; i++)
                cr_expect_eq(mh_scratch_free(i % 2 ? c : other, s[i]), 0);
        for (unsigned i = 0; i < ELEMENTSOF(h); i++)
                cr_expect_eq(mh_close(c, h[i], NULL), 0);
        cr_expect_eq(mh_close(other, h[0], &flags), 0);
        cr_expect_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        c = mh_detach(c);
        other = mh_detach(other);
        unfill(filler);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ no descriptor */

/* What a child says; it has no descriptors to say it by. */
enum child_result {
        CHILD_GOOD = 40,
        CHILD_ATTACH,
        CHILD_HAS_ONE,
        CHILD_ERROR,
        CHILD_NOT_FULL,
        CHILD_STAYS_FULL
};

/* Where the segment's descriptor was closed behind the library's back, memory is reserved through the mapping. */
static int exhaust_without_descriptor(mh_client *c, int (*ask)(mh_client *c), off_t leave)
{
        int k;

        (void)fill(leave);
        closefrom(3);
        if (guard_holds(&c->segment_fd))
                return CHILD_HAS_ONE;
        for (unsigned i = 0; (k = ask(c)) == 0; i++)
                if (i == 1000000)
                        return CHILD_NOT_FULL;
        if (k != -ENOSPC)
                return CHILD_ERROR;
        (void)unlink("/dev/shm/filler");
        return ask(c) == 0 ? CHILD_GOOD : CHILD_STAYS_FULL;
}

static int without_descriptor(const Daemon *d, int tell, void *argument)
{
        static int (*const asks[])(mh_client * c) = { direct_news, direct_small, direct_large };
        mh_client *c = NULL;

        if (mh_attach(&c, d->socket, MH_ATTACH_NO_SPAWN) < 0 || !c->mapped)
                return CHILD_ATTACH;
        for (unsigned i = 0; i < ELEMENTSOF(asks); i++)
                for (off_t leave = 0; leave < 80; leave += 4) {
                        int k = exhaust_without_descriptor(c, asks[i], leave);

                        if (k != CHILD_GOOD)
                                return k;
                }
        return CHILD_GOOD;
}

Test(space, direct_without_a_descriptor)
{
        VerifyStats stats;
        mh_client *other;
        Child c;

        small_shm("64M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=48M", NULL });
        other = attach_direct();
        child_start(&c, &the_daemon, without_descriptor, NULL);
        cr_expect_eq(child_wait(&c), CHILD_GOOD);
        WAIT_FOR(daemon_said(&the_daemon, "died holding") == 1);
        daemon_verify(&the_daemon, &stats);
        cr_expect_eq(stats.handles + stats.blocks, 0);
        other = mh_detach(other);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}

/* ------------------------------------------------------------------------------------------------ memory comes back */

static uint64_t free_kib(void)
{
        struct statfs f;

        cr_assert_eq(statfs("/dev/shm", &f), 0);
        return (uint64_t)f.f_bfree * (uint64_t)f.f_bsize / 1024;
}

/* The daemon needs some to give back chunks that nobody uses any more; and there is not one page. */
Test(space, empty_chunks_are_given_back_where_there_is_no_memory)
{
        static mh_handle h[100000];
        unsigned n = 0;
        mh_scratch s;
        mh_client *c;
        int filler;

        small_shm("24M");
        daemon_start(&the_daemon, (const char *const[]){ "--scratch=8M", NULL });
        c = attach_direct();
        while (n < ELEMENTSOF(h) && mh_new(c, 1, &h[n]) == 0)
                n++;
        cr_assert_geq(n, 20 * MH_SHM_CHUNK_SLOTS);
        filler = fill(0);
        cr_assert_eq(free_kib(), 0);
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(mh_close(c, h[i], NULL), 0);
        /* A chunk is 64 KiB; half of them will do, because some are kept. */
        WAIT_FOR(free_kib() >= n / MH_SHM_CHUNK_SLOTS * 64 / 2);
        cr_expect_eq(mh_scratch_alloc(c, 100, &s), 0);
        cr_expect_eq(mh_scratch_free(c, s), 0);
        unfill(filler);
        c = mh_detach(c);
        daemon_verify(&the_daemon, NULL);
        cr_expect_eq(daemon_stop(&the_daemon), 0);
        harness_pass();
}
