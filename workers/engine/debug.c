/* The debug registers (SDM vol. 3, 17.2 and 17.3): which breakpoints an access meets, and when #DB tells of them.
 *
 * Instruction breakpoints are the engine's; of data breakpoints the wheel has only the calls. Accesses to a page with
 * such a breakpoint are kept on the TLB's slow path. #DB is a trap: it comes after the instruction, which
 * therefore runs as a block of its own. A locked instruction runs alone on a page where stores are waited for and
 * loads are not, and so meets the breakpoint; tlb_enter() makes a page that waits for both look so.
 */
#include "instruction.h"

#define DR7_ENABLED(i) (3ull << 2 * (i))
#define DR7_ANY_ENABLED 0xffull
#define DR7_GD (1ull << 13)
#define DR7_CONTROL_SHIFT(i) (16 + 4 * (i))
#define DR7_WRITABLE 0xffff23ffu
#define DR7_ONES 0x400u
#define DR6_HIT_MASK 0xfull
#define DR6_BD (1ull << 13)
#define DR6_BS (1ull << 14)
#define DR6_WRITABLE 0xe00fu
#define DR6_ONES 0xffff0ff0u
enum { BREAKPOINTS = 4, TYPE_INSTRUCTION = 0, TYPE_WRITE = 1, TYPE_IO = 2, TYPE_READ_WRITE = 3 };

static bool enabled(CPUX86State *env, unsigned i, unsigned *type)
{
    *type = ENV_DR(env)[7] >> DR7_CONTROL_SHIFT(i) & 3;
    return (ENV_DR(env)[7] & DR7_ENABLED(i)) != 0;
}

/* Whether breakpoint `i` covers some of these bytes, of memory or of ports. */
static bool covers(CPUX86State *env, unsigned i, uint64_t address, uint64_t length)
{
    static const uint8_t sizes[] = {1, 2, 8, 4};
    uint64_t size = sizes[ENV_DR(env)[7] >> (DR7_CONTROL_SHIFT(i) + 2) & 3];
    uint64_t start = ENV_DR(env)[i] & ~(size - 1);

    return address - start < size || start - address < length;
}

/* The breakpoints, as in DR6, that an access of `kind` to these bytes meets. */
static uint64_t breakpoints_met(CPUX86State *env, uint64_t address, uint64_t length, int kind)
{
    uint64_t met = 0;
    unsigned type;

    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (enabled(env, i, &type) && (type == TYPE_READ_WRITE || (type == TYPE_WRITE && kind == BP_MEM_WRITE)) &&
            covers(env, i, address, length)) {
            met |= 1ull << i;
        }
    }
    return met;
}

/* The kinds of access to these bytes that breakpoints wait for. */
int data_breakpoints_in(CPUX86State *env, uint64_t address, uint64_t length)
{
    if (!(ENV_DR(env)[7] & DR7_ANY_ENABLED)) {
        return 0;
    }
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
    vcpu->trap_pc = block == NULL ? NO_TRAP_PC : TB_PC(block);
    attention_raise(vcpu);
}

/* --- Delivery ------------------------------------------------------------------------------------------------ */

/* A trap between two iterations of a repeated instruction pushes RF (17.3.1.1): RIP is where the block began. There it
 * is after the last iteration, too, which is over. */
static void trap_settle(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    uint64_t left = 0;
    unsigned length;

    if (vcpu->trap_pc != ENV_SEGS(env)[R_CS].base + ENV_EIP(env)) {
        return;
    }
    vcpu->trap_pc = NO_TRAP_PC;
    length = instruction_repeats(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env), &left);
    if (left == 0) {
        ENV_EIP(env) += length;
    } else if (length != 0) {
        ENV_EFLAGS(env) |= EFLAGS_RF;
    }
}

/* Between blocks: deliver #DB for what the instruction before has met. In the shadow of MOV SS it waits until the
 * next instruction is over, even if that is an INT: then it comes before the handler's first instruction. */
