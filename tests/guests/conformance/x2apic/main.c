/* x2APIC mode (SDM vol. 3, 10.12): its registers as MSRs, what faults, destinations, self-IPI. Any smp. */
#include "acpi.h"
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "provoke_msr.h"

#define VECTOR 0x75
#define MSR(reg) (MSR_X2APIC + ((reg) >> 4))
#define CPUID_1_ECX_X2APIC (1u << 21)
#define ILLEGAL_VECTOR_SENT (1u << 5)

enum { ROUNDS = 200 };

#define WRITE_FAULTS(name, msr, value)           \
	do {                                     \
		provoke_write_msr(msr, value);       \
		CHECK_FAULT(name, VECTOR_GP, 0); \
	} while (0)

#define READ_FAULTS(name, msr)                   \
	do {                                     \
		provoke_read_msr(msr);               \
		CHECK_FAULT(name, VECTOR_GP, 0); \
	} while (0)

static void test_without(void)
{
	topic("without the feature");
	provoke_write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	CHECK_NOT_QEMU("the mode can not be enabled", seen.count, 1, "it ignores the bit; SDM vol. 3, 10.12.1");
}

static void enter(struct cpu *cpu)
{
	(void)cpu;
	apic_enter_x2apic();
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
}

static void test_mode(void)
{
	uint64_t base = read_msr(MSR_APIC_BASE);
	volatile uint32_t *version = physical(acpi.local_apic + APIC_VERSION);

	topic("modes");
	READ_FAULTS("a register outside of the mode", MSR(APIC_VERSION));
	WRITE_FAULTS("x2APIC without the enable bit", MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_ENABLE) | APIC_BASE_X2APIC);
	smp_run(enter);
	CHECK("entered", read_msr(MSR_APIC_BASE), base | APIC_BASE_X2APIC);
	WRITE_FAULTS("back to xAPIC", MSR_APIC_BASE, base);
	WRITE_FAULTS("to the invalid mode", MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_ENABLE) | APIC_BASE_X2APIC);
	CHECK("the page is nobody's", *version, 0xffffffff);
	*version = 0;
	CHECK("and takes no store", apic_read(APIC_VERSION) != 0, 1);
}

static void test_registers(void)
{
	static const struct {
		enum apic_register reg;
		uint64_t reserved;
	} reserved[] = {
		{ APIC_TPR, 1ull << 8 },	   { APIC_SVR, 1ull << 11 },	   { APIC_LVT_TIMER, 1ull << 19 },
		{ APIC_LVT_TIMER, 1ull << 8 },	   { APIC_LVT_LINT0, 1ull << 11 }, { APIC_LVT_LINT1, 1ull << 17 },
		{ APIC_LVT_ERROR, 1ull << 8 },	   { APIC_TIMER_DIVIDE, 1u << 2 }, { APIC_ICR, 1ull << 13 },
		{ APIC_ICR, 1ull << 16 },	   { APIC_ICR, 1ull << 20 },	   { APIC_EOI, 1 },
		{ APIC_ESR, 1 },		   { APIC_SELF_IPI, 0x100 },	   { APIC_TIMER_INITIAL, 1ull << 32 },
		{ APIC_LVT_TIMER, 1ull << 32 },
	};
	static const uint32_t missing[] = { 0x000, APIC_ICR_HIGH, 0x0e0, 0x090, 0x0c0, 0x040, 0x3a0, 0x3d0 };
	static const enum apic_register unwritable[] = { APIC_ID, APIC_VERSION, APIC_PPR, APIC_LDR, APIC_ISR, APIC_IRR,
							 APIC_TIMER_CURRENT };
	uint32_t id = apic_id();
	uint64_t faults = 0;

	topic("registers");
	CHECK("ID as in CPUID leaf 0xb", id, cpuid(0xb, 0).edx);
	CHECK("logical ID by the ID", apic_read(APIC_LDR), (id >> 4) << 16 | 1u << (id & 15));
	for (unsigned i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
		provoke_write_msr(MSR(reserved[i].reg), reserved[i].reserved);
		faults += seen.count == 1 && seen.vector == VECTOR_GP;
	}
	CHECK("reserved bits that fault", faults, sizeof reserved / sizeof reserved[0]);
	faults = 0;
	for (unsigned i = 0; i < sizeof missing / sizeof missing[0]; i++) {
		provoke_read_msr(MSR(missing[i]));
		faults += seen.count == 1;
		provoke_write_msr(MSR(missing[i]), 0);
		faults += seen.count == 1;
	}
	CHECK("accesses to registers that are not there", faults, 2 * (sizeof missing / sizeof missing[0]));
	faults = 0;
	for (unsigned i = 0; i < sizeof unwritable / sizeof unwritable[0]; i++) {
		provoke_write_msr(MSR(unwritable[i]), 0);
		faults += seen.count == 1;
	}
	CHECK("writes of read-only registers", faults, sizeof unwritable / sizeof unwritable[0]);
	READ_FAULTS("EOI is write-only", MSR(APIC_EOI));
	READ_FAULTS("so is the self-IPI register", MSR(APIC_SELF_IPI));
	write_msr(MSR(APIC_TPR), 0x50);
	CHECK("CR8 is the task priority's class", read_cr8(), 5);
	write_cr8(0);
	CHECK("and sets it", read_msr(MSR(APIC_TPR)), 0);
}

