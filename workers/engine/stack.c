/* The stack of far transfers and of events outside 64-bit mode's own (SDM vol. 3, 5.8.5, 6.12.1; vol. 1, 6.2). */
#include "segments.h"

uint64_t stack_mask(const struct SegmentCache *ss)
{
    return ss->flags & DESC_B_MASK ? UINT32_MAX : UINT16_MAX;
}

/* The stack that the CPU has. */
struct stack stack_now(struct vcpu *vcpu, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    const struct SegmentCache *ss = &ENV_SEGS(env)[R_SS];

    return (struct stack){
        .vcpu = vcpu,
        .segment = *ss,
        .sp = ENV_REGS(env)[R_ESP],
        .mask = ENV_HFLAGS(env) & HF_CS64_MASK ? UINT64_MAX : stack_mask(ss),
        .mmu_index = stack_mmu_index(env, current_cpl(env)),
        .retaddr = retaddr,
    };
}

/* Where `size` bytes at the offset `sp` are; #SS if they are outside the segment. */
static uint64_t stack_address(const struct stack *stack, uint64_t sp, unsigned size)
{
    uint64_t offset = sp & stack->mask, last = offset + size - 1, limit = stack->segment.limit;
    bool inside;

    if (stack->mask == UINT64_MAX) {
        if (!is_canonical(stack->vcpu->env, sp) || !is_canonical(stack->vcpu->env, sp + size - 1)) {
            segment_fault(stack->vcpu, EXCP_SS, stack->error_code, stack->retaddr);
        }
        return sp;
    }
    if (stack->segment.flags & DESC_EXPAND_DOWN_MASK) {
        inside = offset > limit && last <= stack->mask;
    } else {
        inside = last <= limit;
    }
    if (!inside) {
        segment_fault(stack->vcpu, EXCP_SS, stack->error_code, stack->retaddr);
    }
    return (uint32_t)(stack->segment.base + offset);
}

void stack_push(struct stack *stack, enum operand size, uint64_t value)
{
    CPUX86State *env = stack->vcpu->env;
    uint64_t sp = stack->sp - (2u << size);
    uint64_t address = stack_address(stack, sp, 2u << size);

    switch (size) {
    case OPERAND16:
        STORE16(env, address, (uint32_t)value, stack->mmu_index, stack->retaddr);
        break;
    case OPERAND32:
        STORE32(env, address, (uint32_t)value, stack->mmu_index, stack->retaddr);
        break;
    default:
        STORE64(env, address, value, stack->mmu_index, stack->retaddr);
        break;
    }
    stack->sp = sp;
}

uint64_t stack_pop(struct stack *stack, enum operand size)
{
    CPUX86State *env = stack->vcpu->env;
    uint64_t address = stack_address(stack, stack->sp, 2u << size);

    stack->sp += 2u << size;
    switch (size) {
    case OPERAND16:
        return LOAD16(env, address, stack->mmu_index, stack->retaddr);
    case OPERAND32:
        return LOAD32(env, address, stack->mmu_index, stack->retaddr);
    default:
        return LOAD64(env, address, stack->mmu_index, stack->retaddr);
    }
}

/* A 16-bit stack leaves the upper part of ESP alone. */
void stack_pointer_set(CPUX86State *env, uint64_t sp, uint64_t mask)
{
    uint64_t *rsp = &ENV_REGS(env)[R_ESP];

    *rsp = mask == UINT16_MAX ? (*rsp & ~mask) | (sp & mask) : sp & mask;
}

/* The stack that the TSS has for the inner ring `cpl`. Outside long mode `ss` is its descriptor. */
struct stack stack_of_ring(struct vcpu *vcpu, unsigned cpl, struct descriptor *ss, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    const struct SegmentCache *tr = ENV_TR(env);
    int mmu_index = system_mmu_index(env);
    bool wide = (tr->flags >> DESC_TYPE_SHIFT & TYPE_SIZE32) != 0;
    uint32_t place = long_mode(env) ? 4 + 8 * cpl : wide ? 4 + 8 * cpl : 2 + 4 * cpl;
    uint32_t bytes = long_mode(env) ? 8 : wide ? 6 : 4;
    uint32_t selector, error_code;
    struct stack stack = {
        .vcpu = vcpu,
        .mmu_index = mmu_index,
        .retaddr = retaddr,
    };

    if (place + bytes - 1 > tr->limit || !(tr->flags & DESC_P_MASK)) {
        segment_fault(vcpu, EXCP_TS, tr->selector & SELECTOR_ERROR, retaddr);
    }
    if (long_mode(env)) {
        /* No segment, but its RPL is the ring. */
        stack.segment = (struct SegmentCache){.selector = cpl, .flags = cpl << DESC_DPL_SHIFT};
        stack.sp = LOAD64(env, tr->base + place, mmu_index, retaddr);
        stack.mask = UINT64_MAX;
        return stack;
    }
    if (wide) {
        stack.sp = LOAD32(env, tr->base + place, mmu_index, retaddr);
        selector = LOAD16(env, tr->base + place + 4, mmu_index, retaddr);
    } else {
        stack.sp = LOAD16(env, tr->base + place, mmu_index, retaddr);
        selector = LOAD16(env, tr->base + place + 2, mmu_index, retaddr);
    }
    error_code = selector & SELECTOR_ERROR;
    if (is_null(selector) || (selector & SELECTOR_RPL) != cpl || !descriptor_read(vcpu, selector, ss, retaddr) ||
        descriptor_dpl(ss) != cpl || !is_writable_data(ss)) {
        segment_fault(vcpu, EXCP_TS, error_code, retaddr);
    }
    if (!descriptor_present(ss)) {
        segment_fault(vcpu, EXCP_SS, error_code, retaddr);
    }
    stack.segment = cache_of(selector, ss);
    stack.mask = stack_mask(&stack.segment);
    stack.error_code = error_code;
    return stack;
}
