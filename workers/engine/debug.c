/* Data breakpoints of the debug registers (SDM vol. 3, 17.2.4 and 17.3.1.1), of which the wheel has only the
 * calls.
 *
 * Accesses to a page with such a breakpoint are kept on the TLB's slow path. #DB is a trap: it comes after
 * the instruction, which therefore runs as a block of its own. A locked instruction runs alone on a page where
 * stores are waited for and loads are not, and so meets the breakpoint; it meets none that waits for both.
 */
#include "engine.h"

#define DR7_ENABLED(i) (3ull << 2 * (i))
#define DR7_ANY_ENABLED 0xffull
#define DR7_CONTROL_SHIFT(i) (16 + 4 * (i))
#define DR6_HIT_MASK 0xfull
enum { BREAKPOINTS = 4, TYPE_WRITE = 1, TYPE_READ_WRITE = 3 };

/* What data breakpoint `i` covers, and which accesses it waits for. False when it is off, or not for data. */
static bool data_breakpoint(CPUX86State *env, unsigned i, uint64_t *start, uint64_t *size, int *kinds)
{
    static const uint8_t sizes[] = {1, 2, 8, 4};
    uint64_t dr7 = ENV_DR(env)[7], control = dr7 >> DR7_CONTROL_SHIFT(i);

    *size = sizes[control >> 2 & 3];
    *start = ENV_DR(env)[i] & ~(*size - 1);
    *kinds = (control & 3) == TYPE_WRITE ? BP_MEM_WRITE : BP_MEM_READ | BP_MEM_WRITE;
    return (dr7 & DR7_ENABLED(i)) && ((control & 3) == TYPE_WRITE || (control & 3) == TYPE_READ_WRITE);
}

/* The breakpoints, as in DR6, that an access of `kind` to these bytes meets. */
static uint64_t breakpoints_met(CPUX86State *env, uint64_t address, uint64_t length, int kind)
{
    uint64_t met = 0, start, size;
    int kinds;

    if (!(ENV_DR(env)[7] & DR7_ANY_ENABLED)) {
        return 0;
    }
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (data_breakpoint(env, i, &start, &size, &kinds) && (kinds & kind) &&
            (address - start < size || start - address < length)) {
            met |= 1ull << i;
        }
    }
    return met;
}

/* The kinds of access to these bytes that breakpoints wait for. */
int data_breakpoints_in(CPUX86State *env, uint64_t address, uint64_t length)
{
    return (breakpoints_met(env, address, length, BP_MEM_READ) ? BP_MEM_READ : 0) |
           (breakpoints_met(env, address, length, BP_MEM_WRITE) ? BP_MEM_WRITE : 0);
}

/* Before an access to a page with breakpoints. Leaves the block when one is met in a block of more
 * instructions. */
void data_breakpoints_check(struct vcpu *vcpu, uint64_t address, uint64_t length, int kind, uintptr_t retaddr)
{
    uint64_t met = breakpoints_met(vcpu->env, address, length, kind);
    TranslationBlock *block;

    if (met == 0) {
        return;
    }
    block = uc.tcg_tb_lookup(UC_TCG_CTX(vcpu->engine), retaddr);
    if (block != NULL && TB_INSTRUCTIONS(block) > 1) {
        uc.cpu_restore_state(vcpu->cpu, retaddr, true);
        CPU_CFLAGS_NEXT_TB(vcpu->cpu) = 1;
        uc.cpu_loop_exit_noexc(vcpu->cpu);
    }
    vcpu->data_breakpoints |= met;
    attention_raise(vcpu);
}

/* Between blocks: deliver #DB for what the instruction before has met. */
bool data_breakpoints_deliver(struct vcpu *vcpu)
{
    if (vcpu->data_breakpoints == 0) {
        return false;
    }
    CPU_EXCEPTION_INDEX(vcpu->cpu) = EXCP_DB;
    ENV_EXCEPTION_IS_INT(vcpu->env) = 0;
    ENV_ERROR_CODE(vcpu->env) = 0;
    event_deliver_exception(vcpu);
    CPU_EXCEPTION_INDEX(vcpu->cpu) = -1;
    return true;
}

/* An exception is about to be delivered: #DB, a single step's perhaps, tells of them too; a fault means that
 * the instruction which met them runs again. */
void data_breakpoints_take(struct vcpu *vcpu)
{
    if (CPU_EXCEPTION_INDEX(vcpu->cpu) == EXCP_DB && vcpu->data_breakpoints != 0) {
        ENV_DR(vcpu->env)[6] = (ENV_DR(vcpu->env)[6] & ~DR6_HIT_MASK) | vcpu->data_breakpoints;
    }
    vcpu->data_breakpoints = 0;
}
