/* SPDX-License-Identifier: MIT */

/*
 * Takes the daemon's place in the service, and says of each thing that the service is not to be able to do whether it
 * could: one line each, "denied NAME" or "ALLOWED NAME". Run as a Type=notify service it says that it is ready, so that
 * the test sees its output and not that of a failed start.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

static bool executable_memory(void)
{
        return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static bool internet_socket(void)
{
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0;
}

static bool netlink_socket(void)
{
        return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0;
}

/* Judged by the error: where ordinary users may not make namespaces, this fails in any case, but not like that. */
static bool user_namespace(void)
{
        return unshare(CLONE_NEWUSER) >= 0 || errno != EPERM;
}

static bool change_personality(void)
{
        return personality(ADDR_NO_RANDOMIZE) >= 0;
}

static bool keyring(void)
{
        return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) >= 0 || errno != EPERM;
}

static bool set_user_id_file(void)
{
        int fd = (int)syscall(SYS_memfd_create, "probe", 0U);

        return fd >= 0 && fchmod(fd, S_ISUID | S_IRWXU) >= 0;
}

/* Needs no privilege, unlike the real-time policies: with RestrictRealtime= only those are refused. */
static bool realtime(void)
{
        struct sched_param param = { .sched_priority = 1 };

        return sched_setscheduler(0, SCHED_FIFO, &param) >= 0;
}

static bool gain_privileges(void)
{
        return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0;
}

static bool trace_others(void)
{
        return syscall(SYS_ptrace, 0L, 0L, 0L, 0L) >= 0 || errno != EPERM;
}

static bool readable_by_others(void)
{
        mode_t mask = umask(0);

        return (mask & 077) != 077;
}

int main(void)
{
        static const struct {
                const char *name;
                bool (*can)(void);
        } abilities[] = {
                { "executable-memory", executable_memory },   { "internet-socket", internet_socket },
                { "netlink-socket", netlink_socket },         { "user-namespace", user_namespace },
                { "change-personality", change_personality }, { "keyring", keyring },
                { "set-user-id-file", set_user_id_file },     { "realtime", realtime },
                { "gain-privileges", gain_privileges },       { "trace-others", trace_others },
                { "files-for-others", readable_by_others },
        };

        for (size_t i = 0; i < sizeof(abilities) / sizeof(abilities[0]); i++)
                printf("%s %s\n", abilities[i].can() ? "ALLOWED" : "denied", abilities[i].name);

        (void)fflush(stdout);
        (void)sd_notify(0, "READY=1");
        return 0;
}
