/* Delivery of interrupts and exceptions in protected mode, virtual-8086 mode included (SDM vol. 2, INT n; vol. 3,
 * 6.12 and 20.3). Real mode's and long mode's are the engine's.
 */
#include "segments.h"

#define IDT_ENTRY 2u /* in an error code: the index is one into the IDT */

/* The vectors that push an error code (SDM vol. 3, table 6-1). */
static bool has_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static struct descriptor idt_entry(struct vcpu *vcpu, int vector, bool is_int)
{
    CPUX86State *env = vcpu->env;
    uint32_t error_code = (uint32_t)vector * 8 + IDT_ENTRY;
    struct descriptor gate;
    uint64_t value;

    if ((uint32_t)vector * 8 + 7 > ENV_IDT(env)->limit) {
        segment_fault(vcpu, EXCP_GP, error_code, 0);
    }
    gate.address = ENV_IDT(env)->base + (uint32_t)vector * 8;
    value = LOAD64(env, gate.address, system_mmu_index(env), 0);
    gate.low = (uint32_t)value;
    gate.high = (uint32_t)(value >> 32);
    switch (is_system(&gate) ? descriptor_type(&gate) : 0) {
    case TYPE_TASK_GATE:
    case TYPE_INTERRUPT_GATE16:
    case TYPE_TRAP_GATE16:
    case TYPE_INTERRUPT_GATE32:
    case TYPE_TRAP_GATE32:
        break;
    default:
        segment_fault(vcpu, EXCP_GP, error_code, 0);
    }
    if (is_int && descriptor_dpl(&gate) < current_cpl(env)) {
        segment_fault(vcpu, EXCP_GP, error_code, 0);
    }
    if (!descriptor_present(&gate)) {
        segment_fault(vcpu, EXCP_NP, error_code, 0);
    }
    return gate;
}

/* The handler's code segment, and in `cpl` the ring that it runs in. */
static struct descriptor handler_code(struct vcpu *vcpu, uint32_t selector, unsigned *cpl)
{
    CPUX86State *env = vcpu->env;
    struct descriptor code;
    bool vm86 = (ENV_EFLAGS(env) & EFLAGS_VM) != 0, good;

    if (is_null(selector)) {
        segment_fault(vcpu, EXCP_GP, 0, 0);
    }
    good = descriptor_read(vcpu, selector, &code, 0) && is_code(&code) && descriptor_dpl(&code) <= current_cpl(env);
    if (good && vm86) {
        good = descriptor_dpl(&code) == 0 && !is_conforming(&code);
    }
    if (!good) {
        segment_fault(vcpu, EXCP_GP, selector & SELECTOR_ERROR, 0);
    }
    if (!descriptor_present(&code)) {
        segment_fault(vcpu, EXCP_NP, selector & SELECTOR_ERROR, 0);
    }
    *cpl = is_conforming(&code) ? current_cpl(env) : descriptor_dpl(&code);
    return code;
}

static void frame_push(struct vcpu *vcpu, struct stack *stack, enum operand size, bool inwards, uint64_t rip)
{
    static const int vm86_segments[] = {R_GS, R_FS, R_DS, R_ES};
    CPUX86State *env = vcpu->env;
    const struct SegmentCache *segs = ENV_SEGS(env);

    if (inwards) {
        if (ENV_EFLAGS(env) & EFLAGS_VM) {
            for (unsigned i = 0; i < sizeof(vm86_segments) / sizeof(vm86_segments[0]); i++) {
                stack_push(stack, size, segs[vm86_segments[i]].selector);
            }
        }
        stack_push(stack, size, segs[R_SS].selector);
        stack_push(stack, size, ENV_REGS(env)[R_ESP]);
    }
    stack_push(stack, size, eflags_compute(env));
    stack_push(stack, size, segs[R_CS].selector);
    stack_push(stack, size, rip);
}

/* `rip` is where the handler returns to. */
static void gate_enter(struct vcpu *vcpu, const struct descriptor *gate, uint64_t rip, int64_t error_code)
{
    CPUX86State *env = vcpu->env;
    unsigned type = descriptor_type(gate), cpl;
    enum operand size = type & TYPE_SIZE32 ? OPERAND32 : OPERAND16;
    uint32_t selector = gate->low >> 16;
    uint64_t offset = (gate->low & 0xffff) | (size == OPERAND32 ? gate->high & 0xffff0000u : 0);
    struct descriptor code = handler_code(vcpu, selector, &cpl), ss = {0, 0, 0};
    bool vm86 = (ENV_EFLAGS(env) & EFLAGS_VM) != 0, inwards = cpl < current_cpl(env);
    struct stack stack = inwards ? stack_of_ring(vcpu, cpl, &ss, 0) : stack_now(vcpu, 0);

    frame_push(vcpu, &stack, size, inwards, rip);
    if (error_code != NO_ERROR_CODE) {
        stack_push(&stack, size, (uint32_t)error_code);
    }
    code_target_check(vcpu, &code, offset, 0);
    descriptor_accessed(vcpu, &code, 0);
    if (inwards) {
        descriptor_accessed(vcpu, &ss, 0);
    }
    if (!(type & 1)) {
        ENV_EFLAGS(env) &= ~(uint64_t)EFLAGS_IF;
    }
    ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM);
    if (vm86) {
        for (int reg = R_ES; reg <= R_GS; reg++) {
            if (reg != R_CS && reg != R_SS) {
                segment_load(env, reg, 0, 0, 0, 0);
            }
        }
    }
    if (inwards) {
        segment_enter(env, R_SS, stack.segment.selector, &ss);
    }
    segment_enter(env, R_CS, (selector & SELECTOR_ERROR) | cpl, &code);
    stack_pointer_set(env, stack.sp, stack.mask);
    ENV_EIP(env) = offset;
}

/* Whether interrupts and exceptions go through the IDT of protected mode. */
bool interrupt_gates_are_legacy(CPUX86State *env)
{
    return (ENV_CR(env)[0] & CR0_PE) && !long_mode(env);
}

/* `kind` tells INT n, whose `next_rip` is behind it, from exceptions, and both from what comes from outside. */
void interrupt_deliver(struct vcpu *vcpu, int vector, enum interrupt_kind kind, uint32_t error_code,
                       uint64_t next_rip)
{
    uint64_t rip = kind == KIND_INT ? next_rip : ENV_EIP(vcpu->env);
    int64_t pushed = kind == KIND_EXCEPTION && has_error_code(vector) ? (int64_t)error_code : NO_ERROR_CODE;
    struct descriptor gate = idt_entry(vcpu, vector, kind == KIND_INT);

    if (descriptor_type(&gate) == TYPE_TASK_GATE) {
        task_switch_by_gate(vcpu, &gate, TASK_CALL, rip, pushed, 0);
    } else {
        gate_enter(vcpu, &gate, rip, pushed);
    }
}
