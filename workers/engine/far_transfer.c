/* Far jumps and calls in protected and long mode: to code, through call gates, to tasks (SDM vol. 2, JMP and CALL;
 * vol. 3, 5.8).
 */
#include "segments.h"

#define PARAMETERS_MASK 31u

/* A call gate, and the code that it leads to. */
struct gate_target {
    struct descriptor code;
    uint32_t selector;
    uint64_t offset;
    unsigned parameters;
    enum operand size;
};

/* #GP(0) where no code of this segment is. */
void code_target_check(struct vcpu *vcpu, const struct descriptor *code, uint64_t target, uintptr_t retaddr)
{
    bool good = long_mode(vcpu->env) && (code->high & DESC_L_MASK) ? is_canonical(vcpu->env, target)
                                                                   : target <= descriptor_limit(code);

    if (!good) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
}

/* The descriptor that a far jump or call names. */
static struct descriptor named(struct vcpu *vcpu, uint32_t selector, uintptr_t retaddr)
{
    struct descriptor descriptor;

    if (is_null(selector)) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
    if (!descriptor_read(vcpu, selector, &descriptor, retaddr)) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    return descriptor;
}

/* A code segment for a jump or call without a gate: at this privilege level, or conforming. */
static void direct_target_check(struct vcpu *vcpu, uint32_t selector, const struct descriptor *code,
                                uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    unsigned cpl = current_cpl(env), dpl = descriptor_dpl(code);
    bool good = is_code(code) &&
                (is_conforming(code) ? dpl <= cpl : (selector & SELECTOR_RPL) <= cpl && dpl == cpl);

    if (good && long_mode(env)) {
        good = (code->high & (DESC_L_MASK | DESC_B_MASK)) != (DESC_L_MASK | DESC_B_MASK);
    }
    if (!good) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
    if (!descriptor_present(code)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, retaddr);
    }
}

/* Who may use a gate, or a TSS. */
static void gate_privilege_check(struct vcpu *vcpu, uint32_t selector, const struct descriptor *gate,
                                 uintptr_t retaddr)
{
    unsigned dpl = descriptor_dpl(gate);

    if (dpl < current_cpl(vcpu->env) || dpl < (selector & SELECTOR_RPL)) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    }
}

static void gate_present_check(struct vcpu *vcpu, uint32_t selector, const struct descriptor *gate,
                               uintptr_t retaddr)
{
    if (!descriptor_present(gate)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, retaddr);
    }
}

/* Through a call gate. A jump does not change the privilege level, a call may raise it. */
static struct gate_target call_gate_target(struct vcpu *vcpu, uint32_t selector, const struct descriptor *gate,
                                           bool jump, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    unsigned cpl = current_cpl(env), dpl;
    bool wide = (descriptor_type(gate) & TYPE_SIZE32) != 0, good;
    struct gate_target target = {
        .selector = gate->low >> 16,
        .offset = (gate->low & 0xffff) | (wide ? gate->high & 0xffff0000u : 0),
        .parameters = gate->high & PARAMETERS_MASK,
        .size = long_mode(env) ? OPERAND64 : wide ? OPERAND32 : OPERAND16,
    };

    gate_privilege_check(vcpu, selector, gate, retaddr);
    gate_present_check(vcpu, selector, gate, retaddr);
    if (long_mode(env)) {
        target.offset |= descriptor_upper_half(vcpu, selector, gate, retaddr);
    }
    target.code = named(vcpu, target.selector, retaddr);
    dpl = descriptor_dpl(&target.code);
    good = is_code(&target.code) && dpl <= cpl;
    if (good && jump && !is_conforming(&target.code)) {
        good = dpl == cpl;
    }
    if (good && long_mode(env)) {
        good = (target.code.high & (DESC_L_MASK | DESC_B_MASK)) == DESC_L_MASK;
    }
    if (!good) {
        segment_fault(vcpu, EXCP_GP, target.selector & SELECTOR_ERROR, retaddr);
    }
    if (!descriptor_present(&target.code)) {
        segment_fault(vcpu, EXCP_NP, target.selector & SELECTOR_ERROR, retaddr);
    }
    return target;
}

/* A TSS, or a task gate. */
static void task_transfer(struct vcpu *vcpu, uint32_t selector, const struct descriptor *descriptor,
                          enum task_switch_source source, uint64_t next_rip, uintptr_t retaddr)
{
    gate_privilege_check(vcpu, selector, descriptor, retaddr);
    if (descriptor_type(descriptor) == TYPE_TASK_GATE) {
        gate_present_check(vcpu, selector, descriptor, retaddr);
        task_switch_by_gate(vcpu, descriptor, source, next_rip, NO_ERROR_CODE, retaddr);
    } else {
        task_switch(vcpu, selector, source, next_rip, NO_ERROR_CODE, retaddr);
    }
    /* The rest of the block would put down the old task's arithmetic flags. */
    uc.cpu_loop_exit_noexc(vcpu->cpu);
}

/* What kind of system descriptor a far transfer has found; TYPE_NONE for one that it can't use. */
static enum system_type transfer_type(struct vcpu *vcpu, const struct descriptor *descriptor)
{
    unsigned type = descriptor_type(descriptor);

