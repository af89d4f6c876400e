/* Instructions that exit because an execution control says so (SDM vol. 3, 25.1.2, 25.1.3 and 27.2).
 *
 * While a control of an instruction is set, a block gets a call in front of each such instruction when it is
 * translated; while none is, translated code is as if there were no controls. The call decides whether this one exits,
 * and the instruction itself follows it. Faults by privilege come before an exit: the call then does nothing.
 * (intercept_cr.c: accesses to control registers; intercept_port.c: ports.)
 */
#include "controls.h"

/* Which word of the controls a bit is in. */
enum control_word { PRIMARY, SECONDARY, UNCONDITIONAL };

/* What an instruction needs so that it does not fault before it exits. */
enum rule { ANY_RING, RING_0, TSC_READABLE, COUNTERS_READABLE, TABLES_READABLE, SELECTORS, OSXSAVE };

#define CPUID_1_ECX_MONITOR (1u << 3)
#define CPUID_1_ECX_RDRAND (1u << 30)
#define CPUID_EXT2_RDTSCP (1u << 27)

static const struct intercept {
    enum control_word word;
    uint32_t bit;
    uint32_t reason;
    enum rule rule;
    uint8_t feature_word;
    uint32_t feature;
} intercepts[INSN_KINDS] = {
    [INSN_HLT] = {PRIMARY, MPVM_PROCESSOR_BASED_HLT_EXITING, MPVM_EXIT_HLT, RING_0, 0, 0},
    [INSN_PAUSE] = {PRIMARY, MPVM_PROCESSOR_BASED_PAUSE_EXITING, MPVM_EXIT_PAUSE, ANY_RING, 0, 0},
    [INSN_CPUID] = {UNCONDITIONAL, MPVM_UNCONDITIONAL_CPUID_EXITING, MPVM_EXIT_CPUID, ANY_RING, 0, 0},
    [INSN_RDTSC] = {PRIMARY, MPVM_PROCESSOR_BASED_RDTSC_EXITING, MPVM_EXIT_RDTSC, TSC_READABLE, 0, 0},
    [INSN_RDTSCP] = {PRIMARY, MPVM_PROCESSOR_BASED_RDTSC_EXITING, MPVM_EXIT_RDTSCP, TSC_READABLE,
                     MPVM_FEATURE_WORD_CPUID_8000_0001_EDX, CPUID_EXT2_RDTSCP},
    [INSN_RDPMC] = {PRIMARY, MPVM_PROCESSOR_BASED_RDPMC_EXITING, MPVM_EXIT_RDPMC, COUNTERS_READABLE, 0, 0},
    [INSN_INVLPG] = {PRIMARY, MPVM_PROCESSOR_BASED_INVLPG_EXITING, MPVM_EXIT_INVLPG, RING_0, 0, 0},
    [INSN_MOV_TO_CR] = {PRIMARY, MPVM_PROCESSOR_BASED_CR3_LOAD_EXITING | MPVM_PROCESSOR_BASED_CR8_LOAD_EXITING,
                        MPVM_EXIT_CR_ACCESS, RING_0, 0, 0},
    [INSN_MOV_FROM_CR] = {PRIMARY, MPVM_PROCESSOR_BASED_CR3_STORE_EXITING | MPVM_PROCESSOR_BASED_CR8_STORE_EXITING,
                          MPVM_EXIT_CR_ACCESS, RING_0, 0, 0},
    [INSN_CLTS] = {PRIMARY, 0, MPVM_EXIT_CR_ACCESS, RING_0, 0, 0},
    [INSN_LMSW] = {PRIMARY, 0, MPVM_EXIT_CR_ACCESS, RING_0, 0, 0},
    [INSN_SMSW] = {PRIMARY, 0, MPVM_EXIT_CR_ACCESS, TABLES_READABLE, 0, 0},
    [INSN_MOV_TO_DR] = {PRIMARY, MPVM_PROCESSOR_BASED_MOV_DR_EXITING, MPVM_EXIT_DR_ACCESS, RING_0, 0, 0},
    [INSN_MOV_FROM_DR] = {PRIMARY, MPVM_PROCESSOR_BASED_MOV_DR_EXITING, MPVM_EXIT_DR_ACCESS, RING_0, 0, 0},
    [INSN_MONITOR] = {PRIMARY, MPVM_PROCESSOR_BASED_MONITOR_EXITING, MPVM_EXIT_MONITOR, RING_0,
                     MPVM_FEATURE_WORD_CPUID_1_ECX, CPUID_1_ECX_MONITOR},
    [INSN_MWAIT] = {PRIMARY, MPVM_PROCESSOR_BASED_MWAIT_EXITING, MPVM_EXIT_MWAIT, RING_0,
                     MPVM_FEATURE_WORD_CPUID_1_ECX, CPUID_1_ECX_MONITOR},
    [INSN_WBINVD] = {SECONDARY, MPVM_SECONDARY_WBINVD_EXITING, MPVM_EXIT_WBINVD, RING_0, 0, 0},
    [INSN_INVD] = {UNCONDITIONAL, MPVM_UNCONDITIONAL_INVD_EXITING, MPVM_EXIT_INVD, RING_0, 0, 0},
    [INSN_XSETBV] = {UNCONDITIONAL, MPVM_UNCONDITIONAL_XSETBV_EXITING, MPVM_EXIT_XSETBV, OSXSAVE, 0, 0},
    [INSN_RDRAND] = {SECONDARY, MPVM_SECONDARY_RDRAND_EXITING, MPVM_EXIT_RDRAND, ANY_RING,
                     MPVM_FEATURE_WORD_CPUID_1_ECX, CPUID_1_ECX_RDRAND},
    [INSN_GDTR_IDTR] = {SECONDARY, MPVM_SECONDARY_DESCRIPTOR_TABLE_EXITING, MPVM_EXIT_GDTR_IDTR, TABLES_READABLE, 0,
                        0},
    [INSN_LDTR_TR] = {SECONDARY, MPVM_SECONDARY_DESCRIPTOR_TABLE_EXITING, MPVM_EXIT_LDTR_TR, SELECTORS, 0, 0},
    [INSN_RDMSR] = {PRIMARY, MPVM_PROCESSOR_BASED_USE_MSR_BITMAPS, MPVM_EXIT_X86_RDMSR, RING_0, 0, 0},
    [INSN_WRMSR] = {PRIMARY, MPVM_PROCESSOR_BASED_USE_MSR_BITMAPS, MPVM_EXIT_X86_WRMSR, RING_0, 0, 0},
};

