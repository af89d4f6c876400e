/* CPUID's feature flags, an instruction each: with the flag it runs, without it it is #UD (SDM vol. 2, CPUID; APM vol. 3,
 * appendix D). */
#include "features.h"
#include "guest.h"

#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_FSGSBASE (1ull << 16)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_SMAP (1ull << 21)
#define CR4_PKE (1ull << 22)

uint8_t operand[512] __attribute__((aligned(64)));

static void enable(void)
{
	uint64_t cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;

	write_cr0((read_cr0() & ~CR0_EM) | CR0_MP);
	if (has(1, 0, ECX, 26))
		cr4 |= CR4_OSXSAVE;
	if (has(7, 0, EBX, 0))
		cr4 |= CR4_FSGSBASE;
	if (has(7, 0, ECX, 3))
		cr4 |= CR4_PKE;
	write_cr4(cr4);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	set_handler(7, skip_fault);
	enable();
	test_leaf_1();
	test_leaf_7();
	test_extended();
	test_vectors();
	finish();
}
