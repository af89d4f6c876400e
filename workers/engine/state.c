/* Guest state: reset, INIT, SIPI, and the registers' way to and from the control block. */
#include "engine.h"

#include <string.h>

#define AR_BITS 0xf0ffu /* VMCS access rights that have a place in a descriptor */
#define AR_UNUSABLE (1u << 16)
#define DR7_RESET 0x400u
#define TSS_BUSY (1u << 1)
/* Pending debug exceptions (SDM vol. 3, table 24-4): breakpoints as in DR6, and whether one of them is enabled */
#define PENDING_DEBUG_BREAKPOINTS 0xfull
#define PENDING_DEBUG_ENABLED (1ull << 12)
#define PENDING_DEBUG_SINGLE_STEP (1ull << 14)
#define NO_RIP UINT64_MAX

/* The part of hflags that follows from segments, CR0, CR4, EFER and RFLAGS; the rest stays. */
void hflags_update(CPUX86State *env)
{
    const struct SegmentCache *segs = ENV_SEGS(env);
    uint32_t hflags = ENV_HFLAGS(env) & ~(HF_CPL_MASK | HF_CS32_MASK | HF_SS32_MASK | HF_CS64_MASK | HF_ADDSEG_MASK);

    hflags |= segs[R_SS].flags >> DESC_DPL_SHIFT & 3;
    if ((hflags & HF_LMA_MASK) && (segs[R_CS].flags & DESC_L_MASK)) {
        hflags |= HF_CS32_MASK | HF_SS32_MASK | HF_CS64_MASK;
    } else {
        hflags |= segs[R_CS].flags & DESC_B_MASK ? HF_CS32_MASK : 0;
        hflags |= segs[R_SS].flags & DESC_B_MASK ? HF_SS32_MASK : 0;
        if (!(ENV_CR(env)[0] & CR0_PE) || (ENV_EFLAGS(env) & EFLAGS_VM) || !(hflags & HF_CS32_MASK) ||
            (segs[R_DS].base | segs[R_ES].base | segs[R_SS].base) != 0) {
            hflags |= HF_ADDSEG_MASK;
        }
    }
    ENV_HFLAGS(env) = hflags;
}

/* The engine's reset is meant for user mode in three places; here is the SDM's (vol. 3, table 9-1). */
static void finish_reset(struct vcpu *vcpu)
{
    vcpu->pkru = ENV_PKRU(vcpu->env);
    vcpu->data_breakpoints = vcpu->shadowed_breakpoints = 0;
    uc.cpu_x86_update_cr4(vcpu->env, 0);
    ENV_A20_MASK(vcpu->env) = (int32_t)vcpu->vm->a20_mask;
    CPU_INTERRUPT_REQUEST(vcpu->cpu) = CPU_INTERRUPT_HARD;
    CPU_HALTED(vcpu->cpu) = 0;
    CPU_EXCEPTION_INDEX(vcpu->cpu) = -1;
    CPU_CFLAGS_NEXT_TB(vcpu->cpu) = UINT32_MAX;
}

static void load_cpu_model(struct vcpu *vcpu)
{
    uint32_t leaf[4];

    memcpy(ENV_FEATURES(vcpu->env), vcpu->area->features, sizeof(vcpu->area->features));
    cpuid_lookup(vcpu, 0, 0, leaf);
    ENV_CPUID_VENDOR1(vcpu->env)[0] = leaf[1];
    ENV_CPUID_VENDOR1(vcpu->env)[1] = leaf[3];
    ENV_CPUID_VENDOR1(vcpu->env)[2] = leaf[2];
    cpuid_lookup(vcpu, 1, 0, leaf);
    ENV_CPUID_VERSION(vcpu->env) = leaf[0];
}

