/* Locked operations have one total order that all CPUs agree on (SDM vol. 3, section 8.2.3.8), whatever their
 * width and wherever they lie: in a line, over two lines, over two pages.
 *
 * All CPUs exchange tokens, each of which is used once, with a few locations. What an exchange gives back names its
 * predecessor at that location. The operations are then carried out again, one by one, from what each CPU got in
 * its own order: when no CPU's next operation finds what it got, there is no order that explains them all.
 *
 * Command line: operations= of each kind by each CPU, split= of those that cross a line or page; byte tokens are few,
 * so they come in more and shorter batches. Any smp.
 * Status 33 when all passed. */
#include <stddef.h>

#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "paging.h"
#include "smp.h"

#define CPUID_1_ECX_CMPXCHG16B (1u << 13)

/* Pairs of pages side by side, whose frames are not. */
#define CROSSING WINDOW

enum { LOCATIONS = 3, BATCH_MAX = 500, TOKENS_8 = 255, LINGER_MASK = 255 };

enum where { ALIGNED, OVER_LINES, OVER_PAGES };

/* Puts `token` into `at` in one step and returns what was there. */
typedef uint64_t exchange(void *at, uint64_t token);

struct operation {
	int location;
	uint64_t put, got;
};

static struct operation operations[MAX_CPUS][BATCH_MAX] __attribute__((aligned(CACHE_LINE)));
static struct progress progress[MAX_CPUS];
static uint8_t lines[LOCATIONS][2 * CACHE_LINE] __attribute__((aligned(CACHE_LINE)));
static uint8_t lower[LOCATIONS][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static uint8_t upper[LOCATIONS][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static uint8_t *at[LOCATIONS];
static exchange *exchange_now;
static uint64_t batch;
static int cpus_now, first_cpu, per_cpu;

/* -- the exchanges: asm, since C knows no unaligned atomics ------------------------------------------ */

#define XCHG(name, suffix, type)                                                                         \
	static uint64_t name(void *at_, uint64_t token)                                                  \
	{                                                                                                \
		type value = (type)token;                                                                \
                                                                                                         \
		__asm__ volatile("xchg" suffix " %0, (%1)" : "+q"(value) : "r"(at_) : "memory");         \
		return value;                                                                            \
	}

XCHG(xchg8, "b", uint8_t)
XCHG(xchg16, "w", uint16_t)
XCHG(xchg32, "l", uint32_t)
XCHG(xchg64, "q", uint64_t)

#define CMPXCHG(name, suffix, type)                                                                      \
	static uint64_t name(void *at_, uint64_t token)                                                  \
	{                                                                                                \
		type found = 0;                                                                          \
		bool same;                                                                               \
                                                                                                         \
		do {                                                                                     \
			__asm__ volatile("lock cmpxchg" suffix " %3, (%2); sete %1"                      \
					 : "+a"(found), "=q"(same)                                       \
					 : "r"(at_), "r"((type)token)                                    \
					 : "cc", "memory");                                              \
		} while (!same);                                                                         \
		return found;                                                                            \
	}

CMPXCHG(cmpxchg8, "b", uint8_t)
CMPXCHG(cmpxchg16, "w", uint16_t)
CMPXCHG(cmpxchg32, "l", uint32_t)
CMPXCHG(cmpxchg64, "q", uint64_t)

/* An addition that leads from what is believed to be there to the token is no exchange, but XADD's return value
 * tells what was there: tokens are summands then, and the value is their sum. Only the order by value matters. */
#define XADD(name, suffix, type)                                                                         \
	static uint64_t name(void *at_, uint64_t token)                                                  \
	{                                                                                                \
		type value = (type)token;                                                                \
                                                                                                         \
		__asm__ volatile("lock xadd" suffix " %0, (%1)" : "+q"(value) : "r"(at_) : "cc", "memory"); \
		return value;                                                                            \
	}

XADD(xadd8, "b", uint8_t)
XADD(xadd16, "w", uint16_t)
XADD(xadd32, "l", uint32_t)
XADD(xadd64, "q", uint64_t)

/* Both halves carry the token; a result whose halves differ is no token at all. */
static uint64_t exchange8b(void *at_, uint64_t token)
{
	uint32_t low = 0, high = 0;
	bool same;

	do {
		__asm__ volatile("lock cmpxchg8b (%3); sete %0"
				 : "=q"(same), "+a"(low), "+d"(high)
				 : "r"(at_), "b"((uint32_t)token), "c"((uint32_t)token)
				 : "cc", "memory");
	} while (!same);
	return low == high ? low : UINT64_MAX;
}

static uint64_t exchange16b(void *at_, uint64_t token)
{
	uint64_t low = 0, high = 0;
	bool same;

	do {
		__asm__ volatile("lock cmpxchg16b (%3); sete %0"
				 : "=q"(same), "+a"(low), "+d"(high)
				 : "r"(at_), "b"(token), "c"(token)
				 : "cc", "memory");
	} while (!same);
	return low == high ? low : UINT64_MAX;
}

struct kind {
	const char *name;
	exchange *exchange;
	int bytes;
	bool adds;
};

static const struct kind kinds[] = {
	{ "XCHG 8", xchg8, 1, false },
	{ "XCHG 16", xchg16, 2, false },
	{ "XCHG 32", xchg32, 4, false },
	{ "XCHG 64", xchg64, 8, false },
	{ "XADD 8", xadd8, 1, true },
	{ "XADD 16", xadd16, 2, true },
	{ "XADD 32", xadd32, 4, true },
	{ "XADD 64", xadd64, 8, true },
	{ "CMPXCHG 8", cmpxchg8, 1, false },
	{ "CMPXCHG 16", cmpxchg16, 2, false },
	{ "CMPXCHG 32", cmpxchg32, 4, false },
	{ "CMPXCHG 64", cmpxchg64, 8, false },
	{ "CMPXCHG8B", exchange8b, 8, false },
	{ "CMPXCHG16B", exchange16b, 16, false },
};

/* -- one batch --------------------------------------------------------------------------------- */

static void exchange_tokens(struct cpu *cpu)
{
	int number = (cpu->index - first_cpu + cpu_count) % cpu_count;
	struct operation *own = operations[number];
	uint64_t random = (uint64_t)number + 1 + batch * MAX_CPUS;

	if (number >= cpus_now)
		return;
	meet(progress, cpus_now, number, 1);
	for (int i = 0; i < per_cpu; i++) {
		own[i].location = (int)(next_random(&random) % LOCATIONS);
		/* Without a pause a CPU does many at once while it owns the line. */
		linger(random >> 8 & LINGER_MASK);
		own[i].got = exchange_now(at[own[i].location], own[i].put);
	}
}

/* How many operations no order explains; counts those that follow another CPU's. */
static int unexplained(const struct kind *kind, uint64_t *contended)
{
	uint64_t mask = kind->bytes < 8 ? (1ull << kind->bytes * 8) - 1 : UINT64_MAX;
	uint64_t value[LOCATIONS] = { 0 };
	int last[LOCATIONS] = { 0 };
	int next[MAX_CPUS] = { 0 }, left = cpus_now * per_cpu;
	bool moved = true;

	/* Which of several that fit goes first makes no difference: they are at different locations. */
	while (moved) {
		moved = false;
		for (int cpu = 0; cpu < cpus_now; cpu++) {
			while (next[cpu] < per_cpu) {
				const struct operation *one = &operations[cpu][next[cpu]];

				if (value[one->location] != one->got)
					break;
				value[one->location] = (kind->adds ? one->got + one->put : one->put) & mask;
				*contended += last[one->location] != cpu;
				last[one->location] = cpu;
				next[cpu]++;
				left--;
				moved = true;
			}
		}
	}
	return left;
}

static void clear_locations(int bytes)
{
	for (int n = 0; n < LOCATIONS; n++) {
		for (int i = 0; i < bytes; i++)
			*(volatile uint8_t *)(at[n] + i) = 0;
	}
}

static void run_batch(const struct kind *kind, uint64_t *wrong, uint64_t *contended)
{
	first_cpu = (int)(batch % (uint64_t)cpu_count);
	clear_locations(kind->bytes);
	begin_batch(progress, cpus_now, cpus_now <= 2 ? PATIENCE_OF_FEW : PATIENCE_OF_ALL);
	/* Sums of XADD must not come back to a value: every summand is 1. */
	for (int i = 0; i < cpus_now * per_cpu; i++)
		operations[i / per_cpu][i % per_cpu].put = kind->adds ? 1 : (uint64_t)i + 1;
	smp_run(exchange_tokens);
	*wrong += unexplained(kind, contended) != 0;
}

/* Two CPUs, which are likely to run at one time, and all CPUs take turns. */
static void run_kind(const struct kind *kind, uint64_t count)
{
	uint64_t wrong = 0, contended = 0, done = 0;

	exchange_now = kind->exchange;
	for (batch = 0; done < count; batch++) {
		cpus_now = batch % 3 && cpu_count > 2 ? 2 : cpu_count;
		per_cpu = kind->bytes == 1 ? TOKENS_8 / cpus_now : BATCH_MAX;
		if (count - done < (uint64_t)per_cpu)
			per_cpu = (int)(count - done);
		done += (uint64_t)per_cpu;
		run_batch(kind, &wrong, &contended);
	}
	print("  %s: %lu batches with %lu operations a CPU, %lu after another CPU's, %lu batches without an order\n", kind->name,
	      batch, count, contended, wrong);
	EXPECT(kind->name, wrong, 0);
}

/* -- where ------------------------------------------------------------------------------------- */

static void place(enum where where, int bytes)
{
	for (int n = 0; n < LOCATIONS; n++) {
		/* Each location is cut elsewhere. */
		int first = 1 + n % (bytes > 1 ? bytes - 1 : 1);

		if (where == ALIGNED)
			at[n] = lines[n];
		else if (where == OVER_LINES)
			at[n] = lines[n] + CACHE_LINE - first;
		else
			at[n] = (uint8_t *)physical(CROSSING + (uint64_t)(2 * n + 1) * PAGE_BYTES) - first;
	}
}

static void run_all(enum where where, uint64_t count)
{
	for (const struct kind *kind = kinds; kind < kinds + sizeof kinds / sizeof *kinds; kind++) {
		/* Neither a byte nor CMPXCHG16B, which faults, can cross. */
		if (where != ALIGNED && (kind->bytes == 1 || kind->bytes == 16))
			continue;
		if (kind->bytes == 16 && !(cpuid(1, 0).ecx & CPUID_1_ECX_CMPXCHG16B)) {
			not_present("CMPXCHG16B");
			continue;
		}
		place(where, kind->bytes);
		run_kind(kind, count);
	}
}

_Noreturn void guest_main(void)
{
	uint64_t count = count_option("operations", 10000), split_count = count_option("split", 1500);

	for (uint64_t n = 0; n < LOCATIONS; n++) {
		map_page(CROSSING + 2 * n * PAGE_BYTES, lower[n], PTE_P | PTE_W);
		map_page(CROSSING + (2 * n + 1) * PAGE_BYTES, upper[LOCATIONS - 1 - n], PTE_P | PTE_W);
	}
	smp_start();
	topic("aligned");
	run_all(ALIGNED, count);
	topic("over two lines");
	run_all(OVER_LINES, split_count);
	topic("over two pages");
	run_all(OVER_PAGES, split_count);
	finish();
}
