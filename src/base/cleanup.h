/* SPDX-License-Identifier: MIT */
#pragma once

/* Ownership and plain arithmetic.
 *
 * A variable that owns something says so where it is declared: `_cleanup_close_ int fd = -1;`. It gives the thing up
 * with TAKE_FD(), TAKE_PTR() or STEAL(), which leave the empty value behind, so every way out of a function is right,
 * and nothing needs a label at its end.
 *
 * None of the clean-ups changes errno: they run between the failing call and the one who reads the reason.
 *
 * The arithmetic at the end is for numbers that come from elsewhere: it answers -EOVERFLOW where C would wrap. */

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_       __attribute__((unused))

#define ELEMENTSOF(x)                                                                           \
        (__builtin_choose_expr(!__builtin_types_compatible_p(__typeof__(x), __typeof__(&*(x))), \
                               sizeof(x) / sizeof((x)[0]), (void)0))

/* Arguments once each, and of one type: no silent conversion between signed and unsigned. */
#define MIN(a, b)                                  \
        ({                                         \
                const __typeof__(a) _min_a = (a);  \
                const __typeof__(b) _min_b = (b);  \
                (void)(&_min_a == &_min_b);        \
                _min_a < _min_b ? _min_a : _min_b; \
        })
#define MAX(a, b)                                  \
        ({                                         \
                const __typeof__(a) _max_a = (a);  \
                const __typeof__(b) _max_b = (b);  \
                (void)(&_max_a == &_max_b);        \
                _max_a > _max_b ? _max_a : _max_b; \
        })

/* Evaluates to what the variable holds, and leaves `empty` in it. */
#define STEAL(var, empty)                             \
        ({                                            \
                __typeof__(var) *_steal_p = &(var);   \
                __typeof__(var) _steal_v = *_steal_p; \
                *_steal_p = (empty);                  \
                _steal_v;                             \
        })
#define TAKE_PTR(p) STEAL(p, NULL)
#define TAKE_FD(fd) STEAL(fd, -1)

/* `DEFINE_CLEANUP(Foo *, foo_free)` makes foo_freep(), which skips a NULL, for `_cleanup_(foo_freep) Foo *f = NULL`. */
#define DEFINE_CLEANUP(type, function)          \
        static inline void function##p(type *p) \
        {                                       \
                int saved = errno;              \
                if (*p)                         \
                        (void)function(*p);     \
                errno = saved;                  \
        }

DEFINE_CLEANUP(FILE *, fclose)
DEFINE_CLEANUP(DIR *, closedir)

static inline void cleanup_free(void *p)
{
        int saved = errno;

        free(*(void **)p);
        errno = saved;
}

static inline void cleanup_close(int *fd)
{
        *fd = fd_close(*fd);
}

static inline void cleanup_discard(int *fd)
{
        fd_discard(*fd);
}

#define _cleanup_free_     _cleanup_(cleanup_free)
#define _cleanup_close_    _cleanup_(cleanup_close)
#define _cleanup_discard_  _cleanup_(cleanup_discard)
#define _cleanup_fclose_   _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)

/* Rounds up to a multiple of `to`, a power of two, where both are known to be small: constants, sizes of structs. */
#define ALIGN_UP(x, to) (((x) + ((to)-1)) & ~((__typeof__(x))(to)-1))

static inline int add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
        uint64_t sum;

        if (__builtin_add_overflow(a, b, &sum))
                return -EOVERFLOW;
        *ret = sum;
        return 0;
}

static inline int mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
        uint64_t product;

        if (__builtin_mul_overflow(a, b, &product))
                return -EOVERFLOW;
        *ret = product;
        return 0;
}
