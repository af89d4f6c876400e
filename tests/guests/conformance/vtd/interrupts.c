/* Interrupt remapping (VT-d 3.3, chapter 5). */
#include "arrivals.h"
#include "edu.h"
#include "ioapic.h"
#include "vtd.h"

#define ENTRIES 256
#define PIN_INDEX 5
#define MSI_INDEX 7
#define OTHER 9
#define VECTOR 0xa1
#define COMPATIBLE 0xa2
#define PRESENT 1ull
#define FAULT_DISABLE 2ull
#define LEVEL_TRIGGERED (1ull << 4)
#define VECTOR_IS(vector) ((uint64_t)(vector) << 16)
#define SAME_SOURCE (1ull << 18)
#define BUS_RANGE (2ull << 18)
#define NOT_RECORDED "it records no fault of an interrupt; VT-d 3.3, 7.2.4"

static volatile uint64_t table[ENTRIES * 2] __attribute__((aligned(VTD_PAGE)));

static void set_entry(unsigned index, uint64_t low, uint64_t high)
{
	table[2 * index] = low;
	table[2 * index + 1] = high;
	queue_invalidate_all();
}

static uint32_t to_index(unsigned index, bool subhandle)
{
	return 0xfee00000 | index << 5 | 1 << 4 | subhandle << 3;
}

/* How many interrupts come of a message. */
static uint64_t arrive(uint32_t address, uint32_t data)
{
	forget_arrivals();
	edu_message(address, data);
	edu_write(EDU_RAISE, 1);
	delay_us(2000);
	edu_write(EDU_ACKNOWLEDGE, 1);
	edu_no_message();
	return arrived(0, VECTOR) << 8 | arrived(0, COMPATIBLE);
}

static void check_blocked(const char *name, const char *record, uint32_t address, uint32_t data, unsigned reason,
			  unsigned index)
{
	uint64_t where = 0, fault;

	CHECK(name, arrive(address, data), 0);
	fault = take_fault(&where);
	CHECK_NOT_QEMU(record, (fault >> 32 & 0xff) << 16 | where >> 48, (uint64_t)reason << 16 | index, NOT_RECORDED);
}

static void test_messages(void)
{
	unsigned self = edu_slot << 3;

	topic("messages");
	check_blocked("no entry", "no entry is recorded", to_index(MSI_INDEX, false), 0, 0x22, MSI_INDEX);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), 0);
	CHECK("by an entry", arrive(to_index(MSI_INDEX, false), 0), 0x100);
	CHECK("by a handle and a sub-handle", arrive(to_index(MSI_INDEX - 2, true), 2), 0x100);
	CHECK("without the sub-handle", arrive(to_index(MSI_INDEX, false), 2), 0x100);
	check_blocked("an index too large", "a large index is recorded", to_index(ENTRIES, false), 0, 0x21, ENTRIES);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR) | 1 << 12, 0);
	check_blocked("a reserved bit", "a reserved bit is recorded", to_index(MSI_INDEX, false), 0, 0x24, MSI_INDEX);
	set_entry(MSI_INDEX, FAULT_DISABLE, 0);
	CHECK("an interrupt whose fault is not recorded", arrive(to_index(MSI_INDEX, false), 0) | vtd_read(VTD_FSTS), 0);

	topic("who sends them");
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), SAME_SOURCE | self);
	CHECK("the same function", arrive(to_index(MSI_INDEX, false), 0), 0x100);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), SAME_SOURCE | (self + 1));
	check_blocked("another function", "another function is recorded", to_index(MSI_INDEX, false), 0, 0x26, MSI_INDEX);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), SAME_SOURCE | 3 << 16 | (self + 5));
	CHECK("any function of the device", arrive(to_index(MSI_INDEX, false), 0), 0x100);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), SAME_SOURCE | 1 << 16 | (self + 4));
	CHECK("every fourth function", arrive(to_index(MSI_INDEX, false), 0), 0x100);
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), BUS_RANGE | 0x0001);
	CHECK_NOT_QEMU("of a range of buses", arrive(to_index(MSI_INDEX, false), 0), 0x100,
		       "it takes the first bus for the last; VT-d 3.3, 9.9");
	set_entry(MSI_INDEX, PRESENT | VECTOR_IS(VECTOR), BUS_RANGE | 0x0102);
	check_blocked("of other buses", "other buses are recorded", to_index(MSI_INDEX, false), 0, 0x26, MSI_INDEX);
	set_entry(MSI_INDEX, 0, 0);
}

static void acknowledge(struct interrupt_frame *frame)
{
	edu_write(EDU_ACKNOWLEDGE, edu_read(EDU_INTERRUPTS));
	count_arrival(frame);
}

/* How many interrupts come of the pin that edu has. */
static uint64_t by_pin(uint32_t pin, uint64_t entry)
{
	forget_arrivals();
	entry_write(pin, entry);
	edu_write(EDU_RAISE, 1);
	delay_us(2000);
	edu_write(EDU_ACKNOWLEDGE, 1);
	edu_write(EDU_RAISE, 1);
	delay_us(2000);
	edu_write(EDU_ACKNOWLEDGE, 1);
	entry_write(pin, ENTRY_MASKED);
	return arrived(0, VECTOR) << 8 | arrived(0, COMPATIBLE);
}

static void test_pins(void)
{
	uint32_t pin = pci_read(edu_slot, 0, PCI_INTERRUPT_LINE) & 0xff;
	uint64_t remapped = (uint64_t)PIN_INDEX << 49 | 1ull << 48 | ENTRY_LEVEL | VECTOR;

	topic("pins of the I/O APIC");
	set_handler(VECTOR, acknowledge);
	set_handler(COMPATIBLE, acknowledge);
	entry_write(pin, ENTRY_MASKED | remapped);
	CHECK("an entry in remappable format is kept", entry_read(pin), ENTRY_MASKED | remapped);
	CHECK("blocked without an entry", by_pin(pin, remapped), 0);
	take_fault(&(uint64_t){ 0 });
	/* What has no end waits for it. */
	ioapic_end_of_interrupt(VECTOR);
	set_entry(PIN_INDEX, PRESENT | LEVEL_TRIGGERED | VECTOR_IS(VECTOR), 0);
	CHECK("a level, twice", by_pin(pin, remapped), 0x200);
	set_entry(PIN_INDEX, PRESENT | VECTOR_IS(VECTOR), SAME_SOURCE | edu_slot << 3);
	CHECK("an edge, of whatever source", by_pin(pin, remapped & ~ENTRY_LEVEL), 0x200);
	set_entry(PIN_INDEX, 0, 0);
}

void test_interrupts(void)
{
	topic("interrupt remapping");
	vtd_write_wide(VTD_IRTA, (uint64_t)table | 7);
	vtd_command(GCMD_SIRTP, 0);
	CHECK("the table is taken", vtd_read(VTD_GSTS) & GCMD_SIRTP, GCMD_SIRTP);
	queue_invalidate_all();
	set_entry(OTHER, PRESENT | VECTOR_IS(VECTOR), 0);
	vtd_command(GCMD_IRE, 0);
	CHECK("remapping is on", vtd_read(VTD_GSTS), GCMD_SRTP | GCMD_QIE | GCMD_IRE | GCMD_SIRTP);
	test_messages();
	test_pins();
	vtd_command(0, GCMD_IRE);
	CHECK("remapping is off", vtd_read(VTD_GSTS) & GCMD_IRE, 0);
	CHECK("in compatible format again", arrive(0xfee00000, COMPATIBLE), 0x001);
}
