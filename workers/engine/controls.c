/* Execution controls: taking them over, and the exits between instructions that they ask for (SDM vol. 3, 25.2,
 * 25.5). Instructions are intercept.c's, entries entry.c's.
 */
#include "controls.h"

#include <stdlib.h>
#include <string.h>

/* The preemption timer counts once in 2^5 cycles of the TSC, as Intel CPUs have it (IA32_VMX_MISC, bits 4:0). */
#define PREEMPTION_TIMER_SHIFT 5

bool controls_init(struct vcpu *vcpu)
{
    vcpu->controls = calloc(1, sizeof(*vcpu->controls));
    if (vcpu->controls != NULL) {
        vcpu->controls->announced = ANNOUNCED_NONE;
    }
    return vcpu->controls != NULL;
}

void controls_deinit(struct vcpu *vcpu)
{
    free(vcpu->controls);
}

static bool primary(const struct vcpu *vcpu, uint32_t bits)
{
    return (vcpu->controls->set.processor_based & bits) != 0;
}

static bool pin_based(const struct vcpu *vcpu, uint32_t bits)
{
    return (vcpu->controls->set.pin_based & bits) != 0;
}

static void preemption_timer_start(struct vcpu *vcpu)
{
    uint64_t ticks = (uint64_t)vcpu->controls->set.preemption_timer_value << PREEMPTION_TIMER_SHIFT;
    bool on = pin_based(vcpu, MPVM_PIN_BASED_PREEMPTION_TIMER);

    if (on || vcpu->preemption_ns != 0) {
        vcpu->preemption_ns = on ? monotonic_ns() + tsc_to_ns(vcpu, ticks) + 1 : 0;
        timer_arm(vcpu, vcpu->apic_timer_ns);
    }
}

bool preemption_timer_due(const struct vcpu *vcpu)
{
    return vcpu->preemption_ns != 0 && monotonic_ns() >= vcpu->preemption_ns;
}

/* The owner has written execution controls: they hold from the next entry on. */
ENGINE_EXPORT void engine_apply_controls(struct vcpu *vcpu)
{
    const struct mpvm_execution_controls *set = &vcpu->area->control.execution;
    struct controls *controls = vcpu->controls;
    uint64_t kinds = intercepted_kinds(set);
    bool step = (set->processor_based & MPVM_PROCESSOR_BASED_MONITOR_TRAP_FLAG) != 0;

    if (kinds != controls->kinds || step != primary(vcpu, MPVM_PROCESSOR_BASED_MONITOR_TRAP_FLAG)) {
        controls->changed = true;
        controls->reenter = true;
    }
    controls->set = *set;
    controls->kinds = kinds;
    controls->stepped = false;
    controls->announced = ANNOUNCED_NONE;
    vcpu->intercepting = step || kinds != 0;
    vcpu->ports_controlled =
        primary(vcpu, MPVM_PROCESSOR_BASED_UNCONDITIONAL_IO_EXITING | MPVM_PROCESSOR_BASED_USE_IO_BITMAPS);
    vcpu->cr_masked = (set->cr0_guest_host_mask | set->cr4_guest_host_mask) != 0;
    vcpu->exceptions_controlled = set->exception_bitmap != 0 || set->page_fault_error_code_mask != 0 ||
                                  set->page_fault_error_code_match != 0;
    vcpu->tsc_offset = primary(vcpu, MPVM_PROCESSOR_BASED_USE_TSC_OFFSETTING) ? (uint64_t)set->tsc_offset : 0;
    vcpu->events_controlled =
        step ||
        primary(vcpu, MPVM_PROCESSOR_BASED_INTERRUPT_WINDOW_EXITING | MPVM_PROCESSOR_BASED_NMI_WINDOW_EXITING) ||
        pin_based(vcpu, MPVM_PIN_BASED_EXTERNAL_INTERRUPT_EXITING | MPVM_PIN_BASED_NMI_EXITING |
                            MPVM_PIN_BASED_PREEMPTION_TIMER);
    preemption_timer_start(vcpu);
    attention_raise(vcpu);
}

/* Between blocks: from now on code is translated anew. */
void controls_settle(struct vcpu *vcpu)
{
    vcpu->controls->reenter = false;
    if (vcpu->controls->changed) {
        vcpu->controls->changed = false;
        REPLACEMENT(tb_flush)(vcpu->cpu);
        tb_jumps_forget(vcpu);
    }
}

/* While the engine runs, the flags are in parts. */
static bool flags_apart(const struct vcpu *vcpu)
{
    return UC_NESTED_LEVEL(vcpu->engine) > 0;
}

void state_save_now(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    uint64_t rest = ENV_EFLAGS(env);

    if (flags_apart(vcpu)) {
        ENV_EFLAGS(env) = rest | uc.cpu_cc_compute_all(env, (int)ENV_CC_OP(env)) | ((uint32_t)ENV_DF(env) & EFLAGS_DF);
    }
    state_save(vcpu);
    ENV_EFLAGS(env) = rest;
}

