/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "ctl/text.h"
#include "shm/place.h"

Test(text, escape)
{
        char buffer[TEXT_MAX], all[256], longest[TEXT_MAX * 2];

        cr_assert_str_eq(text_escape(buffer, "plain name", 32), "plain name");
        cr_assert_str_eq(text_escape(buffer, "a\033[31m\n\\b\x7f\xff", 32), "a\\033[31m\\012\\134b\\177\\377");
        cr_assert_str_eq(text_escape(buffer, "", 32), "");
        /* Without a NUL it ends where the field does. */
        cr_assert_str_eq(text_escape(buffer, "abcdef", 3), "abc");

        for (size_t i = 0; i < sizeof(all); i++)
                all[i] = (char)(i + 1);
        (void)text_escape(buffer, all, sizeof(all));
        for (const char *p = buffer; *p; p++)
                cr_assert(*p >= 0x20 && *p < 0x7f);

        memset(longest, 1, sizeof(longest));
        cr_assert_lt(strlen(text_escape(buffer, longest, sizeof(longest))), TEXT_MAX);
        memset(longest, 'x', sizeof(longest));
        cr_assert_lt(strlen(text_escape(buffer, longest, sizeof(longest))), TEXT_MAX);
}

Test(text, preview)
{
        char buffer[TEXT_MAX], zeros[64] = {}, longest[TEXT_MAX * 2];

        cr_assert_str_eq(text_preview(buffer, "hello\1\033\0x\0\0", 11), "hello...x");
        cr_assert_str_eq(text_preview(buffer, zeros, sizeof(zeros)), "");
        cr_assert_str_eq(text_preview(buffer, "abc", 0), "");
        memset(longest, 'x', sizeof(longest));
        cr_assert_eq(strlen(text_preview(buffer, longest, sizeof(longest))), TEXT_MAX - 1);
}

Test(text, hex)
{
        char buffer[TEXT_MAX], longest[TEXT_MAX * 2] = {};

        cr_assert_str_eq(text_hex(buffer, "\0\x7f\xff", 3), "007fff");
        cr_assert_str_eq(text_hex(buffer, "", 0), "");
        cr_assert_eq(strlen(text_hex(buffer, longest, sizeof(longest))), 254);
}

Test(text, time)
{
        char buffer[TEXT_MAX];

        cr_assert_eq(setenv("TZ", "UTC", 1), 0);
        tzset();
        cr_assert_str_eq(text_time(buffer, UINT64_C(1700000000123456)), "2023-11-14T22:13:20+0000");
        cr_assert_str_eq(text_time(buffer, 0), "");
        cr_assert_str_eq(text_time(buffer, UINT64_MAX), "");
}

Test(text, type)
{
        char buffer[TEXT_MAX];

        cr_assert_str_eq(text_type(buffer, 1), "file");
        cr_assert_str_eq(text_type(buffer, 10), "pipe");
        cr_assert_str_eq(text_type(buffer, 0), "0");
        cr_assert_str_eq(text_type(buffer, 11), "11");
        cr_assert_str_eq(text_type(buffer, 255), "255");
}

Test(text, alive)
{
        struct mh_shm_shared here = {}, elsewhere = {};
        ProcessPlace place;
        uint64_t started;
        pid_t pid;

        process_place(&place);
        place_write(&here, &place);
        place.pid_namespace++;
        place_write(&elsewhere, &place);
        cr_assert_eq(process_start_time(getpid(), &started), 0);
        cr_assert_str_eq(text_alive(&here, (uint32_t)getpid(), started), "yes");
        /* Another process with that number. */
        cr_assert_str_eq(text_alive(&here, (uint32_t)getpid(), started + 1), "no");
        cr_assert_str_eq(text_alive(&here, (uint32_t)getpid(), 0), "unknown");
        cr_assert_str_eq(text_alive(&here, 0, started), "unknown");
        cr_assert_str_eq(text_alive(&here, UINT32_MAX, started), "unknown");
        cr_assert_str_eq(text_alive(&elsewhere, (uint32_t)getpid(), started), "unknown");
        cr_assert_str_eq(text_alive(&elsewhere, (uint32_t)getpid(), started + 1), "unknown");
        cr_assert_str_eq(text_alive(&(struct mh_shm_shared){}, (uint32_t)getpid(), started), "yes",
                         "nobody said where");

        pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0)
                _exit(0);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
        cr_assert_str_eq(text_alive(&here, (uint32_t)pid, 1), "no");
}
