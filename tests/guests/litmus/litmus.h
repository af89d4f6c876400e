/* What the litmus guests share: CPUs that come together for each round, but never wait long for one that
 * the host does not run, and a source of different timings. */
#ifndef TEST_LITMUS_H
#define TEST_LITMUS_H

#include <stdint.h>

#include "guest.h"
#include "machine.h"

#define CACHE_LINE 64

enum {
	/* What a CPU may wait for the others in all rounds of a batch together, in TSC ticks: long for two or three, which
	 * often have a core each, and short for all, which seldom have. */
	PATIENCE_OF_FEW = 40000000,
	PATIENCE_OF_ALL = 200000,
	/* Who has not come by then is likely to wait for our core. */
	PATIENCE_BEFORE_PAUSES = 20000,
	/* From the last's arrival to the start, in TSC ticks: the news has to get round. */
	START_TICKS = 2000,
};

/* How often something is done: the option `name`, or what `times=` and `part=` make of the default, by which all counts
 * of a guest grow and shrink together. */
static inline uint64_t count_option(const char *name, uint64_t by_default)
{
	uint64_t count = by_default * option("times", 1) / option("part", 1);

	return option(name, count ? count : 1);
}

/* How far a CPU is, and when it got there; on a line of its own. */
struct progress {
	uint64_t round, arrival;
	uint64_t patience;
	uint64_t together; /* rounds in which all were there */
} __attribute__((aligned(CACHE_LINE)));

static inline void begin_batch(struct progress *all, int count, uint64_t patience)
{
	for (int i = 0; i < count; i++)
		all[i] = (struct progress){ .patience = patience };
}

/* Says that `me` has come to `round`, which counts from 1, and waits for the others: all go on at one time by the
 * TSC, since by a flag the last that comes would always be the first to go. A CPU that has waited too often goes
 * on alone. A round without the others is no error: it is merely a round in which nothing overlaps. */
static inline void meet(struct progress *all, int count, int me, uint64_t round)
{
	uint64_t arrival = read_tsc();

	__atomic_store_n(&all[me].arrival, arrival, __ATOMIC_RELAXED);
	__atomic_store_n(&all[me].round, round, __ATOMIC_RELEASE);
	for (;;) {
		uint64_t last = 0, waited;
		int here = 0, ahead = 0;

		for (int i = 0; i < count; i++) {
			uint64_t theirs = __atomic_load_n(&all[i].round, __ATOMIC_ACQUIRE);

			here += theirs == round;
			ahead += theirs > round;
			last = all[i].arrival > last ? all[i].arrival : last;
		}
		waited = read_tsc() - arrival;
		if (here == count || ahead || waited > all[me].patience) {
			if (waited > PATIENCE_BEFORE_PAUSES)
				all[me].patience -= waited < all[me].patience ? waited : all[me].patience;
			if (here != count)
				return;
			while (read_tsc() - last < START_TICKS)
				;
			all[me].together++;
			return;
		}
		if (waited > PATIENCE_BEFORE_PAUSES)
			pause();
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