void cpu_power_on(struct vcpu *vcpu)
{
    log_reset(vcpu, "reset");
    load_cpu_model(vcpu);
    uc.cpu_reset(vcpu->cpu);
    ENV_XCR0(vcpu->env) = 1;
    vcpu->tsc_adjust = 0;
    vcpu->pkrs = 0;
    vcpu->sti_loaded_at = NO_RIP;
    ENV_MTRR_DEFTYPE(vcpu->env) = MPVM_RESET_MTRR_DEF_TYPE;
    finish_reset(vcpu);
}

/* INIT: FPU, MSRs and the caches' state stay; the local APIC keeps its base and id. */
void cpu_init_signal(struct vcpu *vcpu)
{
    log_reset(vcpu, "INIT");
    uc.do_cpu_init(vcpu->cpu);
    finish_reset(vcpu);
    tlb_flush_all(vcpu);
    lapic_init(vcpu);
    if (!vcpu->area->is_bsp) {
        STEP(init_taken);
        __atomic_store_n(&vcpu->area->mp_state, MPVM_MODE_WAIT_FOR_SIPI, __ATOMIC_SEQ_CST);
    }
    STEP(init_done);
    __atomic_fetch_and(&vcpu->area->inbox.startup, ~(uint32_t)MPVM_STARTUP_INIT, __ATOMIC_SEQ_CST);
}

void cpu_sipi(struct vcpu *vcpu, uint32_t vector)
{
    const struct SegmentCache *cs = &ENV_SEGS(vcpu->env)[R_CS];

    segment_load(vcpu->env, R_CS, vector << 8, (uint64_t)vector << 12, cs->limit, cs->flags);
    ENV_EIP(vcpu->env) = 0;
    CPU_HALTED(vcpu->cpu) = 0;
    vcpu->area->mp_state = MPVM_MODE_IN_GUEST;
}

static void segment_save(struct mpvm_segment *to, const struct SegmentCache *from)
{
    to->base = from->base;
    to->limit = from->limit;
    to->selector = (uint16_t)from->selector;
    to->access_rights = from->flags >> 8 & AR_BITS;
    if (!(from->flags & DESC_P_MASK)) {
        to->access_rights |= AR_UNUSABLE;
    }
}

static struct SegmentCache segment_of(const struct mpvm_segment *from)
{
    return (struct SegmentCache){
        .selector = from->selector,
        .base = from->base,
        .limit = from->limit,
        /* An unusable SS still has the privilege level. */
        .flags = (from->access_rights & AR_BITS) << 8 & ~(from->access_rights & AR_UNUSABLE ? DESC_P_MASK : 0),
    };
}

/* The data segments and the control block name them in the same order: ES CS SS DS FS GS. */
_Static_assert(offsetof(struct mpvm_guest_state, gs) - offsetof(struct mpvm_guest_state, es) ==
                   5 * sizeof(struct mpvm_segment),
               "segment order");

/* Plain registers whose place in the control block and in the engine differ only in the name. */
#define PLAIN_REGISTERS(X)                                                                        \
    X(efer, ENV_EFER(env))                                                                        \
    X(star, ENV_STAR(env))                                                                        \
    X(lstar, ENV_LSTAR(env))                                                                      \
    X(cstar, ENV_CSTAR(env))                                                                      \
    X(sfmask, ENV_FMASK(env))                                                                     \
    X(kernel_gs_base, ENV_KERNELGSBASE(env))                                                      \
    X(sysenter_esp, ENV_SYSENTER_ESP(env))                                                        \
    X(sysenter_eip, ENV_SYSENTER_EIP(env))                                                        \
    X(pat, ENV_PAT(env))                                                                          \
    X(tsc_aux, ENV_TSC_AUX(env))                                                                  \
    X(xcr0, ENV_XCR0(env))                                                                        \
    X(rip, ENV_EIP(env))                                                                          \
    X(rflags, ENV_EFLAGS(env))                                                                    \
    X(cr2, ENV_CR(env)[2])                                                                        \
    X(cr3, ENV_CR(env)[3])

