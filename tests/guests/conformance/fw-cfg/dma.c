/* The DMA interface: what a descriptor asks for, and how that ends. */
#include "tests.h"

#include "conformance.h"
#include "string.h"

#define ERROR 0x01
#define READ 0x02
#define SKIP 0x04
#define SELECT 0x08
#define WRITE 0x10
#define PENDING 0x80000000

struct access {
	uint32_t control, length;
	uint64_t address;
};

static volatile struct access access __attribute__((aligned(16)));

static uint32_t swap(uint32_t value)
{
	return __builtin_bswap32(value);
}

static uint32_t start(uint32_t control, uint32_t length, uint64_t address)
{
	uint64_t at = (uint64_t)&access;

	access.control = swap(control);
	access.length = swap(length);
	access.address = __builtin_bswap64(address);
	outl(DMA, swap((uint32_t)(at >> 32)));
	outl(DMA + 4, swap((uint32_t)at));
	while (swap(access.control) & ~(uint32_t)ERROR)
		pause();
	return swap(access.control);
}

static uint32_t transfer(uint32_t control, uint32_t length)
{
	return start(control, length, (uint64_t)buffer);
}

static uint32_t first_bytes(void)
{
	return buffer[0] | buffer[1] << 8 | buffer[2] << 16 | (uint32_t)buffer[3] << 24;
}

void test_dma(void)
{
	topic("DMA");
	CHECK("its signature, first half", inl(DMA), 0x554d4551);
	CHECK("its signature, second half", inl(DMA + 4), 0x47464320);
	CHECK("a byte of it", inb(DMA + 5), 'C');
	CHECK("a word of it", inw(DMA + 2), 0x554d);

	CHECK("select and read", transfer(KEY_SIGNATURE << 16 | SELECT | READ, 4), 0);
	CHECK("what is read", first_bytes(), 0x554d4551);
	memset(buffer, 0xaa, 16);
	CHECK("a read beyond the end", transfer(KEY_SIGNATURE << 16 | SELECT | READ, 8), 0);
	CHECK("gives the item", first_bytes(), 0x554d4551);
	CHECK("and zeros", *(volatile uint32_t *)(buffer + 4), 0);
	CHECK("and no more", buffer[8], 0xaa);

	CHECK("select alone", transfer(KEY_SIGNATURE << 16 | SELECT, 0), 0);
	CHECK("the port goes on with it", inb(DATA), 'Q');
	CHECK("skip", transfer(SKIP, 2), 0);
	CHECK("goes on behind", inb(DATA), 'U');
	CHECK("skip beyond the end", transfer(SKIP, 1000), 0);
	CHECK("stays there", inb(DATA), 0);
	CHECK("read comes before skip", transfer(KEY_SIGNATURE << 16 | SELECT | READ | SKIP, 2), 0);
	CHECK("and moves on once", inb(DATA), 'M');

	CHECK("a write", transfer(KEY_SIGNATURE << 16 | SELECT | WRITE, 4), ERROR);
	CHECK("an item is read-only", fw_cfg_number(KEY_SIGNATURE, 1), 'Q');
	CHECK("a write of nothing", transfer(WRITE, 0), 0);
	CHECK("a read of a key without an item", transfer(0x1fu << 16 | SELECT | READ, 4), 0);
	CHECK("reads zeros", first_bytes(), 0);
	CHECK("a write to one", transfer(0x1fu << 16 | SELECT | WRITE, 4), ERROR);
	CHECK("nothing to do", transfer(0, 4), 0);
	CHECK("other bits", transfer(PENDING >> 4, 4), 0);

	outw(SELECTOR, KEY_SIGNATURE);
	outl(DMA, 0xffffffff);
	outw(SELECTOR, KEY_ID);
	outl(DMA, 0);
	CHECK("the address's first half waits for the second", transfer(READ, 1), 0);
}
