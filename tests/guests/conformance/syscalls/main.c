/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FSGSBASE instructions, each where it is and is not (SDM vol. 2,
 * their pages; APM vol. 3 for AMD's CPUs). The guest syscalls.elf makes many calls; this one looks at the edges. */
#include "guest.h"
#include "layout.h"
#include "legacy.h"
#include "provoke_msr.h"

extern uint32_t call_words[8];
extern char legacy_sysenter[], legacy_sysenter_after[], legacy_sysenter_null[], legacy_sysenter_null_at[];
extern char legacy_sysexit_null[], legacy_sysexit_null_at[];
extern char legacy_syscall[], legacy_syscall_at[], legacy_syscall_after[];

#define EFER_SCE 1ull
#define CR4_FSGSBASE (1ull << 16)
#define CPUID_7_EBX_FSGSBASE 1u
#define NOT_CANONICAL 0xaaaaaaaaaaaaaaaaull
#define HIGH_ADDRESS 0xffff800012345678ull

static bool amd(void)
{
	return cpuid(0, 0).ebx == 0x68747541; /* "Auth" */
}

static void syscall_faults(void)
{
	uint64_t efer = read_msr(MSR_EFER);

	topic("SYSCALL and SYSRET");
	write_msr(MSR_EFER, efer & ~EFER_SCE);
	PROVOKE("syscall", "m"(seen));
	CHECK_FAULT("SYSCALL without EFER.SCE", VECTOR_UD, 0);
	PROVOKE("sysretq", "m"(seen));
	CHECK_FAULT("SYSRET without EFER.SCE", VECTOR_UD, 0);
	write_msr(MSR_EFER, efer | EFER_SCE);
	if (!amd() && !option("qemu", 0)) {
		/* QEMU goes to ring 3 first, where the kernel's stack is not. */
		seen = (struct seen){ 0 };
		__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11; movq %%r11, %1;"
				 "movl $2, %%r11d; 771: sysretq; 772:"
				 : "=m"(at_rip), "=m"(resume_rip)
				 : "c"(NOT_CANONICAL)
				 : "r11", "cc", "memory");
		CHECK_NOT_QEMU("SYSRET to a non-canonical address", seen.vector << 16 | seen.error_code,
			       VECTOR_GP << 16, "finds out in ring 3 whatever the vendor (SDM vol. 2, SYSRET)");
		CHECK_NOT_QEMU("SYSRET to a non-canonical address CS", seen.cs, KERNEL_CODE,
			       "finds out in ring 3 whatever the vendor (SDM vol. 2, SYSRET)");
	}
	write_msr(MSR_EFER, efer);
}

static void sysenter_faults(void)
{
	uint64_t vector = amd() ? VECTOR_UD : VECTOR_GP;

	topic("SYSENTER and SYSEXIT in 64-bit mode");
	write_msr(MSR_SYSENTER_CS, 0);
	PROVOKE("sysenter", "m"(seen));
	CHECK_FAULT("SYSENTER with a null SYSENTER_CS", vector, 0);
	PROVOKE("sysexitq", "m"(seen));
	CHECK_FAULT("SYSEXIT with a null SYSENTER_CS", vector, 0);
	if (amd() || option("qemu", 0))
		return;
	write_msr(MSR_SYSENTER_CS, KERNEL_CODE);
	seen = (struct seen){ 0 };
	__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11; movq %%r11, %1;"
			 "771: sysexitq; 772:"
			 : "=m"(at_rip), "=m"(resume_rip)
			 : "c"(NOT_CANONICAL), "d"(0x1000)
			 : "r11", "cc", "memory");
	CHECK_NOT_QEMU("SYSEXIT to a non-canonical stack", seen.vector << 16 | seen.error_code, VECTOR_GP << 16,
		       "does not look (SDM vol. 2, SYSEXIT)");
	write_msr(MSR_SYSENTER_CS, 0);
}

