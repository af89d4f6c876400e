/* Far calls and IRET in real and virtual-8086 mode (SDM vol. 2, CALL and IRET; vol. 3, 20.1 and 20.2). */
#include "segments.h"

static void code_enter(CPUX86State *env, uint32_t selector, uint32_t ip)
{
    struct SegmentCache *cs = &ENV_SEGS(env)[R_CS];

    cs->selector = selector;
    cs->base = selector << 4;
    ENV_EIP(env) = ip;
}

static void target_check(struct vcpu *vcpu, uint32_t ip, uintptr_t retaddr)
{
    if (ip > ENV_SEGS(vcpu->env)[R_CS].limit) {
        segment_fault(vcpu, EXCP_GP, 0, retaddr);
    }
}

void real_far_call(struct vcpu *vcpu, uint32_t selector, uint32_t target, enum operand size, uint32_t next_ip,
                   uintptr_t retaddr)
{
    struct stack stack = stack_now(vcpu, retaddr);

    target_check(vcpu, target, retaddr);
    stack_push(&stack, size, ENV_SEGS(vcpu->env)[R_CS].selector);
    stack_push(&stack, size, next_ip);
    stack_pointer_set(vcpu->env, stack.sp, stack.mask);
    code_enter(vcpu->env, selector, target);
}

/* In virtual-8086 mode the translator has seen to it that IOPL is 3. */
void real_interrupt_return(struct vcpu *vcpu, enum operand size, uintptr_t retaddr)
{
    CPUX86State *env = vcpu->env;
    struct stack stack = stack_now(vcpu, retaddr);
    uint64_t mask = EFLAGS_TF | EFLAGS_IF | EFLAGS_NT | EFLAGS_RF | EFLAGS_AC | EFLAGS_ID;
    uint32_t ip = (uint32_t)stack_pop(&stack, size);
    uint32_t selector = (uint16_t)stack_pop(&stack, size);
    uint64_t flags = stack_pop(&stack, size);

    target_check(vcpu, ip, retaddr);
    if (!(ENV_EFLAGS(env) & EFLAGS_VM)) {
        mask |= EFLAGS_IOPL;
    }
    stack_pointer_set(env, stack.sp, stack.mask);
    code_enter(env, selector, ip);
    eflags_load(env, flags, size == OPERAND16 ? mask & UINT16_MAX : mask);
    ENV_HFLAGS2(env) &= ~HF2_NMI_MASK;
}
