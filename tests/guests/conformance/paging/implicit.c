/* Accesses that the CPU makes by itself, to descriptors: as ring 0 whatever ring runs (SDM vol. 3, 4.6). */
#include "layout.h"
#include "ring3.h"
#include "string.h"
#include "tests.h"

/* In AREA is an LDT of one descriptor, data of ring 3; its own descriptor comes after all in a copy of the GDT. */
#define DATA_NOT_ACCESSED 0x00cff2000000ffffull
#define DATA_ACCESSED 0x00cff3000000ffffull
#define LDT_SELECTOR GDT_BYTES
#define IN_LDT 7 /* its first descriptor, RPL 3 */
#define CODE (AREA + 2 * PAGE_BYTES)
#define CR4_SMAP (1ull << 21)
#define CPUID_7_EBX_SMAP (1u << 20)

static uint64_t gdt_copy[GDT_BYTES / 8 + 2];

static void leave(struct interrupt_frame *frame)
{
	record(frame);
	ring3_leave(0);
}

static void finished(struct interrupt_frame *frame)
{
	(void)frame;
	ring3_leave(0);
}

static void ldt_install(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdt;
	uint64_t base = AREA;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	memcpy(gdt_copy, physical(gdt.base), GDT_BYTES);
	/* A present LDT (SDM vol. 3, figure 8-4 and table 3-2), 8 bytes long. */
	gdt_copy[GDT_BYTES / 8] = 7 | (base & 0xffffff) << 16 | 0x82ull << 40 | (base >> 24 & 0xff) << 56;
	gdt_copy[GDT_BYTES / 8 + 1] = base >> 32;
	gdt.base = (uintptr_t)gdt_copy;
	gdt.limit = sizeof gdt_copy - 1;
	__asm__ volatile("lgdt %0; lldt %w1" : : "m"(gdt), "r"(LDT_SELECTOR) : "memory");
}

/* Ring 3 loads ES from the LDT, whose page has these flags. */
static void load_in_ring3(uint64_t flags, uint64_t descriptor)
{
	memcpy(frames[0], &descriptor, 8);
	map_first(flags);
	seen = (struct seen){ 0 };
	ring3_enter(CODE, CODE + PAGE_BYTES, 2, USER_CODE | 3);
}

#define CHECK_IMPLICIT_FAULT(name, error_code_)                           \
	do {                                                              \
		CHECK(name " faults", seen.count, 1);                     \
		CHECK(name " vector", seen.vector, VECTOR_PF);            \
		CHECK(name " error code", seen.error_code, error_code_);  \
		CHECK(name " page", seen.cr2 & ~4095ull, AREA);           \
		CHECK(name " in ring 3", seen.cs & 3, 3);                 \
	} while (0)

static void test_ring3(void)
{
	uint64_t descriptor;

	load_in_ring3(PTE_P | PTE_W, DATA_NOT_ACCESSED);
	CHECK("ring 3 loads a descriptor from ring 0's page", seen.count, 0);
	memcpy(&descriptor, frames[0], 8);
	CHECK("the descriptor is marked", descriptor, DATA_ACCESSED);
	CHECK("its page is marked", *leaf(AREA) & (PTE_A | PTE_D), PTE_A | PTE_D);
	load_in_ring3(PTE_P, DATA_ACCESSED);
	CHECK("a marked descriptor is loaded from a read-only page", seen.count, 0);
	CHECK("which is not dirty then", *leaf(AREA) & (PTE_A | PTE_D), PTE_A);
	load_in_ring3(PTE_P, DATA_NOT_ACCESSED);
	CHECK_IMPLICIT_FAULT("a descriptor to be marked in a read-only page", PF_P | PF_W);
	load_in_ring3(0, DATA_ACCESSED);
	CHECK_IMPLICIT_FAULT("a descriptor in an absent page", 0);
	load_in_ring3(PTE_P | PTE_W | PTE_U, DATA_NOT_ACCESSED);
	CHECK("ring 3 loads a descriptor from its own page", seen.count, 0);
}

static void test_smap(void)
{
	uint64_t cr4 = read_cr4();

	if (!(cpuid(7, 0).ebx & CPUID_7_EBX_SMAP)) {
		absent("smap", "CPUID.7.0:EBX[20]");
		return;
	}
	write_cr4(cr4 | CR4_SMAP);
	load_in_ring3(PTE_P | PTE_W | PTE_U, DATA_ACCESSED);
	CHECK_IMPLICIT_FAULT("a descriptor in ring 3's page under smap", PF_P);
	load_in_ring3(PTE_P | PTE_W, DATA_ACCESSED);
	CHECK("a descriptor in ring 0's page under smap", seen.count, 0);
	map_first(PTE_P | PTE_W | PTE_U);
	set_handler(VECTOR_PF, skip_fault);
	__asm__ volatile("stac");
	PROVOKE("mov %[selector], %%es", [selector] "r"(IN_LDT));
	__asm__ volatile("clac");
	CHECK_NOT_QEMU("a descriptor in ring 3's page under smap with ac", seen.count, 1,
		       "has AC lift SMAP for implicit accesses, SDM vol. 3, 4.6.1");
	write_cr4(cr4);
}

void test_implicit(void)
{
	/* mov $IN_LDT, %eax; mov %eax, %es; int $VECTOR_TEST */
	static const uint8_t code[] = { 0xb8, IN_LDT, 0, 0, 0, 0x8e, 0xc0, 0xcd, VECTOR_TEST };

	topic("implicit");
	ldt_install();
	memcpy(frames[2], code, sizeof code);
	map_page(CODE, frames[2], PTE_P | PTE_W | PTE_U);
	set_handler(VECTOR_PF, leave);
	set_handler(VECTOR_TEST, finished);
	allow_from_ring3(VECTOR_TEST);
	test_ring3();
	test_smap();
	set_handler(VECTOR_PF, skip_fault);
	map_first(PTE_P | PTE_W);
}
