// Rows of two or more threads: ping-pong, contention, a parallel job.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { THREADS_MAX = 64 };

// -- ping-pong -----------------------------------------------------------------------------------

// This end is on CPU 0, the other on `other_cpu`.
static int other_cpu;

static void here(void)
{
    pin(0);
    other_cpu = 0;
}

static void across(void)
{
    pin(0);
    other_cpu = 1;
}

static void pipe_ping_pong(uint64_t rounds)
{
    int there[2], back[2];
    pid_t child;
    char byte = 1;

    if (pipe(there) || pipe(back)) {
        fail("pipe");
    }
    child = fork();
    if (!child) {
        pin(other_cpu);
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            if (write(back[1], &byte, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    while (rounds--) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
            fail("ping-pong");
        }
    }
    close(there[1]);
    if (child < 0 || waitpid(child, NULL, 0) != child) {
        fail("child");
    }
    close(there[0]);
    close(back[0]);
    close(back[1]);
}

static uint32_t turn;
static uint64_t turns;

// Hands the turn over and waits to have it again.
static void take_turns(uint32_t mine)
{
    for (uint64_t i = 0; i < turns; i++) {
        uint32_t seen;

        while ((seen = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != mine) {
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        }
        __atomic_store_n(&turn, !mine, __ATOMIC_RELEASE);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void *second_player(void *unused)
{
    pin(other_cpu);
    take_turns(1);
    return unused;
}

static void futex_ping_pong(uint64_t rounds)
{
    pthread_t thread;

    turn = 0;
    turns = rounds;
    if (pthread_create(&thread, NULL, second_player, NULL)) {
        fail("pthread_create");
    }
    take_turns(0);
    pthread_join(thread, NULL);
}

// -- all CPUs at once ----------------------------------------------------------------------------

static struct {
    void (*work)(void);
    // Each CPU does so many rounds, or goes on until it is over.
    uint64_t rounds;
    bool over;
    uint64_t done;
    pthread_barrier_t start;
} job;

static void *worker(void *cpu)
{
    uint64_t done = 0;

    pin((int)(intptr_t)cpu);
    pthread_barrier_wait(&job.start);
    do {
        job.work();
        done++;
    } while (job.rounds != 0 ? done < job.rounds : !__atomic_load_n(&job.over, __ATOMIC_RELAXED));
    __atomic_fetch_add(&job.done, done, __ATOMIC_RELAXED);
    return NULL;
}

// `count` CPUs do so many rounds each or, when there are none given, as many as they get done in that time
// and at least one. Returns the rounds of all in a second.
static double rate_on(int count, void (*work)(void), uint64_t rounds, double seconds)
{
    struct timespec nap = {.tv_sec = (time_t)seconds,
                           .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    pthread_t threads[THREADS_MAX];
    double began;

    job.work = work;
    job.rounds = rounds;
    job.over = false;
    job.done = 0;
    pthread_barrier_init(&job.start, NULL, (unsigned int)count + 1);
    for (int i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, worker, (void *)(intptr_t)i) != 0) {
            fail("pthread_create");
        }
    }
    pthread_barrier_wait(&job.start);
    began = now();
    if (rounds == 0) {
        nanosleep(&nap, NULL);
        __atomic_store_n(&job.over, true, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&job.start);
    return (double)job.done / (now() - began);
}

enum { ADDS = 1000 };

static uint64_t counter __attribute__((aligned(64)));

static void add(void)
{
    for (int i = 0; i < ADDS; i++) {
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    }
}

static double contended_atomic(double seconds)
{
    return rate_on(cpus(), add, 0, seconds) * ADDS / 1e6;
}

static char *shared_page;

// All CPUs have the page in their TLBs: the kernel waits until each has answered an IPI.
static void protect(void)
{
    (void)*(volatile char *)shared_page;
    if (mprotect(shared_page, PAGE, PROT_READ) != 0 ||
        mprotect(shared_page, PAGE, PROT_READ | PROT_WRITE) != 0) {
        fail("mprotect");
    }
}

static double mprotect_threads(double seconds)
{
    double pairs;

    shared_page = pages(PAGE);
    *shared_page = 1;
    pairs = rate_on(cpus(), protect, 0, seconds);
    munmap(shared_page, PAGE);
    return pairs;
}

// Nothing is shared, and all of it is in the CPU's own caches.
static void sieve(void)
{
    enum { LIMIT = 16384 };
    uint8_t composite[LIMIT];
    uint64_t primes = 0;

    memset(composite, 0, sizeof(composite));
    for (int i = 2; i < LIMIT; i++) {
        if (composite[i]) {
            continue;
        }
        primes++;
        for (int j = 2 * i; j < LIMIT; j += i) {
            composite[j] = 1;
        }
    }
    sink = primes;
}

// How many times the rate of one CPU two have at the same job: the best of three against the best of three.
static double scaling(double seconds)
{
    uint64_t rounds = (uint64_t)(rate_on(1, sieve, 0, seconds / 4) * seconds / 2) + 1;
    double one = 0, two = 0;

    for (int turn = 0; turn < 3; turn++) {
        double alone = rate_on(1, sieve, rounds, 0), both = rate_on(2, sieve, rounds, 0);

        one = alone > one ? alone : one;
        two = both > two ? both : two;
    }
    return two / one;
}

const struct row thread_rows[] = {
    {.name = "pipe-same-cpu", .unit = "/s", .per_round = 1, .work = pipe_ping_pong, .begin = here},
    {.name = "pipe-across",
     .unit = "/s",
     .per_round = 1,
     .work = pipe_ping_pong,
     .begin = across,
     .least_cpus = 2},
    {.name = "futex-same-cpu", .unit = "/s", .per_round = 1, .work = futex_ping_pong, .begin = here},
    {.name = "futex-across",
     .unit = "/s",
     .per_round = 1,
     .work = futex_ping_pong,
     .begin = across,
     .least_cpus = 2},
    {.name = "atomic", .unit = "M/s", .measure = contended_atomic},
    {.name = "mprotect-threads", .unit = "pairs/s", .measure = mprotect_threads},
    {.name = "scaling", .unit = "times", .measure = scaling, .least_cpus = 2},
    {.name = NULL},
};
