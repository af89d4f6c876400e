/* Square root, rounding, remainders, scaling and the transcendental functions. */
#include "x87.h"

#include <string.h>

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
            if (x87_stack_fault(env, 0)) {                                     \
                x87_set_indefinite(env, 0);                                    \
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
            if (x87_stack_fault(env, 0)) {                                     \
                x87_set_indefinite(env, 0);                                    \
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
            if (x87_stack_fault(env, 0)) {                                     \
                x87_set_indefinite(env, 1);                                    \
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
            if (x87_stack_fault(env, empty(env, 0) ? 0 : SW_C1)) {             \
                x87_set_indefinite(env, 0);                                    \
                push(env);                                                     \
                x87_set_indefinite(env, 0);                                    \
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

const struct helper_call x87_functions_calls[] = {
    FUNCTIONS(ENTRY_SAME)
    FUNCTIONS_OF_TWO(ENTRY_SAME)
    FUNCTIONS_AND_POP(ENTRY_SAME)
    FUNCTIONS_AND_PUSH(ENTRY_SAME)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
