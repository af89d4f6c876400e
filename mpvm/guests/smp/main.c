/* All CPUs do real work together; every sum is compared with what it must be.
 *
 * Command line: locks= adds= hops= ticks= primes= rounds= (see struct sizes). Ends by ACPI power-off
 * when every sum is exact, with EXIT_SUMS_DIFFER otherwise. */
#include <stdbool.h>
#include <stdint.h>

#include "acpi.h"
#include "apic.h"
#include "console.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "power.h"
#include "primes.h"
#include "smp.h"

#define CACHE_LINE 64

enum { TICK_MS = 2 };

/* Totals for all CPUs together, so that the run takes about as long whatever the number of CPUs. */
struct sizes {
	uint64_t locks;  /* rounds under the shared lock */
	uint64_t adds;   /* atomic additions of each of the three kinds */
	uint64_t hops;   /* of the token round the ring, made up to full rounds */
	uint64_t ticks;  /* of the local APIC timer on each CPU */
	uint64_t primes; /* are counted below this number */
	uint64_t rounds; /* of everything */
};

struct tally {
	uint64_t locks;
	uint64_t adds;
	uint64_t ipis;
	uint64_t ticks;
	uint64_t primes;
	uint64_t tickets; /* sum of what this CPU's XADDs returned */
	uint64_t intruders;
} __attribute__((aligned(CACHE_LINE)));

static struct sizes sizes;
static struct tally tallies[MAX_CPUS];

static struct {
	uint32_t lock __attribute__((aligned(CACHE_LINE)));
	uint64_t locked __attribute__((aligned(CACHE_LINE)));
	int owner;
	uint64_t incremented __attribute__((aligned(CACHE_LINE)));
	uint64_t exchanged __attribute__((aligned(CACHE_LINE)));
	uint64_t compared __attribute__((aligned(CACHE_LINE)));
	uint64_t token __attribute__((aligned(CACHE_LINE)));
} shared;

static uint64_t rounds_done;
static uint64_t ring_rounds;
static uint32_t timer_per_ms;

static struct tally *my_tally(void)
{
	return &tallies[this_cpu()->index];
}

static void lock(void)
{
	uint32_t taken = 1;

	for (;;) {
		__asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(shared.lock) : : "memory");
		if (!taken)
			return;
		while (__atomic_load_n(&shared.lock, __ATOMIC_RELAXED))
			pause();
	}
}

/* A plain store, as an operating system's: it is lost when another CPU's XCHG is no single step. */
static void unlock(void)
{
	__asm__ volatile("movl $0, %0" : "=m"(shared.lock) : : "memory");
}

static void use_lock(struct cpu *cpu)
{
	struct tally *tally = &tallies[cpu->index];
	uint64_t rounds = share(sizes.locks, cpu->index);

	for (uint64_t i = 0; i < rounds; i++) {
		lock();
		shared.owner = cpu->index;
		*(volatile uint64_t *)&shared.locked += 1;
		tally->intruders += *(volatile int *)&shared.owner != cpu->index;
		unlock();
		tally->locks++;
	}
}

static void add_atomically(struct cpu *cpu)
{
	struct tally *tally = &tallies[cpu->index];
	uint64_t rounds = share(sizes.adds, cpu->index);

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t ticket = 1, seen = __atomic_load_n(&shared.compared, __ATOMIC_RELAXED);

		__asm__ volatile("lock incq %0" : "+m"(shared.incremented) : : "memory");
		__asm__ volatile("lock xaddq %0, %1" : "+r"(ticket), "+m"(shared.exchanged) : : "memory");
		tally->tickets += ticket;
		while (!__atomic_compare_exchange_n(&shared.compared, &seen, seen + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		tally->adds += 3;
	}
}

static void take_ring_ipi(struct interrupt_frame *frame)
{
	(void)frame;
	my_tally()->ipis++;
	apic_eoi();
}

static void wait_for_token(const struct tally *tally, uint64_t received)
{
	interrupts_off();
	while (__atomic_load_n(&tally->ipis, __ATOMIC_ACQUIRE) < received)
		wait_for_interrupt();
	interrupts_on();
}

/* There is one token, so whoever has it may add to it without a lock. */
static void pass_token(const struct cpu *next)
{
	*(volatile uint64_t *)&shared.token += 1;
	apic_send(next->apic_id, ICR_ASSERT | ICR_FIXED | VECTOR_RING);
}

static void pass_round_the_ring(struct cpu *cpu)
{
	const struct tally *tally = &tallies[cpu->index];
	const struct cpu *next = cpu_at((cpu->index + 1) % cpu_count);
	/* Not from tally->ipis: the first token may be here already. */
	uint64_t received = rounds_done * ring_rounds;

	for (uint64_t round = 0; round < ring_rounds; round++) {
		if (cpu->index == 0)
			pass_token(next);
		wait_for_token(tally, ++received);
		if (cpu->index != 0)
			pass_token(next);
	}
}

/* The timer interrupt that follows the last wanted one may be under way when the timer is stopped. */
static void take_tick(struct interrupt_frame *frame)
{
	struct tally *tally = my_tally();

	(void)frame;
	if (tally->ticks % sizes.ticks || !(apic_read(APIC_LVT_TIMER) & LVT_MASKED))
		tally->ticks++;
	if (tally->ticks % sizes.ticks == 0)
		apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_eoi();
}

static void count_ticks(struct cpu *cpu)
{
	struct tally *tally = &tallies[cpu->index];
	uint64_t wanted = tally->ticks + sizes.ticks;

	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_PERIODIC | VECTOR_TIMER);
	apic_write(APIC_TIMER_INITIAL, timer_per_ms * TICK_MS);
	interrupts_off();
	while (__atomic_load_n(&tally->ticks, __ATOMIC_ACQUIRE) < wanted)
		wait_for_interrupt();
	interrupts_on();
	apic_write(APIC_TIMER_INITIAL, 0);
}

