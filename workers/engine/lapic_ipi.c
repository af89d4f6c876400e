/* The local APIC's interrupt command register (SDM vol. 3, 10.6): interrupts into the inboxes of others. */
#include "lapic.h"

#define ESR_SEND_ILLEGAL_VECTOR (1u << 5)
#define ICR_LEVEL_ASSERT (1u << 14)
#define ICR_TRIGGER_LEVEL (1u << 15)
#define ICR_LOGICAL (1u << 11)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define BROADCAST_XAPIC 0xffu
#define BROADCAST_X2APIC UINT32_MAX

static bool logical_match(const struct mpvm_vcpu_area *target, uint32_t destination, bool sender_x2apic)
{
    uint32_t ldr = REG(target, APIC_LDR);

    if (x2apic(target)) {
        return (ldr >> 16) == (destination >> 16) && (ldr & destination & 0xffff) != 0;
    }
    if (sender_x2apic && destination > 0xff) {
        return destination == BROADCAST_X2APIC;
    }
    destination &= 0xff;
    ldr >>= 24;
    if (REG(target, APIC_DFR) == DFR_FLAT) {
        return (ldr & destination) != 0;
    }
    /* Cluster model: 0xf in the cluster field is all clusters. */
    return ((destination >> 4) == 0xf || (destination >> 4) == (ldr >> 4)) && (ldr & destination & 0xf) != 0;
}

static uint64_t destination_set(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination)
{
    uint64_t all = __atomic_load_n(&vcpu->vm->present, __ATOMIC_SEQ_CST);
    bool wide = x2apic(vcpu->area);
    uint64_t set = 0;

    switch (ICR_SHORTHAND(icr_low)) {
    case 1:
        return vcpu->bit;
    case 2:
        return all;
    case 3:
        return all & ~vcpu->bit;
    default:
        break;
    }
    if (destination == (wide ? BROADCAST_X2APIC : BROADCAST_XAPIC)) {
        return all;
    }
    for (uint64_t rest = all; rest != 0; rest &= rest - 1) {
        const struct mpvm_vcpu_area *target = vcpu_area(vcpu, (unsigned)__builtin_ctzll(rest));

        if (icr_low & ICR_LOGICAL ? logical_match(target, destination, wide) : lapic_id(target) == destination) {
            set |= rest & -rest;
        }
    }
    return set;
}

/* Lowest priority: of the targets that take interrupts the one with the lowest TPR; of equals the lowest number. */
static uint64_t lowest_priority(struct vcpu *vcpu, uint64_t set)
{
    unsigned best = 0;
    uint32_t best_priority = UINT32_MAX;

    for (uint64_t rest = set; rest != 0; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctzll(rest);
        const struct mpvm_vcpu_area *target = vcpu_area(vcpu, i);

        if ((REG(target, APIC_SVR) & SVR_ENABLE) && REG(target, APIC_TPR) < best_priority) {
            best = i;
            best_priority = REG(target, APIC_TPR);
        }
    }
    return best_priority == UINT32_MAX ? 0 : 1ull << best;
}

/* A CPU that does not wait for a SIPI, or has one already, ignores it: false. One that takes an INIT says that it
 * waits before it takes the INIT away. */
static bool sipi_leave(struct mpvm_vcpu_area *area, unsigned vector)
{
    uint32_t seen = __atomic_load_n(&area->inbox.startup, __ATOMIC_SEQ_CST);

    do {
        if ((seen & MPVM_STARTUP_SIPI) ||
            (!(seen & MPVM_STARTUP_INIT) &&
             __atomic_load_n(&area->mp_state, __ATOMIC_SEQ_CST) != MPVM_MODE_WAIT_FOR_SIPI)) {
            return false;
        }
        STEP(sipi_leave);
    } while (!__atomic_compare_exchange_n(&area->inbox.startup, &seen, seen | MPVM_STARTUP_SIPI | vector, false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return true;
}

void lapic_send_to(struct vcpu *vcpu, unsigned target, enum delivery_mode mode, unsigned vector, bool level)
{
    struct mpvm_vcpu_area *area = vcpu_area(vcpu, target);
    struct mpvm_interrupt_inbox *inbox = &area->inbox;

    switch (mode) {
    case FIXED:
    case LOWEST_PRIORITY:
        __atomic_store_n(&inbox->vector[vector], level ? 2 : 1, __ATOMIC_SEQ_CST);
        break;
    case NMI:
        lapic_nmi_leave(inbox, target == vcpu->index && nmi_blocked(vcpu));
        break;
    case INIT:
        /* A SIPI that was not taken yet has come before it. */
        __atomic_store_n(&inbox->startup, MPVM_STARTUP_INIT, __ATOMIC_SEQ_CST);
        break;
    case STARTUP:
        if (!sipi_leave(area, vector)) {
            return;
        }
        break;
    case EXTINT:
        __atomic_store_n(&inbox->extint, 1, __ATOMIC_SEQ_CST);
        break;
    default:
        return;
    }
    STEP(inbox_put);
    __atomic_store_n(&inbox->any, 1, __ATOMIC_SEQ_CST);
    kick_vcpu(vcpu, target);
}

static bool vector_legal(struct vcpu *vcpu, unsigned vector)
{
    if (vector < FIRST_LEGAL_VECTOR) {
        lapic_error_report(vcpu, ESR_SEND_ILLEGAL_VECTOR);
    }
    return vector >= FIRST_LEGAL_VECTOR;
}

void lapic_self_ipi(struct vcpu *vcpu, unsigned vector)
{
    if (vector_legal(vcpu, vector)) {
        lapic_send_to(vcpu, vcpu->index, FIXED, vector, false);
    }
}

void lapic_icr_send(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination)
{
    enum delivery_mode mode = icr_low >> 8 & 7;
    unsigned vector = icr_low & 0xff;
    uint64_t set;

    /* INIT level de-assert only synchronised arbitration ids, on CPUs that had a bus for it. */
    if (mode == INIT && (icr_low & ICR_TRIGGER_LEVEL) && !(icr_low & ICR_LEVEL_ASSERT)) {
        return;
    }
    if (mode <= LOWEST_PRIORITY && !vector_legal(vcpu, vector)) {
        return;
    }
    set = destination_set(vcpu, icr_low, destination);
    if (mode == LOWEST_PRIORITY) {
        set = lowest_priority(vcpu, set);
    }
    for (uint64_t rest = set; rest != 0; rest &= rest - 1) {
        vcpu->area->counters.ipis_sent++;
        lapic_send_to(vcpu, (unsigned)__builtin_ctzll(rest), mode, vector, false);
    }
}
