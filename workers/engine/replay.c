/* Exits that leave the vCPU between two instructions, as VmPage.precise_exits asks for.
 *
 * An access that nobody here can answer then takes its instruction back: the engine is left where it starts, with all
 * registers in the control block, which may be changed. Once the exit is answered, the instruction runs again, as a
 * block of its own, and what it asks for is answered from what is known. It ends between two instructions again,
 * where a kick that came meanwhile is seen. (Documentation/virt/kvm/api.rst, 5, KVM_EXIT_IO: reentering the kernel
 * with immediate_exit completes the operation.)
 */
#include "engine.h"

static bool same_access(const struct mpvm_exit_information *exit, const struct answered *known)
{
    return exit->guest_physical_address == known->address && exit->size == known->size &&
           exit->direction == known->direction;
}

/* Answer the access in the exit information, or take its instruction back and do not return. */
uint64_t replay_or_leave(struct vcpu *vcpu, uint32_t reason, uintptr_t retaddr)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;

    if (vcpu->replay_next < vcpu->replay_count && same_access(exit, &vcpu->replay[vcpu->replay_next])) {
        return vcpu->replay[vcpu->replay_next++].data;
    }
    vcpu->replay_count = vcpu->replay_next; /* it asks for something else now: forget what it asked for then */
    vcpu->replay_reason = reason;
    leave_engine(vcpu);
    CPU_EXCEPTION_INDEX(vcpu->cpu) = EXCP_INTERRUPT;
    uc.cpu_loop_exit_restore(vcpu->cpu, retaddr);
    return 0;
}

/* Between two instructions: the exit that the next one wants, and then the instruction itself. */
void replay_instruction(struct vcpu *vcpu)
{
    struct mpvm_exit_information *exit = &vcpu->area->control.exit;

    while (vcpu->replay_reason != 0) {
        uint64_t rip = ENV_EIP(vcpu->env);
        struct answered *known = &vcpu->replay[vcpu->replay_count];

        *known = (struct answered){exit->guest_physical_address, 0, exit->size, exit->direction};
        exit->answer = 0;
        exit_with_state(vcpu, vcpu->replay_reason);
        vcpu->replay_reason = 0;
        if (exit->answer & MPVM_ANSWER_STATE) {
            state_load(vcpu);
        }
        if (ENV_EIP(vcpu->env) != rip) {
            break; /* whoever served it goes on elsewhere */
        }
        known->data = exit->data;
        /* No instruction asks for more, but for those that fill a structure. */
        vcpu->replay_count += vcpu->replay_count + 1 < MAX_REPLAY;
        vcpu->replay_next = 0;
        vcpu->replay_step = 1;
        vcpu->leave = false;
        CPU_CFLAGS_NEXT_TB(vcpu->cpu) = 1;
        uc.uc_emu_start(vcpu->engine, rip, 0, 0, 0);
        CPU_CFLAGS_NEXT_TB(vcpu->cpu) = UINT32_MAX;
        vcpu->replay_step = 0;
    }
    vcpu->replay_count = vcpu->replay_next = 0;
    attention_raise(vcpu);
}
