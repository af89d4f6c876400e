/* Which MSRs a CPU model has, and what may be written to them (SDM vol. 4, table 2-2; vol. 3, 11.11 and 15.3; APM
 * vol. 2, appendix A).
 */
#include "engine.h"

#define FEATURE(name) MPVM_FEATURE_WORD_##name
#define ALL_ONES UINT64_MAX
#define MTRR_PHYSICAL_RESERVED (~(PHYSICAL_LIMIT - 1))

/* The registers that come with a feature. */
static const struct {
    uint32_t first, last;
    unsigned word;
    uint32_t bit;
} dependent[] = {
    {0x3b, 0x3b, FEATURE(CPUID_7_0_EBX), 1u << 1},                      /* TSC_ADJUST */
    {0xfe, 0xfe, FEATURE(CPUID_1_EDX), 1u << 12},                       /* MTRRcap */
    {0x174, 0x176, FEATURE(CPUID_1_EDX), 1u << 11},                     /* SYSENTER_CS, _ESP, _EIP */
    {0x179, 0x17b, FEATURE(CPUID_1_EDX), 1u << 14},                     /* MCG_CAP, _STATUS, _CTL */
    {0x200, 0x26f, FEATURE(CPUID_1_EDX), 1u << 12},                     /* MTRRs */
    {0x277, 0x277, FEATURE(CPUID_1_EDX), 1u << 16},                     /* PAT */
    {0x2ff, 0x2ff, FEATURE(CPUID_1_EDX), 1u << 12},                     /* MTRRdefType */
    {0x400, 0x47f, FEATURE(CPUID_1_EDX), 1u << 14},                     /* MCi_CTL, _STATUS, _ADDR, _MISC */
    {0xc0000081u, 0xc0000081u, FEATURE(CPUID_8000_0001_EDX), 1u << 11}, /* STAR */
    {0xc0000082u, 0xc0000084u, FEATURE(CPUID_8000_0001_EDX), 1u << 29}, /* LSTAR, CSTAR, SFMASK */
    {0xc0000100u, 0xc0000102u, FEATURE(CPUID_8000_0001_EDX), 1u << 29}, /* FS, GS, kernel GS base */
    {0xc0000103u, 0xc0000103u, FEATURE(CPUID_8000_0001_EDX), 1u << 27}, /* TSC_AUX */
};
#define CPUID_7_ECX_RDPID (1u << 22)

bool msr_in_model(const struct vcpu *vcpu, uint32_t msr)
{
    const uint64_t *features = vcpu->area->features;

    for (unsigned i = 0; i < sizeof(dependent) / sizeof(dependent[0]); i++) {
        if (msr >= dependent[i].first && msr <= dependent[i].last &&
            !(features[dependent[i].word] & dependent[i].bit)) {
            return msr == 0xc0000103u && (features[FEATURE(CPUID_7_0_ECX)] & CPUID_7_ECX_RDPID) != 0;
        }
    }
    return true;
}

static bool memory_type_valid(unsigned type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool fixed_types_valid(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        if (!memory_type_valid(value >> 8 * i & 0xff)) {
            return false;
        }
    }
    return true;
}

/* A machine-check bank. Status is only cleared by software; AMD's kernels clear one bit of bank 4's control. */
static bool bank_valid(uint32_t msr, uint64_t value)
{
    enum { CTL = 0, STATUS = 1, GART_BANK = 4, GART_BIT = 10 };
    uint32_t bank = (msr - 0x400) / 4;

    switch ((msr - 0x400) % 4) {
    case CTL:
        return value == 0 || (bank == GART_BANK ? value | 1ull << GART_BIT : value) == ALL_ONES;
    case STATUS:
        return value == 0;
    default:
        return true;
    }
}

/* False: a reserved bit or value, which is #GP. Canonical addresses, EFER and PAT are looked at elsewhere. */
bool msr_value_valid(uint32_t msr, uint64_t value)
{
    enum { MCG_STATUS_BITS = 7, MTRR_DEF_TYPE_RESERVED = 0x300, MTRR_VALID_LIMIT = 0xfff };

    if (msr >= 0x200 && msr <= 0x20f) {
        return !(value & MTRR_PHYSICAL_RESERVED) &&
               (msr & 1 ? !(value & 0x7ff) : !(value & 0xf00) && memory_type_valid(value & 0xff));
    }
    if (msr >= 0x250 && msr <= 0x26f) {
        return fixed_types_valid(value);
    }
    if (msr >= 0x400 && msr <= 0x47f) {
        return bank_valid(msr, value);
    }
    switch (msr) {
    case 0x17a: /* MCG_STATUS */
        return !(value & ~(uint64_t)MCG_STATUS_BITS);
    case 0x17b: /* MCG_CTL */
        return value == 0 || value == ALL_ONES;
    case 0x2ff: /* MTRRdefType */
        return value <= MTRR_VALID_LIMIT && !(value & MTRR_DEF_TYPE_RESERVED) && memory_type_valid(value & 0xff);
    case 0xc0000103u: /* TSC_AUX */
        return value >> 32 == 0;
    default:
        return true;
    }
}

/* Registers that read as constants: what the machine has none of, and what says how it is made. */
static const struct {
    uint32_t first, last;
    bool amd;
    bool ignores_writes; /* false: #GP */
} constant[] = {
    {0x17, 0x17, false, false},              /* PLATFORM_ID */
    {0x34, 0x34, false, false},              /* SMI_COUNT */
    {0xc0010000u, 0xc0010007u, true, true},  /* PerfEvtSel0 to 3, PerfCtr0 to 3: count nothing */
};

static int constant_of(const struct vcpu *vcpu, uint32_t msr)
{
    for (unsigned i = 0; i < sizeof(constant) / sizeof(constant[0]); i++) {
        if (msr >= constant[i].first && msr <= constant[i].last && constant[i].amd == cpuid_is_amd(vcpu)) {
            return (int)i;
        }
    }
    return -1;
}

/* CORE_THREAD_COUNT: logical processors and cores of the package, from CPUID's leaf 0xb. */
static uint64_t core_thread_count(struct vcpu *vcpu)
{
    enum { TOPOLOGY_LEAF = 0xb };
    uint32_t smt[4], package[4], threads;

    cpuid_lookup(vcpu, TOPOLOGY_LEAF, 0, smt);
    cpuid_lookup(vcpu, TOPOLOGY_LEAF, 1, package);
    threads = smt[1] & 0xffff;
    return (package[1] & 0xffff) | (threads != 0 ? (package[1] & 0xffff) / threads : 0) << 16;
}

enum msr_answer constant_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    enum { CORE_THREAD_COUNT = 0x35 };

    if (msr == CORE_THREAD_COUNT && !cpuid_is_amd(vcpu)) {
        *value = core_thread_count(vcpu);
        return MSR_DONE;
    }
    *value = 0;
    return constant_of(vcpu, msr) >= 0 ? MSR_DONE : MSR_NOT_OURS;
}

enum msr_answer constant_msr_write(const struct vcpu *vcpu, uint32_t msr)
{
    int found = constant_of(vcpu, msr);

    return found < 0 ? MSR_NOT_OURS : constant[found].ignores_writes ? MSR_DONE : MSR_FAULT;
}
