/* MOV to and from control registers: what may be asked for (SDM vol. 3, 2.5; vol. 2, MOV to control registers), and
 * what follows from it.
 */
#include "engine.h"

void helper_write_crN_x86_64(CPUX86State *env, int reg, uint64_t value);
uint64_t helper_read_crN_x86_64(CPUX86State *env, int reg);
void cpu_x86_update_cr3_x86_64(CPUX86State *env, uint64_t value);

/* The bits of CR0 that are there; writes of others do nothing. */
#define CR0_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* VME to PGE, PCE, OSFXSR, OSXMMEXCPT: CPUs without their features are none that anybody has. */
#define CR4_ALWAYS 0x7ffull
#define CR3_PHYSICAL_RESERVED (~(PHYSICAL_LIMIT - 1))
#define PDPTE_P 1ull
#define PDPTE_RESERVED (0x1e6ull | ~(PHYSICAL_LIMIT - 1))

/* The bits of CR4 that are reserved without a feature. */
static const struct {
    uint32_t bit;
    unsigned word;
    uint32_t feature;
} cr4_features[] = {
    {CR4_UMIP, MPVM_FEATURE_WORD_CPUID_7_0_ECX, 1u << 2},
    {CR4_LA57, MPVM_FEATURE_WORD_CPUID_7_0_ECX, 1u << 16},
    {CR4_FSGSBASE, MPVM_FEATURE_WORD_CPUID_7_0_EBX, 1u << 0},
    {CR4_OSXSAVE, MPVM_FEATURE_WORD_CPUID_1_ECX, 1u << 26},
    {CR4_SMEP, MPVM_FEATURE_WORD_CPUID_7_0_EBX, 1u << 7},
    {CR4_SMAP, MPVM_FEATURE_WORD_CPUID_7_0_EBX, 1u << 20},
    {CR4_PKE, MPVM_FEATURE_WORD_CPUID_7_0_ECX, 1u << 3},
    {CR4_PKS, MPVM_FEATURE_WORD_CPUID_7_0_ECX, 1u << 31},
};
#define CR4_FEATURES (sizeof(cr4_features) / sizeof(cr4_features[0]))

static uint64_t cr4_valid(CPUX86State *env)
{
    uint64_t valid = CR4_ALWAYS;

    for (unsigned i = 0; i < CR4_FEATURES; i++) {
        if (ENV_FEATURES(env)[cr4_features[i].word] & cr4_features[i].feature) {
            valid |= cr4_features[i].bit;
        }
    }
    return valid;
}

static bool cr0_valid(CPUX86State *env, uint64_t value)
{
    bool was_paging = ENV_CR(env)[0] & CR0_PG, long_code = (ENV_SEGS(env)[R_CS].flags & DESC_L_MASK) != 0;

    if (value >> 32 != 0 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD))) {
        return false;
    }
    if (was_paging && !(value & CR0_PG)) {
        return !(ENV_HFLAGS(env) & HF_CS64_MASK);
    }
    if (!was_paging && (value & CR0_PG) && (ENV_EFER(env) & EFER_LME)) {
        return (ENV_CR(env)[4] & CR4_PAE) && !long_code;
    }
    return true;
}

static bool cr4_may_be(CPUX86State *env, uint64_t value)
{
    if (value & ~cr4_valid(env)) {
        return false;
    }
    return !(ENV_HFLAGS(env) & HF_LMA_MASK) ||
           ((value & CR4_PAE) && !((value ^ ENV_CR(env)[4]) & CR4_LA57));
}

static bool control_register_valid(CPUX86State *env, int reg, uint64_t value)
{
    switch (reg) {
    case 0:
        return cr0_valid(env, value);
    case 3:
        return !(ENV_HFLAGS(env) & HF_LMA_MASK) || !(value & CR3_PHYSICAL_RESERVED);
    case 4:
        return cr4_may_be(env, value);
    case 8:
        return value < 16;
    default:
        return true;
    }
}

/* PAE paging with these registers (SDM vol. 3, 4.4.1): the PDPTEs are registers, too. */
static bool pae_paging(const CPUX86State *env, uint64_t cr0, uint64_t cr4)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(ENV_EFER(env) & EFER_LME);
}

