/* Delivery of exceptions, interrupts, NMI, INIT and SIPI to this vCPU. */
#include "engine.h"

/* The error code of a fault, which may come while an event is delivered (SDM vol. 3, 6.13): the IDT entry's is
 * index * 8 + 2, which the engine makes index * 16 + 2 in long mode, and EXT says that the event was none of the
 * program's own. */
int event_error_code(struct vcpu *vcpu, int exception, int error_code)
{
    enum { IDT_ENTRY = 2, EXT = 1 };

    if (vcpu->delivering == NOT_DELIVERING) {
        return error_code;
    }
    if (vcpu->int1) {
        /* Delivered as a trap, behind the INT1, to which a fault on the way belongs. */
        ENV_EIP(vcpu->env) = vcpu->int_eip;
    }
    if (exception < EXCP_TS || exception > EXCP_GP) {
        return error_code;
    }
    if ((ENV_HFLAGS(vcpu->env) & HF_LMA_MASK) && error_code == vcpu->delivering * 16 + IDT_ENTRY) {
        error_code = vcpu->delivering * 8 + IDT_ENTRY;
    }
    return vcpu->delivering_int ? error_code : error_code | EXT;
}

/* Of vectors, as exceptions; #DB is counted as a trap, which it is without a general detect. */
bool exception_is_fault(int vector)
{
    const uint32_t faults = 1u << EXCP_DE | 1u << EXCP_BR | 1u << EXCP_UD | 1u << EXCP_NM | 1u << EXCP_TS |
                            1u << EXCP_NP | 1u << EXCP_SS | 1u << EXCP_GP | 1u << EXCP_PF | 1u << EXCP_MF |
                            1u << EXCP_AC | 1u << EXCP_XM;

    return vector >= 0 && vector < 32 && (faults >> vector & 1) != 0;
}

/* Deliver a hardware interrupt or NMI. May fault, which leaves by longjmp to the exception's own delivery. */
void event_deliver_hardware(struct vcpu *vcpu, int vector)
{
    vcpu->delivering = vector;
    vcpu->delivering_int = vcpu->int1 = false;
    log_event(vcpu, vector == EXCP_NMI ? "NMI" : "interrupt", vector, 0);
    vcpu->delivering_type = vector == EXCP_NMI ? MPVM_EVENT_NMI << 8 : MPVM_EVENT_EXTERNAL_INTERRUPT << 8;
    controls_delivering(vcpu);
    if (interrupt_gates_are_legacy(vcpu->env)) {
        interrupt_deliver(vcpu, vector, KIND_EXTERNAL, 0, 0);
    } else {
        uc.do_interrupt_x86_hardirq(vcpu->env, vector, 1);
    }
    vcpu->delivering = NOT_DELIVERING;
}

#define LAST_VECTOR 255 /* above it are the engine's own events */

/* An exception or INT n is in CPUState.exception_index. Delivery may fault again, which leaves by longjmp. */
void event_deliver(struct vcpu *vcpu)
{
    vcpu->delivering = CPU_EXCEPTION_INDEX(vcpu->cpu);
    vcpu->delivering_int = ENV_EXCEPTION_IS_INT(vcpu->env) != 0;
    vcpu->delivering_error_code = (uint32_t)ENV_ERROR_CODE(vcpu->env);
    controls_delivering(vcpu);
    data_breakpoints_take(vcpu);
    log_event(vcpu, vcpu->delivering_int ? "INT" : "exception", vcpu->delivering, ENV_ERROR_CODE(vcpu->env));
    if (vcpu->int1) {
        /* As an exception, not as an INT: the gate's DPL does not count, and a fault on the way is external. */
        ENV_EXCEPTION_IS_INT(vcpu->env) = 0;
        vcpu->delivering_int = false;
        ENV_EIP(vcpu->env) = ENV_EXCEPTION_NEXT_EIP(vcpu->env);
    } else if (!vcpu->delivering_int && exception_is_fault(vcpu->delivering)) {
        /* The stack's image has RF set; delivery clears it. */
        ENV_EFLAGS(vcpu->env) |= EFLAGS_RF;
    }
    if (vcpu->delivering <= LAST_VECTOR && interrupt_gates_are_legacy(vcpu->env)) {
        interrupt_deliver(vcpu, vcpu->delivering, vcpu->delivering_int ? KIND_INT : KIND_EXCEPTION,
                          vcpu->delivering_error_code, ENV_EXCEPTION_NEXT_EIP(vcpu->env));
        ENV_OLD_EXCEPTION(vcpu->env) = NO_EXCEPTION;
    } else {
        uc.x86_cpu_do_interrupt(vcpu->cpu);
    }
    if (vcpu->delivering == EXCP_DB && !vcpu->delivering_int) {
        debug_delivered(vcpu);
    }
    /* A shadow that its instruction has been in is over. */
    ENV_HFLAGS(vcpu->env) &= ~HF_INHIBIT_IRQ_MASK;
    vcpu->delivering = NOT_DELIVERING;
    vcpu->int1 = false;
}

