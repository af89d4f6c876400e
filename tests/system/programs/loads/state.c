// Threads, three a CPU, hold random contents in all their registers while they are preempted, interrupted by
// signals whose handlers overwrite them, and moved from CPU to CPU. Each has a GS base of its own, too.
#include "loads.h"
#include "hold.h"

#include <asm/prctl.h>
#include <signal.h>
#include <sys/syscall.h>

enum { SPINS = 20000, SIGNAL_NANOSECONDS = 4000000 };

static void on_timer(int number)
{
    static _Atomic uint64_t seed;
    (void)number;
    clobber(atomic_fetch_add(&seed, 1));
}

static void hold_for_a_while(uint64_t *random)
{
    static const long calls[] = {SYS_sched_yield, SYS_getpid, SYS_gettid};
    struct held wanted;
    randomize(&wanted, random);
    hold(&wanted, next_random(random) % SPINS, calls[next_random(random) % 3]);
}

static long play(int number)
{
    uint64_t random = (uint64_t)number;
    uint64_t own_word = next_random(&random);
    const uint64_t right_word = own_word;
    MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &own_word));
    timer_t timer = signal_every(SIGRTMIN, SIGNAL_NANOSECONDS);
    long rounds = 0;
    for (; !over(); rounds++) {
        hold_for_a_while(&random);
        uint64_t found;
        __asm__ volatile("movq %%gs:0, %0" : "=r"(found));
        if (found != right_word) {
            fail("GS:0 is 0x%lx: 0x%lx is right", found, right_word);
        }
        if (rounds % 8 == 0) {
            pin((int)(next_random(&random) % (uint64_t)cpus()));
        }
    }
    MUST(timer_delete(timer));
    MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
    return rounds;
}

long state_load(void)
{
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGRTMIN, &action, NULL));
    return on_threads(3 * cpus(), play);
}
