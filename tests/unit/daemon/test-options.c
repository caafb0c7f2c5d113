/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "daemon/options.h"

/* Every option that takes a value, one that it may have, and how the help writes its variable. */
static const struct {
        const char *option, *variable, *good, *bad;
} all[] = {
        { "--socket", "MONO_HANDLE_D_SOCKET", "/tmp/s", NULL },
        { "--idle-timeout", "MONO_HANDLE_D_IDLE_TIMEOUT", "0.5s", "soon" },
        { "--hello-timeout", "MONO_HANDLE_D_HELLO_TIMEOUT", "infinity", "-1" },
        { "--connections", "MONO_HANDLE_D_CONNECTIONS", "1", "0" },
        { "--handles", "MONO_HANDLE_D_HANDLES", "512", "511" },
        { "--clients", "MONO_HANDLE_D_CLIENTS", "4096", "4097" },
        { "--scratch", "MONO_HANDLE_D_SCRATCH", "1T", "65535" },
        { "--client-handles", "MONO_HANDLE_D_CLIENT_HANDLES", "7", "0" },
        { "--client-scratch", "MONO_HANDLE_D_CLIENT_SCRATCH", "4K", "much" },
        { "--sweep", "MONO_HANDLE_D_SWEEP", "no", "maybe" },
        { "--log-level", "MONO_HANDLE_D_LOG_LEVEL", "debug", "loud" },
        { "--log-target", "MONO_HANDLE_D_LOG_TARGET", "stderr", "printer" },
};

/* What the last call printed. */
static char *out, *err;

static void clean_environment(void)
{
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                (void)unsetenv(all[i].variable);
        (void)setenv("XDG_RUNTIME_DIR", "/run/user/4711", 1);
}

TestSuite(options, .init = clean_environment);

/* Arguments after the program's name, NULL at the end. */
static int parse(Options *o, const char *const *arguments)
{
        char *argv[16] = { (char *)"mono_handle_d" };
        size_t out_size, err_size;
        FILE *fout, *ferr;
        int argc = 1, r;

        for (; arguments && arguments[argc - 1]; argc++)
                argv[argc] = (char *)arguments[argc - 1];
        free(out);
        free(err);
        fout = open_memstream(&out, &out_size);
        ferr = open_memstream(&err, &err_size);
        r = options_parse(o, argc, argv, fout, ferr);
        (void)fclose(fout);
        (void)fclose(ferr);
        return r;
}

#define PARSE(o, ...) parse(o, (const char *const[]){ __VA_ARGS__, NULL })

Test(options, defaults)
{
        struct statvfs fs;
        Options o;

        cr_assert_eq(parse(&o, NULL), OPTIONS_RUN);
        cr_assert_str_eq(o.socket, "/run/user/4711/mono-handle-d/socket");
        cr_assert_eq(o.idle_timeout_usec, 60000000);
        cr_assert_eq(o.hello_timeout_usec, 10000000);
        cr_assert_eq(o.connections, 4096);
        cr_assert_eq(o.segment.n_slots, 1 << 20);
        cr_assert_eq(o.segment.n_clients, 1024);
        cr_assert_eq(o.segment.limit_client_handles, 1 << 20);
        cr_assert_eq(o.segment.limit_client_scratch, o.segment.scratch_bytes);
        cr_assert_eq(o.segment.first_generation, 0);
        cr_assert(o.sweep);
        cr_assert_eq(o.log_level, LOG_INFO);
        cr_assert_eq(o.log_target, LOG_TARGET_AUTO);

        cr_assert_eq(o.segment.scratch_bytes % 65536, 0);
        cr_assert_geq(o.segment.scratch_bytes, 65536);
        if (statvfs("/dev/shm", &fs) >= 0 && fs.f_blocks > 64)
                cr_assert_leq(o.segment.scratch_bytes, fs.f_blocks * fs.f_frsize / 2);
        cr_assert_str_empty(out);
        cr_assert_str_empty(err);
}

Test(options, each_by_command_line_in_both_spellings)
{
        char joined[128];
        Options o;

        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                cr_assert_eq(PARSE(&o, all[i].option, all[i].good), OPTIONS_RUN, "%s: %s", all[i].option, err);
                (void)snprintf(joined, sizeof(joined), "%s=%s", all[i].option, all[i].good);
                cr_assert_eq(PARSE(&o, joined), OPTIONS_RUN, "%s", err);
                cr_assert_str_empty(err);
        }
}

