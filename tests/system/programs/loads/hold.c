#include "hold.h"
#include "loads.h"

#include <stddef.h>

_Static_assert(offsetof(struct held, general) == 512 && offsetof(struct held, flags) == 608,
               "as the assembly says");

enum { FX_CONTROL = 0, FX_STATUS = 2, FX_TAGS = 4, FX_MXCSR = 24, FX_X87 = 32, FX_SSE = 160, FX_END = 416 };

// CF, PF, AF, ZF, SF, DF and OF; bit 1 is always set and IF is when we look.
enum { FLAGS = 0xcd5, FLAGS_ALWAYS = 0x202 };

// All of RAX, RCX and R11, which a system call changes, serve the loop: it uses no flag.
void hold_registers(const struct held *wanted, struct held *found, unsigned long spins, long call);
__asm__(".text\n"
        ".globl hold_registers\n"
        ".type hold_registers, @function\n"
        "hold_registers:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "push %rsi; push %rdx; push %rcx\n" // found 16(%rsp), spins 8(%rsp), call (%rsp)
        "fxrstor64 (%rdi)\n"
        "lea 512(%rdi), %rax\n"
        "mov (%rax), %rbx; mov 8(%rax), %rbp; mov 16(%rax), %rsi; mov 24(%rax), %rdi\n"
        "mov 32(%rax), %r8; mov 40(%rax), %r9; mov 48(%rax), %r10; mov 56(%rax), %r12\n"
        "mov 64(%rax), %r13; mov 72(%rax), %r14; mov 80(%rax), %r15; mov 88(%rax), %rdx\n"
        "push 96(%rax)\n"
        "popfq\n"
        "mov 8(%rsp), %rcx\n"
        "1: jrcxz 2f\n"
        "lea -1(%rcx), %rcx\n"
        "jmp 1b\n"
        "2: mov (%rsp), %rax\n"
        "syscall\n"
        "mov 8(%rsp), %rcx\n"
        "3: jrcxz 4f\n"
        "lea -1(%rcx), %rcx\n"
        "jmp 3b\n"
        "4: mov 16(%rsp), %rax\n"
        "fxsave64 (%rax)\n"
        "lea 512(%rax), %rax\n"
        "mov %rbx, (%rax); mov %rbp, 8(%rax); mov %rsi, 16(%rax); mov %rdi, 24(%rax)\n"
        "mov %r8, 32(%rax); mov %r9, 40(%rax); mov %r10, 48(%rax); mov %r12, 56(%rax)\n"
        "mov %r13, 64(%rax); mov %r14, 72(%rax); mov %r15, 80(%rax); mov %rdx, 88(%rax)\n"
        "pushfq\n"
        "pop 96(%rax)\n"
        "cld\n"
        "add $24, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        ".size hold_registers, . - hold_registers\n");

static void randomize_fx(uint8_t *fx, uint64_t *random)
{
    memset(fx, 0, 512);
    for (int i = FX_X87; i < FX_END; i += 8) {
        uint64_t number = next_random(random);
        memcpy(fx + i, &number, 8);
    }
    for (int i = 0; i < 8; i++) {
        memset(fx + FX_X87 + 16 * i + 10, 0, 6);
    }
    uint64_t number = next_random(random);
    uint16_t control = (uint16_t)(0x37f | (number & 3) << 10); // exceptions masked, any rounding
    uint16_t status = (uint16_t)((number >> 2 & 7) << 11 | (number >> 5 & 0x4700));
    uint32_t mxcsr = (uint32_t)(0x1f80 | (number >> 32 & 0xe03f)); // the same, and any sticky flags
    memcpy(fx + FX_CONTROL, &control, sizeof(control));
    memcpy(fx + FX_STATUS, &status, sizeof(status));
    memcpy(fx + FX_MXCSR, &mxcsr, sizeof(mxcsr));
    fx[FX_TAGS] = (uint8_t)(number >> 24);
}

void randomize(struct held *registers, uint64_t *random)
{
    randomize_fx(registers->fx, random);
    for (int i = 0; i < 12; i++) {
        registers->general[i] = next_random(random);
    }
    registers->flags = (next_random(random) & FLAGS) | FLAGS_ALWAYS;
}

static void expect(const void *found, const void *wanted, size_t size, const char *what, int number)
{
    uint64_t is[2] = {0};
    uint64_t should[2] = {0};
    memcpy(is, found, size);
    memcpy(should, wanted, size);
    if (is[0] != should[0] || is[1] != should[1]) {
        fail("%s%d is 0x%016lx%016lx: 0x%016lx%016lx is right", what, number, is[1], is[0], should[1],
             should[0]);
    }
}

// The compiler's code expects an empty x87 stack and the usual modes.
static void usual_modes(void)
{
    uint32_t mxcsr = 0x1f80;
    __asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

void hold(const struct held *wanted, unsigned long spins, long call)
{
    struct held found;
    memset(&found, 0, sizeof(found));
    hold_registers(wanted, &found, spins, call);
    usual_modes();
    expect(found.fx + FX_CONTROL, wanted->fx + FX_CONTROL, 2, "x87 control word ", 0);
    expect(found.fx + FX_STATUS, wanted->fx + FX_STATUS, 2, "x87 status word ", 0);
    expect(found.fx + FX_TAGS, wanted->fx + FX_TAGS, 1, "x87 tags ", 0);
    expect(found.fx + FX_MXCSR, wanted->fx + FX_MXCSR, 4, "MXCSR ", 0);
    for (int i = 0; i < 8; i++) {
        expect(found.fx + FX_X87 + 16 * i, wanted->fx + FX_X87 + 16 * i, 10, "st", i);
    }
    for (int i = 0; i < 16; i++) {
        expect(found.fx + FX_SSE + 16 * i, wanted->fx + FX_SSE + 16 * i, 16, "xmm", i);
    }
    for (int i = 0; i < 12; i++) {
        expect(&found.general[i], &wanted->general[i], 8, "general register ", i);
    }
    expect(&found.flags, &wanted->flags, 8, "RFLAGS ", 0);
}

void clobber(uint64_t seed)
{
    struct held registers;
    randomize(&registers, &seed);
    __asm__ volatile("fxrstor64 %0" : : "m"(registers.fx));
    usual_modes();
}
