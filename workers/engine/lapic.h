/* What the files of the local APIC share: its registers and their fields (SDM vol. 3, chapter 10). */
#ifndef MPVM_LAPIC_H
#define MPVM_LAPIC_H

#include "engine.h"

enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_APR = 0x90,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_RRD = 0xc0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_THERMAL = 0x330,
    APIC_LVT_PERFORMANCE = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0,
};

enum delivery_mode { FIXED, LOWEST_PRIORITY, SMI, RESERVED_3, NMI, INIT, STARTUP, EXTINT };

#define SVR_ENABLE (1u << 8)
#define SVR_EOI_BROADCAST_SUPPRESSION (1u << 12)
#define LVT_MASKED (1u << 16)
#define LVT_DELIVERY_MODE(lvt) ((lvt) >> 8 & 7)
#define LVT_LEVEL (1u << 15)
#define TIMER_MODE(lvt) ((lvt) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
#define DFR_FLAT 0xffffffffu
#define FIRST_LEGAL_VECTOR 16

#define REG(area, offset) ((area)->lapic.regs[(offset) / 4])

static inline uint64_t apic_base(const struct mpvm_vcpu_area *area)
{
    return area->control.guest.apic_base;
}

static inline bool x2apic(const struct mpvm_vcpu_area *area)
{
    return (apic_base(area) & APIC_BASE_EXTD) != 0;
}

/* The ID that it answers to: in xAPIC mode the guest may have written another one. */
static inline uint32_t lapic_id(const struct mpvm_vcpu_area *area)
{
    return x2apic(area) ? area->apic_id : REG(area, APIC_ID) >> 24;
}

static inline bool globally_enabled(const struct mpvm_vcpu_area *area)
{
    return (apic_base(area) & APIC_BASE_ENABLE) != 0;
}

/* lapic.c */
void lapic_nmi_leave(struct mpvm_interrupt_inbox *inbox, bool blocked);
uint32_t lapic_processor_priority(const struct mpvm_vcpu_area *area);
void lapic_delivery_may_follow(struct vcpu *vcpu);
void lapic_local_interrupt(struct vcpu *vcpu, uint32_t lvt);
void lapic_error_report(struct vcpu *vcpu, uint32_t bit);
void lapic_end_of_interrupt(struct vcpu *vcpu);

/* lapic_ipi.c */
void lapic_icr_send(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination);
void lapic_self_ipi(struct vcpu *vcpu, unsigned vector);

/* lapic_timer.c */
void lapic_timer_run(struct vcpu *vcpu, uint64_t count);
void lapic_timer_start(struct vcpu *vcpu);
void lapic_timer_stop(struct vcpu *vcpu);
uint32_t lapic_timer_current(struct vcpu *vcpu);
void lapic_timer_lvt_write(struct vcpu *vcpu, uint32_t value);

#endif
