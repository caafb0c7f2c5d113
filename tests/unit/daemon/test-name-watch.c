/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/name-watch.h"

static char root[] = "/tmp/mono-handle-d-name-XXXXXX";
static char directory[80], aside[80], path[96];
static Listener listener;
static Loop loop;
static NameWatch watch;
static unsigned lost;

static void on_lost(void *userdata)
{
        cr_assert_eq(userdata, &lost);
        lost++;
}

static void make(void)
{
        cr_assert_not_null(mkdtemp(root));
        (void)snprintf(directory, sizeof(directory), "%s/directory", root);
        (void)snprintf(aside, sizeof(aside), "%s/aside", root);
        (void)snprintf(path, sizeof(path), "%s/socket", directory);
        cr_assert_eq(listener_make_directory(path), 0);
        cr_assert_eq(listener_bind(&listener, path), 0);
        cr_assert_eq(loop_init(&loop), 0);
}

static void clean(void)
{
        name_watch_done(&watch);
        name_watch_done(&watch);
        loop_done(&loop);
        listener_close_unlink(&listener);
        (void)unlink(path);
        (void)rmdir(directory);
        (void)rmdir(root);
}

TestSuite(name_watch, .init = make, .fini = clean);

static void begin(void)
{
        cr_assert_eq(name_watch_init(&watch, &loop, &listener, on_lost, &lost), 0);
}

/* All that there is to do now. */
static void turn(void)
{
        for (unsigned i = 0; i < 50; i++)
                cr_assert_geq(loop_turn(&loop, 1), 0);
}

Test(name_watch, our_own_doings_are_no_loss)
{
        begin();
        turn();
        cr_assert_eq(listener_unlink(&listener), 0);
        turn();
        cr_assert_eq(listener_bind_again(&listener), 0);
        turn();
        cr_expect_eq(lost, 0);
        cr_assert_eq(unlink(path), 0);
        turn();
        cr_expect_geq(lost, 1, "the new one is looked after as well");
}

Test(name_watch, whatever_else_happens_there_is_none)
{
        char other[128];
        FILE *f;

        begin();
        (void)snprintf(other, sizeof(other), "%s.other", path);
        f = fopen(other, "we");
        cr_assert_not_null(f);
        (void)fclose(f);
        cr_assert_eq(chmod(directory, 0755), 0);
        turn();
        cr_assert_eq(unlink(other), 0);
        turn();
        cr_expect_eq(lost, 0);
}

Test(name_watch, what_happened_before_the_watch_is_seen)
{
        cr_assert_eq(unlink(path), 0);
        begin();
        cr_expect_eq(lost, 1);
}

Test(name_watch, another_file_in_its_place)
{
        char other[128];
        FILE *f;

        begin();
        (void)snprintf(other, sizeof(other), "%s.other", path);
        f = fopen(other, "we");
        cr_assert_not_null(f);
        (void)fclose(f);
        cr_assert_eq(rename(other, path), 0);
        turn();
        cr_expect_geq(lost, 1);
}

Test(name_watch, the_directory_goes)
{
        begin();
        cr_assert_eq(rename(directory, aside), 0);
        turn();
        cr_expect_geq(lost, 1);
        cr_assert_eq(rename(aside, directory), 0);
}

Test(name_watch, of_the_manager_s_socket_nothing_is_watched)
{
        Listener inherited = listener;

        inherited.inherited = true;
        inherited.named = false;
        cr_assert_eq(name_watch_init(&watch, &loop, &inherited, on_lost, &lost), 0);
        cr_assert_eq(unlink(path), 0);
        turn();
        cr_expect_eq(lost, 0);
        cr_expect(listener_is_found(&inherited));
}
