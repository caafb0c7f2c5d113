/* SPDX-License-Identifier: MIT */

/*
 * How long a client waits when the daemon is killed: from SIGKILL until a new connection gets its first answer, under the
 * real service manager. The daemon has something to come back to, a client that holds 1,000 handles; the peer has
 * nothing.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handles.h"
#include "packets.h"
#include "pass.h"

#define HELD 1000U

/* ------------------------------------------------------------------------------------------------ inside */

typedef struct Service {
        const char *unit;
        char socket[128];
        int (*ask)(const char *path);
} Service;

static int hello(const char *path)
{
        Packets p;
        int r = packets_attach(&p, path);

        if (r == 0)
                packets_close(&p);
        return r;
}

/* The process of the unit once it runs and is not `before`. */
static pid_t main_pid(const char *unit, pid_t before)
{
        char command[128], state[32];
        uint64_t deadline = now_nsec() + UINT64_C(20000000000);
        int pid;

        (void)snprintf(command, sizeof(command), "systemctl --user show -P MainPID -P ActiveState %s", unit);
        do {
                FILE *f = popen(command, "re");
                int n;

                if (!f)
                        die("popen: %s", strerror(errno));
                n = fscanf(f, "%d %31s", &pid, state);
                if (pclose(f) == 0 && n == 2 && pid > 0 && pid != before && strcmp(state, "active") == 0)
                        return pid;
                sleep_nsec(5000000);
        } while (now_nsec() < deadline);
        die("%s does not run", unit);
}

/* Queued in the listening socket, or lost with the daemon that had accepted: then it is asked again. */
static void ask(const Service *s)
{
        uint64_t deadline = now_nsec() + UINT64_C(20000000000);
        int r;

        while ((r = s->ask(s->socket)) < 0)
                if (now_nsec() > deadline)
                        die("%s does not answer: %s", s->unit, strerror(-r));
}

static double kill_and_ask(const Service *s, pid_t *pid)
{
        uint64_t begin, end;

        begin = now_nsec();
        if (kill(*pid, SIGKILL) < 0)
                die("%s: kill: %s", s->unit, strerror(errno));
        /* It sleeps in the kernel, and will not return from there: nobody but the next one can answer. */
        ask(s);
        end = now_nsec();
        *pid = main_pid(s->unit, *pid);
        return (double)(end - begin);
}

void restart_loop(unsigned rounds)
{
        Service ours = { .unit = "mono-handle-d.service", .ask = hello },
                peer = { .unit = "notify-peer.service", .ask = packets_ping };
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        pid_t our_pid, peer_pid;
        mh_client *c;

        (void)snprintf(ours.socket, sizeof(ours.socket), "%s/mono-handle-d/socket", runtime);
        (void)snprintf(peer.socket, sizeof(peer.socket), "%s/notify-peer", runtime);
        CHECK(mh_attach(&c, ours.socket, MH_ATTACH_NO_SPAWN), "mh_attach");
        for (unsigned i = 0; i < HELD; i++) {
                mh_handle h;

                CHECK(mh_new(c, MH_TYPE_EVENT, &h), "mh_new");
        }
        ask(&peer);
        our_pid = main_pid(ours.unit, 0);
        peer_pid = main_pid(peer.unit, 0);

        for (unsigned i = 0; i <= rounds; i++) {
                double a, b;

                /* Who comes second finds a service manager that has just been at work. */
                if (i % 2 == 0) {
                        a = kill_and_ask(&ours, &our_pid);
                        b = kill_and_ask(&peer, &peer_pid);
                } else {
                        b = kill_and_ask(&peer, &peer_pid);
                        a = kill_and_ask(&ours, &our_pid);
                }
                /* The first is for warming up. */
                if (i > 0)
                        printf("restart %.0f %.0f\n", a, b);
        }
        (void)fflush(stdout);
        (void)mh_detach(c);
}

/* ------------------------------------------------------------------------------------------------ outside */

static void read_results(FILE *f, char *reason, size_t size)
{
        char line[256];

        while (fgets(line, sizeof(line), f)) {
                double a, b;

                if (sscanf(line, "restart %lf %lf", &a, &b) == 2) {
                        pass_sample("restart", a, b);
                        continue;
                }
                line[strcspn(line, "\n")] = '\0';
                (void)snprintf(reason, size, "%s", line);
        }
}

void run_restart(void)
{
        char command[1024], reason[256] = "";
        const char *root = the_pass.source_root;
        FILE *f;
        int status;

        if (!pass_wants("restart"))
                return;
        pass_begin("restart");
        (void)snprintf(command, sizeof(command),
                       "'%s/tests/world' -u 0 -i '%s' '%s/tests/bench/restart.sh' '%s' '%s' %u 2>&1", root,
                       the_pass.build_root, root, the_pass.self, the_pass.notify_peer, the_pass.quick ? 3U : 40U);
        f = popen(command, "re");
        if (!f)
                die("popen: %s", strerror(errno));
        read_results(f, reason, sizeof(reason));
        status = pclose(f);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                pass_skip("restart", "%s", reason);
        else if (status != 0)
                die("restart: %s", reason);
}
