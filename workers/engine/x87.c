/* The x87 on the host's own.
 *
 * While the guest's stack is the current one, the host's x87 has the guest's control word, and of the guest's
 * exception flags no other than are set: then the status word after an instruction tells its flags, its condition
 * codes and whether one of them is unmasked. Registers live in the engine's state and are loaded for one instruction.
 *
 * An instruction is several helpers to the engine: one fetches the second operand (or pushes), one computes, one pops.
 * The first and the second become one call of a function here (fpu_translate.c).
 */
#include "fpu.h"
#include "instruction.h"
#include "translate_fix.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

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

/* Prototypes for names that only the engine calls. */
void update_fp_status_x86_64(CPUX86State *env);

/* The guest's control word has changed, perhaps its status word, too. */
void x87_changed(CPUX86State *env)
{
    ENV_X87_STATE(env) = X87_NOT_LOADED;
    ENV_X87_ABORTED(env) = 0;
    self->ferr = FERR_NONE;
}

void REPLACES(update_fp_status)(CPUX86State *env)
{
    x87_changed(env);
}

/* ES and B say whether a flag is set that is not masked. */
void x87_settle(CPUX86State *env)
{
    ENV_FPUS(env) &= (uint16_t) ~(SW_ES | SW_B);
    if (ENV_FPUS(env) & ~ENV_FPUC(env) & SW_EXCEPTIONS) {
        ENV_FPUS(env) |= SW_ES | SW_B;
    }
}

/* An error while CR0.NE is clear (SDM vol. 1, 8.7.2 and D.2): FERR# goes out, and the instruction waits for an interrupt,
 * of which some handler clears the error or has IGNNE# asserted. With interrupts off nothing would end the wait,
 * so that there is none. */
static void error_outside(CPUX86State *env, uintptr_t retaddr)
{
    struct vcpu *vcpu = self;

    if (vcpu->ferr == FERR_IGNORED || (vcpu->ferr == FERR_NONE && !post_ferr(vcpu))) {
        return;
    }
    vcpu->ferr = FERR_ASSERTED;
    if (ENV_EFLAGS(env) & EFLAGS_IF) {
        sched_yield();
        uc.cpu_restore_state(vcpu->cpu, retaddr, true);
        uc.cpu_loop_exit_noexc(vcpu->cpu);
    }
}

/* What a waiting instruction does first. */
static void wait(CPUX86State *env, uintptr_t retaddr)
{
    x87_settle(env);
    if (ENV_FPUS(env) & SW_ES) {
        if (ENV_CR(env)[0] & CR0_NE) {
            uc.raise_exception_err_ra(env, EXCP_MF, 0, retaddr);
        }
        error_outside(env, retaddr);
    }
}

static uint16_t host_status(void)
{
    uint16_t status;

    __asm__ volatile("fnstsw %0" : "=a"(status));
    return status;
}

static void host_control(uint16_t control)
{
    __asm__ volatile("fldcw %0" : : "m"(control));
}

static __attribute__((noinline, cold)) void load(CPUX86State *env, unsigned masks, uintptr_t retaddr)
{
    wait(env, retaddr);
    if (ENV_FPUS(env) & SW_ES) {
        /* With CR0.NE clear it goes on. */
        masks = CW_MASKS;
    }
    if ((ENV_FPUS(env) & SW_ES) || (host_status() & ~ENV_FPUS(env) & SW_EXCEPTIONS)) {
        __asm__ volatile("fnclex");
    }
    host_control((uint16_t)(ENV_FPUC(env) | masks));
    ENV_X87_ABORTED(env) = 0;
    if ((ENV_FPUC(env) & CW_MASKS) == CW_MASKS) {
        ENV_X87_STATE(env) = X87_ALL_MASKED;
    }
}

/* Before an instruction that leaves the number of the host's registers as it is, whatever it raises. */
static inline void begin(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        load(env, 0, retaddr);
    }
}

/* Before one that does not: it runs with everything masked, and we see to it what the guest has unmasked. */
static inline void begin_masked(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        load(env, CW_MASKS, retaddr);
    }
}

