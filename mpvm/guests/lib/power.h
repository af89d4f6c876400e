/* How a guest ends. */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

#include "layout.h"

/* Ends with the status (code << 1) | 1 through isa-debug-exit. */
_Noreturn void debug_exit(int code);

/* Ends with status 0 by ACPI's S5; with EXIT_NO_POWER_OFF when the machine stays on. */
_Noreturn void power_off(void);

/* Says what went wrong and ends with EXIT_PANIC. The first CPU that panics has the console. */
__attribute__((format(printf, 1, 2))) _Noreturn void panic(const char *format, ...);

/* True for the one CPU that may print the machine's last words. */
_Bool claim_last_words(void);

#endif
