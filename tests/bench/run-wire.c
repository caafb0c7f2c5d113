/* SPDX-License-Identifier: MIT */

/*
 * A request over the wire, and a bare ping-pong of packets of the same sizes: New and Close in turns, as one
 * measures a server. All three processes are tied to one core, so that no time goes by in waking up another one.
 */

#include "measure.h"
#include "packets.h"
#include "pass.h"

static void requests(void *ctx, unsigned n)
{
        for (unsigned i = 0; i < n; i += 2)
                packets_new_close(ctx);
}

static void against(const char *key, Packets *ours, bool with_epoll)
{
        StageChild echo;
        Packets theirs;

        if (!pass_wants(key))
                return;
        packets_echo_start(&echo, &theirs, with_epoll);
        stage_pin(echo.pid, 0);
        measure(key, (Side){ requests, ours, 2 }, (Side){ requests, &theirs, 2 });
        packets_close(&theirs);
        stage_child_kill(&echo);
}

void run_wire(void)
{
        StageDaemon daemon;
        Packets ours;

        if (!pass_wants("wire") && !pass_wants("wire_epoll"))
                return;
        stage_daemon_start(&daemon, NULL);
        CHECK(packets_attach(&ours, daemon.socket), "Hello");
        stage_pin(0, 0);
        stage_pin(daemon.pid, 0);
        against("wire", &ours, false);
        against("wire_epoll", &ours, true);
        packets_close(&ours);
        stage_daemon_stop(&daemon);
        stage_unpin(0);
}
