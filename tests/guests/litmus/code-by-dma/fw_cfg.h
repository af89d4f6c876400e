/* QEMU's fw_cfg device, its DMA interface (QEMU, docs/specs/fw_cfg.rst). */
#ifndef TEST_FW_CFG_H
#define TEST_FW_CFG_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "machine.h"

#define FW_CFG_SELECTOR 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_DMA_HIGH 0x514
#define FW_CFG_DMA_LOW 0x518

#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_ID_DMA 0x02

#define FW_CFG_DMA_ERROR 0x01
#define FW_CFG_DMA_READ 0x02
#define FW_CFG_DMA_SKIP 0x04
#define FW_CFG_DMA_SELECT 0x08

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline bool fw_cfg_has_dma(void)
{
	static const char signature[] = "QEMU";

	outw(FW_CFG_SELECTOR, FW_CFG_SIGNATURE);
	for (int i = 0; i < 4; i++)
		if (inb(FW_CFG_DATA) != (uint8_t)signature[i])
			return false;
	outw(FW_CFG_SELECTOR, FW_CFG_ID);
	return inb(FW_CFG_DATA) & FW_CFG_ID_DMA;
}

static uint32_t fw_cfg_lock;

static inline void fw_cfg_access(uint32_t control, uint32_t length, uint64_t address)
{
	static struct {
		uint32_t control, length;
		uint64_t address;
	} access __attribute__((aligned(16)));

	access.length = __builtin_bswap32(length);
	access.address = __builtin_bswap64(address);
	__atomic_store_n(&access.control, __builtin_bswap32(control), __ATOMIC_RELEASE);
	outl(FW_CFG_DMA_HIGH, __builtin_bswap32((uint32_t)((uint64_t)&access >> 32)));
	outl(FW_CFG_DMA_LOW, __builtin_bswap32((uint32_t)(uint64_t)&access));
	while ((control = __builtin_bswap32(__atomic_load_n(&access.control, __ATOMIC_ACQUIRE))) & ~FW_CFG_DMA_ERROR)
		pause();
	EXPECT("fw_cfg's answer", control, 0);
}

/* Has the device store `length` bytes of an item, from byte `offset` on, at guest-physical `address`; zeros
 * follow the item's end. Any CPU. */
static inline void fw_cfg_read(uint32_t key, uint32_t offset, uint64_t address, uint32_t length)
{
	while (__atomic_exchange_n(&fw_cfg_lock, 1, __ATOMIC_ACQUIRE))
		pause();
	fw_cfg_access(key << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_SKIP, offset, 0);
	fw_cfg_access(FW_CFG_DMA_READ, length, address);
	__atomic_store_n(&fw_cfg_lock, 0, __ATOMIC_RELEASE);
}

#endif