bool data_breakpoints_deliver(struct vcpu *vcpu)
{
    if (ENV_HFLAGS(vcpu->env) & HF_INHIBIT_IRQ_MASK) {
        vcpu->shadowed_breakpoints |= vcpu->data_breakpoints;
        vcpu->data_breakpoints = 0;
        return false;
    }
    if ((vcpu->data_breakpoints | vcpu->shadowed_breakpoints) == 0) {
        return false;
    }
    CPU_EXCEPTION_INDEX(vcpu->cpu) = EXCP_DB;
    ENV_EXCEPTION_IS_INT(vcpu->env) = 0;
    ENV_ERROR_CODE(vcpu->env) = 0;
    trap_settle(vcpu);
    event_deliver_exception(vcpu);
    CPU_EXCEPTION_INDEX(vcpu->cpu) = -1;
    return true;
}

/* An exception is about to be delivered: #DB, a single step's perhaps, tells of them too; a fault means that
 * the instruction which met them runs again. */
void data_breakpoints_take(struct vcpu *vcpu)
{
    uint64_t met = vcpu->data_breakpoints | vcpu->shadowed_breakpoints;

    if (CPU_EXCEPTION_INDEX(vcpu->cpu) == EXCP_DB && (!ENV_EXCEPTION_IS_INT(vcpu->env) || vcpu->int1)) {
        if (met != 0) {
            ENV_DR(vcpu->env)[6] = (ENV_DR(vcpu->env)[6] & ~DR6_HIT_MASK) | met;
        }
        vcpu->shadowed_breakpoints = 0;
    }
    vcpu->data_breakpoints = 0;
}

/* #DB has been delivered: its handler may use the debug registers. */
void debug_delivered(struct vcpu *vcpu)
{
    ENV_DR(vcpu->env)[7] &= ~DR7_GD;
}

/* The end of an instruction that began with TF set; RIP is the next one's. */
void debug_single_step(struct vcpu *vcpu, uintptr_t retaddr)
{
    const TranslationBlock *block = uc.tcg_tb_lookup(UC_TCG_CTX(vcpu->engine), retaddr);

    ENV_DR(vcpu->env)[6] = (ENV_DR(vcpu->env)[6] & ~DR6_HIT_MASK) | DR6_BS;
    vcpu->trap_pc = block == NULL ? NO_TRAP_PC : TB_PC(block);
    trap_settle(vcpu);
    uc.raise_exception_err(vcpu->env, EXCP_DB, 0);
}

/* RIP is behind a HLT: with TF set it does not halt, for the trap comes first. */
void debug_step_over_halt(struct vcpu *vcpu)
{
    if (ENV_EFLAGS(vcpu->env) & EFLAGS_TF) {
        ENV_HFLAGS(vcpu->env) &= ~HF_INHIBIT_IRQ_MASK;
        ENV_DR(vcpu->env)[6] |= DR6_BS;
        uc.raise_exception_err(vcpu->env, EXCP_DB, 0);
    }
}

/* --- I/O breakpoints ----------------------------------------------------------------------------------------- */

/* After the access to a port, before a repeated instruction counts it. The block goes on in that case, up to its next
 * look at what is pending; else the instruction is over. */
void io_breakpoints_check(struct vcpu *vcpu, uint32_t port, uint32_t size, uint64_t next_eip, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t met = 0, left;
    unsigned type;

    for (unsigned i = 0; i < BREAKPOINTS && (ENV_CR(env)[4] & CR4_DE); i++) {
        if (enabled(env, i, &type) && type == TYPE_IO && covers(env, i, port, size)) {
            met |= 1ull << i;
        }
    }
    if (met == 0) {
        return;
    }
    vcpu->data_breakpoints |= met;
    uc.cpu_restore_state(vcpu->cpu, retaddr, false);
    vcpu->trap_pc = ENV_SEGS(env)[R_CS].base + ENV_EIP(env);
    if (instruction_repeats(env, vcpu->trap_pc, &left)) {
        attention_raise(vcpu);
        return;
    }
    ENV_EIP(env) = next_eip;
    if (ENV_EFLAGS(env) & EFLAGS_TF) {
        ENV_DR(env)[6] |= DR6_BS;
    }
    uc.raise_exception_err(env, EXCP_DB, 0);
}

