/* SPDX-License-Identifier: MIT */

/*
 * Fifty clients at full load, half of them without a mapping, and a daemon that is killed again and again.
 */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/deadline.h"
#include "lib/private.h"
#include "tools/say.h"
#include "tools/under.h"

#define CLIENTS 50U
#define KILLS   60U

TestSuite(storm, .init = private_set_up, .fini = private_clean_up, .timeout = 600);

typedef struct Storm {
        pid_t pid;
        int in, out;
} Storm;

typedef struct Told {
        char status[16];
        uint32_t clients;
        uint64_t handles, blocks, operations;
        unsigned outages;
        uint64_t outage, asked, worked, pause, again;
} Told;

static Storm storm_start(void)
{
        const char *binary = getenv("MONO_HANDLE_TEST_STORM");
        int in[2], out[2];
        char n[16];
        Storm s;

        cr_assert_not_null(binary);
        cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
        cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
        (void)snprintf(n, sizeof(n), "%u", CLIENTS);
        s.pid = fork();
        cr_assert_geq(s.pid, 0);
        if (s.pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)dup2(in[0], STDIN_FILENO);
                (void)dup2(out[1], STDOUT_FILENO);
                (void)dup2(fileno(say_stream()), STDERR_FILENO); /* what failed, if anything does */
                (void)execl(binary, "storm", n, NULL);
                _exit(127);
        }
        (void)close(in[0]);
        (void)close(out[1]);
        s.in = in[1];
        s.out = out[0];
        return s;
}

static void storm_hear(const Storm *s, char *line, size_t size)
{
        uint64_t deadline = private_deadline(120);
        size_t n = 0;

        for (;;) {
                struct pollfd p = { .fd = s->out, .events = POLLIN };

                cr_assert_lt(deadline_now(), deadline, "the storm says nothing");
                if (poll(&p, 1, 100) <= 0)
                        continue;
                cr_assert_eq(read(s->out, line + n, 1), 1, "the storm has ended");
                if (line[n] == '\n' || n + 2 == size)
                        break;
                n++;
        }
        line[n] = 0;
}

static Told storm_tell(const Storm *s, const char *word)
{
        char line[256];
        Told told = {};

        cr_assert_eq(write(s->in, word, strlen(word)), (ssize_t)strlen(word));
        storm_hear(s, line, sizeof(line));
        cr_assert_eq(sscanf(line,
                            "%15s %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64
                            " %" SCNu64 " %" SCNu64,
                            told.status, &told.clients, &told.handles, &told.blocks, &told.operations, &told.outages,
                            &told.outage, &told.asked, &told.worked, &told.pause, &told.again),
                     11, "it says: %s", line);
        return told;
}

static bool is_served(void *arg)
{
        return private_daemon() > 0;
}

/* However often: no operation fails, none takes longer than the restart (storm says so), each takes effect once, nothing is lost. */
Test(storm, the_daemon_is_killed_in_a_loop)
{
        unsigned kills = 0, wanted = MAX(KILLS / under_slowness(), 5U);
        char line[256];
        VerifyStats stats;
        Storm s = storm_start();
        Told told;

        storm_hear(&s, line, sizeof(line));
        cr_assert_str_eq(line, "ok");
        while (kills < wanted) {
                cr_assert(private_poll(is_served, NULL), "no daemon after %u kills", kills);
                /* Now at once, before it has adopted them all, now in the middle of their work. */
                deadline_sleep(deadline_in((uint64_t)(kills % 8) * DEADLINE_SECOND / 100));
                kills += private_kill_daemon();
        }
        told = storm_tell(&s, "stop\n");
        cr_expect_str_eq(told.status, "ok");
        cr_expect_eq(told.clients, CLIENTS + 1);
        cr_expect_gt(told.operations, 1000);
        cr_expect_geq(told.outages, wanted / 4, "only %u outages were seen", told.outages);

        /* What they believe is what there is. */
        cr_expect(private_settled(CLIENTS + 1, told.handles));
        cr_expect_eq(private_verify(&stats), 0);
        cr_expect_eq(stats.blocks, told.blocks);
        (void)fprintf(say_stream(),
                      "# %u kills, %" PRIu64 " operations, %" PRIu64 " times -EAGAIN; %u outages, the longest %" PRIu64
                      " us; beyond that an operation waited %" PRIu64 " us, one that maps %" PRIu64
                      " us, and the machine let others wait %" PRIu64 " us\n",
                      kills, told.operations, told.again, told.outages, told.outage, told.asked, told.worked,
                      told.pause);

        told = storm_tell(&s, "leave\n");
        cr_expect_str_eq(told.status, "ok");
        cr_expect_eq(private_wait(s.pid), 0);
        cr_expect(private_settled(0, 0));
        (void)close(s.in);
        (void)close(s.out);
}
