/* What a store costs that hits, or nearly hits, code that has been run.
 *
 * Command line: writes= next to own code (10000000), rewrites= of own code (100000), handovers= of code that another
 * CPU then runs (20000). Needs two CPUs. */
#include <stddef.h>

#include "bench.h"
#include "guest.h"
#include "smp.h"
#include "string.h"

enum { PAGE_BYTES_ = 4096, VARIABLE_AT = 2048, IMMEDIATE_AT = 1 };

/* A page of code and data; not const, and run by way of a pointer. */
static uint8_t page[PAGE_BYTES_] __attribute__((aligned(PAGE_BYTES_)));

/* Adds 1 to the quadword at RDI, RSI times: a loop whose stores go to the page that it runs from. */
static const uint8_t count_up[] = {
	0x48, 0xff, 0x07, /* again: incq (%rdi) */
	0x48, 0xff, 0xce, /* decq %rsi */
	0x75, 0xf8,       /* jnz again */
	0xc3,             /* ret */
};

/* Returns a constant, which others change. */
static const uint8_t constant[] = {
	0xb8, 0, 0, 0, 0, /* movl $0, %eax */
	0xc3,             /* ret */
};

static uint64_t handovers;
static uint32_t offered, taken;

static void put_code(const uint8_t *code, size_t size)
{
	memcpy(page, code, size);
	/* Whatever this CPU has fetched ahead of it is gone (SDM vol. 3, section 8.1.3). */
	cpuid(0, 0);
}

static void set_constant(uint32_t value)
{
	__atomic_store_n((uint32_t *)(page + IMMEDIATE_AT), value, __ATOMIC_RELEASE);
}

static uint32_t call_constant(void)
{
	return ((uint32_t (*)(void))(uintptr_t)page)();
}

static uint64_t ns_each(uint64_t started, uint64_t count)
{
	return ticks_to_ns(read_tsc() - started) / count;
}

static void write_beside(uint64_t writes)
{
	volatile uint64_t *variable = (volatile uint64_t *)(page + VARIABLE_AT);
	uint64_t started;

	put_code(count_up, sizeof count_up);
	*variable = 0;
	started = read_tsc();
	((void (*)(volatile uint64_t *, uint64_t))(uintptr_t)page)(variable, writes);
	/* In picoseconds: a write takes few nanoseconds where all is well. */
	bench_row("code-beside", ns_each(started, writes / 1000), "ps");
	if (*variable != writes)
		panic("%lu of %lu writes are there", *variable, writes);
}

static void rewrite_own(uint64_t rewrites)
{
	uint64_t started;

	put_code(constant, sizeof constant);
	started = read_tsc();
	for (uint32_t i = 1; i <= rewrites; i++) {
		uint32_t got;

		set_constant(i);
		got = call_constant();
		if (got != i)
			panic("the code of rewrite %u returns %u", i, got);
	}
	bench_row("code-own", ns_each(started, rewrites), "ns");
}

/* CPU 0 changes the code and offers it; CPU 1 serializes itself, runs it and returns what it gave. */
static void hand_over(struct cpu *cpu)
{
	for (uint32_t i = 1; i <= handovers && cpu->index < 2; i++) {
		if (cpu->index == 0) {
			set_constant(i);
			__atomic_store_n(&offered, i, __ATOMIC_RELEASE);
			while (__atomic_load_n(&taken, __ATOMIC_ACQUIRE) != i)
				;
		} else {
			uint32_t got;

			while (__atomic_load_n(&offered, __ATOMIC_ACQUIRE) != i)
				;
			cpuid(0, 0);
			got = call_constant();
			if (got != i)
				panic("CPU 1 ran code %u after %u was written", got, i);
			__atomic_store_n(&taken, got, __ATOMIC_RELEASE);
		}
	}
}

void guest_main(void)
{
	uint64_t started;

	bench_calibrate();
	write_beside(option("writes", 10000000));
	rewrite_own(option("rewrites", 100000));
	handovers = option("handovers", 20000);
	smp_start();
	if (cpu_count < 2)
		panic("code from CPU to CPU: --smp 2 is right");
	started = read_tsc();
	smp_run(hand_over);
	bench_row("code-across", ns_each(started, handovers), "ns");
	power_off();
}
