/* Far returns, and IRET, in protected and long mode (SDM vol. 2, RET and IRET). */
#include "segments.h"

#define EFLAGS_VM86 (EFLAGS_TF | EFLAGS_IF | EFLAGS_IOPL | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC | \
                     EFLAGS_VIF | EFLAGS_VIP | EFLAGS_ID)

/* What lies on the stack. */
struct return_frame {
    uint64_t rip, rsp;
    uint32_t cs, ss, eflags;
};

/* The code segment that is returned to. */
static struct descriptor return_code(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr)
{
    unsigned rpl = selector & SELECTOR_RPL, dpl;
    struct descriptor code;
    bool good;

    if (is_null(selector)) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
    good = descriptor_read(vcpu, selector, &code, retaddr) && is_code(&code) && rpl >= current_cpl(vcpu->env);
    if (good) {
        dpl = descriptor_dpl(&code);
        good = is_conforming(&code) ? dpl <= rpl : dpl == rpl;
    }
    if (good && long_mode(vcpu->env)) {
        good = (code.high & (DESC_L_MASK | DESC_B_MASK)) != (DESC_L_MASK | DESC_B_MASK);
    }
    if (!good) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    if (!descriptor_present(&code)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, retaddr);
    }
    return code;
}

/* The stack segment that is returned to. False: a null selector, which 64-bit code in rings 0 to 2 may have. */
static bool return_stack(struct vcpu *vcpu, uint32_t selector, unsigned cpl, const struct descriptor *code,
                         struct descriptor *ss, uintptr_t retaddr)
{
    if (is_null(selector)) {
        if (!long_mode(vcpu->env) || !(code->high & DESC_L_MASK) || cpl == 3 || (selector & SELECTOR_RPL) != cpl) {
            segment_fault(vcpu, EXCP_GP, 0, retaddr);
        }
        return false;
    }
    if (!descriptor_read(vcpu, selector, ss, retaddr) || (selector & SELECTOR_RPL) != cpl ||
        !is_writable_data(ss) || descriptor_dpl(ss) != cpl) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    if (!descriptor_present(ss)) {
        segment_fault(vcpu, EXCP_SS, selector & SELECTOR_ERROR, retaddr);
    }
    return true;
}

/* An outer ring does not get data segments of an inner one. FS and GS keep their base, which 64-bit code uses. */
static void data_segments_withdraw(CPUX86State *env, unsigned cpl)
{
    static const int data_segments[] = {R_ES, R_DS, R_FS, R_GS};

    for (unsigned i = 0; i < sizeof(data_segments) / sizeof(data_segments[0]); i++) {
        struct SegmentCache *segment = &ENV_SEGS(env)[data_segments[i]];
        bool conforming = (segment->flags & DESC_CS_MASK) && (segment->flags & DESC_C_MASK);

        if (!is_null(segment->selector) && !conforming && (segment->flags >> DESC_DPL_SHIFT & 3) < cpl) {
            segment->selector = 0;
            segment->flags &= ~DESC_P_MASK;
        }
    }
    hflags_update(env);
}

/* `outwards` frames have a stack. 64-bit code's IRET always pops one. */
static void return_to(struct vcpu *vcpu, struct return_frame *frame, struct stack *stack, enum operand size,
                      bool outwards, uint32_t release, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    unsigned cpl = frame->cs & SELECTOR_RPL;
    struct descriptor code = return_code(vcpu, frame->cs, retaddr), ss = {0, 0, 0};
    uint64_t mask = stack->mask;
    bool inner = cpl > current_cpl(env), has_ss = false;

    stack->sp += release;
    if (outwards || inner) {
        frame->rsp = stack_pop(stack, size);
        frame->ss = (uint16_t)stack_pop(stack, size);
        has_ss = return_stack(vcpu, frame->ss, cpl, &code, &ss, retaddr);
    }
    code_target_check(vcpu, &code, frame->rip, retaddr);
    descriptor_accessed(vcpu, &code, retaddr);
    if (!outwards && !inner) {
        segment_enter(env, R_CS, frame->cs, &code);
        stack_pointer_set(env, stack->sp, mask);
        ENV_EIP(env) = frame->rip;
        return;
    }
    if (has_ss) {
        descriptor_accessed(vcpu, &ss, retaddr);
        segment_enter(env, R_SS, frame->ss, &ss);
    } else {
        segment_load(env, R_SS, frame->ss, 0, 0, cpl << DESC_DPL_SHIFT);
    }
    segment_enter(env, R_CS, frame->cs, &code);
    mask = ENV_HFLAGS(env) & HF_CS64_MASK ? UINT64_MAX : stack_mask(&ENV_SEGS(env)[R_SS]);
    stack_pointer_set(env, frame->rsp + (outwards ? 0 : release), mask);
    ENV_EIP(env) = frame->rip;
    if (inner) {
        data_segments_withdraw(env, cpl);
    }
}

