// A debugger and its debuggee on every CPU: single steps with the instruction pointer after each, breakpoints
// by INT3 in the other process's text, and the debug registers' breakpoints and watchpoints.
#include "loads.h"

#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { HITS = 3, EXIT_STATUS = 42 };

// Stepped through: steps[] is where each single step arrives.
void stepped(void);
extern const char step_0[], step_1[], step_2[], step_3[], step_4[], step_5[], step_6[], step_7[], step_8[],
    step_9[], step_10[];
__asm__(".text\n"
        ".globl stepped\n"
        "stepped:\n"
        "step_0: mov $3, %ecx\n"
        "step_1: add $5, %rax\n"
        "step_2: dec %ecx\n"
        "step_3: jnz step_1\n"
        "step_4: push %rax\n"
        "step_5: pop %rdx\n"
        "step_6: mov $39, %eax\n" // getpid
        "step_7: syscall\n"
        "step_8: mov $3, %ecx\n"
        "step_9: rep lodsb\n" // an iteration a step
        "step_10: ret\n");

static const char *const steps[] = {step_1, step_2, step_3, step_1, step_2, step_3, step_1, step_2, step_3,
                                    step_4, step_5, step_6, step_7, step_8, step_9, step_9, step_9, step_10};

static volatile unsigned long calls;

__attribute__((noinline)) static void called(unsigned long number)
{
    __asm__ volatile("" : : "r"(number));
    calls = number;
}

static _Noreturn void be_debuggee(void)
{
    MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    raise(SIGSTOP);
    for (unsigned long number = 1;; number++) {
        called(number);
    }
}

static void wait_for_trap(pid_t child, struct user_regs_struct *registers)
{
    int status;
    MUST(waitpid(child, &status, 0));
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
        fail("the debuggee gives wait status 0x%x instead of a trap", (unsigned)status);
    }
    MUST(ptrace(PTRACE_GETREGS, child, NULL, registers));
}

static void expect(const char *what, unsigned long is, unsigned long right)
{
    if (is != right) {
        fail("%s 0x%lx: 0x%lx is right", what, is, right);
    }
}

static void single_step(pid_t child)
{
    struct user_regs_struct before, registers;
    MUST(ptrace(PTRACE_GETREGS, child, NULL, &before));
    registers = before;
    registers.rip = (uintptr_t)step_0;
    registers.orig_rax = (unsigned long)-1; // no system call is to be restarted
    registers.rax = 100;
    registers.rsi = (uintptr_t)step_0;
    registers.rsp = before.rsp - 256;
    unsigned long stack = registers.rsp;
    MUST(ptrace(PTRACE_SETREGS, child, NULL, &registers));
    for (size_t step = 0; step < sizeof(steps) / sizeof(*steps); step++) {
        MUST(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL));
        wait_for_trap(child, &registers);
        expect("a single step arrives at", registers.rip, (uintptr_t)steps[step]);
    }
    expect("RDX after the steps is", registers.rdx, 115);
    expect("RSI after the steps is", registers.rsi, (uintptr_t)step_0 + 3);
    expect("RCX after the steps is", registers.rcx, 0);
    expect("RSP after the steps is", registers.rsp, stack);
    expect("AL after the steps is", registers.rax & 0xff, (unsigned char)step_0[2]);
    MUST(ptrace(PTRACE_SETREGS, child, NULL, &before));
}

static long calls_of(pid_t child)
{
    errno = 0;
    long word = ptrace(PTRACE_PEEKDATA, child, (void *)&calls, NULL);
    if (errno != 0) {
        fail("PTRACE_PEEKDATA: %s", strerror(errno));
    }
    return word;
}

static void break_by_int3(pid_t child)
{
    long word = *(const long *)(uintptr_t)called;
    long patched = (word & ~0xffL) | 0xcc;
    unsigned long last = 0;
    for (int hit = 0; hit < HITS; hit++) {
        struct user_regs_struct registers;
        MUST(ptrace(PTRACE_POKETEXT, child, (void *)(uintptr_t)called, patched));
        MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
        wait_for_trap(child, &registers);
        expect("INT3 stops at", registers.rip, (uintptr_t)called + 1);
        expect("the call before has stored", (unsigned long)calls_of(child), registers.rdi - 1);
        if (hit > 0) {
            expect("the next call is", registers.rdi, last + 1);
        }
        last = registers.rdi;
        registers.rip--;
        MUST(ptrace(PTRACE_SETREGS, child, NULL, &registers));
        MUST(ptrace(PTRACE_POKETEXT, child, (void *)(uintptr_t)called, word));
        MUST(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL));
        wait_for_trap(child, &registers);
    }
}

static void set_debug_register(pid_t child, int number, unsigned long value)
{
    MUST(ptrace(PTRACE_POKEUSER, child, (void *)(offsetof(struct user, u_debugreg) + 8 * (size_t)number),
                value));
}

static void break_by_debug_registers(pid_t child)
{
    struct user_regs_struct registers;
    set_debug_register(child, 0, (uintptr_t)called);
    set_debug_register(child, 7, 0x1); // L0: execution
    for (int hit = 0; hit < HITS; hit++) {
        MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
        wait_for_trap(child, &registers);
        expect("the breakpoint of DR0 stops at", registers.rip, (uintptr_t)called);
        expect("the call before has stored", (unsigned long)calls_of(child), registers.rdi - 1);
    }
    set_debug_register(child, 7, 0);
    set_debug_register(child, 0, (uintptr_t)&calls);
    set_debug_register(child, 7, 0x90001); // L0: stores to 8 bytes
    for (int hit = 0; hit < HITS; hit++) {
        long before = calls_of(child);
        MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
        wait_for_trap(child, &registers);
        expect("the watchpoint's store is", (unsigned long)calls_of(child), (unsigned long)before + 1);
    }
    set_debug_register(child, 7, 0);
}

static long debug(int number)
{
    (void)number;
    long rounds = 0;
    for (; !over(); rounds++) {
        pid_t child = MUST(fork());
        if (child == 0) {
            be_debuggee();
        }
        int status;
        MUST(waitpid(child, &status, 0));
        expect("the debuggee stops with wait status", (unsigned)status, SIGSTOP << 8 | 0x7f);
        single_step(child);
        break_by_int3(child);
        break_by_debug_registers(child);
        struct user_regs_struct registers;
        MUST(ptrace(PTRACE_GETREGS, child, NULL, &registers));
        registers.rip = (uintptr_t)_exit;
        registers.rdi = EXIT_STATUS;
        MUST(ptrace(PTRACE_SETREGS, child, NULL, &registers));
        MUST(ptrace(PTRACE_CONT, child, NULL, NULL));
        MUST(waitpid(child, &status, 0));
        expect("the debuggee ends with wait status", (unsigned)status, EXIT_STATUS << 8);
    }
    return rounds;
}

long ptrace_load(void)
{
    return on_processes(cpus(), debug);
}
