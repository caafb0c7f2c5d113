/* SPDX-License-Identifier: MIT */

#include "pass.h"

#include <stdarg.h>
#include <string.h>

#include "stage.h"

Pass the_pass;

/* A key is "asked for" by its own name; a prefix, if a key that begins with it is. */
bool pass_wants(const char *prefix)
{
        const char *at = the_pass.only;

        if (!at)
                return true;
        while (*at) {
                if (strncmp(at, prefix, strlen(prefix)) == 0) {
                        char after = at[strlen(prefix)];

                        if (after == '\0' || after == ',' || prefix[strlen(prefix) - 1] == '_')
                                return true;
                }
                at += strcspn(at, ",");
                at += *at == ',';
        }
        return false;
}

void pass_begin(const char *key)
{
        (void)fprintf(the_pass.out, "key %s\n", key);
        (void)fflush(the_pass.out);
}

void pass_sample(const char *key, double ours, double peer)
{
        (void)fprintf(the_pass.out, "sample %s %.6g %.6g\n", key, ours, peer);
}

void pass_skip(const char *key, const char *reason, ...)
{
        va_list ap;

        if (!pass_wants(key))
                return;
        (void)fprintf(the_pass.out, "skip %s ", key);
        va_start(ap, reason);
        (void)vfprintf(the_pass.out, reason, ap);
        va_end(ap);
        (void)fputc('\n', the_pass.out);
        (void)fflush(the_pass.out);
}

void pass_run(void)
{
        run_handles();
        run_scratch();
        run_wire();
        run_reap();
        run_grow();
        run_restart();
        (void)fputs("done\n", the_pass.out);
        if (fflush(the_pass.out) != 0)
                die("nobody listens");
}
