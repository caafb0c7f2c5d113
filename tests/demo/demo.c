/* SPDX-License-Identifier: MIT */

/*
 * The two processes of './dev run', and an example of how the library is used.
 *
 *   demo first            makes a handle and gives it a string, prints the numbers of both, and waits for a line on its
 *                         standard input; then it reads the string once more and closes the handle
 *   demo second H S       opens the handle, reads the string, takes more for itself, says that it did, and waits to be
 *                         killed
 *
 * What people are to read goes to standard error, what run.sh reads to standard output.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <monohandle.h>

/* What the second process holds besides. */
#define OWN_HANDLES 3
#define OWN_SCRATCH (1024 * 1024)

static const char *role;

/* A call that fails ends this program, which is all that there is to do about it here. */
static void check(int r, const char *what)
{
        if (r < 0) {
                (void)fprintf(stderr, "  [%s] %s: %s\n", role, what, strerror(-r));
                exit(EXIT_FAILURE);
        }
}

static void show_string(mh_client *c, mh_scratch s)
{
        const char *string;

        check(mh_scratch_get_string(c, s, &string), "mh_scratch_get_string");
        (void)fprintf(stderr, "  [%s] the string reads: %s\n", role, string);
}

static void first(void)
{
        unsigned flags;
        mh_client *c;
        mh_scratch s;
        mh_handle h;

        check(mh_attach(&c, NULL, 0), "mh_attach");
        check(mh_new(c, MH_TYPE_EVENT, &h), "mh_new");
        check(mh_scratch_store_string(c, "shared by two, and lost by none", &s), "mh_scratch_store_string");
        /* From here on the string lives as long as the handle, whoever made it. */
        check(mh_scratch_give(c, s, h), "mh_scratch_give");

        (void)fprintf(stderr, "  [first] process %d is client %d, made a handle and gave it a string\n", (int)getpid(),
                      mh_client_id(c));
        printf("%" PRIu64 " %" PRIu64 "\n", h, s);
        (void)fflush(stdout);

        if (getchar() == EOF)
                return;

        show_string(c, s);
        check(mh_close(c, h, &flags), "mh_close");
        (void)fprintf(stderr, "  [first] closed the handle%s\n",
                      flags & MH_CLOSED_EVERYWHERE ? ", and it is gone: nobody else holds it" : "");
        mh_detach(c);
}

static _Noreturn void second(mh_handle h, mh_scratch s)
{
        mh_handle own;
        mh_scratch block;
        mh_client *c;
        int type;

        check(mh_attach(&c, NULL, 0), "mh_attach");
        check(mh_open(c, h, &type), "mh_open");
        (void)fprintf(stderr, "  [second] process %d is client %d, opened the handle, of type %s\n", (int)getpid(),
                      mh_client_id(c), mh_type_name(type));
        show_string(c, s);

        for (int i = 0; i < OWN_HANDLES; i++)
                check(mh_new(c, MH_TYPE_MUTEX, &own), "mh_new");
        check(mh_scratch_alloc(c, OWN_SCRATCH, &block), "mh_scratch_alloc");
        (void)fprintf(stderr, "  [second] took %d handles and %d KiB of scratch memory for itself\n", OWN_HANDLES,
                      OWN_SCRATCH / 1024);
        printf("ready\n");
        (void)fflush(stdout);

        for (;;)
                (void)pause();
}

int main(int argc, char *argv[])
{
        role = argc > 1 ? argv[1] : "";

        if (argc == 2 && strcmp(role, "first") == 0)
                first();
        else if (argc == 4 && strcmp(role, "second") == 0)
                second(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
        else {
                (void)fprintf(stderr, "usage: demo first | demo second HANDLE STRING\n");
                return 2;
        }

        return EXIT_SUCCESS;
}