static __attribute__((noinline, cold)) void unmasked(CPUX86State *env, unsigned raised)
{
    ENV_FPUS(env) |= SW_ES | SW_B;
    ENV_X87_STATE(env) = X87_NOT_LOADED;
    /* Its operands stay as they are, and nothing is popped. */
    ENV_X87_ABORTED(env) = (raised & SW_BEFORE_COMPUTATION) != 0;
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
        unmasked(env, raised);
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

static void set_indefinite(CPUX86State *env, unsigned n)
{
    struct extended_parts *to = (struct extended_parts *)value(env, n);

    to->significand = 0xc000000000000000ull;
    to->exponent = 0xffff;
    ENV_FPTAGS(env)[place(env, n)] = 0;
}

/* An operand is empty (C1 = 0), or a push hits a register that is not (C1 = 1). True: masked, the result is the
 * indefinite NaN. */
static __attribute__((noinline, cold)) bool stack_fault(CPUX86State *env, uint16_t c1)
{
    ENV_FPUS(env) = (uint16_t)((ENV_FPUS(env) & ~SW_C1) | c1 | SW_SF | SW_IE);
    if (!(ENV_FPUC(env) & SW_IE)) {
        unmasked(env, SW_IE);
        return false;
    }
    return true;
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
        if (stack_fault(env, SW_C1)) {
            push(env);
            set_indefinite(env, 0);
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

/* d = d op s, or s op d, in registers. */
#define ARITHMETIC(name, instruction)                                          \
    static inline void name(CPUX86State *env, unsigned to, unsigned from, uintptr_t retaddr) \
    {                                                                          \
        extended result;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin(env, retaddr);                                                   \
        if (empty(env, to) || empty(env, from)) {                              \
            if (stack_fault(env, 0)) {                                         \
                set_indefinite(env, to);                                       \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        result = *value(env, to);                                              \
        RUN(instruction " %%st(1), %%st", result, status, "u"(*value(env, from))); \
        if (end(env, status, SW_C1)) {                                         \
            *value(env, to) = result;                                          \
        }                                                                      \
    }                                                                          \
    static void name##_STN_ST0(CPUX86State *env, int n)                        \
    {                                                                          \
        name(env, (unsigned)n, 0, RETADDR);                                    \
    }                                                                          \
    static void name##_register(CPUX86State *env, int n)                       \
    {                                                                          \
        name(env, 0, (unsigned)n, RETADDR);                                    \
    }
/* ST(0) = ST(0) op memory. The operand is not converted first: a signalling NaN would be no longer one. */
#define ARITHMETIC_MEMORY(name, instruction, type)                             \
    static void name(CPUX86State *env, type operand)                           \
    {                                                                          \
        extended result;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0)) {                                                   \
            if (stack_fault(env, 0)) {                                         \
                set_indefinite(env, 0);                                        \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        result = *value(env, 0);                                               \
        RUN(instruction " %2", result, status, "m"(operand));                  \
        if (end(env, status, SW_C1)) {                                         \
            *value(env, 0) = result;                                           \
        }                                                                      \
    }
#define ARITHMETICS(X)                                                         \
    X(fadd, "fadd") X(fmul, "fmul") X(fsub, "fsub") X(fsubr, "fsubr") X(fdiv, "fdiv") X(fdivr, "fdivr")
#define ARITHMETICS_MEMORY(X)                                                  \
    X(fadd_m32, "fadds", uint32_t) X(fmul_m32, "fmuls", uint32_t) X(fsub_m32, "fsubs", uint32_t) \
    X(fsubr_m32, "fsubrs", uint32_t) X(fdiv_m32, "fdivs", uint32_t) X(fdivr_m32, "fdivrs", uint32_t) \
    X(fadd_m64, "faddl", uint64_t) X(fmul_m64, "fmull", uint64_t) X(fsub_m64, "fsubl", uint64_t) \
    X(fsubr_m64, "fsubrl", uint64_t) X(fdiv_m64, "fdivl", uint64_t) X(fdivr_m64, "fdivrl", uint64_t) \
    X(fadd_integer, "fiaddl", int32_t) X(fmul_integer, "fimull", int32_t) X(fsub_integer, "fisubl", int32_t) \
    X(fsubr_integer, "fisubrl", int32_t) X(fdiv_integer, "fidivl", int32_t) X(fdivr_integer, "fidivrl", int32_t)
ARITHMETICS(ARITHMETIC)
ARITHMETICS_MEMORY(ARITHMETIC_MEMORY)

/* C3, C2, C0 tell the outcome; an empty operand is unordered with all. */
#define UNORDERED 0x4500u

static void compare_empty(CPUX86State *env)
{
    stack_fault(env, 0);
    ENV_FPUS(env) |= UNORDERED;
}

#define COMPARE(name, instruction)                                             \
    static void name(CPUX86State *env, int n)                                  \
    {                                                                          \
        extended left;                                                         \
        uint16_t status;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0) || empty(env, (unsigned)n)) {                        \
            compare_empty(env);                                                \
            return;                                                            \
        }                                                                      \
        left = *value(env, 0);                                                 \
        RUN(instruction " %%st(1)", left, status, "u"(*value(env, (unsigned)n))); \
        end(env, status, SW_CONDITIONS);                                       \
    }
#define COMPARE_MEMORY(name, instruction, type)                                \
    static void name(CPUX86State *env, type operand)                           \
    {                                                                          \
        extended left;                                                         \
        uint16_t status;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0)) {                                                   \
            compare_empty(env);                                                \
            return;                                                            \
        }                                                                      \
        left = *value(env, 0);                                                 \
        RUN(instruction " %2", left, status, "m"(operand));                    \
        end(env, status, SW_CONDITIONS);                                       \
    }
/* To ZF, PF and CF. */
#define COMPARE_FLAGS(name, instruction)                                       \
    static void name(CPUX86State *env, int n)                                  \
    {                                                                          \
        uint8_t zero = 1, parity = 1, carry = 1;                               \
        uint16_t status;                                                       \
        extended left;                                                         \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0) || empty(env, (unsigned)n)) {                        \
            stack_fault(env, 0);                                               \
        } else {                                                               \
            left = *value(env, 0);                                             \
            __asm__ volatile(instruction " %%st(1), %%st\n\tsetz %2\n\tsetp %3\n\tsetc %4" STATUS \
                             : "+t"(left), "=a"(status), "=q"(zero), "=q"(parity), "=q"(carry) \
                             : "u"(*value(env, (unsigned)n))                   \
                             : "cc", "memory");                                \
            end(env, status & (uint16_t)~SW_C1, SW_C1);                        \
        }                                                                      \
        ENV_CC_SRC(env) = (uint64_t)(carry | parity << 2 | zero << 6);         \
    }
