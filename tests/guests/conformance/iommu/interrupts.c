/* Interrupt remapping (VT-d specification, 5.1 and 9.9). */
#include "arrivals.h"
#include "conformance.h"
#include "tests.h"

#define IOAPIC 0xfec00000
#define PIN 10
#define INDEX 0x8003
#define PRESENT 1ull
#define SILENT 2ull
#define VERIFY (1ull << 18)

struct entry {
	uint64_t low, high;
};

static struct entry entries[0x10000] __attribute__((aligned(4096)));

static uint64_t ioapic_entry(uint32_t index, uint32_t vector)
{
	return (uint64_t)(index & 0x7fff) << 49 | 1ull << 48 | index >> 15 << 11 | vector;
}

static void route(uint64_t value)
{
	volatile uint32_t *select = physical(IOAPIC), *window = physical(IOAPIC + 0x10);

	*select = 0x11 + 2 * PIN;
	*window = (uint32_t)(value >> 32);
	*select = 0x10 + 2 * PIN;
	*window = (uint32_t)value;
}

static void enter(uint32_t index, uint64_t low, uint64_t high)
{
	entries[index] = (struct entry){ low, high };
	vtd_flush();
}

/* Which vectors from 0x60 to 0x6f come of an interrupt of edu's. */
static uint64_t brought(void)
{
	uint64_t set = 0;

	forget_arrivals();
	edu_write(EDU_RAISE, 1);
	for (int i = 0; i < 100 && arrivals[0].total == 0; i++)
		delay_us(100);
	delay_us(1000);
	edu_write(EDU_ACKNOWLEDGE, 1);
	for (int vector = 0x60; vector < 0x70; vector++)
		set |= (arrived(0, vector) != 0) << (vector - 0x60);
	return set;
}

static uint64_t reason(void)
{
	uint64_t record = vtd_read_wide(VTD_FRCD + 8);

	vtd_write_wide(VTD_FRCD + 8, VTD_RECORDED);
	return record & VTD_RECORDED ? record >> 32 & 0xff : 0;
}

static uint32_t message(uint32_t index)
{
	return 0xfee00010 | (index & 0x7fff) << 5 | index >> 15 << 2;
}

void test_interrupts(void)
{
	topic("interrupt remapping");
	vtd_write_wide(VTD_IRTA, (uintptr_t)entries | 0xf);
	vtd_command(GCMD_SIRTP, 0);
	vtd_command(GCMD_IRE, 0);
	CHECK("remapping is on", vtd_read(VTD_GSTS) & (GCMD_IRE | GCMD_SIRTP), GCMD_IRE | GCMD_SIRTP);
	enter(INDEX, PRESENT | SILENT | 0x61 << 16, VERIFY | edu_requester());
	edu_message(message(INDEX), 0x60);
	CHECK("a message", brought(), 1 << 1);
	edu_message(message(INDEX - 2) | 1 << 3, 2);
	CHECK("with a subhandle", brought(), 1 << 1);
	enter(INDEX, PRESENT | SILENT | 0x62 << 16, VERIFY | (edu_requester() + 8));
	edu_message(message(INDEX), 0x60);
	CHECK("of another requester, silent", brought(), 0);
	CHECK("is not recorded", reason(), 0);
	enter(INDEX, PRESENT | 0x62 << 16, VERIFY | 1 << 16 | (edu_requester() + 4));
	CHECK("of one that another is, but for a bit that is not looked at", brought(), 1 << 2);
	enter(INDEX, 0x62 << 16, 0);
	CHECK("of no entry", brought(), 0);
	edu_no_message();
	route(ioapic_entry(INDEX, 0x63));
	enter(INDEX, PRESENT | SILENT | 0x63 << 16, 0);
	CHECK("a pin", brought(), 1 << 3);
	enter(INDEX, PRESENT | SILENT | 0x64 << 16, VERIFY | edu_requester());
	CHECK("whoever's it is", brought(), 1 << 4);
	route(0x10000);
	edu_message(0xfee00000, 0x65);
	CHECK_NOT_QEMU("one in compatibility format", brought(), 0, "lets it pass; VT-d specification, 5.1.4");
	vtd_command(0, GCMD_IRE);
	CHECK("without remapping", brought(), 1 << 5);
	edu_no_message();
}
