/* The local APIC (SDM vol. 3, chapter 10): registers in the vCPU's area, served without an exit.
 *
 * Others never touch our registers: they put interrupts into our inbox (struct mpvm_interrupt_inbox).
 * The timer's bus clock is 1 GHz, so that a tick is a nanosecond.
 */
#include "engine.h"

#include <string.h>

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

#define VERSION_VALUE 0x50014u /* version 0x14, six LVT entries */
#define SVR_ENABLE (1u << 8)
#define LVT_MASKED (1u << 16)
#define LVT_DELIVERY_MODE(lvt) ((lvt) >> 8 & 7)
#define LVT_LEVEL (1u << 15)
#define TIMER_MODE(lvt) ((lvt) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
#define ESR_SEND_ILLEGAL_VECTOR (1u << 5)
#define ESR_RECEIVE_ILLEGAL_VECTOR (1u << 6)
#define ESR_ILLEGAL_REGISTER (1u << 7)
#define ICR_LEVEL_ASSERT (1u << 14)
#define ICR_TRIGGER_LEVEL (1u << 15)
#define ICR_LOGICAL (1u << 11)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define ICR_WRITABLE 0x000ccfffu
#define DFR_FLAT 0xffffffffu
#define BROADCAST_XAPIC 0xffu
#define BROADCAST_X2APIC UINT32_MAX
#define FIRST_LEGAL_VECTOR 16
/* A periodic timer faster than this could leave the guest no time to run. */
#define MIN_PERIOD_NS 20000u

#define APIC_BASE_BSP (1u << 8)
#define APIC_BASE_EXTD (1u << 10)
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_BASE_DEFAULT 0xfee00000u
#define APIC_BASE_RESERVED (~0xfffffffd00ull | 0xff | 1u << 9)

#define MSR_X2APIC_FIRST 0x800u
#define X2APIC_ICR 0x830u

#define REG(area, offset) ((area)->lapic.regs[(offset) / 4])

static uint64_t apic_base(const struct mpvm_vcpu_area *area)
{
    return area->control.guest.apic_base;
}

static bool x2apic(const struct mpvm_vcpu_area *area)
{
    return (apic_base(area) & APIC_BASE_EXTD) != 0;
}

static bool globally_enabled(const struct mpvm_vcpu_area *area)
{
    return (apic_base(area) & APIC_BASE_ENABLE) != 0;
}

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
static uint32_t processor_priority(const struct mpvm_vcpu_area *area)
{
    int in_service = vector_highest(area, APIC_ISR);
    uint32_t tpr = REG(area, APIC_TPR);
    uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

    return (tpr & 0xf0) >= isr_class ? tpr & 0xff : isr_class;
}

/* What was held back may be delivered now: leave the block that did it at the next one's start. */
static void delivery_may_follow(struct vcpu *vcpu)
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
        area->lapic.error_pending |= ESR_RECEIVE_ILLEGAL_VECTOR;
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

/* A local source: timer, LINT, error. */
static void local_interrupt(struct vcpu *vcpu, uint32_t lvt)
{
    if (lvt & LVT_MASKED) {
        return;
    }
    switch (LVT_DELIVERY_MODE(lvt)) {
    case FIXED:
        accept_into_irr(vcpu, lvt & 0xff, false);
        break;
    case NMI:
        vcpu->area->inbox.nmi = 1;
        vcpu->irr_pending = true;
        break;
    default:
        break;
    }
}

