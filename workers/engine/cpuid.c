/* CPUID from the table that the coordinator has written into our area, with the bits that live elsewhere. */
#include "engine.h"

#define ENTRY_INDEX_SIGNIFICANT 1u
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_EDX_APIC (1u << 9)
#define CPUID_7_ECX_OSPKE (1u << 4)
#define CPUID_7_ECX_PKU (1u << 3)
#define LEAF_TOPOLOGY 0xbu
#define LEAF_TOPOLOGY_V2 0x1fu
#define XSAVE_HEADER_END 576u

static const struct mpvm_cpuid_entry *find(const struct vcpu *vcpu, uint32_t function, uint32_t index)
{
    for (unsigned i = 0; i < vcpu->area->cpuid_count; i++) {
        const struct mpvm_cpuid_entry *entry = &vcpu->area->cpuid[i];

        if (entry->function == function &&
            (!(entry->flags & ENTRY_INDEX_SIGNIFICANT) || entry->index == index)) {
            return entry;
        }
    }
    return NULL;
}

/* Only AMD's CPUs name their vendor in the first extended leaf (APM vol. 3, E.4.1). */
bool cpuid_is_amd(const struct vcpu *vcpu)
{
    const struct mpvm_cpuid_entry *entry = find(vcpu, 0x80000000u, 0);

    return entry != NULL && entry->ebx != 0;
}

/* The size of the XSAVE area for what XCR0 enables now (SDM vol. 1, 13.2). */
static uint32_t xsave_size(const struct vcpu *vcpu)
{
    uint32_t size = XSAVE_HEADER_END;

    for (unsigned i = 2; i < 63; i++) {
        const struct mpvm_cpuid_entry *entry = ENV_XCR0(vcpu->env) >> i & 1 ? find(vcpu, 0xd, i) : NULL;

        if (entry != NULL && entry->ebx + entry->eax > size) {
            size = entry->ebx + entry->eax;
        }
    }
    return size;
}

void cpuid_lookup(struct vcpu *vcpu, uint32_t function, uint32_t index, uint32_t out[4])
{
    const struct mpvm_cpuid_entry *entry = find(vcpu, function, index);
    uint64_t cr4 = ENV_CR(vcpu->env)[4];

    out[0] = out[1] = out[2] = out[3] = 0;
    if (entry == NULL) {
        const struct mpvm_cpuid_entry *highest = find(vcpu, function & 0xc0000000u, 0);

        if (highest == NULL || function > highest->eax) {
            /* Beyond the last leaf, Intel CPUs give the last basic one (SDM vol. 2, CPUID). */
            highest = find(vcpu, 0, 0);
            entry = highest == NULL ? NULL : find(vcpu, highest->eax, index);
        }
    }
    if (entry == NULL) {
        if (function == LEAF_TOPOLOGY || function == LEAF_TOPOLOGY_V2) {
            /* A subleaf beyond the last level still tells itself and the APIC ID (SDM vol. 2, leaf 0xb). */
            out[2] = find(vcpu, function, 0) != NULL ? index & 0xff : 0;
            out[3] = find(vcpu, function, 0) != NULL ? vcpu->area->apic_id : 0;
        }
        return;
    }
    out[0] = entry->eax;
    out[1] = entry->ebx;
    out[2] = entry->ecx;
    out[3] = entry->edx;
    switch (entry->function) {
    case 1:
        if ((cr4 & CR4_OSXSAVE) && (out[2] & CPUID_1_ECX_XSAVE)) {
            out[2] |= CPUID_1_ECX_OSXSAVE;
        }
        if (!(vcpu->area->control.guest.apic_base & APIC_BASE_ENABLE)) {
            out[3] &= ~CPUID_1_EDX_APIC;
        }
        break;
    case 7:
        if (index == 0 && (cr4 & CR4_PKE) && (out[2] & CPUID_7_ECX_PKU)) {
            out[2] |= CPUID_7_ECX_OSPKE;
        }
        break;
    case 0xd:
        if (index == 0) {
            out[1] = xsave_size(vcpu);
        }
        break;
    default:
        break;
    }
}
