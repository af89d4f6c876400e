/* Time sharing: how long this vCPU's thread has run and has waited for a CPU of the host, and KVM's steal time, by
 * which the guest learns of the latter (Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME).
 *
 * Both come from the host's scheduler, as KVM's do. They are looked up where the guest is about to look: when the local
 * APIC's timer has run out, and after a halt.
 */
#include "engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Ticks of the guest are rarer. */
#define INTERVAL_NS 1000000u

#define KVM_FEATURE_STEAL_TIME (1u << 5)
#define STEAL_TIME_ENABLED 1ull
#define STEAL_TIME_RESERVED 0x3eull

/* struct kvm_steal_time, 64 bytes in the guest's memory */
struct steal_time {
    uint64_t steal;
    uint32_t version; /* odd: it is being written */
};

/* The first two numbers of /proc/PID/schedstat: ns on a CPU, ns waiting for one. */
static bool scheduled(struct vcpu *vcpu, uint64_t *run, uint64_t *waited)
{
    char text[96];
    ssize_t length;

    if (vcpu->schedstat_tid != vcpu->tid) {
        if (vcpu->schedstat_tid != 0) {
            close(vcpu->schedstat);
        }
        vcpu->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
        vcpu->schedstat_tid = vcpu->tid;
        vcpu->schedstat_known = false;
    }
    length = pread(vcpu->schedstat, text, sizeof(text) - 1, 0);
    if (length <= 0) {
        return false; /* a host without CONFIG_SCHED_INFO: nothing is known */
    }
    text[length] = '\0';
    return sscanf(text, "%lu %lu", run, waited) == 2;
}

/* Nobody holds code of the record's page when this returns; it is between two blocks. */
static void steal_add(struct vcpu *vcpu, uint64_t ns)
{
    uint64_t gpa = vcpu->area->control.guest.steal_time & ~(STEAL_TIME_ENABLED | STEAL_TIME_RESERVED);
    const struct ram_slot *slot = slot_of_gpa(vcpu, gpa);
    struct steal_time *record;
    uint32_t page;

    if (slot == NULL || slot->read_only) {
        return;
    }
    page = slot->first_page + (uint32_t)((gpa - slot->gpa) >> PAGE_SHIFT);
    if (!write_claim(vcpu, page)) {
        code_drop(vcpu, page);
        attention_raise(vcpu);
    }
    record = (struct steal_time *)(void *)(slot->host + (gpa - slot->gpa));
    __atomic_store_n(&record->version, record->version | 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&record->steal, record->steal + ns, __ATOMIC_SEQ_CST);
    __atomic_store_n(&record->version, record->version + 1, __ATOMIC_SEQ_CST);
}

/* Bring the counters up to date. What was stolen since they were. */
uint64_t steal_account(struct vcpu *vcpu)
{
    struct mpvm_counters *counters = &vcpu->area->counters;
    uint64_t run, waited, stolen = 0;

    if (!scheduled(vcpu, &run, &waited)) {
        return 0;
    }
    if (vcpu->schedstat_known) {
        counters->run_ns += run - vcpu->schedstat_run;
        stolen = waited - vcpu->schedstat_waited;
        counters->stolen_ns += stolen;
    }
    vcpu->schedstat_known = true;
    vcpu->schedstat_run = run;
    vcpu->schedstat_waited = waited;
    return stolen;
}

/* In the guest, between two blocks. */
void steal_update(struct vcpu *vcpu)
{
    uint64_t now = monotonic_ns(), stolen;

    vcpu->steal_due = false;
    if (now - vcpu->steal_looked_ns < INTERVAL_NS) {
        return;
    }
    vcpu->steal_looked_ns = now;
    stolen = steal_account(vcpu);
    if (vcpu->engine != NULL && (vcpu->area->control.guest.steal_time & STEAL_TIME_ENABLED)) {
        steal_add(vcpu, stolen);
    }
}

void steal_close(struct vcpu *vcpu)
{
    if (vcpu->schedstat_tid != 0) {
        close(vcpu->schedstat);
    }
}

static bool has_steal_time(const struct vcpu *vcpu)
{
    return (vcpu->area->features[MPVM_FEATURE_WORD_KVM] & KVM_FEATURE_STEAL_TIME) != 0;
}

/* False: #GP. */
bool steal_msr_read(const struct vcpu *vcpu, uint64_t *value)
{
    *value = vcpu->area->control.guest.steal_time;
    return has_steal_time(vcpu);
}

bool steal_msr_write(struct vcpu *vcpu, uint64_t value)
{
    if (!has_steal_time(vcpu) || (value & STEAL_TIME_RESERVED)) {
        return false;
    }
    vcpu->area->control.guest.steal_time = value;
    vcpu->steal_due = true;
    vcpu->steal_looked_ns = 0;
    attention_raise(vcpu);
    return true;
}