static void legacy_calls(void)
{
	topic("in protected mode");
	legacy_reset();
	legacy_run(legacy_sysenter);
	CHECK("SYSENTER CS", call_words[0], LEGACY_CODE);
	CHECK("SYSENTER SS", call_words[1], LEGACY_DATA);
	CHECK("SYSENTER ESP", call_words[2], 0x70000);
	CHECK("SYSENTER clears IF", call_words[3] & RFLAGS_IF, 0);
	CHECK("SYSEXIT comes back", legacy_event[EVENT_EIP] == address32(legacy_sysenter_after) + 2, 1);
	CHECK("SYSEXIT CS", legacy_event[EVENT_CS], LEGACY_USER_CODE);
	CHECK("SYSEXIT SS", legacy_event[EVENT_SS], LEGACY_USER_DATA);
	CHECK("SYSEXIT ESP", legacy_event[EVENT_ESP] == address32(legacy_user_stack_top) - 16, 1);
	legacy_reset();
	legacy_run(legacy_sysenter_null);
	CHECK_EVENT("SYSENTER of protected mode with a null SYSENTER_CS", VECTOR_GP, 0, legacy_sysenter_null_at);
	legacy_reset();
	legacy_run(legacy_sysexit_null);
	CHECK_EVENT("SYSEXIT of protected mode with a null SYSENTER_CS", VECTOR_GP, 0, legacy_sysexit_null_at);
	legacy_reset();
	legacy_run(legacy_syscall);
	if (amd()) {
		CHECK("SYSCALL of protected mode CS", call_words[0], LEGACY_CODE);
		CHECK("SYSCALL of protected mode ECX", call_words[1] == address32(legacy_syscall_after), 1);
		CHECK("SYSCALL of protected mode clears IF", call_words[2] & RFLAGS_IF, 0);
		CHECK("SYSRET of protected mode CS", legacy_event[EVENT_CS] & 0xffff, (LEGACY_CODE + 16) | 3);
		CHECK("SYSRET of protected mode sets IF", legacy_event[EVENT_EFLAGS] & RFLAGS_IF, RFLAGS_IF);
	} else {
		CHECK_EVENT_NOT_QEMU("SYSCALL of protected mode", VECTOR_UD, 0,
				     "has AMD's SYSCALL for all vendors (SDM vol. 2, SYSCALL)");
	}
}

static void bases(void)
{
	uint64_t cr4 = read_cr4(), gs = read_msr(MSR_GS_BASE), kernel = read_msr(MSR_KERNEL_GS_BASE), got;

	topic("SWAPGS and FSGSBASE");
	write_msr(MSR_GS_BASE, 0x1111);
	write_msr(MSR_KERNEL_GS_BASE, HIGH_ADDRESS);
	__asm__ volatile("swapgs" : : : "memory");
	CHECK("SWAPGS", read_msr(MSR_GS_BASE), HIGH_ADDRESS);
	CHECK("SWAPGS keeps the other", read_msr(MSR_KERNEL_GS_BASE), 0x1111);
	if (!(cpuid(7, 0).ebx & CPUID_7_EBX_FSGSBASE)) {
		absent("FSGSBASE", "CPUID.07H:EBX.0 is 0");
	} else {
		write_cr4(cr4 & ~CR4_FSGSBASE);
		PROVOKE("rdfsbase %%rax", "m"(seen));
		CHECK_FAULT("RDFSBASE without CR4.FSGSBASE", VECTOR_UD, 0);
		PROVOKE("wrgsbase %%rax", "m"(seen));
		CHECK_FAULT("WRGSBASE without CR4.FSGSBASE", VECTOR_UD, 0);
		write_cr4(cr4 | CR4_FSGSBASE);
		__asm__ volatile("wrgsbase %1; rdgsbase %0" : "=r"(got) : "r"(HIGH_ADDRESS - 8));
		CHECK("WRGSBASE and RDGSBASE", got, HIGH_ADDRESS - 8);
		CHECK("WRGSBASE writes the MSR", read_msr(MSR_GS_BASE), HIGH_ADDRESS - 8);
		__asm__ volatile("wrgsbase %k1; rdgsbase %0" : "=r"(got) : "r"(NOT_CANONICAL));
		CHECK("WRGSBASE of 32 bits", got, NOT_CANONICAL & 0xffffffff);
		PROVOKE("wrgsbase %2", "r"(NOT_CANONICAL));
		CHECK_NOT_QEMU("WRGSBASE of a non-canonical address", seen.vector << 16 | seen.error_code,
			       VECTOR_GP << 16, "takes any (SDM vol. 2, WRGSBASE)");
		write_cr4(cr4);
	}
	write_msr(MSR_GS_BASE, gs);
	write_msr(MSR_KERNEL_GS_BASE, kernel);
}

_Noreturn void guest_main(void)
{
	set_handler(VECTOR_UD, skip_fault);
	set_handler(VECTOR_GP, skip_fault);
	syscall_faults();
	sysenter_faults();
	legacy_calls();
	bases();
	finish();
}