/* What holds interrupts off for one instruction. Without IF it was no STI. */
static uint32_t shadow_save(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    uint64_t rip = ENV_SEGS(env)[R_CS].base + ENV_EIP(env);
    TranslationBlock *block;

    if (!(ENV_HFLAGS(env) & HF_INHIBIT_IRQ_MASK)) {
        return 0;
    }
    if (ENV_EFLAGS(env) & EFLAGS_IF) {
        block = uc.tcg_tb_lookup(UC_TCG_CTX(vcpu->engine), vcpu->sti_retaddr);
        if (rip == vcpu->sti_loaded_at || (block != NULL && TB_PC(block) + TB_SIZE(block) == rip)) {
            return MPVM_INTERRUPTIBILITY_BLOCKING_BY_STI;
        }
    }
    return MPVM_INTERRUPTIBILITY_BLOCKING_BY_MOV_SS;
}

static void interruptibility_load(struct vcpu *vcpu, uint32_t state)
{
    CPUX86State *env = vcpu->env;

    ENV_HFLAGS(env) &= ~HF_INHIBIT_IRQ_MASK;
    if (state & (MPVM_INTERRUPTIBILITY_BLOCKING_BY_STI | MPVM_INTERRUPTIBILITY_BLOCKING_BY_MOV_SS)) {
        ENV_HFLAGS(env) |= HF_INHIBIT_IRQ_MASK;
    }
    vcpu->sti_retaddr = 0;
    vcpu->sti_loaded_at = state & MPVM_INTERRUPTIBILITY_BLOCKING_BY_STI
                              ? ENV_SEGS(env)[R_CS].base + ENV_EIP(env)
                              : NO_RIP;
    ENV_HFLAGS2(env) &= ~HF2_NMI_MASK;
    if (state & MPVM_INTERRUPTIBILITY_BLOCKING_BY_NMI) {
        ENV_HFLAGS2(env) |= HF2_NMI_MASK;
    }
}

static uint32_t activity_save(const struct vcpu *vcpu)
{
    if (vcpu->area->mp_state == MPVM_MODE_WAIT_FOR_SIPI) {
        return MPVM_ACTIVITY_WAIT_FOR_SIPI;
    }
    return CPU_HALTED(vcpu->cpu) ? MPVM_ACTIVITY_HLT : MPVM_ACTIVITY_ACTIVE;
}

static void activity_load(struct vcpu *vcpu, uint32_t state)
{
    vcpu->area->mp_state =
        state == MPVM_ACTIVITY_WAIT_FOR_SIPI ? MPVM_MODE_WAIT_FOR_SIPI : MPVM_MODE_IN_GUEST;
    CPU_HALTED(vcpu->cpu) = state == MPVM_ACTIVITY_HLT;
}

/* Between instructions only: the engine has then put the flags together. What the engine has not (IA32_DEBUGCTL),
 * and what others keep (IA32_APIC_BASE), stands in the control block all the time. */
void state_save(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    struct mpvm_guest_state *guest = &vcpu->area->control.guest;
    uint64_t pending = vcpu->data_breakpoints | vcpu->shadowed_breakpoints;

#define SAVE(field, register) guest->field = register;
    PLAIN_REGISTERS(SAVE)
#undef SAVE
    memcpy(guest->gpr, ENV_REGS(env), sizeof(guest->gpr));
    for (unsigned i = 0; i < 6; i++) {
        segment_save(&guest->es + i, &ENV_SEGS(env)[i]);
    }
    segment_save(&guest->ldtr, ENV_LDT(env));
    segment_save(&guest->tr, ENV_TR(env));
    /* LTR marks the descriptor in memory busy, and the engine forgets to mark its own copy. */
    guest->tr.access_rights |= TSS_BUSY;
    guest->gdtr = (struct mpvm_descriptor_table){.base = ENV_GDT(env)->base, .limit = ENV_GDT(env)->limit};
    guest->idtr = (struct mpvm_descriptor_table){.base = ENV_IDT(env)->base, .limit = ENV_IDT(env)->limit};
    guest->cr0 = ENV_CR(env)[0];
    guest->cr4 = ENV_CR(env)[4];
    guest->cr8 = lapic_tpr(vcpu) >> 4;
    guest->sysenter_cs = ENV_SYSENTER_CS(env);
    guest->interruptibility = shadow_save(vcpu) | (ENV_HFLAGS2(env) & HF2_NMI_MASK
                                                       ? (uint32_t)MPVM_INTERRUPTIBILITY_BLOCKING_BY_NMI
                                                       : 0);
    guest->activity_state = activity_save(vcpu);
    guest->pending_debug_exceptions =
        pending | (pending & PENDING_DEBUG_BREAKPOINTS ? PENDING_DEBUG_ENABLED : 0);
    guest->tsc_adjust = vcpu->tsc_adjust;
    guest->pkrs = vcpu->pkrs;
    memcpy(guest->dr, ENV_DR(env), sizeof(guest->dr));
    pdptes_save(vcpu, guest->pdpte);
    msr_state_save(vcpu);
    xstate_save(vcpu);
}

