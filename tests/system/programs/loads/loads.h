// Loads that check themselves. Each runs rounds until the time is over and returns how many it did. Whatever
// is wrong ends the load with fail(): its process, and all that it has started, are then killed.
#ifndef LOADS_H
#define LOADS_H

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// In the order of main.c's table; each in the file of its name.
long futex_load(void);
long pipe_load(void);
long stream_load(void);
long forkexec_load(void);
long cow_load(void);
long mmap_load(void);
long shootdown_load(void);
long jit_load(void);
long publish_load(void);
long patch_load(void);
long signal_load(void);
long state_load(void);
long atomics_load(void);
long rseq_load(void);
long ptrace_load(void);
long clock_load(void);
long compat_load(void);

// What forkexec_load() executes; returns the exit status.
int forkexec_child(const char *word);

// Ends the load: what was wrong, what would have been right.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// `call` must not give -1.
#define MUST(call)                                                                                           \
    ({                                                                                                       \
        __typeof__(call) must_result = (call);                                                               \
        if (must_result == (__typeof__(must_result))-1) {                                                    \
            fail("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno));                               \
        }                                                                                                    \
        must_result;                                                                                         \
    })

// The pthread functions return the error.
#define MUST_BE_0(call)                                                                                      \
    do {                                                                                                     \
        int must_error = (call);                                                                             \
        if (must_error != 0) {                                                                               \
            fail("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(must_error));                          \
        }                                                                                                    \
    } while (0)

// Is the time of this load over?
bool over(void);

// CPUs that are online, numbered from 0.
int cpus(void);

// The calling thread runs on `cpu` alone, from here on.
void pin(int cpu);

// `count` threads, each with its number from 0, pinned to CPU number % cpus(); returns the sum of their
// results when all have ended.
long on_threads(int count, long (*body)(int number));

// The same with processes, which share only what is mapped shared.
long on_processes(int count, long (*body)(int number));

// Memory that the processes of a load share, zeroed.
void *shared_memory(size_t size);

// The calling thread gets `signal` every so many nanoseconds, until timer_delete().
timer_t signal_every(int signal, long nanoseconds);

// splitmix64 (Steele, Lea, Flood 2014): `state` is any number.
uint64_t next_random(uint64_t *state);

#endif
