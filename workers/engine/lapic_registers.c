/* The local APIC's registers: the page, x2APIC's MSRs, IA32_APIC_BASE (SDM vol. 3, 10.4 and 10.12). */
#include "lapic.h"

#include <string.h>

#define VERSION_VALUE 0x50014u /* version 0x14, six LVT entries */
#define VERSION_EOI_BROADCAST_SUPPRESSION (1u << 24)
#define SVR_WRITABLE 0x1ffu
#define ESR_ILLEGAL_REGISTER (1u << 7)
#define ICR_WRITABLE 0x000ccfffu
#define ICR_DELIVERY_STATUS (1u << 12)
#define DIVIDE_WRITABLE 0xbu
#define LVT_DELIVERY_STATUS (1u << 12)
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_TIMER_TSC_DEADLINE (1u << 18)
#define APIC_BASE_BSP (1u << 8)
#define APIC_BASE_DEFAULT 0xfee00000u
#define APIC_BASE_RESERVED (~0xfffffffd00ull | 0xff | 1u << 9)
#define MSR_X2APIC_FIRST 0x800u
#define X2APIC_ICR 0x830u

static const struct {
    uint16_t offset;
    uint32_t writable;
} lvt_table[] = {
    {APIC_LVT_TIMER, 0x000710ff & ~0x1000u}, {APIC_LVT_THERMAL, 0x000107ff}, {APIC_LVT_PERFORMANCE, 0x000107ff},
    {APIC_LVT_LINT0, 0x0001a7ff},            {APIC_LVT_LINT1, 0x0001a7ff},   {APIC_LVT_ERROR, 0x000100ff},
};

/* Suppression of EOI broadcasts came with x2APIC (SDM vol. 3, 10.8.5). */
static bool directed_eoi(const struct mpvm_vcpu_area *area)
{
    return (area->features[MPVM_FEATURE_WORD_CPUID_1_ECX] & CPUID_1_ECX_X2APIC) != 0;
}

static uint32_t svr_writable(const struct mpvm_vcpu_area *area)
{
    return SVR_WRITABLE | (directed_eoi(area) ? SVR_EOI_BROADCAST_SUPPRESSION : 0);
}

static uint32_t lvt_writable(const struct mpvm_vcpu_area *area, unsigned entry)
{
    bool deadline = (area->features[MPVM_FEATURE_WORD_CPUID_1_ECX] & CPUID_1_ECX_TSC_DEADLINE) != 0;

    return lvt_table[entry].writable & (deadline ? UINT32_MAX : ~LVT_TIMER_TSC_DEADLINE);
}

void lapic_reset(struct vcpu *vcpu, bool keep_base)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint64_t base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (area->is_bsp ? APIC_BASE_BSP : 0);

    if (!keep_base) {
        area->control.guest.apic_base = base;
    }
    memset(&area->lapic, 0, sizeof(area->lapic));
    REG(area, APIC_ID) = x2apic(area) ? area->apic_id : area->apic_id << 24;
    REG(area, APIC_VERSION) = VERSION_VALUE | (directed_eoi(area) ? VERSION_EOI_BROADCAST_SUPPRESSION : 0);
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
    lapic_timer_stop(vcpu);
}

/* As SeaBIOS leaves the boot processor: on, and the entries of both pins say "level", which NMI and ExtINT ignore. */
void lapic_leave_firmware(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    if (area->is_bsp) {
        REG(area, APIC_SVR) |= SVR_ENABLE;
        REG(area, APIC_LVT_LINT0) |= LVT_LEVEL;
        REG(area, APIC_LVT_LINT1) |= LVT_LEVEL;
    }
}

/* INIT: as a reset, but that the base and the ID stay (SDM vol. 3, 10.4.7.3). */
void lapic_init(struct vcpu *vcpu)
{
    uint32_t id = REG(vcpu->area, APIC_ID);

    lapic_reset(vcpu, true);
    REG(vcpu->area, APIC_ID) = id;
}

uint64_t lapic_tpr(struct vcpu *vcpu)
{
    return REG(vcpu->area, APIC_TPR);
}

