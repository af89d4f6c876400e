/* The pair of 8259A interrupt controllers (Intel 8259A data sheet, order 231468) with the PIIX's edge/level registers.
 * pc-testdev drives their lines; poll commands acknowledge in the CPU's place. One CPU. */
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "smp.h"
#include "timer.h"

#define MASTER 0x20
#define SLAVE 0xa0
#define ELCR 0x4d0
#define IRQ_LINE 0x2000

#define ICW1 0x11 /* edge, cascade, ICW4 */
#define ICW4 0x01
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10
#define MASTER_BASE 0x60
#define SLAVE_BASE 0x68

/* OCW2 */
#define EOI 0x20
#define SPECIFIC_EOI(n) (0x60 | (n))
#define ROTATE_ON_EOI 0xa0
#define ROTATE_ON_SPECIFIC_EOI(n) (0xe0 | (n))
#define SET_PRIORITY(n) (0xc0 | (n))
#define ROTATE_ON_AEOI 0x80
#define NO_ROTATE_ON_AEOI 0x00
/* OCW3 */
#define POLL 0x0c
#define READ_IRR 0x0a
#define READ_ISR 0x0b
#define SPECIAL_MASK 0x68
#define NO_SPECIAL_MASK 0x48

static volatile int last_vector;

static void initialize(uint8_t master_icw4, uint8_t slave_icw4)
{
	outb(MASTER, ICW1);
	outb(MASTER + 1, MASTER_BASE);
	outb(MASTER + 1, 0x04);
	outb(MASTER + 1, ICW4 | master_icw4);
	outb(SLAVE, ICW1);
	outb(SLAVE + 1, SLAVE_BASE);
	outb(SLAVE + 1, 0x02);
	outb(SLAVE + 1, ICW4 | slave_icw4);
	outb(MASTER + 1, 0x01); /* not the PIT */
	outb(SLAVE + 1, 0x00);
}

static void line(unsigned n, uint8_t level)
{
	outb((uint16_t)(IRQ_LINE + n), level);
}

static uint8_t irr(uint16_t chip)
{
	outb(chip, READ_IRR);
	return inb(chip) & ~1;
}

static uint8_t isr(uint16_t chip)
{
	outb(chip, READ_ISR);
	return inb(chip);
}

static uint8_t poll(uint16_t chip)
{
	outb(chip, POLL);
	return inb(chip);
}

static void test_initialization(void)
{
	topic("initialization");
	outb(MASTER + 1, 0xff);
	outb(MASTER, ICW1);
	outb(MASTER + 1, MASTER_BASE);
	outb(MASTER + 1, 0x04);
	outb(MASTER + 1, ICW4);
	CHECK("ICW1 clears the mask", inb(MASTER + 1), 0);
	outb(MASTER + 1, 0xa5);
	CHECK("OCW1 is read back", inb(MASTER + 1), 0xa5);
	initialize(0, 0);
	CHECK("nothing is in service", isr(MASTER) | isr(SLAVE), 0);
	outb(MASTER, READ_ISR);
	outb(MASTER, ICW1);
	outb(MASTER + 1, MASTER_BASE);
	outb(MASTER + 1, 0x04);
	outb(MASTER + 1, ICW4);
	line(5, 1);
	CHECK("ICW1 chooses the IRR for reading", inb(MASTER) & 0x20, 0x20);
	line(5, 0);
	initialize(0, 0);
}

