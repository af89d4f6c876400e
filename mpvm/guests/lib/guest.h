/* What a guest gives and gets. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

/* The guest's own main: 64-bit mode, interrupts off, exceptions reported, ACPI read, the 8259s
 * masked, the local APIC not yet enabled, one CPU. It ends by debug_exit() or power_off(). */
_Noreturn void guest_main(void);

/* The number after "name=" on the command line, or the value given. A panic when it is no number. */
uint64_t option(const char *name, uint64_t otherwise);

#endif