/* --- MOV DR (SDM vol. 2, its page) --------------------------------------------------------------------------- */

/* DR4 and DR5 are other names of DR6 and DR7, or none. #DB comes before the register is touched. */
static int register_number(struct vcpu *vcpu, int reg, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;

    if (reg == 4 || reg == 5) {
        if (ENV_CR(env)[4] & CR4_DE) {
            uc.raise_exception_err_ra(env, EXCP_UD, 0, retaddr);
        }
        reg += 2;
    }
    if (ENV_DR(env)[7] & DR7_GD) {
        ENV_DR(env)[6] |= DR6_BD;
        uc.raise_exception_err_ra(env, EXCP_DB, 0, retaddr);
    }
    return reg;
}

uint64_t debug_register_read(struct vcpu *vcpu, int reg, uintptr_t retaddr)
{
    return ENV_DR(vcpu->env)[register_number(vcpu, reg, retaddr)];
}

void debug_register_write(struct vcpu *vcpu, int reg, uint64_t value, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint32_t control = (uint32_t)ENV_DR(env)[7];

    reg = register_number(vcpu, reg, retaddr);
    if (reg >= 6 && value >> 32 != 0) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, retaddr);
    }
    switch (reg) {
    case 6:
        ENV_DR(env)[6] = (value & DR6_WRITABLE) | DR6_ONES;
        break;
    case 7:
        uc.cpu_x86_update_dr7(env, ((uint32_t)value & DR7_WRITABLE) | DR7_ONES);
        break;
    default:
        /* The engine arms what is on when it becomes so. */
        if (control & DR7_ENABLED(reg)) {
            uc.cpu_x86_update_dr7(env, control & ~(uint32_t)DR7_ENABLED(reg));
        }
        ENV_DR(env)[reg] = value;
        if (control & DR7_ENABLED(reg)) {
            uc.cpu_x86_update_dr7(env, control);
        }
        break;
    }
}

/* --- RF (SDM vol. 3, 17.3.1.1) -------------------------------------------------------------------------------- */

static bool instruction_breakpoints(CPUX86State *env)
{
    unsigned type;

    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        if (enabled(env, i, &type) && type == TYPE_INSTRUCTION) {
            return true;
        }
    }
    return false;
}

/* After an IRET. RF makes the next instruction a block of its own, for nothing where there
 * are no instruction breakpoints; and if it faults, RF is set again. */
void resume_flag_loaded(CPUX86State *env)
{
    if ((ENV_EFLAGS(env) & EFLAGS_RF) && !instruction_breakpoints(env)) {
        ENV_EFLAGS(env) &= ~(uint64_t)EFLAGS_RF;
    }
}

/* Called by translated code before the instruction that runs with RF set: it is clear when that is over, or while the
 * last iteration runs. An instruction that loads it comes later. */
static void resume_flag_clear(CPUX86State *env)
{
    uint64_t left;

    uc.cpu_restore_state(self->cpu, RETADDR, false);
    if (instruction_repeats(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env), &left) && left > 1) {
        return;
    }
    ENV_EFLAGS(env) &= ~(uint64_t)EFLAGS_RF;
}

/* The code of an instruction begins, in a block for RF. */
void resume_flag_emit(TCGContext *tcg)
{
    void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));

    translate_call(tcg, (void *)resume_flag_clear, 0, NULL, 1, &env);
}

/* The block that `retaddr` is in is left, and its instruction runs again. */
void resume_flag_keep(struct vcpu *vcpu, uintptr_t retaddr)
{
    const TranslationBlock *block = uc.tcg_tb_lookup(UC_TCG_CTX(vcpu->engine), retaddr);

    if (block != NULL && (TB_FLAGS(block) & EFLAGS_RF)) {
        ENV_EFLAGS(vcpu->env) |= EFLAGS_RF;
    }
}
