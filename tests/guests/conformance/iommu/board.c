/* The board as firmware leaves it, and `edu` without the IOMMU. */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define LPC 31
#define IOAPIC 0xfec00000
#define TEST_PATTERN 0x600d1dea

static uint8_t buffer[4096] __attribute__((aligned(4096)));

void test_board(void)
{
	topic("a Q35 after firmware");
	CHECK("00.0 is an 82Q35", pci_read(0, 0, 0), 0x29c08086);
	CHECK("00.0's class", pci_read(0, 0, 8) >> 8, 0x060000);
	CHECK("1f.0 is an ICH9's LPC bridge", pci_read(LPC, 0, 0), 0x29188086);
	CHECK("1f.0's class", pci_read(LPC, 0, 8), 0x06010002);
	CHECK("1f.0 is a multi-function device", pci_read(LPC, 0, 0xc) >> 16 & 0xff, 0x80);
	CHECK("PIRQA to PIRQD", pci_read(LPC, 0, 0x60), 0x0b0b0a0a);
	CHECK("PIRQE to PIRQH", pci_read(LPC, 0, 0x68), 0x0b0b0a0a);
	CHECK("level triggered interrupts", inb(0x4d0) | inb(0x4d1) << 8, 0x0c00);
	CHECK("PMBASE", pci_read(LPC, 0, 0x40), 0x601);
	CHECK("ACPI_CNTL", pci_read(LPC, 0, 0x44) & 0xff, 0x80);
	edu_find();
	CHECK("edu's device", edu_slot, 1);
	CHECK("its class and revision", pci_read(edu_slot, 0, 8), 0x00ff0010);
	CHECK("its interrupt", pci_read(edu_slot, 0, 0x3c) & 0xffff, 0x010a);
	CHECK("its command and status", pci_read(edu_slot, 0, 4), 0x00100103);
	CHECK("its capability", pci_read(edu_slot, 0, 0x34) & 0xff, 0x40);
	CHECK("is MSI with a 64-bit address", pci_read(edu_slot, 0, 0x40), 0x00800005);
}

static void route(unsigned pin, uint64_t entry)
{
	volatile uint32_t *select = physical(IOAPIC), *window = physical(IOAPIC + 0x10);

	*select = 0x11 + 2 * pin;
	*window = (uint32_t)(entry >> 32);
	*select = 0x10 + 2 * pin;
	*window = (uint32_t)entry;
}

void test_edu(void)
{
	topic("edu");
	pci_write(edu_slot, 0, 4, (pci_read(edu_slot, 0, 4) & 0xffff) | PCI_COMMAND_MASTER);
	CHECK("who it is", edu_read(EDU_IDENTITY), 0x010000ed);
	edu_write(EDU_LIVENESS, 0x12345678);
	CHECK("it inverts", edu_read(EDU_LIVENESS), ~0x12345678u);
	edu_write(EDU_FACTORIAL, 12);
	while (edu_read(EDU_STATUS) & 1)
		pause();
	CHECK("12!", edu_read(EDU_FACTORIAL), 479001600);
	CHECK("nothing at 0x3c", edu_read(0x3c), 0xffffffff);
	*(volatile uint32_t *)buffer = TEST_PATTERN;
	edu_copy_in((uintptr_t)buffer, 0, 4);
	edu_copy_out(0, (uintptr_t)buffer + 0x800, 4);
	CHECK("it copies", *(volatile uint32_t *)(buffer + 0x800), TEST_PATTERN);

	forget_arrivals();
	interrupts_on();
	route(10, 0x60);
	route(21, 0x61);
	edu_write(EDU_RAISE, 0x11);
	CHECK("its pin is ISA's 10", await_arrivals(0, 0x60, 1), 1);
	CHECK("and GSI 21", await_arrivals(0, 0x61, 1), 1);
	CHECK("its interrupt status", edu_read(EDU_INTERRUPTS), 0x11);
	edu_write(EDU_ACKNOWLEDGE, 0x11);
	CHECK("acknowledged", edu_read(EDU_INTERRUPTS), 0);
	edu_message(0xfee00000, 0x62);
	edu_write(EDU_RAISE, 1);
	CHECK("its message", await_arrivals(0, 0x62, 1), 1);
	edu_write(EDU_ACKNOWLEDGE, 1);
	CHECK("is no pin", arrived(0, 0x60) | arrived(0, 0x61) << 8, 0x101);
	edu_no_message();
	route(10, 0x10000);
	route(21, 0x10000);
}
