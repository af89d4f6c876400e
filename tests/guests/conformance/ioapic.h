/* The I/O APIC's registers (82093AA data sheet, chapter 3), and the line that pc-testdev drives. */
#ifndef TEST_IOAPIC_H
#define TEST_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "acpi.h"
#include "machine.h"

#define IOAPIC_ID 0x00
#define IOAPIC_VERSION 0x01
#define IOAPIC_ARBITRATION 0x02
#define IOAPIC_ENTRY(pin) (0x10u + 2u * (pin))

#define ENTRY_FIXED 0x000ull
#define ENTRY_LOWEST_PRIORITY 0x100ull
#define ENTRY_NMI 0x400ull
#define ENTRY_EXTINT 0x700ull
#define ENTRY_LOGICAL 0x800ull
#define ENTRY_DELIVERY_STATUS 0x1000ull
#define ENTRY_ACTIVE_LOW 0x2000ull
#define ENTRY_REMOTE_IRR 0x4000ull
#define ENTRY_LEVEL 0x8000ull
#define ENTRY_MASKED 0x10000ull
#define ENTRY_TO(destination) ((uint64_t)(destination) << 56)

/* A line that no other device has. */
#define PIN 14u

static inline volatile uint32_t *ioapic_at(uint32_t offset)
{
	return physical(acpi.io_apic + offset);
}

static inline uint32_t ioapic_read(uint32_t reg)
{
	*ioapic_at(0) = reg;
	return *ioapic_at(0x10);
}

/* This, and what drives a line, as functions: QEMU 7.2 looks for interrupts at the end of a block. */
static __attribute__((noinline, unused)) void ioapic_write(uint32_t reg, uint32_t value)
{
	*ioapic_at(0) = reg;
	*ioapic_at(0x10) = value;
}

static inline void ioapic_end_of_interrupt(uint32_t vector)
{
	*ioapic_at(0x40) = vector;
}

static inline uint64_t entry_read(uint32_t pin)
{
	return ioapic_read(IOAPIC_ENTRY(pin)) | (uint64_t)ioapic_read(IOAPIC_ENTRY(pin) + 1) << 32;
}

static inline void entry_write(uint32_t pin, uint64_t entry)
{
	ioapic_write(IOAPIC_ENTRY(pin), ENTRY_MASKED);
	ioapic_write(IOAPIC_ENTRY(pin) + 1, (uint32_t)(entry >> 32));
	ioapic_write(IOAPIC_ENTRY(pin), (uint32_t)entry);
}

static __attribute__((noinline, unused)) void line(uint32_t pin, bool level)
{
	outb((uint16_t)(0x2000 + pin), level);
}

static inline void pulse(uint32_t pin)
{
	line(pin, true);
	line(pin, false);
}

#endif
