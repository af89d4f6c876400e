/* VMX is absent: CPUID says so, CR4 refuses VMXE, and each instruction of VMX is undefined
 * (SDM vol. 3, sections 24.6 and 24.7; vol. 2, VMX instructions' #UD). One CPU. */
#include "conformance.h"
#include "guest.h"
#include "interrupts.h"
#include "machine.h"
#include "provoke.h"

#define CPUID_1_ECX_VMX (1u << 5)
#define CR4_VMXE (1ul << 13)

static uint64_t region[512] __attribute__((aligned(4096)));

static void set_cr4(uint64_t value)
{
	PROVOKE("mov %2, %%cr4", "r"(value));
}

_Noreturn void guest_main(void)
{
	uint64_t address = (uint64_t)region, descriptor[2] = { 0, 0 };

	topic("VMX");
	for (int vector = VECTOR_UD; vector <= VECTOR_GP; vector++)
		set_handler(vector, skip_fault);
	CHECK("CPUID.1 ECX.VMX", cpuid(1, 0).ecx & CPUID_1_ECX_VMX, 0);
	if (!option("qemu", 0)) {
		set_cr4(read_cr4() | CR4_VMXE);
		CHECK_NOT_QEMU("mov to CR4 with VMXE", seen.vector, VECTOR_GP,
			       "a #VMEXIT without a guest of SVM, after which it runs the instruction again for ever; #GP by "
			       "volume 3, section 2.5");
	}
	CHECK("CR4.VMXE", read_cr4() & CR4_VMXE, 0);
	PROVOKE("vmxon %2", "m"(address));
	CHECK_FAULT("vmxon", VECTOR_UD, 0);
	PROVOKE("vmxoff", "m"(address));
	CHECK_FAULT("vmxoff", VECTOR_UD, 0);
	PROVOKE("vmclear %2", "m"(address));
	CHECK_FAULT("vmclear", VECTOR_UD, 0);
	PROVOKE("vmptrld %2", "m"(address));
	CHECK_FAULT("vmptrld", VECTOR_UD, 0);
	PROVOKE("vmptrst %2", "m"(address));
	CHECK_FAULT("vmptrst", VECTOR_UD, 0);
	PROVOKE("vmread %%rax, %%rcx", "m"(address));
	CHECK_FAULT("vmread", VECTOR_UD, 0);
	PROVOKE("vmwrite %%rax, %%rcx", "m"(address));
	CHECK_FAULT("vmwrite", VECTOR_UD, 0);
	PROVOKE("vmlaunch", "m"(address));
	CHECK_FAULT("vmlaunch", VECTOR_UD, 0);
	PROVOKE("vmresume", "m"(address));
	CHECK_FAULT("vmresume", VECTOR_UD, 0);
	PROVOKE("vmcall", "m"(address));
	CHECK_FAULT("vmcall", VECTOR_UD, 0);
	PROVOKE("vmfunc", "m"(address));
	CHECK_FAULT("vmfunc", VECTOR_UD, 0);
	PROVOKE("invept %2, %%rax", "m"(descriptor));
	CHECK_FAULT("invept", VECTOR_UD, 0);
	PROVOKE("invvpid %2, %%rax", "m"(descriptor));
	CHECK_FAULT("invvpid", VECTOR_UD, 0);
	finish();
}
