/* What makes the CPU forget a translation, and what needs no such thing (SDM vol. 3, 4.10.4). */
#include "tests.h"

static uint8_t load(uint64_t address)
{
	return *(volatile uint8_t *)physical(address);
}

/* AREA is looked at, then mapped to the other frame without a flush, then `flush` runs. */
#define CHECK_FLUSH(name, flags, flush)                                              \
	do {                                                                         \
		map_first(PTE_P | PTE_W | (flags));                                  \
		load(AREA);                                                          \
		*leaf(AREA) = (uintptr_t)frames[1] | PTE_P | PTE_W | (flags);        \
		flush;                                                               \
		CHECK(name, load(AREA), 2);                                          \
	} while (0)

static void test_what_flushes(void)
{
	uint64_t cr3 = read_cr3(), cr4 = read_cr4();

	frames[0][0] = 1;
	frames[1][0] = 2;
	CHECK_FLUSH("invlpg forgets a page", 0, invalidate_page(physical(AREA)));
	CHECK_FLUSH("invlpg of its last byte forgets a page", 0, invalidate_page(physical(AREA + PAGE_BYTES - 1)));
	CHECK_FLUSH("mov to cr3 forgets a page", 0, write_cr3(cr3));
	CHECK_FLUSH("a g bit means nothing without cr4.pge", PTE_G, write_cr3(cr3));
	CHECK_FLUSH("setting cr4.pge forgets a page", 0, write_cr4(cr4 | CR4_PGE));
	CHECK_FLUSH("mov to cr3 forgets others", 0, write_cr3(cr3));
	CHECK_FLUSH("invlpg forgets a global page", PTE_G, invalidate_page(physical(AREA)));
	CHECK_FLUSH("clearing cr4.pge forgets a global page", PTE_G, write_cr4(cr4));
	write_cr4(cr4);
	map_first(PTE_P | PTE_W);
}

/* More rights than the TLB knows are found at the latest by the walk that the fault would need. */
static void test_rights_that_grow(void)
{
	map_first(0);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK_PAGE_FAULT("load from an absent page", 0, AREA);
	*leaf(AREA) |= PTE_P;
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK_NO_FAULT("present without a flush");
	*leaf(AREA) |= PTE_W;
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_NO_FAULT("writable without a flush");
	*(volatile uint8_t *)frames[0] = 0xc3;
	map_first(PTE_P | PTE_W | PTE_NX);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	*leaf(AREA) &= ~PTE_NX;
	PROVOKE("call *%[at]", [at] "r"(AREA));
	CHECK_NO_FAULT("executable without a flush");
	/* A reserved bit that is cleared. */
	map_first(PTE_P | 1ull << 51);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK("a reserved bit faults", seen.error_code & PF_RSVD, PF_RSVD);
	*leaf(AREA) &= ~(1ull << 51);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK_NO_FAULT("without the reserved bit and a flush");
}

/* What control bits change holds for translations that are known, too. */
static void test_control_bits(void)
{
	uint64_t cr0 = read_cr0(), efer = read_msr(MSR_EFER);

	map_first(PTE_P);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("store under wp", PF_P | PF_W, AREA);
	write_cr0(cr0 & ~CR0_WP);
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_NO_FAULT("store without wp");
	CHECK("store without wp makes dirty", *leaf(AREA) & PTE_D, PTE_D);
	write_cr0(cr0);
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("store under wp again", PF_P | PF_W, AREA);

	*(volatile uint8_t *)frames[0] = 0xc3;
	map_first(PTE_P | PTE_W | PTE_NX);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	write_msr(MSR_EFER, efer & ~EFER_NXE);
	invalidate_page(physical(AREA)); /* WRMSR is not among what flushes */
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK("nx is reserved without nxe", seen.error_code & PF_RSVD, PF_RSVD);
	write_msr(MSR_EFER, efer);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK_NO_FAULT("nx is none to loads with nxe");
}

void test_flushes(void)
{
	topic("flushes");
	test_what_flushes();
	test_rights_that_grow();
	test_control_bits();
}
