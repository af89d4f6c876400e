/* The test devices of QEMU: pc-testdev's ports, memory and interrupt lines, and pci-testdev on a bus that firmware
 * has set up. Any number of CPUs; one tests. */
#include "tests.h"

#include "acpi.h"
#include "apic.h"
#include "conformance.h"
#include "guest.h"
#include "smp.h"

#define IOAPIC_SELECT 0x00
#define IOAPIC_WINDOW 0x10
#define IOAPIC_REDIRECTION 0x10

static volatile uint32_t *window(unsigned index)
{
	volatile uint32_t *select = physical(acpi.io_apic + IOAPIC_SELECT);

	*select = index;
	return physical(acpi.io_apic + IOAPIC_WINDOW);
}

void redirect(unsigned pin, uint32_t low)
{
	*window(IOAPIC_REDIRECTION + 2 * pin + 1) = this_cpu()->apic_id << 24;
	*window(IOAPIC_REDIRECTION + 2 * pin) = low;
}

uint32_t redirection(unsigned pin)
{
	return *window(IOAPIC_REDIRECTION + 2 * pin);
}

_Noreturn void guest_main(void)
{
	smp_init();
	apic_enable();
	smp_start();
	test_ports();
	test_memory();
	test_lines();
	test_pci();
	finish();
}
