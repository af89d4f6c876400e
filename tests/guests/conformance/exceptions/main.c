/* Exceptions of single instructions: which, with what error code, at which RIP, and RF in the frame (SDM vol. 2, the
 * instructions' pages; vol. 3, chapter 6). One CPU, ring 0, 64-bit mode. */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"
#include "tests.h"

#define CR4_OSFXSR (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)

uint8_t area[256] __attribute__((aligned(64)));

static void test_classes(void)
{
	topic("RF and RIP");
	PROVOKE("ud2", "m"(area));
	CHECK_FAULT("UD2", VECTOR_UD, 0);
	CHECK_NOT_QEMU("UD2 pushes RF", seen.rflags >> 16 & 1, 1, "no fault sets RF; vol. 3, 17.3.1.1");
	PROVOKE_AFTER("movl $1, %%eax; xorl %%edx, %%edx", "divl %%ebx", "b"(0));
	CHECK_FAULT("DIV by 0", VECTOR_DE, 0);
	PROVOKE_AFTER("xorl %%eax, %%eax; movl $1, %%edx", "divl %%ebx", "b"(1));
	CHECK_FAULT("DIV with a quotient of 33 bits", VECTOR_DE, 0);
	PROVOKE_AFTER("xorl %%edx, %%edx; btsq $63, %%rdx; xorl %%eax, %%eax", "idivq %%rbx", "b"(-1ll));
	CHECK_FAULT("IDIV of the least by -1", VECTOR_DE, 0);
	PROVOKE("int3", "m"(area));
	CHECK("INT3 vector", seen.vector, VECTOR_BP);
	CHECK("INT3 RIP", seen.rip - at_rip, 1);
	CHECK("INT3 pushes no RF", seen.rflags >> 16 & 1, 0);
	PROVOKE(".byte 0xcd, 3", "m"(area));
	CHECK("INT 3 in two bytes RIP", seen.rip - at_rip, 2);
}

static void test_counters(void)
{
	topic("RDPMC");
	PROVOKE_AFTER("movl $0x7fffffff, %%ecx", "rdpmc", "m"(area));
	CHECK("RDPMC of no counter exceptions", seen.count, 1);
	CHECK_NOT_QEMU("RDPMC of no counter vector", seen.vector, VECTOR_GP, "is #UD; vol. 2, RDPMC");
}

static void test_lengths(void)
{
	topic("length");
	PROVOKE(".fill 14, 1, 0x66; nop", "m"(area));
	CHECK_NO_FAULT("15 bytes");
	PROVOKE(".fill 15, 1, 0x66; nop", "m"(area));
	CHECK_FAULT("16 bytes", VECTOR_GP, 0);
}

_Noreturn void guest_main(void)
{
	static const int vectors[] = { VECTOR_DE, VECTOR_BP,  VECTOR_UD, VECTOR_NM, VECTOR_NP,
				       VECTOR_SS, VECTOR_GP, VECTOR_PF, VECTOR_AC };

	for (unsigned i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
		set_handler(vectors[i], skip_fault);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	test_classes();
	test_counters();
	test_lengths();
	test_encodings();
	test_lock();
	test_alignment();
	test_canonical();
	test_units();
	test_ferr();
	finish();
}
