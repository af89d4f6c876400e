/* PKRU and IA32_PKRS: the instructions, the MSR, the XSAVE area (SDM vol. 2, RDPKRU, WRPKRU; vol. 1, 13.5.7). */
#include "string.h"
#include "tests.h"

#define MSR_PKRS 0x6e1
#define XCR0_PKRU 0x200
#define XSAVE_HEADER 512
#define CPUID_OSPKE (1u << 4)

static uint8_t area[4096] __attribute__((aligned(64)));

static uint32_t pkru(void)
{
	uint32_t low, high;

	__asm__ volatile("rdpkru" : "=a"(low), "=d"(high) : "c"(0));
	return high == 0 ? low : 0xffffffff;
}

static void write_pkru(uint32_t value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void xsetbv(uint32_t value)
{
	__asm__ volatile("xsetbv" : : "a"(value), "c"(0), "d"(0) : "memory");
}

#define RDPKRU ".byte 0x0f, 0x01, 0xee"
#define WRPKRU ".byte 0x0f, 0x01, 0xef"

/* PROVOKE with registers that it would take for itself. */
#define WITH_REGISTERS(instruction, eax_, ecx_, edx_)                                                      \
	do {                                                                                               \
		seen = (struct seen){ 0 };                                                                 \
		__asm__ volatile("leaq 771f(%%rip), %%r11; movq %%r11, %0; leaq 772f(%%rip), %%r11;"       \
				 "movq %%r11, %1; movl %2, %%eax; movl %3, %%ecx; movl %4, %%edx;"         \
				 "771:" instruction "; 772:"                                               \
				 : "=m"(at_rip), "=m"(resume_rip)                                          \
				 : "i"(eax_), "i"(ecx_), "i"(edx_)                                         \
				 : "rax", "rcx", "rdx", "r11", "cc", "memory");                            \
	} while (0)

static void test_pkru(void)
{
	uint64_t cr4 = read_cr4();

	WITH_REGISTERS(RDPKRU, 0, 0, 0);
	CHECK_FAULT("rdpkru without cr4.pke", VECTOR_UD, 0);
	WITH_REGISTERS(WRPKRU, 0, 0, 0);
	CHECK_FAULT("wrpkru without cr4.pke", VECTOR_UD, 0);
	CHECK("ospke without cr4.pke", cpuid(7, 0).ecx & CPUID_OSPKE, 0);
	write_cr4(cr4 | CR4_PKE);
	CHECK("ospke with cr4.pke", cpuid(7, 0).ecx & CPUID_OSPKE, CPUID_OSPKE);
	WITH_REGISTERS(RDPKRU, 0, 1, 0);
	CHECK_FAULT("rdpkru with ecx", VECTOR_GP, 0);
	WITH_REGISTERS(WRPKRU, 0, 1, 0);
	CHECK_FAULT("wrpkru with ecx", VECTOR_GP, 0);
	WITH_REGISTERS(WRPKRU, 0, 0, 1);
	CHECK_FAULT("wrpkru with edx", VECTOR_GP, 0);
	WITH_REGISTERS(RDPKRU, 0, 0, 7);
	CHECK_NO_FAULT("rdpkru whatever edx is");
	write_pkru(0xfffffffc);
	CHECK("pkru keeps all 32 bits", pkru(), 0xfffffffc);
	write_pkru(0);
	/* In ring 3, too: rdpkru with ecx 0, then hlt to end. */
	CHECK_RING3("rdpkru is no fault in ring 3, hlt", VECTOR_GP, 0x31, 0xc9, 0x0f, 0x01, 0xee, 0xf4);
	write_cr4(cr4);
	CHECK_RING3("rdpkru in ring 3 without cr4.pke", VECTOR_UD, 0x31, 0xc9, 0x0f, 0x01, 0xee);
}

static void test_xsave(void)
{
	struct cpuid component = cpuid(0xd, 9);
	uint64_t cr4 = read_cr4(), present = 0;
	uint32_t saved;

	CHECK("leaf 0xd, pkru has 8 bytes or 4", component.eax == 8 || component.eax == 4, true);
	CHECK("leaf 0xd, pkru is user state", component.ecx & 1, 0);
	CHECK("leaf 0xd, xcr0 may have pkru", cpuid(0xd, 0).eax & XCR0_PKRU, XCR0_PKRU);
	write_cr4(cr4 | CR4_PKE | CR4_OSXSAVE);
	xsetbv(1 | XCR0_PKRU);
	write_pkru(0x55555554);
	memset(area, 0, sizeof area);
	__asm__ volatile("xsave %0" : "+m"(area) : "a"(XCR0_PKRU), "d"(0) : "memory");
	memcpy(&present, area + XSAVE_HEADER, 8);
	memcpy(&saved, area + component.ebx, 4);
	CHECK("xsave says that pkru is there", present & XCR0_PKRU, XCR0_PKRU);
	CHECK("xsave saves pkru", saved, 0x55555554);
	saved = 0x12344;
	memcpy(area + component.ebx, &saved, 4);
	__asm__ volatile("xrstor %0" : : "m"(area), "a"(XCR0_PKRU), "d"(0) : "memory");
	CHECK("xrstor loads pkru", pkru(), 0x12344);
	memset(area + XSAVE_HEADER, 0, 8);
	__asm__ volatile("xrstor %0" : : "m"(area), "a"(XCR0_PKRU), "d"(0) : "memory");
	CHECK("xrstor without pkru clears it", pkru(), 0);
	xsetbv(1);
	write_cr4(cr4);
}

static void test_pkrs(void)
{
	struct cpuid features = cpuid(7, 0);

	if (!(features.ecx >> 31)) {
		absent("pks", "CPUID.7.0:ECX[31]");
		return;
	}
	WITH_REGISTERS("rdmsr", 0, MSR_PKRS, 0);
	CHECK_NO_FAULT("ia32_pkrs without cr4.pks");
	WITH_REGISTERS("wrmsr", 0x5550, MSR_PKRS, 0);
	CHECK_NO_FAULT("ia32_pkrs is written");
	CHECK("ia32_pkrs keeps what is written", read_msr(MSR_PKRS), 0x5550);
	WITH_REGISTERS("wrmsr", 0, MSR_PKRS, 1);
	CHECK_FAULT("the upper half of ia32_pkrs", VECTOR_GP, 0);
	CHECK("ia32_pkrs stays", read_msr(MSR_PKRS), 0x5550);
	write_msr(MSR_PKRS, 0);
}

void test_protection_keys(void)
{
	topic("protection keys");
	if (cpuid(7, 0).ecx >> 3 & 1) {
		test_pkru();
		test_xsave();
	} else {
		absent("pku", "CPUID.7.0:ECX[3]");
	}
	test_pkrs();
}
