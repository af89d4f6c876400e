// What the loads have in common.
#include "loads.h"
#include "harness.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

static const char *load_name;
static uint64_t deadline; // on CLOCK_MONOTONIC, in nanoseconds

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void set_load(const char *name, double seconds)
{
    load_name = name;
    deadline = now() + (uint64_t)(seconds * 1e9);
}

bool over(void)
{
    return now() >= deadline;
}

void fail(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    // One write: lines of loads that run side by side stay whole. No stdio: this may be a signal handler.
    char line[640];
    int length = snprintf(line, sizeof(line), "loads: %s FAILED: %s\n", load_name, text);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) {
        abort();
    }
    _exit(1);
}

int cpus(void)
{
    static int online;
    if (online == 0) {
        online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    }
    return online;
}

void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    MUST(sched_setaffinity(0, sizeof(set), &set));
    if (sched_getcpu() != cpu) {
        fail("pinned to CPU %d, runs on %d", cpu, sched_getcpu());
    }
}

struct job {
    pthread_t thread;
    int number;
    long (*body)(int number);
    long result;
};

static void *run_job(void *argument)
{
    struct job *job = argument;
    pin(job->number % cpus());
    job->result = job->body(job->number);
    return NULL;
}

long on_threads(int count, long (*body)(int number))
{
    struct job jobs[count];
    for (int number = 0; number < count; number++) {
        jobs[number] = (struct job){.number = number, .body = body};
        MUST_BE_0(pthread_create(&jobs[number].thread, NULL, run_job, &jobs[number]));
    }
    long sum = 0;
    for (int number = 0; number < count; number++) {
        MUST_BE_0(pthread_join(jobs[number].thread, NULL));
        sum += jobs[number].result;
    }
    return sum;
}

long on_processes(int count, long (*body)(int number))
{
    long *results = shared_memory((size_t)count * sizeof(*results));
    for (int number = 0; number < count; number++) {
        if (MUST(fork()) == 0) {
            pin(number % cpus());
            results[number] = body(number);
            _exit(0);
        }
    }
    long sum = 0;
    for (int number = 0; number < count; number++) {
        int status;
        MUST(wait(&status));
        if (status != 0) {
            fail("a process ended with wait status 0x%x", (unsigned)status);
        }
    }
    for (int number = 0; number < count; number++) {
        sum += results[number];
    }
    MUST(munmap(results, (size_t)count * sizeof(*results)));
    return sum;
}

void *shared_memory(size_t size)
{
    return MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

timer_t signal_every(int signal, long nanoseconds)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
    event._sigev_un._tid = gettid(); // glibc has no name for it (timer_create(2))
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec every = {{0, nanoseconds}, {0, nanoseconds}};
    MUST(timer_settime(timer, 0, &every, NULL));
    return timer;
}

uint64_t next_random(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}
