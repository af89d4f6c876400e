/* QEMU's edu (docs/specs/edu.txt): a function with an interrupt pin, messages, and DMA (PCI 3.0, 6.2, 6.7 and 6.8). */
#include "arrivals.h"
#include "conformance.h"
#include "edu.h"
#include "guest.h"
#include "interrupts.h"
#include "ioapic.h"

#define INTX_VECTOR 0x61
#define MSI_VECTOR 0x71
#define COMMAND (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define WORD 0x1122334455667788ull

static volatile uint64_t memory[1024] __attribute__((aligned(4096)));

static void test_configuration(void)
{
	topic("configuration space");
	CHECK("class and revision", pci_read(edu_slot, 0, 8), 0x00ff0010);
	CHECK("command as firmware leaves it", pci_read(edu_slot, 0, PCI_COMMAND) & 0xffff, 0x103);
	CHECK("status has capabilities", pci_read(edu_slot, 0, PCI_COMMAND) >> 16, 0x10);
	CHECK("memory of 1 MiB", pci_read(edu_slot, 0, PCI_BAR0) & 0xfffff, 0);
	CHECK("interrupt pin", pci_read(edu_slot, 0, PCI_INTERRUPT_LINE) >> 8 & 0xff, 1);
	CHECK("the first capability", pci_read(edu_slot, 0, 0x34) & 0xff, EDU_MSI);
	CHECK("it is for messages", pci_read(edu_slot, 0, EDU_MSI), 0x00800005);
	pci_write(edu_slot, 0, EDU_MSI + 4, 0xffffffff);
	CHECK("address bits", pci_read(edu_slot, 0, EDU_MSI + 4), 0xfffffffc);
	pci_write(edu_slot, 0, EDU_MSI + 8, 0xffffffff);
	CHECK("upper address bits", pci_read(edu_slot, 0, EDU_MSI + 8), 0xffffffff);
	pci_write(edu_slot, 0, EDU_MSI + 12, 0xffffffff);
	CHECK_NOT_QEMU("data bits", pci_read(edu_slot, 0, EDU_MSI + 12), 0xffff,
		       "it has data of 32 bits; PCI 3.0, 6.8.1.6");
	pci_write(edu_slot, 0, EDU_MSI, 0x00010000);
	CHECK("it can be enabled", pci_read(edu_slot, 0, EDU_MSI), 0x00810005);
	edu_no_message();
	edu_command(COMMAND);
	CHECK("bus master", pci_read(edu_slot, 0, PCI_COMMAND) & 0xffff, COMMAND);
}

static void await_factorial(void)
{
	for (int i = 0; i < EDU_WAIT_MS * 10 && edu_read(EDU_STATUS) & EDU_COMPUTING; i++)
		delay_us(100);
}

static uint32_t factorial(uint32_t number)
{
	edu_write(EDU_FACTORIAL, number);
	await_factorial();
	return edu_read(EDU_FACTORIAL);
}

static void test_registers(void)
{
	topic("registers");
	CHECK("identity", edu_read(EDU_IDENTITY), 0x010000ed);
	edu_write(EDU_LIVENESS, 0x12345678);
	CHECK("inversion", edu_read(EDU_LIVENESS), 0xedcba987);
	CHECK("0!", factorial(0), 1);
	CHECK("10!", factorial(10), 3628800);
	CHECK("13! in 32 bits", factorial(13), 1932053504);
	CHECK("100! in 32 bits", factorial(100), 0);
	CHECK("nothing there", edu_read(0x0c), 0xffffffff);
	CHECK("nothing between", edu_read(EDU_SOURCE + 4), 0xffffffff);
	CHECK("a byte", edu_registers[EDU_IDENTITY], 0);
	edu_write(EDU_SOURCE, 0x87654321);
	CHECK("4 of 8 bytes", edu_read(EDU_SOURCE), 0x87654321);
	edu_write(EDU_COMMAND, EDU_TO_RAM);
	CHECK("a command that starts nothing", edu_read(EDU_COMMAND), 0);
	edu_write(EDU_STATUS, 0xffffffff);
	CHECK("status", edu_read(EDU_STATUS), EDU_INTERRUPT_WHEN_DONE);
	edu_write(EDU_STATUS, 0);
}

static void acknowledge(struct interrupt_frame *frame)
{
	edu_write(EDU_ACKNOWLEDGE, edu_read(EDU_INTERRUPTS));
	count_arrival(frame);
}

static uint32_t status(void)
{
	return pci_read(edu_slot, 0, PCI_COMMAND) & PCI_STATUS_INTERRUPT;
}

