// Rows of two or more threads: ping-pong, contention, a parallel job.
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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
    void (*work)(uint64_t rounds);
    uint64_t rounds;
    pthread_barrier_t barrier;
} job;

static void *worker(void *cpu)
{
    pin((int)(intptr_t)cpu);
    pthread_barrier_wait(&job.barrier);
    job.work(job.rounds);
    return NULL;
}

// Every one of `count` CPUs does so many rounds.
static void on_cpus(int count, void (*work)(uint64_t), uint64_t rounds)
{
    pthread_t threads[THREADS_MAX];

    job.work = work;
    job.rounds = rounds;
    pthread_barrier_init(&job.barrier, NULL, (unsigned int)count);
    for (int i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, worker, (void *)(intptr_t)i)) {
            fail("pthread_create");
        }
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&job.barrier);
}

static uint64_t counter __attribute__((aligned(64)));

static void add(uint64_t rounds)
{
    while (rounds--) {
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    }
}

static void contended_atomic(uint64_t rounds)
{
    on_cpus(cpus(), add, rounds / (uint64_t)cpus() + 1);
}

static char *shared_page;

static void shared_page_begin(void)
{
    shared_page = pages(4096);
    *shared_page = 1;
}

static void protect_in_turn(uint64_t rounds)
{
    while (rounds--) {
        sink += (uint64_t)*(volatile char *)shared_page;
        if (mprotect(shared_page, 4096, PROT_READ) || mprotect(shared_page, 4096, PROT_READ | PROT_WRITE)) {
            fail("mprotect");
        }
    }
}

static void mprotect_threads(uint64_t rounds)
{
    on_cpus(cpus(), protect_in_turn, rounds / (uint64_t)cpus() + 1);
}

// Numbers below each other's sieve: all in the CPU's own caches, nothing shared.
static void sieve(uint64_t rounds)
{
    enum { LIMIT = 16384 };
    uint8_t composite[LIMIT];
    uint64_t primes = 0;

    while (rounds--) {
        primes = 0;
        for (int i = 0; i < LIMIT; i++) {
            composite[i] = 0;
        }
        for (int i = 2; i < LIMIT; i++) {
            if (composite[i]) {
                continue;
            }
            primes++;
            for (int j = 2 * i; j < LIMIT; j += i) {
                composite[j] = 1;
            }
        }
    }
    sink = primes;
}

static double seconds_on(int count, uint64_t rounds)
{
    double began = now();

    on_cpus(count, sieve, rounds);
    return now() - began;
}

// How many times the work of one CPU two do in the same time: the best of three against the best of three.
static double scaling(double seconds)
{
    uint64_t rounds = 16;
    double one = 0, two = 0;

    while (seconds_on(1, rounds) < seconds / 2) {
        rounds *= 2;
    }
    for (int turn = 0; turn < 3; turn++) {
        double alone = seconds_on(1, rounds), both = seconds_on(2, rounds);

        one = turn == 0 || alone < one ? alone : one;
        two = turn == 0 || both < two ? both : two;
    }
    return 2 * one / two;
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
    {.name = "atomic", .unit = "M/s", .per_round = 1 / 1e6, .work = contended_atomic},
    {.name = "mprotect-threads",
     .unit = "pairs/s",
     .per_round = 1,
     .work = mprotect_threads,
     .begin = shared_page_begin},
    {.name = "scaling", .unit = "times", .measure = scaling, .least_cpus = 2},
    {.name = NULL},
};