void state_load(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    struct mpvm_guest_state *guest = &vcpu->area->control.guest;

#define LOAD(field, register) register = guest->field;
    PLAIN_REGISTERS(LOAD)
#undef LOAD
    memcpy(ENV_REGS(env), guest->gpr, sizeof(guest->gpr));
    for (unsigned i = 0; i < 6; i++) {
        ENV_SEGS(env)[i] = segment_of(&guest->es + i);
    }
    *ENV_LDT(env) = segment_of(&guest->ldtr);
    *ENV_TR(env) = segment_of(&guest->tr);
    *ENV_GDT(env) = (struct SegmentCache){.base = guest->gdtr.base, .limit = guest->gdtr.limit};
    *ENV_IDT(env) = (struct SegmentCache){.base = guest->idtr.base, .limit = guest->idtr.limit};
    ENV_SYSENTER_CS(env) = (uint32_t)guest->sysenter_cs;
    /* The engine disarms and arms what differs from the DR7 that it has. */
    uc.cpu_x86_update_dr7(env, DR7_RESET);
    memcpy(ENV_DR(env), guest->dr, sizeof(guest->dr));
    ENV_DR(env)[7] = DR7_RESET;
    uc.cpu_x86_update_dr7(env, (uint32_t)guest->dr[7]);
    /* The engine's CR0 update looks at the old CR0 and at EFER to enter or leave long mode. */
    uc.cpu_x86_update_cr4(env, (uint32_t)guest->cr4);
    ENV_HFLAGS(env) &= ~HF_LMA_MASK;
    opcode_cr0_changes(vcpu, guest->cr0);
    uc.cpu_x86_update_cr0(env, (uint32_t)guest->cr0);
    if (guest->efer & 1u << 10) {
        ENV_HFLAGS(env) |= HF_LMA_MASK;
    }
    pdptes_restore(vcpu, guest->pdpte);
    hflags_update(env);
    interruptibility_load(vcpu, guest->interruptibility);
    activity_load(vcpu, guest->activity_state);
    vcpu->shadowed_breakpoints = 0;
    vcpu->trap_pc = NO_TRAP_PC;
    vcpu->data_breakpoints =
        guest->pending_debug_exceptions & (PENDING_DEBUG_BREAKPOINTS | PENDING_DEBUG_SINGLE_STEP);
    vcpu->tsc_adjust = guest->tsc_adjust;
    vcpu->pkrs = (uint32_t)guest->pkrs;
    /* CR8 is the upper half of the local APIC's register, whose lower half stays. */
    if (lapic_tpr(vcpu) >> 4 != guest->cr8) {
        lapic_set_tpr(vcpu, (uint32_t)guest->cr8 << 4);
    }
    msr_state_load(vcpu);
    xstate_load(vcpu);
    tlb_flush_all(vcpu);
    /* An interrupt that came before, a deadline that has passed, a timer that is to be armed. */
    vcpu->irr_pending = true;
    attention_raise(vcpu);
}
