/* What the parts of this guest share: PCI configuration, the device `edu`, and the remapping unit's registers. */
#ifndef IOMMU_TESTS_H
#define IOMMU_TESTS_H

#include <stdbool.h>
#include <stdint.h>

/* Configuration space of bus 0, by (device << 3 | function). */
uint32_t config_read(unsigned devfn, unsigned offset);
void config_write(unsigned devfn, unsigned offset, uint32_t value);

#define NOBODY 0xffffffffu
/* The device and function of `edu`. */
extern unsigned edu;

enum edu_register {
	EDU_IDENTITY = 0x00,
	EDU_LIVENESS = 0x04,
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20,
	EDU_INTERRUPTS = 0x24,
	EDU_RAISE = 0x60,
	EDU_ACKNOWLEDGE = 0x64,
	EDU_DMA_SOURCE = 0x80,
	EDU_DMA_DESTINATION = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_COMMAND = 0x98,
};

uint32_t edu_read(unsigned offset);
void edu_write(unsigned offset, uint32_t value);
/* Copies between its buffer and `address`; returns when it is done. */
void edu_transfer(uint64_t address, uint32_t bytes, bool to_memory);
/* Its interrupts by MSI at this address and with this data, or by its pin. */
void edu_use_message(uint32_t address, uint32_t data);
void edu_use_pin(void);

enum vtd_register {
	VTD_VERSION = 0x00,
	VTD_CAPABILITIES = 0x08,
	VTD_EXTENDED = 0x10,
	VTD_COMMAND = 0x18,
	VTD_STATUS = 0x1c,
	VTD_ROOT = 0x20,
	VTD_CONTEXT_COMMAND = 0x28,
	VTD_FAULT_STATUS = 0x34,
	VTD_FAULT_EVENT = 0x38,
	VTD_QUEUE_HEAD = 0x80,
	VTD_QUEUE_TAIL = 0x88,
	VTD_QUEUE_ADDRESS = 0x90,
	VTD_INTERRUPTS = 0xb8,
	VTD_IOTLB = 0xf8,
	VTD_RECORD = 0x220,
};

#define VTD_TRANSLATE (1u << 31)
#define VTD_SET_ROOT (1u << 30)
#define VTD_QUEUE (1u << 26)
#define VTD_REMAP (1u << 25)
#define VTD_SET_INTERRUPTS (1u << 24)
#define VTD_RECORDED (1ull << 63)

uint32_t vtd_read(unsigned offset);
uint64_t vtd_read64(unsigned offset);
void vtd_write(unsigned offset, uint32_t value);
void vtd_write64(unsigned offset, uint64_t value);
/* Gives a command, and waits until the status register has its bits as it wants them. */
void vtd_command(uint32_t set, uint32_t clear);
/* Everything cached is forgotten, by the queue. */
void vtd_flush(void);

void test_edu(void);
void test_board(void);
void test_registers(void);
void test_translation(void);
void test_interrupts(void);

#endif