static void test_requests(void)
{
	topic("edges");
	line(5, 1);
	CHECK("an edge requests", irr(MASTER) & 0x20, 0x20);
	CHECK("a poll tells its level", poll(MASTER), 0x85);
	CHECK("which is in service", isr(MASTER), 0x20);
	CHECK("and requests no more", irr(MASTER) & 0x20, 0);
	CHECK("a poll without a request", poll(MASTER), 0);
	outb(MASTER, EOI);
	CHECK("an EOI ends it", isr(MASTER), 0);
	CHECK("a high line alone is no second request", poll(MASTER), 0);
	line(5, 0);
	line(5, 1);
	CHECK("a second edge is", poll(MASTER), 0x85);
	outb(MASTER, EOI);
	line(5, 0);
	line(5, 1);
	line(5, 0);
	CHECK_NOT_QEMU("a request whose line has fallen", irr(MASTER) & 0x20, 0,
		       "keeps it; the input has to stay high until it is acknowledged (data sheet, Triggered Modes)");
	initialize(0, 0);
	outb(MASTER + 1, 0x21);
	line(5, 1);
	CHECK("a masked request is in the IRR", irr(MASTER) & 0x20, 0x20);
	CHECK("and is not polled", poll(MASTER), 0);
	outb(MASTER + 1, 0x01);
	CHECK("until it is unmasked", poll(MASTER), 0x85);
	outb(MASTER, EOI);
	line(5, 0);

	topic("levels");
	outb(ELCR, 0xff);
	outb(ELCR + 1, 0xff);
	CHECK("lines that can be levels", inb(ELCR) | inb(ELCR + 1) << 8, 0xdef8);
	outb(ELCR, 0x20);
	outb(ELCR + 1, 0);
	line(5, 1);
	CHECK("a level is polled", poll(MASTER), 0x85);
	CHECK("and still requests", irr(MASTER) & 0x20, 0x20);
	CHECK("but not while it is in service", poll(MASTER), 0);
	outb(MASTER, EOI);
	CHECK("it comes again after its EOI", poll(MASTER), 0x85);
	line(5, 0);
	CHECK("a low level requests no more", irr(MASTER) & 0x20, 0);
	outb(MASTER, EOI);
	CHECK("nor comes again", poll(MASTER), 0);
	outb(ELCR, 0);
}

static void test_priorities(void)
{
	topic("fully nested");
	line(6, 1);
	line(3, 1);
	line(4, 1);
	CHECK("the highest first", poll(MASTER), 0x83);
	CHECK("no lower one meanwhile", poll(MASTER), 0);
	line(1, 1);
	CHECK("but a higher one", poll(MASTER), 0x81);
	CHECK("both are in service", isr(MASTER), 0x0a);
	outb(MASTER, EOI);
	CHECK("an EOI ends the higher", isr(MASTER), 0x08);
	outb(MASTER, SPECIFIC_EOI(3));
	CHECK("a specific one that it names", isr(MASTER), 0);
	CHECK("then the next", poll(MASTER), 0x84);

	topic("special mask mode");
	outb(MASTER + 1, 0x11);
	CHECK("a mask alone lets no lower one through", poll(MASTER), 0);
	outb(MASTER, SPECIAL_MASK);
	CHECK("special mask mode does", poll(MASTER), 0x86);
	outb(MASTER, SPECIFIC_EOI(6));
	outb(MASTER, SPECIFIC_EOI(4));
	outb(MASTER, NO_SPECIAL_MASK);
	outb(MASTER + 1, 0x01);
	for (unsigned n = 1; n < 8; n++)
		if (n != 2)
			line(n, 0);
	CHECK("all are served", isr(MASTER) | (irr(MASTER) & 0xfa), 0);

	topic("rotation");
	line(3, 1);
	poll(MASTER);
	outb(MASTER, ROTATE_ON_EOI);
	line(3, 0);
	line(3, 1);
	line(4, 1);
	CHECK("who was served is last", poll(MASTER), 0x84);
	outb(MASTER, EOI);
	CHECK("and comes then", poll(MASTER), 0x83);
	outb(MASTER, ROTATE_ON_SPECIFIC_EOI(3));
	line(3, 0);
	line(4, 0);
	outb(MASTER, SET_PRIORITY(5));
	line(5, 1);
	line(6, 1);
	line(1, 1);
	CHECK("after set priority 5, 6 is first", poll(MASTER), 0x86);
	outb(MASTER, EOI);
	CHECK("then 1", poll(MASTER), 0x81);
	outb(MASTER, EOI);
	CHECK("and 5 last", poll(MASTER), 0x85);
	outb(MASTER, EOI);
	line(1, 0);
	line(5, 0);
	line(6, 0);
	outb(MASTER, SET_PRIORITY(7));

	topic("automatic EOI");
	initialize(ICW4_AEOI, 0);
	line(3, 1);
	CHECK("it is polled", poll(MASTER), 0x83);
	CHECK("and not in service", isr(MASTER), 0);
	line(3, 0);
	outb(MASTER, ROTATE_ON_AEOI);
	line(3, 1);
	poll(MASTER);
	line(3, 0);
	line(3, 1);
	line(4, 1);
	CHECK("with rotation, who was served is last", poll(MASTER), 0x84);
	CHECK("and comes next", poll(MASTER), 0x83);
	outb(MASTER, NO_ROTATE_ON_AEOI);
	line(3, 0);
	line(4, 0);
	initialize(0, 0);
}

