/* XSAVE and XCR0 (SDM vol. 1, chapter 13; vol. 2, the instructions' pages). */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "provoke.h"
#include "string.h"

#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXSAVE (1ull << 18)
#define X87 1ull
#define SSE 2ull
#define AVX 4ull
#define MXCSR_INITIAL 0x1f80u
#define RESERVED "loads reserved bits of MXCSR, SDM vol. 1, 10.2.3"

enum { HEADER = 512, MXCSR_AT = 24, MXCSR_MASK_AT = 28, FCW_AT = 0, ST_AT = 32, XMM_AT = 160, AREA_BYTES = 4096 };

static uint8_t area[AREA_BYTES] __attribute__((aligned(64)));
static uint64_t *const xstate_bv = (uint64_t *)(area + HEADER), *const xcomp_bv = (uint64_t *)(area + HEADER + 8);

static void xsetbv(uint32_t index, uint64_t value)
{
	PROVOKE_AFTER("movl %k[low], %%eax; movl %k[high], %%edx; movl %[index], %%ecx", "xsetbv", [index] "r"(index),
		      [low] "r"(value), [high] "r"(value >> 32));
}

static uint64_t xgetbv(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
	return (uint64_t)high << 32 | low;
}

#define XSTATE(instruction, address, components)                                                                \
	PROVOKE_AFTER("movl %k[low], %%eax; xorl %%edx, %%edx", instruction " (%[at])", [low] "r"(components), \
		      [at] "r"(address))

static void test_xcr0(uint64_t supported)
{
	topic("xcr0");
	xsetbv(0, X87);
	CHECK_NO_FAULT("x87 alone");
	CHECK("x87 alone is read back", xgetbv(0), X87);
	xsetbv(0, X87 | SSE);
	CHECK_NO_FAULT("x87 and sse");
	CHECK("x87 and sse are read back", xgetbv(0), X87 | SSE);
	xsetbv(0, supported);
	CHECK_NO_FAULT("all that cpuid has");
	CHECK("all that cpuid has is read back", xgetbv(0) == supported, 1);
	xsetbv(0, 0);
	CHECK_FAULT("nothing", VECTOR_GP, 0);
	xsetbv(0, SSE);
	CHECK_FAULT("no x87", VECTOR_GP, 0);
	xsetbv(0, X87 | AVX);
	CHECK_FAULT("avx without sse", VECTOR_GP, 0);
	xsetbv(0, X87 | 1ull << 62);
	CHECK_FAULT("a component that there is not", VECTOR_GP, 0);
	xsetbv(0, X87 | SSE | 1ull << 63);
	CHECK_FAULT("bit 63", VECTOR_GP, 0);
	CHECK("what faults changes nothing", xgetbv(0) == supported, 1);
	xsetbv(1, X87);
	CHECK_FAULT("xcr1", VECTOR_GP, 0);
	PROVOKE_AFTER("movl $2, %%ecx", "xgetbv", "m"(area));
	CHECK_FAULT("read of xcr2", VECTOR_GP, 0);
	xsetbv(0, X87 | SSE);
}

static void test_without_osxsave(void)
{
	uint64_t cr4 = read_cr4();

	topic("without cr4.osxsave");
	write_cr4(cr4 & ~CR4_OSXSAVE);
	CHECK("cpuid tells", cpuid(1, 0).ecx >> 27 & 1, 0);
	PROVOKE_AFTER("xorl %%ecx, %%ecx", "xgetbv", "m"(area));
	CHECK_FAULT("xgetbv without cr4.osxsave", VECTOR_UD, 0);
	xsetbv(0, X87);
	CHECK_FAULT("xsetbv without cr4.osxsave", VECTOR_UD, 0);
	XSTATE("xsave", area, X87);
	CHECK_FAULT("xsave without cr4.osxsave", VECTOR_UD, 0);
	XSTATE("xrstor", area, X87);
	CHECK_FAULT("xrstor without cr4.osxsave", VECTOR_UD, 0);
	write_cr4(cr4);
	CHECK("cpuid tells that it is on", cpuid(1, 0).ecx >> 27 & 1, 1);
}

static void test_save(void)
{
	static const uint64_t pattern[2] = { 0x1122334455667788, 0x99aabbccddeeff00 };
	uint16_t control = 0x27f;

	topic("save and restore");
	memset(area, 0, sizeof area);
	__asm__ volatile("fninit; fldcw %0; fld1; movups %1, %%xmm3" : : "m"(control), "m"(pattern));
	XSTATE("xsave", area, X87 | SSE);
	CHECK_NO_FAULT("xsave");
	CHECK("xstate_bv", *xstate_bv, X87 | SSE);
	CHECK("fcw", *(uint16_t *)(area + FCW_AT), control);
	CHECK("st0", *(uint64_t *)(area + ST_AT), 1ull << 63);
	CHECK("xmm3", memcmp(area + XMM_AT + 3 * 16, pattern, 16), 0);
	CHECK("mxcsr", *(uint32_t *)(area + MXCSR_AT), MXCSR_INITIAL);
	__asm__ volatile("fninit; xorps %xmm3, %xmm3");
	XSTATE("xrstor", area, X87 | SSE);
	CHECK_NO_FAULT("xrstor");
	memset(area, 0, HEADER);
	XSTATE("xsave", area, X87 | SSE);
	CHECK("fcw is back", *(uint16_t *)(area + FCW_AT), control);
	CHECK("xmm3 is back", memcmp(area + XMM_AT + 3 * 16, pattern, 16), 0);
	memset(area, 0xee, sizeof area);
	*xstate_bv = 0;
	XSTATE("xsave", area, X87);
	CHECK("xsave of the x87 alone leaves xmm3 of the area", area[XMM_AT + 3 * 16], 0xee);
	CHECK("xsave of the x87 alone", *xstate_bv, X87);

	/* What XSTATE_BV has not is initial. */
	*(uint32_t *)(area + MXCSR_AT) = MXCSR_INITIAL;
	memset(area + HEADER, 0, 64);
	XSTATE("xrstor", area, X87 | SSE);
	CHECK_NO_FAULT("xrstor of nothing");
	memset(area, 0, HEADER);
	XSTATE("xsave", area, X87 | SSE);
	CHECK("initial fcw", *(uint16_t *)(area + FCW_AT), 0x37f);
	CHECK("initial xmm3", *(uint64_t *)(area + XMM_AT + 3 * 16), 0);
}

