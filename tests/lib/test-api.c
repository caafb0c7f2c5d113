/* SPDX-License-Identifier: MIT */

/*
 * Every call, and every error that can be had without breaking anything, against the daemon.
 */

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/private.h"
#include "monohandle.h"

static mh_client *a, *b;

static void set_up(void)
{
        private_set_up();
        cr_assert_eq(mh_attach(&a, NULL, 0), 0);
        cr_assert_eq(mh_attach(&b, NULL, 0), 0);
}

static void clean_up(void)
{
        VerifyStats stats;

        a = mh_detach(a);
        b = mh_detach(b);
        cr_expect(private_settled(0, 0));
        if (private_verify(&stats) != -ENOENT) {
                cr_expect_eq(stats.findings, 0);
                cr_expect_eq(stats.blocks, 0);
        }
        private_clean_up();
}

TestSuite(api, .init = set_up, .fini = clean_up, .timeout = 120);

Test(api, ids)
{
        mh_client *c = NULL;
        int id;

        cr_assert_gt(mh_client_id(a), 0);
        cr_assert_gt(mh_client_id(b), 0);
        cr_assert_neq(mh_client_id(a), mh_client_id(b));

        /* One that is free is used again. */
        cr_assert_eq(mh_attach(&c, private_socket, MH_ATTACH_NO_SPAWN), 0);
        id = mh_client_id(c);
        c = mh_detach(c);
        cr_assert_null(c);
        cr_assert_eq(mh_attach(&c, private_socket, 0), 0);
        cr_assert_eq(mh_client_id(c), id);
        c = mh_detach(c);
}

Test(api, the_life_of_a_handle)
{
        unsigned flags = 77;
        mh_handle h = 0;
        int type = 0;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
        cr_assert_neq(h, 0);
        cr_assert_eq(mh_open(b, h, &type), 0);
        cr_assert_eq(type, MH_TYPE_EVENT);
        cr_assert_eq(mh_open(b, h, NULL), 0);

        cr_assert_eq(mh_close(b, h, &flags), 0);
        cr_assert_eq(flags, 0);
        cr_assert_eq(mh_close(a, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE);
        cr_assert_eq(mh_close(b, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);

        cr_assert_eq(mh_close(b, h, &flags), -ESTALE);
        cr_assert_eq(mh_open(a, h, &type), -ESTALE);
}

Test(api, all_types)
{
        for (int type = -1; type <= 256; type++) {
                bool exists = (type >= 1 && type <= 10) || (type >= 64 && type <= 255);
                mh_handle h = 77;
                int seen = 0;

                cr_assert_eq(mh_new(a, type, &h), exists ? 0 : -EINVAL, "%d", type);
                if (!exists) {
                        cr_assert_eq(h, 77);
                        continue;
                }
                cr_assert_eq(mh_open(b, h, &seen), 0);
                cr_assert_eq(seen, type);
                cr_assert_eq(mh_close(a, h, NULL), 0);
                cr_assert_eq(mh_close(b, h, NULL), 0);
        }
}

Test(api, type_names)
{
        static const char *const names[] = { "file",  "console", "thread", "sem",     "mutex",
                                             "event", "socket",  "find",   "process", "pipe" };

        for (int i = 0; i < 10; i++)
                cr_assert_str_eq(mh_type_name(i + 1), names[i]);
        cr_assert_null(mh_type_name(0));
        cr_assert_null(mh_type_name(-1));
        cr_assert_null(mh_type_name(11));
        cr_assert_null(mh_type_name(64));
        cr_assert_null(mh_type_name(INT32_MAX));
        cr_assert_null(mh_type_name(INT32_MIN));
}

Test(api, not_held)
{
        unsigned flags = 77;
        mh_scratch s;
        mh_handle h;
        void *p = a;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_scratch_alloc(b, 100, &s), 0);
        cr_assert_eq(mh_close(b, h, &flags), -EBADF);
        cr_assert_eq(mh_payload(b, h, &p, NULL), -EBADF);
        cr_assert_eq(mh_scratch_give(b, s, h), -EBADF, "a handle that it does not hold");
        cr_assert_eq(mh_scratch_give(a, s, h), -EBADF, "a block that it does not own");
        cr_assert_eq(flags, 77);
        cr_assert_eq(p, a);
}

Test(api, numbers_that_were_never_handles)
{
        static const mh_handle never[] = { 1, 77, UINT64_MAX, UINT64_C(1) << 63, 0xffffff, (UINT64_C(1) << 24) };
        mh_handle h;
        void *p;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
        for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
                cr_assert_eq(mh_open(a, never[i], NULL), -ESTALE, "%" PRIx64, never[i]);
                cr_assert_eq(mh_close(a, never[i], NULL), -ESTALE, "%" PRIx64, never[i]);
                cr_assert_eq(mh_payload(a, never[i], &p, NULL), -ESTALE, "%" PRIx64, never[i]);
        }
        /* Other generations of a slot that is alive. */
        cr_assert_eq(mh_open(a, h + (UINT64_C(1) << 24), NULL), -ESTALE);
        cr_assert_eq(mh_close(a, h - (UINT64_C(1) << 24), NULL), -ESTALE);
        cr_assert_eq(mh_payload(a, h + (UINT64_C(1) << 24), &p, NULL), -ESTALE);
        cr_assert_eq(mh_close(a, h, NULL), 0);
}

