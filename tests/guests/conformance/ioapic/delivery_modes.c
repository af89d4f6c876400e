/* NMI and ExtINT from a pin (82093AA data sheet, 3.2.4: delivery mode), and EOI broadcasts that are suppressed. */
#include "arrivals.h"
#include "conformance.h"
#include "ioapic.h"
#include "tests.h"

#define VECTOR 0xa5
#define VERSION_SUPPRESSION (1u << 24)
#define SVR_SUPPRESSION (1u << 12)

static uint64_t nmis;

static void count_nmi(struct interrupt_frame *frame)
{
	(void)frame;
	nmis++;
}

void test_delivery_modes(void)
{
	topic("delivery modes");
	forget_arrivals();
	set_handler(VECTOR_NMI, count_nmi);
	interrupts_off();
	entry_write(PIN, ENTRY_NMI);
	pulse(PIN);
	CHECK("NMI asks no IF", nmis, 1);
	entry_write(PIN, ENTRY_NMI | ENTRY_LEVEL);
	CHECK("a level of the mode NMI is none", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	entry_write(PIN, ENTRY_MASKED);
	interrupts_on();

	pic_mask_all();
	set_handler(VECTOR_PIC + 8 + 6, count_arrival);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	outb(0x21, 0xfb);
	outb(0xa1, 0xbf);
	entry_write(PIN, ENTRY_EXTINT);
	line(PIN, true);
	CHECK("ExtINT brings the 8259's vector", await_arrivals(0, VECTOR_PIC + 8 + 6, 1), 1);
	line(PIN, false);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	pic_mask_all();
	entry_write(PIN, ENTRY_MASKED);
}

void test_suppressed_broadcast(void)
{
	if (!(apic_read(APIC_VERSION) & VERSION_SUPPRESSION)) {
		absent("suppressed EOI broadcasts", "the local APIC's version has no bit 24");
		return;
	}
	topic("suppressed EOI broadcasts");
	forget_arrivals();
	apic_write(APIC_SVR, SVR_SUPPRESSION | SVR_ENABLE | VECTOR_SPURIOUS);
	CHECK("the bit is kept", apic_read(APIC_SVR) & SVR_SUPPRESSION, SVR_SUPPRESSION);
	entry_write(PIN, ENTRY_LEVEL | VECTOR);
	line(PIN, true);
	CHECK("a level is taken", await_arrivals(0, VECTOR, 1), 1);
	CHECK("its EOI ends nothing there", entry_read(PIN) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR);
	line(PIN, false);
	ioapic_end_of_interrupt(VECTOR);
	CHECK("the EOI register does", entry_read(PIN) & ENTRY_REMOTE_IRR, 0);
	CHECK("and it was one interrupt", arrived(0, VECTOR), 1);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	entry_write(PIN, ENTRY_MASKED);
}
