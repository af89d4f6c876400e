/* FADD, FMUL, FSUB and FDIV with each kind of operand. */
#include "x87.h"

/* d = d op s, or s op d, in registers. */
#define ARITHMETIC(name, instruction)                                          \
    static inline void name(CPUX86State *env, unsigned to, unsigned from, uintptr_t retaddr) \
    {                                                                          \
        extended result;                                                       \
        uint16_t status;                                                       \
                                                                               \
        begin(env, retaddr);                                                   \
        if (empty(env, to) || empty(env, from)) {                              \
            if (x87_stack_fault(env, 0)) {                                     \
                x87_set_indefinite(env, to);                                   \
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
            if (x87_stack_fault(env, 0)) {                                     \
                x87_set_indefinite(env, 0);                                    \
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

#define ENTRY_STN(name, ...) ENTRY(name##_STN_ST0, X87_ALONE, name##_STN_ST0)

const struct helper_call x87_arithmetic_calls[] = {
    ARITHMETICS(ENTRY_STN)
    ARITHMETICS(ENTRY_OPERANDS)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
