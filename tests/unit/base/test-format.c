/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>

#include "base/cleanup.h"
#include "base/format.h"
#include "base/parse.h"

#define BUFFER ((char[FORMAT_MAX]){})

Test(format, bytes)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0 B" },
                { 1023, "1023 B" },
                { 1024, "1.0 KiB" },
                { 1024 + 102, "1.0 KiB" },
                { 1024 + 103, "1.1 KiB" },
                { 48 * 1024, "48.0 KiB" },
                { 1024 * 1024 - 1, "1023.9 KiB" },
                { 1024 * 1024, "1.0 MiB" },
                { UINT64_C(5) << 29, "2.5 GiB" },
                { UINT64_C(1) << 40, "1.0 TiB" },
                { UINT64_C(1) << 50, "1.0 PiB" },
                { UINT64_MAX, "15.9 EiB" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                cr_assert_str_eq(format_bytes(BUFFER, cases[i].bytes), cases[i].text);
}

Test(format, sizes_read_back)
{
        static const uint64_t values[] = { 0,          1,         999,
                                           1000,       1023,      1024,
                                           1025,       65536,     1000000,
                                           60000000,   1500000,   UINT64_C(3) << 40,
                                           1 << 20,    1000001,   UINT64_MAX - 1,
                                           3600000000, 15LL << 60 };
        uint64_t v;

        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                cr_assert_eq(parse_size(format_size(BUFFER, values[i]), &v), 0);
                cr_assert_eq(v, values[i]);
        }
        cr_assert_str_eq(format_size(BUFFER, 65536), "64K");
        cr_assert_str_eq(format_size(BUFFER, UINT64_C(2) << 30), "2G");
        cr_assert_str_eq(format_size(BUFFER, 1000), "1000");
        cr_assert_str_eq(format_size(BUFFER, PARSE_INFINITY), "infinity");
}
