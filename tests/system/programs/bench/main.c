// bench MILLISECONDS [ROW...]   all rows, or these, each for about so long
//
// A line a row, `bench NAME VALUE UNIT`. The clock is CLOCK_MONOTONIC; `bench clock SECONDS` at both ends
// lets the host hold it against its own.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

volatile uint64_t sink;

static const struct row *const tables[] = {compute_rows, memory_rows, kernel_rows, thread_rows};

enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void fail(const char *what)
{
    printf("bench failed: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

int cpus(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fail("sched_setaffinity");
    }
}

static void unpin(void)
{
    cpu_set_t set;

    memset(&set, 0xff, sizeof(set));
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fail("sched_setaffinity");
    }
}

void *pages(uint64_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        fail("mmap");
    }
    // Fails where the kernel has no larger ones, and is not needed there.
    (void)madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

static double seconds_for(const struct row *row, uint64_t rounds)
{
    double began = now();

    row->work(rounds);
    return now() - began;
}

// More rounds each time until they last, which also warms everything up; then as many again, and the faster
// of the two counts. If the second did not last, it was the host that made the first slow.
static double rate(const struct row *row, double seconds)
{
    uint64_t rounds = 1;

    for (;;) {
        double took = seconds_for(row, rounds);

        if (took >= seconds / 3) {
            double again = seconds_for(row, rounds);

            if (again >= seconds / 6) {
                return (double)rounds * row->per_round / (took < again ? took : again);
            }
            took = again;
        }
        rounds = took < seconds / 64 ? rounds * 8 : (uint64_t)((double)rounds * seconds / 2 / took) + 1;
    }
}

static void run(const struct row *row, double seconds)
{
    double value;

    if (row->begin != NULL) {
        row->begin();
    }
    value = row->measure != NULL ? row->measure(seconds) : rate(row, seconds);
    if (row->end != NULL) {
        row->end();
    }
    unpin();
    printf("bench %s %.6g %s\n", row->name, value, row->unit);
    fflush(stdout);
}

static const struct row *row_called(const char *name)
{
    for (int table = 0; table < TABLES; table++) {
        for (const struct row *row = tables[table]; row->name != NULL; row++) {
            if (strcmp(row->name, name) == 0) {
                return row;
            }
        }
    }
    return NULL;
}

static void print_clock(void)
{
    printf("bench clock %.6f s\n", now());
    fflush(stdout);
}

static void run_all(double seconds)
{
    for (int table = 0; table < TABLES; table++) {
        for (const struct row *row = tables[table]; row->name != NULL; row++) {
            if (cpus() >= row->least_cpus) {
                run(row, seconds);
            }
        }
    }
}

int main(int count, char **words)
{
    double seconds = count > 1 ? atof(words[1]) / 1000 : 0;

    // What the row fork-exec starts.
    if (count == 2 && strcmp(words[1], "--true") == 0) {
        return 0;
    }
    if (seconds <= 0) {
        fprintf(stderr, "usage: bench MILLISECONDS [ROW...]\n");
        return 2;
    }
    for (int word = 2; word < count; word++) {
        if (row_called(words[word]) == NULL || cpus() < row_called(words[word])->least_cpus) {
            fprintf(stderr, "bench: no row %s on %d CPUs\n", words[word], cpus());
            return 2;
        }
    }
    print_clock();
    if (count == 2) {
        run_all(seconds);
    }
    for (int word = 2; word < count; word++) {
        run(row_called(words[word]), seconds);
    }
    print_clock();
    return 0;
}
