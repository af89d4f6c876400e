/* Model-specific registers: read-back, reserved bits and values, addresses, absence (SDM vol. 4; vol. 3, 11.11, 11.12,
 * 15.3, 17.17). */
#include "conformance.h"
#include "guest.h"
#include "provoke_msr.h"

enum { GP = VECTOR_GP };
#define NOT_CANONICAL 0xaaaaaaaaaaaaaaaaull
#define HIGH_ADDRESS 0xffff800012345678ull
#define ALL_ONES 0xffffffffffffffffull
#define EFER_LMA 0x400ull
#define EFER_LME 0x100ull
#define MSR_TSC 0x10u
#define MSR_TSC_ADJUST 0x3bu
#define MSR_MTRR_CAP 0xfeu
#define MSR_MCG_CAP 0x179u
#define MSR_MC0_CTL 0x400u
#define CPUID_RDTSCP (1u << 27)
#define CPUID_TSC_ADJUST (1u << 1)

static const char *const silent = "ignores it: TCG checks no MSR's value (SDM vol. 4)";
static const char *const unknown = "takes unknown MSRs for zero (SDM vol. 2, RDMSR and WRMSR)";

/* The exception of a WRMSR or RDMSR, or 0. */
static uint64_t write_fault(uint32_t msr, uint64_t value)
{
	provoke_write_msr(msr, value);
	return seen.count ? seen.vector << 16 | seen.error_code : 0;
}

static uint64_t read_fault(uint32_t msr)
{
	provoke_read_msr(msr);
	return seen.count ? seen.vector << 16 | seen.error_code : 0;
}

static const struct {
	const char *name;
	uint32_t msr;
	uint64_t value;
} kept[] = {
	{ "SYSENTER_CS", 0x174, 0x1234 },
	{ "SYSENTER_ESP", 0x175, HIGH_ADDRESS },
	{ "SYSENTER_EIP", 0x176, HIGH_ADDRESS },
	{ "MISC_ENABLE", 0x1a0, 0x400c50809 },
	{ "PAT", 0x277, 0x0007010500070406 },
	{ "STAR", 0xc0000081, 0x001b000812345678 },
	{ "LSTAR", 0xc0000082, HIGH_ADDRESS },
	{ "CSTAR", 0xc0000083, HIGH_ADDRESS },
	{ "SFMASK", 0xc0000084, 0xffffffff },
	{ "FS.base", 0xc0000100, HIGH_ADDRESS },
	{ "GS.base", 0xc0000101, HIGH_ADDRESS },
	{ "kernel GS.base", 0xc0000102, HIGH_ADDRESS },
	{ "MTRRphysBase0", 0x200, 0x80000006 },
	{ "MTRRphysMask7", 0x20f, 0xff80000800 },
	{ "MTRRfix64K", 0x250, 0x0605040100060504 },
	{ "MTRRfix16K", 0x259, 0x0606060606060606 },
	{ "MTRRfix4K", 0x26f, 0x0000000000000005 },
	{ "MTRRdefType", 0x2ff, 0xc06 },
	{ "MC0_CTL", 0x400, 0 },
	{ "MC0_STATUS", 0x401, 0 },
	{ "MC0_ADDR", 0x402, NOT_CANONICAL },
	{ "MC0_MISC", 0x403, ALL_ONES },
};

static void read_back(void)
{
	topic("read-back");
	for (unsigned i = 0; i < sizeof kept / sizeof kept[0]; i++) {
		uint64_t before = read_msr(kept[i].msr), got;

		write_msr(kept[i].msr, kept[i].value);
		got = read_msr(kept[i].msr);
		write_msr(kept[i].msr, before);
		CHECK(kept[i].name, got, kept[i].value);
	}
}

static const struct {
	const char *name;
	uint32_t msr;
	uint64_t value;
} refused[] = {
	{ "SYSENTER_ESP not canonical", 0x175, NOT_CANONICAL },
	{ "SYSENTER_EIP not canonical", 0x176, NOT_CANONICAL },
	{ "LSTAR not canonical", 0xc0000082, NOT_CANONICAL },
	{ "CSTAR not canonical", 0xc0000083, NOT_CANONICAL },
	{ "FS.base not canonical", 0xc0000100, NOT_CANONICAL },
	{ "GS.base not canonical", 0xc0000101, NOT_CANONICAL },
	{ "kernel GS.base not canonical", 0xc0000102, NOT_CANONICAL },
	{ "PAT type 2", 0x277, 2 },
	{ "PAT type 8", 0x277, 8ull << 56 },
	{ "MTRRphysBase type 3", 0x200, 3 },
	{ "MTRRphysBase reserved bit", 0x200, 0x100 },
	{ "MTRRphysMask reserved bit", 0x201, 0x400 },
	{ "MTRRfix type 2", 0x250, 2 },
	{ "MTRRdefType type 7", 0x2ff, 7 },
	{ "MTRRdefType reserved bit", 0x2ff, 0x1000 },
	{ "MTRRcap", MSR_MTRR_CAP, 0 },
	{ "MC0_CTL neither 0 nor all ones", 0x400, NOT_CANONICAL },
	{ "MC0_STATUS not 0", 0x401, 1 },
	{ "EFER reserved bit", MSR_EFER, EFER_LMA | EFER_LME | 2 },
	{ "EFER reserved upper half", MSR_EFER, EFER_LMA | EFER_LME | 1ull << 32 },
	{ "EFER.LME while paging", MSR_EFER, EFER_LMA },
};

