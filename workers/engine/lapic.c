/* The local APIC (SDM vol. 3, chapter 10): what is pending, in service and delivered next. Its registers are in the
 * vCPU's area and are served without an exit.
 *
 * Others never touch our registers: they put interrupts into our inbox (struct mpvm_interrupt_inbox).
 */
#include "lapic.h"

#define ESR_RECEIVE_ILLEGAL_VECTOR (1u << 6)

/* IRR, ISR and TMR: 256 bits in eight registers 16 bytes apart. */
static void vector_set(struct mpvm_vcpu_area *area, unsigned bank, unsigned vector)
{
    REG(area, bank + (vector >> 5) * 16) |= 1u << (vector & 31);
}

static void vector_clear(struct mpvm_vcpu_area *area, unsigned bank, unsigned vector)
{
    REG(area, bank + (vector >> 5) * 16) &= ~(1u << (vector & 31));
}

static bool vector_test(const struct mpvm_vcpu_area *area, unsigned bank, unsigned vector)
{
    return REG(area, bank + (vector >> 5) * 16) >> (vector & 31) & 1;
}

static int vector_highest(const struct mpvm_vcpu_area *area, unsigned bank)
{
    for (int word = 7; word >= 0; word--) {
        uint32_t bits = REG(area, bank + (unsigned)word * 16);

        if (bits != 0) {
            return word * 32 + 31 - __builtin_clz(bits);
        }
    }
    return -1;
}

/* SDM vol. 3, 10.8.3.1 */
uint32_t lapic_processor_priority(const struct mpvm_vcpu_area *area)
{
    int in_service = vector_highest(area, APIC_ISR);
    uint32_t tpr = REG(area, APIC_TPR);
    uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

    return (tpr & 0xf0) >= isr_class ? tpr & 0xff : isr_class;
}

/* What was held back may be delivered now: leave the block that did it at the next one's start. */
void lapic_delivery_may_follow(struct vcpu *vcpu)
{
    vcpu->irr_pending = true;
    attention_raise(vcpu);
}

static void accept_into_irr(struct vcpu *vcpu, unsigned vector, bool level)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    if (!globally_enabled(area) || !(REG(area, APIC_SVR) & SVR_ENABLE)) {
        return;
    }
    if (vector < FIRST_LEGAL_VECTOR) {
        /* The error's own vector may be the illegal one: that is no second error. */
        if (!(area->lapic.error_pending & ESR_RECEIVE_ILLEGAL_VECTOR)) {
            lapic_error_report(vcpu, ESR_RECEIVE_ILLEGAL_VECTOR);
        }
        return;
    }
    vector_set(area, APIC_IRR, vector);
    if (level) {
        vector_set(area, APIC_TMR, vector);
    } else {
        vector_clear(area, APIC_TMR, vector);
    }
    vcpu->irr_pending = true;
}

/* An NMI for who may be in an NMI's handler. The CPU holds one while it runs that (SDM vol. 3, 6.7.1). Of two that
 * come to one who runs none, the first is delivered, and the second is the one that it then holds: it may look at both
 * together. */