static void error_report(struct vcpu *vcpu, uint32_t bit)
{
    vcpu->area->lapic.error_pending |= bit;
    local_interrupt(vcpu, REG(vcpu->area, APIC_LVT_ERROR));
    delivery_may_follow(vcpu);
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

            if (trigger != 0 && word * 8 + i < FIRST_LEGAL_VECTOR) {
                error_report(vcpu, ESR_RECEIVE_ILLEGAL_VECTOR);
            } else if (trigger != 0) {
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
    return ((uint32_t)vector & 0xf0) > (processor_priority(area) & 0xf0) ? vector : -1;
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

static void end_of_interrupt(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    int vector = vector_highest(area, APIC_ISR);

    if (vector < 0) {
        return;
    }
    vector_clear(area, APIC_ISR, (unsigned)vector);
    delivery_may_follow(vcpu);
    if (vector_test(area, APIC_TMR, (unsigned)vector)) {
        post_eoi(vcpu, vector);
    }
}

/* The 8259's INTR reaches a CPU whose APIC is off, or whose LINT0 takes ExtINT. */
bool lapic_extint_enabled(struct vcpu *vcpu)
{
    uint32_t lvt = REG(vcpu->area, APIC_LVT_LINT0);

    return !globally_enabled(vcpu->area) || (!(lvt & LVT_MASKED) && LVT_DELIVERY_MODE(lvt) == EXTINT);
}

/* --- Sending ------------------------------------------------------------------------------------- */

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

        if (icr_low & ICR_LOGICAL ? logical_match(target, destination, wide) : target->apic_id == destination) {
            set |= rest & -rest;
        }
    }
    return set;
}

