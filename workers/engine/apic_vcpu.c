/* A vCPU whose guest code runs outside the engine (KVM's): its local APIC, timer, inbox, waits and ports, which are
 * the engine's own, as exports. Between apic_enter() and apic_leave() it counts as in the guest: a kick is a signal.
 */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

ENGINE_EXPORT void apic_destroy(struct vcpu *vcpu)
{
    if (vcpu->attached) {
        runnable_end(vcpu);
    }
    steal_account(vcpu);
    steal_close(vcpu);
    kick_deinit(vcpu);
    if (self == vcpu) {
        self = NULL;
    }
    free(vcpu);
}

/* The local APIC of vCPU `index` over the VM block, for the calling thread. NULL and `*why` on failure. */
ENGINE_EXPORT struct vcpu *apic_create(void *vm_block, uint32_t index, int doorbell, const char **why)
{
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));

    if (vcpu == NULL) {
        *why = strerror(errno);
        return NULL;
    }
    *why = vcpu_init(vcpu, vm_block, NULL, index, doorbell);
    if (*why == NULL) {
        if (!kick_init(vcpu)) {
            *why = strerror(errno);
        }
    }
    if (*why != NULL) {
        free(vcpu);
        return NULL;
    }
    return vcpu;
}

/* The vCPU is ours from now on; another worker may have been it before (docs/moving.md), with translations. */
static void attach(struct vcpu *vcpu)
{
    if (!vcpu->attached) {
        vcpu->area->attention_at = 0;
        kick_attach(vcpu);
        mail_discard(vcpu);
        claims_forget(vcpu);
        lapic_timer_take_over(vcpu);
    }
}

/* Where a kick says that the run that goes on or comes next shall end: kvm_run's immediate_exit. */
ENGINE_EXPORT void apic_set_immediate_exit(struct vcpu *vcpu, uint8_t *immediate_exit)
{
    vcpu->immediate_exit = immediate_exit;
}

/* Power-on reset, or INIT, which leaves the base alone. */
ENGINE_EXPORT void apic_reset(struct vcpu *vcpu, bool init)
{
    if (init) {
        lapic_init(vcpu);
    } else {
        lapic_reset(vcpu, false);
        vcpu->tsc_adjust = 0;
        mail_discard(vcpu);
        claims_forget(vcpu);
    }
}

ENGINE_EXPORT void apic_leave_firmware(struct vcpu *vcpu)
{
    lapic_leave_firmware(vcpu);
}

/* INIT is done: whoever sends a SIPI from now on finds us waiting for it. */
ENGINE_EXPORT void apic_init_done(struct vcpu *vcpu)
{
    if (!vcpu->area->is_bsp) {
        __atomic_store_n(&vcpu->area->mp_state, MPVM_MODE_WAIT_FOR_SIPI, __ATOMIC_SEQ_CST);
    }
    __atomic_fetch_and(&vcpu->area->inbox.startup, ~(uint32_t)MPVM_STARTUP_INIT, __ATOMIC_SEQ_CST);
}

ENGINE_EXPORT void apic_enter(struct vcpu *vcpu)
{
    self = vcpu;
    kick_adopt(vcpu);
    attach(vcpu);
    runnable_begin(vcpu, vcpu->index);
    enter_guest(vcpu);
}

ENGINE_EXPORT void apic_leave(struct vcpu *vcpu)
{
    leave_guest(vcpu, MPVM_MODE_OUTSIDE);
}

/* A page of guest RAM that KVM's own log has as written. */
ENGINE_EXPORT void apic_dirty(struct vcpu *vcpu, uint32_t page)
{
    dirty_mark(vcpu->vm, page);
}