static void test_cascade(void)
{
	topic("the slave");
	line(12, 1);
	CHECK("its request", irr(SLAVE), 0x10);
	CHECK("is the master's input 2", irr(MASTER) & 0x04, 0x04);
	CHECK("the master's poll", poll(MASTER), 0x82);
	CHECK("the slave's poll", poll(SLAVE), 0x84);
	line(9, 1);
	CHECK("a higher one of the slave's waits for the master", poll(MASTER), 0);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	CHECK("and comes after its EOI", poll(MASTER), 0x82);
	CHECK("as itself", poll(SLAVE), 0x81);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	line(9, 0);
	line(12, 0);
	line(14, 1);
	line(1, 1);
	CHECK("the master's 1 is before the slave", poll(MASTER), 0x81);
	outb(MASTER, EOI);
	line(3, 1);
	CHECK("the slave before the master's 3", poll(MASTER), 0x82);
	poll(SLAVE);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	CHECK("which comes then", poll(MASTER), 0x83);
	outb(MASTER, EOI);
	line(1, 0);
	line(3, 0);
	line(14, 0);

	topic("special fully nested mode");
	initialize(ICW4_SFNM, 0);
	line(12, 1);
	poll(MASTER);
	poll(SLAVE);
	line(9, 1);
	CHECK("a higher one of the slave's comes at once", poll(MASTER), 0x82);
	CHECK("it is the slave's highest", poll(SLAVE), 0x81);
	outb(SLAVE, EOI);
	CHECK("the slave's other is still in service", isr(SLAVE), 0x10);
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
	line(9, 0);
	line(12, 0);
	initialize(0, 0);
}

static void take(struct interrupt_frame *frame)
{
	last_vector = (int)frame->vector;
	frame->rflags &= ~(uint64_t)RFLAGS_IF; /* one at a time */
	if (frame->vector >= SLAVE_BASE)
		outb(SLAVE, EOI);
	outb(MASTER, EOI);
}

/* The vector that has come meanwhile, or 0. */
static int interrupt(void)
{
	last_vector = 0;
	interrupts_on();
	for (int i = 0; i < 1000 && last_vector == 0; i++)
		delay_us(10);
	interrupts_off();
	return last_vector;
}

static void test_acknowledge(void)
{
	topic("interrupts by LINT0");
	for (int vector = MASTER_BASE; vector < MASTER_BASE + 16; vector++)
		set_handler(vector, take);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	line(5, 1);
	CHECK("the master's vector", interrupt(), MASTER_BASE + 5);
	line(5, 0);
	line(11, 1);
	CHECK("the slave's vector", interrupt(), SLAVE_BASE + 3);
	line(11, 0);
	line(15, 1);
	line(7, 1);
	CHECK("two at once, the slave's first", interrupt(), SLAVE_BASE + 7);
	CHECK("then the master's", interrupt(), MASTER_BASE + 7);
	line(7, 0);
	line(15, 0);
	CHECK("and no more", interrupt(), 0);
	outb(MASTER + 1, 0x21);
	line(5, 1);
	CHECK("a masked one does not come", interrupt(), 0);
	outb(MASTER + 1, 0x01);
	CHECK("until it is unmasked there", interrupt(), MASTER_BASE + 5);
	line(5, 0);
	outb(ELCR, 0x20);
	line(5, 1);
	CHECK("a level", interrupt(), MASTER_BASE + 5);
	CHECK("comes again", interrupt(), MASTER_BASE + 5);
	line(5, 0);
	interrupt();
	CHECK("until it is low", interrupt(), 0);
	outb(ELCR, 0);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	line(5, 1);
	CHECK("none through a masked LINT0", interrupt(), 0);
	line(5, 0);
}

_Noreturn void guest_main(void)
{
	smp_init();
	apic_enable();
	interrupts_off();
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	outb(ELCR, 0);
	outb(ELCR + 1, 0);
	/* The PIT's output goes high and stays so. */
	outb(0x43, 0x30);
	outb(0x40, 1);
	outb(0x40, 0);
	delay_us(1000);
	initialize(0, 0);
	test_initialization();
	test_requests();
	test_priorities();
	test_cascade();
	test_acknowledge();
	finish();
}