void state_load_now(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;

    state_load(vcpu);
    if (flags_apart(vcpu)) {
        ENV_CC_SRC(env) = ENV_EFLAGS(env) & EFLAGS_ARITHMETIC;
        ENV_CC_OP(env) = CC_OP_EFLAGS;
        ENV_DF(env) = ENV_EFLAGS(env) & EFLAGS_DF ? -1 : 1;
        ENV_EFLAGS(env) &= ~(uint64_t)(EFLAGS_ARITHMETIC | EFLAGS_DF);
    }
}

static bool has_error_code(int vector)
{
    enum { DF = 8, AC = 17 };

    return vector == DF || (vector >= EXCP_TS && vector <= EXCP_PF) || vector == AC;
}

/* The exit information of an exit that a control asks for, empty. */
struct mpvm_exit_information *control_exit_new(struct vcpu *vcpu)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;

    *exit = (struct mpvm_exit_information){.cause = MPVM_CAUSE_CONTROL};
    if (vcpu->delivering != NOT_DELIVERING) {
        exit->idt_vectoring_information =
            (uint32_t)vcpu->delivering | vcpu->delivering_type | MPVM_INTERRUPTION_VALID;
        if (vcpu->delivering_type == EVENT_TYPE(MPVM_EVENT_HARDWARE_EXCEPTION) &&
            has_error_code(vcpu->delivering)) {
            exit->idt_vectoring_information |= MPVM_INTERRUPTION_DELIVER_ERROR_CODE;
            exit->idt_vectoring_error_code = vcpu->delivering_error_code;
        }
    }
    return exit;
}

/* Exit with all registers in the control block; the owner's answer. RIP is at the instruction. */
uint32_t control_exit(struct vcpu *vcpu, uint32_t reason)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;
    uint32_t answer;

    state_save_now(vcpu);
    exit_to_host(vcpu, reason);
    answer = exit->answer;
    exit->cause = MPVM_CAUSE_MACHINE;
    if (answer & MPVM_ANSWER_STATE) {
        state_load_now(vcpu);
    }
    return answer;
}

/* Whether a block can't go on after an exit: it was translated for other registers or controls. */
bool controls_restart_needed(const struct vcpu *vcpu, uint32_t answer)
{
    return answer != 0 || vcpu->controls->reenter;
}

/* --- Exceptions (SDM vol. 3, 25.2) ---------------------------------------------------------------------- */


/* The type of the event in the engine's exception fields, as an interruption-information field has it. */
uint32_t exception_type(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;

    if (!ENV_EXCEPTION_IS_INT(env)) {
        return EVENT_TYPE(MPVM_EVENT_HARDWARE_EXCEPTION);
    }
    if (vcpu->int1) {
        return EVENT_TYPE(MPVM_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION);
    }
    switch (REPLACEMENT(cpu_ldub_code)(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env))) {
    case OPCODE_INT3:
    case OPCODE_INTO:
        return EVENT_TYPE(MPVM_EVENT_SOFTWARE_EXCEPTION);
    default:
        return EVENT_TYPE(MPVM_EVENT_SOFTWARE_INTERRUPT);
    }
}

static bool exception_exits(const struct vcpu *vcpu, int vector, uint32_t error_code)
{
    const struct mpvm_execution_controls *set = &vcpu->controls->set;
    bool in_bitmap = (set->exception_bitmap >> vector & 1) != 0;

    if (vector == EXCP_PF) {
        bool match = (error_code & set->page_fault_error_code_mask) == set->page_fault_error_code_match;

        return match == in_bitmap;
    }
    return in_bitmap;
}

/* An exception is about to be delivered. True when its owner has dealt with it. */
bool controls_exception(struct vcpu *vcpu)
{
    CPUX86State *env = vcpu->env;
    int vector = CPU_EXCEPTION_INDEX(vcpu->cpu);
    uint32_t error_code = (uint32_t)ENV_ERROR_CODE(env), type = exception_type(vcpu);
    uint64_t cr2 = ENV_CR(env)[2];
    struct mpvm_exit_information *exit;
    uint32_t answer;

    if (vector < 0 || vector > 31 || type == EVENT_TYPE(MPVM_EVENT_SOFTWARE_INTERRUPT) ||
        !exception_exits(vcpu, vector, error_code)) {
        return false;
    }
    if (vector == EXCP_DB) {
        data_breakpoints_take(vcpu);
    }
    exit = control_exit_new(vcpu);
    exit->interruption_information = (uint32_t)vector | type | MPVM_INTERRUPTION_VALID;
    if (type != EVENT_TYPE(MPVM_EVENT_HARDWARE_EXCEPTION)) {
        exit->instruction_length = (uint32_t)(ENV_EXCEPTION_NEXT_EIP(env) - ENV_EIP(env));
    } else if (has_error_code(vector) && (ENV_CR(env)[0] & CR0_PE)) {
        exit->interruption_information |= MPVM_INTERRUPTION_DELIVER_ERROR_CODE;
        exit->interruption_error_code = error_code;
    }
    if (vector == EXCP_PF) {
        /* CR2 is written when the fault is delivered. */
        exit->qualification = exit->guest_linear_address = cr2;
        ENV_CR(env)[2] = vcpu->page_fault_cr2;
    } else if (vector == EXCP_DB) {
        exit->qualification = ENV_DR(env)[6] & 0x600f;
    }
    answer = control_exit(vcpu, MPVM_EXIT_EXCEPTION);
    if (answer & MPVM_ANSWER_DONE) {
        ENV_OLD_EXCEPTION(env) = NO_EXCEPTION;
        vcpu->data_breakpoints = vcpu->shadowed_breakpoints = 0;
        vcpu->delivering = NOT_DELIVERING;
        return true;
    }
    if (vector == EXCP_PF) {
        ENV_CR(env)[2] = cr2;
    }
    return false;
}