COMPARE(fcom_register, "fcom")
COMPARE(fucom_register, "fucom")
COMPARE_MEMORY(fcom_m32, "fcoms", uint32_t)
COMPARE_MEMORY(fcom_m64, "fcoml", uint64_t)
COMPARE_MEMORY(fcom_integer, "ficoml", int32_t)
COMPARE_FLAGS(fcomi_register, "fcomi")
COMPARE_FLAGS(fucomi_register, "fucomi")

/* One operand, one result, and the condition codes that tell of it. */
#define FUNCTION(name, conditions)                                             \
    static void name(CPUX86State *env)                                         \
    {                                                                          \
        extended result;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0)) {                                                   \
            ENV_FPUS(env) &= (uint16_t)~((conditions) & SW_C2);                \
            if (stack_fault(env, 0)) {                                         \
                set_indefinite(env, 0);                                        \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        result = *value(env, 0);                                               \
        RUN(#name, result, status);                                            \
        if (end(env, status, conditions)) {                                    \
            *value(env, 0) = result;                                           \
        }                                                                      \
    }
/* By the bits: a comparison would set flags. */
static inline bool is_nan(extended number)
{
    struct extended_parts parts;

    memcpy(&parts, &number, sizeof(parts.significand) + sizeof(parts.exponent));
    return (parts.exponent & 0x7fff) == 0x7fff && parts.significand << 1 != 0;
}

/* ST(0) with ST(1) */
#define FUNCTION_OF_TWO(name, conditions)                                      \
    static void name(CPUX86State *env)                                         \
    {                                                                          \
        extended result;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0) || empty(env, 1)) {                                  \
            ENV_FPUS(env) &= (uint16_t)~((conditions) & SW_C2);                \
            if (stack_fault(env, 0)) {                                         \
                set_indefinite(env, 0);                                        \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        result = *value(env, 0);                                               \
        RUN(#name, result, status, "u"(*value(env, 1)));                       \
        /* Without a quotient its bits stay as they were. */                   \
        if (is_nan(result) || (status & ~ENV_FPUC(env) & SW_BEFORE_COMPUTATION)) { \
            status = (uint16_t)((status & ~SW_CONDITIONS) | (ENV_FPUS(env) & SW_QUOTIENT)); \
        }                                                                      \
        if (end(env, status, conditions)) {                                    \
            *value(env, 0) = result;                                           \
        }                                                                      \
    }
/* ST(1) from ST(1) and ST(0), which is popped. */
#define FUNCTION_AND_POP(name)                                                 \
    static void name(CPUX86State *env)                                         \
    {                                                                          \
        uint16_t status, before;                                               \
        extended result;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0) || empty(env, 1)) {                                  \
            if (stack_fault(env, 0)) {                                         \
                set_indefinite(env, 1);                                        \
                pop(env);                                                      \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        __asm__ volatile(BEFORE #name AFTER "fstp %%st\n2:"                    \
                         : "=t"(result), "=&a"(status), [before] "=&r"(before)          \
                         : "0"(*value(env, 0)), "u"(*value(env, 1))            \
                         : "st(1)", "cc", "memory");                           \
        if (end(env, status, SW_C1)) {                                         \
            *value(env, 1) = result;                                           \
            pop(env);                                                          \
        }                                                                      \
    }
/* Two results: one in the place of ST(0), one pushed. Out of range (C2) there is none. */
#define FUNCTION_AND_PUSH(name, conditions)                                    \
    static void name(CPUX86State *env)                                         \
    {                                                                          \
        uint16_t status, before;                                               \
        extended pushed, below;                                                \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0) || !empty(env, 7)) {                                 \
            ENV_FPUS(env) &= (uint16_t)~((conditions) & SW_C2);                \
            if (stack_fault(env, empty(env, 0) ? 0 : SW_C1)) {                 \
                set_indefinite(env, 0);                                        \
                push(env);                                                     \
                set_indefinite(env, 0);                                        \
            }                                                                  \
            return;                                                            \
        }                                                                      \
        __asm__ volatile(BEFORE #name AFTER "fldz\n2:"                         \
                         : "=t"(pushed), "=u"(below), "=&a"(status), [before] "=&r"(before) \
                         : "0"(*value(env, 0))                                 \
                         : "cc", "memory");                                    \
        if (end(env, status, conditions) && !(status & (conditions) & SW_C2)) { \
            *value(env, 0) = below;                                            \
            push(env);                                                         \
            *value(env, 0) = pushed;                                           \
        }                                                                      \
    }
#define FUNCTIONS(X)                                                           \
    X(fsqrt, SW_C1) X(frndint, SW_C1) X(f2xm1, SW_C1) X(fsin, SW_C1 | SW_C2) X(fcos, SW_C1 | SW_C2)
#define FUNCTIONS_OF_TWO(X) X(fprem, SW_CONDITIONS) X(fprem1, SW_CONDITIONS) X(fscale, SW_C1)
#define FUNCTIONS_AND_POP(X) X(fyl2x) X(fyl2xp1) X(fpatan)
#define FUNCTIONS_AND_PUSH(X) X(fxtract, SW_C1) X(fptan, SW_C1 | SW_C2) X(fsincos, SW_C1 | SW_C2)
FUNCTIONS(FUNCTION)
FUNCTIONS_OF_TWO(FUNCTION_OF_TWO)
FUNCTIONS_AND_POP(FUNCTION_AND_POP)
FUNCTIONS_AND_PUSH(FUNCTION_AND_PUSH)

/* --- Loads and stores ---------------------------------------------------------------------------------- */

#define LOAD(name, instruction, type)                                          \
    static void name(CPUX86State *env, type operand)                           \
    {                                                                          \
        extended loaded;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin_masked(env, RETADDR);                                            \
        if (!room(env)) {                                                      \
            return;                                                            \
        }                                                                      \
        __asm__ volatile(instruction " %2\n\tfnstsw %%ax"                      \
                         : "=t"(loaded), "=a"(status)                          \
                         : "m"(operand)                                        \
                         : "memory");                                          \
        /* No load rounds, and only an invalid operand is not loaded. */       \
        if (end(env, status & ~SW_C1, SW_C1) || !(status & ~ENV_FPUC(env) & SW_IE)) { \
            ENV_X87_ABORTED(env) = 0;                                          \
            push(env);                                                         \
            *value(env, 0) = loaded;                                           \
        }                                                                      \
    }
/* The constants are rounded as the control word says. */
#define LOAD_CONSTANT(name, instruction)                                       \
    static void name(CPUX86State *env)                                         \
    {                                                                          \
        extended loaded;                                                       \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (!room(env)) {                                                      \
            return;                                                            \
        }                                                                      \
        __asm__ volatile(instruction : "=t"(loaded) : : "memory");             \
        ENV_FPUS(env) &= (uint16_t)~SW_C1;                                     \
        push(env);                                                             \
        *value(env, 0) = loaded;                                               \
    }
/* The instruction has ended without a store, which its block would do next. */
static _Noreturn void end_without_store(CPUX86State *env, uintptr_t retaddr)
{
    struct vcpu *vcpu = self;

    uc.cpu_restore_state(vcpu->cpu, retaddr, true);
    ENV_EIP(env) += instruction_operand_length(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env));
    if (ENV_EFLAGS(env) & EFLAGS_TF) {
        debug_single_step(vcpu, retaddr);
    }
    uc.cpu_loop_exit_noexc(vcpu->cpu);
    abort();
}

