/* PCI configuration space by mechanism #1 (PCI 3.0, 3.2.2.3.2), for guests that look at functions of bus 0. */
#ifndef TEST_PCI_H
#define TEST_PCI_H

#include <stdint.h>

#include "machine.h"

#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_DEVICES 32

#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x1
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_COMMAND_INTX_DISABLE 0x400
#define PCI_STATUS_INTERRUPT (0x8u << 16)
#define PCI_BAR0 0x10
#define PCI_BAR1 0x14
#define PCI_BAR2 0x18
#define PCI_INTERRUPT_LINE 0x3c

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void pci_select(unsigned slot, unsigned function, unsigned offset)
{
	outl(PCI_CONFIG_ADDRESS, 0x80000000 | slot << 11 | function << 8 | (offset & 0xfc));
}

static inline uint32_t pci_read(unsigned slot, unsigned function, unsigned offset)
{
	pci_select(slot, function, offset);
	return inl(PCI_CONFIG_DATA);
}

static inline void pci_write(unsigned slot, unsigned function, unsigned offset, uint32_t value)
{
	pci_select(slot, function, offset);
	outl(PCI_CONFIG_DATA, value);
}

/* The last device whose function 0 is the one with these IDs, 0 when there is none but the host bridge. */
static inline unsigned pci_find(uint32_t ids)
{
	unsigned found = 0;

	for (unsigned slot = 0; slot < PCI_DEVICES; slot++)
		if (pci_read(slot, 0, 0) == ids)
			found = slot;
	return found;
}

#endif