#define KIND(kind) (1ull << (kind))
_Static_assert(INSN_KINDS <= 64, "a bit for each kind");

static bool secondary_active(const struct mpvm_execution_controls *set)
{
    return (set->processor_based & MPVM_PROCESSOR_BASED_ACTIVATE_SECONDARY_CONTROLS) != 0;
}

/* The kinds of instruction that these controls are about. */
uint64_t intercepted_kinds(const struct mpvm_execution_controls *set)
{
    const uint32_t words[] = {
        [PRIMARY] = set->processor_based,
        [SECONDARY] = secondary_active(set) ? set->secondary : 0,
        [UNCONDITIONAL] = set->unconditional,
    };
    uint64_t kinds = 0;

    for (unsigned kind = 0; kind < INSN_KINDS; kind++) {
        if (words[intercepts[kind].word] & intercepts[kind].bit) {
            kinds |= KIND(kind);
        }
    }
    if (set->cr0_guest_host_mask != 0) {
        kinds |= KIND(INSN_MOV_TO_CR) | KIND(INSN_CLTS) | KIND(INSN_LMSW) | KIND(INSN_SMSW);
    }
    if (set->cr4_guest_host_mask != 0) {
        kinds |= KIND(INSN_MOV_TO_CR);
    }
    if (secondary_active(set) && !(set->secondary & MPVM_SECONDARY_RDTSCP)) {
        kinds |= KIND(INSN_RDTSCP);
    }
    return kinds;
}

static unsigned ring(const struct vcpu *vcpu)
{
    return ENV_EFLAGS(vcpu->env) & EFLAGS_VM ? 3 : ENV_HFLAGS(vcpu->env) & HF_CPL_MASK;
}

static bool feature(const struct vcpu *vcpu, unsigned word, uint32_t bit)
{
    return bit == 0 || (ENV_FEATURES(vcpu->env)[word] & bit) != 0;
}

