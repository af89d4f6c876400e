/* Leaves 0x80000001 and 0x80000008, and 0xd. */
#include "features.h"

#define NO_COMPONENTS "xorl %%eax, %%eax; xorl %%edx, %%edx"

static uint32_t lzcnt(uint32_t value)
{
	uint32_t result = 99;

	__asm__ volatile("lzcnt %1, %0" : "+r"(result) : "r"(value) : "cc");
	return result;
}

void test_extended(void)
{
	topic("extended leaves");
	FEATURE("lahf-lm", has(0x80000001, 0, ECX, 0), "lahf");
	CHECK("lzcnt is as CPUID says", lzcnt(1) == 31, has(0x80000001, 0, ECX, 5));
	FEATURE("sse4a", has(0x80000001, 0, ECX, 6), "extrq $1, $1, %%xmm0");
	FEATURE("rdtscp", has(0x80000001, 0, EDX, 27), "rdtscp");
	FEATURE("3dnow", has(0x80000001, 0, EDX, 31), "pfadd %%mm0, %%mm0; femms");
	FEATURE_AFTER("clzero", has(0x80000008, 0, EBX, 0), "leaq %[at], %%rax", ".byte 0x0f, 0x01, 0xfc");
	if (!has(1, 0, ECX, 26)) {
		absent("xsave", "CPUID.1:ECX[26]");
		return;
	}
	FEATURE_AFTER("xsaveopt", has(0xd, 1, EAX, 0), NO_COMPONENTS, "xsaveopt %[at]");
	FEATURE_AFTER("xsavec", has(0xd, 1, EAX, 1), NO_COMPONENTS, "xsavec %[at]");
	FEATURE_AFTER("xsaves", has(0xd, 1, EAX, 3), NO_COMPONENTS, "xsaves %[at]");
	PROVOKE_AFTER("movl $1, %%ecx", "xgetbv", "m"(operand));
	CHECK("xgetbv of 1 is as CPUID says", seen.count == 0, has(0xd, 1, EAX, 2));
}
