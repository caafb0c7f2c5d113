/* SPDX-License-Identifier: MIT */

/*
 * Descriptors: a program that closes ours, one that has none left, and programs that it executes.
 */

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/private.h"
#include "monohandle.h"
#include "shm/words.h"

TestSuite(fds, PRIVATE_WORLD);

/* Those above 2, into the list; returns how many there are. */
static unsigned list_fds(int list[static 64])
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;
        struct dirent *de;

        cr_assert_not_null(d);
        while ((de = readdir(d)))
                if (de->d_name[0] != '.' && atoi(de->d_name) > 2 && atoi(de->d_name) != dirfd(d) && n < 64)
                        list[n++] = atoi(de->d_name);
        (void)closedir(d);
        return n;
}

static bool is_in(int fd, const int *list, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (list[i] == fd)
                        return true;
        return false;
}

/* In a child, because Criterion needs descriptors of its own. */
static int lose_all(void *arg)
{
        mh_client *c = NULL;
        mh_scratch s;
        mh_handle h;
        const char *text;
        unsigned flags;
        int id;

        if (mh_attach(&c, NULL, 0) < 0 || mh_new(c, MH_TYPE_EVENT, &h) < 0 ||
            mh_scratch_store_string(c, "kept", &s) < 0 || mh_open(c, h, NULL) < 0)
                return 1;
        id = mh_client_id(c);
        for (unsigned i = 0; i < 20; i++) {
                char path[128];
                int own;

                closefrom(3);
                /* Somebody else takes the numbers. */
                (void)snprintf(path, sizeof(path), "%s/own", private_directory);
                own = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
                for (int fd = own; fd < own + 5; fd++)
                        (void)dup2(own, fd);

                if (mh_scratch_get_string(c, s, &text) < 0 || strcmp(text, "kept") != 0)
                        return 2;
                if (mh_open(c, h, NULL) < 0 || mh_close(c, h, &flags) < 0 || flags != 0)
                        return 3;
                if (mh_client_id(c) != id)
                        return 4;
                if (lseek(own, 0, SEEK_END) != 0)
                        return 5; /* somebody else's file was written to */
                for (int fd = own; fd < own + 5; fd++)
                        if (fcntl(fd, F_GETFD) < 0)
                                return 6; /* or closed */
                (void)unlink(path);
        }
        if (mh_close(c, h, &flags) < 0 || flags != 0)
                return 7;
        if (mh_close(c, h, &flags) < 0 || flags != (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE))
                return 8;
        closefrom(3);
        return mh_detach(c) ? 9 : 0;
}

Test(fds, closefrom_loses_nothing)
{
        cr_assert_eq(private_wait(private_fork(lose_all, NULL)), 0);
        cr_assert(private_settled(0, 0));
}

/* Nor are errors other ones. */
static int ask_without_descriptors(void *arg)
{
        const mh_handle *h = arg; /* one that the other holds, and one that is gone */
        mh_client *c = NULL;
        void *p;

        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        closefrom(3);
        if (mh_close(c, h[0], NULL) != -EBADF || mh_payload(c, h[0], &p, NULL) != -EBADF)
                return 2;
        if (mh_close(c, h[1], NULL) != -ESTALE || mh_payload(c, h[1], &p, NULL) != -ESTALE)
                return 3;
        if (mh_open(c, h[0], NULL) < 0 || mh_close(c, h[0], NULL) < 0 || mh_close(c, h[0], NULL) != -EBADF)
                return 4;
        return mh_detach(c) ? 5 : 0;
}