/* Whether nothing that comes before an exit goes wrong (SDM vol. 3, 25.1.1). */
static bool would_run(const struct vcpu *vcpu, const struct instruction *insn)
{
    const struct intercept *intercept = &intercepts[insn->kind];
    CPUX86State *env = vcpu->env;
    uint64_t cr4 = ENV_CR(env)[4];
    bool store = insn->extension < 2; /* SGDT, SIDT, SLDT, STR: CR4.UMIP may keep them from programs */

    if (insn->lock && insn->kind != INSN_MOV_TO_CR && insn->kind != INSN_MOV_FROM_CR) {
        return false;
    }
    if (!feature(vcpu, intercept->feature_word, intercept->feature)) {
        return false;
    }
    switch (intercept->rule) {
    case ANY_RING:
        return true;
    case RING_0:
        return ring(vcpu) == 0;
    case TSC_READABLE:
        return ring(vcpu) == 0 || !(cr4 & CR4_TSD);
    case COUNTERS_READABLE:
        return ring(vcpu) == 0 || (cr4 & CR4_PCE);
    case TABLES_READABLE:
        return ring(vcpu) == 0 || ((store || insn->kind == INSN_SMSW) && !(cr4 & CR4_UMIP));
    case SELECTORS:
        return (ENV_CR(env)[0] & CR0_PE) && !(ENV_EFLAGS(env) & EFLAGS_VM) &&
               (ring(vcpu) == 0 || (store && !(cr4 & CR4_UMIP)));
    case OSXSAVE:
        return (cr4 & CR4_OSXSAVE) && ring(vcpu) == 0;
    }
    return false;
}

/* --- MSRs (SDM vol. 3, 24.6.9) ------------------------------------------------------------------------------ */

static bool msr_exits(const struct vcpu *vcpu, uint32_t msr, bool write)
{
    enum { RANGE_BYTES = 1024 };
    unsigned at = (msr >= 0xc0000000u ? RANGE_BYTES : 0) + (write ? 2 * RANGE_BYTES : 0);
    uint32_t index = msr & 0x3fffffffu;

    if (index > 0x1fff || (msr >> 30 != 0 && msr >> 30 != 3)) {
        return true;
    }
    return (vcpu->controls->set.msr_bitmap[at + index / 8] >> index % 8 & 1) != 0;
}

/* --- What an exit says (SDM vol. 3, 27.2.1 and 27.2.5) -------------------------------------------------------- */

/* Tables 27-8 to 27-13: the operand, as far as the instruction has one. */
uint32_t instruction_information(const struct instruction *insn)
{
    uint32_t operand_size = insn->operand_bytes == 2 ? 0 : insn->operand_bytes == 4 ? 1 : 2;
    uint32_t address_size = insn->address_bytes == 2 ? 0 : insn->address_bytes == 4 ? 1 : 2;
    uint32_t information;

    if (insn->kind == INSN_RDRAND) {
        return (uint32_t)insn->operand << 3 | operand_size << 11;
    }
    if (insn->string) {
        return address_size << 7 | (uint32_t)insn->segment << 15;
    }
    if (insn->kind != INSN_GDTR_IDTR && insn->kind != INSN_LDTR_TR) {
        return 0;
    }
    information = (uint32_t)(insn->extension & 3) << 28;
    if (!insn->memory) {
        return information | (uint32_t)insn->operand << 3 | 1u << 10;
    }
    information |= insn->scale | address_size << 7 | (uint32_t)insn->segment << 15;
    information |= insn->kind == INSN_GDTR_IDTR && insn->operand_bytes != 2 ? 1u << 11 : 0;
    information |= insn->index == NO_REGISTER ? 1u << 22 : (uint32_t)insn->index << 18;
    information |= insn->base >= 16 ? 1u << 27 : (uint32_t)insn->base << 23;
    return information;
}

/* Whether this instruction, which could run, exits; what the exit says is then in the control block. */
static bool exits(struct vcpu *vcpu, const struct instruction *insn, uintptr_t retaddr)
{
    uint64_t *regs = ENV_REGS(vcpu->env);
    uint64_t address = insn->memory ? instruction_address(vcpu, insn, ENV_EIP(vcpu->env) + insn->length) : 0;
    struct mpvm_exit_information *exit;
    uint64_t qualification = 0;

    switch (insn->kind) {
    case INSN_MOV_TO_CR:
    case INSN_MOV_FROM_CR:
    case INSN_CLTS:
    case INSN_LMSW:
    case INSN_SMSW:
        if (!cr_access_exits(vcpu, insn, address, retaddr, &qualification)) {
            return false;
        }
        break;
    case INSN_RDTSCP:
        if (!(vcpu->controls->set.processor_based & MPVM_PROCESSOR_BASED_RDTSC_EXITING)) {
            return false;
        }
        break;
    case INSN_MOV_TO_DR:
    case INSN_MOV_FROM_DR:
        qualification = insn->extension | (insn->kind == INSN_MOV_FROM_DR ? 1u << 4 : 0) | (uint64_t)insn->operand << 8;
        break;
    case INSN_INVLPG:
        qualification = address;
        break;
    case INSN_GDTR_IDTR:
    case INSN_LDTR_TR:
        qualification = (uint64_t)insn->displacement;
        break;
    case INSN_RDMSR:
    case INSN_WRMSR:
        if (!msr_exits(vcpu, (uint32_t)regs[R_ECX], insn->kind == INSN_WRMSR)) {
            return false;
        }
        break;
    default:
        break;
    }
    exit = control_exit_new(vcpu);
    exit->instruction_length = insn->length;
    exit->qualification = qualification;
    exit->guest_linear_address = address;
    exit->instruction_information = instruction_information(insn);
    if (insn->kind == INSN_RDMSR || insn->kind == INSN_WRMSR) {
        exit->msr_index = (uint32_t)regs[R_ECX];
        exit->data = insn->kind == INSN_WRMSR ? (uint32_t)regs[R_EAX] | regs[R_EDX] << 32 : 0;
    }
    return true;
}