/* The same for one that the guest has raised. */
void event_deliver_exception(struct vcpu *vcpu)
{
    vcpu->translation.fed_count = 0;
    vcpu->int1 = vcpu->int1 && ENV_EXCEPTION_IS_INT(vcpu->env);
    if (ENV_EXCEPTION_IS_INT(vcpu->env)) {
        /* The engine has moved RIP past the INT; a fault while delivering it belongs to the INT itself. */
        ENV_EIP(vcpu->env) = vcpu->int_eip;
    }
    if (vcpu->exceptions_controlled) {
        if (controls_exception(vcpu)) {
            return;
        }
        vcpu->delivering_type = exception_type(vcpu);
    }
    event_deliver(vcpu);
}

static bool interrupts_enabled(const struct vcpu *vcpu)
{
    return (ENV_EFLAGS(vcpu->env) & EFLAGS_IF) != 0 && (ENV_HFLAGS(vcpu->env) & HF_INHIBIT_IRQ_MASK) == 0;
}

/* It runs an NMI's handler. Without an engine the hardware knows. */
bool nmi_blocked(const struct vcpu *vcpu)
{
    return vcpu->env != NULL && (ENV_HFLAGS2(vcpu->env) & HF2_NMI_MASK) != 0;
}

static bool nmi_allowed(const struct vcpu *vcpu)
{
    return !nmi_blocked(vcpu) && (ENV_HFLAGS(vcpu->env) & HF_INHIBIT_IRQ_MASK) == 0;
}

/* One has been delivered. The store is seen by all before the handler looks at anything: it must not come after the
 * next one's. */
static void nmi_taken(struct mpvm_interrupt_inbox *inbox)
{
    __atomic_fetch_sub(&inbox->nmi, 1, __ATOMIC_SEQ_CST);
}

bool extint_pending(struct vcpu *vcpu)
{
    return (vcpu->vm->pic_intr != 0 && lapic_extint_enabled(vcpu)) || vcpu->area->inbox.extint != 0;
}

