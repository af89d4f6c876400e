/* Software disable, local sources, and the 8259s at LINT0 (SDM vol. 3, 10.4.7 and 10.5.1). */
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "tests.h"

#define TICK 0x91
#define LINT0 0x92
#define MASKS "its LVT entries keep their mask bits; SDM vol. 3, 10.4.7.2"

/* The PIT's channel 0 raises IRQ 0 once. */
static void pit_once(void)
{
	outb(0x43, 0x30);
	outb(0x40, 0xff);
	outb(0x40, 0);
}

static void test_software_disable(void)
{
	uint64_t before;

	topic("software disable");
	forget_arrivals();
	apic_write(APIC_LVT_TIMER, TICK);
	apic_write(APIC_LVT_THERMAL, TICK);
	apic_write(APIC_SVR, VECTOR_SPURIOUS);
	CHECK_NOT_QEMU("it masks the timer's entry", apic_read(APIC_LVT_TIMER), LVT_MASKED | TICK, MASKS);
	CHECK_NOT_QEMU("and the others", apic_read(APIC_LVT_THERMAL), LVT_MASKED | TICK, MASKS);
	apic_write(APIC_LVT_THERMAL, TICK);
	CHECK_NOT_QEMU("they stay masked", apic_read(APIC_LVT_THERMAL), LVT_MASKED | TICK, MASKS);
	apic_send(0, ICR_SELF | ICR_ASSERT | TICK);
	let_interrupts_in();
	before = arrived(0, TICK);
	CHECK("no interrupt is taken", before, 0);
	apic_write(APIC_LVT_THERMAL, LVT_MASKED);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	let_interrupts_in();
	CHECK_NOT_QEMU("nor later", arrived(0, TICK), 0,
		       "it accepts interrupts while it is disabled; SDM vol. 3, 10.4.7.2");
}

static void test_lint0(void)
{
	topic("the 8259s at LINT0");
	forget_arrivals();
	pic_mask_all();
	if (!option("qemu", 0)) {
		/* The acknowledge cycle follows there, and its vector. */
		apic_write(APIC_LVT_LINT0, LINT0);
		pit_once();
		outb(0x21, 0xfe);
		CHECK_NOT_QEMU("as a vector", await_arrivals(0, LINT0, 1), 1,
			       "it takes an ExtINT, too; SDM vol. 3, 10.5.1");
		pic_mask_all();
	}
	forget_arrivals();
	apic_write(APIC_LVT_LINT0, LVT_MASKED | LINT0);
	pit_once();
	outb(0x21, 0xfe);
	delay_us(2000);
	CHECK("masked", arrivals[0].total, 0);
	pic_mask_all();

	set_handler(VECTOR_PIC, count_arrival);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	pit_once();
	outb(0x21, 0xfe);
	CHECK("as ExtINT, the 8259's vector", await_arrivals(0, VECTOR_PIC, 1), 1);
	outb(0x20, 0x20);
	CHECK("it is in nobody's service", vector_bit(APIC_ISR, VECTOR_PIC), 0);
	write_cr8(15);
	pit_once();
	CHECK("it asks no priority", await_arrivals(0, VECTOR_PIC, 2), 2);
	outb(0x20, 0x20);
	write_cr8(0);
	pic_mask_all();
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
}

void test_local_vector_table(void)
{
	test_software_disable();
	test_lint0();
}
