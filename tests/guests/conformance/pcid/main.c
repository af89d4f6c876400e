/* Process-context identifiers and INVPCID, or their absence (SDM vol. 3, 4.10.1; vol. 2, INVPCID). */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "paging.h"
#include "provoke.h"

#define CR0_PG (1ull << 31)
#define CR4_PCIDE (1ull << 17)
#define CR3_NO_FLUSH (1ull << 63)
#define PCID 5
#define DOWN "leaves for a hypervisor that is not there, SDM vol. 2, MOV to control registers"

static struct {
	uint64_t pcid, address;
} descriptor;
static uint8_t frames[2][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
	descriptor.pcid = pcid;
	descriptor.address = address;
	PROVOKE("invpcid (%[descriptor]), %[type]", [type] "r"(type), [descriptor] "r"(&descriptor));
}

static void test_absent_pcid(void)
{
	uint64_t cr4 = read_cr4();

	absent("pcid", "CPUID.1:ECX[17]");
	if (option("qemu", 0))
		return;
	PROVOKE("mov %[value], %%cr4", [value] "r"(cr4 | CR4_PCIDE));
	CHECK_NOT_QEMU("cr4.pcide without the feature", seen.vector, VECTOR_GP, DOWN);
	PROVOKE("mov %[value], %%cr3", [value] "r"(read_cr3() | CR3_NO_FLUSH));
	CHECK_NOT_QEMU("bit 63 of cr3 without pcide", seen.vector, VECTOR_GP, DOWN);
}

static void test_pcide(void)
{
	uint64_t cr3 = read_cr3(), cr4 = read_cr4();

	write_cr3(cr3 | PCID);
	PROVOKE("mov %[value], %%cr4", [value] "r"(cr4 | CR4_PCIDE));
	CHECK_FAULT("cr4.pcide with a pcid in cr3", VECTOR_GP, 0);
	write_cr3(cr3);
	PROVOKE("mov %[value], %%cr4", [value] "r"(cr4 | CR4_PCIDE));
	CHECK_NO_FAULT("cr4.pcide");
	PROVOKE("mov %[value], %%cr3", [value] "r"(cr3 | PCID | CR3_NO_FLUSH));
	CHECK_NO_FAULT("cr3 without a flush");
	CHECK("bit 63 of cr3 is not kept", read_cr3(), cr3 | PCID);
	PROVOKE("mov %[value], %%cr3", [value] "r"(cr3 | 1ull << 62));
	CHECK_FAULT("bit 62 of cr3", VECTOR_GP, 0);
	PROVOKE("mov %[value], %%cr0", [value] "r"(read_cr0() & ~CR0_PG));
	CHECK_FAULT("no paging under cr4.pcide", VECTOR_GP, 0);
	write_cr3(cr3);
	write_cr4(cr4);
}

static void test_invpcid(bool has_pcid)
{
	static const char *const name[] = { "one address", "one pcid", "all", "all but global" };
	volatile uint8_t *window = physical(WINDOW);
	uint64_t cr4 = read_cr4();

	frames[0][0] = 1;
	frames[1][0] = 2;
	for (uint64_t type = 0; type < 4; type++) {
		map_page(WINDOW, frames[0], PTE_P | PTE_W);
		(void)*window;
		*page_entry(WINDOW) = (uintptr_t)frames[1] | PTE_P | PTE_W;
		invpcid(type, 0, WINDOW);
		CHECK(name[type], seen.count == 0 ? *window : 0, 2);
	}
	invpcid(4, 0, 0);
	CHECK_FAULT("type 4", VECTOR_GP, 0);
	invpcid(0, 0, 0x8000000000000000ull);
	CHECK_FAULT("an address that is not canonical", VECTOR_GP, 0);
	invpcid(1, 1ull << 12, 0);
	CHECK_FAULT("a reserved bit of the descriptor", VECTOR_GP, 0);
	invpcid(1, 1, 0);
	CHECK_FAULT("a pcid without pcide", VECTOR_GP, 0);
	if (has_pcid) {
		write_cr4(cr4 | CR4_PCIDE);
		invpcid(1, PCID, 0);
		CHECK_NO_FAULT("a pcid with pcide");
		write_cr4(cr4);
	}
}

_Noreturn void guest_main(void)
{
	bool has_pcid = cpuid(1, 0).ecx >> 17 & 1, has_invpcid = cpuid(7, 0).ebx >> 10 & 1;

	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	topic("pcid");
	if (has_pcid)
		test_pcide();
	else
		test_absent_pcid();
	topic("invpcid");
	if (has_invpcid) {
		test_invpcid(has_pcid);
	} else {
		absent("invpcid", "CPUID.7.0:EBX[10]");
		invpcid(0, 0, 0);
		CHECK_FAULT("invpcid without the feature", VECTOR_UD, 0);
	}
	finish();
}
