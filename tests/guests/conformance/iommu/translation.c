/* Registers, and DMA remapping (VT-d specification, 3.4 to 3.7). */
#include "conformance.h"
#include "paging.h"
#include "tests.h"

#define PATTERN 0x5ca1ab1e
#define RW 3
#define LARGE 0x80
#define PAGE_AT 0x7000ull
#define LARGE_AT 0x200000ull
/* Of a context entry: 39 bits. */
#define WIDTH_39 1
/* Of a fault record, what is there without a PASID. */
#define RECORD (3ull << 62 | 0xffull << 32 | 0xffff)
#define PASS_THROUGH (2 << 2)

static uint64_t root[512] __attribute__((aligned(4096)));
static uint64_t contexts[512] __attribute__((aligned(4096)));
static uint64_t tables[3][512] __attribute__((aligned(4096)));
static volatile uint32_t page[2][1024] __attribute__((aligned(4096)));

void test_registers(void)
{
	topic("registers");
	CHECK("version", vtd_read(VTD_VERSION), 0x10);
	CHECK("capabilities", vtd_read_wide(VTD_CAP), 0x00d2008c22260206);
	CHECK("extended capabilities", vtd_read_wide(VTD_ECAP), 0xf00f4a);
	CHECK("status", vtd_read(VTD_GSTS), 0);
	CHECK("faults", vtd_read(VTD_FSTS), 0);
	CHECK("the fault event is masked", vtd_read(VTD_FECTL), 0x80000000);
	CHECK("commands are not read", vtd_read(VTD_GCMD), 0);
	vtd_write_wide(VTD_CCMD, 1ull << 63 | 1ull << 61);
	CHECK("contexts are flushed, all", vtd_read_wide(VTD_CCMD) >> 59, 0x5);
	vtd_write_wide(VTD_IOTLB, 1ull << 63 | 1ull << 60);
	CHECK("the IOTLB is flushed, all", vtd_read_wide(VTD_IOTLB) >> 57, 0x9);
	vtd_flush();
	CHECK("the queue is done", vtd_read_wide(VTD_IQH), vtd_read_wide(VTD_IQT));
}

static void context(uint64_t low, uint64_t high)
{
	contexts[2 * edu_requester()] = low;
	contexts[2 * edu_requester() + 1] = high;
	vtd_flush();
}

/* What the device stores there, as far as it arrives; the reason of the fault otherwise. */
static uint64_t stored(uint64_t address, volatile uint32_t *where)
{
	uint64_t record;

	*where = 0;
	edu_copy_out(0, address, 4);
	record = vtd_read_wide(VTD_FRCD + 8);
	if (!(record & VTD_RECORDED))
		return *where;
	vtd_write_wide(VTD_FRCD + 8, VTD_RECORDED);
	return *where == 0 ? record >> 32 & 0xff : ~0ull;
}

void test_translation(void)
{
	uint64_t record;

	topic("DMA remapping");
	page[0][0] = PATTERN;
	edu_copy_in((uintptr_t)page, 0, 4);
	root[0] = (uintptr_t)contexts | 1;
	tables[0][0] = (uintptr_t)tables[1] | RW;
	tables[1][0] = (uintptr_t)tables[2] | RW;
	tables[1][1] = ((uintptr_t)page & ~(LARGE_AT - 1)) | RW | LARGE;
	tables[2][PAGE_AT >> 12] = (uintptr_t)page[1] | RW;
	vtd_write_wide(VTD_RTADDR, (uintptr_t)root);
	vtd_command(GCMD_SRTP, 0);
	vtd_command(GCMD_TE, 0);
	CHECK("it is on", vtd_read(VTD_GSTS), GCMD_TE | GCMD_SRTP | GCMD_QIE);
	CHECK("no context", stored(PAGE_AT, page[1]), 2);
	context((uintptr_t)tables[0] | 1, 7 << 8 | WIDTH_39);
	CHECK("a page", stored(PAGE_AT + 0x40, &page[1][0x10]), PATTERN);
	CHECK("a large page", stored(LARGE_AT + ((uintptr_t)page[1] & (LARGE_AT - 1)), page[1]), PATTERN);
	CHECK("no page", stored(PAGE_AT + 0x1000, page[1]), 5);
	record = vtd_read_wide(VTD_FRCD);
	CHECK("and its address", record, PAGE_AT + 0x1000);
	CHECK("the status says no fault then", vtd_read(VTD_FSTS), 0);
	tables[2][PAGE_AT >> 12] = (uintptr_t)page[1] | 1;
	vtd_flush();
	CHECK("a page to read alone", stored(PAGE_AT, page[1]), 5);
	tables[2][PAGE_AT >> 12] = (uintptr_t)page[1] | 2;
	vtd_flush();
	page[1][0] = 0;
	edu_copy_in(PAGE_AT, 0, 4);
	record = vtd_read_wide(VTD_FRCD + 8);
	CHECK("a page to write alone is not read", record & RECORD, VTD_RECORDED | 1ull << 62 | 6ull << 32 | edu_requester());
	CHECK("the status says so", vtd_read(VTD_FSTS), 2);
	CHECK("so does the event, masked", vtd_read(VTD_FECTL), 0xc0000000);
	edu_copy_out(0, PAGE_AT + 0x1000, 4);
	CHECK("a second leaves it", vtd_read_wide(VTD_FRCD + 8) == record, 1);
	vtd_write_wide(VTD_FRCD + 8, VTD_RECORDED);
	vtd_write(VTD_FSTS, 1);
	context((uintptr_t)tables[0] | 3, 7 << 8 | WIDTH_39);
	edu_copy_in(PAGE_AT + 0x1000, 0, 4);
	CHECK("a silent context's is not recorded", vtd_read_wide(VTD_FRCD + 8) & VTD_RECORDED, 0);
	context(PASS_THROUGH | 1, 7 << 8 | WIDTH_39);
	edu_copy_in((uintptr_t)page, 0, 4);
	CHECK("pass-through", stored((uintptr_t)page[1], page[1]), page[0][0]);
	context(1 | 3 << 2, 7 << 8 | WIDTH_39);
	CHECK("a reserved type", stored(PAGE_AT, page[1]), 3);
	root[0] = 0;
	vtd_flush();
	CHECK("no root entry", stored(PAGE_AT, page[1]), 1);
	vtd_command(0, GCMD_TE);
	edu_copy_in((uintptr_t)page, 0, 4);
	CHECK("off again", stored((uintptr_t)page[1], page[1]), page[0][0]);
}
