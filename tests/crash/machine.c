/* SPDX-License-Identifier: MIT */

#include "crash/machine.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash/fail.h"

#if !defined(__x86_64__)
#error "only built for x86-64, see meson.build"
#endif

/* Called by nobody: the registers are made to say so. It ends at a place that is known. */
extern const uint8_t machine_end[];
__attribute__((noreturn, used)) static void machine_enter(MachineFn fn, void *arg)
{
        fn(arg);
        for (;;)
                __asm__ volatile(".globl machine_end\nmachine_end: int3" ::: "memory");
}

/* ---------------------------------------------------------------------------------------------- time */

static bool is_traced;

/* Stands for the one of libc in this program. For a process that is traced, time stands still, or two that do the same
 * would not need the same number of instructions for it. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
        if (!is_traced)
                return (int)syscall(SYS_clock_gettime, clock, ret);
        *ret = (struct timespec){ .tv_sec = 1000000 };
        return 0;
}

/* ---------------------------------------------------------------------------------------------- starting */

__attribute__((noreturn)) static void be_traced(pid_t parent)
{
        is_traced = true;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                _exit(1);
        (void)alarm(0);
        for (;;)
                (void)raise(SIGSTOP);
}

/* Both on one processor, because a step is a switch from one to the other and back. */
static void stay_here(void)
{
        cpu_set_t set;
        int cpu = sched_getcpu();

        if (cpu < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void)sched_setaffinity(0, sizeof(set), &set);
}

static void copy_thread(const Machine *m, uint8_t *thread, bool write)
{
        struct iovec here = { thread, MACHINE_THREAD };
        struct iovec there = { (void *)(uintptr_t)(m->first.fs_base - MACHINE_THREAD_BELOW), MACHINE_THREAD };
        ssize_t n = write ? process_vm_writev(m->pid, &here, 1, &there, 1, 0)
                          : process_vm_readv(m->pid, &here, 1, &there, 1, 0);

        if (n != (ssize_t)MACHINE_THREAD)
                fail_hard("the memory of the traced process's thread: %s", n < 0 ? strerror(errno) : "too short");
}

static int wait_stop(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFSTOPPED(status) ? WSTOPSIG(status) : -ECHILD;
}

int machine_start(Machine *m, uint8_t *stack)
{
        pid_t parent = getpid();

        *m = (Machine){ .stack = stack };
        stay_here();
        m->pid = fork();
        if (m->pid < 0)
                return -errno;
        if (m->pid == 0)
                be_traced(parent);
        if (wait_stop(m->pid) != SIGSTOP ||
            ptrace(PTRACE_SETOPTIONS, m->pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) < 0 ||
            ptrace(PTRACE_GETREGS, m->pid, NULL, &m->first) < 0) {
                machine_kill(m);
                return -EPERM;
        }
        copy_thread(m, m->first_thread, false);
        fail_process(m->pid);
        return 0;
}

void machine_kill(Machine *m)
{
        if (m->pid <= 0)
                return;
        (void)kill(m->pid, SIGKILL);
        while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        m->pid = 0;
}

static void do_nothing(void *arg)
{
        (void)arg;
}

const char *machine_missing(void)
{
        static uint8_t stack[MACHINE_STACK] __attribute__((aligned(16)));
        const char *missing = NULL;
        unsigned steps = 0;
        Machine m;

        if (machine_start(&m, stack) < 0)
                return "ptrace(2) is not permitted here";
        /* The stack is not shared here, which this function does not notice. */
        machine_call(&m, do_nothing, NULL);
        if (ptrace(PTRACE_SINGLESTEP, m.pid, NULL, 0) < 0 || wait_stop(m.pid) != SIGTRAP)
                missing = "single steps do not work here";
        while (!missing && steps < 100 && machine_step_over(&m))
                steps++;
        if (!missing && (steps == 0 || steps >= 100))
                missing = "single steps do not work here";
        machine_kill(&m);
        return missing;
}

/* ---------------------------------------------------------------------------------------------- running */

