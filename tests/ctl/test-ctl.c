/* SPDX-License-Identifier: MIT */

/* The program as a whole: what it prints, and what it exits with. */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "shm/verify-rules.h"
#include "tools/craft.h"

#define OUT_MAX (1U << 20)

typedef struct Run {
        int code; /* -1: killed */
        char *out, *err;
} Run;

static Craft c;
static char name[64], directory[64], socket_path[128], record_path[160];
static Run last;

/* ---------------------------------------------------------------------------------------------- running it */

static char *read_back(int fd)
{
        char *text = calloc(1, OUT_MAX);

        cr_assert_not_null(text);
        cr_assert_geq(pread(fd, text, OUT_MAX - 1, 0), 0);
        (void)close(fd);
        return text;
}

static int spawn(const char *program, char *const argv[], int in, int out, int err)
{
        posix_spawn_file_actions_t actions;
        int status, r;
        pid_t pid;

        cr_assert_eq(posix_spawn_file_actions_init(&actions), 0);
        cr_assert_eq(posix_spawn_file_actions_adddup2(&actions, in, 0), 0);
        cr_assert_eq(posix_spawn_file_actions_adddup2(&actions, out, 1), 0);
        cr_assert_eq(posix_spawn_file_actions_adddup2(&actions, err, 2), 0);
        r = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (r != 0)
                return -r;
        while (waitpid(pid, &status, 0) < 0)
                cr_assert_eq(errno, EINTR);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void forget(void)
{
        free(last.out);
        free(last.err);
        last = (Run){};
}

/* Arguments separated by blanks. */
static int ctl(const char *arguments)
{
        _cleanup_close_ int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *copy = strdup(arguments);
        const char *program = getenv("MONO_HANDLE_TEST_CTL");
        int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC);
        char *argv[16] = { (char *)(uintptr_t) "mono-handlectl" };
        size_t n = 1;

        cr_assert_not_null(program, "MONO_HANDLE_TEST_CTL is not set");
        for (char *save, *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
                cr_assert_lt(n, ELEMENTSOF(argv) - 1);
                argv[n++] = p;
        }
        forget();
        last.code = spawn(program, argv, in, out, err);
        last.out = read_back(out);
        last.err = read_back(err);
        return last.code;
}

static bool has(const char *text)
{
        return strstr(last.out, text);
}

static bool complains(const char *text)
{
        return strncmp(last.err, "mono-handlectl: ", 16) == 0 && strstr(last.err, text);
}

static unsigned lines(void)
{
        unsigned n = 0;

        for (const char *p = last.out; *p; p++)
                n += *p == '\n';
        return n;
}

