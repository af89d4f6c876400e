/* Which CPUs an I/O APIC's message reaches (SDM vol. 3, 10.6.2), and what an EOI of another CPU does. */
#include "arrivals.h"
#include "conformance.h"
#include "ioapic.h"
#include "tests.h"

#define VECTOR 0x85

static void take_logical_id(struct cpu *cpu)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << (cpu->index + 24));
}

static uint64_t takers(void)
{
	uint64_t set = 0;

	for (int i = 0; i < cpu_count; i++)
		set |= (uint64_t)(arrived(i, VECTOR) != 0) << i;
	return set;
}

static uint64_t reached(uint64_t entry, uint64_t wanted)
{
	forget_arrivals();
	entry_write(PIN, entry | VECTOR);
	pulse(PIN);
	for (int i = 0; i < WAIT_MS * 10 && takers() != wanted; i++)
		delay_us(100);
	delay_us(1000);
	entry_write(PIN, ENTRY_MASKED);
	return takers();
}

#define REACHES(name, entry, set)                                             \
	do {                                                                  \
		uint64_t wanted_ = (set) & ((1ull << cpu_count) - 1);         \
		CHECK(name, reached(entry, wanted_), wanted_);                \
	} while (0)

static uint64_t how_many(uint64_t set)
{
	uint64_t members = 0;

	for (; set != 0; set &= set - 1)
		members++;
	return members;
}

static void lower_and_count(struct interrupt_frame *frame)
{
	line(PIN, false);
	count_arrival(frame);
}

void test_destinations(void)
{
	int last = cpu_count - 1;
	uint64_t one;

	topic("destinations");
	smp_run(take_logical_id);
	REACHES("physical, the boot processor", ENTRY_TO(cpu_at(0)->apic_id), 1);
	REACHES("physical, the last CPU", ENTRY_TO(cpu_at(last)->apic_id), 1ull << last);
	REACHES("physical, nobody", ENTRY_TO(0x0e), 0);
	REACHES("physical, broadcast", ENTRY_TO(0xff), ~0ull);
	REACHES("logical, one", ENTRY_LOGICAL | ENTRY_TO(1ull << last), 1ull << last);
	REACHES("logical, several", ENTRY_LOGICAL | ENTRY_TO(0xd), 0xd);
	REACHES("logical, nobody", ENTRY_LOGICAL | ENTRY_TO(0x80), 0);
	one = reached(ENTRY_LOGICAL | ENTRY_LOWEST_PRIORITY | ENTRY_TO(0xff), 0);
	CHECK("lowest priority, one of all", how_many(one), 1);

	topic("a level at another CPU");
	set_handler(VECTOR, lower_and_count);
	forget_arrivals();
	entry_write(PIN, ENTRY_LEVEL | ENTRY_TO(cpu_at(last)->apic_id) | VECTOR);
	line(PIN, true);
	CHECK("taken there", await_arrivals(last, VECTOR, 1), 1);
	for (int i = 0; i < WAIT_MS * 10 && entry_read(PIN) & ENTRY_REMOTE_IRR; i++)
		delay_us(100);
	CHECK("ended there", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	line(PIN, true);
	CHECK("taken there again", await_arrivals(last, VECTOR, 2), 2);
	entry_write(PIN, ENTRY_MASKED);
	set_handler(VECTOR, count_arrival);
}