void far_return(struct vcpu *vcpu, enum operand size, uint32_t release, uintptr_t retaddr)
{
    struct stack stack = stack_now(vcpu, retaddr);
    struct return_frame frame;

    frame.rip = stack_pop(&stack, size);
    frame.cs = (uint16_t)stack_pop(&stack, size);
    return_to(vcpu, &frame, &stack, size, false, release, retaddr);
}

static void return_to_vm86(struct vcpu *vcpu, const struct return_frame *frame, struct stack *stack,
                           uintptr_t retaddr)
{
    static const int order[] = {R_SS, R_ES, R_DS, R_FS, R_GS};
    enum { COUNT = sizeof(order) / sizeof(order[0]) };
    CPUX86State *env = vcpu->env;
    uint64_t rsp = stack_pop(stack, OPERAND32);
    uint32_t selector[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        selector[i] = (uint16_t)stack_pop(stack, OPERAND32);
    }
    if (frame->rip > UINT16_MAX) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
    eflags_load(env, frame->eflags, EFLAGS_VM86);
    segment_enter_vm86(env, R_CS, frame->cs);
    for (unsigned i = 0; i < COUNT; i++) {
        segment_enter_vm86(env, order[i], selector[i]);
    }
    ENV_EIP(env) = frame->rip;
    ENV_REGS(env)[R_ESP] = rsp;
}

/* The flags that an IRET at `cpl` may change. */
static uint64_t returned_flags(CPUX86State *env, unsigned cpl, enum operand size)
{
    uint64_t mask = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_AC | EFLAGS_ID;

    if (cpl == 0) {
        mask |= EFLAGS_IOPL;
    }
    if (cpl <= (ENV_EFLAGS(env) & EFLAGS_IOPL) >> EFLAGS_IOPL_SHIFT) {
        mask |= EFLAGS_IF;
    }
    return size == OPERAND16 ? mask & UINT16_MAX : mask;
}

void interrupt_return(struct vcpu *vcpu, enum operand size, uint64_t next_rip, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    unsigned cpl = current_cpl(env);
    bool code64 = (ENV_HFLAGS(env) & HF_CS64_MASK) != 0;
    struct stack stack;
    struct return_frame frame;

    /* Also if it faults (SDM vol. 3, 6.7.1). */
    ENV_HFLAGS2(env) &= ~HF2_NMI_MASK;
    if (ENV_EFLAGS(env) & EFLAGS_NT) {
        if (long_mode(env)) {
            segment_fault(vcpu, EXCP_GP, 0, retaddr);
        }
        task_switch_back(vcpu, next_rip, retaddr);
    } else {
        stack = stack_now(vcpu, retaddr);
        frame.rip = stack_pop(&stack, size);
        frame.cs = (uint16_t)stack_pop(&stack, size);
        frame.eflags = (uint32_t)stack_pop(&stack, size);
        if ((frame.eflags & EFLAGS_VM) && size == OPERAND32 && cpl == 0 && !long_mode(env)) {
            return_to_vm86(vcpu, &frame, &stack, retaddr);
        } else {
            uint64_t mask = returned_flags(env, cpl, size);

            return_to(vcpu, &frame, &stack, size, code64, 0, retaddr);
            eflags_load(env, frame.eflags, mask);
        }
    }
}
