/* The x87 on the host's own: when the guest's is in it, and what is not an instruction's usual course.
 *
 * While the guest's stack is the current one, the host's x87 has the guest's control word, and of the guest's
 * exception flags no other than are set: then the status word after an instruction tells its flags, its condition
 * codes and whether one of them is unmasked. Registers live in the engine's state and are loaded for one instruction.
 */
#include "x87.h"

#include <sched.h>

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

void x87_settle(CPUX86State *env)
{
    settle(env);
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
void x87_wait(CPUX86State *env, uintptr_t retaddr)
{
    settle(env);
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

void x87_load_control(CPUX86State *env, unsigned masks, uintptr_t retaddr)
{
    x87_wait(env, retaddr);
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

void x87_unmasked(CPUX86State *env, unsigned raised)
{
    ENV_FPUS(env) |= SW_ES | SW_B;
    ENV_X87_STATE(env) = X87_NOT_LOADED;
    /* Its operands stay as they are, and nothing is popped. */
    ENV_X87_ABORTED(env) = (raised & SW_BEFORE_COMPUTATION) != 0;
}

void x87_set_indefinite(CPUX86State *env, unsigned n)
{
    struct extended_parts *to = (struct extended_parts *)value(env, n);

    to->significand = 0xc000000000000000ull;
    to->exponent = 0xffff;
    ENV_FPTAGS(env)[place(env, n)] = 0;
}

/* An operand is empty (C1 = 0), or a push hits a register that is not (C1 = 1). True: masked, the result is the
 * indefinite NaN. */
bool x87_stack_fault(CPUX86State *env, uint16_t c1)
{
    ENV_FPUS(env) = (uint16_t)((ENV_FPUS(env) & ~SW_C1) | c1 | SW_SF | SW_IE);
    if (!(ENV_FPUC(env) & SW_IE)) {
        x87_unmasked(env, SW_IE);
        return false;
    }
    return true;
}