/* Whether the write loads the PDPTEs, from which CR3. */
static bool pdptes_wanted(CPUX86State *env, int reg, uint64_t value, uint64_t *cr3)
{
    const uint64_t *cr = ENV_CR(env);

    *cr3 = reg == 3 ? value : cr[3];
    switch (reg) {
    case 0:
        return ((value ^ cr[0]) & (CR0_CD | CR0_NW | CR0_PG)) && pae_paging(env, value, cr[4]);
    case 3:
        return pae_paging(env, cr[0], cr[4]);
    case 4:
        return ((value ^ cr[4]) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && pae_paging(env, cr[0], value);
    default:
        return false;
    }
}

/* False: one that is present has a reserved bit set. */
static bool pdptes_load(struct vcpu *vcpu, uint64_t cr3)
{
    uint64_t pdpte[PDPTES];

    mmu_pdptes_read(vcpu, cr3, pdpte);
    for (unsigned i = 0; i < PDPTES; i++) {
        if ((pdpte[i] & PDPTE_P) && (pdpte[i] & PDPTE_RESERVED)) {
            return false;
        }
    }
    for (unsigned i = 0; i < PDPTES; i++) {
        vcpu->pdpte[i] = pdpte[i];
    }
    return true;
}

/* The registers of a loaded state. One that has no PDPTEs, as KVM_SET_SREGS gives none, takes those of the table. */
void pdptes_restore(struct vcpu *vcpu, const uint64_t pdpte[PDPTES])
{
    bool pae = pae_paging(vcpu->env, ENV_CR(vcpu->env)[0], ENV_CR(vcpu->env)[4]), any = false;

    for (unsigned i = 0; i < PDPTES; i++) {
        vcpu->pdpte[i] = pae ? pdpte[i] : 0;
        any |= vcpu->pdpte[i] != 0;
    }
    if (pae && !any) {
        pdptes_load(vcpu, ENV_CR(vcpu->env)[3]);
    }
}

/* Those that walks use; zeros outside PAE paging. */
void pdptes_save(const struct vcpu *vcpu, uint64_t pdpte[PDPTES])
{
    bool pae = pae_paging(vcpu->env, ENV_CR(vcpu->env)[0], ENV_CR(vcpu->env)[4]);

    for (unsigned i = 0; i < PDPTES; i++) {
        pdpte[i] = pae ? vcpu->pdpte[i] : 0;
    }
}

uint64_t REPLACES(helper_read_crN)(CPUX86State *env, int reg)
{
    uint64_t value = reg == 8 ? lapic_tpr(self) >> 4 : uc.helper_read_crN(env, reg);

    return self->cr_masked ? control_register_read(self, reg, value) : value;
}

void REPLACES(helper_write_crN)(CPUX86State *env, int reg, uint64_t value)
{
    struct vcpu *vcpu = self;
    uint64_t cr3;

    if (vcpu->cr_masked) {
        value = control_register_written(vcpu, reg, value);
    }
    if (!control_register_valid(env, reg, value) ||
        (pdptes_wanted(env, reg, value, &cr3) && !pdptes_load(vcpu, cr3))) {
        uc.raise_exception_err_ra(env, EXCP_GP, 0, RETADDR);
    }
    switch (reg) {
    case 0:
        value &= CR0_BITS;
        opcode_cr0_changes(vcpu, value);
        break;
    case 4:
        /* The engine flushes for the others that change what a translation allows. */
        if ((value ^ ENV_CR(env)[4]) & (CR4_PKE | CR4_PKS)) {
            tlb_flush_all(vcpu);
        }
        break;
    case 8:
        lapic_set_tpr(vcpu, (uint32_t)(value & 15) << 4);
        return;
    default:
        break;
    }
    uc.helper_write_crN(env, reg, value);
}

/* Also a task switch's, whose TSS may name PDPTEs that no MOV would load: they are then as not there. */
void REPLACES(cpu_x86_update_cr3)(CPUX86State *env, uint64_t value)
{
    if (ENV_CR(env)[3] != value && pae_paging(env, ENV_CR(env)[0], ENV_CR(env)[4]) &&
        !pdptes_load(self, value)) {
        for (unsigned i = 0; i < PDPTES; i++) {
            self->pdpte[i] = 0;
        }
    }
    ENV_CR(env)[3] = value;
    if (ENV_CR(env)[0] & CR0_PG) {
        tlb_flush_local(self);
    }
}
