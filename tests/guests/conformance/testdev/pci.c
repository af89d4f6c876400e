/* PCI by configuration mechanism #1: the bus as firmware leaves it, base address registers, pci-testdev. */
#include "tests.h"

#include "conformance.h"
#include "pci.h"

#define TESTDEV_ID 0x00051b36

/* Offsets in pci-testdev's header. */
enum { TEST = 0, WIDTH = 1, OFFSET = 4, DATA = 8, COUNT = 12, NAME = 16 };

static unsigned device;

static void set_config(unsigned offset, uint32_t value)
{
	pci_write(device, 0, offset, value);
}

static void test_bus(void)
{
	topic("PCI after firmware");
	CHECK("00.0 is an 82441FX", pci_read(0, 0, 0), 0x12378086);
	CHECK("01.0 is a PIIX3", pci_read(1, 0, 0), 0x70008086);
	CHECK("01.0's class", pci_read(1, 0, 8), 0x06010000);
	CHECK("01.0 is a multi-function device", pci_read(1, 0, 0xc) >> 16 & 0xff, 0x80);
	CHECK("PIRQA to PIRQD", pci_read(1, 0, 0x60), 0x0b0b0a0a);
	CHECK("level triggered interrupts", inb(0x4d0) | inb(0x4d1) << 8, 0x0c00);
	CHECK("01.3 is a PIIX4's power management", pci_read(1, 3, 0), 0x71138086);
	CHECK("01.3's class and revision", pci_read(1, 3, 8), 0x06800003);
	CHECK("01.3's interrupt", pci_read(1, 3, 0x3c) & 0xffff, 0x0109);
	CHECK("PMBASE", pci_read(1, 3, 0x40), 0x601);
	CHECK("PMREGMISC", pci_read(1, 3, 0x80) & 0xff, 1);
	CHECK("nobody at 1f.0", pci_read(31, 0, 0), 0xffffffff);
	device = pci_find(TESTDEV_ID);
	CHECK("pci-testdev's device", device, 2);
	CHECK("its class and revision", pci_read(device, 0, 8), 0x00ff0000);
	CHECK("its command register", pci_read(device, 0, PCI_COMMAND) & 0xffff, 0x103);
	CHECK("its subsystem", pci_read(device, 0, 0x2c), 0x11001af4);
	CHECK("its interrupt pin", pci_read(device, 0, 0x3c), 0);
	CHECK("its memory", pci_read(device, 0, PCI_BAR0), 0xfebff000);
	CHECK("its ports", pci_read(device, 0, PCI_BAR1), 0xc001);
	CHECK("no third BAR", pci_read(device, 0, PCI_BAR2), 0);
}

