/* Resets the machine in every way a PC has, and starts its APs again after each.
 *
 * Counts its boots in a CMOS byte, which a reset leaves alone (MC146818 data sheet). Any smp. Status 33 at the end;
 * not for `-no-reboot`. */
#include "acpi.h"
#include "check.h"
#include "guest.h"
#include "machine.h"
#include "smp.h"
#include "timer.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
/* No BIOS uses it for a machine as small as this. */
#define CMOS_BOOTS 0x6f
/* Tells the guest's own count from what was there before. */
#define BOOTS_MARK 0xa0

#define I8042_COMMAND 0x64
#define I8042_PULSE_RESET 0xfe
#define PORT92 0x92
#define PORT92_FAST_RESET 0x01

enum { RESET_LIMIT_MS = 2000 };

static uint8_t read_boots(void)
{
	outb(CMOS_INDEX, CMOS_BOOTS);
	return inb(CMOS_DATA);
}

static void write_boots(uint8_t value)
{
	outb(CMOS_INDEX, CMOS_BOOTS);
	outb(CMOS_DATA, value);
}

static void wait_for_reset(const char *by)
{
	delay_us(RESET_LIMIT_MS * 1000);
	write_boots(0);
	panic("no reset by %s", by);
}

_Noreturn void guest_main(void)
{
	uint8_t boots = read_boots();

	boots = (boots & 0xf0) == BOOTS_MARK ? boots & 0x0f : 0;
	write_boots(BOOTS_MARK | (uint8_t)(boots + 1));
	smp_start();
	print("boot %d: %d CPUs\n", boots, cpu_count);
	switch (boots) {
	case 0:
		outb(I8042_COMMAND, I8042_PULSE_RESET);
		wait_for_reset("the keyboard controller");
		break;
	case 1:
		outb(PORT92, (uint8_t)(inb(PORT92) | PORT92_FAST_RESET));
		wait_for_reset("port 92");
		break;
	case 2:
		if (acpi.reset_port) {
			outb(acpi.reset_port, acpi.reset_value);
			wait_for_reset("the ACPI reset register");
		}
		not_present("ACPI reset register");
		break;
	}
	write_boots(0);
	finish();
}
