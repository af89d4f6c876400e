/* FCOM and its kin; FTST and FXAM. */
#include "x87.h"

/* C3, C2, C0 tell the outcome; an empty operand is unordered with all. */
#define UNORDERED 0x4500u

static void compare_empty(CPUX86State *env)
{
    x87_stack_fault(env, 0);
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
            x87_stack_fault(env, 0);                                           \
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

#define ENTRY_FLAGS(name) \
    {#name "_ST0_FT0", (void *)name##_register, HOST_SSE2, CALL_TOUCHES_REGISTERS, false, X87_REGISTER, NULL},

const struct helper_call x87_compare_calls[] = {
    ENTRY_OPERANDS(fcom)
    ENTRY(fcom_ST0_FT0, X87_ZERO, ftst)
    ENTRY(fucom_ST0_FT0, X87_REGISTER, fucom_register)
    ENTRY_FLAGS(fcomi)
    ENTRY_FLAGS(fucomi)
    ENTRY_SAME(fxam_ST0)
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