/* Lowest priority: the target with the lowest TPR; of equals the lowest number. */
static uint64_t lowest_priority(struct vcpu *vcpu, uint64_t set)
{
    unsigned best = 0;
    uint32_t best_priority = UINT32_MAX;

    for (uint64_t rest = set; rest != 0; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctzll(rest);
        uint32_t priority = REG(vcpu_area(vcpu, i), APIC_TPR);

        if (priority < best_priority) {
            best = i;
            best_priority = priority;
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

static void send_to(struct vcpu *vcpu, unsigned target, enum delivery_mode mode, unsigned vector, bool level)
{
    struct mpvm_vcpu_area *area = vcpu_area(vcpu, target);
    struct mpvm_interrupt_inbox *inbox = &area->inbox;

    switch (mode) {
    case FIXED:
    case LOWEST_PRIORITY:
        __atomic_store_n(&inbox->vector[vector], level ? 2 : 1, __ATOMIC_SEQ_CST);
        break;
    case NMI:
        __atomic_store_n(&inbox->nmi, 1, __ATOMIC_SEQ_CST);
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

static void icr_send(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination)
{
    enum delivery_mode mode = icr_low >> 8 & 7;
    unsigned vector = icr_low & 0xff;
    uint64_t set;

    /* INIT level de-assert only synchronised arbitration ids, on CPUs that had a bus for it. */
    if (mode == INIT && (icr_low & ICR_TRIGGER_LEVEL) && !(icr_low & ICR_LEVEL_ASSERT)) {
        return;
    }
    if (mode <= LOWEST_PRIORITY && vector < FIRST_LEGAL_VECTOR) {
        error_report(vcpu, ESR_SEND_ILLEGAL_VECTOR);
        return;
    }
    set = destination_set(vcpu, icr_low, destination);
    if (mode == LOWEST_PRIORITY) {
        set = lowest_priority(vcpu, set);
    }
    for (uint64_t rest = set; rest != 0; rest &= rest - 1) {
        vcpu->area->counters.ipis_sent++;
        send_to(vcpu, (unsigned)__builtin_ctzll(rest), mode, vector, false);
    }
}

/* --- Timer --------------------------------------------------------------------------------------- */

static uint64_t timer_divisor(const struct mpvm_vcpu_area *area)
{
    uint32_t value = REG(area, APIC_TIMER_DIVIDE);
    unsigned code = (value & 3) | (value >> 1 & 4);

    return code == 7 ? 1 : 2ull << code;
}

/* The timer runs out after `count` ticks from now. */
static void timer_run(struct vcpu *vcpu, uint64_t count)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    area->lapic.timer_start_ns = monotonic_ns();
    area->lapic.timer_expiry_ns = area->lapic.timer_start_ns + count * timer_divisor(area);
    timer_arm(vcpu, area->lapic.timer_expiry_ns);
}

static void timer_stop(struct vcpu *vcpu)
{
    vcpu->area->lapic.timer_expiry_ns = 0;
    timer_arm(vcpu, 0);
}

static void timer_start(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t count = REG(area, APIC_TIMER_INITIAL);

    if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) == TIMER_TSC_DEADLINE || count == 0) {
        timer_stop(vcpu);
        return;
    }
    timer_run(vcpu, count);
}

static uint32_t timer_current(struct vcpu *vcpu)
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

        return (uint32_t)((period - (now - area->lapic.timer_expiry_ns) % period) / divisor);
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
        attention_raise(vcpu);
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
            local_interrupt(vcpu, lvt);
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
        return;
    }
    vcpu->steal_due = true;
    local_interrupt(vcpu, lvt);
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

static void timer_lvt_write(struct vcpu *vcpu, uint32_t value)
{
    uint32_t *lvt = &REG(vcpu->area, APIC_LVT_TIMER);
    bool mode_changed = TIMER_MODE(*lvt) != TIMER_MODE(value);

    *lvt = value;
    if (mode_changed) {
        vcpu->area->lapic.tsc_deadline = 0;
        if (TIMER_MODE(value) == TIMER_TSC_DEADLINE) {
            REG(vcpu->area, APIC_TIMER_INITIAL) = 0;
            timer_stop(vcpu);
        }
    }
}

/* --- Registers ----------------------------------------------------------------------------------- */

static const struct {
    uint16_t offset;
    uint32_t writable;
} lvt_table[] = {
    {APIC_LVT_TIMER, 0x000710ff & ~0x1000u}, {APIC_LVT_THERMAL, 0x000107ff}, {APIC_LVT_PERFORMANCE, 0x000107ff},
    {APIC_LVT_LINT0, 0x0001a7ff},            {APIC_LVT_LINT1, 0x0001a7ff},   {APIC_LVT_ERROR, 0x000100ff},
};

void lapic_reset(struct vcpu *vcpu, bool keep_base)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (area->is_bsp ? APIC_BASE_BSP : 0);

    if (!keep_base) {
        area->control.guest.apic_base = base;
    }
    memset(&area->lapic, 0, sizeof(area->lapic));
    REG(area, APIC_ID) = x2apic(area) ? area->apic_id : area->apic_id << 24;
    REG(area, APIC_VERSION) = VERSION_VALUE;
    REG(area, APIC_DFR) = DFR_FLAT;
    REG(area, APIC_SVR) = 0xff;
    if (x2apic(area)) {
        REG(area, APIC_LDR) = (area->apic_id >> 4) << 16 | 1u << (area->apic_id & 15);
    }
    for (unsigned i = 0; i < sizeof(lvt_table) / sizeof(lvt_table[0]); i++) {
        REG(area, lvt_table[i].offset) = LVT_MASKED;
    }
    if (area->is_bsp && !keep_base) {
        /* As firmware leaves the boot processor: the 8259 through LINT0 (virtual wire mode), NMI on LINT1. */
        REG(area, APIC_LVT_LINT0) = EXTINT << 8;
        REG(area, APIC_LVT_LINT1) = NMI << 8;
    }
    timer_stop(vcpu);
}

uint64_t lapic_tpr(struct vcpu *vcpu)
{
    return REG(vcpu->area, APIC_TPR);
}

void lapic_set_tpr(struct vcpu *vcpu, uint32_t tpr)
{
    REG(vcpu->area, APIC_TPR) = tpr & 0xff;
    delivery_may_follow(vcpu);
}

