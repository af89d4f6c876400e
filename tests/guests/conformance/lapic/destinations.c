/* Which CPUs an IPI reaches (SDM vol. 3, 10.6). A CPU's logical ID is its bit in the flat model, and in the cluster
 * model it is a bit in the cluster of its number's half. */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define VECTOR 0x75
#define FLAT 0xffffffff
#define CLUSTER 0x0fffffff

static uint32_t format;

static uint32_t logical_id(int index)
{
	return format == FLAT ? 1u << index : (uint32_t)(index / 2 + 1) << 4 | 1u << index % 2;
}

static void take_logical_id(struct cpu *cpu)
{
	apic_write(APIC_DFR, format);
	apic_write(APIC_LDR, logical_id(cpu->index) << 24);
}

/* The CPUs that have taken it, a bit each, and more than one each in the upper half. */
static uint64_t takers(void)
{
	uint64_t set = 0;

	for (int i = 0; i < cpu_count; i++) {
		if (arrived(i, VECTOR) == 1)
			set |= 1ull << i;
		else if (arrived(i, VECTOR) != 0)
			set |= 1ull << (i + 32);
	}
	return set;
}

static uint64_t count(uint64_t set)
{
	uint64_t members = 0;

	for (; set != 0; set &= set - 1)
		members++;
	return members;
}

static uint64_t reached(uint32_t destination, uint32_t command, int wanted)
{
	forget_arrivals();
	apic_send(destination, command | ICR_ASSERT | VECTOR);
	for (int i = 0; i < WAIT_MS * 10 && count(takers()) < (uint64_t)wanted; i++)
		delay_us(100);
	delay_us(2000);
	return takers();
}

#define REACHES(name, destination, command, set)                                            \
	do {                                                                                \
		uint64_t wanted_ = (set) & ((1ull << cpu_count) - 1);                       \
		CHECK(name, reached(destination, command, (int)count(wanted_)), wanted_); \
	} while (0)

static void test_physical(void)
{
	int last = cpu_count - 1;

	topic("shorthands and physical destinations");
	REACHES("self", 0, ICR_SELF, 1);
	REACHES("all", 0, ICR_ALL, ~0ull);
	REACHES("all but self", 0, ICR_ALL_BUT_SELF, ~1ull);
	REACHES("by ID, its own", cpu_at(0)->apic_id, 0, 1);
	REACHES("by ID, the last CPU", cpu_at(last)->apic_id, 0, 1ull << last);
	REACHES("by ID, nobody", 0x7f, 0, 0);
	REACHES("by ID, broadcast", 0xff, 0, ~0ull);
}

static void test_logical(void)
{
	topic("logical destinations");
	format = FLAT;
	smp_run(take_logical_id);
	REACHES("flat, one", 1, ICR_LOGICAL, 1);
	REACHES("flat, another one", 2, ICR_LOGICAL, 2);
	REACHES("flat, two", 5, ICR_LOGICAL, 5);
	REACHES("flat, broadcast", 0xff, ICR_LOGICAL, ~0ull);
	REACHES("flat, nobody", 0x80, ICR_LOGICAL, 0);
	format = CLUSTER;
	smp_run(take_logical_id);
	REACHES("cluster, one", 0x11, ICR_LOGICAL, 1);
	REACHES("cluster, both of the first", 0x13, ICR_LOGICAL, 3);
	REACHES("cluster, one of the second", 0x22, ICR_LOGICAL, 8);
	REACHES("cluster, nobody", 0x31, ICR_LOGICAL, 0);
	format = FLAT;
	smp_run(take_logical_id);
}

static void test_lowest_priority(void)
{
	topic("lowest priority");
	CHECK("one of all takes it", count(reached(0xff, ICR_LOGICAL | ICR_LOWEST_PRIORITY, 1)), 1);
	CHECK("one of one is that", reached(1, ICR_LOGICAL | ICR_LOWEST_PRIORITY, 1), 1);
	CHECK("nobody of none", reached(0x80, ICR_LOGICAL | ICR_LOWEST_PRIORITY, 0), 0);
}

void test_destinations(void)
{
	interrupts_on();
	test_physical();
	test_logical();
	test_lowest_priority();
}
