/* Text on COM1. */
#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H

#include <stdarg.h>

void console_init(void);
void print_va(const char *format, va_list arguments);

/* %c %s %d %u %x %%, with '-', '0', a width and 'l'. Not locked: one CPU prints at a time. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

#endif
