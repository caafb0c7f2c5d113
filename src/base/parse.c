/* SPDX-License-Identifier: MIT */

#include "base/parse.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

/* The digits at the start of `s`; `ret_rest` is what follows them. */
static int parse_digits(const char *s, uint64_t *ret, const char **ret_rest)
{
        uint64_t value = 0;
        const char *p;

        for (p = s; *p >= '0' && *p <= '9'; p++)
                if (mul_u64(value, 10, &value) < 0 || add_u64(value, (uint64_t)(*p - '0'), &value) < 0)
                        return -ERANGE;
        if (p == s)
                return -EINVAL;
        *ret = value;
        *ret_rest = p;
        return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
        const char *rest;
        uint64_t value;
        int r;

        assert(s && ret);

        r = parse_digits(s, &value, &rest);
        if (r < 0)
                return r;
        if (*rest)
                return -EINVAL;
        if (value < min || value > max)
                return -ERANGE;
        *ret = value;
        return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
        static const char units[] = "kmgtpe";
        const char *rest, *unit;
        uint64_t value;
        int r;

        assert(s && ret);

        r = parse_digits(s, &value, &rest);
        if (r < 0)
                return r;
        if (*rest) {
                unit = strchr(units, *rest | 0x20);
                if (!unit || rest[1])
                        return -EINVAL;
                if (mul_u64(value, UINT64_C(1) << (10 * (unit - units + 1)), &value) < 0)
                        return -ERANGE;
        }
        *ret = value;
        return 0;
}

/* "5" of "0.5" of a unit: digits after a point, rounded down to a microsecond. The point alone is nothing. */
static int parse_fraction(const char *s, uint64_t unit, uint64_t *ret, const char **ret_rest)
{
        uint64_t value = 0, place = unit;
        const char *p;

        for (p = s; *p >= '0' && *p <= '9'; p++) {
                /* A unit of a day has less than 2^37 us, so the sums stay far below 2^64. */
                value += place * (uint64_t)(*p - '0') / 10;
                place /= 10;
        }
        if (p == s)
                return -EINVAL;
        *ret = value;
        *ret_rest = p;
        return 0;
}

int parse_duration(const char *s, uint64_t *ret_usec)
{
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                { "", UINT64_C(1000000) },      { "us", UINT64_C(1) },         { "ms", UINT64_C(1000) },
                { "s", UINT64_C(1000000) },     { "min", UINT64_C(60000000) }, { "h", UINT64_C(3600000000) },
                { "d", UINT64_C(86400000000) },
        };
        uint64_t value, fraction = 0;
        const char *unit, *rest;
        int r;

        assert(s && ret_usec);

        if (strcmp(s, "infinity") == 0) {
                *ret_usec = PARSE_INFINITY;
                return 0;
        }

        r = parse_digits(s, &value, &rest);
        if (r < 0)
                return r;
        unit = *rest == '.' ? rest + 1 + strspn(rest + 1, "0123456789") : rest;
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (strcmp(unit, units[i].name) != 0)
                        continue;
                if (*rest == '.' && parse_fraction(rest + 1, units[i].usec, &fraction, &rest) < 0)
                        return -EINVAL;
                /* Not the largest number either: it means infinity, and whoever wrote digits did not. */
                if (mul_u64(value, units[i].usec, &value) < 0 || add_u64(value, fraction, &value) < 0 ||
                    value == PARSE_INFINITY)
                        return -ERANGE;
                *ret_usec = value;
                return 0;
        }
        return -EINVAL;
}
