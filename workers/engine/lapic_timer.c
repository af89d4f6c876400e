/* The local APIC's timer (SDM vol. 3, 10.5.4). Its bus clock is 1 GHz, so that a tick is a nanosecond. */
#include "lapic.h"

/* A periodic timer faster than this could leave the guest no time to run. */
#define MIN_PERIOD_NS 20000u

static uint64_t timer_divisor(const struct mpvm_vcpu_area *area)
{
    uint32_t value = REG(area, APIC_TIMER_DIVIDE);
    unsigned code = (value & 3) | (value >> 1 & 4);

    return code == 7 ? 1 : 2ull << code;
}

/* The timer runs out after `count` ticks from now. */
void lapic_timer_run(struct vcpu *vcpu, uint64_t count)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    area->lapic.timer_start_ns = monotonic_ns();
    area->lapic.timer_expiry_ns = area->lapic.timer_start_ns + count * timer_divisor(area);
    timer_arm(vcpu, area->lapic.timer_expiry_ns);
}

void lapic_timer_stop(struct vcpu *vcpu)
{
    vcpu->area->lapic.timer_expiry_ns = 0;
    timer_arm(vcpu, 0);
}

void lapic_timer_start(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t count = REG(area, APIC_TIMER_INITIAL);

    if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) == TIMER_TSC_DEADLINE || count == 0) {
        lapic_timer_stop(vcpu);
        return;
    }
    lapic_timer_run(vcpu, count);
}

uint32_t lapic_timer_current(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t now = monotonic_ns(), divisor = timer_divisor(area);

    if (area->lapic.timer_expiry_ns == 0) {
        return 0;
    }
    if (area->lapic.timer_expiry_ns > now) {
        uint64_t left = (area->lapic.timer_expiry_ns - now + divisor - 1) / divisor;

        /* A period that we have stretched still counts down from the initial count. */
        return left < REG(area, APIC_TIMER_INITIAL) ? (uint32_t)left : REG(area, APIC_TIMER_INITIAL);
    }
    if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) == TIMER_PERIODIC) {
        uint64_t period = REG(area, APIC_TIMER_INITIAL) * divisor;

        /* Nobody but a debugger leaves a running timer without a period. */
        return period == 0 ? 0 : (uint32_t)((period - (now - area->lapic.timer_expiry_ns) % period) / divisor);
    }
    return 0;
}

static void tsc_deadline_arm(struct vcpu *vcpu)
{
    uint64_t deadline = vcpu->area->lapic.tsc_deadline, now = guest_tsc(vcpu);

    timer_arm(vcpu, monotonic_ns() + (deadline > now ? tsc_to_ns(vcpu, deadline - now) : 0) + 1);
}

/* IA32_TSC_DEADLINE (SDM vol. 3, 10.5.4.1) */
void lapic_set_tsc_deadline(struct vcpu *vcpu, uint64_t deadline)
{
    if (TIMER_MODE(REG(vcpu->area, APIC_LVT_TIMER)) != TIMER_TSC_DEADLINE) {
        return;
    }
    vcpu->area->lapic.tsc_deadline = deadline;
    if (deadline == 0) {
        timer_arm(vcpu, 0);
    } else if (guest_tsc(vcpu) >= deadline) {
        lapic_timer_check(vcpu);
        lapic_delivery_may_follow(vcpu);
    } else {
        tsc_deadline_arm(vcpu);
    }
}

/* Whether the timer has run out; called after every kick. */
void lapic_timer_check(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint32_t lvt = REG(area, APIC_LVT_TIMER);

    if (TIMER_MODE(lvt) == TIMER_TSC_DEADLINE) {
        if (area->lapic.tsc_deadline == 0) {
            return;
        }
        if (guest_tsc(vcpu) >= area->lapic.tsc_deadline) {
            area->lapic.tsc_deadline = 0;
            vcpu->steal_due = true;
            lapic_local_interrupt(vcpu, lvt);
        } else {
            tsc_deadline_arm(vcpu);
        }
        return;
    }
    if (area->lapic.timer_expiry_ns == 0) {
        return;
    }
    uint64_t now = monotonic_ns();
    if (now < area->lapic.timer_expiry_ns) {
        timer_arm(vcpu, area->lapic.timer_expiry_ns);
        return;
    }
    vcpu->steal_due = true;
    lapic_local_interrupt(vcpu, lvt);
    if (TIMER_MODE(lvt) == TIMER_PERIODIC) {
        uint64_t period = REG(area, APIC_TIMER_INITIAL) * timer_divisor(area);

        if (period < MIN_PERIOD_NS) {
            period = MIN_PERIOD_NS;
        }
        /* Ticks that nobody could take are one tick, as in the IRR. */
        area->lapic.timer_expiry_ns += ((now - area->lapic.timer_expiry_ns) / period + 1) * period;
        timer_arm(vcpu, area->lapic.timer_expiry_ns);
    } else {
        area->lapic.timer_expiry_ns = 0;
        timer_expired(vcpu);
    }
}

/* The timer runs, and the host's timer that stands for it was another worker's. */
void lapic_timer_take_over(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) != TIMER_TSC_DEADLINE) {
        timer_arm(vcpu, area->lapic.timer_expiry_ns);
    } else if (area->lapic.tsc_deadline != 0) {
        tsc_deadline_arm(vcpu);
    }
}

void lapic_timer_lvt_write(struct vcpu *vcpu, uint32_t value)
{
    uint32_t *lvt = &REG(vcpu->area, APIC_LVT_TIMER);
    bool mode_changed = TIMER_MODE(*lvt) != TIMER_MODE(value);

    *lvt = value;
    if (mode_changed) {
        vcpu->area->lapic.tsc_deadline = 0;
        if (TIMER_MODE(value) == TIMER_TSC_DEADLINE) {
            REG(vcpu->area, APIC_TIMER_INITIAL) = 0;
            lapic_timer_stop(vcpu);
        }
    }
}
