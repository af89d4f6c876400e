/* Loads and stores, with what they convert, and the constants. */
#include "x87.h"
#include "instruction.h"

#include <stdlib.h>

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
            if (!x87_stack_fault(env, 0)) {                                    \
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
    } else if (x87_stack_fault(env, 0)) {
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
        if (!x87_stack_fault(env, 0)) {
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

#define ENTRY_CONSTANT(name, ...) ENTRY(name, X87_PUSH, name)

const struct helper_call x87_memory_calls[] = {
    LOADS(ENTRY_SAME)
    STORES(ENTRY_SAME)
    CONSTANTS(ENTRY_CONSTANT)
    ENTRY_SAME(fldt_ST0)
    ENTRY_SAME(fstt_ST0)
    ENTRY_SAME(fbld_ST0)
    ENTRY_SAME(fbst_ST0)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