Test(options, values_arrive)
{
        Options o;

        cr_assert_eq(PARSE(&o, "--socket=/tmp/s", "--idle-timeout=0", "--hello-timeout=infinity", "--connections=7",
                           "--handles=1024", "--clients=2", "--scratch=128K", "--client-handles=9",
                           "--client-scratch=64K", "--sweep=no", "--log-level=4", "--log-target=journal"),
                     OPTIONS_RUN);
        cr_assert_str_eq(o.socket, "/tmp/s");
        cr_assert_eq(o.idle_timeout_usec, 0);
        cr_assert_eq(o.hello_timeout_usec, PARSE_INFINITY);
        cr_assert_eq(o.connections, 7);
        cr_assert_eq(o.segment.n_slots, 1024);
        cr_assert_eq(o.segment.n_clients, 2);
        cr_assert_eq(o.segment.scratch_bytes, 128 << 10);
        cr_assert_eq(o.segment.limit_client_handles, 9);
        cr_assert_eq(o.segment.limit_client_scratch, 64 << 10);
        cr_assert(!o.sweep);
        cr_assert_eq(o.log_level, LOG_WARNING);
        cr_assert_eq(o.log_target, LOG_TARGET_JOURNAL);
}

Test(options, environment_and_who_wins)
{
        Options o;

        cr_assert_eq(setenv("MONO_HANDLE_D_HANDLES", "2048", 1), 0);
        cr_assert_eq(setenv("MONO_HANDLE_D_CLIENTS", "", 1), 0);
        cr_assert_eq(setenv("MONO_HANDLE_D_SOCKET", "/tmp/environment", 1), 0);
        cr_assert_eq(setenv("MONO_HANDLE_D_LOG_LEVEL", "err", 1), 0);
        cr_assert_eq(PARSE(&o, "--socket", "/tmp/arguments"), OPTIONS_RUN);
        cr_assert_eq(o.segment.n_slots, 2048);
        cr_assert_eq(o.segment.n_clients, 1024, "empty is not set");
        cr_assert_str_eq(o.socket, "/tmp/arguments");
        cr_assert_eq(o.log_level, LOG_ERR);

        cr_assert_eq(PARSE(&o, "--handles=512", "--handles=1024"), OPTIONS_RUN);
        cr_assert_eq(o.segment.n_slots, 1024, "the last one");
        cr_assert_str_eq(o.socket, "/tmp/environment");
}

Test(options, wrong_values_name_who_has_them)
{
        char dollar[64];
        Options o;

        memset(&o, 0x5a, sizeof(o));
        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                if (!all[i].bad)
                        continue;
                cr_assert_eq(PARSE(&o, all[i].option, all[i].bad), -EINVAL, "%s", all[i].option);
                cr_assert_not_null(strstr(err, all[i].option), "%s", err);
                cr_assert_not_null(strstr(err, all[i].bad), "%s", err);
                cr_assert_null(strchr(err, '$'), "%s", err);

                cr_assert_eq(setenv(all[i].variable, all[i].bad, 1), 0);
                cr_assert_eq(parse(&o, NULL), -EINVAL, "%s", all[i].variable);
                (void)snprintf(dollar, sizeof(dollar), "$%s", all[i].variable);
                cr_assert_not_null(strstr(err, dollar), "%s", err);
                cr_assert_not_null(strstr(err, all[i].bad), "%s", err);
                cr_assert_eq(unsetenv(all[i].variable), 0);
                cr_assert_str_empty(out);
        }
        cr_assert_eq(o.socket[0], 0x5a, "untouched on failure");
        cr_assert_eq(o.log_level, 0x5a5a5a5a);
}

Test(options, wrong_arguments)
{
        static const char *const wrong[] = { "stray",     "-x",  "--",           "--no-such",     "--idle",
                                             "--help=1",  "-",   "--handles=",   "--handles",     "--sockets=/x",
                                             "---socket", "--=", "--version=no", "--Handles=512", "-idle-timeout" };
        Options o;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                cr_assert_eq(PARSE(&o, wrong[i]), -EINVAL, "%s", wrong[i]);
                cr_assert_str_not_empty(err);
                cr_assert_not_null(strchr(err, '\n'));
                cr_assert_eq(strchr(err, '\n')[1], '\0', "one line");
                cr_assert_str_empty(out);
        }
        cr_assert_eq(PARSE(&o, "--socket=/tmp/s", "stray"), -EINVAL);
        cr_assert_eq(OPTIONS_EXIT_WRONG, 2);
}

