// Time never goes back, from CPU to CPU: no clock of the kernel, nor the TSC. Who sleeps sleeps long enough.
#include "loads.h"

#include <x86intrin.h>

enum { CLOCKS = 3, READS = 1000, SLEEP_NANOSECONDS = 300000 };

static const clockid_t clocks[CLOCKS] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};

// The latest that any CPU has seen; the last one is of the TSC.
static _Alignas(64) atomic_ulong latest[CLOCKS + 1];

static unsigned long nanoseconds(clockid_t clock)
{
    struct timespec time;
    MUST(clock_gettime(clock, &time));
    return (unsigned long)time.tv_sec * 1000000000 + (unsigned long)time.tv_nsec;
}

static unsigned long read_clock(int clock)
{
    if (clock < CLOCKS) {
        return nanoseconds(clocks[clock]);
    }
    _mm_lfence();
    unsigned long ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static void look(int clock)
{
    unsigned long before = atomic_load(&latest[clock]);
    unsigned long now = read_clock(clock);
    if (now < before) {
        fail("clock %d is %lu after %lu", clock, now, before);
    }
    while (before < now && !atomic_compare_exchange_weak(&latest[clock], &before, now)) {
    }
}

static void sleep_a_little(void)
{
    unsigned long until = nanoseconds(CLOCK_MONOTONIC) + SLEEP_NANOSECONDS;
    struct timespec target = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    MUST_BE_0(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &target, NULL));
    unsigned long now = nanoseconds(CLOCK_MONOTONIC);
    if (now < until) {
        fail("woken %lu ns too early", until - now);
    }
}

static long play(int number)
{
    (void)number;
    long rounds = 0;
    for (; !over(); rounds += READS) {
        for (int i = 0; i < READS; i++) {
            look(i % (CLOCKS + 1));
        }
        sleep_a_little();
    }
    return rounds;
}

long clock_load(void)
{
    return on_threads(cpus() < 2 ? 2 : cpus(), play);
}
