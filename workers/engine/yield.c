/* More vCPUs than cores: who spins gives its core to another (docs/overcommit.md). */
#include "engine.h"

#include <sched.h>

/* About as long as a vCPU that runs takes to answer an interrupt. */
#define PAUSES_PER_YIELD 8

void runnable_begin(struct vcpu *vcpu, unsigned target)
{
    __atomic_fetch_or(&vcpu->vm->runnable, 1ull << target, __ATOMIC_SEQ_CST);
}

/* Before the last look for something to do: who brings it later says that we are runnable, and wakes us. */
void runnable_end(struct vcpu *vcpu)
{
    __atomic_fetch_and(&vcpu->vm->runnable, ~vcpu->bit, __ATOMIC_SEQ_CST);
}

/* Whether a vCPU that may run where we may is waiting for a core. */
static bool overcommitted(const struct vcpu *vcpu)
{
    uint64_t runnable = __atomic_load_n(&vcpu->vm->runnable, __ATOMIC_RELAXED) & vcpu->area->rivals;

    return (unsigned)__builtin_popcountll(runnable) > vcpu->area->host_cpus;
}

/* What a guest spins for may be up to a vCPU that is preempted. With a core for each there is none: a yield would
 * give the core to some other process of the host, for a whole slice of the scheduler. */
void yield_at_pause(struct vcpu *vcpu)
{
    vcpu->area->counters.pauses++;
    if (vcpu->area->counters.pauses % PAUSES_PER_YIELD == 0 && overcommitted(vcpu)) {
        vcpu->area->counters.yields++;
        sched_yield();
    }
}
