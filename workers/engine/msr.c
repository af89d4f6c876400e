/* Model-specific registers (SDM vol. 4). What neither we nor the engine have is #GP. */
#include "engine.h"

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_BIOS_SIGN_ID = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_PHYS_FIRST = 0x200,
    MSR_MTRR_PHYS_LAST = 0x20f,
    MSR_MTRR_FIX_64K = 0x250,
    MSR_MTRR_FIX_16K_80000 = 0x258,
    MSR_MTRR_FIX_16K_A0000 = 0x259,
    MSR_MTRR_FIX_4K_FIRST = 0x268,
    MSR_MTRR_FIX_4K_LAST = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_PKRS = 0x6e1,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MSR_KVM_FIRST = 0x4b564d00,
    MSR_KVM_STEAL_TIME = 0x4b564d03,
    MSR_KVM_LAST = 0x4b564d08,
};
#define MSR_EFER 0xc0000080u
/* AMD's (APM vol. 2, appendix A): kernels for its CPUs take them for there. */
#define MSR_AMD_SYSCFG 0xc0010010u
#define MSR_AMD_HWCR 0xc0010015u
#define MSR_AMD_NB_CFG 0xc001001fu
#define MSR_AMD_INT_PENDING 0xc0010055u
#define HWCR_TSC_FREQ_SEL (1u << 24) /* the TSC counts at the rate of state P0 */
#define MSR_MC0_CTL 0x400u
#define MC_BANK_REGISTERS 4u
#define MC_BANKS 10u
#define APERTURE(first, last) (msr >= (first) && msr <= (last))

#define CPUID_7_ECX_LA57 (1u << 16)
#define CPUID_7_ECX_PKS (1u << 31)
#define CPUID_EXT2_SYSCALL (1u << 11)
#define CPUID_EXT2_NX (1u << 20)
#define CPUID_EXT2_FFXSR (1u << 25)
#define CPUID_EXT2_LM (1u << 29)

/* Registers that the engine keeps. */
static bool engine_has(uint32_t msr)
{
    if (APERTURE(MSR_SYSENTER_CS, MSR_SYSENTER_EIP) || APERTURE(MSR_MCG_CAP, MSR_MCG_CTL) ||
        APERTURE(MSR_MTRR_PHYS_FIRST, MSR_MTRR_PHYS_LAST) ||
        APERTURE(MSR_MTRR_FIX_4K_FIRST, MSR_MTRR_FIX_4K_LAST) ||
        APERTURE(MSR_MC0_CTL, MSR_MC0_CTL + MC_BANKS * MC_BANK_REGISTERS - 1)) {
        return true;
    }
    switch (msr) {
    case MSR_MTRR_CAP:
    case MSR_PERF_STATUS:
    case MSR_MISC_ENABLE:
    case MSR_MTRR_FIX_64K:
    case MSR_MTRR_FIX_16K_80000:
    case MSR_MTRR_FIX_16K_A0000:
    case MSR_PAT:
    case MSR_MTRR_DEF_TYPE:
    case 0xc0000080u: /* EFER */
    case 0xc0000081u: /* STAR */
    case 0xc0000082u: /* LSTAR */
    case 0xc0000083u: /* CSTAR */
    case 0xc0000084u: /* SFMASK */
    case 0xc0000100u: /* FS.base */
    case 0xc0000101u: /* GS.base */
    case 0xc0000102u: /* KernelGSbase */
    case 0xc0000103u: /* TSC_AUX */
        return true;
    default:
        return false;
    }
}

/* KVM's (Linux's Documentation/virt/kvm/x86/msr.rst), which it has whatever CPUID tells. Guests that try them without
 * a look at that go on under QEMU without KVM, where nothing comes of it. */
static bool paravirtual(uint32_t msr)
{
    return APERTURE(MSR_KVM_FIRST, MSR_KVM_LAST) && msr != MSR_KVM_STEAL_TIME;
}

static bool read_only(uint32_t msr)
{
    return msr == MSR_MTRR_CAP || msr == MSR_MCG_CAP || msr == MSR_PERF_STATUS;
}

static bool has_pks(const struct vcpu *vcpu)
{
    return (ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_7_0_ECX] & CPUID_7_ECX_PKS) != 0;
}

/* As wide as the CPU can have addresses, whatever CR4.LA57 says. */
bool canonical_for_cpu(const struct vcpu *vcpu, uint64_t address)
{
    unsigned unused = ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_7_0_ECX] & CPUID_7_ECX_LA57 ? 64 - 57 : 64 - 48;

    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static bool holds_address(uint32_t msr)
{
    return msr == MSR_SYSENTER_CS + 1 || msr == MSR_SYSENTER_EIP || msr == 0xc0000082u || msr == 0xc0000083u ||
           (msr >= 0xc0000100u && msr <= 0xc0000102u);
}

