/* CLAC and STAC (SDM vol. 2). */
#include "tests.h"

static uint64_t flags(void)
{
	uint64_t value;

	__asm__ volatile("pushfq; popq %0" : "=r"(value) : : "memory");
	return value;
}

void test_smap(void)
{
	topic("smap");
	if (!(cpuid(7, 0).ebx >> 20 & 1)) {
		absent("smap", "CPUID.7.0:EBX[20]");
		PROVOKE("clac", "b"(0));
		CHECK_FAULT("clac without smap", VECTOR_UD, 0);
		PROVOKE("stac", "b"(0));
		CHECK_FAULT("stac without smap", VECTOR_UD, 0);
		return;
	}
	/* CR4.SMAP need not be set. */
	PROVOKE("stac", "b"(0));
	CHECK_NO_FAULT("stac");
	CHECK("stac sets ac", flags() & RFLAGS_AC, RFLAGS_AC);
	PROVOKE("clac", "b"(0));
	CHECK_NO_FAULT("clac");
	CHECK("clac clears ac", flags() & RFLAGS_AC, 0);
	write_cr4(read_cr4() | CR4_SMAP);
	PROVOKE("stac", "b"(0));
	CHECK("stac sets ac under smap", flags() & RFLAGS_AC, RFLAGS_AC);
	PROVOKE("clac", "b"(0));
	CHECK("clac clears ac under smap", flags() & RFLAGS_AC, 0);
	write_cr4(read_cr4() & ~CR4_SMAP);
	PROVOKE(".byte 0xf0, 0x0f, 0x01, 0xcb", "b"(0));
	CHECK_NOT_QEMU("stac with lock", seen.vector, VECTOR_UD, "takes no notice of LOCK, SDM vol. 2, LOCK");
	PROVOKE(".byte 0xf0, 0x0f, 0x01, 0xca", "b"(0));
	CHECK_NOT_QEMU("clac with lock", seen.vector, VECTOR_UD, "takes no notice of LOCK, SDM vol. 2, LOCK");
	CHECK_RING3("stac in ring 3", VECTOR_UD, 0x0f, 0x01, 0xcb);
	CHECK_RING3("clac in ring 3", VECTOR_UD, 0x0f, 0x01, 0xca);
}