    switch (type) {
    case TYPE_CALL_GATE32:
        return type;
    case TYPE_TSS16:
    case TYPE_TSS32:
    case TYPE_TSS16_BUSY:
    case TYPE_TSS32_BUSY:
    case TYPE_TASK_GATE:
    case TYPE_CALL_GATE16:
        return long_mode(vcpu->env) ? TYPE_NONE : type;
    default:
        return TYPE_NONE;
    }
}

void far_jump(struct vcpu *vcpu, uint32_t selector, uint64_t target, uint64_t next_rip, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    struct descriptor descriptor = named(vcpu, selector, retaddr);
    struct gate_target through;

    if (!is_system(&descriptor)) {
        direct_target_check(vcpu, selector, &descriptor, retaddr);
        through = (struct gate_target){.code = descriptor, .selector = selector, .offset = target};
    } else {
        switch (transfer_type(vcpu, &descriptor)) {
        case TYPE_CALL_GATE16:
        case TYPE_CALL_GATE32:
            through = call_gate_target(vcpu, selector, &descriptor, true, retaddr);
            break;
        case TYPE_NONE:
            segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
        default:
            task_transfer(vcpu, selector, &descriptor, TASK_JUMP, next_rip, retaddr);
            return;
        }
    }
    code_target_check(vcpu, &through.code, through.offset, retaddr);
    descriptor_accessed(vcpu, &through.code, retaddr);
    segment_enter(env, R_CS, (through.selector & SELECTOR_ERROR) | current_cpl(env), &through.code);
    ENV_EIP(env) = through.offset;
}

/* A call that stays at its privilege level. */
static void call_here(struct vcpu *vcpu, struct gate_target *target, uint64_t next_rip, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    struct stack stack = stack_now(vcpu, retaddr);

    stack_push(&stack, target->size, ENV_SEGS(env)[R_CS].selector);
    stack_push(&stack, target->size, next_rip);
    code_target_check(vcpu, &target->code, target->offset, retaddr);
    descriptor_accessed(vcpu, &target->code, retaddr);
    segment_enter(env, R_CS, (target->selector & SELECTOR_ERROR) | current_cpl(env), &target->code);
    stack_pointer_set(env, stack.sp, stack.mask);
    ENV_EIP(env) = target->offset;
}

/* A call to an inner ring: the stack is the TSS's, and a gate's parameters go with it. */
static void call_inwards(struct vcpu *vcpu, struct gate_target *target, uint64_t next_rip, uintptr_t retaddr)
{
    enum { PARAMETERS_MAX = 31 };
    CPUX86State *env = vcpu->env;
    unsigned cpl = descriptor_dpl(&target->code);
    struct descriptor ss = {0, 0, 0};
    struct stack old = stack_now(vcpu, retaddr), new;
    uint64_t parameter[PARAMETERS_MAX];
    unsigned count = target->size == OPERAND64 ? 0 : target->parameters;

    new = stack_of_ring(vcpu, cpl, &ss, retaddr);
    stack_push(&new, target->size, ENV_SEGS(env)[R_SS].selector);
    stack_push(&new, target->size, ENV_REGS(env)[R_ESP]);
    for (unsigned i = 0; i < count; i++) {
        parameter[i] = stack_pop(&old, target->size);
    }
    while (count > 0) {
        stack_push(&new, target->size, parameter[--count]);
    }
    stack_push(&new, target->size, ENV_SEGS(env)[R_CS].selector);
    stack_push(&new, target->size, next_rip);
    code_target_check(vcpu, &target->code, target->offset, retaddr);
    descriptor_accessed(vcpu, &target->code, retaddr);
    if (new.mask == UINT64_MAX) {
        segment_load(env, R_SS, new.segment.selector, 0, 0, new.segment.flags);
    } else {
        descriptor_accessed(vcpu, &ss, retaddr);
        segment_enter(env, R_SS, new.segment.selector, &ss);
    }
    segment_enter(env, R_CS, (target->selector & SELECTOR_ERROR) | cpl, &target->code);
    stack_pointer_set(env, new.sp, new.mask);
    ENV_EIP(env) = target->offset;
}

void far_call(struct vcpu *vcpu, uint32_t selector, uint64_t target, enum operand size, uint64_t next_rip,
              uintptr_t retaddr)
{
    struct descriptor descriptor = named(vcpu, selector, retaddr);
    struct gate_target through;

    if (!is_system(&descriptor)) {
        direct_target_check(vcpu, selector, &descriptor, retaddr);
        through = (struct gate_target){
            .code = descriptor, .selector = selector, .offset = target, .size = size};
        call_here(vcpu, &through, next_rip, retaddr);
        return;
    }
    switch (transfer_type(vcpu, &descriptor)) {
    case TYPE_CALL_GATE16:
    case TYPE_CALL_GATE32:
        through = call_gate_target(vcpu, selector, &descriptor, false, retaddr);
        if (!is_conforming(&through.code) && descriptor_dpl(&through.code) < current_cpl(vcpu->env)) {
            call_inwards(vcpu, &through, next_rip, retaddr);
        } else {
            call_here(vcpu, &through, next_rip, retaddr);
        }
        return;
    case TYPE_NONE:
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, retaddr);
    default:
        task_transfer(vcpu, selector, &descriptor, TASK_CALL, next_rip, retaddr);
    }
}