/* Registers that x2APIC mode has (SDM vol. 3, table 10-6), as bits of 16-byte slots. */
static bool x2apic_has(uint32_t offset, bool write)
{
    if (offset >= APIC_ISR && offset < APIC_ESR) {
        return !write;
    }
    switch (offset) {
    case APIC_ID:
    case APIC_VERSION:
    case APIC_PPR:
    case APIC_LDR:
    case APIC_TIMER_CURRENT:
        return !write;
    case APIC_EOI:
    case APIC_SELF_IPI:
        return write;
    case APIC_TPR:
    case APIC_SVR:
    case APIC_ESR:
    case APIC_ICR_LOW:
    case APIC_TIMER_INITIAL:
    case APIC_TIMER_DIVIDE:
    case APIC_LVT_TIMER:
    case APIC_LVT_THERMAL:
    case APIC_LVT_PERFORMANCE:
    case APIC_LVT_LINT0:
    case APIC_LVT_LINT1:
    case APIC_LVT_ERROR:
        return true;
    default:
        return false;
    }
}

/* Those, and the ones that only the register page has (SDM vol. 3, table 10-1). */
static bool page_has(uint32_t offset)
{
    switch (offset) {
    case APIC_APR:
    case APIC_RRD:
    case APIC_DFR:
    case APIC_ICR_HIGH:
        return true;
    default:
        return offset != APIC_SELF_IPI && (x2apic_has(offset, false) || x2apic_has(offset, true));
    }
}

uint32_t lapic_read(struct vcpu *vcpu, uint32_t offset)
{
    if (!page_has(offset)) {
        error_report(vcpu, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    switch (offset) {
    case APIC_PPR:
        return processor_priority(vcpu->area);
    case APIC_TIMER_CURRENT:
        return timer_current(vcpu);
    case APIC_EOI:
        return 0;
    default:
        if (offset >= APIC_IRR && offset < APIC_ESR) {
            lapic_inbox_take(vcpu);
        }
        return REG(vcpu->area, offset);
    }
}

static void svr_write(struct vcpu *vcpu, uint32_t value)
{
    REG(vcpu->area, APIC_SVR) = value & 0x1ff;
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < sizeof(lvt_table) / sizeof(lvt_table[0]); i++) {
            REG(vcpu->area, lvt_table[i].offset) |= LVT_MASKED;
        }
    }
}

static bool lvt_write(struct vcpu *vcpu, uint32_t offset, uint32_t value)
{
    for (unsigned i = 0; i < sizeof(lvt_table) / sizeof(lvt_table[0]); i++) {
        if (lvt_table[i].offset != offset) {
            continue;
        }
        value &= lvt_table[i].writable;
        if (!(REG(vcpu->area, APIC_SVR) & SVR_ENABLE)) {
            value |= LVT_MASKED;
        }
        if (offset == APIC_LVT_TIMER) {
            timer_lvt_write(vcpu, value);
        } else {
            REG(vcpu->area, offset) = value;
            delivery_may_follow(vcpu); /* LINT0 may take ExtINT from now on */
        }
        return true;
    }
    return false;
}

void lapic_write(struct vcpu *vcpu, uint32_t offset, uint32_t value)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    if (!page_has(offset)) {
        error_report(vcpu, ESR_ILLEGAL_REGISTER);
        return;
    }
    switch (offset) {
    case APIC_TPR:
        lapic_set_tpr(vcpu, value);
        break;
    case APIC_EOI:
        end_of_interrupt(vcpu);
        break;
    case APIC_LDR:
        REG(area, APIC_LDR) = value & 0xff000000u;
        break;
    case APIC_DFR:
        REG(area, APIC_DFR) = value | 0x0fffffffu;
        break;
    case APIC_SVR:
        svr_write(vcpu, value);
        break;
    case APIC_ESR:
        REG(area, APIC_ESR) = area->lapic.error_pending;
        area->lapic.error_pending = 0;
        break;
    case APIC_ICR_LOW:
        REG(area, APIC_ICR_LOW) = value & ICR_WRITABLE;
        icr_send(vcpu, value & ICR_WRITABLE, REG(area, APIC_ICR_HIGH) >> 24);
        break;
    case APIC_ICR_HIGH:
        REG(area, APIC_ICR_HIGH) = value & 0xff000000u;
        break;
    case APIC_TIMER_INITIAL:
        if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) != TIMER_TSC_DEADLINE) {
            REG(area, APIC_TIMER_INITIAL) = value;
            timer_start(vcpu);
        }
        break;
    case APIC_TIMER_DIVIDE: {
        uint32_t left = timer_current(vcpu);

        REG(area, APIC_TIMER_DIVIDE) = value & 0xb;
        if (area->lapic.timer_expiry_ns != 0) {
            timer_run(vcpu, left);
        }
        break;
    }
    default:
        lvt_write(vcpu, offset, value);
        break;
    }
}

