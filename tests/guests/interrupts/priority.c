/* TPR, CR8, PPR, and the order of waiting interrupts (SDM vol. 3, section 10.8.3). */
#include "tests.h"

#include "apic.h"
#include "check.h"

#define VECTOR_LOW 0x65
#define VECTOR_MIDDLE 0x75
#define VECTOR_HIGH 0x85

static uint64_t low_inside, high_inside;

/* Interrupts are on inside, without an EOI: only a higher class may come. */
static void let_in(struct interrupt_frame *frame)
{
	(void)frame;
	EXPECT("PPR of the outer handler", apic_read(APIC_PPR), VECTOR_MIDDLE & 0xf0);
	send_self(VECTOR_LOW);
	send_self(VECTOR_HIGH);
	let_interrupts_in();
	interrupts_off();
	low_inside = arrived(0, VECTOR_LOW);
	high_inside = arrived(0, VECTOR_HIGH);
	apic_eoi();
}

static void test_task_priority(void)
{
	topic("task priority");
	forget_arrivals();
	apic_write(APIC_TPR, 0x50);
	EXPECT("CR8 after TPR", read_cr8(), 5);
	EXPECT("PPR is TPR", apic_read(APIC_PPR), 0x50);
	write_cr8(6);
	EXPECT("TPR after CR8", apic_read(APIC_TPR), 0x60);

	interrupts_on();
	send_self(VECTOR_LOW);
	send_self(VECTOR_MIDDLE);
	pause();
	EXPECT("a class at TPR waits", arrived(0, VECTOR_LOW), 0);
	EXPECT("a class above TPR comes", arrived(0, VECTOR_MIDDLE), 1);
	EXPECT("PPR in its handler", arrivals[0].ppr, VECTOR_MIDDLE & 0xf0);
	write_cr8(5);
	pause();
	EXPECT("comes when CR8 falls", arrived(0, VECTOR_LOW), 1);
	write_cr8(15);
	send_self(VECTOR_HIGH);
	pause();
	EXPECT("CR8 15 holds all", arrived(0, VECTOR_HIGH), 0);
	apic_write(APIC_TPR, 0);
	pause();
	EXPECT("comes when TPR falls", arrived(0, VECTOR_HIGH), 1);
}

static void test_order(void)
{
	static const uint8_t expected[] = { VECTOR_HIGH, VECTOR_MIDDLE, VECTOR_LOW + 1, VECTOR_LOW };

	topic("order");
	forget_arrivals();
	interrupts_off();
	send_self(VECTOR_LOW);
	send_self(VECTOR_HIGH);
	send_self(VECTOR_LOW + 1);
	send_self(VECTOR_MIDDLE);
	let_interrupts_in();
	EXPECT("all taken", arrivals[0].total, sizeof expected);
	for (unsigned int i = 0; i < sizeof expected; i++)
		EXPECT("the highest first", arrivals[0].order[i], expected[i]);
}

static void test_nesting(void)
{
	topic("nesting");
	forget_arrivals();
	set_handler(VECTOR_MIDDLE, let_in);
	send_self(VECTOR_MIDDLE);
	pause();
	EXPECT("a higher class breaks in", high_inside, 1);
	EXPECT("a lower class waits for EOI", low_inside, 0);
	EXPECT("and then comes", arrived(0, VECTOR_LOW), 1);
	EXPECT("PPR is 0 again", apic_read(APIC_PPR), 0);
	count_arrivals();
}

void test_priority(void)
{
	test_task_priority();
	test_order();
	test_nesting();
}