Test(api, payload)
{
        unsigned char *mine, *theirs;
        size_t size = 0;
        mh_handle h;
        void *p;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_payload(a, h, &p, &size), 0);
        mine = p;
        cr_assert_eq(size, MH_PAYLOAD_SIZE);
        cr_assert_eq((uintptr_t)mine % 64, 0);
        for (size_t i = 0; i < size; i++)
                cr_assert_eq(mine[i], 0);
        memset(mine, 0xa5, size);

        cr_assert_eq(mh_open(b, h, NULL), 0);
        cr_assert_eq(mh_payload(b, h, &p, NULL), 0);
        theirs = p;
        cr_assert_neq(mine, theirs, "two attachments, two mappings");
        cr_assert_eq(memcmp(mine, theirs, size), 0);
        theirs[5] = 1;
        cr_assert_eq(mine[5], 1);

        cr_assert_eq(mh_close(a, h, NULL), 0);
        cr_assert_eq(mh_payload(a, h, &p, NULL), -EBADF);
        cr_assert_eq(theirs[5], 1);
        cr_assert_eq(mh_close(b, h, NULL), 0);
        cr_assert_eq(mh_payload(b, h, &p, NULL), -ESTALE);

        /* The next one in the slot begins with zeros. */
        for (unsigned i = 0; i < 100; i++) {
                cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
                cr_assert_eq(mh_payload(a, h, &p, NULL), 0);
                for (size_t k = 0; k < size; k++)
                        cr_assert_eq(((unsigned char *)p)[k], 0);
                memset(p, 0xff, size);
                cr_assert_eq(mh_close(a, h, NULL), 0);
        }
}

Test(api, scratch)
{
        static const size_t sizes[] = { 1, 15, 16, 17, 128, 129, 1000, 32768, 32769, 65536, 65537, 1000000, 10000000 };
        char *base = mh_scratch_base(a);

        cr_assert_not_null(base);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                mh_scratch s = 0;
                size_t size = 0;
                void *mine = NULL, *theirs = NULL;

                cr_assert_eq(mh_scratch_alloc(a, sizes[i], &s), 0);
                cr_assert_eq(mh_scratch_data(a, s, &mine, &size), 0);
                cr_assert_geq(size, sizes[i]);
                cr_assert_eq((uintptr_t)mine % 16, 0);
                cr_assert_eq(base + (s & 0xffffffffff), (char *)mine);
                memset(mine, 'm', size);
                cr_assert_eq(mh_scratch_data(b, s, &theirs, NULL), 0);
                cr_assert_eq(((char *)theirs)[size - 1], 'm');
                /* Freed by another. */
                cr_assert_eq(mh_scratch_free(i % 2 ? a : b, s), 0);
                cr_assert_eq(mh_scratch_free(a, s), -ESTALE);
                cr_assert_eq(mh_scratch_free(b, s), -ESTALE);
                cr_assert_eq(mh_scratch_data(a, s, &mine, NULL), -ESTALE);
        }
}