static void valid_area(void)
{
	memset(area, 0, sizeof area);
	*(uint32_t *)(area + MXCSR_AT) = MXCSR_INITIAL;
	*(uint16_t *)(area + FCW_AT) = 0x37f;
	*xstate_bv = X87 | SSE;
}

static void test_faults(void)
{
	topic("faults");
	valid_area();
	XSTATE("xsave", area + 16, X87);
	CHECK_FAULT("xsave to 16 bytes off", VECTOR_GP, 0);
	XSTATE("xrstor", area + 16, X87);
	CHECK_FAULT("xrstor from 16 bytes off", VECTOR_GP, 0);
	*xstate_bv = X87 | SSE | AVX;
	XSTATE("xrstor", area, X87 | SSE);
	CHECK_FAULT("xstate_bv beyond xcr0", VECTOR_GP, 0);
	valid_area();
	*xcomp_bv = 1;
	XSTATE("xrstor", area, X87 | SSE);
	CHECK_FAULT("xcomp_bv of the standard form", VECTOR_GP, 0);
	valid_area();
	xcomp_bv[1] = 1;
	XSTATE("xrstor", area, X87 | SSE);
	CHECK_FAULT("reserved bytes of the header", VECTOR_GP, 0);
	valid_area();
	*(uint32_t *)(area + MXCSR_AT) = 1u << 16;
	XSTATE("xrstor", area, SSE);
	CHECK_NOT_QEMU("reserved bits of mxcsr", seen.vector, VECTOR_GP, RESERVED);
	valid_area();
	*(uint32_t *)(area + MXCSR_AT) = 1u << 16;
	XSTATE("xrstor", area, X87);
	CHECK_NO_FAULT("xrstor without sse looks at no mxcsr");
}

static void test_fxsave(void)
{
	topic("fxsave");
	valid_area();
	PROVOKE("fxsave (%[at])", [at] "r"(area + 8));
	CHECK_FAULT("fxsave to 8 bytes off", VECTOR_GP, 0);
	PROVOKE("fxrstor (%[at])", [at] "r"(area + 8));
	CHECK_FAULT("fxrstor from 8 bytes off", VECTOR_GP, 0);
	memset(area, 0xee, 512);
	PROVOKE("fxsave (%[at])", [at] "r"(area));
	CHECK_NO_FAULT("fxsave");
	CHECK("mxcsr_mask", *(uint32_t *)(area + MXCSR_MASK_AT) & 0xffff, 0xffff);
	*(uint32_t *)(area + MXCSR_AT) = 1u << 31;
	PROVOKE("fxrstor (%[at])", [at] "r"(area));
	CHECK_NOT_QEMU("fxrstor of reserved bits of mxcsr", seen.vector, VECTOR_GP, RESERVED);
	*(uint32_t *)(area + MXCSR_AT) = MXCSR_INITIAL;
	PROVOKE("ldmxcsr (%[at])", [at] "r"(area + MXCSR_AT));
	CHECK_NO_FAULT("ldmxcsr");
	*(uint32_t *)area = 1u << 20;
	PROVOKE("ldmxcsr (%[at])", [at] "r"(area));
	CHECK_NOT_QEMU("ldmxcsr of reserved bits", seen.vector, VECTOR_GP, RESERVED);
	*(uint32_t *)area = MXCSR_INITIAL;
	__asm__ volatile("ldmxcsr %0" : : "m"(area));
}

_Noreturn void guest_main(void)
{
	struct cpuid leaf;

	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	write_cr4(read_cr4() | CR4_OSFXSR);
	test_fxsave();
	if (!(cpuid(1, 0).ecx >> 26 & 1)) {
		absent("xsave", "CPUID.1:ECX[26]");
		PROVOKE("mov %[value], %%cr4", [value] "r"(read_cr4() | CR4_OSXSAVE));
		CHECK_FAULT("cr4.osxsave without xsave", VECTOR_GP, 0);
		finish();
	}
	write_cr4(read_cr4() | CR4_OSXSAVE);
	leaf = cpuid(0xd, 0);
	test_xcr0((uint64_t)leaf.edx << 32 | leaf.eax);
	test_without_osxsave();
	test_save();
	test_faults();
	finish();
}