static void test_pin(void)
{
	uint32_t line = pci_read(edu_slot, 0, PCI_INTERRUPT_LINE) & 0xff;

	topic("interrupt pin");
	forget_arrivals();
	interrupts_on();
	entry_write(line, ENTRY_LEVEL | INTX_VECTOR);
	edu_write(EDU_RAISE, 0);
	CHECK("nothing is no interrupt", arrived(0, INTX_VECTOR), 0);
	edu_write(EDU_RAISE, 0x30);
	CHECK("an interrupt", await_arrivals(0, INTX_VECTOR, 1), 1);
	CHECK("acknowledged", edu_read(EDU_INTERRUPTS), 0);
	edu_write(EDU_STATUS, EDU_INTERRUPT_WHEN_DONE);
	factorial(5);
	CHECK("of a factorial", await_arrivals(0, INTX_VECTOR, 2), 2);
	edu_write(EDU_STATUS, 0);
	edu_start((uint64_t)memory, EDU_BUFFER, 8, EDU_INTERRUPT);
	CHECK("of a copy", await_arrivals(0, INTX_VECTOR, 3), 3);
	CHECK("the command is done", edu_read(EDU_COMMAND), EDU_INTERRUPT);

	entry_write(line, ENTRY_MASKED);
	edu_write(EDU_RAISE, 0x3);
	CHECK("raised", edu_read(EDU_INTERRUPTS), 3);
	CHECK("status shows it", status(), PCI_STATUS_INTERRUPT);
	edu_write(EDU_ACKNOWLEDGE, 0x1);
	CHECK("one of two acknowledged", edu_read(EDU_INTERRUPTS), 2);
	CHECK("status still shows it", status(), PCI_STATUS_INTERRUPT);
	edu_command(COMMAND | PCI_COMMAND_INTX_DISABLE);
	CHECK("and so when disabled", status(), PCI_STATUS_INTERRUPT);
	entry_write(line, ENTRY_LEVEL | INTX_VECTOR);
	CHECK("disabled", arrived(0, INTX_VECTOR), 3);
	edu_command(COMMAND);
	CHECK("enabled", await_arrivals(0, INTX_VECTOR, 4), 4);
	CHECK("status shows none", status(), 0);
	entry_write(line, ENTRY_MASKED);
	edu_write(EDU_RAISE, 1);
	edu_message(MSI_TO(0), MSI_VECTOR);
	CHECK("messages take the pin's place", status(), 0);
	edu_write(EDU_ACKNOWLEDGE, 1);
	edu_no_message();
}

static void test_messages(void)
{
	topic("messages");
	forget_arrivals();
	edu_message(MSI_TO(0), MSI_VECTOR);
	edu_write(EDU_RAISE, 1);
	CHECK("a message", await_arrivals(0, MSI_VECTOR, 1), 1);
	edu_write(EDU_RAISE, 1);
	CHECK("another, without an acknowledgement", await_arrivals(0, MSI_VECTOR, 2), 2);
	edu_command(PCI_COMMAND_MEMORY);
	edu_write(EDU_RAISE, 1);
	CHECK("none without bus master", arrived(0, MSI_VECTOR), 2);
	edu_command(COMMAND);
	edu_write(EDU_ACKNOWLEDGE, 1);
	edu_no_message();
	memory[0] = MSI_VECTOR + 1;
	edu_copy_in((uint64_t)memory, 0, 4);
	edu_copy_out(0, MSI_TO(0), 4);
	CHECK("a dword written to the local APIC", await_arrivals(0, MSI_VECTOR + 1, 1), 1);
}

static void test_copies(void)
{
	topic("copies");
	memory[0] = WORD;
	memory[1] = ~WORD;
	CHECK("from RAM", edu_copy_in((uint64_t)memory, 8, 16), 1);
	CHECK("to RAM", edu_copy_out(10, (uint64_t)&memory[2], 12), 1);
	CHECK("the first bytes", memory[2], WORD >> 16 | ~WORD << 48);
	CHECK("the last", memory[3], (~WORD >> 16) & 0xffffffff);
	CHECK("no more", memory[4], 0);
	edu_copy_in((uint64_t)memory, 0, 8);
	edu_command(PCI_COMMAND_MEMORY);
	edu_copy_in((uint64_t)memory, 0, 4);
	edu_copy_out(0, (uint64_t)&memory[8], 8);
	CHECK("nothing is written without bus master", memory[8], 0);
	edu_command(COMMAND);
	edu_copy_out(0, (uint64_t)&memory[8], 8);
	CHECK("and zeros are read", memory[8], WORD >> 32 << 32);
}

_Noreturn void guest_main(void)
{
	pic_mask_all();
	set_handler(INTX_VECTOR, acknowledge);
	count_vectors(MSI_VECTOR, MSI_VECTOR + 1);
	CHECK("edu's device", edu_find(), 1);
	test_configuration();
	test_registers();
	test_copies();
	test_pin();
	test_messages();
	finish();
}
