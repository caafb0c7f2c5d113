/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/record.h"

static char directory[64], path[128];

static void set_up(void)
{
        (void)strcpy(directory, "/tmp/mhd-record-XXXXXX");
        cr_assert_not_null(mkdtemp(directory));
        (void)snprintf(path, sizeof(path), "%s/s.segment", directory);
}

static void tear_down(void)
{
        char other[160];

        (void)snprintf(other, sizeof(other), "%s.new", path);
        (void)unlink(path);
        (void)unlink(other);
        (void)rmdir(directory);
}

TestSuite(record, .init = set_up, .fini = tear_down);

static void write_text(const char *text, size_t size)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        cr_assert_eq(write(fd, text, size), (ssize_t)size);
}

Test(record, what_was_written_is_read)
{
        Record a, b;
        struct stat st;

        cr_assert_eq(record_make(&a), 0);
        for (unsigned i = 0; i < 16; i++)
                a.id[i] = (uint8_t)(i * 17);
        cr_assert_eq(record_write(path, &a), 0);
        cr_assert_eq(record_read(path, &b), 0);
        cr_expect_str_eq(a.name, b.name);
        cr_expect_eq(memcmp(a.id, b.id, 16), 0);
        cr_assert_eq(stat(path, &st), 0);
        cr_expect_eq(st.st_mode & 0777, 0600);

        /* The next one replaces it. */
        Record c;
        cr_assert_eq(record_make(&c), 0);
        cr_expect_str_neq(a.name, c.name);
        cr_assert_eq(record_write(path, &c), 0);
        cr_assert_eq(record_read(path, &b), 0);
        cr_expect_str_eq(b.name, c.name);
        cr_assert_eq(record_remove(path), 0);
        cr_assert_eq(record_remove(path), 0);
        cr_expect_eq(record_read(path, &b), -ENOENT);
}

Test(record, what_a_writer_that_died_left_is_replaced)
{
        char other[160];
        Record a, b;
        int fd;

        (void)snprintf(other, sizeof(other), "%s.new", path);
        fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        cr_assert_eq(write(fd, "half", 4), 4);
        (void)fd_close(fd);
        cr_assert_eq(record_make(&a), 0);
        cr_assert_eq(record_write(path, &a), 0);
        cr_assert_eq(record_read(path, &b), 0);
        cr_expect_str_eq(a.name, b.name);
        cr_expect_neq(access(other, F_OK), 0);
}

Test(record, names_that_are_not_ours)
{
        static const char *const bad[] = {
                "",
                "/",
                "/mono-handle-d.",
                "mono-handle-d.0.0123456789abcdef",
                "/mono-handle-d.x.0123456789abcdef",
                "/../mono-handle-d.0.0123456789abcdef",
        };
        char name[128];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                cr_expect_eq(record_check_name(bad[i]), -EBADMSG, "%s", bad[i]);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789abcdef", (unsigned)geteuid());
        cr_expect_eq(record_check_name(name), 0);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789abcde", (unsigned)geteuid());
        cr_expect_eq(record_check_name(name), -EBADMSG);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789abcdef0", (unsigned)geteuid());
        cr_expect_eq(record_check_name(name), -EBADMSG);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789ABCDEF", (unsigned)geteuid());
        cr_expect_eq(record_check_name(name), -EBADMSG);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789/bcdef", (unsigned)geteuid());
        cr_expect_eq(record_check_name(name), -EBADMSG);
        (void)snprintf(name, sizeof(name), "/mono-handle-d.%u.0123456789abcdef", (unsigned)geteuid() + 1);
        cr_expect_eq(record_check_name(name), 1, "of another user");
}

Test(record, each_cut_and_each_changed_byte)
{
        char text[256];
        Record a, b;
        ssize_t n;
        int fd;

        cr_assert_eq(record_make(&a), 0);
        cr_assert_eq(record_write(path, &a), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = read(fd, text, sizeof(text));
        (void)fd_close(fd);
        cr_assert_gt(n, 48);

        for (ssize_t size = 0; size < n; size++) {
                write_text(text, (size_t)size);
                cr_assert_eq(record_read(path, &b), -EBADMSG, "%zd bytes", size);
        }
        for (ssize_t i = 0; i < n; i++) {
                static const char others[] = { '\0', ' ', '/', 'g', '\n', (char)0xff };

                for (size_t k = 0; k < sizeof(others); k++) {
                        char before = text[i];

                        if (before == others[k])
                                continue;
                        text[i] = others[k];
                        write_text(text, (size_t)n);
                        cr_assert_eq(record_read(path, &b), -EBADMSG, "byte %zd", i);
                        text[i] = before;
                }
        }
        text[n] = '\n';
        write_text(text, (size_t)n + 1);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        memset(text, 'x', sizeof(text));
        write_text(text, sizeof(text));
        cr_expect_eq(record_read(path, &b), -EBADMSG);
}

static void check_other_user(unsigned uid, int expected)
{
        Record b = { .name = "untouched" };
        char text[256];
        int n;

        n = snprintf(text, sizeof(text), "/mono-handle-d.%u.0123456789abcdef %032x\n", uid, 7U);
        write_text(text, (size_t)n);
        cr_expect_eq(record_read(path, &b), expected, "uid %u", uid);
        cr_expect_eq(strncmp(b.name, text, strlen(b.name)), 0, "the name is told");
        cr_expect_eq(b.id[15], 7);

        /* And nothing else that looks like it. */
        write_text(text, (size_t)n - 2);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        text[n - 2] = 'x';
        write_text(text, (size_t)n);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
}

Test(record, of_another_user)
{
        Record b;

        check_other_user((unsigned)geteuid(), 0);
        check_other_user((unsigned)geteuid() + 1, 1);
        check_other_user(UINT32_MAX, 1);
        write_text("/mono-handle-d.4294967296.0123456789abcdef 00000000000000000000000000000007\n", 76);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        write_text("/mono-handle-d.01.0123456789abcdef 00000000000000000000000000000007\n", 68);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        if (geteuid() != 0)
                return;
        cr_assert_eq(record_make(&b), 0);
        cr_assert_eq(record_write(path, &b), 0);
        cr_assert_eq(chown(path, 4711, (gid_t)-1), 0);
        cr_expect_eq(record_read(path, &b), 1, "his file, whatever it says");
}

Test(record, what_is_no_file_of_ours)
{
        Record b;

        cr_assert_eq(symlink("/etc/passwd", path), 0);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        cr_assert_eq(unlink(path), 0);
        cr_assert_eq(mkfifo(path, 0600), 0);
        cr_expect_eq(record_read(path, &b), -EBADMSG, "and nobody waits for a writer");
        cr_assert_eq(unlink(path), 0);
        cr_assert_eq(mkdir(path, 0700), 0);
        cr_expect_eq(record_read(path, &b), -EBADMSG);
        cr_assert_eq(rmdir(path), 0);
}
