/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/sigbus.h"
#include "daemon/store.h"
#include "tools/under.h"

static char directory[64], socket_path[96];
static Store store;

static const SegmentConfig config = {
        .n_slots = 512,
        .n_clients = 4,
        .scratch_bytes = 1 << 20,
        .limit_client_handles = UINT64_MAX,
        .limit_client_scratch = UINT64_MAX,
};

static void set_up(void)
{
        (void)strcpy(directory, "/tmp/mhd-store-XXXXXX");
        cr_assert_not_null(mkdtemp(directory));
        (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        cr_assert_eq(store_init(&store, socket_path), 0);
        cr_assert_eq(sigbus_install(), 0);
}

static void tear_down(void)
{
        store_discard(&store, true);
        (void)rmdir(directory);
}

TestSuite(store, .init = set_up, .fini = tear_down);

/* Another descriptor of the segment that the store has. */
static int another_fd(void)
{
        return fcntl(store.fd, F_DUPFD_CLOEXEC, 3);
}

/* As it is done at start. *ret_name is the name that was tried. */
static int open_record(char ret_name[static RECORD_NAME_MAX])
{
        Record record = {};
        int r;

        r = record_read(store.record_path, &record);
        memcpy(ret_name, record.name, RECORD_NAME_MAX);
        return r < 0 ? r : store_open_record(&store, &record);
}

Test(store, what_was_made_is_found_by_the_record)
{
        char name[RECORD_NAME_MAX], made[RECORD_NAME_MAX];
        uint8_t id[16];

        cr_expect(!store_is_open(&store));
        cr_expect_eq(open_record(name), -ENOENT);
        cr_assert_eq(store_create(&store, &config), 0);
        cr_expect(store_is_open(&store));
        cr_expect_eq(store_check(&store), 0);
        memcpy(made, store.name, sizeof(made));
        memcpy(id, store.segment.id, sizeof(id));

        store_leave(&store);
        cr_expect(!store_is_open(&store));
        cr_assert_eq(open_record(name), 0);
        cr_expect_str_eq(store.name, made);
        cr_expect_str_eq(name, made);
        cr_expect_eq(memcmp(store.segment.id, id, sizeof(id)), 0);

        store_discard(&store, true);
        cr_expect_eq(open_record(name), -ENOENT);
        cr_expect_lt(shm_open(made, O_RDONLY, 0), 0);
}

Test(store, what_a_descriptor_brings_gets_its_record_back)
{
        char name[RECORD_NAME_MAX], made[RECORD_NAME_MAX];
        int fd;

        cr_assert_eq(store_create(&store, &config), 0);
        memcpy(made, store.name, sizeof(made));
        fd = another_fd();
        store_leave(&store);
        cr_assert_eq(record_remove(store.record_path), 0);
        cr_assert_eq(store_open_fd(&store, fd), 0);
        cr_expect_str_eq(store.name, made);
        store_leave(&store);
        cr_expect_eq(open_record(name), 0);
}

Test(store, one_that_lost_its_name_goes_on_without)
{
        char name[RECORD_NAME_MAX];
        int fd;

        cr_assert_eq(store_create(&store, &config), 0);
        fd = another_fd();
        cr_assert_eq(shm_unlink(store.name), 0);
        store_leave(&store);
        cr_expect_eq(open_record(name), -ENOENT);
        cr_assert_eq(store_open_fd(&store, fd), 0);
        cr_expect_str_eq(store.name, "");
        cr_expect_eq(store_check(&store), 0);
        cr_expect_neq(access(store.record_path, F_OK), 0, "a record would name nothing");
}

Test(store, a_closed_segment_is_not_opened_again)
{
        int fd;

        cr_assert_eq(store_create(&store, &config), 0);
        fd = another_fd();
        store_discard(&store, true);
        cr_expect_eq(store_open_fd(&store, fd), -ESTALE);
        (void)fd_close(fd);
}

Test(store, a_maker_that_died_left_a_name_that_is_known)
{
        char name[RECORD_NAME_MAX];
        Record record;
        int fd;

        /* Before it was whole. */
        cr_assert_eq(record_make(&record), 0);
        cr_assert_eq(record_write(store.record_path, &record), 0);
        fd = shm_open(record.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        cr_assert_geq(fd, 0);
        cr_expect_eq(open_record(name), -EAGAIN);
        cr_expect_str_eq(name, record.name);

        /* After it was, and before the record knew. */
        cr_assert_eq(segment_format(fd, &config), 0);
        cr_assert_eq(open_record(name), 0);
        (void)fd_close(fd);
        cr_assert_eq(record_read(store.record_path, &record), 0);
        cr_expect_eq(memcmp(record.id, store.segment.id, 16), 0);
}

Test(store, a_record_of_another_id_does_not_count)
{
        char name[RECORD_NAME_MAX];
        Record record;

        cr_assert_eq(store_create(&store, &config), 0);
        memcpy(name, store.name, sizeof(name));
        cr_assert_eq(record_read(store.record_path, &record), 0);
        record.id[0] ^= 1;
        cr_assert_eq(record_write(store.record_path, &record), 0);
        store_leave(&store);
        cr_expect_eq(open_record(name), -EBADMSG);
        cr_expect(!store_is_open(&store));
        store_remove_name(&store, name);
        cr_expect_lt(shm_open(name, O_RDONLY, 0), 0);
}

Test(store, no_segments)
{
        int fd = memfd_create("none", MFD_CLOEXEC), fds[2];

        cr_expect_eq(store_open_fd(&store, fd), -EAGAIN);
        cr_assert_eq(ftruncate(fd, 100), 0);
        cr_expect_lt(store_open_fd(&store, fd), 0);
        cr_assert_eq(ftruncate(fd, 1 << 20), 0);
        cr_assert_eq(pwrite(fd, "nonsense", 8, 0), 8);
        cr_expect_eq(store_open_fd(&store, fd), -EBADMSG);
        (void)fd_close(fd);
        cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
        cr_expect_eq(store_open_fd(&store, fds[0]), -EPERM);
        fd_close_many(fds, 2);
        cr_expect(!store_is_open(&store));
}

Test(store, check_finds_what_others_did)
{
        const uint32_t closed = MH_SHM_STATE_CLOSED;

        cr_assert_eq(store_create(&store, &config), 0);
        cr_assert_eq(pwrite(store.fd, &closed, 4, offsetof(struct mh_shm_header, state)), 4);
        cr_expect_eq(store_check(&store), -EBADMSG);
        store_discard(&store, false);

        cr_assert_eq(store_create(&store, &config), 0);
        cr_assert_eq(ftruncate(store.fd, (off_t)store.segment.total_size - 1), 0);
        cr_expect_eq(store_check(&store), -EIO);
        cr_expect(!sigbus_hit(), "seen before it was touched");
        cr_assert_eq(ftruncate(store.fd, 0), 0);
        cr_expect_eq(store_check(&store), -EIO);
        skip_under("valgrind", "does not keep registers exact at a fault that is returned from");
        (void)*(volatile uint64_t *)&store.segment.header->magic;
        cr_expect(sigbus_hit());
        cr_expect_eq(store_check(&store), -EIO);
        store_discard(&store, false);
        cr_expect(!sigbus_hit());
}
