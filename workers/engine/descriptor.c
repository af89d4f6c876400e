/* Segment descriptors (SDM vol. 3, 3.4.5, 3.5, 5.2 to 5.5): found in their table, checked, loaded. */
#include "segments.h"

#define RIGHTS_MASK 0x00f0ff00u /* what LAR shows of a descriptor's second word */
#define TYPES(type) (1u << (type))

_Noreturn void segment_fault(struct vcpu *vcpu, int vector, uint32_t error_code, uintptr_t retaddr)
{
    uc.raise_exception_err_ra(vcpu->env, vector, event_error_code(vcpu, vector, (int)error_code), retaddr);
    __builtin_unreachable();
}

/* False when `selector` lies outside its table. */
bool descriptor_read(struct vcpu *vcpu, uint32_t selector, struct descriptor *descriptor, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    const struct SegmentCache *table = selector & SELECTOR_TI ? ENV_LDT(env) : ENV_GDT(env);
    uint32_t offset = selector & 0xfff8;
    uint64_t value;

    if (offset + 7 > table->limit) {
        return false;
    }
    descriptor->address = table->base + offset;
    value = LOAD64(env, descriptor->address, system_mmu_index(env), retaddr);
    descriptor->low = (uint32_t)value;
    descriptor->high = (uint32_t)(value >> 32);
    return true;
}

void descriptor_write_high(struct vcpu *vcpu, const struct descriptor *descriptor, uint32_t high, uintptr_t retaddr)
{
    STORE32(vcpu->env, descriptor->address + 4, high, system_mmu_index(vcpu->env), retaddr);
}

uint64_t descriptor_base(const struct descriptor *descriptor)
{
    return descriptor->low >> 16 | (descriptor->high & 0xff) << 16 | (descriptor->high & 0xff000000u);
}

uint32_t descriptor_limit(const struct descriptor *descriptor)
{
    uint32_t limit = (descriptor->low & 0xffff) | (descriptor->high & 0x000f0000);

    return descriptor->high & DESC_G_MASK ? limit << 12 | 0xfff : limit;
}

/* The upper four bytes of the base or offset of a 16-byte descriptor (SDM vol. 3, 3.5.2, 5.8.3.1). Its last word must
 * have the type 0. */
uint64_t descriptor_upper_half(struct vcpu *vcpu, uint32_t selector, const struct descriptor *descriptor,
                               uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    uint64_t value;

    if ((selector & 0xfff8) + 15 > (selector & SELECTOR_TI ? ENV_LDT(env) : ENV_GDT(env))->limit) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    value = LOAD64(env, descriptor->address + 8, system_mmu_index(env), retaddr);
    if (value >> 32 & 0x1f00) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    return value << 32;
}

struct SegmentCache cache_of(uint32_t selector, const struct descriptor *descriptor)
{
    return (struct SegmentCache){
        .selector = selector,
        .base = descriptor_base(descriptor),
        .limit = descriptor_limit(descriptor),
        .flags = descriptor->high,
    };
}

/* Who loads a descriptor into a segment register marks it, before anything has changed: its page may not be writable. */
void descriptor_accessed(struct vcpu *vcpu, struct descriptor *descriptor, uintptr_t retaddr)
{
    if (!(descriptor->high & DESC_A_MASK)) {
        descriptor->high |= DESC_A_MASK;
        descriptor_write_high(vcpu, descriptor, descriptor->high, retaddr);
    }
}

void segment_enter(CPUX86State *env, int reg, uint32_t selector, const struct descriptor *descriptor)
{
    segment_load(env, reg, selector, descriptor_base(descriptor), descriptor_limit(descriptor), descriptor->high);
}

void segment_enter_vm86(CPUX86State *env, int reg, uint32_t selector)
{
    segment_load(env, reg, selector, selector << 4, 0xffff,
                 DESC_P_MASK | DESC_S_MASK | DESC_W_MASK | DESC_A_MASK | 3u << DESC_DPL_SHIFT);
}

/* MOV, POP, LDS and their like to a segment register (SDM vol. 2, MOV). */
void data_segment_load(struct vcpu *vcpu, int reg, uint32_t selector, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    unsigned cpl = current_cpl(env), rpl = selector & SELECTOR_RPL;
    uint32_t error_code = selector & SELECTOR_ERROR;
    struct descriptor descriptor;
    bool good;

    if (is_null(selector)) {
        if (reg == R_SS && (!(ENV_HFLAGS(env) & HF_CS64_MASK) || cpl == 3 || rpl != cpl)) {
            segment_fault(vcpu, EXCP_GP, 0, retaddr);
        }
        /* An SS that is not usable still has the privilege level. */
        segment_load(env, reg, selector, 0, 0, reg == R_SS ? cpl << DESC_DPL_SHIFT : 0);
        return;
    }
    if (!descriptor_read(vcpu, selector, &descriptor, retaddr)) {
        segment_fault(vcpu, EXCP_GP, error_code, retaddr);
    }
    if (reg == R_SS) {
        good = is_writable_data(&descriptor) && rpl == cpl && descriptor_dpl(&descriptor) == cpl;
    } else {
        good = !is_system(&descriptor) && (!is_code(&descriptor) || (descriptor.high & DESC_R_MASK));
        if (good && !(is_code(&descriptor) && is_conforming(&descriptor))) {
            good = descriptor_dpl(&descriptor) >= cpl && descriptor_dpl(&descriptor) >= rpl;
        }
    }
    if (!good) {
        segment_fault(vcpu, EXCP_GP, error_code, retaddr);
    }
    if (!descriptor_present(&descriptor)) {
        segment_fault(vcpu, reg == R_SS ? EXCP_SS : EXCP_NP, error_code, retaddr);
    }
    descriptor_accessed(vcpu, &descriptor, retaddr);
    segment_enter(env, reg, selector, &descriptor);
}