static void reserved(void)
{
	topic("reserved bits and values");
	for (unsigned i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		uint64_t before = read_msr(refused[i].msr), fault;

		if (refused[i].msr == MSR_EFER && option("qemu", 0))
			continue;
		fault = write_fault(refused[i].msr, refused[i].value);
		CHECK_NOT_QEMU(refused[i].name, fault, GP << 16, silent);
		if (!fault)
			write_msr(refused[i].msr, before);
	}
}

static void absent_ones(void)
{
	static const uint32_t none[] = { 0x3, 0x11e, 0x1234, 0xc0000999, 0xffffffff };
	uint32_t banks = read_msr(MSR_MCG_CAP) & 0xff;

	topic("what nobody has");
	CHECK_NOT_QEMU("the bank behind the last one", read_fault(MSR_MC0_CTL + 4 * banks), GP << 16, unknown);
	CHECK_NOT_QEMU("a write to the bank behind the last one", write_fault(MSR_MC0_CTL + 4 * banks, 0), GP << 16,
		       unknown);
	CHECK("the last bank", read_fault(MSR_MC0_CTL + 4 * banks - 1), 0);
	CHECK_NOT_QEMU("MSR 0x3", read_fault(none[0]), GP << 16, unknown);
	CHECK_NOT_QEMU("MSR 0x11e", read_fault(none[1]), GP << 16, unknown);
	CHECK_NOT_QEMU("MSR 0x1234", read_fault(none[2]), GP << 16, unknown);
	CHECK_NOT_QEMU("MSR 0xc0000999", read_fault(none[3]), GP << 16, unknown);
	CHECK_NOT_QEMU("MSR 0xffffffff", read_fault(none[4]), GP << 16, unknown);
	CHECK_NOT_QEMU("a write of MSR 0x1234", write_fault(none[2], 0), GP << 16, unknown);
}

static uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void time_stamps(void)
{
	uint64_t before, adjusted, after, adjust;
	uint32_t aux;

	topic("the time-stamp counter");
	write_msr(MSR_EFER, read_msr(MSR_EFER) & ~EFER_LMA);
	CHECK("EFER.LMA is not software's", read_msr(MSR_EFER) & EFER_LMA, EFER_LMA);
	if (cpuid(0x80000001, 0).edx & CPUID_RDTSCP) {
		write_msr(0xc0000103, 0xfedcba98);
		__asm__ volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
		CHECK("RDTSCP gives TSC_AUX", aux, 0xfedcba98);
		CHECK_NOT_QEMU("TSC_AUX has no upper half", write_fault(0xc0000103, 1ull << 32), GP << 16, silent);
	}
	__asm__ volatile("movq %0, %%cr4" : : "r"(read_cr4() | 4) : "memory");
	before = tsc();
	CHECK("CR4.TSD leaves ring 0 the counter", tsc() >= before, 1);
	__asm__ volatile("movq %0, %%cr4" : : "r"(read_cr4() & ~4ull) : "memory");
	if (!(cpuid(7, 0).ebx & CPUID_TSC_ADJUST)) {
		absent("TSC_ADJUST", "CPUID.07H:EBX.1 is 0");
		return;
	}
	CHECK("TSC_ADJUST at reset", read_msr(MSR_TSC_ADJUST), 0);
	before = tsc();
	write_msr(MSR_TSC_ADJUST, 100000000000);
	adjusted = tsc();
	write_msr(MSR_TSC_ADJUST, 0);
	after = tsc();
	CHECK("TSC_ADJUST moves the counter", adjusted - before >= 100000000000, 1);
	CHECK("TSC_ADJUST moves it back", after >= before && after < adjusted, 1);
	before = tsc();
	write_msr(MSR_TSC, 100000000000);
	after = tsc();
	adjust = read_msr(MSR_TSC_ADJUST);
	CHECK("a write of the TSC shows in TSC_ADJUST", before <= 100000000000 - adjust, 1);
	CHECK("the TSC goes on from what is written", after >= 100000000000, 1);
}

_Noreturn void guest_main(void)
{
	set_handler(GP, skip_fault);
	read_back();
	reserved();
	absent_ones();
	time_stamps();
	finish();
}
