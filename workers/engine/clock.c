/* Time: CLOCK_MONOTONIC for the APIC timer, the host's TSC (plus the VM's offset) for the guest's TSC.
 *
 * All workers read the same host TSC, so the guests' TSCs agree between vCPUs by construction.
 */
#include "engine.h"

#include <x86intrin.h>

uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t host_tsc(void)
{
    /* LFENCE: the read must not pass an earlier load that saw another vCPU's later TSC. */
    _mm_lfence();
    return __rdtsc();
}

uint64_t guest_tsc(const struct vcpu *vcpu)
{
    return host_tsc() + (uint64_t)vcpu->vm->tsc_offset + vcpu->tsc_adjust + vcpu->tsc_offset;
}

uint64_t tsc_to_ns(struct vcpu *vcpu, uint64_t ticks)
{
    uint64_t ns = monotonic_ns() - vcpu->ns_sample;
    uint64_t tsc = host_tsc() - vcpu->tsc_sample;

    return tsc == 0 ? 0 : (uint64_t)((unsigned __int128)ticks * ns / tsc);
}
