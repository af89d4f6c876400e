/* Levels, remote IRR and the end of an interrupt (82093AA data sheet, 3.2.4; SDM vol. 3, 10.8.5). */
#include "arrivals.h"
#include "conformance.h"
#include "ioapic.h"
#include "tests.h"

#define VECTOR 0x98

static bool level_in_handler, remote_in_handler;
static uint64_t lower_at; /* the arrival that lowers the line */
static bool bounce, mask;

static void serve(struct interrupt_frame *frame)
{
	level_in_handler = vector_bit(0x180, VECTOR);
	remote_in_handler = (entry_read(PIN) & ENTRY_REMOTE_IRR) != 0;
	if (bounce) {
		line(PIN, false);
		line(PIN, true);
	}
	if (arrived(0, VECTOR) + 1 >= lower_at)
		line(PIN, false);
	if (mask)
		ioapic_write(IOAPIC_ENTRY(PIN), (uint32_t)(ENTRY_MASKED | ENTRY_LEVEL | VECTOR));
	count_arrival(frame);
}

static void begin(uint64_t entry, uint64_t lower)
{
	line(PIN, false);
	entry_write(PIN, ENTRY_MASKED);
	forget_arrivals();
	lower_at = lower;
	bounce = mask = false;
	entry_write(PIN, entry | ENTRY_LEVEL | VECTOR);
}

static void test_plain(void)
{
	topic("levels");
	begin(0, 1);
	line(PIN, true);
	__asm__ volatile("nop" : : : "memory");
	CHECK("a high line is an interrupt by the next instruction", arrived(0, VECTOR), 1);
	CHECK("it is one of the level-triggered", level_in_handler, 1);
	CHECK("remote IRR in its handler", remote_in_handler, 1);
	CHECK("remote IRR after its end", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	line(PIN, true);
	CHECK("another one", arrived(0, VECTOR), 2);
	begin(0, 3);
	line(PIN, true);
	__asm__ volatile("nop; jmp 1f; 1: nop; jmp 1f; 1:" : : : "memory");
	CHECK("a line that stays high is an interrupt after each end", await_arrivals(0, VECTOR, 3), 3);
	begin(0, 1);
	bounce = true;
	line(PIN, true);
	CHECK("low and high again before its end is nothing", arrived(0, VECTOR), 1);
	begin(ENTRY_ACTIVE_LOW, 1);
	CHECK("the entry's polarity", entry_read(PIN) & ENTRY_ACTIVE_LOW, ENTRY_ACTIVE_LOW);
}

static void test_masked(void)
{
	topic("masked levels");
	begin(ENTRY_MASKED, 1);
	line(PIN, true);
	__asm__ volatile("nop" : : : "memory");
	CHECK("a masked level waits", arrived(0, VECTOR), 0);
	CHECK("without remote IRR", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	entry_write(PIN, ENTRY_LEVEL | VECTOR);
	CHECK("until it is not masked any more", arrived(0, VECTOR), 1);
	begin(ENTRY_MASKED, 1);
	line(PIN, true);
	line(PIN, false);
	entry_write(PIN, ENTRY_LEVEL | VECTOR);
	CHECK("one that has gone is forgotten", arrived(0, VECTOR), 0);
	begin(0, 9);
	mask = true;
	line(PIN, true);
	CHECK("masked in its handler it comes once", arrived(0, VECTOR), 1);
	mask = false;
	lower_at = 2;
	ioapic_write(IOAPIC_ENTRY(PIN), (uint32_t)(ENTRY_LEVEL | VECTOR));
	CHECK("and again when it is not", arrived(0, VECTOR), 2);
}

static void wait_for_end(struct interrupt_frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&arrivals[0].of[VECTOR], 1, __ATOMIC_SEQ_CST);
}

static void test_remote_irr(void)
{
	topic("remote IRR");
	begin(0, 1);
	interrupts_off();
	line(PIN, true);
	CHECK("set with the request", entry_read(PIN) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR);
	line(PIN, false);
	CHECK("it stays when the line falls", entry_read(PIN) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR);
	CHECK("as the request does", vector_bit(APIC_IRR, VECTOR), 1);
	let_interrupts_in();
	CHECK("which is taken", arrived(0, VECTOR), 1);

	begin(0, 1);
	set_handler(VECTOR, wait_for_end);
	line(PIN, true);
	CHECK("taken", await_arrivals(0, VECTOR, 1), 1);
	line(PIN, false);
	ioapic_write(IOAPIC_ENTRY(PIN), ENTRY_MASKED | VECTOR);
	CHECK("an edge entry has none", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	apic_eoi();

	begin(0, 1);
	line(PIN, true);
	line(PIN, false);
	CHECK("set by another one", entry_read(PIN) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR);
	ioapic_end_of_interrupt(VECTOR + 1);
	CHECK("the EOI register knows the vector", entry_read(PIN) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR);
	ioapic_end_of_interrupt(VECTOR);
	CHECK("and ends it", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	apic_eoi();
	set_handler(VECTOR, serve);
}

void test_level(void)
{
	interrupts_on();
	set_handler(VECTOR, serve);
	test_plain();
	test_masked();
	test_remote_irr();
	line(PIN, false);
	entry_write(PIN, ENTRY_MASKED);
	set_handler(VECTOR, count_arrival);
}
