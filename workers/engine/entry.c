/* What an entry does before the first instruction: MSRs to load, an event to inject (SDM vol. 3, 26.4 to 26.6); and
 * the MSRs that an exit stores (27.4).
 */
#include "controls.h"

#define VECTOR(information) ((int)((information)&0xff))
#define TYPE(information) ((information) >> 8 & 7)

/* A FAIL_ENTRY exit; the guest has not run. `number` is that of the entry in the list, from 1 on. */
static bool fail(struct vcpu *vcpu, uint32_t check, uint32_t number, uint32_t msr)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;

    exit->reason = MPVM_EXIT_FAIL_ENTRY;
    exit->failed_check = check;
    exit->qualification = number;
    exit->msr_index = msr;
    vcpu->area->counters.exits[MPVM_EXIT_FAIL_ENTRY]++;
    return false;
}

/* Those that an entry loads in another way, or not at all. */
static bool loadable(const struct mpvm_msr_entry *entry)
{
    enum { FS_BASE = 0xc0000100, GS_BASE = 0xc0000101, X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff };

    return entry->reserved == 0 && entry->index != (uint32_t)FS_BASE && entry->index != (uint32_t)GS_BASE &&
           !(entry->index >= X2APIC_FIRST && entry->index <= X2APIC_LAST);
}

static bool load_msrs(struct vcpu *vcpu)
{
    const struct mpvm_entry_controls *entry = &vcpu->area->control.entry;

    for (uint32_t i = 0; i < entry->msr_load_count; i++) {
        const struct mpvm_msr_entry *msr = &entry->msr_load[i];

        if (i >= MPVM_MAX_MSR_LIST || !loadable(msr) || !msr_write(vcpu, msr->index, msr->data)) {
            return fail(vcpu, MPVM_ENTRY_CHECK_MSR_LOAD, i + 1, i < MPVM_MAX_MSR_LIST ? msr->index : 0);
        }
    }
    return true;
}

/* Whether the owner has written entry controls. */
bool entry_pending(const struct vcpu *vcpu)
{
    const struct mpvm_entry_controls *entry = &vcpu->area->control.entry;

    return entry->msr_load_count != 0 || (entry->interruption_information & MPVM_INTERRUPTION_VALID);
}

/* False: an MSR is wrong, and the exit says which. */
bool entry_begin(struct vcpu *vcpu)
{
    if (!load_msrs(vcpu)) {
        return false;
    }
    vcpu->controls->reenter = true;
    vcpu->controls->inject = (vcpu->area->control.entry.interruption_information & MPVM_INTERRUPTION_VALID) != 0;
    attention_raise(vcpu);
    return true;
}

/* Whether an event is to be injected, which ends HLT. */
bool entry_wakes(const struct vcpu *vcpu)
{
    return vcpu->controls->inject;
}

/* Deliver the event of the entry controls, if there is one. Between blocks. May fault, which leaves by longjmp. */
bool entry_inject(struct vcpu *vcpu)
{
    struct mpvm_entry_controls *entry = &vcpu->area->control.entry;
    CPUX86State *env = vcpu->env;
    uint32_t information = entry->interruption_information;

    if (!vcpu->controls->inject) {
        return false;
    }
    vcpu->controls->inject = false;
    entry->interruption_information &= ~MPVM_INTERRUPTION_VALID;
    vcpu->int1 = TYPE(information) == MPVM_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION;
    switch (TYPE(information)) {
    case MPVM_EVENT_NMI:
        ENV_HFLAGS2(env) |= HF2_NMI_MASK;
        event_deliver_hardware(vcpu, EXCP_NMI);
        return true;
    case MPVM_EVENT_EXTERNAL_INTERRUPT:
        event_deliver_hardware(vcpu, VECTOR(information));
        return true;
    case MPVM_EVENT_HARDWARE_EXCEPTION:
        ENV_EXCEPTION_IS_INT(env) = 0;
        break;
    default:
        ENV_EXCEPTION_IS_INT(env) = 1;
        vcpu->int_eip = ENV_EIP(env);
        ENV_EXCEPTION_NEXT_EIP(env) = ENV_EIP(env) + entry->instruction_length;
        break;
    }
    CPU_EXCEPTION_INDEX(vcpu->cpu) = VECTOR(information);
    ENV_ERROR_CODE(env) = information & MPVM_INTERRUPTION_DELIVER_ERROR_CODE ? (int32_t)entry->exception_error_code : 0;
    vcpu->delivering_type = TYPE(information) << 8;
    event_deliver(vcpu);
    CPU_EXCEPTION_INDEX(vcpu->cpu) = -1;
    return true;
}

/* The MSRs that the owner wants to know at each exit. */
void exit_end(struct vcpu *vcpu)
{
    struct mpvm_exit_controls *controls = &vcpu->area->control.exit_controls;

    for (uint32_t i = 0; i < controls->msr_store_count && i < MPVM_MAX_MSR_LIST; i++) {
        uint64_t value;

        controls->msr_store[i].data = msr_read(vcpu, controls->msr_store[i].index, &value) ? value : 0;
    }
}
