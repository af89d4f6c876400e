/* Which bits of the registers can be written (82093AA data sheet, 3.1 and 3.2). */
#include "conformance.h"
#include "ioapic.h"
#include "tests.h"

static bool keeps(uint32_t reg, uint32_t value)
{
	uint32_t before = ioapic_read(reg);

	ioapic_write(reg, value);
	return ioapic_read(reg) == before;
}

static void test_identity(void)
{
	uint32_t id = ioapic_read(IOAPIC_ID), version = ioapic_read(IOAPIC_VERSION);

	topic("registers");
	CHECK("version", version & 0xff, 0x20);
	CHECK("highest pin", version >> 16 & 0xff, 23);
	CHECK("the version can not be written", keeps(IOAPIC_VERSION, ~version), 1);
	ioapic_write(IOAPIC_ID, ~id);
	CHECK("of the ID four bits can", ioapic_read(IOAPIC_ID) ^ id, 0x0f000000);
	ioapic_write(IOAPIC_ID, 0x05000000);
	CHECK("the arbitration ID follows it", ioapic_read(IOAPIC_ARBITRATION), 0x05000000);
	CHECK("and can not be written", keeps(IOAPIC_ARBITRATION, 0), 1);
	ioapic_write(IOAPIC_ID, id);
	*ioapic_at(0) = 0x12;
	CHECK("the index register", *ioapic_at(0) & 0xff, 0x12);
}

static void test_entry(void)
{
	uint64_t all;

	topic("redirection entries");
	CHECK("a pin is masked at first", entry_read(PIN) & ENTRY_MASKED, ENTRY_MASKED);
	ioapic_write(IOAPIC_ENTRY(PIN) + 1, 0xff000000);
	ioapic_write(IOAPIC_ENTRY(PIN), 0x0001afff);
	all = entry_read(PIN);
	CHECK("bits that can be written", all, 0xff0000000001afff);
	ioapic_write(IOAPIC_ENTRY(PIN), (uint32_t)(ENTRY_MASKED | ENTRY_LEVEL | ENTRY_REMOTE_IRR | ENTRY_DELIVERY_STATUS));
	CHECK("delivery status and remote IRR can not", entry_read(PIN) & (ENTRY_REMOTE_IRR | ENTRY_DELIVERY_STATUS), 0);
	CHECK("a half is written alone", entry_read(PIN) >> 56, 0xff);
	ioapic_write(IOAPIC_ENTRY(PIN), ENTRY_MASKED);
	ioapic_write(IOAPIC_ENTRY(23), ENTRY_MASKED | 0x77);
	CHECK("the last pin", entry_read(23) & 0xff, 0x77);
	ioapic_write(0x40, 0x12345678);
	CHECK("there is no register behind it", ioapic_read(0x40), 0);
}

void test_registers(void)
{
	test_identity();
	test_entry();
}
