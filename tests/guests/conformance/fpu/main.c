/* The x87, MMX and SSE: exceptions, what they leave, and whose registers are whose (SDM vol. 1, chapters 8, 9 and 11). */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "provoke.h"
#include "string.h"

#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_NE (1ull << 5)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define QEMU_NO_MF "goes on as if it were masked, SDM vol. 1, 8.5"
#define QEMU_WAITS "raises #MF at FWAIT alone, SDM vol. 1, 8.6"

enum { VECTOR_NM = 7, VECTOR_MF = 16, VECTOR_XM = 19 };
enum { SW_IE = 1, SW_ZE = 4, SW_OE = 8, SW_SF = 0x40, SW_ES = 0x80, SW_C1 = 0x200, TOP_SHIFT = 11 };

static const uint16_t all_masked = 0x37f, no_invalid = 0x37e, no_zero_divide = 0x37b, no_overflow = 0x377;
static const double huge = 1e300, third = 1.0 / 3;
static float stored;

static uint16_t status(void)
{
	uint16_t value;

	__asm__ volatile("fnstsw %0" : "=a"(value));
	return value;
}

static void test_pending(void)
{
	uint16_t word;

	topic("x87 exceptions");
	__asm__ volatile("fninit; fldcw %0; fldz; fld1" : : "m"(no_zero_divide));
	PROVOKE("fdiv %%st(1), %%st; nop", "m"(stored));
	CHECK_NO_FAULT("a division by zero is pending");
	CHECK("its flags", status() & (SW_ZE | SW_ES), SW_ZE | SW_ES);
	PROVOKE("fwait", "m"(stored));
	CHECK_FAULT("fwait", VECTOR_MF, 0);
	PROVOKE("fld1", "m"(stored));
	CHECK_NOT_QEMU("the next x87 instruction", seen.vector, VECTOR_MF, QEMU_WAITS);
	PROVOKE("pxor %%mm0, %%mm0", "m"(stored));
	CHECK_NOT_QEMU("the next mmx instruction", seen.vector, VECTOR_MF, QEMU_WAITS);
	PROVOKE("fnstsw %%ax; fnclex", "m"(stored));
	CHECK_NO_FAULT("those that do not wait");
	PROVOKE("fwait", "m"(stored));
	CHECK_NO_FAULT("after fnclex");

	__asm__ volatile("fninit; fldcw %0" : : "m"(no_invalid));
	PROVOKE("fstp %%st; fnclex", "m"(stored));
	word = status();
	CHECK_NOT_QEMU("a store of an empty register pops nothing when it is unmasked", word >> TOP_SHIFT & 7, 0, QEMU_NO_MF);

	stored = 7;
	__asm__ volatile("fninit; fldcw %1; fldl %2; fstps %0" : "+m"(stored) : "m"(no_overflow), "m"(huge));
	word = status();
	CHECK("an unmasked overflow is told", word & (SW_OE | SW_ES), SW_OE | SW_ES);
	CHECK_NOT_QEMU("an unmasked overflow stores nothing", memcmp(&stored, &(uint32_t){ 0x40e00000 }, 4), 0, QEMU_NO_MF);
	CHECK_NOT_QEMU("an unmasked overflow pops nothing", word >> TOP_SHIFT & 7, 7, QEMU_NO_MF);
	__asm__ volatile("fnclex; fninit");
}

static void test_stack(void)
{
	topic("the register stack");
	__asm__ volatile("fninit; fldcw %0; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1" : : "m"(all_masked));
	CHECK_NOT_QEMU("overflow", status() & (SW_IE | SW_SF | SW_C1), SW_IE | SW_SF | SW_C1, "knows no stack fault, SDM vol. 1, 8.5.1.1");
	__asm__ volatile("fninit; fadd %st(1), %st");
	CHECK_NOT_QEMU("underflow", status() & (SW_IE | SW_SF | SW_C1), SW_IE | SW_SF, "knows no stack fault, SDM vol. 1, 8.5.1.1");
	__asm__ volatile("fninit");
}

