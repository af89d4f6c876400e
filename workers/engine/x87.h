/* An instruction of the guest's x87, run by the host's: what every file x87*.c does around it.
 *
 * An instruction is several helpers to the engine: one fetches the second operand (or pushes), one computes, one pops.
 * The first and the second become one call of a function there (fpu_translate.c).
 */
#ifndef MPVM_X87_H
#define MPVM_X87_H

#include "fpu.h"

/* Status word (SDM vol. 1, 8.1.3) */
#define SW_IE 0x0001u
#define SW_BEFORE_COMPUTATION 0x0007u /* IE, DE, ZE */
#define SW_OVERFLOW_UNDERFLOW 0x0018u
#define SW_EXCEPTIONS 0x003fu
#define SW_SF 0x0040u
#define SW_ES 0x0080u
#define SW_C1 0x0200u
#define SW_C2 0x0400u
#define SW_QUOTIENT 0x4100u /* C0 and C3; FPREM has the third bit in C1 */
#define SW_CONDITIONS 0x4700u
#define SW_B 0x8000u

/* Control word (SDM vol. 1, 8.1.5) */
#define CW_MASKS 0x003fu
#define CW_VALID 0x1f3fu
#define CW_ALWAYS 0x0040u

/* x87.c: what is seldom (cold here: it is their callers that move it out of the way) */
void x87_wait(CPUX86State *env, uintptr_t retaddr);
__attribute__((cold)) void x87_load_control(CPUX86State *env, unsigned masks, uintptr_t retaddr);
__attribute__((cold)) void x87_unmasked(CPUX86State *env, unsigned raised);
__attribute__((cold)) bool x87_stack_fault(CPUX86State *env, uint16_t c1);
__attribute__((cold)) void x87_set_indefinite(CPUX86State *env, unsigned n);

/* ES and B say whether a flag is set that is not masked. */
static inline void settle(CPUX86State *env)
{
    ENV_FPUS(env) &= (uint16_t) ~(SW_ES | SW_B);
    if (ENV_FPUS(env) & ~ENV_FPUC(env) & SW_EXCEPTIONS) {
        ENV_FPUS(env) |= SW_ES | SW_B;
    }
}

/* Before an instruction that leaves the number of the host's registers as it is, whatever it raises. */
static inline void begin(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        x87_load_control(env, 0, retaddr);
    }
}

/* Before one that does not: it runs with everything masked, and we see to it what the guest has unmasked. */
static inline void begin_masked(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        x87_load_control(env, CW_MASKS, retaddr);
    }
}

/* After an instruction: flags, and the condition codes `conditions`. False when it has not written its result. */
static inline bool end(CPUX86State *env, uint16_t status, uint16_t conditions)
{
    unsigned raised = status & ~(unsigned)ENV_FPUC(env) & SW_EXCEPTIONS;

    if (__builtin_expect(raised & SW_BEFORE_COMPUTATION, 0)) {
        /* There was no computation, though with all masked the host has made it. */
        status &= (uint16_t) ~(SW_EXCEPTIONS & ~SW_BEFORE_COMPUTATION);
    }
    ENV_FPUS(env) = (uint16_t)((ENV_FPUS(env) & ~conditions) | (status & (conditions | SW_EXCEPTIONS)));
    if (__builtin_expect(raised != 0, 0)) {
        x87_unmasked(env, raised);
        return !ENV_X87_ABORTED(env);
    }
    return true;
}

/* --- The register stack -------------------------------------------------------------------------------- */

/* A register as it lies in memory; parts as the host stores them, or a load would wait for the cache. */
struct extended_parts {
    uint64_t significand;
    uint16_t exponent;
} __attribute__((may_alias));
typedef long double __attribute__((may_alias)) extended;

static inline unsigned place(const CPUX86State *env, unsigned n)
{
    return (ENV_FPSTT(env) + n) & 7;
}

static inline extended *value(CPUX86State *env, unsigned n)
{
    return (extended *)ENV_FPREG(env, place(env, n));
}

static inline bool empty(CPUX86State *env, unsigned n)
{
    return __builtin_expect(ENV_FPTAGS(env)[place(env, n)] != 0, 0);
}

static inline void copy(CPUX86State *env, unsigned to, unsigned from)
{
    struct extended_parts *destination = (struct extended_parts *)value(env, to);
    const volatile struct extended_parts *source = (const volatile struct extended_parts *)value(env, from);

    destination->significand = source->significand;
    destination->exponent = source->exponent;
}

static inline void push(CPUX86State *env)
{
    ENV_FPSTT(env) = place(env, 7);
    ENV_FPTAGS(env)[ENV_FPSTT(env)] = 0;
}

static inline void pop(CPUX86State *env)
{
    if (__builtin_expect(ENV_X87_ABORTED(env), 0)) {
        return;
    }
    ENV_FPTAGS(env)[ENV_FPSTT(env)] = 1;
    ENV_FPSTT(env) = place(env, 1);
}

/* Whether there is room for one more. If not, the push is over. */
static inline bool room(CPUX86State *env)
{
    if (!empty(env, 7)) {
        if (x87_stack_fault(env, SW_C1)) {
            push(env);
            x87_set_indefinite(env, 0);
        }
        return false;
    }
    return true;
}

/* --- Host instructions --------------------------------------------------------------------------------- */

/* A pending exception of the host must not hit its next x87 instruction, which is the compiler's. */
#define STATUS "\n\tfnstsw %%ax\n\ttestb $0x80, %%al\n\tjz 1f\n\tfnclex\n1:"
#define RUN(instruction, result, status, ...) \
    __asm__ volatile(instruction STATUS : "+t"(result), "=a"(status) : __VA_ARGS__ : "cc", "memory")

/* Around an instruction that pushes or pops, unless it does not for an unmasked exception or an operand out of
 * range, which the top of the host's stack tells: what comes after makes up for it. */
#define BEFORE "fnstsw %%ax\n\tmovw %%ax, %w[before]\n\t"
#define AFTER STATUS "\n\txorw %%ax, %w[before]\n\ttestw $0x3800, %w[before]\n\tjnz 2f\n\t"

/* --- Entries of a table -------------------------------------------------------------------------------- */

#define ENTRY(name, from, function) {#name, (void *)function, HOST_SSE2, CALL_MAY_RAISE, false, from, NULL},
#define ENTRY_SAME(name, ...) ENTRY(name, X87_ALONE, name)
/* ST(0) with each kind of second operand. */
#define ENTRY_OPERANDS(name, ...)                                              \
    ENTRY(name##_ST0_FT0, X87_REGISTER, name##_register) ENTRY(name##_ST0_FT0, X87_M32, name##_m32) \
    ENTRY(name##_ST0_FT0, X87_M64, name##_m64) ENTRY(name##_ST0_FT0, X87_INTEGER, name##_integer)
#define ENTRY_QUIET(name, before) {#name, (void *)name, HOST_SSE2, CALL_TOUCHES_NONE, before, X87_ALONE, NULL},

#endif
