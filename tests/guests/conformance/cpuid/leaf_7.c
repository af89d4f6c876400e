/* Leaf 7. */
#include "features.h"

/* Their results tell them from the instructions that they are without the flag: BSF, BSR. */
static uint32_t tzcnt(uint32_t value)
{
	uint32_t result = 99;

	__asm__ volatile("tzcnt %1, %0" : "+r"(result) : "r"(value) : "cc");
	return result;
}

void test_leaf_7(void)
{
	topic("leaf 7");
	FEATURE("fsgsbase", has(7, 0, EBX, 0), "rdfsbase %%rax");
	FEATURE("bmi1", has(7, 0, EBX, 3), "andn %%eax, %%ecx, %%edx");
	CHECK("tzcnt is as CPUID says", tzcnt(0) == 32, has(7, 0, EBX, 3));
	FEATURE("bmi2", has(7, 0, EBX, 8), "bzhi %%eax, %%ecx, %%edx");
	FEATURE("rtm", has(7, 0, EBX, 11), "xtest");
	FEATURE_NOT_QEMU("rdseed", has(7, 0, EBX, 18), "", "rdseed %%eax");
	FEATURE("adx", has(7, 0, EBX, 19), "adcx %%eax, %%ecx");
	FEATURE("smap", has(7, 0, EBX, 20), "clac");
	FEATURE("clflushopt", has(7, 0, EBX, 23), "clflushopt %[at]");
	FEATURE("clwb", has(7, 0, EBX, 24), "clwb %[at]");
	FEATURE("sha", has(7, 0, EBX, 29), "sha1nexte %%xmm0, %%xmm0");
	FEATURE_AFTER("pku", has(7, 0, ECX, 3), "xorl %%ecx, %%ecx", "rdpkru");
	FEATURE("gfni", has(7, 0, ECX, 8), "gf2p8mulb %%xmm0, %%xmm0");
	FEATURE("rdpid", has(7, 0, ECX, 22), "rdpid %%rax");
	FEATURE("movdiri", has(7, 0, ECX, 27), "movdiri %%eax, %[at]");
	FEATURE_NOT_QEMU("waitpkg", has(7, 0, ECX, 5), "leaq %[at], %%rax", "umonitor %%rax");
}