/* Look at what came from outside; a kick from now on ends the next run. False: there is an INIT, or a request. */
ENGINE_EXPORT bool apic_attend(struct vcpu *vcpu)
{
    *vcpu->immediate_exit = 0;
    /* Before the looks that follow: who leaves something for us sets it after that. */
    atomic_exchange(vcpu->attention, 0);
    if (mail_waiting(vcpu)) {
        mail_read(vcpu);
    }
    exclusive_wait(vcpu);
    lapic_timer_check(vcpu);
    if (vcpu->steal_due) {
        steal_update(vcpu);
    }
    if (__atomic_load_n(&vcpu->area->inbox.any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    return vcpu->area->request == 0 && !(vcpu->area->inbox.startup & MPVM_STARTUP_INIT);
}

static bool wake(struct vcpu *vcpu)
{
    struct mpvm_vcpu_area *area = vcpu->area;
    struct mpvm_interrupt_inbox *inbox = &area->inbox;

    if (area->request != 0) {
        return true;
    }
    if (area->mp_state == MPVM_MODE_WAIT_FOR_SIPI) {
        return (__atomic_load_n(&inbox->startup, __ATOMIC_SEQ_CST) & MPVM_STARTUP_SIPI) != 0;
    }
    lapic_timer_check(vcpu);
    if (__atomic_load_n(&inbox->any, __ATOMIC_SEQ_CST)) {
        lapic_inbox_take(vcpu);
    }
    return (inbox->startup & MPVM_STARTUP_INIT) || (inbox->nmi && vcpu->takes_nmi) ||
           (vcpu->takes_interrupts && (lapic_pending_vector(vcpu) >= 0 || extint_pending(vcpu)));
}

/* Halted, or waiting for a SIPI: until there is something to do. */
ENGINE_EXPORT void apic_wait(struct vcpu *vcpu, bool takes_interrupts, bool takes_nmi)
{
    attach(vcpu);
    vcpu->takes_interrupts = takes_interrupts;
    vcpu->takes_nmi = takes_nmi;
    wait_halted(vcpu, wake);
}

/* The INIT and SIPI that have come to one who waits for a SIPI. An INIT that came before the SIPI goes with it. */
ENGINE_EXPORT uint32_t apic_take_startup(struct vcpu *vcpu)
{
    return __atomic_exchange_n(&vcpu->area->inbox.startup, 0, __ATOMIC_SEQ_CST);
}

/* The vector to deliver if the guest takes interrupts, or -1. */
ENGINE_EXPORT int apic_pending(struct vcpu *vcpu)
{
    return lapic_pending_vector(vcpu);
}

/* Whether the 8259s, or an IPI of that kind, want the acknowledge cycle. */
ENGINE_EXPORT bool apic_extint_pending(struct vcpu *vcpu)
{
    return extint_pending(vcpu);
}

ENGINE_EXPORT void apic_accept(struct vcpu *vcpu, int vector)
{
    lapic_accept(vcpu, vector);
    vcpu->area->counters.interrupts++;
}

/* What apic_accept() has taken waits again: the hardware has not delivered it. */
ENGINE_EXPORT void apic_give_back(struct vcpu *vcpu, int vector)
{
    lapic_give_back(vcpu, vector);
    vcpu->area->counters.interrupts--;
}

ENGINE_EXPORT uint32_t apic_tpr(struct vcpu *vcpu)
{
    return (uint32_t)lapic_tpr(vcpu);
}

ENGINE_EXPORT void apic_set_tpr(struct vcpu *vcpu, uint32_t tpr)
{
    lapic_set_tpr(vcpu, tpr);
}

/* False: neither the local APIC's nor a shadowed register. */
ENGINE_EXPORT bool apic_mmio_read(struct vcpu *vcpu, uint64_t address, uint64_t *value)
{
    return memory_read_here(vcpu, address, value);
}

ENGINE_EXPORT bool apic_mmio_write(struct vcpu *vcpu, uint64_t address, uint32_t size, uint64_t value)
{
    return apic_page_write(vcpu, address, size, value);
}

/* The level-triggered interrupt whose end is to be an exit, or -1. */
ENGINE_EXPORT int apic_owed_eoi(struct vcpu *vcpu)
{
    int vector = vcpu->owed_eoi;

    vcpu->owed_eoi = NO_EOI;
    return vector;
}

/* 0: not the machine's, 1: done, 2: #GP. */
ENGINE_EXPORT int apic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    return machine_msr_read(vcpu, msr, value);
}

ENGINE_EXPORT int apic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    return machine_msr_write(vcpu, msr, value);
}

ENGINE_EXPORT uint64_t apic_tsc_adjust(const struct vcpu *vcpu)
{
    return vcpu->tsc_adjust;
}

ENGINE_EXPORT void apic_set_tsc_adjust(struct vcpu *vcpu, uint64_t value)
{
    vcpu->tsc_adjust = value;
    attention_raise(vcpu);
}

/* A shadowed read; false: the coordinator has to answer. */
ENGINE_EXPORT bool apic_port_read(struct vcpu *vcpu, uint32_t port, uint32_t size, uint64_t *value)
{
    return port_read_here(vcpu, port, size, value);
}

/* A posted write; false: the coordinator has to take it. */
ENGINE_EXPORT bool apic_port_write(struct vcpu *vcpu, uint32_t port, uint32_t size, uint64_t value)
{
    return port_write_here(vcpu, port, size, value);
}
