// Threads that go to 32-bit code and back (compatibility mode, Intel SDM vol. 3, 3.2), with system calls by
// INT 80h from there, while signals and preemption go to 64-bit code in the midst of it.
#include "loads.h"

#include <signal.h>

enum {
    MAX_THREADS = 128,
    STACK_BYTES = 16384,
    SIGNAL_STACK_BYTES = 65536,
    SIGNAL_NANOSECONDS = 3000000,
    LOOPS = 100
};

// The program is linked below 4 GiB: what 32-bit code reaches may lie anywhere in it.
static _Alignas(16) char stacks[MAX_THREADS][STACK_BYTES];
const uint32_t compat_constant = 0x5bd1e995;

// Runs on `stack_top`; returns the number that 32-bit code makes of `argument`, and above it the process's
// number as 32-bit code is told it. INC and DEC of one byte and PUSH DS are other instructions in 64-bit
// code, or none.
uint64_t through_32_bit(uint32_t argument, char *stack_top);
__asm__(".text\n"
        ".globl through_32_bit\n"
        ".type through_32_bit, @function\n"
        "through_32_bit:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, -8(%rsi)\n"
        "lea -16(%rsi), %rsp\n"
        "mov %edi, %eax\n"
        "push $0x23\n" // Linux's 32-bit user code segment
        "push $1f\n"
        "lretq\n"
        ".code32\n"
        "1: mov $0x2b, %ecx\n" // its user data segment
        "mov %ecx, %ds\n"
        "push %ds\n"
        "pop %es\n"
        "mov $100, %ecx\n"
        "2: imul $1664525, %eax, %eax\n"
        "inc %eax\n"
        "xor compat_constant, %eax\n"
        "pushal\n"
        "call 3f\n"
        "popal\n"
        "dec %ecx\n"
        "jnz 2b\n"
        "push %eax\n"
        "mov $20, %eax\n" // getpid
        "int $0x80\n"
        "mov %eax, %edx\n"
        "pop %eax\n"
        "ljmp $0x33, $4f\n"
        "3: xor %eax, %eax\n"
        "ret\n"
        ".code64\n"
        "4: mov %esp, %esp\n" // its upper half is undefined now
        "mov 8(%rsp), %rsp\n"
        "mov %eax, %eax\n"
        "shl $32, %rdx\n"
        "or %rdx, %rax\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        ".size through_32_bit, . - through_32_bit\n");

static uint32_t evaluate(uint32_t value)
{
    for (int i = 0; i < LOOPS; i++) {
        value = (value * 1664525 + 1) ^ compat_constant;
    }
    return value;
}

static atomic_ulong signals;

static void on_timer(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static long play(int number)
{
    char own_stack[SIGNAL_STACK_BYTES];
    MUST(sigaltstack(&(stack_t){.ss_sp = own_stack, .ss_size = sizeof(own_stack)}, NULL));
    timer_t timer = signal_every(SIGRTMIN, SIGNAL_NANOSECONDS);
    uint64_t random = (uint64_t)number;
    uint64_t pid = (uint64_t)getpid();
    long rounds = 0;
    for (; !over(); rounds++) {
        uint32_t argument = (uint32_t)next_random(&random);
        uint64_t result = through_32_bit(argument, stacks[number] + STACK_BYTES);
        uint64_t right = pid << 32 | evaluate(argument);
        if (result != right) {
            fail("32-bit code gives 0x%lx: 0x%lx is right", result, right);
        }
    }
    MUST(timer_delete(timer));
    return rounds;
}

long compat_load(void)
{
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_ONSTACK | SA_RESTART};
    MUST(sigaction(SIGRTMIN, &action, NULL));
    int threads = 2 * cpus();
    long rounds = on_threads(threads > MAX_THREADS ? MAX_THREADS : threads, play);
    if (atomic_load(&signals) == 0) {
        fail("no signal came");
    }
    return rounds;
}
