/* Ports that exit because an execution control says so (SDM vol. 3, 24.6.4): in the middle of IN and OUT, where the
 * machine's own do. */
#include "controls.h"

bool port_exits(const struct vcpu *vcpu, uint32_t port, unsigned size)
{
    const struct mpvm_execution_controls *set = &vcpu->controls->set;

    if (!(set->processor_based & MPVM_PROCESSOR_BASED_USE_IO_BITMAPS)) {
        return true;
    }
    for (uint32_t at = port; at < port + size; at++) {
        if (at >= 0x10000 || (set->io_bitmap[at / 8] >> at % 8 & 1)) {
            return true;
        }
    }
    return false;
}

/* An instruction's port access exits, its registers saved; what was read. */
uint64_t port_control_exit(struct vcpu *vcpu, uint8_t direction, uint32_t port, unsigned size, uint64_t value,
                           uintptr_t retaddr)
{
    enum { IN = 1u << 3, STRING = 1u << 4, REPEATED = 1u << 5, IMMEDIATE = 1u << 6 };
    struct port_answer *kept = &vcpu->controls->port;
    CPUX86State *env = vcpu->env;
    struct mpvm_exit_information *exit;
    struct instruction insn;
    uint32_t answer;

    if (kept->valid) {
        kept->valid = false;
        attention_raise(vcpu);
        return kept->data;
    }
    uc.cpu_restore_state(vcpu->cpu, retaddr, false);
    exit = control_exit_new(vcpu);
    if (instruction_decode(env, ENV_SEGS(env)[R_CS].base + ENV_EIP(env), &insn)) {
        exit->instruction_length = insn.length;
        exit->qualification |= (insn.string ? STRING : 0) | (insn.repeat ? REPEATED : 0) |
                               (insn.immediate_port ? IMMEDIATE : 0);
        if (insn.string) {
            exit->guest_linear_address = instruction_address(vcpu, &insn, 0);
            exit->instruction_information = instruction_information(&insn);
        }
    }
    exit->qualification |= (size - 1) | (direction == MPVM_IO_IN ? IN : 0) | (uint64_t)port << 16;
    exit->direction = direction;
    exit->size = (uint8_t)size;
    exit->port = (uint16_t)port;
    exit->guest_physical_address = port;
    exit->count = 1;
    exit->data = value;
    answer = control_exit(vcpu, MPVM_EXIT_IO);
    a20_update(vcpu);
    if (controls_restart_needed(vcpu, answer)) {
        *kept = (struct port_answer){.valid = !(answer & MPVM_ANSWER_DONE), .data = exit->data};
        uc.cpu_loop_exit_noexc(vcpu->cpu);
    }
    return exit->data;
}

/* Between blocks: the instruction whose port has been answered comes first, alone. */
bool controls_port_again(struct vcpu *vcpu)
{
    if (!vcpu->controls->port.valid) {
        return false;
    }
    controls_settle(vcpu);
    atomic_store(vcpu->attention, 0);
    vcpu->irr_pending = true;
    CPU_CFLAGS_NEXT_TB(vcpu->cpu) = 1;
    return true;
}