/* What the host's instruction pops is a copy. Unmasked overflow and underflow, too, leave the register as it is. */
#define STORE(name, instruction, type, indefinite)                             \
    static type name(CPUX86State *env)                                         \
    {                                                                          \
        type stored = (type)(indefinite);                                      \
        uint16_t status, before;                                               \
                                                                               \
        begin(env, RETADDR);                                                   \
        if (empty(env, 0)) {                                                   \
            if (!stack_fault(env, 0)) {                                        \
                end_without_store(env, RETADDR);                               \
            }                                                                  \
            return stored;                                                     \
        }                                                                      \
        if (__builtin_expect(ENV_X87_STATE(env) == X87_ALL_MASKED, 1)) {       \
            __asm__ volatile(instruction " %0\n\tfnstsw %%ax"                  \
                             : "=m"(stored), "=a"(status)                      \
                             : "t"(*value(env, 0))                             \
                             : "st", "memory");                                \
        } else {                                                               \
            __asm__ volatile(BEFORE instruction " %0" AFTER "fstp %%st\n2:"    \
                             : "+m"(stored), "=&a"(status), [before] "=&r"(before) \
                             : "t"(*value(env, 0))                             \
                             : "st", "cc", "memory");                          \
        }                                                                      \
        if (!end(env, status, SW_C1) || (status & ~ENV_FPUC(env) & SW_OVERFLOW_UNDERFLOW)) { \
            end_without_store(env, RETADDR);                                   \
        }                                                                      \
        return stored;                                                         \
    }
