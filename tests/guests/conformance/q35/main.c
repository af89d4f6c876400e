/* The board with an MCH and an ICH9: what firmware leaves, MMCONFIG, and the way of PCI interrupts (ICH9 data sheet, 5.8
 * and 13.1; PCI Express 2.0, 7.2.2). */
#include "arrivals.h"
#include "conformance.h"
#include "edu.h"
#include "guest.h"
#include "interrupts.h"
#include "ioapic.h"

#define MCH 0
#define LPC 31
#define ACPI_BASE 0x600
#define MMCONFIG 0xb0000000u
/* PIRQA# as the I/O APIC has it. Device 1's INTA# is PIRQF#. */
#define FIRST_PIRQ 16
#define EDU_PIRQ 5
#define ISA_VECTOR 0x61
#define GSI_VECTOR 0x71

static volatile uint32_t *mmconfig(unsigned bus, unsigned slot, unsigned offset)
{
	return physical(MMCONFIG + (bus << 20 | slot << 15 | offset));
}

static void test_functions(void)
{
	topic("PCI after firmware");
	CHECK("00.0 is an MCH", pci_read(MCH, 0, 0), 0x29c08086);
	CHECK("00.0's class and revision", pci_read(MCH, 0, 8), 0x06000000);
	CHECK("PCIEXBAR", pci_read(MCH, 0, 0x60), MMCONFIG | 1);
	CHECK("PCIEXBAR's upper half", pci_read(MCH, 0, 0x64), 0);
	CHECK("1f.0 is an ICH9's LPC bridge", pci_read(LPC, 0, 0), 0x29188086);
	CHECK("1f.0's class and revision", pci_read(LPC, 0, 8), 0x06010002);
	CHECK("1f.0 is a multi-function device", pci_read(LPC, 0, 0xc) >> 16 & 0xff, 0x80);
	CHECK("PMBASE", pci_read(LPC, 0, 0x40), ACPI_BASE | 1);
	CHECK("ACPI_CNTL", pci_read(LPC, 0, 0x44) & 0xff, 0x80);
	CHECK("PIRQA to PIRQD", pci_read(LPC, 0, 0x60), 0x0b0b0a0a);
	CHECK("PIRQE to PIRQH", pci_read(LPC, 0, 0x68), 0x0b0b0a0a);
	CHECK("LPC_EN has COM1", pci_read(LPC, 0, 0x80) >> 16 & 1, 1);
	CHECK("level triggered interrupts", inb(0x4d0) | inb(0x4d1) << 8, 0x0c00);
	CHECK("edu's device", edu_slot, 1);
	CHECK("edu's interrupt", pci_read(edu_slot, 0, PCI_INTERRUPT_LINE) & 0xffff, 0x010a);
}

static void test_acpi(void)
{
	topic("ACPI registers");
	CHECK("the FADT's PM timer", acpi.pm_timer, ACPI_BASE + 8);
	CHECK("the timer counts", inl(ACPI_BASE + 8) != 0, 1);
	outw(ACPI_BASE + 0x28, 2);
	CHECK("an enable bit of GPE0", inw(ACPI_BASE + 0x28), 2);
	outw(ACPI_BASE + 0x28, 0);
	CHECK("GPE0 is idle", inl(ACPI_BASE + 0x20), 0);
	outb(0xcf9, 0x2);
	CHECK("reset control", inb(0xcf9), 0x2);
	outb(0xcf9, 0);
}

static void test_mmconfig(void)
{
	topic("configuration space in memory");
	CHECK("the same registers", *mmconfig(0, LPC, 0), 0x29188086);
	CHECK("a byte", *(volatile uint8_t *)mmconfig(0, LPC, 1), 0x80);
	CHECK("nobody", *mmconfig(0, 20, 0), 0xffffffff);
	CHECK("no other bus", *mmconfig(1, 0, 0), 0xffffffff);
	CHECK("no extended registers", *mmconfig(0, LPC, 0x100), 0xffffffff);
	*(volatile uint16_t *)mmconfig(0, edu_slot, PCI_COMMAND) = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	CHECK("a write", pci_read(edu_slot, 0, PCI_COMMAND) & 0xffff, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	*(volatile uint8_t *)mmconfig(0, edu_slot, PCI_INTERRUPT_LINE) = 0x55;
	CHECK("a write of a byte", pci_read(edu_slot, 0, PCI_INTERRUPT_LINE), 0x155);
	*(volatile uint8_t *)mmconfig(0, edu_slot, PCI_INTERRUPT_LINE) = 0x0a;
}

static void acknowledge(struct interrupt_frame *frame)
{
	edu_write(EDU_ACKNOWLEDGE, edu_read(EDU_INTERRUPTS));
	count_arrival(frame);
}

/* How often edu has interrupted by each way. */
static uint64_t raised(void)
{
	forget_arrivals();
	edu_write(EDU_RAISE, 1);
	delay_us(2000);
	edu_write(EDU_ACKNOWLEDGE, edu_read(EDU_INTERRUPTS));
	return arrived(0, ISA_VECTOR) << 8 | arrived(0, GSI_VECTOR);
}

static void test_interrupts(void)
{
	uint32_t routes = pci_read(LPC, 0, 0x68);

	topic("PCI interrupts");
	interrupts_on();
	entry_write(10, ENTRY_LEVEL | ISA_VECTOR);
	CHECK("by the ISA interrupt", raised(), 0x100);
	entry_write(10, ENTRY_MASKED);
	for (unsigned pirq = 0; pirq < 8; pirq++)
		entry_write(FIRST_PIRQ + pirq, ENTRY_LEVEL | (pirq == EDU_PIRQ ? GSI_VECTOR : ISA_VECTOR));
	CHECK("by the PIRQ's own", raised(), 0x001);
	for (unsigned pirq = 0; pirq < 8; pirq++)
		entry_write(FIRST_PIRQ + pirq, ENTRY_MASKED);
	pci_write(LPC, 0, 0x68, 0x80808080);
	entry_write(10, ENTRY_LEVEL | ISA_VECTOR);
	CHECK("routed nowhere", raised(), 0);
	entry_write(10, ENTRY_MASKED);
	pci_write(LPC, 0, 0x68, 0x80800580);
	entry_write(5, ENTRY_LEVEL | ISA_VECTOR);
	CHECK("routed to another", raised(), 0x100);
	entry_write(5, ENTRY_MASKED);
	pci_write(LPC, 0, 0x68, routes);
}

_Noreturn void guest_main(void)
{
	pic_mask_all();
	set_handler(ISA_VECTOR, acknowledge);
	set_handler(GSI_VECTOR, acknowledge);
	CHECK("edu is there", edu_find(), 1);
	test_functions();
	test_acpi();
	test_mmconfig();
	test_interrupts();
	finish();
}