static void test_bars(void)
{
	uint32_t memory = pci_read(device, 0, PCI_BAR0), ports = pci_read(device, 0, PCI_BAR1);

	topic("base address registers");
	set_config(PCI_BAR0, 0xffffffff);
	CHECK("the size of the memory", pci_read(device, 0, PCI_BAR0), 0xfffff000);
	set_config(PCI_BAR1, 0xffffffff);
	CHECK("the size of the ports", pci_read(device, 0, PCI_BAR1), 0xffffff01);
	set_config(PCI_BAR2, 0xffffffff);
	CHECK("the size of what is not there", pci_read(device, 0, PCI_BAR2), 0);
	set_config(PCI_BAR0, 0xe0000000);
	set_config(PCI_BAR1, 0xd000);
	*(volatile uint8_t *)physical(0xe0000000) = 0;
	CHECK("memory that has moved", *(volatile uint32_t *)physical(0xe0000000 + OFFSET), 2048);
	outb(0xd000, 0);
	CHECK("ports that have moved", inl(0xd000 + OFFSET), 131);
	CHECK("where the ports were", inl((uint16_t)((ports & ~3u) + OFFSET)), 0xffffffff);
	set_config(PCI_COMMAND, PCI_COMMAND_MEMORY);
	CHECK("ports switched off", inl(0xd000 + OFFSET), 0xffffffff);
	CHECK("memory still on", *(volatile uint32_t *)physical(0xe0000000 + OFFSET), 131);
	set_config(PCI_COMMAND, PCI_COMMAND_IO);
	CHECK("ports switched on", inl(0xd000 + OFFSET), 131);
	set_config(PCI_BAR0, memory);
	set_config(PCI_BAR1, ports);
	set_config(PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

struct access {
	uint8_t (*read)(uint32_t at);
	void (*write)(uint32_t at, uint8_t value);
	void (*write_word)(uint32_t at, uint16_t value);
	uint32_t base;
};

static uint8_t read_memory(uint32_t at)
{
	return *(volatile uint8_t *)physical(at);
}

static void write_memory(uint32_t at, uint8_t value)
{
	*(volatile uint8_t *)physical(at) = value;
}

static void write_memory_word(uint32_t at, uint16_t value)
{
	*(volatile uint16_t *)physical(at) = value;
}

static uint8_t read_port(uint32_t at)
{
	return inb((uint16_t)at);
}

static void write_port(uint32_t at, uint8_t value)
{
	outb((uint16_t)at, value);
}

static void write_port_word(uint32_t at, uint16_t value)
{
	outw((uint16_t)at, value);
}

static uint32_t field(const struct access *by, unsigned offset)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value |= (uint32_t)by->read(by->base + offset + i) << 8 * i;
	return value;
}

/* What a test's header says, and how many of four writes it has counted. */
#define CHECK_TEST(by, kind, what, offset, data, counted, counted_wide)                       \
	do {                                                                                  \
		uint32_t at_ = (by)->base + (offset), even_ = at_ & ~1u;                      \
		(by)->write((by)->base + TEST, kind);                                         \
		CHECK(what " is selected", field(by, OFFSET), offset);                        \
		CHECK(what ", width", (by)->read((by)->base + WIDTH), 1);                     \
		CHECK(what ", data", (by)->read((by)->base + DATA), data);                    \
		(by)->write(at_, data);                                                       \
		(by)->write(at_, data);                                                       \
		(by)->write(at_, (data) + 1);                                                 \
		(by)->write(at_ + 1, data);                                                   \
		CHECK(what ", writes counted", field(by, COUNT), counted);                    \
		(by)->write_word(even_, (data) | (data) << 8);                                \
		CHECK(what ", with one in a word", field(by, COUNT), counted_wide);           \
	} while (0)

static void test_testdev(void)
{
	const struct access memory = { read_memory, write_memory, write_memory_word, pci_read(device, 0, PCI_BAR0) & ~15u };
	const struct access ports = { read_port, write_port, write_port_word, pci_read(device, 0, PCI_BAR1) & ~3u };

	topic("pci-testdev");
	memory.write(memory.base, 3);
	CHECK("no test, no header", field(&memory, OFFSET), 0);
	CHECK_TEST(&memory, 0, "memory without eventfd", 2048, 0xfa, 2, 3);
	CHECK_TEST(&memory, 1, "memory with an eventfd for all", 2049, 0xce, 0, 1);
	CHECK_TEST(&memory, 2, "memory with an eventfd for one", 2050, 0xfa, 0, 1);
	CHECK("its name", field(&memory, NAME), 0x6f696d6d);
	CHECK_TEST(&ports, 0, "ports without eventfd", 131, 0xfa, 2, 3);
	CHECK_TEST(&ports, 1, "ports with an eventfd for all", 132, 0xce, 0, 1);
	CHECK_TEST(&ports, 2, "ports with an eventfd for one", 133, 0xfa, 0, 1);
	CHECK("a header by the other BAR", field(&memory, OFFSET), 133);
	ports.write(ports.base, 0);
	CHECK("a selected test starts at 0", field(&ports, COUNT), 0);
}

void test_pci(void)
{
	test_bus();
	test_bars();
	test_testdev();
}
