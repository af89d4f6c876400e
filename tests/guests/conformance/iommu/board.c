/* The board as firmware leaves it, and `edu` without the IOMMU. */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define LPC (31 << 3)
#define IOAPIC 0xfec00000
#define COMMAND_MASTER 4
#define TEST_PATTERN 0x600d1dea

static uint8_t buffer[4096] __attribute__((aligned(4096)));

void test_board(void)
{
	topic("a Q35 after firmware");
	CHECK("00.0 is an 82Q35", config_read(0, 0), 0x29c08086);
	CHECK("00.0's class", config_read(0, 8) >> 8, 0x060000);
	CHECK("1f.0 is an ICH9's LPC bridge", config_read(LPC, 0), 0x29188086);
	CHECK("1f.0's class", config_read(LPC, 8), 0x06010002);
	CHECK("1f.0 is a multi-function device", config_read(LPC, 0xc) >> 16 & 0xff, 0x80);
	CHECK("PIRQA to PIRQD", config_read(LPC, 0x60), 0x0b0b0a0a);
	CHECK("PIRQE to PIRQH", config_read(LPC, 0x68), 0x0b0b0a0a);
	CHECK("level triggered interrupts", inb(0x4d0) | inb(0x4d1) << 8, 0x0c00);
	CHECK("PMBASE", config_read(LPC, 0x40), 0x601);
	CHECK("ACPI_CNTL", config_read(LPC, 0x44) & 0xff, 0x80);
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (config_read(devfn, 0) == 0x11e81234)
			edu = devfn;
	CHECK("edu's device", edu, 1 << 3);
	CHECK("its class and revision", config_read(edu, 8), 0x00ff0010);
	CHECK("its interrupt", config_read(edu, 0x3c) & 0xffff, 0x010a);
	CHECK("its command and status", config_read(edu, 4), 0x00100103);
	CHECK("its capability", config_read(edu, 0x34) & 0xff, 0x40);
	CHECK("is MSI with a 64-bit address", config_read(edu, 0x40), 0x00800005);
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
	config_write(edu, 4, (config_read(edu, 4) & 0xffff) | COMMAND_MASTER);
	CHECK("who it is", edu_read(EDU_IDENTITY), 0x010000ed);
	edu_write(EDU_LIVENESS, 0x12345678);
	CHECK("it inverts", edu_read(EDU_LIVENESS), ~0x12345678u);
	edu_write(EDU_FACTORIAL, 12);
	while (edu_read(EDU_STATUS) & 1)
		pause();
	CHECK("12!", edu_read(EDU_FACTORIAL), 479001600);
	CHECK("nothing at 0x3c", edu_read(0x3c), 0xffffffff);
	*(volatile uint32_t *)buffer = TEST_PATTERN;
	edu_transfer((uintptr_t)buffer, 4, false);
	edu_transfer((uintptr_t)buffer + 0x800, 4, true);
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
	edu_use_message(0xfee00000, 0x62);
	edu_write(EDU_RAISE, 1);
	CHECK("its message", await_arrivals(0, 0x62, 1), 1);
	edu_write(EDU_ACKNOWLEDGE, 1);
	CHECK("is no pin", arrived(0, 0x60) | arrived(0, 0x61) << 8, 0x101);
	edu_use_pin();
	route(10, 0x10000);
	route(21, 0x10000);
}
