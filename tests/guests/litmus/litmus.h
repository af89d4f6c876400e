/* What the litmus guests share: CPUs that come together for each round, but never wait long for one that
 * the host does not run, and a source of different timings. */
#ifndef TEST_LITMUS_H
#define TEST_LITMUS_H

#include <stdint.h>

#include "machine.h"

#define CACHE_LINE 64

enum {
	/* What a CPU may wait for the others in all rounds of a batch together: long for two or three, which often
	 * have a core each, and short for all, which seldom have. */
	LOOKS_OF_FEW = 500000,
	LOOKS_OF_ALL = 1000,
	/* From the last's arrival to the start, in TSC ticks: the news has to get round. */
	START_TICKS = 2000,
};

/* How far a CPU is, and when it got there; on a line of its own. */
struct progress {
	uint64_t round, arrival;
	uint64_t looks_left;
	uint64_t together; /* rounds in which all were there */
} __attribute__((aligned(CACHE_LINE)));

static inline void begin_batch(struct progress *all, int count, uint64_t looks)
{
	for (int i = 0; i < count; i++)
		all[i] = (struct progress){ .looks_left = looks };
}

/* Says that `me` has come to `round`, which counts from 1, and waits for the others: all go on at one time by the
 * TSC, since by a flag the last that comes would always be the first to go. A CPU that has waited too often goes
 * on alone. A round without the others is no error: it is merely a round in which nothing overlaps. */
static inline void meet(struct progress *all, int count, int me, uint64_t round)
{
	__atomic_store_n(&all[me].arrival, read_tsc(), __ATOMIC_RELAXED);
	__atomic_store_n(&all[me].round, round, __ATOMIC_RELEASE);
	for (;;) {
		uint64_t last = 0;
		int here = 0, ahead = 0;

		for (int i = 0; i < count; i++) {
			uint64_t theirs = __atomic_load_n(&all[i].round, __ATOMIC_ACQUIRE);

			here += theirs == round;
			ahead += theirs > round;
			last = all[i].arrival > last ? all[i].arrival : last;
		}
		if (here == count) {
			while (read_tsc() - last < START_TICKS)
				;
			all[me].together++;
			return;
		}
		if (ahead || !all[me].looks_left)
			return;
		all[me].looks_left--;
	}
}

/* Marsaglia's xorshift64; the state must not be 0. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A short time of `length` loops. */
static inline void linger(uint64_t length)
{
	for (; length; length--)
		__asm__ volatile("" : : : "memory");
}

#endif