Test(api, scratch_that_cannot_be)
{
        mh_scratch s = 77;
        void *p = a;

        cr_assert_eq(mh_scratch_alloc(a, 0, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(a, UINT64_C(1) << 63, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(a, (UINT64_C(1) << 40) + 1, &s), -EINVAL);
        cr_assert_eq(mh_scratch_alloc(a, UINT64_C(1) << 40, &s), -ENOSPC, "more than there is");
        cr_assert_eq(s, 77);
        for (mh_scratch n = 1; n != 0; n <<= 1) {
                cr_assert_eq(mh_scratch_free(a, n), -ESTALE, "%" PRIx64, n);
                cr_assert_eq(mh_scratch_data(a, n, &p, NULL), -ESTALE, "%" PRIx64, n);
        }
        cr_assert_eq(mh_scratch_data(a, UINT64_MAX, &p, NULL), -ESTALE);
        cr_assert_eq(p, a);

        /* Beside a block, and inside one. */
        cr_assert_eq(mh_scratch_alloc(a, 100, &s), 0);
        cr_assert_eq(mh_scratch_free(a, s + 1), -ESTALE);
        cr_assert_eq(mh_scratch_free(a, s + 16), -ESTALE);
        cr_assert_eq(mh_scratch_data(a, s + 8, &p, NULL), -ESTALE);
        cr_assert_eq(mh_scratch_free(a, s), 0);
}

Test(api, giving)
{
        mh_scratch s[5], other;
        mh_handle h, g;
        void *p;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &h), 0);
        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &g), 0);
        for (unsigned i = 0; i < 5; i++)
                cr_assert_eq(mh_scratch_alloc(a, i == 0 ? 100000 : 100, &s[i]), 0);
        for (unsigned i = 0; i < 4; i++)
                cr_assert_eq(mh_scratch_give(a, s[i], h), 0);
        cr_assert_eq(mh_scratch_give(a, s[4], h), -ENOSPC);
        cr_assert_eq(mh_scratch_give(a, s[0], h), -EBUSY);
        cr_assert_eq(mh_scratch_give(a, s[0], g), -EBUSY);
        cr_assert_eq(mh_scratch_free(a, s[0]), -EBUSY);
        cr_assert_eq(mh_scratch_free(b, s[0]), -EBUSY);
        cr_assert_eq(mh_scratch_give(a, s[4], 1), -ESTALE);
        cr_assert_eq(mh_scratch_give(a, 1, h), -ESTALE);

        /* With the handle the blocks live on when the giver has gone, */
        cr_assert_eq(mh_open(b, h, NULL), 0);
        cr_assert_eq(mh_close(a, h, NULL), 0);
        a = mh_detach(a);
        cr_assert_eq(mh_scratch_data(b, s[0], &p, NULL), 0);
        cr_assert_eq(mh_scratch_data(b, s[4], &p, NULL), -ESTALE, "not given");
        /* and not longer. */
        cr_assert_eq(mh_close(b, h, NULL), 0);
        for (unsigned i = 0; i < 5; i++)
                cr_assert_eq(mh_scratch_data(b, s[i], &p, NULL), -ESTALE);
        cr_assert_eq(mh_scratch_alloc(b, 100, &other), 0);
}

Test(api, strings)
{
        static const char *const words[] = { "one", "", "three", NULL }, *const none[] = { NULL };
        const char *string = NULL;
        char **copy = NULL;
        mh_scratch s = 0;
        void *p;

        cr_assert_eq(mh_scratch_store(a, "a\0b", 3, &s), 0);
        cr_assert_eq(mh_scratch_data(b, s, &p, NULL), 0);
        cr_assert_eq(memcmp(p, "a\0b", 3), 0);

        cr_assert_eq(mh_scratch_store_string(a, "hello", &s), 0);
        cr_assert_eq(mh_scratch_get_string(b, s, &string), 0);
        cr_assert_str_eq(string, "hello");
        cr_assert_eq(mh_scratch_store_string(a, "", &s), 0);
        cr_assert_eq(mh_scratch_get_string(b, s, &string), 0);
        cr_assert_str_eq(string, "");

        cr_assert_eq(mh_scratch_store_strv(a, words, &s), 0);
        cr_assert_eq(mh_scratch_get_strv(b, s, &copy), 0);
        for (unsigned i = 0; i < 3; i++)
                cr_assert_str_eq(copy[i], words[i]);
        cr_assert_null(copy[3]);
        cr_assert_eq(mh_scratch_free(b, s), 0);
        cr_assert_str_eq(copy[2], "three", "it is a copy");
        free(copy);
        copy = NULL;
        cr_assert_eq(mh_scratch_get_strv(b, s, &copy), -ESTALE);
        cr_assert_eq(mh_scratch_get_string(b, s, &string), -ESTALE);

        cr_assert_eq(mh_scratch_store_strv(a, none, &s), 0);
        cr_assert_eq(mh_scratch_get_strv(a, s, &copy), 0);
        cr_assert_null(copy[0]);
        free(copy);

        /* Blocks that hold neither. */
        cr_assert_eq(mh_scratch_alloc(a, 64, &s), 0);
        cr_assert_eq(mh_scratch_data(a, s, &p, NULL), 0);
        memset(p, 'x', 64);
        copy = NULL;
        cr_assert_eq(mh_scratch_get_string(b, s, &string), -EBADMSG);
        cr_assert_eq(mh_scratch_get_strv(b, s, &copy), -EBADMSG);
        cr_assert_null(copy);
}

