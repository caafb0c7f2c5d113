/* SPDX-License-Identifier: MIT */

/*
 * The ways into a client that are not the fast one.
 */

#include "lib/client.h"

#include "lib/call.h"
#include "lib/deadline.h"

/*
 * The operations do not need the daemon, so they would not notice that it is gone; but somebody must be there to reap the
 * dead, and to start one is our business where no service manager does it. So now and then an operation looks whether the
 * connection still stands. It waits for nobody longer than this, and the less often the longer it was in vain.
 */
#define LOOK_PATIENCE  (DEADLINE_SECOND / 10)
#define LOOK_PAUSE_MIN DEADLINE_SECOND
#define LOOK_PAUSE_MAX (16 * DEADLINE_SECOND)

static void look_after(mh_client *c)
{
        /*
         * Relaxed: of the threads that are due one shall win, by the compare-and-swap; what it does, it does in its
         * turn.
         */
        uint64_t at = load_relaxed(&c->look_at), now = deadline_now(), pause;

        if (now < at || !cas_relaxed(&c->look_at, &at, UINT64_MAX))
                return;
        pause = load_relaxed(&c->look_pause);
        pause = call_look(c, deadline_in(LOOK_PATIENCE)) < 0 ? MIN(2 * pause, LOOK_PAUSE_MAX) : LOOK_PAUSE_MIN;
        store_relaxed(&c->look_pause, pause);
        store_relaxed(&c->look_at, deadline_in(pause));
}

int client_enter_slowly(mh_client *c, Actor **ret)
{
        BORDER;
        int r = client_check(c);

        if (r < 0)
                return r;
        if (!c->mapped)
                return 0;
        if (direct_is_due(&c->direct))
                look_after(c);
        if (!client_is_direct(c))
                return 0;
        *ret = direct_enter_anyhow(&c->direct);
        return 1;
}

int client_no_memory(const mh_client *c, bool valid)
{
        return !valid ? -EINVAL : c->mapped ? -ESTALE : -ENOMEM;
}

void client_set_direct(mh_client *c, bool on)
{
        /* Relaxed: before anybody else has the client, or to end what goes on; a thread that sees it late does one operation more. */
        store_relaxed(&c->look_pause, LOOK_PAUSE_MIN);
        store_relaxed(&c->look_at, deadline_in(LOOK_PAUSE_MIN));
        store_relaxed(&fork_head(c)->word, on ? c->direct.serial : 0);
}
