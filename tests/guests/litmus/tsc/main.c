/* The TSC never goes back, on one CPU or from one to another (SDM vol. 3, section 17.17: invariant, and the same on
 * all CPUs as operating systems take it for granted). Each reading is handed on with a token, and the next holder's
 * must not be smaller.
 *
 * Command line: hops= of a token that goes round, and grabs= of one that whoever comes first takes; all CPUs share
 * them. Any smp. Status 33 when all passed. */
#include "check.h"
#include "guest.h"
#include "litmus.h"
#include "smp.h"

#define CPUID_EXTENDED 0x80000001u
#define CPUID_EDX_RDTSCP (1u << 27)

enum { LINGER_MASK = 0xfff };

static struct {
	uint64_t holder; /* of the token that goes round: its number modulo the CPUs */
	uint64_t lock;   /* of the other */
	uint64_t tsc;
	uint64_t changes;
	int last;
} token __attribute__((aligned(CACHE_LINE)));

static uint64_t hops, grabs, backwards, largest_step;
static bool use_rdtscp;

/* LFENCE, or RDTSC might read before the token is here (SDM vol. 2, RDTSC). */
static uint64_t read_ordered(void)
{
	uint32_t low, high;

	if (use_rdtscp) {
		__asm__ volatile("rdtscp" : "=a"(low), "=d"(high) : : "rcx", "memory");
		return (uint64_t)high << 32 | low;
	}
	__asm__ volatile("lfence" : : : "memory");
	return read_tsc();
}

/* Called by the token's holder only. */
static void compare(int me)
{
	uint64_t now = read_ordered();

	if (now < token.tsc) {
		backwards++;
		largest_step = token.tsc - now > largest_step ? token.tsc - now : largest_step;
	}
	token.changes += token.last != me;
	token.last = me;
	token.tsc = now;
}

static void pass_round(struct cpu *cpu)
{
	for (uint64_t hop = (uint64_t)cpu->index; hop < hops; hop += (uint64_t)cpu_count) {
		while (__atomic_load_n(&token.holder, __ATOMIC_ACQUIRE) != hop)
			pause();
		compare(cpu->index);
		__atomic_store_n(&token.holder, hop + 1, __ATOMIC_RELEASE);
	}
}

static void grab(struct cpu *cpu)
{
	uint64_t random = (uint64_t)cpu->index + 1;

	for (uint64_t i = share(grabs, cpu->index); i; i--) {
		while (__atomic_exchange_n(&token.lock, 1, __ATOMIC_ACQUIRE))
			pause();
		compare(cpu->index);
		__atomic_store_n(&token.lock, 0, __ATOMIC_RELEASE);
		linger(next_random(&random) & LINGER_MASK);
	}
}

static void run(const char *name, void (*work)(struct cpu *cpu))
{
	topic(name);
	token.holder = 0;
	token.changes = 0;
	smp_run(work);
	print("  %lu times from another CPU\n", token.changes);
	EXPECT("readings that went back", backwards, 0);
	EXPECT("the largest step back", largest_step, 0);
}

_Noreturn void guest_main(void)
{
	hops = count_option("hops", 400);
	grabs = count_option("grabs", 20000);
	smp_start();
	run("RDTSC, round the ring", pass_round);
	run("RDTSC, first come first served", grab);
	if (cpuid(CPUID_EXTENDED, 0).edx & CPUID_EDX_RDTSCP) {
		use_rdtscp = true;
		run("RDTSCP, first come first served", grab);
	} else {
		not_present("RDTSCP");
	}
	finish();
}