/* SDM vol. 3, 11.12.4: memory types that a PAT entry may have. */
static bool pat_valid(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = value >> 8 * i & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

static bool efer_valid(struct vcpu *vcpu, uint64_t value)
{
    uint64_t features = ENV_FEATURES(vcpu->env)[MPVM_FEATURE_WORD_CPUID_8000_0001_EDX];
    uint64_t allowed = EFER_LMA;

    allowed |= features & CPUID_EXT2_SYSCALL ? EFER_SCE : 0;
    allowed |= features & CPUID_EXT2_LM ? EFER_LME : 0;
    allowed |= features & CPUID_EXT2_NX ? EFER_NXE : 0;
    allowed |= features & CPUID_EXT2_FFXSR ? EFER_FFXSR : 0;
    if (value & ~allowed) {
        return false;
    }
    return !((value ^ ENV_EFER(vcpu->env)) & EFER_LME) || !(ENV_CR(vcpu->env)[0] & CR0_PG);
}

static uint64_t engine_read(struct vcpu *vcpu, uint32_t msr)
{
    uint64_t *regs = ENV_REGS(vcpu->env);
    uint64_t rax = regs[R_EAX], rcx = regs[R_ECX], rdx = regs[R_EDX], value;

    regs[R_ECX] = msr;
    uc.helper_rdmsr(vcpu->env);
    value = (uint32_t)regs[R_EAX] | regs[R_EDX] << 32;
    regs[R_EAX] = rax;
    regs[R_ECX] = rcx;
    regs[R_EDX] = rdx;
    return value;
}

static void engine_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint64_t *regs = ENV_REGS(vcpu->env);
    uint64_t rax = regs[R_EAX], rcx = regs[R_ECX], rdx = regs[R_EDX];

    regs[R_ECX] = msr;
    regs[R_EAX] = (uint32_t)value;
    regs[R_EDX] = value >> 32;
    uc.helper_wrmsr(vcpu->env);
    regs[R_EAX] = rax;
    regs[R_ECX] = rcx;
    regs[R_EDX] = rdx;
}

/* Registers that the engine keeps and the control block has, and nothing else is needed for. */
static const struct {
    uint32_t first;
    uint32_t count;
    size_t place;
} state_msrs[] = {
    {MSR_MISC_ENABLE, 1, offsetof(struct mpvm_guest_state, misc_enable)},
    {MSR_MTRR_DEF_TYPE, 1, offsetof(struct mpvm_guest_state, mtrr_def_type)},
    {MSR_MTRR_FIX_64K, 1, offsetof(struct mpvm_guest_state, mtrr_fixed[0])},
    {MSR_MTRR_FIX_16K_80000, 2, offsetof(struct mpvm_guest_state, mtrr_fixed[1])},
    {MSR_MTRR_FIX_4K_FIRST, 8, offsetof(struct mpvm_guest_state, mtrr_fixed[3])},
    {MSR_MTRR_PHYS_FIRST, MPVM_MTRR_VARIABLE, offsetof(struct mpvm_guest_state, mtrr_variable)},
    {MSR_MCG_STATUS, 1, offsetof(struct mpvm_guest_state, mcg_status)},
    {MSR_MCG_CTL, 1, offsetof(struct mpvm_guest_state, mcg_ctl)},
    {MSR_MC0_CTL, MPVM_MC_BANK_MSRS, offsetof(struct mpvm_guest_state, mc_banks)},
};
_Static_assert(MC_BANKS * MC_BANK_REGISTERS == MPVM_MC_BANK_MSRS, "machine-check banks");
#define STATE_MSR_TYPES (sizeof(state_msrs) / sizeof(state_msrs[0]))

static uint64_t *state_msr_place(struct vcpu *vcpu, unsigned i)
{
    return (uint64_t *)(void *)((uint8_t *)&vcpu->area->control.guest + state_msrs[i].place);
}

void msr_state_save(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < STATE_MSR_TYPES; i++) {
        for (uint32_t n = 0; n < state_msrs[i].count; n++) {
            state_msr_place(vcpu, i)[n] = engine_read(vcpu, state_msrs[i].first + n);
        }
    }
}

void msr_state_load(struct vcpu *vcpu)
{
    for (unsigned i = 0; i < STATE_MSR_TYPES; i++) {
        for (uint32_t n = 0; n < state_msrs[i].count; n++) {
            engine_write(vcpu, state_msrs[i].first + n, state_msr_place(vcpu, i)[n]);
        }
    }
}

static enum msr_answer done_if(bool good)
{
    return good ? MSR_DONE : MSR_FAULT;
}