/* --- MSRs ---------------------------------------------------------------------------------------- */

bool lapic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    uint32_t offset = (msr - MSR_X2APIC_FIRST) * 16;

    if (!x2apic(vcpu->area) || !x2apic_has(offset, false)) {
        return false;
    }
    *value = lapic_read(vcpu, offset);
    if (msr == X2APIC_ICR) {
        *value |= (uint64_t)REG(vcpu->area, APIC_ICR_HIGH) << 32;
    }
    return true;
}

bool lapic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint32_t offset = (msr - MSR_X2APIC_FIRST) * 16;

    if (!x2apic(area) || !x2apic_has(offset, true)) {
        return false;
    }
    switch (offset) {
    case APIC_ICR_LOW:
        REG(area, APIC_ICR_LOW) = (uint32_t)value & ICR_WRITABLE;
        REG(area, APIC_ICR_HIGH) = (uint32_t)(value >> 32);
        icr_send(vcpu, (uint32_t)value & ICR_WRITABLE, (uint32_t)(value >> 32));
        return true;
    case APIC_SELF_IPI:
        if (value >> 8 != 0) {
            return false;
        }
        send_to(vcpu, vcpu->index, FIXED, (unsigned)value, false);
        return true;
    case APIC_EOI:
    case APIC_ESR:
        if (value != 0) {
            return false;
        }
        break;
    default:
        if (value >> 32 != 0) {
            return false;
        }
        break;
    }
    lapic_write(vcpu, offset, (uint32_t)value);
    return true;
}

/* IA32_APIC_BASE (SDM vol. 3, 10.4.4 and figure 10-27 for the legal transitions). */
bool lapic_base_write(struct vcpu *vcpu, uint64_t value)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t old = apic_base(area);
    uint64_t mode = value & (APIC_BASE_ENABLE | APIC_BASE_EXTD);

    if ((value & APIC_BASE_RESERVED) != 0 || mode == APIC_BASE_EXTD) {
        return false;
    }
    if ((old & APIC_BASE_EXTD) && mode == APIC_BASE_ENABLE) {
        return false;
    }
    if (!(old & APIC_BASE_ENABLE) && (mode & APIC_BASE_EXTD)) {
        return false;
    }
    area->control.guest.apic_base = (value & ~(uint64_t)APIC_BASE_BSP) | (old & APIC_BASE_BSP);
    if ((mode & APIC_BASE_EXTD) && !(old & APIC_BASE_EXTD)) {
        REG(area, APIC_ID) = area->apic_id;
        REG(area, APIC_LDR) = (area->apic_id >> 4) << 16 | 1u << (area->apic_id & 15);
    }
    if (!(mode & APIC_BASE_ENABLE) && (old & APIC_BASE_ENABLE)) {
        uint64_t base = area->control.guest.apic_base;

        lapic_reset(vcpu, true);
        area->control.guest.apic_base = base;
    }
    if (vcpu->engine != NULL) {
        /* The page may have moved: translations of both places are stale. */
        uc.tlb_flush(vcpu->cpu);
    }
    return true;
}