/* Says whether what was printed is JSON, by whoever knows. */
static void expect_json(void)
{
        static const char *const jq[] = { "jq", "-e", "type == \"object\"", NULL };
        static const char *const python[] = { "python3", "-m", "json.tool", NULL };
        _cleanup_close_ int in = memfd_create("json", MFD_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        int r;

        cr_assert_eq(write(in, last.out, strlen(last.out)), (ssize_t)strlen(last.out));
        cr_assert_eq(lseek(in, 0, SEEK_SET), 0);
        r = spawn("jq", (char **)(uintptr_t)jq, in, null, null);
        if (r < -1 || r == 127)
                r = spawn("python3", (char **)(uintptr_t)python, in, null, null);
        if (r < -1 || r == 127)
                cr_skip_test("neither jq nor python3 is here to read JSON");
        cr_assert_eq(r, 0, "not JSON: %s", last.out);
}

/* ---------------------------------------------------------------------------------------------- what it looks at */

static void write_record(const char *text)
{
        _cleanup_fclose_ FILE *f = fopen(record_path, "we");

        cr_assert_not_null(f);
        cr_assert_geq(fputs(text, f), 0);
}

static void record(const char *segment_name)
{
        char text[256];
        size_t n = (size_t)snprintf(text, sizeof(text), "%s ", segment_name);

        for (size_t i = 0; i < sizeof(c.seg.id); i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", c.seg.id[i]);
        text[n++] = '\n';
        text[n] = 0;
        write_record(text);
}

static void make(void)
{
        int fd;

        (void)snprintf(directory, sizeof(directory), "/tmp/mono-handlectl-test-XXXXXX");
        cr_assert_not_null(mkdtemp(directory));
        (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        (void)snprintf(record_path, sizeof(record_path), "%s.segment", socket_path);
        (void)snprintf(name, sizeof(name), "/mono-handlectl-test-%s", strrchr(directory, '-') + 1);

        fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        cr_assert_geq(fd, 0);
        cr_assert_eq(craft_world(&c, fd, (uint32_t)getpid()), 0);
        record(name);
        cr_assert_eq(setenv("MONO_HANDLE_D_SOCKET", socket_path, 1), 0);
        cr_assert_eq(setenv("TZ", "UTC", 1), 0);
        cr_assert_eq(setenv("LC_ALL", "C", 1), 0);
}

static void drop(void)
{
        forget();
        c.fd = fd_close(c.fd);
        (void)shm_unlink(name);
        (void)unlink(record_path);
        (void)rmdir(directory);
}

TestSuite(ctl, .init = make, .fini = drop);

/* ---------------------------------------------------------------------------------------------- usage */

Test(ctl, help_and_version)
{
        cr_assert_eq(ctl("--help"), 0);
        cr_assert(has("--noheadings") && has("check") && has("SCRATCHSIZE") && has("Exit status"));
        cr_assert_str_empty(last.err);
        cr_assert_eq(ctl("list -h"), 0);
        cr_assert_eq(ctl("--version"), 0);
        cr_assert(has("mono-handlectl " MONO_HANDLE_D_VERSION "\n"));
}

/* The same table is behind both: each column that --help tells can be asked for. */
Test(ctl, each_column_of_help)
{
        _cleanup_free_ char *help = NULL;
        char command[32] = "", column[32], arguments[96];
        unsigned n = 0;

        cr_assert_eq(ctl("--help"), 0);
        help = strdup(last.out);
        for (char *save, *line = strtok_r(help, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (sscanf(line, "Columns of %31s", command) == 1)
                        continue;
                if (!*command || sscanf(line, "%*1[* ] %31[A-Z]  ", column) != 1 || strlen(column) < 2)
                        continue;
                (void)snprintf(arguments, sizeof(arguments), "%s -o %s", command, column);
                cr_assert_eq(ctl(arguments), 0, "%s: %s", arguments, last.err);
                if (strcmp(command, "check") != 0)
                        cr_assert(has(column), "%s: %s", arguments, last.out);
                n++;
        }
        cr_assert_gt(n, 40);
}

Test(ctl, wrong_usage)
{
        static const char *const wrong[] = {
                "nonsense",          "list clients",    "--nonsense",      "list -o nonsense",
                "list -o",           "list -o ,",       "list -o handle,", "list --json --raw",
                "list --at-rest",    "-s a -S b",       "list -o +x",      "status --socket",
                "clients -o HANDLE", "check -o client", "list -o +",       "check -x",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                cr_assert_eq(ctl(wrong[i]), 2, "%s", wrong[i]);
                cr_assert_str_empty(last.out, "%s", wrong[i]);
                cr_assert_str_not_empty(last.err, "%s", wrong[i]);
        }
}

Test(ctl, full_disk)
{
        _cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC),
                            null = open("/dev/null", O_RDWR | O_CLOEXEC);
        static const char *const argv[] = { "mono-handlectl", "list", NULL };

        cr_assert_geq(full, 0);
        cr_assert_eq(spawn(getenv("MONO_HANDLE_TEST_CTL"), (char **)(uintptr_t)argv, null, full, null), 2);
}

/* ---------------------------------------------------------------------------------------------- finding the segment */

Test(ctl, by_name_by_file_by_socket)
{
        char arguments[256];

        cr_assert_eq(ctl("list"), 0);
        cr_assert_eq(unsetenv("MONO_HANDLE_D_SOCKET"), 0);
        (void)snprintf(arguments, sizeof(arguments), "list --segment %s", name);
        cr_assert_eq(ctl(arguments), 0);
        (void)snprintf(arguments, sizeof(arguments), "list --segment %s", name + 1);
        cr_assert_eq(ctl(arguments), 0);
        (void)snprintf(arguments, sizeof(arguments), "list -S /dev/shm%s", name);
        cr_assert_eq(ctl(arguments), 0);
        (void)snprintf(arguments, sizeof(arguments), "list -s %s", socket_path);
        cr_assert_eq(ctl(arguments), 0);

        cr_assert_eq(setenv("XDG_RUNTIME_DIR", directory, 1), 0);
        cr_assert_eq(ctl("list"), 3);
        cr_assert_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
        cr_assert_eq(ctl("list"), 2);
        cr_assert(complains("XDG_RUNTIME_DIR"));
}

Test(ctl, default_socket)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/mono-handle-d", directory);
        cr_assert_eq(mkdir(path, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/mono-handle-d/socket.segment", directory);
        cr_assert_eq(rename(record_path, path), 0);
        cr_assert_eq(unsetenv("MONO_HANDLE_D_SOCKET"), 0);
        cr_assert_eq(setenv("XDG_RUNTIME_DIR", directory, 1), 0);
        cr_assert_eq(ctl("list"), 0);
        cr_assert_eq(unlink(path), 0);
        *strrchr(path, '/') = 0;
        cr_assert_eq(rmdir(path), 0);
}

Test(ctl, there_is_none)
{
        cr_assert_eq(shm_unlink(name), 0);
        cr_assert_eq(ctl("list"), 3);
        cr_assert(complains("there is no segment"));
        cr_assert_str_empty(last.out);
        cr_assert_eq(unlink(record_path), 0);
        cr_assert_eq(ctl("status"), 3);
        cr_assert(complains("there is no segment"));
        cr_assert_eq(ctl("check --json"), 3);
        cr_assert_str_empty(last.out);
}

Test(ctl, closed_for_good)
{
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, state), MH_SHM_STATE_CLOSED);
        cr_assert_eq(ctl("check"), 3);
        cr_assert(complains("there is no segment"));
}

Test(ctl, cannot_be_read)
{
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, version), 77);
        cr_assert_eq(ctl("check"), 2);
        cr_assert(complains("version 77"));
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, version), MH_SHM_VERSION);
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, state), MH_SHM_STATE_EMPTY);
        cr_assert_eq(ctl("check"), 2);
        cr_assert(complains("never finished"));
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, state), MH_SHM_STATE_READY);
        craft_put32(&c, MH_SHM_REGION_HEADER, offsetof(struct mh_shm_header, n_spans), 77);
        cr_assert_eq(ctl("check"), 2);
        cr_assert(complains("damaged"));
        cr_assert_eq(ftruncate(c.fd, 100), 0);
        cr_assert_eq(ctl("list"), 2);
        cr_assert_eq(ctl("-S /dev/null"), 2);
        cr_assert_eq(ctl("-S /nosuch/file"), 2);
        cr_assert_eq(ctl("-S /nosuchname"), 2);
}