/* MSRs of the machine: the TSC, which all vCPUs share, and the local APIC. No engine is needed. */
enum msr_answer machine_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_TSC:
        *value = guest_tsc(vcpu);
        return MSR_DONE;
    case MSR_TSC_ADJUST:
        *value = vcpu->tsc_adjust;
        return done_if(msr_in_model(vcpu, msr));
    case MSR_APIC_BASE:
        *value = vcpu->area->control.guest.apic_base;
        return MSR_DONE;
    case MSR_BIOS_SIGN_ID:
        *value = 1ull << 32; /* microcode revision 1 */
        return MSR_DONE;
    case MSR_PLATFORM_ID:
        *value = 0; /* which of a microcode file's parts fits: Linux asks for it when it resumes */
        return done_if(!cpuid_is_amd(vcpu));
    case MSR_AMD_SYSCFG:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_INT_PENDING:
        *value = 0;
        return done_if(cpuid_is_amd(vcpu));
    case MSR_AMD_HWCR:
        *value = HWCR_TSC_FREQ_SEL;
        return done_if(cpuid_is_amd(vcpu));
    case MSR_TSC_DEADLINE:
        *value = vcpu->area->lapic.tsc_deadline;
        return done_if(vcpu->area->features[MPVM_FEATURE_WORD_CPUID_1_ECX] & CPUID_1_ECX_TSC_DEADLINE);
    case MSR_DEBUGCTL:
        *value = vcpu->area->control.guest.debugctl;
        return MSR_DONE;
    default:
        break;
    }
    if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) {
        return done_if(lapic_msr_read(vcpu, msr, value));
    }
    return constant_msr_read(vcpu, msr, value);
}

enum msr_answer machine_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint64_t features = vcpu->area->features[MPVM_FEATURE_WORD_CPUID_1_ECX];

    switch (msr) {
    case MSR_TSC:
        vcpu->tsc_adjust += value - guest_tsc(vcpu);
        attention_raise(vcpu); /* a deadline may have passed */
        return MSR_DONE;
    case MSR_TSC_ADJUST:
        if (!msr_in_model(vcpu, msr)) {
            return MSR_FAULT;
        }
        vcpu->tsc_adjust = value;
        attention_raise(vcpu);
        return MSR_DONE;
    case MSR_APIC_BASE:
        return done_if(((features & CPUID_1_ECX_X2APIC) || !(value & 1u << 10)) && lapic_base_write(vcpu, value));
    case MSR_BIOS_SIGN_ID:
        return MSR_DONE; /* written before CPUID, to make the CPU load its revision */
    case MSR_AMD_SYSCFG:
    case MSR_AMD_NB_CFG:
    case MSR_AMD_INT_PENDING:
    case MSR_AMD_HWCR:
        return done_if(cpuid_is_amd(vcpu)); /* nothing of what they switch is here */
    case MSR_TSC_DEADLINE:
        if (!(features & CPUID_1_ECX_TSC_DEADLINE)) {
            return MSR_FAULT;
        }
        lapic_set_tsc_deadline(vcpu, value);
        return MSR_DONE;
    case MSR_DEBUGCTL:
        return done_if(value == 0); /* nothing of what it switches on is here */
    default:
        break;
    }
    if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) {
        return done_if(lapic_msr_write(vcpu, msr, value));
    }
    return constant_msr_write(vcpu, msr);
}

/* False: #GP. */
bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    enum msr_answer answer = machine_msr_read(vcpu, msr, value);

    vcpu->area->counters.exits[MPVM_EXIT_X86_RDMSR]++;
    if (answer != MSR_NOT_OURS) {
        return answer == MSR_DONE;
    }
    switch (msr) {
    case MSR_KVM_STEAL_TIME:
        return steal_msr_read(vcpu, value);
    case MSR_PKRS:
        *value = vcpu->pkrs;
        return has_pks(vcpu);
    default:
        break;
    }
    if (paravirtual(msr)) {
        *value = 0;
        return true;
    }
    if (!engine_has(msr) || !msr_in_model(vcpu, msr)) {
        return false;
    }
    *value = engine_read(vcpu, msr);
    return true;
}

/* False: #GP. */
bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    enum msr_answer answer = machine_msr_write(vcpu, msr, value);

    vcpu->area->counters.exits[MPVM_EXIT_X86_WRMSR]++;
    if (answer != MSR_NOT_OURS) {
        return answer == MSR_DONE;
    }
    switch (msr) {
    case MSR_KVM_STEAL_TIME:
        return steal_msr_write(vcpu, value);
    case MSR_PKRS:
        if (!has_pks(vcpu) || value >> 32 != 0) {
            return false;
        }
        tlb_keys_changed(vcpu, vcpu->pkrs ^ (uint32_t)value);
        vcpu->pkrs = (uint32_t)value;
        return true;
    case MSR_PAT:
        if (!pat_valid(value)) {
            return false;
        }
        break;
    case MSR_EFER:
        if (!efer_valid(vcpu, value)) {
            return false;
        }
        /* The engine does not keep LMA; NXE changes what translations mean. */
        value = (value & ~(uint64_t)EFER_LMA) | (ENV_EFER(vcpu->env) & EFER_LMA);
        if ((value ^ ENV_EFER(vcpu->env)) & EFER_NXE) {
            tlb_flush_all(vcpu);
        }
        break;
    default:
        break;
    }
    if (paravirtual(msr)) {
        return true;
    }
    if (!engine_has(msr) || !msr_in_model(vcpu, msr) || read_only(msr) || !msr_value_valid(msr, value) ||
        (holds_address(msr) && !canonical_for_cpu(vcpu, value))) {
        return false;
    }
    engine_write(vcpu, msr, value);
    return true;
}
