/* QEMU's edu (docs/specs/edu.txt): its registers, its interrupts, and copies. */
#ifndef TEST_EDU_H
#define TEST_EDU_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"
#include "pci.h"
#include "timer.h"

#define EDU_IDS 0x11e81234

enum edu_register {
	EDU_IDENTITY = 0x00,
	EDU_LIVENESS = 0x04,
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20,
	EDU_INTERRUPTS = 0x24,
	EDU_RAISE = 0x60,
	EDU_ACKNOWLEDGE = 0x64,
	EDU_SOURCE = 0x80,
	EDU_DESTINATION = 0x88,
	EDU_COUNT = 0x90,
	EDU_COMMAND = 0x98,
};

#define EDU_COMPUTING 0x01
#define EDU_INTERRUPT_WHEN_DONE 0x80
#define EDU_FACTORIAL_DONE 0x001
#define EDU_COPY_DONE 0x100

#define EDU_RUN 0x1
#define EDU_TO_RAM 0x2
#define EDU_INTERRUPT 0x4
#define EDU_BUFFER 0x40000

/* The capability for messages. */
#define EDU_MSI 0x40
#define MSI_ENABLE 0x10000
#define MSI_TO(apic_id) (0xfee00000u | (uint32_t)(apic_id) << 12)

enum { EDU_WAIT_MS = 2000 };

/* Its device number and registers, once edu_find has found it. Weak, so that all sources of a guest share them. */
__attribute__((weak)) unsigned edu_slot;
__attribute__((weak)) volatile uint8_t *edu_registers;

static inline bool edu_find(void)
{
	edu_slot = pci_find(EDU_IDS);
	edu_registers = physical(pci_read(edu_slot, 0, PCI_BAR0) & ~15u);
	return edu_slot != 0;
}

static inline uint32_t edu_read(uint32_t offset)
{
	return *(volatile uint32_t *)(edu_registers + offset);
}

/* As functions: QEMU 7.2 looks for interrupts at the end of a block. */
static __attribute__((noinline, unused)) void edu_write(uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)(edu_registers + offset) = value;
}

static inline void edu_command(uint32_t command)
{
	pci_write(edu_slot, 0, PCI_COMMAND, command);
}

/* Sends messages from now on. */
static inline void edu_message(uint32_t address, uint32_t data)
{
	pci_write(edu_slot, 0, EDU_MSI + 4, address);
	pci_write(edu_slot, 0, EDU_MSI + 8, 0);
	pci_write(edu_slot, 0, EDU_MSI + 12, data);
	pci_write(edu_slot, 0, EDU_MSI, MSI_ENABLE);
}

static inline void edu_no_message(void)
{
	pci_write(edu_slot, 0, EDU_MSI, 0);
}

/* Addresses below 4 GiB. */
static inline void edu_start(uint64_t source, uint64_t destination, uint32_t count, uint32_t command)
{
	edu_write(EDU_SOURCE, (uint32_t)source);
	edu_write(EDU_DESTINATION, (uint32_t)destination);
	edu_write(EDU_COUNT, count);
	edu_write(EDU_COMMAND, command | EDU_RUN);
}

/* Whether it has come to its end. */
static inline bool edu_await(void)
{
	for (int i = 0; i < EDU_WAIT_MS * 10 && edu_read(EDU_COMMAND) & EDU_RUN; i++)
		delay_us(100);
	return !(edu_read(EDU_COMMAND) & EDU_RUN);
}

/* From `address`, as the device sees it, into the buffer. */
static inline bool edu_copy_in(uint64_t address, uint32_t at, uint32_t count)
{
	edu_start(address, EDU_BUFFER + at, count, 0);
	return edu_await();
}

static inline bool edu_copy_out(uint32_t at, uint64_t address, uint32_t count)
{
	edu_start(EDU_BUFFER + at, address, count, EDU_TO_RAM);
	return edu_await();
}

#endif
