/* What the unit is, and invalidation by registers (VT-d 3.3, 11.4). */
#include "vtd.h"

#define INVALIDATE (1ull << 63)

static uint64_t invalidate(uint32_t reg, uint64_t request)
{
	vtd_write_wide(reg, INVALIDATE | request);
	return vtd_read_wide(reg);
}

#define CONTEXT(granularity) (invalidate(VTD_CCMD, (uint64_t)(granularity) << 61) >> 59)
#define PAGES(granularity) (invalidate(VTD_IOTLB, (uint64_t)(granularity) << 60) >> 57)

void test_registers(void)
{
	topic("registers");
	CHECK("version", vtd_read(VTD_VERSION), 0x10);
	CHECK("capabilities", vtd_read_wide(VTD_CAP), 0x00d2008c222f0606);
	CHECK("extended capabilities", vtd_read_wide(VTD_ECAP), 0xf00f4a);
	CHECK("global status", vtd_read(VTD_GSTS), 0);
	CHECK("fault status", vtd_read(VTD_FSTS), 0);
	CHECK("fault event control", vtd_read(VTD_FECTL), EVENT_MASKED);
	CHECK("invalidation event control", vtd_read(VTD_IECTL), EVENT_MASKED);
	CHECK("nothing recorded", vtd_read_wide(VTD_FRCD) | vtd_read_wide(VTD_FRCD + 8), 0);
	CHECK("no protected memory", vtd_read(0x64), 0);
	vtd_write(VTD_VERSION, 0xff);
	CHECK("the version stays", vtd_read(VTD_VERSION), 0x10);
	vtd_write_wide(VTD_RTADDR, ~0ull);
	CHECK("root table address", vtd_read_wide(VTD_RTADDR) & ~0xc00ull, ~0xfffull);
	vtd_write(VTD_RTADDR, 0x1000);
	vtd_write(VTD_RTADDR + 4, 0);
	CHECK("its halves", vtd_read_wide(VTD_RTADDR), 0x1000);
	CHECK("one half", vtd_read(VTD_RTADDR), 0x1000);
	vtd_write_wide(VTD_IRTA, ~0ull);
	CHECK("interrupt table address", vtd_read_wide(VTD_IRTA) & ~0x800ull, ~0xff0ull);
	vtd_write(VTD_FEDATA, ~0u);
	CHECK("fault event data", vtd_read(VTD_FEDATA), 0xffff);
	vtd_write(VTD_FEADDR, ~0u);
	CHECK("fault event address", vtd_read(VTD_FEADDR), 0xfffffffc);
	CHECK("no upper address", vtd_read(VTD_FEADDR + 4), 0);
	vtd_write(VTD_IQT, ~0u);
	CHECK("queue tail", vtd_read(VTD_IQT), 0x7fff0);
	vtd_write(VTD_IQT, 0);
	CHECK("commands read as none", vtd_read(VTD_GCMD), 0);
	CHECK("a word", *(volatile uint16_t *)physical(VTD_BASE + VTD_CAP), 0);

	topic("invalidation by registers");
	CHECK("contexts, all", CONTEXT(1), 0x5);
	CHECK("contexts of a domain, or more", CONTEXT(2) >> 2, 2);
	CHECK("contexts of a device", CONTEXT(3), 0xf);
	CHECK("contexts, nothing asked", CONTEXT(0), 0);
	CHECK("pages, all", PAGES(1), 0x9);
	CHECK("pages of a domain", PAGES(2), 0x12);
	vtd_write_wide(VTD_IVA, 0x1000);
	CHECK("an address reads as none", vtd_read_wide(VTD_IVA), 0);
	CHECK("pages by address", PAGES(3), 0x1b);
	vtd_write_wide(VTD_IVA, 0x1000 | 19);
	CHECK("pages by too many of an address", PAGES(3), 0x18);
}