Test(api, detaching_drops_everything)
{
        mh_handle shared, own;
        mh_scratch s;
        void *p;

        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &shared), 0);
        cr_assert_eq(mh_new(a, MH_TYPE_EVENT, &own), 0);
        cr_assert_eq(mh_scratch_alloc(a, 100, &s), 0);
        cr_assert_eq(mh_open(b, shared, NULL), 0);
        a = mh_detach(a);
        cr_assert_null(a);
        cr_assert_eq(mh_open(b, shared, NULL), 0);
        cr_assert_eq(mh_open(b, own, NULL), -ESTALE);
        cr_assert_eq(mh_scratch_data(b, s, &p, NULL), -ESTALE);
}

/* ------------------------------------------------------------------------------------------------ without a mapping */

Test(api, without_a_mapping)
{
        static const char *const words[] = { "one", NULL };
        mh_client *c = NULL;
        const char *string;
        unsigned flags;
        mh_scratch s;
        mh_handle h;
        char **strv;
        void *p;

        cr_assert_eq(mh_attach(&c, NULL, MH_ATTACH_NO_MAP), 0);
        cr_assert_null(mh_scratch_base(c));
        cr_assert_eq(mh_new(c, MH_TYPE_PIPE, &h), 0);
        cr_assert_eq(mh_open(c, h, NULL), 0);
        cr_assert_eq(mh_scratch_alloc(c, 100, &s), 0);
        cr_assert_eq(mh_scratch_data(a, s, &p, NULL), 0);
        cr_assert_eq(mh_scratch_give(c, s, h), 0);
        cr_assert_eq(mh_payload(c, h, &p, NULL), -ENOMEM);
        cr_assert_eq(mh_scratch_data(c, s, &p, NULL), -ENOMEM);
        cr_assert_eq(mh_scratch_get_string(c, s, &string), -ENOMEM);
        cr_assert_eq(mh_scratch_get_strv(c, s, &strv), -ENOMEM);
        cr_assert_eq(mh_scratch_store(c, "x", 1, &s), -ENOMEM);
        cr_assert_eq(mh_scratch_store_string(c, "x", &s), -ENOMEM);
        cr_assert_eq(mh_scratch_store_strv(c, words, &s), -ENOMEM);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, 0);
        cr_assert_eq(mh_close(c, h, &flags), 0);
        cr_assert_eq(flags, MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE);
        cr_assert_null(mh_detach(c));
}

/* ------------------------------------------------------------------------------------------------ attaching */

Test(api, where_nobody_listens)
{
        char path[128], far[300];
        mh_client *c = a;

        (void)strcat(strcpy(path, private_directory), "/none");
        cr_assert_eq(mh_attach(&c, path, MH_ATTACH_NO_SPAWN), -ENOTCONN);
        cr_assert_eq(mh_attach(&c, "/nonexistent/socket", MH_ATTACH_NO_SPAWN), -ENOTCONN);
        memset(far, 'x', sizeof(far));
        far[0] = '/';
        far[108] = 0;
        cr_assert_eq(mh_attach(&c, far, 0), -ENAMETOOLONG);
        (void)setenv("MONO_HANDLE_D_BINARY", "/nonexistent", 1);
        cr_assert_eq(mh_attach(&c, path, 0), -ENOTCONN);
        cr_assert_eq(c, a);
}

Test(api, a_relative_path)
{
        mh_client *c = NULL;
        mh_handle h;

        cr_assert_eq(chdir(private_directory), 0);
        cr_assert_eq(mh_attach(&c, "socket", 0), 0);
        cr_assert_eq(chdir("/"), 0);
        /* Found again, from wherever we are now. */
        cr_assert(private_kill_daemon());
        cr_assert_eq(mh_new(c, MH_TYPE_EVENT, &h), 0);
        c = mh_detach(c);
}

Test(api, version)
{
        cr_assert_str_eq(mh_version(), MONO_HANDLE_D_VERSION);
}

static bool is_gone(void *path)
{
        return access(path, F_OK) < 0;
}

Test(api, a_full_client_table)
{
        mh_client *list[8] = {};
        unsigned n = 0;
        char path[128];
        int r = 0;

        /* A daemon of its own, for few clients, which leaves with the last. */
        (void)snprintf(path, sizeof(path), "%s/few", private_directory);
        (void)setenv("MONO_HANDLE_D_CLIENTS", "4", 1);
        (void)setenv("MONO_HANDLE_D_IDLE_TIMEOUT", "0", 1);
        while (n < 8 && (r = mh_attach(&list[n], path, 0)) == 0)
                n++;
        cr_assert_eq(r, -EUSERS);
        cr_assert_eq(n, 3);
        cr_assert_null(list[3]);
        list[1] = mh_detach(list[1]);
        cr_assert_eq(mh_attach(&list[1], path, 0), 0);
        for (unsigned i = 0; i < n; i++)
                list[i] = mh_detach(list[i]);
        cr_assert(private_poll(is_gone, path), "the daemon does not leave");
        (void)unlink(strcat(path, ".lock"));
}
