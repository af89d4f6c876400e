/* Delivery of exceptions, interrupts, NMI, INIT and SIPI to this vCPU. */
#include "engine.h"

#define EFLAGS_IF (1u << 9)
#define EXCP_NMI 2
/* Data of the answer to IRQ_WINDOW_OPEN: this bit and the vector, or 0 when the 8259 has none any more. */
#define EXTINT_VALID 0x100u

/* An exception or INT n is in CPUState.exception_index. Delivery may fault again, which leaves by longjmp. */
void event_deliver_exception(struct vcpu *vcpu)
{
    if (ENV_EXCEPTION_IS_INT(vcpu->env)) {
        /* The engine has moved RIP past the INT; a fault while delivering it belongs to the INT itself. */
        ENV_EIP(vcpu->env) = vcpu->int_eip;
    }
    uc.x86_cpu_do_interrupt(vcpu->cpu);
}

static bool interrupts_enabled(const struct vcpu *vcpu)
{
    return (ENV_EFLAGS(vcpu->env) & EFLAGS_IF) != 0 && (ENV_HFLAGS(vcpu->env) & HF_INHIBIT_IRQ_MASK) == 0;
}

static bool nmi_allowed(const struct vcpu *vcpu)
{
    return (ENV_HFLAGS2(vcpu->env) & HF2_NMI_MASK) == 0 && (ENV_HFLAGS(vcpu->env) & HF_INHIBIT_IRQ_MASK) == 0;
}

static bool extint_pending(struct vcpu *vcpu)
{
    return (vcpu->vm->pic_intr != 0 && vcpu->area->is_bsp && lapic_extint_enabled(vcpu)) ||
           vcpu->area->inbox.extint != 0;
}

/* What came from outside since the last look. False when this vCPU has to leave the engine. */
static bool attend(struct vcpu *vcpu, bool *changed)
{
    vcpu->attention = 0;
    if (mail_waiting(vcpu)) {
        mail_read(vcpu);
        *changed = true;
    }
    exclusive_wait(vcpu);
    if (ENV_A20_MASK(vcpu->env) != (int32_t)vcpu->vm->a20_mask) {
        ENV_A20_MASK(vcpu->env) = (int32_t)vcpu->vm->a20_mask;
        uc.tlb_flush(vcpu->cpu);
        *changed = true;
    }
    lapic_timer_check(vcpu);
    if (__atomic_load_n(&vcpu->area->inbox.any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    if (vcpu->area->inbox.init) {
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
    if (!vcpu->attention && !vcpu->irr_pending) {
        return false;
    }
    if (vcpu->attention && !attend(vcpu, &changed)) {
        leave_engine(vcpu);
        return true;
    }
    vcpu->irr_pending = false;
    if (inbox->nmi) {
        if (nmi_allowed(vcpu)) {
            inbox->nmi = 0;
            vcpu->area->counters.nmis++;
            ENV_HFLAGS2(vcpu->env) |= HF2_NMI_MASK;
            uc.do_interrupt_x86_hardirq(vcpu->env, EXCP_NMI, 1);
            vcpu->irr_pending = true;
            return true;
        }
        vcpu->irr_pending = true;
    }
    vector = lapic_pending_vector(vcpu);
    if (vector < 0 && !extint_pending(vcpu)) {
        return changed;
    }
    vcpu->irr_pending = true;
    if (!interrupts_enabled(vcpu)) {
        return changed;
    }
    if (extint_pending(vcpu)) {
        uint64_t answer;

        inbox->extint = 0;
        answer = exit_to_host(vcpu, MPVM_EXIT_IRQ_WINDOW_OPEN);
        if (answer & EXTINT_VALID) {
            vcpu->area->counters.interrupts++;
            uc.do_interrupt_x86_hardirq(vcpu->env, (int)(answer & 0xff), 1);
            return true;
        }
        vector = lapic_pending_vector(vcpu);
        if (vector < 0) {
            return true;
        }
    }
    lapic_accept(vcpu, vector);
    vcpu->area->counters.interrupts++;
    uc.do_interrupt_x86_hardirq(vcpu->env, vector, 1);
    return true;
}

/* Whether a halted (or waiting) vCPU has something to do; it is outside the engine. */
bool events_wake(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    struct mpvm_interrupt_inbox *inbox = &area->inbox;

    if (area->request != 0) {
        return true;
    }
    if (area->mp_state == MPVM_MODE_WAIT_FOR_SIPI) {
        uint16_t sipi = __atomic_exchange_n(&inbox->sipi, 0, __ATOMIC_SEQ_CST);

        inbox->init = 0;
        if (sipi == 0) {
            return false;
        }
        cpu_sipi(vcpu, sipi & 0xff);
        return true;
    }
    lapic_timer_check(vcpu);
    if (__atomic_load_n(&inbox->any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    if (inbox->init) {
        cpu_init_signal(vcpu);
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
