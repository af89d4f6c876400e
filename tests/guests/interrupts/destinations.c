/* Who gets an IPI: physical, logical flat, shorthands, lowest priority; and that none is lost. */
#include "tests.h"

#include "apic.h"
#include "check.h"

#define VECTOR_DIRECT 0x70
#define VECTOR_ALL 0x71
#define VECTOR_OTHERS 0x72
#define VECTOR_LOGICAL 0x73
#define VECTOR_LOWEST 0x74
#define VECTOR_RAIN 0x90 /* and as many above it as there are CPUs */

#define ICR_LOWEST_PRIORITY 0x100
#define LOGICAL_CPUS_MAX 8
#define DFR_FLAT 0xffffffff

enum { ROUNDS = 50, RAIN_ROUNDS = 40, RAIN_CPUS_MAX = 8 };

static uint64_t total_of(int vector)
{
	uint64_t total = 0;

	for (int i = 0; i < cpu_count; i++)
		total += arrived(i, vector);
	return total;
}

static void wait_for_total(int vector, uint64_t wanted)
{
	while (total_of(vector) < wanted)
		pause();
}

static void set_logical_id(struct cpu *cpu)
{
	apic_write(APIC_DFR, DFR_FLAT);
	apic_write(APIC_LDR, cpu->index < LOGICAL_CPUS_MAX ? 1u << (24 + cpu->index) : 0);
}

static void test_physical(void)
{
	topic("physical destinations");
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		for (int i = 0; i < cpu_count; i++)
			apic_send(cpu_at(i)->apic_id, ICR_ASSERT | VECTOR_DIRECT);
		wait_for_total(VECTOR_DIRECT, round * (uint64_t)cpu_count);
	}
	for (int i = 0; i < cpu_count; i++)
		EXPECT("IPIs to one", arrived(i, VECTOR_DIRECT), ROUNDS);
}

static void test_shorthands(void)
{
	uint64_t others = (uint64_t)cpu_count - 1;

	topic("broadcasts");
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		apic_send(0, ICR_ALL | ICR_ASSERT | VECTOR_ALL);
		wait_for_total(VECTOR_ALL, round * (others + 1));
		apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | VECTOR_OTHERS);
		wait_for_total(VECTOR_OTHERS, round * others);
	}
	for (int i = 0; i < cpu_count; i++) {
		EXPECT("IPIs to all", arrived(i, VECTOR_ALL), ROUNDS);
		EXPECT("IPIs to all others", arrived(i, VECTOR_OTHERS), i ? ROUNDS : 0);
	}
	/* Physical ff is everyone, too (SDM vol. 3, section 10.6.2.1). */
	apic_send(0xff, ICR_ASSERT | VECTOR_ALL);
	wait_for_total(VECTOR_ALL, (ROUNDS + 1) * (others + 1));
}

static void test_logical(void)
{
	int members = cpu_count < LOGICAL_CPUS_MAX ? cpu_count : LOGICAL_CPUS_MAX;
	/* Every other one. */
	uint32_t mask = 0x55 & ((1u << members) - 1);

	topic("logical destinations");
	smp_run(set_logical_id);
	apic_send(mask, ICR_LOGICAL | ICR_ASSERT | VECTOR_LOGICAL);
	wait_for_total(VECTOR_LOGICAL, (uint64_t)(members + 1) / 2);
	for (int i = 0; i < cpu_count; i++)
		EXPECT("IPIs to a set", arrived(i, VECTOR_LOGICAL), i < members ? mask >> i & 1 : 0);

	for (uint64_t round = 1; round <= ROUNDS; round++) {
		apic_send((1u << members) - 1, ICR_LOGICAL | ICR_LOWEST_PRIORITY | ICR_ASSERT | VECTOR_LOWEST);
		wait_for_total(VECTOR_LOWEST, round);
	}
	/* What went astray would be in by the next barrier. */
	smp_run(set_logical_id);
	EXPECT("lowest priority: one each time", total_of(VECTOR_LOWEST), ROUNDS);
}

/* Every CPU sends to every CPU, each with the sender's own vector, and again when that one was taken. */
static void rain(struct cpu *cpu)
{
	int vector = VECTOR_RAIN + cpu->index;

	if (cpu->index >= RAIN_CPUS_MAX)
		return;
	for (uint64_t round = 1; round <= RAIN_ROUNDS; round++) {
		for (int i = 0; i < cpu_count; i++)
			apic_send(cpu_at(i)->apic_id, ICR_ASSERT | (uint32_t)vector);
		wait_for_total(vector, round * (uint64_t)cpu_count);
	}
}

static void test_rain(void)
{
	int senders = cpu_count < RAIN_CPUS_MAX ? cpu_count : RAIN_CPUS_MAX;

	topic("IPIs from all to all");
	smp_run(rain);
	for (int sender = 0; sender < senders; sender++) {
		for (int i = 0; i < cpu_count; i++)
			EXPECT("IPIs from one to one", arrived(i, VECTOR_RAIN + sender), RAIN_ROUNDS);
	}
}

void test_destinations(void)
{
	forget_arrivals();
	test_physical();
	test_shorthands();
	test_logical();
	test_rain();
}