Test(fds, after_closefrom_errors_say_the_same)
{
        mh_client *c = NULL;
        mh_handle h[2];
        unsigned flags;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h[0]), 0);
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h[1]), 0);
        cr_assert_eq(mh_close(c, h[1], NULL), 0);
        cr_assert_eq(private_wait(private_fork(ask_without_descriptors, h)), 0);
        cr_assert_eq(mh_close(c, h[0], &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        c = mh_detach(c);
        cr_assert(private_settled(0, 0));
}

/* While the connection is gone, the daemon must know that the process is not. */
static int lose_all_and_wait(void *arg)
{
        int *fds = arg;
        mh_client *c = NULL;
        mh_handle h[10];
        char x;

        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        for (unsigned i = 0; i < 10; i++)
                if (mh_new(c, MH_TYPE_EVENT, &h[i]) < 0)
                        return 2;
        (void)dup2(fds[0], 3);
        (void)dup2(fds[1], 4);
        closefrom(5);
        if (write(4, "x", 1) != 1 || read(3, &x, 1) != 1)
                return 3;
        for (unsigned i = 0; i < 10; i++)
                if (mh_close(c, h[i], NULL) < 0)
                        return 4;
        return mh_detach(c) ? 5 : 0;
}

Test(fds, who_lost_its_connection_is_not_dead)
{
        int up[2], down[2], ends[2];
        pid_t pid;
        char x;

        cr_assert_eq(pipe(up), 0);
        cr_assert_eq(pipe(down), 0);
        ends[0] = down[0];
        ends[1] = up[1];
        pid = private_fork(lose_all_and_wait, ends);
        cr_assert_eq(read(up[0], &x, 1), 1);
        /* Others come and go, so the daemon has had its turns. */
        for (unsigned i = 0; i < 20; i++) {
                mh_client *c = NULL;

                cr_assert_eq(mh_attach(&c, NULL, 0), 0);
                c = mh_detach(c);
        }
        cr_assert(private_settled(1, 10));
        cr_assert_eq(write(down[1], "x", 1), 1);
        cr_assert_eq(private_wait(pid), 0);
        cr_assert(private_settled(0, 0));
}

Test(fds, few_and_none_left_behind)
{
        int before[64], during[64], after[64];
        unsigned n = list_fds(before), m;

        for (unsigned i = 0; i < 10; i++) {
                mh_client *c = NULL;
                mh_handle h;

                cr_assert_eq(mh_attach(&c, NULL, i % 2 ? MH_ATTACH_NO_MAP : 0), 0);
                cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
                m = list_fds(during);
                cr_assert_leq(m, n + (i % 2 ? 3 : 2));
                for (unsigned k = 0; k < m; k++)
                        if (!is_in(during[k], before, n))
                                cr_assert_eq(fcntl(during[k], F_GETFD), FD_CLOEXEC);
                if (i % 3 == 0)
                        cr_assert(private_kill_daemon());
                cr_assert_eq(mh_close(c, h, NULL), 0);
                cr_assert_eq(list_fds(during), m);
                c = mh_detach(c);
                cr_assert_eq(list_fds(after), n);
        }
}

static int attach_without_stdio(void *arg)
{
        mh_client *c = NULL;
        int list[64];

        (void)close(0);
        (void)close(1);
        (void)close(2);
        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        for (int fd = 0; fd < 3; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        return 2;
        if (list_fds(list) == 0)
                return 3;
        return mh_detach(c) ? 4 : 0;
}

Test(fds, never_the_standard_ones)
{
        cr_assert_eq(private_wait(private_fork(attach_without_stdio, NULL)), 0);
}

static int attach_without_numbers(void *arg)
{
        struct rlimit limit;
        mh_client *c = NULL;
        mh_handle h;
        int probe;

        closefrom(3); /* what was inherited would stand in the way of counting */
        /* So that the daemon is there already. */
        if (mh_attach(&c, NULL, 0) < 0 || mh_new(c, MH_TYPE_EVENT, &h) < 0)
                return 1;
        probe = dup(0);
        (void)close(probe);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
        /* One number, or none. */
        for (int more = 0; more < 2; more++) {
                mh_client *other = NULL;

                limit.rlim_cur = (rlim_t)(probe + more);
                (void)setrlimit(RLIMIT_NOFILE, &limit);
                if (mh_attach(&other, NULL, 0) != -EMFILE || other)
                        return 2 + more;
        }
        /* What there is goes on. */
        if (mh_open(c, h, NULL) < 0)
                return 4;
        limit.rlim_cur = (rlim_t)(probe + 2);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (mh_attach(&c, NULL, 0) < 0)
                return 5;
        /* Nor is anything left of those that failed. */
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        return private_settled(2, 1) ? 0 : 6;
}

Test(fds, none_left)
{
        cr_assert_eq(private_wait(private_fork(attach_without_numbers, NULL)), 0);
        cr_assert(private_settled(0, 0));
}

/* Without enough address space the segment cannot be mapped; then it goes without. */
static int attach_without_space(void *arg)
{
        struct rlimit limit = { .rlim_cur = UINT64_C(1) << 29, .rlim_max = UINT64_C(1) << 29 };
        mh_client *c = NULL;
        mh_scratch s;
        mh_handle h;
        void *p;

        if (setrlimit(RLIMIT_AS, &limit) < 0)
                return 77;
        if (mh_attach(&c, NULL, 0) < 0)
                return 1;
        /* The first attachment, the one that was to be mapped, was given back. */
        if (!private_settled(2, 0))
                return 5;
        if (mh_scratch_base(c) || mh_new(c, MH_TYPE_EVENT, &h) < 0 || mh_payload(c, h, &p, NULL) != -ENOMEM)
                return 2;
        if (mh_scratch_alloc(c, 100, &s) < 0 || mh_scratch_give(c, s, h) < 0 || mh_close(c, h, NULL) < 0)
                return 3;
        return mh_detach(c) ? 4 : 0;
}

Test(fds, no_address_space)
{
        mh_client *c = NULL;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        cr_skip_test("sanitizers need all address space there is");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
        cr_skip_test("sanitizers need all address space there is");
#endif
#endif
        /* The daemon must not be started by the one that is short of space: what it inherits is raised, but not above
         * this. */
        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(private_wait(private_fork(attach_without_space, NULL)), 0);
        cr_assert(private_settled(1, 0));
        c = mh_detach(c);
}

static int attach_and_execute(void *arg)
{
        mh_client *c = NULL;
        mh_handle h;

        if (mh_attach(&c, NULL, 0) < 0 || mh_new(c, MH_TYPE_EVENT, &h) < 0)
                return 1;
        (void)execlp("sleep", "sleep", "1000", NULL);
        return 2;
}

Test(fds, nothing_survives_an_execve)
{
        pid_t pid = private_fork(attach_and_execute, NULL);
        mh_client *c = NULL;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert(private_settled(1, 0), "what it held before it called execve() is not reclaimed");
        (void)kill(pid, SIGKILL);
        (void)private_wait(pid);
        c = mh_detach(c);
}

/* Where it says what it likes: here, that a handle lives which does not. */
Test(fds, somebody_elses_file_is_not_taken_for_the_segment)
{
        mh_client *c = NULL, *other = NULL;
        uint64_t state;
        off_t where;
        mh_handle h;
        void *p;
        int fd;

        cr_assert_eq(mh_attach(&c, NULL, 0), 0);
        cr_assert_eq(mh_attach(&other, NULL, 0), 0);
        cr_assert_eq(mh_new(other, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_payload(c, h, &p, NULL), -EBADF);

        where = (off_t)(c->segment.regions[MH_SHM_REGION_SLOTS].offset + handle_slot(h) * sizeof(struct mh_shm_slot));
        state = state_make(handle_generation(h), MH_SHM_PHASE_LIVE, MH_TYPE_EVENT, 0);
        fd = memfd_create("other", MFD_CLOEXEC);
        cr_assert_eq(ftruncate(fd, (off_t)c->segment.total_size), 0);
        cr_assert_eq(pwrite(fd, &state, sizeof(state), where), sizeof(state));
        cr_assert_geq(dup2(fd, c->segment_fd.fd), 0);
        cr_assert_eq(mh_close(other, h, NULL), 0);
        cr_assert_eq(mh_payload(c, h, &p, NULL), -ESTALE);
        c = mh_detach(c);
        other = mh_detach(other);
}