Test(ctl, records_that_are_none)
{
        static const char *const wrong[] = {
                "",
                "\n",
                "/name\n",
                "/name 0123\n",
                "name 00112233445566778899aabbccddeeff\n",
                "/../../etc/passwd 00112233445566778899aabbccddeeff\n",
                "/name 00112233445566778899aabbccddeeff more\n",
                "/name 00112233445566778899aabbccddeeff0\n",
        };
        char other[128];

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                write_record(wrong[i]);
                cr_assert_eq(ctl("list"), 2, "%s", wrong[i]);
                cr_assert(complains("does not name a segment"));
        }
        (void)snprintf(other, sizeof(other), "%s 00112233445566778899aabbccddeeff\n", name);
        write_record(other);
        cr_assert_eq(ctl("list"), 2);
        cr_assert(complains("its id is another"));
        (void)snprintf(other, sizeof(other), "%s 00000000000000000000000000000000\n", name);
        write_record(other);
        cr_assert_eq(ctl("list"), 0);
        cr_assert_eq(unlink(record_path), 0);
        cr_assert_eq(mkfifo(record_path, 0600), 0);
        cr_assert_eq(ctl("list"), 2);
}

/* ---------------------------------------------------------------------------------------------- status */

Test(ctl, status)
{
        uint64_t started;

        cr_assert_eq(ctl("status"), 0);
        cr_assert(has("Clients: 3 of 79\n") && has("Handles: 2 of 1024\n"));
        cr_assert(has("Scratch: 288.1 KiB of 16.0 MiB, in 6 blocks\n"));
        cr_assert(has(" Daemon: not known\n"));
        cr_assert(has(name) && has(socket_path));
        cr_assert_eq(ctl(""), 0);
        cr_assert(has("Clients: 3 of 79\n"));
        cr_assert_eq(ctl("-b"), 0);
        cr_assert(has("Scratch: 295024 of 16777216, in 6 blocks\n"));

        cr_assert_eq(process_start_time(getpid(), &started), 0);
        CRAFT_SHARED(&c, daemon_pid, (uint32_t)getpid());
        craft_put(&c, MH_SHM_REGION_SHARED, offsetof(struct mh_shm_shared, daemon_start_time), started);
        craft_put(&c, MH_SHM_REGION_SHARED, offsetof(struct mh_shm_shared, epoch), 7);
        cr_assert_eq(ctl("status"), 0);
        cr_assert(has(" Daemon: running, pid ") && has(", epoch 7\n"));
        craft_put(&c, MH_SHM_REGION_SHARED, offsetof(struct mh_shm_shared, daemon_start_time), started + 1);
        cr_assert_eq(ctl("status"), 0);
        cr_assert(has(" Daemon: not running (the last one was pid ") && has(", epoch 7)\n"));
        cr_assert_eq(ctl("status -n -r -o daemon,epoch,handles"), 0);
        cr_assert_str_eq(last.out, "no 7 2\n");
}

