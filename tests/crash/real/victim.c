/* SPDX-License-Identifier: MIT */

#include "crash/real/victim.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crash/real/stage.h"

/* How long it is waited for before it counts as asleep: it runs on the processor where we are, so it gets on when we
 * yield. */
#define YIELDS      100U
#define SLEEP_POLLS 20U
#define POLL_NSEC   500000L

#define AT_SYSCALL (SIGTRAP | 0x80)

static bool is_segment(const char *path)
{
        return strncmp(path, "/dev/shm/mono-handle-d.", 23) == 0;
}

/* ---------------------------------------------------------------------------------------------- what it has mapped */

static void forget_range(Victim *v, uint64_t start, uint64_t end)
{
        VictimRegion kept[VICTIM_REGIONS];
        unsigned n = 0;

        for (unsigned i = 0; i < v->n_regions; i++) {
                VictimRegion r = v->regions[i];

                if (r.start < start && n < VICTIM_REGIONS)
                        kept[n++] = (VictimRegion){ r.start, MIN(r.end, start), r.guarded };
                if (r.end > end && n < VICTIM_REGIONS)
                        kept[n++] = (VictimRegion){ MAX(r.start, end), r.end, r.guarded };
        }
        memcpy(v->regions, kept, n * sizeof(kept[0]));
        v->n_regions = n;
}

static void add_range(Victim *v, uint64_t start, uint64_t end)
{
        if (v->n_regions >= VICTIM_REGIONS)
                stage_abort("the segment is mapped in too many pieces");
        v->regions[v->n_regions++] = (VictimRegion){ start, end, false };
}

static void find_regions(Victim *v)
{
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[512];

        (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)v->pid);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                unsigned long start, end;
                char name[256] = "", mode[8] = "";

                if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &start, &end, mode, name) == 4 && mode[1] == 'w' &&
                    is_segment(name))
                        add_range(v, start, end);
        }
}

static bool fd_is_segment(const Victim *v, int fd)
{
        char path[64], target[256];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)v->pid, fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = '\0';
        return is_segment(target);
}

/* After a system call. What was mapped anew can be written to. */
static void note_call(Victim *v)
{
        const struct user_regs_struct *r = &v->regs;

        if ((long)r->rax < 0 && (long)r->rax > -4096)
                return;
        switch (v->call) {
        case SYS_mmap:
                if ((r->rdx & PROT_WRITE) && (r->r10 & MAP_SHARED) && fd_is_segment(v, (int)r->r8)) {
                        add_range(v, r->rax, r->rax + r->rsi);
                }
                break;
        case SYS_munmap:
                forget_range(v, r->rdi, r->rdi + r->rsi);
                break;
        case SYS_mprotect:
                if (!(r->rdx & PROT_WRITE))
                        forget_range(v, r->rdi, r->rdi + r->rsi);
                break;
        default:
                break;
        }
}

/* ---------------------------------------------------------------------------------------------- stopping */

static void get_regs(Victim *v)
{
        if (ptrace(PTRACE_GETREGS, v->pid, NULL, &v->regs) < 0)
                stage_abort("PTRACE_GETREGS: %s", strerror(errno));
}

static void set_regs(Victim *v, const struct user_regs_struct *regs)
{
        v->regs = *regs;
        if (ptrace(PTRACE_SETREGS, v->pid, NULL, &v->regs) < 0)
                stage_abort("PTRACE_SETREGS: %s", strerror(errno));
}

/* The status, or -1: it does not stop. */
static int wait_stop(Victim *v, bool patient)
{
        static const struct timespec pause = { .tv_nsec = POLL_NSEC };
        int status;

        for (unsigned i = 0;; i++) {
                pid_t p = waitpid(v->pid, &status, patient ? __WALL : __WALL | WNOHANG);

                if (p == v->pid)
                        break;
                if (p < 0 && errno != EINTR)
                        stage_abort("waitpid: %s", strerror(errno));
                if (p == 0 && i >= YIELDS + SLEEP_POLLS)
                        return -1;
                if (p == 0 && i < YIELDS)
                        (void)sched_yield();
                else if (p == 0)
                        (void)nanosleep(&pause, NULL);
        }
        v->running = false;
        if (WIFSTOPPED(status))
                get_regs(v);
        return status;
}