#define LOADS(X)                                                               \
    X(flds_ST0, "flds", uint32_t) X(fldl_ST0, "fldl", uint64_t) X(fildl_ST0, "fildl", int32_t) \
    X(fildll_ST0, "fildll", int64_t)
#define CONSTANTS(X)                                                           \
    X(fld1_ST0, "fld1") X(fldl2t_ST0, "fldl2t") X(fldl2e_ST0, "fldl2e") X(fldpi_ST0, "fldpi") \
    X(fldlg2_ST0, "fldlg2") X(fldln2_ST0, "fldln2") X(fldz_ST0, "fldz")
#define STORES(X)                                                              \
    X(fsts_ST0, "fstps", uint32_t, 0xffc00000) X(fstl_ST0, "fstpl", uint64_t, 0xfff8000000000000) \
    X(fistl_ST0, "fistpl", int32_t, INT32_MIN) X(fistll_ST0, "fistpll", int64_t, INT64_MIN) \
    X(fisttl_ST0, "fisttpl", int32_t, INT32_MIN) X(fisttll_ST0, "fisttpll", int64_t, INT64_MIN) \
    X(fist_ST0, "fistps", int16_t, INT16_MIN) X(fistt_ST0, "fisttps", int16_t, INT16_MIN)
LOADS(LOAD)
CONSTANTS(LOAD_CONSTANT)
STORES(STORE)

/* An 80-bit load or store converts nothing. */
static void fldt_ST0(CPUX86State *env, uint64_t address)
{
    uint64_t significand = uc.cpu_ldq_data_ra(env, address, RETADDR);
    uint16_t exponent = (uint16_t)uc.cpu_lduw_data_ra(env, address + 8, RETADDR);
    struct extended_parts *to;

    begin(env, RETADDR);
    if (room(env)) {
        push(env);
        ENV_FPUS(env) &= (uint16_t)~SW_C1;
        to = (struct extended_parts *)value(env, 0);
        to->significand = significand;
        to->exponent = exponent;
    }
}