/* ---------------------------------------------------------------------------------------------- tables */

Test(ctl, clients)
{
        cr_assert_eq(ctl("clients -n -r -o client,name,kind,state,handles,refs,reserved,blocks,scratch,requests,since"),
                     0);
        cr_assert_str_eq(last.out, "1 mapped mapped attached 1 2 0 2 65584 10 2023-11-14T22:13:20+0000\n"
                                   "2 wire wire attached 1 1 0 1 32768 20 2023-11-14T22:13:20+0000\n"
                                   "70 ledger direct attached 1 1 1 0 0 700 2023-11-14T22:13:20+0000\n");
        craft_client_state(&c, CRAFT_WIRE, MH_SHM_CLIENT_DEAD);
        craft_client_state(&c, CRAFT_LEDGER, MH_SHM_CLIENT_ATTACHING);
        cr_assert_eq(ctl("clients -n -r -o client,state"), 0);
        cr_assert_str_eq(last.out, "1 attached\n2 dead\n");
}

Test(ctl, clients_alive)
{
        struct mh_shm_client e = craft_get_entry(&c, CRAFT_MAPPED);

        cr_assert_eq(process_start_time(getpid(), &e.start_time), 0);
        craft_entry(&c, CRAFT_MAPPED, &e);
        e = craft_get_entry(&c, CRAFT_WIRE);
        e.pid = 0;
        craft_entry(&c, CRAFT_WIRE, &e);
        cr_assert_eq(ctl("clients -n -r -o alive"), 0);
        cr_assert_str_eq(last.out, "yes\nunknown\nno\n");
}

Test(ctl, list)
{
        cr_assert_eq(ctl("list -r"), 0);
        cr_assert_str_eq(last.out, "HANDLE TYPE HOLDERS REFS PAYLOAD SCRATCH SCRATCHSIZE\n"
                                   "0x0000000007000000 mutex 1,70 3 hello. 0x670000010090,0x6d0000020090 64\n"
                                   "0x0000000007000001 64 2 1 - 0x640000040000 196608\n");
        cr_assert_eq(ctl("list -n -r -o counts,slot,generation,state"), 0);
        cr_assert_str_eq(last.out, "1:2,70:1 0 7 live\n2:1 1 7 live\n");
        cr_assert_eq(ctl("list"), 0);
        cr_assert(has("1 70") && has("192.0 KiB"));
        cr_assert_eq(ctl("list -n -r -o +slot"), 0);
        cr_assert(has(" 64 0\n"));
        cr_assert_eq(ctl("list -n -o payloadhex"), 0);
        cr_assert(has("68656c6c6f010000"));

        craft_state(&c, CRAFT_LARGE_SLOT, MH_SHM_PHASE_DYING, 64, CRAFT_WIRE);
        craft_state(&c, CRAFT_READY_SLOT, MH_SHM_PHASE_DEAD, 7, CRAFT_LEDGER);
        cr_assert_eq(ctl("list -n -r -o type,state"), 0);
        cr_assert_str_eq(last.out, "mutex live\n64 dying\nsocket dead\n");
}