/* The kernel brings a piece of code into each process, and it has such an instruction. */
static void find_syscall(Victim *v)
{
        _cleanup_fclose_ FILE *f = NULL;
        uint8_t code[16384];
        uint64_t entry[2], vdso = 0;
        struct iovec here = { code, sizeof(code) }, there = { NULL, sizeof(code) };
        char path[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%d/auxv", (int)v->pid);
        f = fopen(path, "re");
        while (f && fread(entry, sizeof(entry), 1, f) == 1)
                if (entry[0] == AT_SYSINFO_EHDR)
                        vdso = entry[1];
        there.iov_base = (void *)(uintptr_t)vdso;
        for (there.iov_len = sizeof(code); there.iov_len >= 4096; there.iov_len -= 4096) {
                n = process_vm_readv(v->pid, &here, 1, &there, 1, 0);
                for (ssize_t i = 0; i + 1 < n; i++)
                        if (code[i] == 0x0f && code[i + 1] == 0x05) {
                                v->syscall = vdso + (uint64_t)i;
                                return;
                        }
        }
        stage_abort("the traced process has no system call to borrow");
}

/* Somebody stops and continues all that runs on this machine: that does not concern it. */
static bool is_pause(int status)
{
        return WSTOPSIG(status) == SIGSTOP || WSTOPSIG(status) == SIGCONT;
}

static int step(Victim *v)
{
        int status;

        /* It may have been asked to stop, and not have come to that yet. */
        do {
                if (ptrace(PTRACE_SINGLESTEP, v->pid, NULL, 0) < 0)
                        stage_abort("PTRACE_SINGLESTEP: %s", strerror(errno));
                status = wait_stop(v, true);
        } while (WIFSTOPPED(status) && (status >> 16 == PTRACE_EVENT_STOP || is_pause(status)));
        return status;
}

/* Makes it call mprotect(2). It is not in a system call. */
static void set_guard(Victim *v, bool guard)
{
        struct user_regs_struct regs = v->regs;
        bool any = false;

        for (unsigned i = 0; i < v->n_regions; i++) {
                struct user_regs_struct call = regs;
                int status;

                if (v->regions[i].guarded == guard)
                        continue;
                v->regions[i].guarded = guard;
                any = true;
                call.rip = v->syscall;
                call.rax = SYS_mprotect;
                call.rdi = v->regions[i].start;
                call.rsi = v->regions[i].end - v->regions[i].start;
                call.rdx = guard ? PROT_READ : PROT_READ | PROT_WRITE;
                call.orig_rax = UINT64_MAX;
                set_regs(v, &call);
                status = step(v);
                if (!WIFSTOPPED(status) || v->regs.rax != 0)
                        stage_abort("the traced process cannot be kept from the segment: %x, %lld", (unsigned)status,
                                    (long long)v->regs.rax);
        }
        if (any)
                set_regs(v, &regs);
}

static void stay_together(pid_t pid)
{
        cpu_set_t set;
        int cpu = sched_getcpu();

        if (cpu < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void)sched_setaffinity(pid, sizeof(set), &set);
}

void victim_seize(Victim *v, pid_t pid)
{
        int status;

        *v = (Victim){ .pid = pid };
        if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) < 0 ||
            ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
                stage_abort("ptrace: %s", strerror(errno));
        status = wait_stop(v, true);
        if (!WIFSTOPPED(status))
                stage_abort("the process that was to be traced has ended");
        stay_together(pid);
        find_syscall(v);
        find_regions(v);
}

/* ---------------------------------------------------------------------------------------------- going on */

static bool at_syscall(const Victim *v)
{
        uint8_t code[2] = {};
        struct iovec here = { code, sizeof(code) }, there = { (void *)(uintptr_t)v->regs.rip, sizeof(code) };

        return process_vm_readv(v->pid, &here, 1, &there, 1, 0) == 2 && code[0] == 0x0f && code[1] == 0x05;
}

static void resume(Victim *v, int sig)
{
        bool one = v->counts && !v->in_call && !at_syscall(v);

        if (!v->in_call && v->n_regions > 0)
                set_guard(v, true);
        if (v->counts && !v->in_call)
                v->instructions++;
        if (ptrace(one ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, v->pid, NULL, sig) < 0)
                stage_abort("ptrace: %s", strerror(errno));
        v->running = true;
}

