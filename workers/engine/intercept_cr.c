/* Accesses to CR0, CR3, CR4 and CR8 under the execution controls: what exits, what the guest reads and what it writes
 * (SDM vol. 3, 25.1.3). */
#include "controls.h"

enum cr_access { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };
#define LMSW_BITS 0xfu

static uint64_t cr_mask(const struct vcpu *vcpu, int reg)
{
    const struct mpvm_execution_controls *set = &vcpu->controls->set;

    return reg == 0 ? set->cr0_guest_host_mask : reg == 4 ? set->cr4_guest_host_mask : 0;
}

static uint64_t *cr_shadow(struct mpvm_execution_controls *set, int reg)
{
    return reg == 0 ? &set->cr0_read_shadow : &set->cr4_read_shadow;
}

/* What the guest reads of a control register. */
uint64_t control_register_read(const struct vcpu *vcpu, int reg, uint64_t value)
{
    uint64_t mask = cr_mask(vcpu, reg);

    return mask == 0 ? value : (value & ~mask) | (*cr_shadow(&vcpu->controls->set, reg) & mask);
}

/* What a write that did not exit puts there: the owner's bits stay. One that was served after an exit counts in full,
 * and is what the guest reads from then on. */
uint64_t control_register_written(struct vcpu *vcpu, int reg, uint64_t value)
{
    struct controls *controls = vcpu->controls;
    uint64_t mask = cr_mask(vcpu, reg);

    if (mask == 0) {
        return value;
    }
    if (!controls->cr_served) {
        return (value & ~mask) | (ENV_CR(vcpu->env)[reg] & mask);
    }
    controls->cr_served = false;
    *cr_shadow(&controls->set, reg) = (*cr_shadow(&controls->set, reg) & ~mask) | (value & mask);
    *cr_shadow(&vcpu->area->control.execution, reg) = *cr_shadow(&controls->set, reg);
    return value;
}

static uint64_t register_value(const struct vcpu *vcpu, unsigned number)
{
    uint64_t value = ENV_REGS(vcpu->env)[number];

    return ENV_HFLAGS(vcpu->env) & HF_CS64_MASK ? value : (uint32_t)value;
}

static bool cr3_target(const struct mpvm_execution_controls *set, uint64_t value)
{
    for (unsigned i = 0; i < set->cr3_target_count; i++) {
        if (set->cr3_target[i] == value) {
            return true;
        }
    }
    return false;
}

static int cr_number(const struct vcpu *vcpu, const struct instruction *insn)
{
    /* AMD's way to CR8 without REX. */
    bool leads_to_cr8 = ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_8000_0001_ECX] & CPUID_EXT3_CR8LEG;

    if (!insn->lock) {
        return insn->extension;
    }
    return insn->extension == 0 && leads_to_cr8 ? 8 : -1;
}

static bool mov_cr_exits(const struct vcpu *vcpu, const struct instruction *insn)
{
    const struct mpvm_execution_controls *set = &vcpu->controls->set;
    bool load = insn->kind == INSN_MOV_TO_CR;
    uint64_t value = register_value(vcpu, insn->operand);
    int reg = cr_number(vcpu, insn);

    switch (reg) {
    case 0:
    case 4:
        return load && ((value ^ *cr_shadow(&vcpu->controls->set, reg)) & cr_mask(vcpu, reg)) != 0;
    case 3:
        return load ? (set->processor_based & MPVM_PROCESSOR_BASED_CR3_LOAD_EXITING) && !cr3_target(set, value)
                    : (set->processor_based & MPVM_PROCESSOR_BASED_CR3_STORE_EXITING) != 0;
    case 8:
        return (set->processor_based & (load ? MPVM_PROCESSOR_BASED_CR8_LOAD_EXITING
                                             : MPVM_PROCESSOR_BASED_CR8_STORE_EXITING)) != 0;
    default:
        return false;
    }
}