static void store_extended(CPUX86State *env, uint64_t address, const struct extended_parts *from, uintptr_t retaddr)
{
    /* The end first: a fault leaves nothing behind. */
    uc.cpu_stw_data_ra(env, address + 8, from->exponent, retaddr);
    uc.cpu_stq_data_ra(env, address, from->significand, retaddr);
}

static void fstt_ST0(CPUX86State *env, uint64_t address)
{
    const struct extended_parts indefinite = {0xc000000000000000ull, 0xffff};

    begin(env, RETADDR);
    if (!empty(env, 0)) {
        ENV_FPUS(env) &= (uint16_t)~SW_C1;
        store_extended(env, address, (const struct extended_parts *)value(env, 0), RETADDR);
    } else if (stack_fault(env, 0)) {
        store_extended(env, address, &indefinite, RETADDR);
    }
}

static void fbld_ST0(CPUX86State *env, uint64_t address)
{
    struct extended_parts decimal;
    extended loaded;

    decimal.significand = uc.cpu_ldq_data_ra(env, address, RETADDR);
    decimal.exponent = (uint16_t)uc.cpu_lduw_data_ra(env, address + 8, RETADDR);
    begin_masked(env, RETADDR);
    if (room(env)) {
        __asm__ volatile("fbld %1" : "=t"(loaded) : "m"(decimal) : "memory");
        ENV_FPUS(env) &= (uint16_t)~SW_C1;
        push(env);
        *value(env, 0) = loaded;
    }
}

static void fbst_ST0(CPUX86State *env, uint64_t address)
{
    struct extended_parts decimal = {0xc000000000000000ull, 0xffff};
    uint16_t status;

    begin_masked(env, RETADDR);
    if (empty(env, 0)) {
        if (!stack_fault(env, 0)) {
            return;
        }
    } else {
        __asm__ volatile("fbstp %0\n\tfnstsw %%ax"
                         : "=m"(decimal), "=a"(status)
                         : "t"(*value(env, 0))
                         : "st", "memory");
        if (!end(env, status, SW_C1)) {
            return;
        }
    }
    store_extended(env, address, &decimal, RETADDR);
}

/* --- Moves and the stack's top ------------------------------------------------------------------------- */

static void fld_register(CPUX86State *env, int n)
{
    /* The engine counts from the new top. */
    unsigned from = (unsigned)n - 1;

    begin(env, RETADDR);
    if (!room(env)) {
        return;
    }
    if (empty(env, from)) {
        if (stack_fault(env, 0)) {
            push(env);
            set_indefinite(env, 0);
        }
        return;
    }
    ENV_FPUS(env) &= (uint16_t)~SW_C1;
    push(env);
    copy(env, 0, from + 1);
}

/* FCMOVcc, whether its condition holds or not. */
void x87_before_fcmov(CPUX86State *env, uint64_t n)
{
    begin(env, RETADDR);
    ENV_X87_FCMOV_FAULT(env) = 0;
    if (empty(env, 0) || empty(env, (unsigned)n)) {
        ENV_X87_FCMOV_FAULT(env) = 1;
        if (stack_fault(env, 0)) {
            set_indefinite(env, 0);
        }
    }
}

/* FCMOVcc, when the condition holds. */
static void fmov_ST0_STN(CPUX86State *env, int n)
{
    if (!ENV_X87_FCMOV_FAULT(env)) {
        copy(env, 0, (unsigned)n);
    }
}

/* FST and FSTP to a register. */
static void fmov_STN_ST0(CPUX86State *env, int n)
{
    begin(env, RETADDR);
    if (!empty(env, 0)) {
        ENV_FPUS(env) &= (uint16_t)~SW_C1;
        copy(env, (unsigned)n, 0);
        ENV_FPTAGS(env)[place(env, (unsigned)n)] = 0;
    } else if (stack_fault(env, 0)) {
        set_indefinite(env, (unsigned)n);
    }
}

