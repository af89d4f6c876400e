#ifndef FW_CFG_TESTS_H
#define FW_CFG_TESTS_H

#include <stdint.h>

#include "machine.h"

#define SELECTOR 0x510
#define DATA 0x511
#define DMA 0x514

#define KEY_SIGNATURE 0x00
#define KEY_ID 0x01
#define KEY_UUID 0x02
#define KEY_RAM_SIZE 0x03
#define KEY_NOGRAPHIC 0x04
#define KEY_NB_CPUS 0x05
#define KEY_NUMA 0x0d
#define KEY_BOOT_MENU 0x0e
#define KEY_MAX_CPUS 0x0f
#define KEY_FILE_DIR 0x19
#define KEY_FILE_FIRST 0x20
#define KEY_WRITE 0x4000
#define KEY_IRQ0_OVERRIDE 0x8002

enum { BUFFER_BYTES = 8192 };
extern uint8_t buffer[BUFFER_BYTES];

/* The first `size` bytes of the item `key`, by port. */
void fw_cfg_read(uint16_t key, uint8_t *data, unsigned size);
/* The same as a number, little-endian. */
uint64_t fw_cfg_number(uint16_t key, unsigned size);

void test_ports(void);
void test_dma(void);
void test_items(void);
void test_directory(void);

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

#endif
