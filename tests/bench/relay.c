/* SPDX-License-Identifier: MIT */

#include "relay.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stage.h"

static void futex_wait(uint32_t *word, uint32_t value)
{
        (void)syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
        (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

Relay *relay_new(void)
{
        return stage_shared(sizeof(Relay));
}

void relay_begin(Relay *r, unsigned n)
{
        unsigned spins = 0;

        r->wanted = n;
        (void)fetch_add_sc(&r->round, 1U);
        futex_wake(&r->round);
        while (load_acquire(&r->awake) != r->round)
                relay_pause(&spins);
}

uint64_t relay_wait(Relay *r)
{
        uint32_t before = r->awake;

        while (load_acquire(&r->round) == before && !relay_is_over(r))
                futex_wait(&r->round, before);
        if (relay_is_over(r))
                return 0;
        store_release(&r->awake, before + 1);
        return r->wanted;
}

void relay_end(Relay *r)
{
        store_release(&r->over, 1U);
        (void)fetch_add_sc(&r->round, 1U);
        futex_wake(&r->round);
}

bool relay_is_over(Relay *r)
{
        return load_acquire(&r->over) != 0;
}
