/* SPDX-License-Identifier: MIT */

#include <criterion/criterion.h>
#include <errno.h>

#include "base/cleanup.h"
#include "base/parse.h"

typedef struct Case {
        const char *text;
        int r;
        uint64_t value;
} Case;

static const char *const nonsense[] = { "",     " ",     " 1",      "1 ",        "+1",       "-1",  "0x10",
                                        "1..5", "K",     "s",       "1KB",       "1kk",      "1K1", "1x",
                                        "١",    "1\xEB", "infinit", "infinityy", "Infinity", "1 s" };

Test(parse, u64)
{
        static const Case cases[] = {
                { "2", 0, 2 },     { "10", 0, 10 },
                { "007", 0, 7 },   { "1", -ERANGE },
                { "11", -ERANGE }, { "18446744073709551616", -ERANGE },
                { "5K", -EINVAL }, { "99999999999999999999999999", -ERANGE },
        };
        uint64_t v = 42;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                v = 42;
                cr_assert_eq(parse_u64(cases[i].text, 2, 10, &v), cases[i].r, "%s", cases[i].text);
                cr_assert_eq(v, cases[i].r < 0 ? 42 : cases[i].value, "%s", cases[i].text);
        }
        cr_assert_eq(parse_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
        cr_assert_eq(v, UINT64_MAX);
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++)
                cr_assert_eq(parse_u64(nonsense[i], 0, UINT64_MAX, &v), -EINVAL, "%s", nonsense[i]);
        cr_assert_eq(v, UINT64_MAX);
}

Test(parse, size)
{
        static const Case cases[] = {
                { "0", 0, 0 },
                { "65536", 0, 65536 },
                { "64K", 0, 65536 },
                { "64k", 0, 65536 },
                { "3M", 0, UINT64_C(3) << 20 },
                { "2G", 0, UINT64_C(2) << 30 },
                { "1T", 0, UINT64_C(1) << 40 },
                { "5P", 0, UINT64_C(5) << 50 },
                { "15E", 0, UINT64_C(15) << 60 },
                { "16E", -ERANGE },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE },
                { "18014398509481983K", 0, UINT64_C(18014398509481983) << 10 },
                { "18014398509481984K", -ERANGE },
                { "64KiB", -EINVAL },
                { "infinity", -EINVAL },
        };
        uint64_t v;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                v = 42;
                cr_assert_eq(parse_size(cases[i].text, &v), cases[i].r, "%s", cases[i].text);
                cr_assert_eq(v, cases[i].r < 0 ? 42 : cases[i].value, "%s", cases[i].text);
        }
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++)
                cr_assert_eq(parse_size(nonsense[i], &v), -EINVAL, "%s", nonsense[i]);
}

Test(parse, duration)
{
        static const Case cases[] = {
                { "0", 0, 0 },
                { "60", 0, 60000000 },
                { "60s", 0, 60000000 },
                { "500ms", 0, 500000 },
                { "7us", 0, 7 },
                { "2min", 0, 120000000 },
                { "1h", 0, UINT64_C(3600000000) },
                { "1d", 0, UINT64_C(86400000000) },
                { "infinity", 0, PARSE_INFINITY },
                { "18446744073709551614us", 0, UINT64_MAX - 1 },
                { "18446744073709551615us", -ERANGE },
                { "18446744073709552s", -ERANGE },
                { "18446744073709551616", -ERANGE },
                { "0.2", 0, 200000 },
                { "1.5s", 0, 1500000 },
                { "0.001", 0, 1000 },
                { "0.0000019", 0, 1 },
                { "1.000000", 0, 1000000 },
                { "2.25min", 0, 135000000 },
                { "0.5d", 0, UINT64_C(43200000000) },
                { "0.99999999999999999999999s", 0, 999999 },
                { ".5", -EINVAL },
                { "1.", -EINVAL },
                { "1.s", -EINVAL },
                { "1.5.5", -EINVAL },
                { "1.-5", -EINVAL },
                { "18446744073709.551615s", -ERANGE },
                { "18446744073709.551614s", 0, UINT64_MAX - 1 },
                { "60S", -EINVAL },
                { "1m", -EINVAL },
        };
        uint64_t v;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                v = 42;
                cr_assert_eq(parse_duration(cases[i].text, &v), cases[i].r, "%s", cases[i].text);
                cr_assert_eq(v, cases[i].r < 0 ? 42 : cases[i].value, "%s", cases[i].text);
        }
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++)
                cr_assert_eq(parse_duration(nonsense[i], &v), -EINVAL, "%s", nonsense[i]);
}
