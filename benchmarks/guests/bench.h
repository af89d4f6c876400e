/* How a guest of the benchmarks measures: by the TSC, which runs with the host's time on mpvm and on QEMU's TCG,
 * at a rate that the ACPI PM timer tells. Prints `bench NAME VALUE UNIT` a row. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>

#include "console.h"
#include "machine.h"
#include "power.h"
#include "timer.h"

enum { CALIBRATION_US = 50000, SAMPLES_MAX = 20000 };

/* Weak, so that all sources of a guest share one of each. */
__attribute__((weak)) uint64_t tsc_ticks, tsc_us;
__attribute__((weak)) uint32_t samples[SAMPLES_MAX];
__attribute__((weak)) uint32_t sample_count;

/* Before anything is measured. */
static inline void bench_calibrate(void)
{
	struct stopwatch watch;
	uint64_t started;

	stopwatch_start(&watch);
	started = read_tsc();
	do {
		tsc_us = stopwatch_us(&watch);
		tsc_ticks = read_tsc() - started;
	} while (tsc_us < CALIBRATION_US);
}

static inline uint64_t ticks_to_ns(uint64_t ticks)
{
	return ticks * (tsc_us * 1000) / tsc_ticks;
}

static inline void bench_row(const char *name, uint64_t value, const char *unit)
{
	print("bench %s %lu %s\n", name, value, unit);
}

/* One more measurement of the row that bench_samples() ends. What takes longer than 4 s counts as 4 s. */
static inline void bench_sample(uint64_t ticks)
{
	uint64_t ns = ticks_to_ns(ticks);

	if (sample_count < SAMPLES_MAX)
		samples[sample_count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* Heap sort. */
static inline void sort_samples(void)
{
	uint32_t start = sample_count / 2, end = sample_count;

	while (end > 1) {
		uint32_t root, child, value;

		if (start > 0) {
			root = --start;
		} else {
			value = samples[--end];
			samples[end] = samples[0];
			samples[0] = value;
			root = 0;
		}
		value = samples[root];
		while ((child = 2 * root + 1) < end) {
			child += child + 1 < end && samples[child] < samples[child + 1];
			if (value >= samples[child])
				break;
			samples[root] = samples[child];
			root = child;
		}
		samples[root] = value;
	}
}

/* Two rows of the samples so far, NAME-median and NAME-p99; forgets them. */
static inline void bench_samples(const char *name)
{
	if (sample_count == 0)
		panic("%s: nothing was measured", name);
	sort_samples();
	print("bench %s-median %lu ns\n", name, (uint64_t)samples[sample_count / 2]);
	print("bench %s-p99 %lu ns\n", name, (uint64_t)samples[(uint64_t)sample_count * 99 / 100]);
	sample_count = 0;
}

#endif
