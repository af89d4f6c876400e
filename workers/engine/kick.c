/* Kicks: a store to a word that the engine tests, or a signal whose handler does that store; the local APIC's host
 * timer, and futexes. */
#include "engine.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1
/* The engine's own, so that a program that has several vCPUs in its threads may use the other as it likes. */
#define ENGINE_SIGNAL (SIGRTMIN + 8)

/* `self` is thread-local, and a worker process's kick may come to any of its threads: this is its one vCPU. */
static struct vcpu *only_vcpu;
static _Thread_local uint32_t this_tid;

SIGNAL_SAFE void attention_raise(struct vcpu *vcpu)
{
    atomic_store(vcpu->attention, 1);
    if (vcpu->immediate_exit != NULL) {
        *vcpu->immediate_exit = 1;
    }
}

static void *attention_page(const struct vcpu *vcpu)
{
    return (void *)((uintptr_t)vcpu->attention & ~(uintptr_t)(PAGE_BYTES - 1));
}

/* Translated code tests a word of the engine's own memory at each block's start. Other processes shall set it by a
 * store, which costs neither them nor us a system call: the page that it is in becomes the last one of our area. The
 * whole page is inside the engine's CPU structure, so no other thread uses it. */
bool attention_share(struct vcpu *vcpu)
{
    uint32_t at = (uint32_t)vcpu->vm->vcpu_stride - PAGE_BYTES;
    uint8_t *shared = (uint8_t *)vcpu->area + at;
    void *page;

    page = attention_page(vcpu);
    memcpy(shared, page, PAGE_BYTES);
    /* An old size of 0 asks for a second mapping of the same memory, mremap(2). */
    if (mremap(shared, 0, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, page) == MAP_FAILED) {
        return false;
    }
    vcpu->area->attention_at = at + (uint32_t)((uintptr_t)vcpu->attention % PAGE_BYTES);
    return true;
}

