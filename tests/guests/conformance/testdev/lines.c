/* Interrupt lines: both controllers, edges and levels, and that an interrupt is there when the OUT is done. */
#include "tests.h"

#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "timer.h"

#define LINE 14
#define VECTOR_LINE (VECTOR_TEST + 1)
#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1
#define ELCR 0x4d0
#define OCW2_EOI 0x20
#define OCW3_READ_IRR 0x0a

static volatile uint64_t taken;
static volatile uint32_t remote_irr;
static volatile int lower_in_handler;

static void take_edge(struct interrupt_frame *frame)
{
	(void)frame;
	taken++;
	apic_eoi();
}

static void take_level(struct interrupt_frame *frame)
{
	(void)frame;
	taken++;
	remote_irr = redirection(LINE) & REDIRECTION_REMOTE_IRR;
	if (taken >= 3 || lower_in_handler)
		outb(IRQ_LINE + LINE, 0);
	apic_eoi();
}

/* An EOI goes to the I/O APIC by a bus, so a level takes a moment to come again. */
static uint64_t after(uint64_t before)
{
	interrupts_on();
	delay_us(2000);
	interrupts_off();
	return taken - before;
}

static void test_edges(void)
{
	topic("an edge at the I/O APIC");
	set_handler(VECTOR_LINE, take_edge);
	redirect(LINE, VECTOR_LINE);
	taken = 0;
	outb(IRQ_LINE + LINE, 1);
	CHECK("it is in the local APIC's IRR at once", apic_read(APIC_IRR + VECTOR_LINE / 32 * 16) >> VECTOR_LINE % 32 & 1, 1);
	CHECK("and is delivered", after(0), 1);
	CHECK("a high line is no second edge", after(1), 0);
	outb(IRQ_LINE + LINE, 0);
	CHECK("nor is a falling one", after(1), 0);
	outb(IRQ_LINE + LINE, 1);
	outb(IRQ_LINE + LINE, 0);
	outb(IRQ_LINE + LINE, 1);
	outb(IRQ_LINE + LINE, 0);
	CHECK("two edges before the first is taken are one", after(1), 1);
	outb(IRQ_LINE + LINE, 0x80);
	outb(IRQ_LINE + LINE, 0);
	CHECK("any value but 0 is high", after(2), 1);
	CHECK("Remote IRR of an edge", redirection(LINE) & REDIRECTION_REMOTE_IRR, 0);
	redirect(LINE, REDIRECTION_MASKED | VECTOR_LINE);
	outb(IRQ_LINE + LINE, 1);
	redirect(LINE, VECTOR_LINE);
	CHECK("an edge at a masked pin is lost", after(3), 0);
	outb(IRQ_LINE + LINE, 0);
}

static void test_levels(void)
{
	topic("a level at the I/O APIC");
	set_handler(VECTOR_LINE, take_level);
	redirect(LINE, REDIRECTION_LEVEL | VECTOR_LINE);
	taken = 0;
	lower_in_handler = 0;
	outb(IRQ_LINE + LINE, 1);
	CHECK("it comes again after each EOI while it is high", after(0), 3);
	CHECK("Remote IRR in the handler", remote_irr, REDIRECTION_REMOTE_IRR);
	CHECK("Remote IRR afterwards", redirection(LINE) & REDIRECTION_REMOTE_IRR, 0);
	lower_in_handler = 1;
	outb(IRQ_LINE + LINE, 1);
	outb(IRQ_LINE + LINE, 0);
	CHECK("one that fell before it was taken is taken once", after(3), 1);
	redirect(LINE, REDIRECTION_MASKED | REDIRECTION_LEVEL | VECTOR_LINE);
	outb(IRQ_LINE + LINE, 1);
	CHECK("a masked level waits", after(4), 0);
	redirect(LINE, REDIRECTION_LEVEL | VECTOR_LINE);
	CHECK("and comes when it is unmasked", after(4), 1);
	outb(IRQ_LINE + LINE, 0);
	redirect(LINE, REDIRECTION_MASKED);
}

/* A call and a return are between the OUT and what follows, as in most test suites: what QEMU's translator takes
 * interrupts at. */
