/* Bits of page-table entries: those that are ignored, and when accessed and dirty are set (SDM vol. 3, 4.5.4, 4.8). */
#include "string.h"
#include "tests.h"

static uint64_t marks(void)
{
	return *leaf(AREA) & (PTE_A | PTE_D);
}

/* The entry before, one instruction, the entry after. */
#define CHECK_MARKS(name, expected, instruction)                      \
	do {                                                          \
		map_first(PTE_P | PTE_W);                             \
		PROVOKE(instruction, [at] "r"(AREA));                 \
		CHECK(name, marks(), expected);                       \
	} while (0)

static void test_marks(void)
{
	/* What RAX never holds: the comparisons below differ. */
	memset(frames[0], 0x5a, PAGE_BYTES);
	CHECK_MARKS("a load marks accessed", PTE_A, "movq (%[at]), %%rax");
	CHECK_MARKS("a store marks both", PTE_A | PTE_D, "movq %%rax, (%[at])");
	CHECK_MARKS("a test marks accessed", PTE_A, "testb $1, (%[at])");
	CHECK_MARKS("a bit test marks accessed", PTE_A, "btq $1, (%[at])");
	CHECK_MARKS("an addition marks both", PTE_A | PTE_D, "addq $0, (%[at])");
	CHECK_MARKS("a locked addition marks both", PTE_A | PTE_D, "lock addq $0, (%[at])");
	CHECK_MARKS("xchg marks both", PTE_A | PTE_D, "xchgq %%rax, (%[at])");
	memset(frames[0], 0x5a, PAGE_BYTES);
	CHECK_MARKS("cmpxchg that differs marks both", PTE_A | PTE_D, "cmpxchgq %%rcx, (%[at])");
	CHECK_MARKS("locked cmpxchg that differs marks both", PTE_A | PTE_D, "lock cmpxchgq %%rcx, (%[at])");
	CHECK_MARKS("a bit that is set already marks both", PTE_A | PTE_D, "btsq $0, (%[at])");
	CHECK_MARKS("lea marks nothing", 0, "leaq (%[at]), %%rax");
	CHECK_MARKS("invlpg marks nothing", 0, "invlpg (%[at])");

	map_first(PTE_P);
	PROVOKE("movq %%rax, (%[at])", [at] "r"(AREA));
	CHECK("a store that faults marks nothing", marks(), 0);
	map_first(PTE_P);
	PROVOKE("cmpxchgq %%rcx, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("cmpxchg that differs to a read-only page", PF_P | PF_W, AREA);
	map_first(PTE_P);
	PROVOKE("lock cmpxchgq %%rcx, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("locked cmpxchg that differs to a read-only page", PF_P | PF_W, AREA);
	map_first(PTE_P);
	PROVOKE("btsq $0, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("bts to a read-only page", PF_P | PF_W, AREA);
	map_first(PTE_P);
	PROVOKE("xchgq %%rax, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("xchg with a read-only page", PF_P | PF_W, AREA);

	/* Dirty after a load that has let the translation in. */
	map_first(PTE_P | PTE_W);
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK("a store after a load marks dirty", marks(), PTE_A | PTE_D);
	/* What software clears comes back after a flush alone, and then it has to. */
	*leaf(AREA) &= ~(PTE_A | PTE_D);
	invalidate_page(physical(AREA));
	PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
	CHECK("accessed comes back after a flush", marks(), PTE_A);
}

static void test_upper_levels(void)
{
	uint64_t *directory, *entry, before;

	map_first(PTE_P | PTE_W);
	directory = physical(((uint64_t *)physical(((uint64_t *)physical(read_cr3() & PTE_ADDRESS))[AREA >> 39 & 511] &
						   PTE_ADDRESS))[AREA >> 30 & 511] & PTE_ADDRESS);
	entry = &directory[AREA >> 21 & 511];
	before = *entry & ~(PTE_A | PTE_D);
	*entry = before;
	write_cr3(read_cr3());
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK("a store marks the table's entry accessed, not dirty", *entry ^ before, PTE_A);
	*entry = before | PTE_D;
	write_cr3(read_cr3());
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_NO_FAULT("bit 6 of a table's entry is ignored");
	*entry = before & ~PTE_P;
	write_cr3(read_cr3());
	PROVOKE("movb %%al, (%[at])", [at] "r"(AREA));
	CHECK_PAGE_FAULT("a table that is absent", PF_W, AREA);
	CHECK("an absent entry is not marked", *entry, before & ~PTE_P);
	*entry = before;
	write_cr3(read_cr3());
}

static void test_ignored(void)
{
	unsigned wrong = 0;

	for (unsigned bits = 0; bits < 8; bits++) {
		map_first(PTE_P | PTE_W | (bits & 1 ? PTE_PWT : 0) | (bits & 2 ? PTE_PCD : 0) | (bits & 4 ? PTE_PAT : 0));
		*(volatile uint8_t *)frames[0] = (uint8_t)bits;
		PROVOKE("movb (%[at]), %%al; movb %%al, 1(%[at])", [at] "r"(AREA));
		wrong += seen.count != 0 || frames[0][1] != bits;
	}
	CHECK("memory types do not matter to what is read", wrong, 0);
	wrong = 0;
	for (unsigned bit = 9; bit < 63; bit++) {
		if (bit == 12)
			bit = 52;
		map_first(PTE_P | PTE_W | 1ull << bit);
		PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
		wrong += seen.count != 0;
	}
	CHECK("bits 9 to 11 and 52 to 62 are ignored", wrong, 0);
	wrong = 0;
	for (unsigned bit = 1; bit < 64; bit++) {
		map_first(1ull << bit);
		PROVOKE("movb (%[at]), %%al", [at] "r"(AREA));
		wrong += seen.count != 1 || seen.error_code != 0;
	}
	CHECK("nothing counts in an entry that is not present", wrong, 0);
	map_first(PTE_P | PTE_W);
}

void test_bits(void)
{
	topic("bits");
	test_marks();
	test_upper_levels();
	test_ignored();
}
