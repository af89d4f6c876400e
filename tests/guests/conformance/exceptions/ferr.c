/* x87 errors: #MF with CR0.NE, interrupt 13 by FERR# without (SDM vol. 1, 8.7 and appendix D). */
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"
#include "smp.h"
#include "tests.h"
#include "timer.h"

#define CR0_NE (1u << 5)
#define VECTOR_MF 16
#define VECTOR_FERR (VECTOR_TEST + 4)
#define IOAPIC 0xfec00000
#define IOAPIC_REDIRECTION 0x10
#define FERR_PIN 13
#define FERR_PORT 0xf0
#define MASK_ALL_BUT_ZERO_DIVIDE 0x37b

static volatile uint64_t errors;

static void redirect(uint32_t low)
{
	volatile uint32_t *ioapic = physical(IOAPIC);

	ioapic[0] = IOAPIC_REDIRECTION + 2 * FERR_PIN + 1;
	ioapic[4] = this_cpu()->apic_id << 24;
	ioapic[0] = IOAPIC_REDIRECTION + 2 * FERR_PIN;
	ioapic[4] = low;
}

static void on_ferr(struct interrupt_frame *frame)
{
	(void)frame;
	errors++;
	outb(FERR_PORT, 0);
	__asm__ volatile("fnclex");
	apic_eoi();
}

static void divide_by_zero(void)
{
	uint16_t control = MASK_ALL_BUT_ZERO_DIVIDE;

	__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp" : : "m"(control));
}

void test_ferr(void)
{
	uint64_t cr0 = read_cr0();

	topic("x87 errors");
	set_handler(VECTOR_MF, skip_fault);
	write_cr0(cr0 | CR0_NE);
	divide_by_zero();
	PROVOKE("fwait", "m"(area));
	CHECK_FAULT("FWAIT with NE", VECTOR_MF, 0);
	divide_by_zero();
	PROVOKE("fnstsw %%ax; fnclex; fwait", "m"(area));
	CHECK_NO_FAULT("no wait before FNCLEX");
	divide_by_zero();
	PROVOKE("paddb %%mm0, %%mm0", "m"(area));
	CHECK_NOT_QEMU("MMX with NE vector", seen.vector, VECTOR_MF, "asks for no error; vol. 3, table 12-1");

	smp_init();
	apic_enable();
	set_handler(VECTOR_FERR, on_ferr);
	redirect(VECTOR_FERR);
	write_cr0(cr0 & ~(uint64_t)CR0_NE);
	interrupts_on();
	divide_by_zero();
	PROVOKE("fwait", "m"(area));
	for (int i = 0; i < 1000 && !errors; i++)
		delay_us(1000);
	interrupts_off();
	CHECK("FWAIT without NE exceptions", seen.count, 0);
	CHECK("interrupt 13", errors, 1);
	redirect(LVT_MASKED);
	__asm__ volatile("fninit");
	write_cr0(cr0);
}
