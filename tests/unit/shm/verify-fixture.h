/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A crafted segment, and what a look at it finds.
 */

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "shm/verify-rules.h"
#include "shm/verify.h"
#include "tools/craft.h"

#define REST (VERIFY_AT_REST | VERIFY_NO_DEAD)

typedef struct Seen {
        unsigned count[RULE_COUNT];
        unsigned strange;
} Seen;

static inline Rule find_rule(const char *name)
{
        for (unsigned i = 0; i < RULE_COUNT; i++)
                if (strcmp(rule_name((Rule)i), name) == 0)
                        return (Rule)i;
        return RULE_COUNT;
}

static inline void count(const VerifyFinding *f, void *userdata)
{
        Seen *seen = userdata;
        Rule rule = find_rule(f->rule);

        if (rule == RULE_COUNT || !*f->text || strchr(f->text, '%') || strchr(f->text, '#'))
                seen->strange++;
        else
                seen->count[rule]++;
}

static inline void show(const VerifyFinding *f, void *userdata)
{
        (void)fprintf(stderr, "# %s: %s\n", f->rule, f->text);
}

static inline void make(Craft *c)
{
        int fd = memfd_create("verify", MFD_CLOEXEC);

        cr_assert_geq(fd, 0);
        cr_assert_eq(craft_world(c, fd, 0), 0);
}

static inline void drop(Craft *c)
{
        c->fd = fd_close(c->fd);
}
