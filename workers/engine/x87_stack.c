/* Moves between registers, the sign, tags and the stack's top. */
#include "x87.h"
#include "translate_fix.h"

static void fld_register(CPUX86State *env, int n)
{
    /* The engine counts from the new top. */
    unsigned from = (unsigned)n - 1;

    begin(env, RETADDR);
    if (!room(env)) {
        return;
    }
    if (empty(env, from)) {
        if (x87_stack_fault(env, 0)) {
            push(env);
            x87_set_indefinite(env, 0);
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
        if (x87_stack_fault(env, 0)) {
            x87_set_indefinite(env, 0);
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
    } else if (x87_stack_fault(env, 0)) {
        x87_set_indefinite(env, (unsigned)n);
    }
}

static void fxchg_ST0_STN(CPUX86State *env, int n)
{
    struct extended_parts *top, *other, was;

    begin(env, RETADDR);
    if (empty(env, 0) || empty(env, (unsigned)n)) {
        if (!x87_stack_fault(env, 0)) {
            return;
        }
        if (empty(env, 0)) {
            x87_set_indefinite(env, 0);
        }
        if (empty(env, (unsigned)n)) {
            x87_set_indefinite(env, (unsigned)n);
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
        } else if (x87_stack_fault(env, 0)) {                                           \
            x87_set_indefinite(env, 0);                                                 \
        }                                                                               \
    }
SIGN(fchs_ST0, top->exponent ^ 0x8000)
SIGN(fabs_ST0, top->exponent & 0x7fff)

const struct helper_call x87_stack_calls[] = {
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
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
