/* SPDX-License-Identifier: MIT */

#include "lib/strv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/cleanup.h"

#define WORD sizeof(uint64_t)

static uint64_t strv_count(const char *const *strv)
{
        uint64_t n = 0;

        while (strv[n])
                n++;
        return n;
}

int strv_packed_size(const char *const *strv, size_t *ret)
{
        uint64_t n = strv_count(strv), size = (n + 1) * WORD;

        for (uint64_t i = 0; i < n; i++)
                if (add_u64(size, strlen(strv[i]) + 1, &size) < 0)
                        return -EOVERFLOW;
        *ret = size;
        return 0;
}

int strv_pack(const char *const *strv, void *block, size_t size)
{
        uint64_t n = strv_count(strv), at = (n + 1) * WORD, *words = block;

        if (at > size)
                return -EINVAL;
        words[0] = n;
        for (uint64_t i = 0; i < n; i++) {
                size_t length = strlen(strv[i]) + 1;

                if (length > size - at)
                        return -EINVAL;
                words[i + 1] = at;
                memcpy((char *)block + at, strv[i], length);
                /* Whatever the string has become, here it ends. */
                ((char *)block)[at + length - 1] = 0;
                at += length;
        }
        return 0;
}

int strv_unpack(const void *block, size_t size, char ***ret)
{
        _cleanup_free_ void *copy = NULL;
        uint64_t n, *words;
        char **pointers;

        /* Relaxed: this is for the bound of the copy alone; what counts is the count in the copy. */
        if (size < WORD || load_relaxed((const uint64_t *)block) > size / WORD - 1)
                return -EBADMSG;
        copy = malloc(size);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, block, size);

        words = copy;
        n = words[0];
        if (n > size / WORD - 1)
                return -EBADMSG;

        /* In place: word i + 1 is read, and word i, which is not needed any more, becomes a pointer. The last becomes
         * NULL. */
        pointers = copy;
        for (uint64_t i = 0; i < n; i++) {
                uint64_t offset = words[i + 1];

                if (offset < (n + 1) * WORD || offset >= size || !memchr((char *)copy + offset, 0, size - offset))
                        return -EBADMSG;
                pointers[i] = (char *)copy + offset;
        }
        pointers[n] = NULL;
        *ret = (char **)TAKE_PTR(copy);
        return 0;
}