static uint64_t takers(void)
{
	uint64_t set = 0;

	for (int i = 0; i < cpu_count; i++)
		set |= (uint64_t)(arrived(i, VECTOR) != 0) << i;
	return set;
}

static uint64_t reached(uint64_t icr, uint64_t wanted)
{
	forget_arrivals();
	write_msr(MSR(APIC_ICR), icr | ICR_ASSERT | VECTOR);
	for (int i = 0; i < WAIT_MS * 10 && takers() != wanted; i++)
		delay_us(100);
	delay_us(1000);
	return takers();
}

#define REACHES(name, destination, command, set)                                                        \
	do {                                                                                            \
		uint64_t wanted_ = (set) & ((1ull << cpu_count) - 1);                                   \
		CHECK(name, reached((uint64_t)(destination) << 32 | (command), wanted_), wanted_); \
	} while (0)

static void test_destinations(void)
{
	int last = cpu_count - 1;

	topic("destinations");
	REACHES("physical, the last CPU", cpu_at(last)->apic_id, 0, 1ull << last);
	REACHES("physical, broadcast", 0xffffffff, 0, ~0ull);
	REACHES("physical, xAPIC's broadcast is an ID", 0xff, 0, 0);
	REACHES("self", 0, ICR_SELF, 1);
	REACHES("all", 0, ICR_ALL, ~0ull);
	REACHES("all but self", 0, ICR_ALL_BUT_SELF, ~1ull);
	REACHES("logical, one", 1u << last, ICR_LOGICAL, 1ull << last);
	REACHES("logical, several", 5, ICR_LOGICAL, 5);
	REACHES("logical, another cluster", 0x10001, ICR_LOGICAL, 0);
	REACHES("logical, broadcast", 0xffffffff, ICR_LOGICAL, ~0ull);
	CHECK("the ICR is one register of 64 bits", read_msr(MSR(APIC_ICR)),
	      0xffffffff00000000 | ICR_LOGICAL | ICR_ASSERT | VECTOR);
}

static void test_self_ipi(void)
{
	uint64_t late = 0;

	topic("self-IPI");
	forget_arrivals();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		write_msr(MSR(APIC_SELF_IPI), VECTOR);
		__asm__ volatile("nop" : : : "memory");
		late += arrived(0, VECTOR) != i + 1;
	}
	CHECK("taken by the next instruction", late, 0);
	late = 0;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		write_msr(MSR(APIC_ICR), ICR_SELF | ICR_ASSERT | VECTOR);
		__asm__ volatile("nop" : : : "memory");
		late += arrived(0, VECTOR) != ROUNDS + i + 1;
	}
	CHECK("so is one by the ICR", late, 0);
	late = 0;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		write_cr8(15);
		write_msr(MSR(APIC_SELF_IPI), VECTOR);
		write_msr(MSR(APIC_TPR), 0);
		__asm__ volatile("nop" : : : "memory");
		late += arrived(0, VECTOR) != 2 * ROUNDS + i + 1;
	}
	CHECK("and one that the task priority lets in", late, 0);
	write_msr(MSR(APIC_SELF_IPI), 0x0f);
	write_msr(MSR(APIC_ESR), 0);
	CHECK("an illegal vector is an error", read_msr(MSR(APIC_ESR)), ILLEGAL_VECTOR_SENT);
	write_msr(MSR(APIC_ESR), 0);
}

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	set_handler(VECTOR_GP, skip_fault);
	smp_start();
	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC)) {
		absent("x2APIC", "CPUID.1:ECX bit 21 is clear");
		test_without();
		finish();
	}
	test_mode();
	test_registers();
	test_destinations();
	test_self_ipi();
	finish();
}
