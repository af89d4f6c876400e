/* Paging beside the walk itself: what the TLB may keep, bits that are ignored, accesses that cross a page, accesses that
 * the CPU makes by itself, addresses that are none (SDM vol. 3, chapter 4). The walk is the guest `access`. */
#include "guest.h"
#include "tests.h"

uint8_t frames[4][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

void map_first(uint64_t flags)
{
	map_page(AREA, frames[0], flags);
}

void map_second(uint64_t flags)
{
	map_page(AREA_NEXT, frames[1], flags);
}

void map_area(uint64_t flags)
{
	map_first(flags);
	map_second(flags);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_PF, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	set_handler(VECTOR_SS, skip_fault);
	set_handler(VECTOR_UD, skip_fault);
	write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
	test_flushes();
	test_bits();
	test_crossing();
	test_implicit();
	test_addresses();
	finish();
}