/* A reference that the block does not name does not count. */
Test(ctl, list_unused_reference)
{
        craft_ref(&c, CRAFT_LARGE_SLOT, 0,
                  ref_make(scratch_make(1, CRAFT_SMALL_SPAN * MH_SHM_SPAN_SIZE), CRAFT_MAPPED));
        cr_assert_eq(ctl("list -n -r -o scratch"), 0);
        cr_assert_str_eq(last.out, "0x670000010090,0x6d0000020090\n0x640000040000\n");
}

Test(ctl, scratch)
{
        cr_assert_eq(ctl("scratch -r -n"), 0);
        cr_assert_str_eq(last.out, "0x10000010000 48 1 - own\n"
                                   "0x670000010090 48 - 0x0000000007000000 -\n"
                                   "0x6d0000020090 16 - 0x0000000007000000 given\n"
                                   "0x10000038000 32768 2 - -\n"
                                   "0x640000040000 196608 - 0x0000000007000001 -\n"
                                   "0x10000080000 65536 1 - -\n");
}

Test(ctl, names_are_escaped)
{
        struct mh_shm_client e = craft_get_entry(&c, CRAFT_MAPPED);

        (void)snprintf(e.name, sizeof(e.name), "\033]0;x\a\"\xff\\ \n");
        craft_entry(&c, CRAFT_MAPPED, &e);
        cr_assert_eq(ctl("clients -n -o name"), 0);
        cr_assert(strstr(last.out, "\\033]0;x\\007\"\\377\\134 \\012\n") == last.out, "%s", last.out);
        memset(e.name, 'y', sizeof(e.name));
        craft_entry(&c, CRAFT_MAPPED, &e);
        cr_assert_eq(ctl("clients -n -o name"), 0);
        cr_assert_eq(strspn(last.out, "y"), sizeof(e.name));
}

/* ---------------------------------------------------------------------------------------------- JSON */

Test(ctl, json)
{
        static const char *const commands[] = {
                "status -J",
                "clients -J",
                "list -J",
                "scratch -J",
                "check -J",
                "list -J -o holders,counts,scratch",
                "clients -J -o +refs,created,destroyed,errors,state",
                "status --json -o size",
        };
        static const char *const lists[] = { "list -J -o holders", "list -J -o counts", "list -J -o scratch" };
        struct mh_shm_client e = craft_get_entry(&c, CRAFT_MAPPED);

        for (size_t i = 0; i < sizeof(e.name) - 1; i++)
                e.name[i] = (char)(i + 1);
        craft_entry(&c, CRAFT_MAPPED, &e);
        craft_write(&c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_LARGE_SLOT, payload), "\"\\\n\x80\xff}", 6);
        /* One that nobody holds and that has nothing: empty lists. */
        craft_state(&c, CRAFT_FREE_SLOT, MH_SHM_PHASE_LIVE, 100, 0);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                (void)ctl(commands[i]);
                cr_assert_str_empty(last.err);
                expect_json();
        }
        cr_assert_eq(ctl("list -J -o holders"), 0);
        cr_assert(has("1, 70"), "%s", last.out);
        cr_assert_not(has("\"1"), "%s", last.out);
        cr_assert(has("\"holders\": []"), "%s", last.out);
        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                cr_assert_eq(ctl(lists[i]), 0);
                expect_json();
                cr_assert(has(": []"), "%s", last.out);
                cr_assert_not(has("null"), "%s", last.out);
        }
        /* What only looks like one, in a string, stays. */
        craft_write(&c, MH_SHM_REGION_SLOTS, CRAFT_SLOT(CRAFT_LARGE_SLOT, payload), "\\\"[null]", 9);
        cr_assert_eq(ctl("list -J -o payload"), 0);
        cr_assert(has("[null]"), "%s", last.out);
        expect_json();
        cr_assert_eq(ctl("status -J -o scratch"), 0);
        cr_assert(has("\"scratch\": 295024"), "%s", last.out);
}

