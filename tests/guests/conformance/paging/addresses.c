/* Addresses that are not canonical, and CR2. */
#include "tests.h"

#define NOT_CANONICAL 0xaaaaaaaaaaaaaaaaull

void test_addresses(void)
{
	topic("addresses");
	map_area(PTE_P | PTE_W);
	PROVOKE("movb (%[at]), %%al", [at] "r"(NOT_CANONICAL));
	CHECK_FAULT("load from an address that is not canonical", VECTOR_GP, 0);
	PROVOKE("movb %%al, (%[at])", [at] "r"(NOT_CANONICAL));
	CHECK_FAULT("store to an address that is not canonical", VECTOR_GP, 0);
	PROVOKE("invlpg (%[at])", [at] "r"(NOT_CANONICAL));
	CHECK_NO_FAULT("invlpg of an address that is not canonical");
	PROVOKE("lock incq (%[at])", [at] "r"(NOT_CANONICAL));
	CHECK_FAULT("locked increment at an address that is not canonical", VECTOR_GP, 0);

	__asm__ volatile("movq %0, %%cr2" : : "r"(0x123456789abcdef0ull));
	CHECK("cr2 keeps what is written", read_cr2(), 0x123456789abcdef0ull);
	PROVOKE("movb (%[at]), %%al", [at] "r"(NOT_CANONICAL));
	CHECK("gp leaves cr2 alone", read_cr2(), 0x123456789abcdef0ull);
	/* The highest page, at both ends. */
	PROVOKE("movb (%[at]), %%al", [at] "r"(-1ull));
	CHECK_PAGE_FAULT("the last byte of all", 0, -1ull);
	PROVOKE("movb (%[at]), %%al", [at] "r"(0xffff800000000000ull));
	CHECK_PAGE_FAULT("the first byte of the upper half", 0, 0xffff800000000000ull);
	PROVOKE("movb (%[at]), %%al", [at] "r"(0x00007fffffffffffull));
	CHECK_PAGE_FAULT("the last byte of the lower half", 0, 0x00007fffffffffffull);
	PROVOKE("movq (%[at]), %%rax", [at] "r"(0x00007ffffffffffcull));
	CHECK("an access that leaves the lower half faults", seen.count, 1);
}
