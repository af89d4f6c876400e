#include "power.h"

#include <stdarg.h>
#include <stdbool.h>

#include "acpi.h"
#include "console.h"
#include "machine.h"
#include "timer.h"

/* ACPI 6.4, section 4.8.3.2.1, PM1 control registers. */
#define PM1_SCI_EN 0x0001
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP_MASK (7 << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN (1 << 13)

enum { POWER_OFF_LIMIT_MS = 1000, ACPI_ENABLE_LIMIT_MS = 1000 };

static bool last_words_claimed;

_Noreturn void debug_exit(int code)
{
	outb(ISA_DEBUG_EXIT, (uint8_t)code);
	halt_forever();
}

_Bool claim_last_words(void)
{
	return !__atomic_test_and_set(&last_words_claimed, __ATOMIC_SEQ_CST);
}

_Noreturn void panic(const char *format, ...)
{
	va_list arguments;

	interrupts_off();
	if (!claim_last_words())
		halt_forever();
	print("panic: ");
	va_start(arguments, format);
	print_va(format, arguments);
	va_end(arguments);
	print("\n");
	debug_exit(EXIT_PANIC);
}

static void enter_acpi_mode(void)
{
	if (!acpi.smi_command || (inw(acpi.pm1a_control) & PM1_SCI_EN))
		return;
	outb(acpi.smi_command, acpi.acpi_enable);
	for (int ms = 0; ms < ACPI_ENABLE_LIMIT_MS && !(inw(acpi.pm1a_control) & PM1_SCI_EN); ms++)
		delay_us(1000);
}

static void sleep(uint16_t port, uint8_t type)
{
	uint16_t control = inw(port) & (uint16_t)~PM1_SLP_TYP_MASK;

	outw(port, (uint16_t)(control | type << PM1_SLP_TYP_SHIFT | PM1_SLP_EN));
}

_Noreturn void power_off(void)
{
	if (acpi.has_s5) {
		enter_acpi_mode();
		sleep(acpi.pm1a_control, acpi.s5_type_a);
		if (acpi.pm1b_control)
			sleep(acpi.pm1b_control, acpi.s5_type_b);
		delay_us(POWER_OFF_LIMIT_MS * 1000);
		print("ACPI S5 did not power off\n");
	} else {
		print("no \\_S5_ in the DSDT: can't power off\n");
	}
	debug_exit(EXIT_NO_POWER_OFF);
}