static void test_mmx(void)
{
	static uint8_t image[108];
	uint64_t value = 0x1122334455667788;

	topic("mmx");
	__asm__ volatile("fninit; fld1; movq %0, %%mm3" : : "m"(value));
	__asm__ volatile("fnsave %0" : "=m"(image));
	CHECK("mmx sets the top of the stack to 0", image[4 + 1] >> 3 & 7, 0);
	CHECK("mmx makes all registers valid", memcmp(image + 8, "\xaa\xaa", 2) == 0 || *(uint16_t *)(image + 8) != 0xffff, 1);
	CHECK("mm3 is the significand of the fourth register", memcmp(image + 28 + 3 * 10, &value, 8), 0);
	CHECK_NOT_QEMU("its exponent is all ones", *(uint16_t *)(image + 28 + 3 * 10 + 8), 0xffff,
		       "leaves it, SDM vol. 1, 9.5.1");
	__asm__ volatile("movq %0, %%mm0; emms; fnsave %1" : : "m"(value), "m"(image));
	CHECK("emms empties all registers", *(uint16_t *)(image + 8), 0xffff);
}

static void test_simd(void)
{
	uint32_t mxcsr = 0x1f80, unmasked = 0x1f80 & ~(1u << 9), flags;
	static const uint64_t aligned[4] __attribute__((aligned(16)));

	topic("sse");
	__asm__ volatile("ldmxcsr %0; movsd %1, %%xmm0; mulsd %%xmm0, %%xmm0; stmxcsr %2" : : "m"(mxcsr), "m"(third), "m"(flags));
	CHECK("an inexact result is told", flags & 0x3f, 0x20);
	__asm__ volatile("ldmxcsr %0; xorps %%xmm1, %%xmm1; movsd %1, %%xmm0" : : "m"(unmasked), "m"(third));
	PROVOKE("divsd %%xmm1, %%xmm0", "m"(stored));
	CHECK_NOT_QEMU("an unmasked division by zero exceptions", seen.count, 1, "raises no #XM, SDM vol. 1, 11.5.1");
	CHECK_NOT_QEMU("an unmasked division by zero vector", seen.vector, VECTOR_XM, "raises no #XM, SDM vol. 1, 11.5.1");
	write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
	PROVOKE("divsd %%xmm1, %%xmm0", "m"(stored));
	CHECK_NOT_QEMU("the same without cr4.osxmmexcpt", seen.vector, VECTOR_UD, "raises no #XM, SDM vol. 1, 11.5.1");
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	PROVOKE("addps 8(%[at]), %%xmm0", [at] "r"(aligned));
	CHECK_FAULT("an operand that is not aligned", VECTOR_GP, 0);
	PROVOKE("movups 8(%[at]), %%xmm0", [at] "r"(aligned));
	CHECK_NO_FAULT("movups");
}

static void test_switches(void)
{
	uint64_t cr0 = read_cr0();

	topic("cr0");
	write_cr0(cr0 | CR0_TS);
	PROVOKE("fld1", "m"(stored));
	CHECK_FAULT("x87 with cr0.ts", VECTOR_NM, 0);
	PROVOKE("fwait", "m"(stored));
	CHECK_FAULT("fwait with cr0.ts and mp", VECTOR_NM, 0);
	PROVOKE("xorps %%xmm0, %%xmm0", "m"(stored));
	CHECK_FAULT("sse with cr0.ts", VECTOR_NM, 0);
	write_cr0((cr0 & ~CR0_TS) | CR0_EM);
	PROVOKE("fld1", "m"(stored));
	CHECK_FAULT("x87 with cr0.em", VECTOR_NM, 0);
	PROVOKE("xorps %%xmm0, %%xmm0", "m"(stored));
	CHECK_FAULT("sse with cr0.em", VECTOR_UD, 0);
	PROVOKE("pxor %%mm0, %%mm0", "m"(stored));
	CHECK_FAULT("mmx with cr0.em", VECTOR_UD, 0);
	write_cr0(cr0);
	write_cr4(read_cr4() & ~CR4_OSFXSR);
	PROVOKE("xorps %%xmm0, %%xmm0", "m"(stored));
	CHECK_FAULT("sse without cr4.osfxsr", VECTOR_UD, 0);
	write_cr4(read_cr4() | CR4_OSFXSR);
}

_Noreturn void guest_main(void)
{
	static const int vectors[] = { VECTOR_UD, VECTOR_NM, VECTOR_GP, VECTOR_MF, VECTOR_XM };

	for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++)
		set_handler(vectors[i], skip_fault);
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	test_pending();
	test_stack();
	test_mmx();
	test_simd();
	test_switches();
	finish();
}
