/* The device `edu` and the registers of the remapping unit. */
#include "tests.h"

#include "machine.h"
#include "paging.h"
#include "timer.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define EDU_ID 0x11e81234
#define MSI_CONTROL 0x40
#define MSI_ENABLE (1u << 16)
#define VTD_BASE 0xfed90000
#define BUFFER 0x40000

unsigned edu = NOBODY;
static uint64_t queue[512] __attribute__((aligned(4096)));
static volatile uint32_t flushed;

static void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

uint32_t config_read(unsigned devfn, unsigned offset)
{
	outl(CONFIG_ADDRESS, 0x80000000 | devfn << 8 | offset);
	return inl(CONFIG_DATA);
}

void config_write(unsigned devfn, unsigned offset, uint32_t value)
{
	outl(CONFIG_ADDRESS, 0x80000000 | devfn << 8 | offset);
	outl(CONFIG_DATA, value);
}

static volatile uint32_t *edu_register(unsigned offset)
{
	return physical((config_read(edu, 0x10) & ~0xfu) + offset);
}

uint32_t edu_read(unsigned offset)
{
	return *edu_register(offset);
}

void edu_write(unsigned offset, uint32_t value)
{
	*edu_register(offset) = value;
}

void edu_transfer(uint64_t address, uint32_t bytes, bool to_memory)
{
	*(volatile uint64_t *)edu_register(EDU_DMA_SOURCE) = to_memory ? BUFFER : address;
	*(volatile uint64_t *)edu_register(EDU_DMA_DESTINATION) = to_memory ? address : BUFFER;
	*(volatile uint64_t *)edu_register(EDU_DMA_COUNT) = bytes;
	edu_write(EDU_DMA_COMMAND, to_memory ? 3 : 1);
	while (edu_read(EDU_DMA_COMMAND) & 1)
		delay_us(100);
}

void edu_use_message(uint32_t address, uint32_t data)
{
	config_write(edu, MSI_CONTROL + 4, address);
	config_write(edu, MSI_CONTROL + 8, 0);
	config_write(edu, MSI_CONTROL + 12, data);
	config_write(edu, MSI_CONTROL, config_read(edu, MSI_CONTROL) | MSI_ENABLE);
}

void edu_use_pin(void)
{
	config_write(edu, MSI_CONTROL, config_read(edu, MSI_CONTROL) & ~MSI_ENABLE);
}

uint32_t vtd_read(unsigned offset)
{
	return *(volatile uint32_t *)physical(VTD_BASE + offset);
}

uint64_t vtd_read64(unsigned offset)
{
	return *(volatile uint64_t *)physical(VTD_BASE + offset);
}

void vtd_write(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)physical(VTD_BASE + offset) = value;
}

void vtd_write64(unsigned offset, uint64_t value)
{
	*(volatile uint64_t *)physical(VTD_BASE + offset) = value;
}

void vtd_command(uint32_t set, uint32_t clear)
{
	/* The one-shot commands are not given again. */
	uint32_t kept = vtd_read(VTD_STATUS) & (VTD_TRANSLATE | VTD_QUEUE | VTD_REMAP);

	vtd_write(VTD_COMMAND, (kept & ~clear) | set);
	while ((vtd_read(VTD_STATUS) & (set | clear)) != set)
		pause();
}

static uint64_t put(uint64_t tail, uint64_t low, uint64_t high)
{
	queue[tail / 8] = low;
	queue[tail / 8 + 1] = high;
	return (tail + 16) % sizeof queue;
}

void vtd_flush(void)
{
	uint64_t tail = vtd_read64(VTD_QUEUE_TAIL);

	if (!(vtd_read(VTD_STATUS) & VTD_QUEUE)) {
		vtd_write64(VTD_QUEUE_ADDRESS, (uintptr_t)queue);
		vtd_write64(VTD_QUEUE_TAIL, tail = 0);
		vtd_command(VTD_QUEUE, 0);
	}
	flushed = 0;
	tail = put(tail, 0x11, 0); /* all contexts */
	tail = put(tail, 0x12, 0); /* the whole IOTLB */
	tail = put(tail, 0x04, 0); /* all interrupt entries */
	tail = put(tail, 0x1234ull << 32 | 0x25, (uintptr_t)&flushed); /* wait, and store */
	vtd_write64(VTD_QUEUE_TAIL, tail);
	while (flushed != 0x1234)
		pause();
}
