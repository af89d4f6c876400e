/* SVM is absent: CPUID says so, EFER refuses SVME, and each instruction of SVM is undefined (AMD64 Architecture
 * Programmer's Manual, volume 2, section 15.4; volume 3, exceptions of each). One CPU. */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"

#define CPUID_80000001_ECX_SVM (1u << 2)
#define CPUID_80000001_ECX_SKINIT (1u << 12)
#define EFER_SVME 0x1000u

static uint64_t block[512] __attribute__((aligned(4096)));

_Noreturn void guest_main(void)
{
	uint64_t address = (uint64_t)block;
	uint32_t efer = (uint32_t)read_msr(MSR_EFER);

	topic("SVM");
	for (int vector = VECTOR_UD; vector <= VECTOR_GP; vector++)
		set_handler(vector, skip_fault);
	CHECK("CPUID.80000001 ECX.SVM", cpuid(0x80000001, 0).ecx & CPUID_80000001_ECX_SVM, 0);
	CHECK("CPUID.80000001 ECX.SKINIT", cpuid(0x80000001, 0).ecx & CPUID_80000001_ECX_SKINIT, 0);
	PROVOKE_AFTER("mov $0xc0000080, %%ecx; xor %%edx, %%edx; mov %2, %%eax;", "wrmsr", "r"(efer | EFER_SVME));
	CHECK_NOT_QEMU("wrmsr of EFER with SVME vector", seen.vector, VECTOR_GP,
		       "ignores the bit; #GP by AMD's volume 2, section 3.1.7, reserved bits");
	CHECK("EFER.SVME", read_msr(MSR_EFER) & EFER_SVME, 0);
	PROVOKE("vmrun", "m"(address));
	CHECK_FAULT("vmrun", VECTOR_UD, 0);
	PROVOKE("vmload", "m"(address));
	CHECK_FAULT("vmload", VECTOR_UD, 0);
	PROVOKE("vmsave", "m"(address));
	CHECK_FAULT("vmsave", VECTOR_UD, 0);
	PROVOKE("clgi", "m"(address));
	CHECK_FAULT("clgi", VECTOR_UD, 0);
	PROVOKE("stgi", "m"(address));
	CHECK_FAULT("stgi", VECTOR_UD, 0);
	PROVOKE("vmmcall", "m"(address));
	CHECK_FAULT("vmmcall", VECTOR_UD, 0);
	PROVOKE("invlpga", "m"(address));
	CHECK_FAULT("invlpga", VECTOR_UD, 0);
	PROVOKE("skinit", "m"(address));
	CHECK_FAULT("skinit", VECTOR_UD, 0);
	finish();
}
