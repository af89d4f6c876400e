/* The parts of this guest. */
#ifndef TESTDEV_TESTS_H
#define TESTDEV_TESTS_H

#include <stdint.h>

/* The I/O APIC's redirection entry of `pin`; the message goes to this CPU. */
void redirect(unsigned pin, uint32_t low);
uint32_t redirection(unsigned pin);
#define REDIRECTION_MASKED 0x10000
#define REDIRECTION_LEVEL 0x8000
#define REDIRECTION_REMOTE_IRR 0x4000

#define IRQ_LINE 0x2000

void test_ports(void);
void test_memory(void);
void test_lines(void);
void test_pci(void);

#endif
