// The rows of work that are measured inside Linux.
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#define PAGE 4096

struct row {
    const char *name;
    const char *unit;
    // What one round counts for in that unit, a second.
    double per_round;
    // Does so many rounds.
    void (*work)(uint64_t rounds);
    // Before the first round and after the last; may be absent.
    void (*begin)(void);
    void (*end)(void);
    // In the place of these three where the value is no rate: gives it after about so many seconds.
    double (*measure)(double seconds);
    int least_cpus;
};

// Each ends with a row that has no name.
extern const struct row compute_rows[], memory_rows[], kernel_rows[], thread_rows[];

// Where results go that nobody reads, so that no compiler leaves the work out.
extern volatile uint64_t sink;

// Seconds on CLOCK_MONOTONIC.
double now(void);

// Says what went wrong, with errno's text, and ends.
_Noreturn void fail(const char *what);

// From here on the calling thread runs on `cpu` alone.
void pin(int cpu);

// CPUs that are online, numbered from 0.
int cpus(void);

// Zeroed memory in pages of 4 KiB, whatever larger ones the kernel has.
void *pages(uint64_t size);

#endif
