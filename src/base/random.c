/* SPDX-License-Identifier: MIT */

#include "base/random.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#ifndef GRND_INSECURE
#define GRND_INSECURE 0x0004
#endif

int random_bytes(void *buffer, size_t size)
{
        unsigned flags = GRND_NONBLOCK;
        unsigned char *p = buffer;

        assert(buffer || size == 0);

        while (size > 0) {
                ssize_t n = getrandom(p, size, flags);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN && flags == GRND_NONBLOCK) {
                        flags = GRND_INSECURE;
                        continue;
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO;
                p += n;
                size -= (size_t)n;
        }
        return 0;
}

int random_u64(uint64_t *ret)
{
        uint64_t value;
        int r;

        assert(ret);

        r = random_bytes(&value, sizeof(value));
        if (r < 0)
                return r;
        *ret = value;
        return 0;
}