Test(options, bounds_and_rounding)
{
        Options o;

        cr_assert_eq(PARSE(&o, "--handles=513", "--scratch=65537"), OPTIONS_RUN);
        cr_assert_eq(o.segment.n_slots, 1024);
        cr_assert_eq(o.segment.scratch_bytes, 131072);
        cr_assert_eq(PARSE(&o, "--handles=16777216", "--scratch=1T"), OPTIONS_RUN);
        cr_assert_eq(o.segment.n_slots, 1 << 24);
        cr_assert_eq(o.segment.scratch_bytes, UINT64_C(1) << 40);
        cr_assert_eq(PARSE(&o, "--handles=16777217"), -EINVAL);
        cr_assert_eq(PARSE(&o, "--scratch=1099511627777"), -EINVAL);
        cr_assert_eq(PARSE(&o, "--handles=99999999999999999999999"), -EINVAL);
        cr_assert_not_null(strstr(err, "from 512 to 16777216"), "%s", err);
        cr_assert_eq(PARSE(&o, "--clients=1"), -EINVAL);
        cr_assert_eq(PARSE(&o, "--connections=65537"), -EINVAL);
        cr_assert_eq(PARSE(&o, "--idle-timeout=99999999999999d"), -EINVAL);

        /* Limits beyond the capacity are the capacity. */
        cr_assert_eq(
                PARSE(&o, "--handles=512", "--client-handles=1000000", "--scratch=64K", "--client-scratch=infinity"),
                OPTIONS_RUN);
        cr_assert_eq(o.segment.limit_client_handles, 512);
        cr_assert_eq(o.segment.limit_client_scratch, 65536);
}

Test(options, socket_paths)
{
        char expected[PATH_MAX], here[PATH_MAX - 8], longest[PATH_MAX + 16];
        Options o;

        cr_assert_not_null(getcwd(here, sizeof(here)));
        (void)snprintf(expected, sizeof(expected), "%s/a/b", here);
        cr_assert_eq(PARSE(&o, "--socket=a/b"), OPTIONS_RUN);
        cr_assert_str_eq(o.socket, expected, "absolute");

        memset(longest, 'x', sizeof(longest) - 1);
        longest[0] = '/';
        longest[sizeof(longest) - 1] = '\0';
        cr_assert_eq(PARSE(&o, "--socket", longest), -EINVAL);

        cr_assert_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
        cr_assert_eq(parse(&o, NULL), -EINVAL);
        cr_assert_not_null(strstr(err, "--socket"));
        cr_assert_not_null(strstr(err, "XDG_RUNTIME_DIR"));
        cr_assert_eq(PARSE(&o, "--socket=/tmp/s"), OPTIONS_RUN);
        cr_assert_eq(setenv("XDG_RUNTIME_DIR", "relative", 1), 0);
        cr_assert_eq(parse(&o, NULL), -EINVAL);
        cr_assert_eq(setenv("XDG_RUNTIME_DIR", longest, 1), 0);
        cr_assert_eq(parse(&o, NULL), -EINVAL);
}

Test(options, help_names_everything)
{
        char option[64], variable[64];
        Options o;

        /* Even where the environment is wrong. */
        cr_assert_eq(setenv("MONO_HANDLE_D_HANDLES", "many", 1), 0);
        cr_assert_eq(PARSE(&o, "--help"), OPTIONS_DONE);
        cr_assert_str_empty(err);
        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                (void)snprintf(option, sizeof(option), "  %s=", all[i].option);
                (void)snprintf(variable, sizeof(variable), "$%s\n", all[i].variable);
                cr_assert_not_null(strstr(out, option), "%s", option);
                cr_assert_not_null(strstr(out, variable), "%s", variable);
        }
        cr_assert_not_null(strstr(out, "--help\n"));
        cr_assert_not_null(strstr(out, "--version\n"));
        cr_assert_not_null(strstr(out, "(default: 60s)"));
        cr_assert_not_null(strstr(out, "(default: 1048576)"));

        /* For a terminal of 80 columns; and no option that this test does not know. */
        for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
                bool known = strncmp(line, "  --", 4) != 0 || strcmp(line, "  --help") == 0 ||
                             strcmp(line, "  --version") == 0;

                cr_assert_leq(strlen(line), 80, "%s", line);
                for (size_t i = 0; i < ELEMENTSOF(all); i++)
                        known |= strncmp(line + 2, all[i].option, strlen(all[i].option)) == 0;
                cr_assert(known, "%s", line);
        }

        cr_assert_eq(PARSE(&o, "-h"), OPTIONS_DONE);
        cr_assert_str_not_empty(out);
        cr_assert_eq(PARSE(&o, "--help", "--no-such"), OPTIONS_DONE);
        cr_assert_eq(PARSE(&o, "--no-such", "--help"), -EINVAL);
}

Test(options, version)
{
        Options o;

        cr_assert_eq(PARSE(&o, "--version"), OPTIONS_DONE);
        cr_assert_str_eq(out, "mono_handle_d " MONO_HANDLE_D_VERSION "\n");
        cr_assert_str_empty(err);
}
