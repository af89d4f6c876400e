/* What VEX and EVEX encode, which XCR0 has to allow, too. */
#include "features.h"

static uint64_t allow_all(void)
{
	struct cpuid leaf = cpuid(0xd, 0);

	__asm__ volatile("xsetbv" : : "c"(0), "a"(leaf.eax), "d"(leaf.edx));
	return (uint64_t)leaf.edx << 32 | leaf.eax;
}

void test_vectors(void)
{
	bool avx = has(1, 0, ECX, 28);
	uint64_t components = 0;

	topic("vectors");
	if (has(1, 0, ECX, 26))
		components = allow_all();
	CHECK("the state of avx is there if avx is", components >> 2 & 1, avx);
	CHECK("the state of avx512 is there if avx512f is", (components >> 5 & 7) == 7, has(7, 0, EBX, 16));
	CHECK("the state of mpx is there if mpx is", (components >> 3 & 3) == 3, has(7, 0, EBX, 14));
	CHECK("the state of pku is there if pku is", components >> 9 & 1, has(7, 0, ECX, 3) && components);
	FEATURE("avx", avx, "vaddps %%ymm0, %%ymm0, %%ymm0");
	FEATURE("avx2", has(7, 0, EBX, 5), "vpaddd %%ymm0, %%ymm0, %%ymm0");
	FEATURE("f16c", has(1, 0, ECX, 29), "vcvtph2ps %%xmm0, %%xmm0");
	FEATURE("fma", has(1, 0, ECX, 12), "vfmadd132ps %%xmm0, %%xmm0, %%xmm0");
	FEATURE("avx512f", has(7, 0, EBX, 16), "vaddps %%zmm0, %%zmm0, %%zmm0");
}
