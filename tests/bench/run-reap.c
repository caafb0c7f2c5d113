/* SPDX-License-Identifier: MIT */

/*
 * What it costs to clean up after a process that was killed while it held many handles, and what of it stays in the
 * daemon.
 *
 * Both sides are processor time, which does not count the time in which others had the core: that of the daemon, by its own
 * clock, against that of this process, which opens and closes a handle that only another one holds. The daemon's is read
 * before the kill, and again when it sleeps: after it has written that the client is reaped, it still gives back the
 * memory of chunks in which no handle is left, and that is part of what a death costs. So is what it does once for
 * each: to notice it, to write about it.
 */

#include <signal.h>
#include <unistd.h>

#include "handles.h"
#include "measure.h"
#include "pass.h"

typedef struct Victim {
        const StageDaemon *daemon;
        unsigned n;
} Victim;

static void hold_many(int fd, void *ctx)
{
        const Victim *victim = ctx;
        mh_client *c = handles_attach(victim->daemon, 0);
        char ready = 1;

        for (unsigned i = 0; i < victim->n; i++) {
                mh_handle h;

                CHECK(mh_new(c, MH_TYPE_EVENT, &h), "mh_new");
        }
        stage_tell(fd, &ready, sizeof(ready));
        for (;;)
                (void)pause();
}

static double first_open_close(OurHandles *of_others)
{
        unsigned n = the_pass.quick ? 5000 : 100000;
        uint64_t before;

        our_open_close(of_others, n / 8);
        before = stage_cpu_nsec(getpid());
        our_open_close(of_others, n);
        return (double)(stage_cpu_nsec(getpid()) - before) / n;
}

static void reap_one(StageDaemon *d, Victim *victim, OurHandles *of_others)
{
        uint64_t before;
        StageChild child;
        double first;
        char ready;

        stage_child_start(&child, hold_many, victim);
        stage_hear(child.fd, &ready, sizeof(ready));
        stage_wait_idle(d->pid);
        first = first_open_close(of_others);

        before = stage_cpu_nsec(d->pid);
        stage_child_kill(&child);
        stage_daemon_hear(d, "died holding");
        stage_wait_idle(d->pid);
        if (pass_wants("reap"))
                pass_sample("reap", (double)(stage_cpu_nsec(d->pid) - before) / victim->n, first);
}

void run_reap(void)
{
        Victim victim = { .n = the_pass.quick ? 2000 : 100000 };
        OurHandles of_others;
        TheirHandles unused;
        StageDaemon daemon;
        StageChild child;
        Holder holder = { .daemon = &daemon };
        uint64_t kib;

        if (!pass_wants("reap") && !pass_wants("idle_rss_kib"))
                return;
        pass_begin("reap");
        victim.daemon = &daemon;
        stage_daemon_start(&daemon, NULL);
        stage_pin(0, 0);
        holder.table = mt_create(64, 1);
        CHECK(holder.table, "mt_create");
        holder_start(&child, &holder, &of_others, &unused);
        of_others.client = handles_attach(&daemon, 0);
        stage_wait_idle(daemon.pid);
        kib = stage_rss_kib(daemon.pid);

        for (unsigned i = 0; i < (the_pass.quick ? 2 : 6); i++)
                reap_one(&daemon, &victim, &of_others);

        stage_wait_idle(daemon.pid);
        if (stage_rss_kib(daemon.pid) > kib)
                kib = stage_rss_kib(daemon.pid);
        if (pass_wants("idle_rss_kib")) {
                pass_begin("idle_rss_kib");
                pass_sample("idle_rss_kib", (double)kib, 0);
        }

        (void)mh_detach(of_others.client);
        (void)close(holder.table);
        stage_child_kill(&child);
        stage_daemon_stop(&daemon);
        stage_unpin(0);
}