void lapic_nmi_leave(struct mpvm_interrupt_inbox *inbox, bool blocked)
{
    uint8_t waiting = __atomic_load_n(&inbox->nmi, __ATOMIC_RELAXED);

    while (waiting < (blocked ? 1 : MPVM_NMIS_MAX) &&
           !__atomic_compare_exchange_n(&inbox->nmi, &waiting, (uint8_t)(waiting + 1), true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
    }
}

/* A local source: timer, LINT, error. */
void lapic_local_interrupt(struct vcpu *vcpu, uint32_t lvt)
{
    if (lvt & LVT_MASKED) {
        return;
    }
    switch (LVT_DELIVERY_MODE(lvt)) {
    case FIXED:
        accept_into_irr(vcpu, lvt & 0xff, false);
        break;
    case NMI:
        lapic_nmi_leave(&vcpu->area->inbox, nmi_blocked(vcpu));
        vcpu->irr_pending = true;
        break;
    default:
        break;
    }
}

void lapic_error_report(struct vcpu *vcpu, uint32_t bit)
{
    vcpu->area->lapic.error_pending |= bit;
    lapic_local_interrupt(vcpu, REG(vcpu->area, APIC_LVT_ERROR));
    lapic_delivery_may_follow(vcpu);
}

void lapic_inbox_take(struct vcpu *vcpu)
{
    struct mpvm_interrupt_inbox *inbox = &vcpu->area->inbox;

    __atomic_exchange_n(&inbox->any, 0, __ATOMIC_SEQ_CST);
    STEP(inbox_take);
    for (unsigned word = 0; word < 32; word++) {
        uint64_t *eight = (uint64_t *)(void *)inbox->vector + word;
        uint64_t taken;

        if (__atomic_load_n(eight, __ATOMIC_RELAXED) == 0) {
            continue;
        }
        taken = __atomic_exchange_n(eight, 0, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < 8; i++) {
            unsigned trigger = taken >> 8 * i & 0xff;

            if (trigger != 0) {
                accept_into_irr(vcpu, word * 8 + i, trigger == 2);
            }
        }
    }
    if (inbox->nmi || inbox->extint) {
        vcpu->irr_pending = true;
    }
}

/* The vector to deliver now if IF allows, or -1. */
int lapic_pending_vector(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    int vector = vector_highest(area, APIC_IRR);

    if (vector < 0 || !globally_enabled(area)) {
        return -1;
    }
    return ((uint32_t)vector & 0xf0) > (lapic_processor_priority(area) & 0xf0) ? vector : -1;
}

void lapic_accept(struct vcpu *vcpu, int vector)
{
    vector_clear(vcpu->area, APIC_IRR, (unsigned)vector);
    vector_set(vcpu->area, APIC_ISR, (unsigned)vector);
}

/* It was accepted and not delivered after all. */
void lapic_give_back(struct vcpu *vcpu, int vector)
{
    vector_clear(vcpu->area, APIC_ISR, (unsigned)vector);
    vector_set(vcpu->area, APIC_IRR, (unsigned)vector);
    vcpu->irr_pending = true;
}

/* LINT0 as a level-triggered interrupt, which is asked for as long as the 8259s drive it. */
static bool lint0_asks_again(const struct mpvm_vcpu_area *area, int vector)
{
    uint32_t lvt = REG(area, APIC_LVT_LINT0);

    return LVT_DELIVERY_MODE(lvt) == FIXED && (lvt & (LVT_LEVEL | LVT_MASKED)) == LVT_LEVEL &&
           (int)(lvt & 0xff) == vector;
}

void lapic_end_of_interrupt(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    int vector = vector_highest(area, APIC_ISR);

    if (vector < 0) {
        return;
    }
    vector_clear(area, APIC_ISR, (unsigned)vector);
    lapic_delivery_may_follow(vcpu);
    if (vcpu->vm->pic_intr != 0 && lint0_asks_again(area, vector)) {
        accept_into_irr(vcpu, (unsigned)vector, true);
    }
    if (vector_test(area, APIC_TMR, (unsigned)vector) && !(REG(area, APIC_SVR) & SVR_EOI_BROADCAST_SUPPRESSION)) {
        post_eoi(vcpu, vector);
    }
}

/* The 8259s' INTR, wired to each CPU, reaches one whose APIC is off, or whose LINT0 takes ExtINT. */
bool lapic_extint_enabled(struct vcpu *vcpu)
{
    uint32_t lvt = REG(vcpu->area, APIC_LVT_LINT0);

    return !globally_enabled(vcpu->area) || (!(lvt & LVT_MASKED) && LVT_DELIVERY_MODE(lvt) == EXTINT);
}