static void get_regs(Machine *m)
{
        if (ptrace(PTRACE_GETREGS, m->pid, NULL, &m->regs) < 0)
                fail_hard("PTRACE_GETREGS: %s", strerror(errno));
}

static void set_regs(Machine *m, const struct user_regs_struct *regs)
{
        m->regs = *regs;
        if (ptrace(PTRACE_SETREGS, m->pid, NULL, &m->regs) < 0)
                fail_hard("PTRACE_SETREGS: %s", strerror(errno));
}

void machine_call(Machine *m, MachineFn fn, void *arg)
{
        struct user_regs_struct regs = m->first;

        regs.rip = (uint64_t)(uintptr_t)machine_enter;
        regs.rsp = ((uint64_t)(uintptr_t)m->stack + MACHINE_STACK - 64) / 16 * 16 - 8; /* as after a call instruction */
        regs.rdi = (uint64_t)(uintptr_t)fn;
        regs.rsi = (uint64_t)(uintptr_t)arg;
        regs.orig_rax = UINT64_MAX; /* no system call to be restarted */
        set_regs(m, &regs);
        copy_thread(m, m->first_thread, true); /* the last call may have been left in its middle */
        m->pending = false;
}

/* Stopped at the beginning or the end of a system call, see PTRACE_O_TRACESYSGOOD. */
#define AT_SYSCALL (SIGTRAP | 0x80)

static int resume(Machine *m, int request)
{
        int sig;

        /* That somebody stops and continues all that runs on this machine does not concern it. */
        do {
                if (ptrace(request, m->pid, NULL, 0) < 0)
                        fail_hard("ptrace: %s", strerror(errno));
                sig = wait_stop(m->pid);
        } while (sig == SIGSTOP || sig == SIGCONT);
        if (sig < 0)
                fail_hard("the traced process has ended by itself");
        get_regs(m);
        where.rip = m->regs.rip;
        if (sig != SIGTRAP && sig != AT_SYSCALL && !(sig == SIGSEGV && m->guarded))
                fail_hard("the traced process got signal %d (%s)", sig, strsignal(sig));
        return sig;
}

/* ---------------------------------------------------------------------------------------------- watching */

/* Never called either. */
extern const uint8_t machine_syscall[];
__attribute__((used)) static void machine_do_syscall(void)
{
        __asm__ volatile(".globl machine_syscall\nmachine_syscall: syscall\nint3" ::: "memory");
}

/* Makes the process call mprotect(2), in between. */
static void set_guard(Machine *m, bool guard)
{
        struct user_regs_struct regs = m->regs, call = m->regs;

        if (m->guarded == guard)
                return;
        call.rip = (uint64_t)(uintptr_t)machine_syscall;
        call.rax = SYS_mprotect;
        call.rdi = (uint64_t)(uintptr_t)m->watched;
        call.rsi = m->watched_size;
        call.rdx = !guard ? PROT_READ | PROT_WRITE : m->writes ? PROT_READ : PROT_NONE;
        call.orig_rax = UINT64_MAX;
        set_regs(m, &call);
        if (resume(m, PTRACE_SINGLESTEP) != SIGTRAP || m->regs.rax != 0)
                fail_hard("the traced process cannot be kept from the segment");
        set_regs(m, &regs);
        where.rip = regs.rip;
        m->guarded = guard;
}

void machine_watch(Machine *m, void *memory, size_t size, bool writes)
{
        set_guard(m, false);
        m->watched = memory;
        m->watched_size = size;
        m->writes = writes;
        m->pending = false;
}

static bool at_syscall(const Machine *m)
{
        const uint8_t *code = (const uint8_t *)(uintptr_t)m->regs.rip;

        return code[0] == 0x0f && code[1] == 0x05;
}