Test(ctl, json_of_nothing)
{
        craft_chunk(&c, 0, 0);
        cr_assert_eq(ctl("list -J"), 0);
        expect_json();
        cr_assert(has("\"list\": ["));
        cr_assert_eq(ctl("list -n"), 0);
        cr_assert_str_empty(last.out);
}

/* ---------------------------------------------------------------------------------------------- check */

Test(ctl, check)
{
        cr_assert_eq(ctl("check"), 0);
        cr_assert_str_eq(last.out, "In order: 3 clients, 2 handles, 6 scratch blocks\n");
        cr_assert_eq(ctl("check --at-rest"), 0);
        cr_assert_eq(ctl("check -r"), 0);
        cr_assert_str_empty(last.out);

        craft_holder(&c, CRAFT_FREE_SLOT, CRAFT_WIRE, true);
        cr_assert_eq(ctl("check -n -o rule"), 1);
        cr_assert_str_eq(last.out, "holder-without-ledger\n");
        cr_assert_eq(ctl("check"), 1);
        cr_assert(has("slot 3: client 2 has its holder bit there"));
        cr_assert_eq(ctl("check -J"), 1);
        expect_json();
        cr_assert(has("\"rule\": \"holder-without-ledger\""));
}

Test(ctl, check_at_rest)
{
        craft_span(&c, CRAFT_FREE_SPAN, MH_SHM_SPAN_ORPHAN, 0, 3);
        cr_assert_eq(ctl("check"), 0);
        cr_assert_eq(ctl("check --at-rest -n -r -o rule"), 1);
        cr_assert_str_eq(last.out, "orphan-empty\n");
}

Test(ctl, check_shows_no_end_of_findings)
{
        static uint64_t ones[MH_SHM_CHUNK_SLOTS];

        for (size_t i = 0; i < ELEMENTSOF(ones); i++)
                ones[i] = (UINT64_C(1) << 16) - 1;
        craft_write(&c, MH_SHM_REGION_HOLDERS, 0, ones, sizeof(ones));
        cr_assert_eq(ctl("check"), 1);
        cr_assert_eq(lines(), 1 + 1000 + 1);
        cr_assert(has("\n... and "));
}

/* ---------------------------------------------------------------------------------------------- garbage */

/* Whatever is in it, each command ends, with something that can be shown. */
Test(ctl, garbage)
{
        static const enum mh_shm_region_id regions[] = {
                MH_SHM_REGION_SHARED,  MH_SHM_REGION_CLIENTS, MH_SHM_REGION_CHUNKS, MH_SHM_REGION_SLOTS,
                MH_SHM_REGION_LEDGERS, MH_SHM_REGION_SPANS,   MH_SHM_REGION_OWNERS, MH_SHM_REGION_SCRATCH,
        };
        static const char *const commands[] = { "status", "clients", "list", "scratch", "check", "check --at-rest" };
        static uint64_t page[512];
        uint64_t x = 88172645463325252;

        for (unsigned round = 0; round < 3; round++) {
                for (size_t i = 0; i < ELEMENTSOF(regions); i++)
                        for (uint64_t at = 0; at < MIN(c.seg.regions[regions[i]].size, UINT64_C(1) << 18); at += 4096) {
                                for (size_t w = 0; w < ELEMENTSOF(page); w++) {
                                        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                                        page[w] = round == 0 ? x : x & (x << 21) & (x >> 17);
                                }
                                craft_write(&c, regions[i], at, page, sizeof(page));
                        }
                for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                        int r = ctl(commands[i]);

                        cr_assert(r == 0 || r == 1, "%s: %d %s", commands[i], r, last.err);
                        for (const char *p = last.out; *p; p++)
                                cr_assert((*p >= 0x20 && *p < 0x7f) || *p == '\n', "%s", commands[i]);
                }
        }
}

/* It maps nothing and writes nothing: the object takes no more memory than before. */
Test(ctl, looking_costs_nothing)
{
        static const char *const commands[] = { "status", "clients", "list", "scratch", "check", "check --at-rest" };
        struct stat before, after;

        cr_assert_eq(fstat(c.fd, &before), 0);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                cr_assert_eq(ctl(commands[i]), 0);
        cr_assert_eq(fstat(c.fd, &after), 0);
        cr_assert_eq(before.st_blocks, after.st_blocks);
        cr_assert_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
        cr_assert_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