/* What the engine gives back to the allocator is memory of its own again. */
void attention_unshare(struct vcpu *vcpu)
{
    uint8_t content[PAGE_BYTES];
    void *page = attention_page(vcpu);

    vcpu->area->attention_at = 0;
    memcpy(content, page, PAGE_BYTES);
    if (mmap(page, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
        memcpy(page, content, PAGE_BYTES);
    }
}

/* The word of a vCPU in another process. One without an engine has none: the hardware runs it until a signal comes. */
static void attention_raise_in(struct mpvm_vcpu_area *area)
{
    if (area->attention_at == 0) {
        syscall(SYS_tgkill, area->pid, area->tid, ENGINE_SIGNAL);
    } else {
        __atomic_store_n((uint32_t *)(void *)((uint8_t *)area + area->attention_at), 1, __ATOMIC_SEQ_CST);
    }
}

SIGNAL_SAFE static void kick_handler(int signal_number)
{
    struct vcpu *vcpu = self != NULL ? self : only_vcpu;

    (void)signal_number;
    if (vcpu == NULL || vcpu->area == NULL) {
        return; /* there is none, or one that is just being made: it may be another's timer that signals */
    }
    /* A vCPU on its way into a futex wait must see the word changed. */
    __atomic_fetch_add(&vcpu->area->wake, 1, __ATOMIC_SEQ_CST);
    vcpu->area->counters.kicks++;
    STEP(kicked);
    attention_raise(vcpu);
}

/* This thread runs the vCPU from now on: its timer has to signal it. */
bool kick_adopt(struct vcpu *vcpu)
{
    struct sigevent event;

    if (this_tid == 0) {
        this_tid = (uint32_t)syscall(SYS_gettid);
    }
    if (vcpu->tid == this_tid) {
        return true;
    }
    memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = ENGINE_SIGNAL;
    event._sigev_un._tid = (pid_t)this_tid;
    if (vcpu->tid != 0) {
        timer_delete(vcpu->timer);
    }
    vcpu->tid = timer_create(CLOCK_MONOTONIC, &event, &vcpu->timer) == 0 ? this_tid : 0;
    if (vcpu->attached) {
        vcpu->area->tid = vcpu->tid;
    }
    vcpu->timer_armed_ns = 0;
    if (vcpu->tid != 0) {
        timer_arm(vcpu, vcpu->apic_timer_ns);
    }
    return vcpu->tid != 0;
}

/* Others reach the vCPU by what its area says: from now on that is us. */
void kick_attach(struct vcpu *vcpu)
{
    vcpu->attached = true;
    vcpu->area->pid = (uint32_t)getpid();
    vcpu->area->tid = vcpu->tid;
    /* What the thread has done until now was not the vCPU's. */
    steal_account(vcpu);
}

bool kick_init(struct vcpu *vcpu)
{
    /* No SA_RESTART: who sleeps on a futex has to look whether it shall stop. */
    struct sigaction action = {.sa_handler = kick_handler}, old;

    if (only_vcpu == NULL) {
        only_vcpu = vcpu;
    }
    sigemptyset(&action.sa_mask);
    if (sigaction(ENGINE_SIGNAL, &action, NULL) != 0 || sigaction(KICK_SIGNAL, NULL, &old) != 0) {
        return false;
    }
    /* Who has a handler for it is a program that kicks by engine_kick(). */
    if (old.sa_handler == SIG_DFL && sigaction(KICK_SIGNAL, &action, NULL) != 0) {
        return false;
    }
    return kick_adopt(vcpu);
}

void kick_deinit(struct vcpu *vcpu)
{
    if (only_vcpu == vcpu) {
        only_vcpu = NULL;
    }
    if (vcpu->tid != 0) {
        timer_delete(vcpu->timer);
    }
}

/* From another thread: look at the requests and the inbox. */
ENGINE_EXPORT void engine_kick(struct vcpu *vcpu)
{
    kick_area(vcpu->area);
}

/* Make another vCPU look at its inbox and its mail, wherever it is. */
void kick_area(struct mpvm_vcpu_area *area)
{
    STEP(kick);
    switch (__atomic_load_n(&area->mode, __ATOMIC_SEQ_CST)) {
    case MPVM_MODE_IN_GUEST:
        STEP(kick_guest);
        attention_raise_in(area);
        break;
    case MPVM_MODE_HALTED:
    case MPVM_MODE_WAIT_FOR_SIPI:
        STEP(kick_wake);
        __atomic_fetch_add(&area->wake, 1, __ATOMIC_SEQ_CST);
        futex_wake(&area->wake, 1);
        break;
    default:
        /* It looks before it enters. */
        break;
    }
}

void kick_vcpu(struct vcpu *vcpu, unsigned target)
{
    struct mpvm_vcpu_area *area = vcpu_area(vcpu, target);

    if (target == vcpu->index) {
        attention_raise(vcpu);
        return;
    }
    if (__atomic_load_n(&area->mode, __ATOMIC_SEQ_CST) != MPVM_MODE_IN_GUEST) {
        /* Before it says so itself: it may have to wait for our core, and we may spin until it has run. */
        runnable_begin(vcpu, target);
    }
    kick_area(area);
}

static void timer_set(struct vcpu *vcpu, uint64_t deadline_ns)
{
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(deadline_ns / 1000000000u), .tv_nsec = (long)(deadline_ns % 1000000000u)},
    };

    if (deadline_ns == vcpu->timer_armed_ns) {
        return;
    }
    /* One that will come earlier need not be moved, which is a system call: guests push their timers on and on. When
     * it comes, lapic_timer_check() arms it for what is still to wait for. */
    if (vcpu->timer_armed_ns != 0 && vcpu->timer_armed_ns < deadline_ns && vcpu->preemption_ns == 0 &&
        monotonic_ns() < vcpu->timer_armed_ns) {
        return;
    }
    vcpu->timer_armed_ns = deadline_ns;
    timer_settime(vcpu->timer, TIMER_ABSTIME, &spec, NULL);
}

/* For the local APIC's timer; 0: it is off. The preemption timer is the same host timer. */
void timer_arm(struct vcpu *vcpu, uint64_t deadline_ns)
{
    vcpu->apic_timer_ns = deadline_ns;
    if (vcpu->preemption_ns != 0 && (deadline_ns == 0 || vcpu->preemption_ns < deadline_ns)) {
        deadline_ns = vcpu->preemption_ns;
    }
    timer_set(vcpu, deadline_ns);
}

/* The local APIC's deadline has passed, and there is none after it. */
void timer_expired(struct vcpu *vcpu)
{
    vcpu->timer_armed_ns = 0;
    vcpu->apic_timer_ns = 0;
    if (vcpu->preemption_ns != 0) {
        timer_arm(vcpu, 0);
    }
}

void futex_wait(void *word, uint32_t value, const struct timespec *deadline)
{
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(void *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void doorbell_ring(struct vcpu *vcpu)
{
    const uint64_t one = 1;

    /* An eventfd takes 8 bytes at once or its counter is at its limit; then the coordinator is awake anyway. */
    while (write(vcpu->doorbell, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}