/* It failed because the segment is guarded: now it may. */
static bool let_through(Victim *v)
{
        siginfo_t info;
        uint64_t at;

        if (ptrace(PTRACE_GETSIGINFO, v->pid, NULL, &info) < 0 || info.si_code != SEGV_ACCERR)
                return false;
        at = (uint64_t)(uintptr_t)info.si_addr;
        for (unsigned i = 0; i < v->n_regions; i++)
                if (v->regions[i].guarded && at >= v->regions[i].start && at < v->regions[i].end) {
                        set_guard(v, false);
                        if (!WIFSTOPPED(step(v)))
                                stage_abort("the traced process has ended by itself");
                        return true;
                }
        return false;
}

static VictimStop at_call(Victim *v)
{
        struct __ptrace_syscall_info info;

        if (ptrace(PTRACE_GET_SYSCALL_INFO, v->pid, (void *)sizeof(info), &info) < 0)
                stage_abort("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
        v->in_call = info.op == PTRACE_SYSCALL_INFO_ENTRY;
        if (v->in_call) {
                v->call = v->regs.orig_rax;
                return VICTIM_CALLS;
        }
        note_call(v);
        return VICTIM_CALLED;
}

static void begin_anew(Victim *v)
{
        v->n_regions = 0;
        v->in_call = true; /* execve(2) is not over */
        find_syscall(v);
}

VictimStop victim_next(Victim *v)
{
        int sig = 0, status;

        for (;;) {
                if (!v->running)
                        resume(v, sig);
                sig = 0;
                status = wait_stop(v, !v->in_call);
                if (status == -1)
                        return VICTIM_SLEEPS;
                if (!WIFSTOPPED(status)) {
                        v->status = status;
                        v->pid = 0;
                        return VICTIM_ENDED;
                }
                if (status >> 16 == PTRACE_EVENT_EXEC)
                        begin_anew(v);
                else if (WSTOPSIG(status) == AT_SYSCALL)
                        return at_call(v);
                else if (WSTOPSIG(status) == SIGSEGV && let_through(v))
                        return VICTIM_WROTE;
                else if (status >> 16 == 0 && WSTOPSIG(status) != SIGTRAP && !is_pause(status))
                        sig = WSTOPSIG(status);
        }
}

bool victim_waits(const Victim *v)
{
        return v->in_call && (v->call == SYS_epoll_wait || v->call == SYS_epoll_pwait || v->call == SYS_epoll_pwait2 ||
                              v->call == SYS_read);
}

void victim_kill(Victim *v)
{
        if (v->pid <= 0)
                return;
        (void)kill(v->pid, SIGKILL);
        while (waitpid(v->pid, &v->status, __WALL) != v->pid || WIFSTOPPED(v->status))
                ;
        v->pid = 0;
}

/* It stands before a system call, where it cannot be made to do anything else: so it does not do this one, and comes
 * here again. */
static void step_back(Victim *v)
{
        struct user_regs_struct regs = v->regs, again = v->regs;

        regs.orig_rax = UINT64_MAX;
        set_regs(v, &regs);
        if (ptrace(PTRACE_SYSCALL, v->pid, NULL, 0) < 0 || !WIFSTOPPED(wait_stop(v, true)))
                stage_abort("the traced process does not come back from a system call");
        again.rip -= 2;
        again.rax = again.orig_rax;
        again.orig_rax = UINT64_MAX;
        set_regs(v, &again);
        v->in_call = false;
}

void victim_release(Victim *v)
{
        if (v->running) {
                int status;

                (void)ptrace(PTRACE_INTERRUPT, v->pid, NULL, NULL);
                status = wait_stop(v, true);
                if (!WIFSTOPPED(status)) {
                        v->status = status;
                        v->pid = 0;
                        return;
                }
                if (WSTOPSIG(status) == AT_SYSCALL)
                        (void)at_call(v);
                else
                        v->in_call = false;
        }
        if (v->in_call)
                step_back(v);
        set_guard(v, false);
        if (ptrace(PTRACE_DETACH, v->pid, NULL, 0) < 0)
                stage_abort("PTRACE_DETACH: %s", strerror(errno));
}