static uint32_t lmsw_source(struct vcpu *vcpu, const struct instruction *insn, uint64_t address, uintptr_t retaddr)
{
    return insn->memory ? uc.cpu_lduw_data_ra(vcpu->env, address, retaddr)
                        : (uint16_t)ENV_REGS(vcpu->env)[insn->operand];
}

static bool lmsw_exits(const struct vcpu *vcpu, uint32_t source)
{
    uint64_t mask = cr_mask(vcpu, 0), shadow = vcpu->controls->set.cr0_read_shadow;

    /* It can set PE and not clear it. */
    return ((source & ~shadow & mask & CR0_PE) | ((source ^ shadow) & mask & LMSW_BITS & ~CR0_PE)) != 0;
}

static uint64_t cr_qualification(const struct vcpu *vcpu, const struct instruction *insn, uint32_t source)
{
    switch (insn->kind) {
    case INSN_CLTS:
        return CR_CLTS << 4;
    case INSN_LMSW:
        return CR_LMSW << 4 | (uint64_t)insn->memory << 6 | (uint64_t)source << 16;
    default:
        return (uint64_t)cr_number(vcpu, insn) | (insn->kind == INSN_MOV_TO_CR ? CR_MOV_TO : CR_MOV_FROM) << 4 |
               (uint64_t)insn->operand << 8;
    }
}

/* Whether this access, which could run, exits; what the exit says of it is then in `qualification`. `address` is that
 * of LMSW's operand in memory. */
bool cr_access_exits(struct vcpu *vcpu, const struct instruction *insn, uint64_t address, uintptr_t retaddr,
                     uint64_t *qualification)
{
    uint32_t source = 0;

    switch (insn->kind) {
    case INSN_MOV_TO_CR:
    case INSN_MOV_FROM_CR:
        if (!mov_cr_exits(vcpu, insn)) {
            return false;
        }
        break;
    case INSN_CLTS:
        if (!(cr_mask(vcpu, 0) & vcpu->controls->set.cr0_read_shadow & CR0_TS)) {
            return false;
        }
        break;
    case INSN_LMSW:
        source = lmsw_source(vcpu, insn, address, retaddr);
        if (!lmsw_exits(vcpu, source)) {
            return false;
        }
        break;
    default: /* SMSW */
        return false;
    }
    *qualification = cr_qualification(vcpu, insn, source);
    return true;
}

/* CLTS and SMSW, which the masks make behave otherwise without an exit, are done here. */
void cr_run_otherwise(struct vcpu *vcpu, const struct instruction *insn, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t value, *to = &ENV_REGS(env)[insn->operand], next = ENV_EIP(env) + insn->length;

    switch (insn->kind) {
    case INSN_CLTS:
        if (!(cr_mask(vcpu, 0) & CR0_TS)) {
            return;
        }
        break; /* the owner's bit, which the guest reads as clear */
    case INSN_SMSW:
        value = control_register_read(vcpu, 0, ENV_CR(env)[0]);
        if (insn->memory) {
            uc.cpu_stw_data_ra(env, instruction_address(vcpu, insn, next), (uint16_t)value, retaddr);
        } else if (insn->operand_bytes == 2) {
            *to = (*to & ~0xffffull) | (uint16_t)value;
        } else {
            *to = insn->operand_bytes == 8 ? value : (uint32_t)value;
        }
        break;
    default:
        return;
    }
    ENV_EIP(env) = next;
    uc.cpu_loop_exit_noexc(vcpu->cpu);
}

/* The instruction has exited and runs now; a write of CR0 or CR4 then counts in full. */
void cr_access_served(struct vcpu *vcpu, const struct instruction *insn)
{
    vcpu->controls->cr_served = (insn->kind == INSN_MOV_TO_CR || insn->kind == INSN_LMSW);
    if (insn->kind == INSN_CLTS) {
        vcpu->controls->set.cr0_read_shadow &= ~(uint64_t)CR0_TS;
        vcpu->area->control.execution.cr0_read_shadow = vcpu->controls->set.cr0_read_shadow;
    }
}
