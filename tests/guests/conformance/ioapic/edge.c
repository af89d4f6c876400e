/* Edges (82093AA data sheet, 3.2.4: trigger mode and interrupt mask). */
#include "arrivals.h"
#include "conformance.h"
#include "ioapic.h"
#include "tests.h"

#define VECTOR 0x76
#define OTHER_VECTOR 0x66

static bool level_in_handler;

static void look(struct interrupt_frame *frame)
{
	level_in_handler = vector_bit(0x180, VECTOR);
	count_arrival(frame);
}

void test_edge(void)
{
	topic("edges");
	forget_arrivals();
	interrupts_on();
	set_handler(VECTOR, look);
	entry_write(PIN, VECTOR);
	pulse(PIN);
	__asm__ volatile("nop" : : : "memory");
	CHECK("a rising edge is an interrupt by the next instruction", arrived(0, VECTOR), 1);
	CHECK("it is none of the level-triggered", level_in_handler, 0);
	line(PIN, true);
	line(PIN, true);
	CHECK_NOT_QEMU("a line that stays high is one edge", arrived(0, VECTOR), 2,
		       "it takes each report of a high line for an edge; 82093AA data sheet, 3.2.4");
	CHECK("it has no remote IRR", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	forget_arrivals();
	line(PIN, false);
	CHECK("a falling edge is nothing", arrived(0, VECTOR), 0);

	entry_write(PIN, ENTRY_MASKED | VECTOR);
	pulse(PIN);
	entry_write(PIN, VECTOR);
	CHECK("an edge while masked is lost", arrived(0, VECTOR), 0);
	pulse(PIN);
	CHECK("the next one is not", arrived(0, VECTOR), 1);

	interrupts_off();
	pulse(PIN);
	pulse(PIN);
	CHECK("requested", vector_bit(APIC_IRR, VECTOR), 1);
	let_interrupts_in();
	CHECK("two edges that wait are one interrupt", arrived(0, VECTOR), 2);

	topic("two pins at once");
	forget_arrivals();
	set_handler(VECTOR, count_arrival);
	entry_write(PIN + 1, OTHER_VECTOR);
	interrupts_off();
	pulse(PIN + 1);
	pulse(PIN);
	let_interrupts_in();
	CHECK("the higher vector first", arrivals[0].order[0], VECTOR);
	CHECK("then the other", arrivals[0].order[1], OTHER_VECTOR);
	entry_write(PIN + 1, ENTRY_MASKED);
	entry_write(PIN, ENTRY_MASKED);
}
