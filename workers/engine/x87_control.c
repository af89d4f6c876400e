/* Control and status word, environment, waiting; what MMX does to the register stack. */
#include "x87.h"
#include "translate_fix.h"

#include <string.h>

static uint32_t fnstsw(CPUX86State *env)
{
    settle(env);
    return (uint32_t)(ENV_FPUS(env) & ~0x3800u) | (ENV_FPSTT(env) & 7) << 11;
}

static void fldcw(CPUX86State *env, uint32_t control)
{
    x87_wait(env, RETADDR);
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
    x87_wait(env, RETADDR);
}

static inline void enter_mmx(CPUX86State *env, uintptr_t retaddr)
{
    if (__builtin_expect(ENV_X87_STATE(env) != X87_ALL_MASKED, 0)) {
        x87_wait(env, retaddr);
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
        x87_wait(env, RETADDR);
    }
    ENV_FPSTT(env) = 0;
    memset(ENV_FPTAGS(env), 1, 8);
}

static void before_load(CPUX86State *env)
{
    x87_wait(env, RETADDR);
}

#define ENTRY_BEFORE(name, function, effect) {#name, (void *)function, HOST_SSE2, effect, true, X87_ALONE, NULL},

const struct helper_call x87_control_calls[] = {
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
