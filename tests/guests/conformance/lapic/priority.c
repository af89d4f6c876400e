/* Request, service and priority (SDM vol. 3, 10.8). */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define LOW 0x61
#define SAME_CLASS 0x6f
#define HIGH 0xa5

static struct in_handler {
	bool requested, in_service, level;
	uint32_t ppr;
	uint64_t cr8;
} in_handler;

static void look(struct interrupt_frame *frame)
{
	int vector = (int)frame->vector;

	in_handler = (struct in_handler){
		.requested = vector_bit(APIC_IRR, vector),
		.in_service = vector_bit(APIC_ISR, vector),
		.level = vector_bit(APIC_TMR, vector),
		.ppr = apic_read(APIC_PPR),
		.cr8 = read_cr8(),
	};
	count_arrival(frame);
}

static void send_self(int vector)
{
	apic_send(0, ICR_SELF | ICR_ASSERT | (uint32_t)vector);
}

static void test_request_and_service(void)
{
	topic("request and service");
	forget_arrivals();
	interrupts_off();
	send_self(LOW);
	send_self(LOW);
	CHECK("requested while IF is clear", vector_bit(APIC_IRR, LOW), 1);
	CHECK("not in service yet", vector_bit(APIC_ISR, LOW), 0);
	CHECK("not taken yet", arrived(0, LOW), 0);
	set_handler(LOW, look);
	let_interrupts_in();
	CHECK("two requests are one interrupt", arrived(0, LOW), 1);
	CHECK("in its handler not requested", in_handler.requested, 0);
	CHECK("in its handler in service", in_handler.in_service, 1);
	CHECK("an IPI is an edge", in_handler.level, 0);
	CHECK("priority in its handler", in_handler.ppr, LOW & 0xf0);
	CHECK("CR8 in its handler", in_handler.cr8, 0);
	CHECK("not in service after EOI", vector_bit(APIC_ISR, LOW), 0);
	CHECK("priority after EOI", apic_read(APIC_PPR), 0);
	set_handler(LOW, count_arrival);
	apic_eoi();
	CHECK("an EOI without an interrupt changes nothing", apic_read(APIC_PPR), 0);
}

static void test_task_priority(void)
{
	topic("task priority");
	interrupts_on();
	forget_arrivals();
	apic_write(APIC_TPR, 0x60);
	CHECK("CR8 is its class", read_cr8(), 6);
	CHECK("it is the processor priority", apic_read(APIC_PPR), 0x60);
	send_self(LOW);
	send_self(SAME_CLASS);
	let_interrupts_in();
	CHECK("its own class waits", arrivals[0].total, 0);
	send_self(HIGH);
	let_interrupts_in();
	CHECK("a higher class comes", arrived(0, HIGH), 1);
	apic_write(APIC_TPR, 0x5f);
	let_interrupts_in();
	CHECK("lowered by a class it lets them in", arrivals[0].total, 3);
	CHECK("the higher vector first", arrivals[0].order[1], SAME_CLASS);
	write_cr8(0xf);
	CHECK("a load of CR8 clears the subclass", apic_read(APIC_TPR), 0xf0);
	send_self(0xef);
	let_interrupts_in();
	CHECK("15 holds everything", arrivals[0].total, 3);
	write_cr8(0);
	let_interrupts_in();
	CHECK("0 holds nothing", arrivals[0].total, 4);
	apic_write(APIC_TPR, 0x35);
	CHECK("CR8 has no subclass", read_cr8(), 3);
	CHECK("the register has it", apic_read(APIC_TPR), 0x35);
	CHECK("and so has the processor priority", apic_read(APIC_PPR), 0x35);
	apic_write(APIC_TPR, 0);
}

static int nested_seen;

static void nest(struct interrupt_frame *frame)
{
	(void)frame;
	send_self(SAME_CLASS);
	send_self(HIGH);
	let_interrupts_in();
	interrupts_off();
	nested_seen = (int)arrivals[0].total;
	apic_eoi();
}

static void test_nesting(void)
{
	topic("nesting");
	forget_arrivals();
	set_handler(LOW + 1, nest);
	send_self(LOW + 1);
	let_interrupts_in();
	CHECK("a higher class interrupts a handler", nested_seen, 1);
	CHECK("which it is", arrivals[0].order[0], HIGH);
	CHECK("its own class waits for the EOI", arrivals[0].order[1], SAME_CLASS);
	set_handler(LOW + 1, count_arrival);
}

static void test_order(void)
{
	topic("order");
	forget_arrivals();
	interrupts_off();
	send_self(0x71);
	send_self(0xe1);
	send_self(0x72);
	send_self(0x91);
	let_interrupts_in();
	CHECK("first", arrivals[0].order[0], 0xe1);
	CHECK("second", arrivals[0].order[1], 0x91);
	CHECK("third", arrivals[0].order[2], 0x72);
	CHECK("fourth", arrivals[0].order[3], 0x71);
}

void test_priority(void)
{
	test_request_and_service();
	test_task_priority();
	test_nesting();
	test_order();
}