/* While one's handler runs, one more is held. */
static void nmi_hold(struct mpvm_interrupt_inbox *inbox)
{
    uint8_t several = MPVM_NMIS_MAX;

    __atomic_compare_exchange_n(&inbox->nmi, &several, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

void a20_update(struct vcpu *vcpu)
{
    if (ENV_A20_MASK(vcpu->env) != (int32_t)vcpu->vm->a20_mask) {
        ENV_A20_MASK(vcpu->env) = (int32_t)vcpu->vm->a20_mask;
        tlb_flush_all(vcpu);
    }
}

/* What came from outside since the last look. False when this vCPU has to leave the engine. */
static bool attend(struct vcpu *vcpu, bool *changed)
{
    /* Before the looks that follow: who leaves something for us sets it after that. */
    atomic_exchange(vcpu->attention, 0);
    STEP(attend);
    controls_settle(vcpu);
    if (mail_waiting(vcpu)) {
        mail_read(vcpu);
        *changed = true;
    }
    if (vcpu->drop_page != NO_PAGE) {
        code_drop(vcpu, vcpu->drop_page);
        vcpu->drop_page = NO_PAGE;
        *changed = true;
    }
    if (vcpu->grow_tlb) {
        vcpu->grow_tlb = false;
        tlb_grow(vcpu);
    }
    STEP(attend_exclusive);
    exclusive_wait(vcpu);
    STEP(attend_inbox);
    a20_update(vcpu);
    lapic_timer_check(vcpu);
    if (__atomic_load_n(&vcpu->area->inbox.any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    if (vcpu->steal_due) {
        steal_update(vcpu);
    }
    if (vcpu->area->inbox.startup & MPVM_STARTUP_INIT) {
        vcpu->init_received = true;
        return false;
    }
    return vcpu->area->request == 0;
}

/* Called by the engine between blocks. True when the flow of control has changed. */
bool events_take(struct vcpu *vcpu)
{
    struct mpvm_interrupt_inbox *inbox = &vcpu->area->inbox;
    bool changed = false;
    int vector;

    if (vcpu->exclusive_step != 0) {
        if (vcpu->exclusive_step++ > 1) {
            leave_engine(vcpu);
            return true;
        }
        return false;
    }
    if (vcpu->replay_step != 0) {
        if (vcpu->replay_step++ > 1) {
            leave_engine(vcpu);
            return true;
        }
        return false;
    }
    if (!*vcpu->attention && !vcpu->irr_pending && !vcpu->events_controlled) {
        return false;
    }
    if (controls_port_again(vcpu)) {
        return false;
    }
    if (vcpu->events_controlled) {
        changed = controls_between_blocks(vcpu, interrupts_enabled(vcpu), nmi_allowed(vcpu));
    }
    if (*vcpu->attention && !attend(vcpu, &changed)) {
        leave_engine(vcpu);
        return true;
    }
    if (entry_inject(vcpu)) {
        attention_raise(vcpu);
        return true;
    }
    if (data_breakpoints_deliver(vcpu)) {
        attention_raise(vcpu);
        return true;
    }
    /* What waits for the end of a shadow is looked for again after the next block. */
    vcpu->irr_pending = vcpu->shadowed_breakpoints != 0;
    if (inbox->nmi) {
        if (nmi_allowed(vcpu) && vcpu->events_controlled && controls_nmi(vcpu)) {
            nmi_taken(inbox);
            return true;
        }
        if (nmi_allowed(vcpu)) {
            nmi_taken(inbox);
            vcpu->area->counters.nmis++;
            ENV_HFLAGS2(vcpu->env) |= HF2_NMI_MASK;
            event_deliver_hardware(vcpu, EXCP_NMI);
            vcpu->irr_pending = true;
            return true;
        }
        if (nmi_blocked(vcpu)) {
            nmi_hold(inbox);
        }
        vcpu->irr_pending = true;
    }
    vector = lapic_pending_vector(vcpu);
    if (vector < 0 && !extint_pending(vcpu) && !vcpu->window_answered) {
        return changed;
    }
    vcpu->irr_pending = true;
    if (vcpu->events_controlled && controls_external_interrupt(vcpu, extint_pending(vcpu) ? -1 : vector)) {
        return true;
    }
    if (!interrupts_enabled(vcpu)) {
        return changed;
    }
    if (extint_pending(vcpu) || vcpu->window_answered) {
        uint64_t answer;

        if (!vcpu->window_answered) {
            __atomic_store_n(&inbox->extint, 0, __ATOMIC_SEQ_CST);
        }
        if (vcpu->vm->precise_exits && !vcpu->window_answered) {
            vcpu->window_open = true;
            leave_engine(vcpu);
            return true;
        }
        answer = vcpu->window_answered ? vcpu->window_answer : exit_to_host(vcpu, MPVM_EXIT_IRQ_WINDOW_OPEN);
        vcpu->window_answered = false;
        if (answer & MPVM_EXTINT_VALID) {
            vcpu->area->counters.interrupts++;
            event_deliver_hardware(vcpu, (int)(answer & 0xff));
            return true;
        }
        vector = lapic_pending_vector(vcpu);
        if (vector < 0) {
            return true;
        }
    }
    lapic_accept(vcpu, vector);
    vcpu->area->counters.interrupts++;
    event_deliver_hardware(vcpu, vector);
    return true;
}

/* Whether a halted (or waiting) vCPU has something to do; it is outside the engine. */
bool events_wake(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    struct mpvm_interrupt_inbox *inbox = &area->inbox;

    if (area->request != 0 || (vcpu->events_controlled && preemption_timer_due(vcpu))) {
        return true;
    }
    if (area->mp_state == MPVM_MODE_WAIT_FOR_SIPI) {
        /* Another INIT changes nothing. It came before the SIPI that is there with it, and goes with it: left behind
         * it would take the SIPI back. */
        uint32_t startup = __atomic_exchange_n(&inbox->startup, 0, __ATOMIC_SEQ_CST);

        STEP(sipi_taken);
        if (!(startup & MPVM_STARTUP_SIPI)) {
            return false;
        }
        cpu_sipi(vcpu, startup & 0xff);
        return true;
    }
    lapic_timer_check(vcpu);
    if (__atomic_load_n(&inbox->any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    if (inbox->startup & MPVM_STARTUP_INIT) {
        cpu_init_signal(vcpu);
        return true;
    }
    if (entry_wakes(vcpu)) {
        CPU_HALTED(vcpu->cpu) = 0;
        return true;
    }
    if ((inbox->nmi && nmi_allowed(vcpu)) ||
        (interrupts_enabled(vcpu) && (lapic_pending_vector(vcpu) >= 0 || extint_pending(vcpu)))) {
        CPU_HALTED(vcpu->cpu) = 0;
        vcpu->irr_pending = true;
        return true;
    }
    return false;
}