/* The descriptor that LLDT and LTR load, which is 16 bytes long in long mode. */
static struct descriptor system_descriptor(struct vcpu *vcpu, uint32_t selector, unsigned types, uint64_t *base,
                                           uintptr_t retaddr)
{
    struct descriptor descriptor;

    if ((selector & SELECTOR_TI) || !descriptor_read(vcpu, selector, &descriptor, retaddr) ||
        !is_system(&descriptor) || !(types & TYPES(descriptor_type(&descriptor)))) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    if (!descriptor_present(&descriptor)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, retaddr);
    }
    *base = descriptor_base(&descriptor);
    if (long_mode(vcpu->env)) {
        *base |= descriptor_upper_half(vcpu, selector, &descriptor, retaddr);
        if (!canonical_for_cpu(vcpu, *base)) {
            segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
        }
    }
    return descriptor;
}

void ldt_load(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr)
{
    struct descriptor descriptor;
    uint64_t base;

    if (is_null(selector)) {
        *ENV_LDT(vcpu->env) = (struct SegmentCache){.selector = selector};
        return;
    }
    descriptor = system_descriptor(vcpu, selector, TYPES(TYPE_LDT), &base, retaddr);
    *ENV_LDT(vcpu->env) = cache_of(selector, &descriptor);
    ENV_LDT(vcpu->env)->base = base;
}

void task_register_load(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr)
{
    struct descriptor descriptor;
    uint64_t base;

    if (is_null(selector)) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
    descriptor = system_descriptor(vcpu, selector,
                                   TYPES(TYPE_TSS32) | (long_mode(vcpu->env) ? 0 : TYPES(TYPE_TSS16)), &base,
                                   retaddr);
    descriptor_write_high(vcpu, &descriptor, descriptor.high | DESC_TSS_BUSY_MASK, retaddr);
    /* The engine's own copy is not busy: state_save() knows. */
    *ENV_TR(vcpu->env) = cache_of(selector, &descriptor);
    ENV_TR(vcpu->env)->base = base;
}

/* Whether LAR, LSL, VERR and VERW may see a descriptor of these privileges. */
static bool visible(CPUX86State *env, uint32_t selector, const struct descriptor *descriptor)
{
    unsigned dpl = descriptor_dpl(descriptor);

    return (is_code(descriptor) && is_conforming(descriptor)) ||
           (dpl >= current_cpl(env) && dpl >= (selector & SELECTOR_RPL));
}

static bool look_at(struct vcpu *vcpu, uint32_t selector, unsigned system_types, struct descriptor *descriptor,
                    uintptr_t retaddr)
{
    if (is_null(selector) || !descriptor_read(vcpu, selector, descriptor, retaddr) ||
        !visible(vcpu->env, selector, descriptor)) {
        return false;
    }
    return !is_system(descriptor) || (system_types & TYPES(descriptor_type(descriptor))) != 0;
}

/* LAR (SDM vol. 2, table 3-51). False: ZF is cleared. */
bool access_rights_of(struct vcpu *vcpu, uint32_t selector, uint32_t *rights, uintptr_t retaddr)
{
    unsigned types = TYPES(TYPE_LDT) | TYPES(TYPE_TSS32) | TYPES(TYPE_TSS32_BUSY) | TYPES(TYPE_CALL_GATE32);
    struct descriptor descriptor;

    if (!long_mode(vcpu->env)) {
        types |= TYPES(TYPE_TSS16) | TYPES(TYPE_TSS16_BUSY) | TYPES(TYPE_CALL_GATE16) | TYPES(TYPE_TASK_GATE);
    }
    if (!look_at(vcpu, selector, types, &descriptor, retaddr)) {
        return false;
    }
    *rights = descriptor.high & RIGHTS_MASK;
    return true;
}

/* LSL (SDM vol. 2, table 3-56). */
bool limit_of(struct vcpu *vcpu, uint32_t selector, uint32_t *limit, uintptr_t retaddr)
{
    unsigned types = TYPES(TYPE_LDT) | TYPES(TYPE_TSS32) | TYPES(TYPE_TSS32_BUSY);
    struct descriptor descriptor;

    if (!long_mode(vcpu->env)) {
        types |= TYPES(TYPE_TSS16) | TYPES(TYPE_TSS16_BUSY);
    }
    if (!look_at(vcpu, selector, types, &descriptor, retaddr)) {
        return false;
    }
    *limit = descriptor_limit(&descriptor);
    return true;
}

/* VERR and VERW. */
bool verify(struct vcpu *vcpu, uint32_t selector, bool write, uintptr_t retaddr)
{
    struct descriptor descriptor;

    if (!look_at(vcpu, selector, 0, &descriptor, retaddr)) {
        return false;
    }
    return write ? is_writable_data(&descriptor) : !is_code(&descriptor) || (descriptor.high & DESC_R_MASK);
}
