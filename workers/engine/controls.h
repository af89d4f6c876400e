/* The control block's execution and entry controls, as this vCPU has taken them over (docs/control-block.md). */
#ifndef MPVM_CONTROLS_H
#define MPVM_CONTROLS_H

#include "instruction.h"

/* The answer to an I/O exit whose instruction starts anew, since its owner has changed something. */
struct port_answer {
    bool valid;
    uint64_t data;
};

struct controls {
    struct mpvm_execution_controls set;
    uint64_t kinds;        /* a bit for each `instruction_kind` that is looked at before it runs */
    bool changed;          /* translated code is still of the controls before */
    bool reenter;          /* the entry does something between instructions */
    bool inject;           /* ... it delivers an event */
    bool stepped;          /* an instruction has run since the last monitor-trap-flag exit */
    bool served;           /* the instruction at `served_eip` has exited, and runs when it comes again */
    uint64_t served_eip;
    bool cr_served;        /* the next write of CR0 or CR4 is not masked */
    struct port_answer port;
    int announced;         /* the external interrupt that the last exit was about; -1: none */
};

#define EVENT_TYPE(type) ((uint32_t)(type) << 8)
#define ANNOUNCED_NONE (-1)
#define ANNOUNCED_EXTINT 256

/* controls.c */
struct mpvm_exit_information *control_exit_new(struct vcpu *vcpu);
uint32_t control_exit(struct vcpu *vcpu, uint32_t reason);
bool controls_restart_needed(const struct vcpu *vcpu, uint32_t answer);

/* intercept.c */
uint64_t intercepted_kinds(const struct mpvm_execution_controls *set);
uint32_t instruction_information(const struct instruction *insn);

/* intercept_cr.c */
bool cr_access_exits(struct vcpu *vcpu, const struct instruction *insn, uint64_t address, uintptr_t retaddr,
                     uint64_t *qualification);
void cr_access_served(struct vcpu *vcpu, const struct instruction *insn);
void cr_run_otherwise(struct vcpu *vcpu, const struct instruction *insn, uintptr_t retaddr);

#endif