static __attribute__((noinline)) void drive(uint8_t level)
{
	outb(IRQ_LINE + LINE, level);
}

static __attribute__((noinline)) void mask(uint32_t bits)
{
	redirect(LINE, bits | REDIRECTION_LEVEL | VECTOR_LINE);
}

static void take_masking(struct interrupt_frame *frame)
{
	(void)frame;
	taken++;
	mask(REDIRECTION_MASKED);
	apic_eoi();
}

static void test_at_once(void)
{
	uint64_t counts[4];

	topic("interrupts at once");
	set_handler(VECTOR_LINE, take_edge);
	redirect(LINE, VECTOR_LINE);
	taken = 0;
	interrupts_on();
	drive(1);
	counts[0] = taken;
	drive(0);
	drive(1);
	counts[1] = taken;
	drive(0);
	interrupts_off();
	CHECK("an edge is taken when the write returns", counts[0], 1);
	CHECK("and the next", counts[1], 2);

	set_handler(VECTOR_LINE, take_level);
	redirect(LINE, REDIRECTION_LEVEL | VECTOR_LINE);
	taken = 0;
	lower_in_handler = 1;
	interrupts_on();
	drive(1);
	counts[0] = taken;
	drive(1);
	counts[1] = taken;
	interrupts_off();
	CHECK("a level that its handler lowers", counts[0], 1);
	CHECK("and another", counts[1], 2);

	set_handler(VECTOR_LINE, take_masking);
	taken = 0;
	interrupts_on();
	drive(1);
	counts[0] = taken;
	mask(0);
	counts[1] = taken;
	drive(0);
	mask(0);
	counts[2] = taken;
	interrupts_off();
	CHECK("a level that its handler masks", counts[0], 1);
	CHECK("comes when it is unmasked", counts[1], 2);
	CHECK("but not once it is low", counts[2], 2);
	redirect(LINE, REDIRECTION_MASKED);

	set_handler(VECTOR_LINE, take_level);
	redirect(LINE, REDIRECTION_LEVEL | VECTOR_LINE);
	taken = 0;
	lower_in_handler = 0;
	interrupts_on();
	drive(1);
	delay_us(2000); /* after each EOI, as above */
	counts[0] = taken;
	interrupts_off();
	CHECK("a level that stays comes after each EOI", counts[0], 3);
	redirect(LINE, REDIRECTION_MASKED);
}

static void test_above_the_isa(void)
{
	topic("lines of the I/O APIC alone");
	if (option("qemu", 0))
		return;
	set_handler(VECTOR_LINE, take_edge);
	for (unsigned pin = 16; pin < 24; pin++) {
		redirect(pin, VECTOR_LINE);
		taken = 0;
		outb((uint16_t)(IRQ_LINE + pin), 1);
		outb((uint16_t)(IRQ_LINE + pin), 0);
		after(0);
		if (taken != 1)
			break;
		redirect(pin, REDIRECTION_MASKED);
	}
	CHECK_NOT_QEMU("pins 16 to 23 have a line each", taken, 1, "ends with an assertion: its ISA bus has 16 lines");
}

static uint8_t requests(uint16_t command)
{
	outb(command, OCW3_READ_IRR);
	return inb(command);
}

static void test_pic(void)
{
	topic("lines of the 8259s");
	CHECK("a low line", requests(PIC1_COMMAND) & 0x20, 0);
	outb(IRQ_LINE + 5, 1);
	CHECK("a high line requests", requests(PIC1_COMMAND) & 0x20, 0x20);
	outb(IRQ_LINE + 5, 0);
	outb(ELCR + 1, inb(ELCR + 1) | 0x02);
	outb(IRQ_LINE + 9, 1);
	CHECK("a level requests", requests(PIC2_COMMAND) & 0x02, 0x02);
	outb(IRQ_LINE + 9, 0);
	CHECK("while it is high", requests(PIC2_COMMAND) & 0x02, 0);
	outb(ELCR + 1, inb(ELCR + 1) & ~0x02);
}

void test_lines(void)
{
	interrupts_off();
	test_edges();
	test_levels();
	test_at_once();
	test_above_the_isa();
	test_pic();
	interrupts_on();
}
