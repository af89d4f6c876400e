/* MXCSR between the guest's register and the host's, and the instructions that load and store it. */
#include "fpu.h"

#include <stdlib.h>

#define FXSAVE_MXCSR 24
#define XSTATE_SSE 2u

/* Prototypes for names that only the engine calls. */
void update_mxcsr_status_x86_64(CPUX86State *env);

/* The guest's MXCSR has changed: the engine would tell its softfloat, which nothing uses. */
void REPLACES(update_mxcsr_status)(CPUX86State *env)
{
    ENV_MXCSR_STATE(env) = MXCSR_NOT_LOADED;
}

void mxcsr_set(CPUX86State *env, uint32_t value)
{
    ENV_MXCSR(env) = value;
    ENV_MXCSR_STATE(env) = MXCSR_NOT_LOADED;
}

/* Make the host's MXCSR the guest's. Once more before each instruction while one may raise #XM. */
__attribute__((noinline, cold)) void mxcsr_load(CPUX86State *env, uintptr_t retaddr)
{
    uint32_t mxcsr = ENV_MXCSR(env);

    self->float_retaddr = retaddr;
    if (ENV_MXCSR_STATE(env) == MXCSR_NOT_LOADED) {
        ENV_MXCSR_STATE(env) = (mxcsr & MXCSR_MASKS) == MXCSR_MASKS ? MXCSR_ALL_MASKED : MXCSR_SOME_UNMASKED;
        _mm_setcsr(mxcsr);
    }
}

/* Bring the guest's register up to date. On the guest's own stack only: its context has the host's MXCSR. */
void mxcsr_take_flags(CPUX86State *env)
{
    if (ENV_MXCSR_STATE(env) != MXCSR_NOT_LOADED) {
        ENV_MXCSR(env) |= _mm_getcsr() & MXCSR_FLAGS;
    }
}

/* Where the instruction goes on that has raised SIGFPE. */
static _Noreturn void raise_simd_exception(void)
{
    struct vcpu *vcpu = self;
    int exception = ENV_CR(vcpu->env)[4] & CR4_OSXMMEXCPT ? EXCP_XM : EXCP_UD;

    uc.raise_exception_err_ra(vcpu->env, exception, 0, vcpu->float_retaddr);
    abort();
}

static struct sigaction former_action;

/* An exception that the guest has unmasked: its flags are set, and #XM comes instead of the rest of our function. */
static SIGNAL_SAFE void float_exception(int signal, siginfo_t *info, void *context)
{
    const uintptr_t red_zone = 128;
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    greg_t *registers = machine->gregs;
    CPUX86State *env;

    (void)signal;
    if (self == NULL || info->si_code <= 0 || ENV_MXCSR_STATE(self->env) != MXCSR_SOME_UNMASKED) {
        /* None of the guest's: it comes again, to whom it would have gone without us. */
        sigaction(SIGFPE, &former_action, NULL);
        return;
    }
    env = self->env;
    ENV_MXCSR(env) |= machine->fpregs->mxcsr & MXCSR_FLAGS;
    ENV_MXCSR_STATE(env) = MXCSR_NOT_LOADED;
    machine->fpregs->mxcsr |= MXCSR_MASKS;
    registers[REG_RIP] = (greg_t)(uintptr_t)raise_simd_exception;
    /* As after a call. */
    registers[REG_RSP] = ((registers[REG_RSP] - (greg_t)red_zone) & ~(greg_t)15) - 8;
}

void float_exceptions_init(void)
{
    struct sigaction action = {.sa_sigaction = float_exception, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction former;

    sigemptyset(&action.sa_mask);
    sigaction(SIGFPE, &action, &former);
    if (former.sa_sigaction != float_exception) {
        former_action = former;
    }
}

static void mxcsr_check(CPUX86State *env, uint32_t value, uintptr_t retaddr)
{
    if (value & ~MXCSR_VALID) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
}

static void ldmxcsr(CPUX86State *env, uint32_t value)
{
    mxcsr_check(env, value, RETADDR);
    mxcsr_set(env, value);
}

static void before_save(CPUX86State *env)
{
    x87_settle(env);
    mxcsr_take_flags(env);
}

static void before_fxrstor(CPUX86State *env, uint64_t address)
{
    if (address % 16 == 0 && (ENV_CR(env)[4] & CR4_OSFXSR)) {
        mxcsr_check(env, uc.cpu_ldl_data_ra(env, address + FXSAVE_MXCSR, RETADDR), RETADDR);
    }
}

static void before_xrstor(CPUX86State *env, uint64_t address, uint64_t components)
{
    if (address % 64 == 0 && (ENV_CR(env)[4] & CR4_OSXSAVE) && (components & ENV_XCR0(env) & XSTATE_SSE)) {
        mxcsr_check(env, uc.cpu_ldl_data_ra(env, address + FXSAVE_MXCSR, RETADDR), RETADDR);
    }
}

const struct helper_call fpu_state_calls[] = {
    {"ldmxcsr", (void *)ldmxcsr, HOST_SSE2, CALL_MAY_RAISE, false, X87_ALONE, NULL},
    {"fxsave", (void *)before_save, HOST_SSE2, CALL_TOUCHES_NONE, true, X87_ALONE, NULL},
    {"xsave", (void *)before_save, HOST_SSE2, CALL_TOUCHES_NONE, true, X87_ALONE, NULL},
    {"xsaveopt", (void *)before_save, HOST_SSE2, CALL_TOUCHES_NONE, true, X87_ALONE, NULL},
    {"fxrstor", (void *)before_fxrstor, HOST_SSE2, CALL_MAY_RAISE, true, X87_ALONE, NULL},
    {"xrstor", (void *)before_xrstor, HOST_SSE2, CALL_MAY_RAISE, true, X87_ALONE, NULL},
    {NULL, NULL, HOST_SSE2, CALL_TOUCHES_NONE, false, X87_ALONE, NULL},
};