void lapic_set_tpr(struct vcpu *vcpu, uint32_t tpr)
{
    REG(vcpu->area, APIC_TPR) = tpr & 0xff;
    lapic_delivery_may_follow(vcpu);
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
        lapic_error_report(vcpu, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    switch (offset) {
    case APIC_PPR:
        return lapic_processor_priority(vcpu->area);
    case APIC_TIMER_CURRENT:
        return lapic_timer_current(vcpu);
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
    if (!(value & SVR_ENABLE)) {
        /* What came before is accepted still. */
        lapic_inbox_take(vcpu);
    }
    REG(vcpu->area, APIC_SVR) = value & svr_writable(vcpu->area);
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
        value &= lvt_writable(vcpu->area, i);
        if (!(REG(vcpu->area, APIC_SVR) & SVR_ENABLE)) {
            value |= LVT_MASKED;
        }
        if (offset == APIC_LVT_TIMER) {
            lapic_timer_lvt_write(vcpu, value);
        } else {
            REG(vcpu->area, offset) = value;
            lapic_delivery_may_follow(vcpu); /* LINT0 may take ExtINT from now on */
        }
        return true;
    }
    return false;
}

void lapic_write(struct vcpu *vcpu, uint32_t offset, uint32_t value)
{
    struct mpvm_vcpu_area *area = vcpu->area;

    if (!page_has(offset)) {
        lapic_error_report(vcpu, ESR_ILLEGAL_REGISTER);
        return;
    }
    switch (offset) {
    case APIC_TPR:
        lapic_set_tpr(vcpu, value);
        break;
    case APIC_EOI:
        lapic_end_of_interrupt(vcpu);
        break;
    case APIC_ID:
        REG(area, APIC_ID) = value & 0xff000000u;
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
        lapic_icr_send(vcpu, value & ICR_WRITABLE, REG(area, APIC_ICR_HIGH) >> 24);
        break;
    case APIC_ICR_HIGH:
        REG(area, APIC_ICR_HIGH) = value & 0xff000000u;
        break;
    case APIC_TIMER_INITIAL:
        if (TIMER_MODE(REG(area, APIC_LVT_TIMER)) != TIMER_TSC_DEADLINE) {
            REG(area, APIC_TIMER_INITIAL) = value;
            lapic_timer_start(vcpu);
        }
        break;
    case APIC_TIMER_DIVIDE: {
        uint32_t left = lapic_timer_current(vcpu);

        REG(area, APIC_TIMER_DIVIDE) = value & DIVIDE_WRITABLE;
        if (area->lapic.timer_expiry_ns != 0) {
            lapic_timer_run(vcpu, left);
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

/* Bits that WRMSR may not set (SDM vol. 3, 10.12.1.3); those that hardware alone writes are ignored. */
static uint64_t x2apic_reserved(const struct mpvm_vcpu_area *area, uint32_t offset)
{
    switch (offset) {
    case APIC_EOI:
    case APIC_ESR:
        return UINT64_MAX;
    case APIC_TPR:
    case APIC_SELF_IPI:
        return ~0xffull;
    case APIC_SVR:
        return ~(uint64_t)svr_writable(area);
    case APIC_TIMER_DIVIDE:
        return ~(uint64_t)DIVIDE_WRITABLE;
    case APIC_ICR_LOW:
        return (uint32_t)~(ICR_WRITABLE | ICR_DELIVERY_STATUS);
    default:
        break;
    }
    for (unsigned i = 0; i < sizeof(lvt_table) / sizeof(lvt_table[0]); i++) {
        if (lvt_table[i].offset == offset) {
            return ~(uint64_t)(lvt_writable(area, i) | LVT_DELIVERY_STATUS |
                               (lvt_table[i].writable & LVT_LEVEL ? LVT_REMOTE_IRR : 0));
        }
    }
    return ~(uint64_t)UINT32_MAX;
}

bool lapic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    uint32_t offset = (msr - MSR_X2APIC_FIRST) * 16;

    if (!x2apic(area) || !x2apic_has(offset, true) || (value & x2apic_reserved(area, offset)) != 0) {
        return false;
    }
    switch (offset) {
    case APIC_ICR_LOW:
        REG(area, APIC_ICR_LOW) = (uint32_t)value & ICR_WRITABLE;
        REG(area, APIC_ICR_HIGH) = (uint32_t)(value >> 32);
        lapic_icr_send(vcpu, (uint32_t)value & ICR_WRITABLE, (uint32_t)(value >> 32));
        return true;
    case APIC_SELF_IPI:
        lapic_self_ipi(vcpu, (unsigned)value);
        return true;
    default:
        lapic_write(vcpu, offset, (uint32_t)value);
        return true;
    }
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
        tlb_flush_all(vcpu);
    }
    return true;
}
