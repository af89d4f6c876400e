/* QEMU's firmware configuration device (docs/specs/fw_cfg.rst): its ports in every width, DMA and what it says
 * of the machine. The lines `item` and `file` are what tests/system/test_fw_cfg.py compares. */
#include "tests.h"

#include "conformance.h"
#include "guest.h"

uint8_t buffer[BUFFER_BYTES] __attribute__((aligned(4096)));

void fw_cfg_read(uint16_t key, uint8_t *data, unsigned size)
{
	outw(SELECTOR, key);
	while (size--)
		*data++ = inb(DATA);
}

uint64_t fw_cfg_number(uint16_t key, unsigned size)
{
	uint8_t data[8] = { 0 };
	uint64_t value = 0;

	fw_cfg_read(key, data, size);
	while (size--)
		value = value << 8 | data[size];
	return value;
}

_Noreturn void guest_main(void)
{
	test_ports();
	test_dma();
	test_items();
	test_directory();
	finish();
}
