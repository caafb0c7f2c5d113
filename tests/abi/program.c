/* SPDX-License-Identifier: MIT */

/*
 * A program as anybody could write it, against the installed library: plain C, every function once.
 */

#include <monohandle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(expression)                                                                      \
        do {                                                                                   \
                if (!(expression)) {                                                           \
                        (void)fprintf(stderr, "line %d: not so: %s\n", __LINE__, #expression); \
                        exit(EXIT_FAILURE);                                                    \
                }                                                                              \
        } while (0)

static void use_handles(mh_client *c)
{
        unsigned flags = 0;
        mh_handle h = 0;
        size_t size = 0;
        void *payload;
        int type = 0;

        CHECK(mh_new(c, MH_TYPE_MUTEX, &h) == 0 && h != 0);
        CHECK(mh_open(c, h, &type) == 0 && type == MH_TYPE_MUTEX);
        CHECK(mh_payload(c, h, &payload, &size) == 0 && size == MH_PAYLOAD_SIZE);
        memset(payload, 'x', size);
        CHECK(mh_close(c, h, &flags) == 0 && flags == 0);
        CHECK(mh_close(c, h, &flags) == 0 && flags == (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE));
        CHECK(mh_close(c, h, &flags) < 0);
}

static void use_scratch(mh_client *c)
{
        static const char *const words[] = { "one", "two", NULL };
        const char *string = NULL;
        char **strv = NULL;
        mh_scratch s = 0;
        mh_handle h = 0;
        size_t size = 0;
        void *data;

        CHECK(mh_scratch_alloc(c, 1000, &s) == 0 && s != 0);
        CHECK(mh_scratch_data(c, s, &data, &size) == 0 && size >= 1000);
        CHECK((char *)mh_scratch_base(c) + (s & 0xffffffffff) == data);
        memset(data, 'x', size);
        CHECK(mh_scratch_free(c, s) == 0);
        CHECK(mh_scratch_free(c, s) < 0);

        CHECK(mh_scratch_store(c, "data", 4, &s) == 0 && mh_scratch_free(c, s) == 0);
        CHECK(mh_scratch_store_strv(c, words, &s) == 0);
        CHECK(mh_scratch_get_strv(c, s, &strv) == 0 && strcmp(strv[1], "two") == 0 && !strv[2]);
        free(strv);
        CHECK(mh_scratch_free(c, s) == 0);

        CHECK(mh_new(c, MH_TYPE_APPLICATION, &h) == 0);
        CHECK(mh_scratch_store_string(c, "given", &s) == 0);
        CHECK(mh_scratch_give(c, s, h) == 0);
        CHECK(mh_scratch_get_string(c, s, &string) == 0 && strcmp(string, "given") == 0);
        CHECK(mh_scratch_free(c, s) < 0);
        CHECK(mh_close(c, h, NULL) == 0);
        CHECK(mh_scratch_get_string(c, s, &string) < 0);
}

int main(int argc, char *argv[])
{
        mh_client *c = NULL;
        int r;

        CHECK(argc == 2 && strcmp(mh_version(), argv[1]) == 0);
        CHECK(strcmp(mh_type_name(MH_TYPE_EVENT), "event") == 0 && !mh_type_name(MH_TYPE_APPLICATION));

        r = mh_attach(&c, NULL, 0);
        if (r < 0) {
                (void)fprintf(stderr, "mh_attach: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        CHECK(mh_client_id(c) > 0);
        use_handles(c);
        use_scratch(c);
        CHECK(!mh_detach(c));
        return EXIT_SUCCESS;
}