static void fxchg_ST0_STN(CPUX86State *env, int n)
{
    struct extended_parts *top, *other, was;

    begin(env, RETADDR);
    if (empty(env, 0) || empty(env, (unsigned)n)) {
        if (!stack_fault(env, 0)) {
            return;
        }
        if (empty(env, 0)) {
            set_indefinite(env, 0);
        }
        if (empty(env, (unsigned)n)) {
            set_indefinite(env, (unsigned)n);
        }
    } else {
        ENV_FPUS(env) &= (uint16_t)~SW_C1;
    }
    top = (struct extended_parts *)value(env, 0);
    other = (struct extended_parts *)value(env, (unsigned)n);
    was.significand = ((volatile struct extended_parts *)top)->significand;
    was.exponent = ((volatile struct extended_parts *)top)->exponent;
    copy(env, 0, (unsigned)n);
    other->significand = was.significand;
    other->exponent = was.exponent;
}

static void ffree_STN(CPUX86State *env, int n)
{
    begin(env, RETADDR);
    ENV_FPTAGS(env)[place(env, (unsigned)n)] = 1;
}

static void fpop(CPUX86State *env)
{
    pop(env);
}

static void fincstp(CPUX86State *env)
{
    begin(env, RETADDR);
    ENV_FPUS(env) &= (uint16_t)~SW_C1;
    ENV_FPSTT(env) = place(env, 1);
}

static void fdecstp(CPUX86State *env)
{
    begin(env, RETADDR);
    ENV_FPUS(env) &= (uint16_t)~SW_C1;
    ENV_FPSTT(env) = place(env, 7);
}

#define SIGN(name, expression)                                                          \
    static void name(CPUX86State *env)                                                  \
    {                                                                                   \
        begin(env, RETADDR);                                                            \
        if (!empty(env, 0)) {                                                           \
            volatile struct extended_parts *top = (struct extended_parts *)value(env, 0);\
                                                                                        \
            ENV_FPUS(env) &= (uint16_t)~SW_C1;                                          \
            top->exponent = (uint16_t)(expression);                                     \
        } else if (stack_fault(env, 0)) {                                               \
            set_indefinite(env, 0);                                                     \
        }                                                                               \
    }
SIGN(fchs_ST0, top->exponent ^ 0x8000)
SIGN(fabs_ST0, top->exponent & 0x7fff)

static void fxam_ST0(CPUX86State *env)
{
    uint16_t sign = ((const volatile struct extended_parts *)value(env, 0))->exponent >> 15 ? SW_C1 : 0;
    uint16_t status = 0x4100 | sign;
    extended top;

    begin(env, RETADDR);
    if (!empty(env, 0)) {
        top = *value(env, 0);
        __asm__ volatile("fxam\n\tfnstsw %%ax" : "=a"(status) : "t"(top) : "memory");
    }
    ENV_FPUS(env) = (uint16_t)((ENV_FPUS(env) & ~SW_CONDITIONS) | (status & SW_CONDITIONS));
}

static void ftst(CPUX86State *env)
{
    extended top;
    uint16_t status;

    begin(env, RETADDR);
    if (empty(env, 0)) {
        compare_empty(env);
        return;
    }
    top = *value(env, 0);
    RUN("ftst", top, status);
    end(env, status, SW_CONDITIONS);
}

/* --- Control ------------------------------------------------------------------------------------------- */

static uint32_t fnstsw(CPUX86State *env)
{
    x87_settle(env);
    return (uint32_t)(ENV_FPUS(env) & ~0x3800u) | (ENV_FPSTT(env) & 7) << 11;
}

static void fldcw(CPUX86State *env, uint32_t control)
{
    wait(env, RETADDR);
    ENV_FPUC(env) = (uint16_t)((control & CW_VALID) | CW_ALWAYS);
    ENV_X87_STATE(env) = X87_NOT_LOADED;
}

static void fclex(CPUX86State *env)
{
    self->ferr = FERR_NONE;
    ENV_FPUS(env) &= (uint16_t) ~(SW_EXCEPTIONS | SW_SF | SW_ES | SW_B);
    ENV_X87_STATE(env) = X87_NOT_LOADED;
}

static void fwait(CPUX86State *env)
{
    wait(env, RETADDR);
}

static inline void enter_mmx(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        wait(env, retaddr);
    }
    ENV_FPSTT(env) = 0;
    memset(ENV_FPTAGS(env), 0, 8);
}

void x87_use_mmx(CPUX86State *env)
{
    enter_mmx(env, RETADDR);
}