/* --- Between instructions ------------------------------------------------------------------------------- */

/* An external interrupt, `vector` or a PIC's that is not acknowledged yet, is pending. It exits once, whether IF
 * allows it or not; the owner that says DONE has it, as with "acknowledge interrupt on exit". True then. */
bool controls_external_interrupt(struct vcpu *vcpu, int vector)
{
    struct mpvm_exit_information *exit;
    int pending = vector < 0 ? ANNOUNCED_EXTINT : vector;

    if (!pin_based(vcpu, MPVM_PIN_BASED_EXTERNAL_INTERRUPT_EXITING) || vcpu->controls->announced == pending) {
        return false;
    }
    vcpu->controls->announced = pending;
    exit = control_exit_new(vcpu);
    if (vector >= 0) {
        exit->interruption_information =
            (uint32_t)vector | EVENT_TYPE(MPVM_EVENT_EXTERNAL_INTERRUPT) | MPVM_INTERRUPTION_VALID;
    }
    if (!(control_exit(vcpu, MPVM_EXIT_EXTERNAL_INTERRUPT) & MPVM_ANSWER_DONE) || vector < 0) {
        return false;
    }
    vcpu->controls->announced = ANNOUNCED_NONE;
    lapic_accept(vcpu, vector);
    return true;
}

/* An NMI is about to be delivered. True when its owner has taken it. */
bool controls_nmi(struct vcpu *vcpu)
{
    struct mpvm_exit_information *exit;

    if (!pin_based(vcpu, MPVM_PIN_BASED_NMI_EXITING)) {
        return false;
    }
    exit = control_exit_new(vcpu);
    exit->interruption_information = EXCP_NMI | EVENT_TYPE(MPVM_EVENT_NMI) | MPVM_INTERRUPTION_VALID;
    return (control_exit(vcpu, MPVM_EXIT_NMI) & MPVM_ANSWER_DONE) != 0;
}

/* An event is being delivered: the last instruction counts as one for the monitor trap flag, and what was to run
 * again runs after the handler. */
void controls_delivering(struct vcpu *vcpu)
{
    vcpu->controls->stepped = true;
    vcpu->controls->served = false;
    vcpu->controls->announced = ANNOUNCED_NONE;
}

static bool monitor_trap(struct vcpu *vcpu)
{
    if (!vcpu->controls->stepped || !primary(vcpu, MPVM_PROCESSOR_BASED_MONITOR_TRAP_FLAG) ||
        CPU_CFLAGS_NEXT_TB(vcpu->cpu) != UINT32_MAX || vcpu->exclusive_wanted) {
        return false;
    }
    vcpu->controls->stepped = false;
    control_exit_new(vcpu);
    control_exit(vcpu, MPVM_EXIT_MONITOR_TRAP_FLAG);
    return true;
}

/* The preemption timer, in a vCPU that runs or is halted. It starts anew with the entry that follows. */
bool controls_preempted(struct vcpu *vcpu)
{
    if (!preemption_timer_due(vcpu)) {
        return false;
    }
    control_exit_new(vcpu);
    control_exit(vcpu, MPVM_EXIT_PREEMPTION_TIMER);
    preemption_timer_start(vcpu);
    return true;
}

/* The exits that come before any event is delivered. True after one: the flow of control may have changed. */
bool controls_between_blocks(struct vcpu *vcpu, bool interrupts_open, bool nmis_open)
{
    if (monitor_trap(vcpu)) {
        return true;
    }
    if (controls_preempted(vcpu)) {
        return true;
    }
    if (nmis_open && primary(vcpu, MPVM_PROCESSOR_BASED_NMI_WINDOW_EXITING)) {
        control_exit_new(vcpu);
        control_exit(vcpu, MPVM_EXIT_NMI_WINDOW);
        return true;
    }
    if (interrupts_open && primary(vcpu, MPVM_PROCESSOR_BASED_INTERRUPT_WINDOW_EXITING)) {
        control_exit_new(vcpu);
        control_exit(vcpu, MPVM_EXIT_IRQ_WINDOW_OPEN);
        return true;
    }
    return false;
}
