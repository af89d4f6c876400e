/* Guest state: reset, INIT, SIPI, and the registers' way to and from the control block. */
#include "engine.h"

#include <string.h>

#define AR_BITS 0xf0ffu /* VMCS access rights that have a place in a descriptor */
#define AR_UNUSABLE (1u << 16)
#define FXSAVE_ST 32
#define FXSAVE_XMM 160
#define FPUS_TOP_SHIFT 11
/* MTRRs enabled, write-back by default: what firmware leaves, and nothing else does for a guest without one. */
#define MTRR_DEF_TYPE_FIRMWARE 0xc06u
#define FXSAVE_MXCSR 24
#define DR7_RESET 0x400u
#define TSS_BUSY (1u << 1)
/* Interruptibility state, SDM vol. 3, table 24-3 */
#define INTERRUPTIBILITY_STI 1u
#define INTERRUPTIBILITY_NMI (1u << 3)

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
    vcpu->data_breakpoints = 0;
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
    load_cpu_model(vcpu);
    uc.cpu_reset(vcpu->cpu);
    ENV_XCR0(vcpu->env) = 1;
    ENV_MTRR_DEFTYPE(vcpu->env) = MTRR_DEF_TYPE_FIRMWARE;
    vcpu->tsc_adjust = 0;
    finish_reset(vcpu);
}

/* INIT: FPU, MSRs and the caches' state stay; the local APIC keeps its base and id. */
void cpu_init_signal(struct vcpu *vcpu)
{
    uc.do_cpu_init(vcpu->cpu);
    finish_reset(vcpu);
    uc.tlb_flush(vcpu->cpu);
    lapic_reset(vcpu, true);
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
        .flags = from->access_rights & AR_UNUSABLE ? 0 : (from->access_rights & AR_BITS) << 8,
    };
}

/* The data segments and the control block name them in the same order: ES CS SS DS FS GS. */
_Static_assert(offsetof(struct mpvm_guest_state, gs) - offsetof(struct mpvm_guest_state, es) ==
                   5 * sizeof(struct mpvm_segment),
               "segment order");

static void fpu_save(CPUX86State *env, uint8_t *image)
{
    uint16_t status = (uint16_t)((ENV_FPUS(env) & ~(7u << FPUS_TOP_SHIFT)) | (ENV_FPSTT(env) & 7) << FPUS_TOP_SHIFT);
    uint8_t tags = 0;

    memset(image, 0, FXSAVE_ST);
    for (unsigned i = 0; i < 8; i++) {
        tags |= (uint8_t)((ENV_FPTAGS(env)[i] == 0) << i);
        memcpy(image + FXSAVE_ST + 16 * i, ENV_FPREG(env, (ENV_FPSTT(env) + i) & 7), 10);
        memset(image + FXSAVE_ST + 16 * i + 10, 0, 6);
    }
    memcpy(image, &ENV_FPUC(env), 2);
    memcpy(image + 2, &status, 2);
    image[4] = tags;
    memcpy(image + FXSAVE_MXCSR, &ENV_MXCSR(env), 4);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(image + FXSAVE_XMM + 16 * i, ENV_XMM(env, i), 16);
    }
}

static void fpu_load(CPUX86State *env, const uint8_t *image, uint32_t mxcsr)
{
    uint16_t status;

    memcpy(&ENV_FPUC(env), image, 2);
    memcpy(&status, image + 2, 2);
    ENV_FPSTT(env) = status >> FPUS_TOP_SHIFT & 7;
    ENV_FPUS(env) = (uint16_t)(status & ~(7u << FPUS_TOP_SHIFT));
    for (unsigned i = 0; i < 8; i++) {
        ENV_FPTAGS(env)[i] = !(image[4] >> i & 1);
        memcpy(ENV_FPREG(env, (ENV_FPSTT(env) + i) & 7), image + FXSAVE_ST + 16 * i, 10);
    }
    for (unsigned i = 0; i < 16; i++) {
        memcpy(ENV_XMM(env, i), image + FXSAVE_XMM + 16 * i, 16);
    }
    mxcsr_set(env, mxcsr);
    x87_changed(env);
}

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

/* Between instructions only: the engine has then put the flags together. */
void state_save(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    struct mpvm_guest_state *guest = &vcpu->area->control.guest;

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
    guest->interruptibility = (ENV_HFLAGS(env) & HF_INHIBIT_IRQ_MASK ? INTERRUPTIBILITY_STI : 0) |
                              (ENV_HFLAGS2(env) & HF2_NMI_MASK ? INTERRUPTIBILITY_NMI : 0);
    guest->pkru = ENV_PKRU(env);
    memcpy(guest->dr, ENV_DR(env), sizeof(guest->dr));
    guest->mxcsr = ENV_MXCSR(env);
    fpu_save(env, guest->xsave);
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
    memcpy(ENV_DR(env), guest->dr, sizeof(guest->dr));
    /* The engine arms what differs from the DR7 that it has. */
    ENV_DR(env)[7] = DR7_RESET;
    uc.cpu_x86_update_dr7(env, (uint32_t)guest->dr[7]);
    ENV_PKRU(env) = vcpu->pkru = (uint32_t)guest->pkru;
    /* The engine's CR0 update looks at the old CR0 and at EFER to enter or leave long mode. */
    uc.cpu_x86_update_cr4(env, (uint32_t)guest->cr4);
    ENV_HFLAGS(env) &= ~HF_LMA_MASK;
    uc.cpu_x86_update_cr0(env, (uint32_t)guest->cr0);
    if (guest->efer & 1u << 10) {
        ENV_HFLAGS(env) |= HF_LMA_MASK;
    }
    hflags_update(env);
    ENV_HFLAGS(env) &= ~HF_INHIBIT_IRQ_MASK;
    if (guest->interruptibility & INTERRUPTIBILITY_STI) {
        ENV_HFLAGS(env) |= HF_INHIBIT_IRQ_MASK;
    }
    ENV_HFLAGS2(env) &= ~HF2_NMI_MASK;
    if (guest->interruptibility & INTERRUPTIBILITY_NMI) {
        ENV_HFLAGS2(env) |= HF2_NMI_MASK;
    }
    lapic_set_tpr(vcpu, (uint32_t)guest->cr8 << 4);
    fpu_load(env, guest->xsave, guest->mxcsr);
    uc.tlb_flush(vcpu->cpu);
}