MachineStep machine_step(Machine *m)
{
        struct user_regs_struct before = m->regs;
        bool is_syscall = at_syscall(m), watching = m->watched_size > 0;

        if (m->regs.rip == (uint64_t)(uintptr_t)machine_end)
                return MACHINE_DONE;
        if (watching && !m->pending) {
                if (is_syscall) {
                        set_guard(m, false);
                        m->pending = true;
                        return MACHINE_TOUCHES;
                }
                set_guard(m, true);
        }
        if (resume(m, PTRACE_SINGLESTEP) == SIGSEGV) {
                set_guard(m, false);
                m->pending = true;
                return MACHINE_TOUCHES;
        }
        if (is_syscall && m->on_syscall)
                m->on_syscall(m->userdata, &before, (long)m->regs.rax);
        if (watching && !m->pending)
                return MACHINE_RAN;
        m->pending = false;
        return MACHINE_TOUCHED;
}

bool machine_step_over(Machine *m)
{
        MachineStep step = machine_step(m);

        if (step == MACHINE_TOUCHES)
                step = machine_step(m);
        return step != MACHINE_DONE;
}

/* It has executed the last instruction there is: back before it. */
static void stay_at_end(Machine *m)
{
        struct user_regs_struct regs = m->regs;

        if (regs.rip != (uint64_t)(uintptr_t)machine_end + 1)
                fail_hard("the traced process stopped elsewhere");
        regs.rip--;
        set_regs(m, &regs);
}

/* It stands at the beginning of a system call: to its end. */
static void pass_syscall(Machine *m)
{
        struct user_regs_struct before = m->regs;

        before.rax = before.orig_rax;
        if (resume(m, PTRACE_SYSCALL) != AT_SYSCALL)
                fail_hard("the traced process did not return from a system call");
        if (m->on_syscall)
                m->on_syscall(m->userdata, &before, (long)m->regs.rax);
}

MachineStep machine_run(Machine *m)
{
        if (m->regs.rip == (uint64_t)(uintptr_t)machine_end)
                return MACHINE_DONE;
        set_guard(m, true);
        switch (resume(m, PTRACE_SYSCALL)) {
        case AT_SYSCALL:
                pass_syscall(m);
                return MACHINE_TOUCHED;
        case SIGSEGV:
                set_guard(m, false);
                (void)resume(m, PTRACE_SINGLESTEP);
                return MACHINE_TOUCHED;
        default:
                stay_at_end(m);
                return MACHINE_DONE;
        }
}

void machine_finish(Machine *m)
{
        set_guard(m, false);
        m->pending = false;
        if (m->regs.rip == (uint64_t)(uintptr_t)machine_end)
                return;
        while (resume(m, PTRACE_SYSCALL) == AT_SYSCALL)
                pass_syscall(m);
        stay_at_end(m);
}

/* ---------------------------------------------------------------------------------------------- saving */

/* The red zone below the stack pointer is in use too. */
static size_t stack_used(const Machine *m, uint64_t rsp)
{
        uint64_t top = (uint64_t)(uintptr_t)m->stack + MACHINE_STACK, used = top - (rsp - 128);

        if (rsp > top || used > MACHINE_STACK)
                fail_hard("the stack of the traced process is elsewhere");
        return (size_t)used;
}

void machine_save(const Machine *m, MachineState *ret)
{
        struct iovec iov = { ret->xstate, sizeof(ret->xstate) };

        if (ptrace(PTRACE_GETREGSET, m->pid, NT_X86_XSTATE, &iov) < 0)
                fail_hard("PTRACE_GETREGSET: %s", strerror(errno));
        ret->regs = m->regs;
        ret->xsize = iov.iov_len;
        copy_thread(m, ret->thread, false);
        ret->stack_used = stack_used(m, m->regs.rsp);
        memcpy(ret->stack, m->stack + MACHINE_STACK - ret->stack_used, ret->stack_used);
}

void machine_restore(Machine *m, const MachineState *s)
{
        struct iovec iov = { (void *)(uintptr_t)s->xstate, s->xsize };

        set_regs(m, &s->regs);
        m->pending = false;
        if (ptrace(PTRACE_SETREGSET, m->pid, NT_X86_XSTATE, &iov) < 0)
                fail_hard("PTRACE_SETREGSET: %s", strerror(errno));
        copy_thread(m, (uint8_t *)(uintptr_t)s->thread, true);
        memcpy(m->stack + MACHINE_STACK - s->stack_used, s->stack, s->stack_used);
        where.rip = s->regs.rip;
}