/* The x87 sees a NaN or an infinity in a register that MMX has written (SDM vol. 1, 9.5.1). */
void x87_enter_mmx(CPUX86State *env, uint64_t reg)
{
    enter_mmx(env, RETADDR);
    ((struct extended_parts *)ENV_FPREG(env, reg))->exponent = 0xffff;
}

static void emms(CPUX86State *env)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        wait(env, RETADDR);
    }
    ENV_FPSTT(env) = 0;
    memset(ENV_FPTAGS(env), 1, 8);
}

static void before_load(CPUX86State *env)
{
    wait(env, RETADDR);
}

#define ENTRY(name, from, function) {#name, (void *)function, HOST_SSE2, CALL_MAY_RAISE, false, from, NULL},
#define ENTRY_SAME(name, ...) ENTRY(name, X87_ALONE, name)
#define ENTRY_STN(name, ...) ENTRY(name##_STN_ST0, X87_ALONE, name##_STN_ST0)
#define ENTRY_CONSTANT(name, ...) ENTRY(name, X87_PUSH, name)
/* ST(0) with each kind of second operand. */
#define ENTRY_OPERANDS(name, ...)                                              \
    ENTRY(name##_ST0_FT0, X87_REGISTER, name##_register) ENTRY(name##_ST0_FT0, X87_M32, name##_m32) \
    ENTRY(name##_ST0_FT0, X87_M64, name##_m64) ENTRY(name##_ST0_FT0, X87_INTEGER, name##_integer)
#define ENTRY_QUIET(name, before) {#name, (void *)name, HOST_SSE2, CALL_TOUCHES_NONE, before, X87_ALONE, NULL},
#define ENTRY_BEFORE(name, function, effect) {#name, (void *)function, HOST_SSE2, effect, true, X87_ALONE, NULL},
#define ENTRY_FLAGS(name) \
    {#name "_ST0_FT0", (void *)name##_register, HOST_SSE2, CALL_TOUCHES_REGISTERS, false, X87_REGISTER, NULL},

const struct helper_call x87_calls[] = {
    ARITHMETICS(ENTRY_STN)
    ARITHMETICS(ENTRY_OPERANDS)
    ENTRY_OPERANDS(fcom)
    ENTRY(fcom_ST0_FT0, X87_ZERO, ftst)
    ENTRY(fucom_ST0_FT0, X87_REGISTER, fucom_register)
    ENTRY_FLAGS(fcomi)
    ENTRY_FLAGS(fucomi)
    FUNCTIONS(ENTRY_SAME)
    FUNCTIONS_OF_TWO(ENTRY_SAME)
    FUNCTIONS_AND_POP(ENTRY_SAME)
    FUNCTIONS_AND_PUSH(ENTRY_SAME)
    LOADS(ENTRY_SAME)
    STORES(ENTRY_SAME)
    CONSTANTS(ENTRY_CONSTANT)
    ENTRY_SAME(fldt_ST0)
    ENTRY_SAME(fstt_ST0)
    ENTRY_SAME(fbld_ST0)
    ENTRY_SAME(fbst_ST0)
    ENTRY(fmov_ST0_STN, X87_PUSH, fld_register)
    ENTRY_SAME(fmov_ST0_STN)
    ENTRY_SAME(fmov_STN_ST0)
    ENTRY_SAME(fxchg_ST0_STN)
    ENTRY_SAME(ffree_STN)
    ENTRY_QUIET(fpop, false)
    ENTRY_SAME(fincstp)
    ENTRY_SAME(fdecstp)
    ENTRY_SAME(fchs_ST0)
    ENTRY_SAME(fabs_ST0)
    ENTRY_SAME(fxam_ST0)
    ENTRY_QUIET(fnstsw, false)
    ENTRY_SAME(fldcw)
    ENTRY_QUIET(fclex, false)
    ENTRY_SAME(fwait)
    ENTRY(enter_mmx, X87_ALONE, x87_use_mmx)
    ENTRY_SAME(emms)
    ENTRY_BEFORE(fstenv, x87_settle, CALL_TOUCHES_NONE)
    ENTRY_BEFORE(fsave, x87_settle, CALL_TOUCHES_NONE)
    ENTRY_BEFORE(fldenv, before_load, CALL_MAY_RAISE)
    ENTRY_BEFORE(frstor, before_load, CALL_MAY_RAISE)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