/* --- In front of an instruction ------------------------------------------------------------------------------ */

static void restart(struct vcpu *vcpu)
{
    uc.cpu_loop_exit_noexc(vcpu->cpu);
}

/* A block that begins an instruction anew, which an earlier try has left in the middle. */
static bool runs_again(struct vcpu *vcpu, uintptr_t retaddr)
{
    const TranslationBlock *block = uc.tcg_tb_lookup(UC_TCG_CTX(vcpu->engine), retaddr);

    return vcpu->exclusive_step != 0 || (block != NULL && (TB_CFLAGS(block) & CF_COUNT_MASK) == 1);
}

static void step(struct vcpu *vcpu, uintptr_t retaddr)
{
    struct controls *controls = vcpu->controls;

    if (controls->stepped && !runs_again(vcpu, retaddr)) {
        controls->stepped = false;
        control_exit_new(vcpu);
        if (controls_restart_needed(vcpu, control_exit(vcpu, MPVM_EXIT_MONITOR_TRAP_FLAG))) {
            restart(vcpu);
        }
    }
    controls->stepped = true;
}

/* Called by translated code. */
static void before_instruction(CPUX86State *env)
{
    struct vcpu *vcpu = self;
    struct controls *controls = vcpu->controls;
    uintptr_t retaddr = RETADDR;
    struct instruction insn;
    uint32_t answer;

    uc.cpu_restore_state(vcpu->cpu, retaddr, false);
    if (controls->set.processor_based & MPVM_PROCESSOR_BASED_MONITOR_TRAP_FLAG) {
        step(vcpu, retaddr);
    }
    if (!instruction_decode(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env), &insn) ||
        !(controls->kinds & KIND(insn.kind))) {
        return;
    }
    if (insn.kind == INSN_RDTSCP && secondary_active(&controls->set) &&
        !(controls->set.secondary & MPVM_SECONDARY_RDTSCP)) {
        uc.raise_exception_err_ra(env, EXCP_UD, 0, retaddr);
    }
    if (!would_run(vcpu, &insn)) {
        return;
    }
    if (controls->served && controls->served_eip == ENV_EIP(env)) {
        controls->served = false;
        cr_access_served(vcpu, &insn);
        return;
    }
    if (!exits(vcpu, &insn, retaddr)) {
        cr_run_otherwise(vcpu, &insn, retaddr);
        return;
    }
    answer = control_exit(vcpu, intercepts[insn.kind].reason);
    if (controls_restart_needed(vcpu, answer)) {
        controls->served = !(answer & MPVM_ANSWER_DONE);
        controls->served_eip = ENV_EIP(env);
        controls->stepped = false;
        restart(vcpu);
    }
    cr_access_served(vcpu, &insn);
}

/* The code of the instruction at `linear` begins here. */
void intercept_emit(struct vcpu *vcpu, TCGContext *tcg, uint64_t linear)
{
    void *env = (void *)TCG_TEMP(tcg, TCG_CPU_ENV(tcg));
    struct instruction insn;

    if ((vcpu->controls->set.processor_based & MPVM_PROCESSOR_BASED_MONITOR_TRAP_FLAG) ||
        (instruction_decode(vcpu->env, linear, &insn) && (vcpu->controls->kinds & KIND(insn.kind)))) {
        translate_call(tcg, (void *)before_instruction, 0, NULL, 1, &env);
    }
}