static void count_primes(struct cpu *cpu)
{
	tallies[cpu->index].primes += primes_count_chunks(sizes.primes);
}

static void run_phases(void)
{
	smp_run(use_lock);
	smp_run(add_atomically);
	smp_run(pass_round_the_ring);
	smp_run(count_ticks);
	primes_restart();
	smp_run(count_primes);
}

static struct tally total_of_tallies(void)
{
	struct tally total = { 0 };

	for (int i = 0; i < cpu_count; i++) {
		total.locks += tallies[i].locks;
		total.adds += tallies[i].adds;
		total.ipis += tallies[i].ipis;
		total.ticks += tallies[i].ticks;
		total.primes += tallies[i].primes;
		total.tickets += tallies[i].tickets;
		total.intruders += tallies[i].intruders;
	}
	return total;
}

static void print_table(void)
{
	print("\n cpu  apic id  lock rounds  atomic adds      ipis     ticks    primes\n");
	for (int i = 0; i < cpu_count; i++) {
		const struct tally *tally = &tallies[i];

		print("%4d  %7u  %11lu  %11lu  %8lu  %8lu  %8lu\n", i, cpu_at(i)->apic_id, tally->locks, tally->adds,
		      tally->ipis, tally->ticks, tally->primes);
	}
	print("\n");
}

static bool compare(const char *what, uint64_t expected, uint64_t got)
{
	print("%-14s expected %12lu  got %12lu  %s\n", what, expected, got, expected == got ? "exact" : "DIFFERS");
	return expected == got;
}

static bool compare_sums(uint64_t primes)
{
	struct tally total = total_of_tallies();
	uint64_t cpus = (uint64_t)cpu_count;
	uint64_t adds = sizes.adds * sizes.rounds;
	uint64_t hops = ring_rounds * cpus * sizes.rounds;
	bool exact = true;

	exact &= compare("lock counter", sizes.locks * sizes.rounds, shared.locked);
	exact &= compare("lock intruders", 0, total.intruders);
	exact &= compare("lock inc", adds, shared.incremented);
	exact &= compare("lock xadd", adds, shared.exchanged);
	exact &= compare("xadd tickets", adds * (adds - 1) / 2, total.tickets);
	exact &= compare("lock cmpxchg", adds, shared.compared);
	exact &= compare("ring token", hops, shared.token);
	exact &= compare("ring ipis", hops, total.ipis);
	exact &= compare("timer ticks", sizes.ticks * cpus * sizes.rounds, total.ticks);
	exact &= compare("primes", primes * sizes.rounds, total.primes);
	return exact;
}

static void read_sizes(void)
{
	sizes.locks = option("locks", 50000);
	sizes.adds = option("adds", 100000);
	sizes.hops = option("hops", 4000);
	sizes.ticks = option("ticks", 20);
	sizes.primes = option("primes", 200000);
	sizes.rounds = option("rounds", 1);
	if (sizes.adds == 0 || sizes.ticks == 0)
		panic("command line: adds= and ticks= take a number above 0");
	if (sizes.primes > PRIMES_MAX)
		panic("command line: primes= takes a number up to %d", PRIMES_MAX);
}

_Noreturn void guest_main(void)
{
	uint64_t primes;

	read_sizes();
	print("mpvm smp guest: %d CPUs in the MADT, local APICs at %lx\n", acpi.cpu_count, acpi.local_apic);
	apic_use_x2apic(option("x2apic", 0) && apic_has_x2apic());
	set_handler(VECTOR_RING, take_ring_ipi);
	set_handler(VECTOR_TIMER, take_tick);

	/* On one CPU, by another method, before any other could disturb it. */
	primes = primes_count_by_sieve(sizes.primes);
	smp_start();
	timer_per_ms = apic_timer_per_ms();
	ring_rounds = (sizes.hops + (uint64_t)cpu_count - 1) / (uint64_t)cpu_count;
	print("%d CPUs online, APIC timer %u kHz\n", cpu_count, timer_per_ms);

	for (; rounds_done < sizes.rounds; rounds_done++)
		run_phases();

	print_table();
	if (!compare_sums(primes)) {
		print("SUMS DIFFER\n");
		debug_exit(EXIT_SUMS_DIFFER);
	}
	print("all sums exact\n");
	power_off();
}
