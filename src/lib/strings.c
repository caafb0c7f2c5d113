/* SPDX-License-Identifier: MIT */

/*
 * Data, strings and arrays of strings in scratch memory.
 */

#include <string.h>

#include "lib/client.h"
#include "lib/strv.h"

/* A block of ours, and where it is. */
static int take_and_find(mh_client *c, size_t size, mh_scratch *ret, void **ret_data)
{
        int r;

        /* Before anything is taken. */
        if (!c->mapped)
                return -ENOMEM;
        r = mh_scratch_alloc(c, size, ret);
        if (r < 0)
                return r;
        /* Not there, a moment after we got it: whoever freed it, it is not ours to free any more. */
        return mh_scratch_data(c, *ret, ret_data, NULL);
}

static int store(mh_client *c, const void *data, size_t size, mh_scratch *ret)
{
        mh_scratch s;
        void *p;
        int r;

        r = take_and_find(c, size, &s, &p);
        if (r < 0)
                return r;
        memcpy(p, data, size);
        *ret = s;
        return 0;
}

int mh_scratch_store(mh_client *c, const void *data, size_t size, mh_scratch *ret)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!data || !size || !ret)
                return -EINVAL;
        return store(c, data, size, ret);
}

int mh_scratch_store_string(mh_client *c, const char *string, mh_scratch *ret)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!string || !ret)
                return -EINVAL;
        return store(c, string, strlen(string) + 1, ret);
}

int mh_scratch_get_string(mh_client *c, mh_scratch s, const char **ret)
{
        BORDER;
        size_t size;
        void *p;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret)
                return -EINVAL;
        r = mh_scratch_data(c, s, &p, &size);
        if (r < 0)
                return r;
        if (!memchr(p, 0, size))
                return -EBADMSG;
        *ret = p;
        return 0;
}

int mh_scratch_store_strv(mh_client *c, const char *const *strv, mh_scratch *ret)
{
        BORDER;
        mh_scratch s;
        size_t size;
        void *p;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!strv || !ret)
                return -EINVAL;
        r = strv_packed_size(strv, &size);
        if (r < 0)
                return -EINVAL;
        r = take_and_find(c, size, &s, &p);
        if (r < 0)
                return r;
        r = strv_pack(strv, p, size);
        if (r < 0) {
                (void)mh_scratch_free(c, s);
                return r;
        }
        *ret = s;
        return 0;
}

int mh_scratch_get_strv(mh_client *c, mh_scratch s, char ***ret)
{
        BORDER;
        size_t size;
        void *p;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!ret)
                return -EINVAL;
        r = mh_scratch_data(c, s, &p, &size);
        return r < 0 ? r : strv_unpack(p, size, ret);
}
