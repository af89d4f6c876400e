/* Leaf 1. */
#include "features.h"

#define CR4_OSXSAVE (1ull << 18)

void test_leaf_1(void)
{
	topic("leaf 1");
	FEATURE("fpu", has(1, 0, EDX, 0), "fninit");
	FEATURE("tsc", has(1, 0, EDX, 4), "rdtsc");
	PROVOKE_AFTER("movl $0xc0000080, %%ecx", "rdmsr", "m"(operand));
	CHECK("msr is as CPUID says", seen.count == 0, has(1, 0, EDX, 5));
	FEATURE("cx8", has(1, 0, EDX, 8), "cmpxchg8b %[at]");
	FEATURE("cmov", has(1, 0, EDX, 15), "cmovz %%ecx, %%eax");
	FEATURE("clflush", has(1, 0, EDX, 19), "clflush %[at]");
	FEATURE("mmx", has(1, 0, EDX, 23), "pxor %%mm0, %%mm0; emms");
	FEATURE("fxsr", has(1, 0, EDX, 24), "fxsave %[at]");
	FEATURE("sse", has(1, 0, EDX, 25), "xorps %%xmm0, %%xmm0");
	FEATURE("sse2", has(1, 0, EDX, 26), "xorpd %%xmm0, %%xmm0");
	FEATURE("sse3", has(1, 0, ECX, 0), "haddps %%xmm0, %%xmm0");
	FEATURE("pclmulqdq", has(1, 0, ECX, 1), "pclmulqdq $0, %%xmm0, %%xmm0");
	FEATURE_AFTER("monitor", has(1, 0, ECX, 3), "leaq %[at], %%rax; xorl %%ecx, %%ecx; xorl %%edx, %%edx", "monitor");
	FEATURE("ssse3", has(1, 0, ECX, 9), "pshufb %%xmm0, %%xmm0");
	FEATURE("cx16", has(1, 0, ECX, 13), "cmpxchg16b %[at]");
	FEATURE("sse4.1", has(1, 0, ECX, 19), "pmulld %%xmm0, %%xmm0");
	FEATURE("sse4.2", has(1, 0, ECX, 20), "pcmpgtq %%xmm0, %%xmm0");
	FEATURE("crc32", has(1, 0, ECX, 20), "crc32l %%eax, %%ecx");
	FEATURE("movbe", has(1, 0, ECX, 22), "movbe %[at], %%eax");
	FEATURE("popcnt", has(1, 0, ECX, 23), "popcnt %%eax, %%ecx");
	FEATURE("aes", has(1, 0, ECX, 25), "aesenc %%xmm0, %%xmm0");
	FEATURE_AFTER("xsave", has(1, 0, ECX, 26), "xorl %%ecx, %%ecx", "xgetbv");
	FEATURE("rdrand", has(1, 0, ECX, 30), "rdrand %%eax");
	CHECK("osxsave follows cr4", has(1, 0, ECX, 27), (read_cr4() & CR4_OSXSAVE) != 0);
	FEATURE_AFTER("smx", has(1, 0, ECX, 6), "xorl %%eax, %%eax", "getsec");
}
