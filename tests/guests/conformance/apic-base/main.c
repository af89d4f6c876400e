/* IA32_APIC_BASE (SDM vol. 3, 10.4.3 to 10.4.5): reserved bits, relocation, disable. Any smp.
 *
 * QEMU 7.2 never enables an APIC again that was disabled, and raises no fault. */
#include "acpi.h"
#include "arrivals.h"
#include "conformance.h"
#include "guest.h"
#include "provoke_msr.h"

#define VECTOR 0x75
#define ELSEWHERE 0xfed40000ull
#define CPUID_1_EDX_APIC (1u << 9)
#define CPUID_PHYSICAL_BITS 0x80000008
#define IGNORES "it ignores them; SDM vol. 3, 10.4.4"
#define STAYS_OFF "an APIC that is disabled stays so; SDM vol. 3, 10.4.3"

static volatile uint32_t *at(uint64_t base, uint32_t reg)
{
	return physical(base + reg);
}

static void test_reserved(void)
{
	uint64_t base = read_msr(MSR_APIC_BASE), faults = 0;
	unsigned bits = cpuid(CPUID_PHYSICAL_BITS, 0).eax & 0xff;
	static const unsigned reserved[] = { 0, 1, 7, 9 };

	topic("reserved bits");
	for (unsigned i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
		provoke_write_msr(MSR_APIC_BASE, base | 1ull << reserved[i]);
		faults += seen.count == 1 && seen.vector == VECTOR_GP;
	}
	CHECK_NOT_QEMU("low ones that fault", faults, sizeof reserved / sizeof reserved[0], IGNORES);
	provoke_write_msr(MSR_APIC_BASE, base | 1ull << bits);
	CHECK_NOT_QEMU("the first beyond physical addresses faults", seen.count, 1, IGNORES);
	provoke_write_msr(MSR_APIC_BASE, base | 1ull << 63);
	CHECK_NOT_QEMU("the last one does", seen.count, 1, IGNORES);
	provoke_write_msr(MSR_APIC_BASE, base);
	CHECK_NO_FAULT("what it is");
	CHECK("it is as before", read_msr(MSR_APIC_BASE), base);
}

static void test_relocation(void)
{
	uint64_t base = read_msr(MSR_APIC_BASE);
	uint32_t version = *at(acpi.local_apic, APIC_VERSION);

	topic("relocation");
	interrupts_off();
	write_msr(MSR_APIC_BASE, ELSEWHERE | (base & 0xfff));
	CHECK("the base is kept", read_msr(MSR_APIC_BASE), ELSEWHERE | (base & 0xfff));
	CHECK_NOT_QEMU("its registers have moved", *at(ELSEWHERE, APIC_VERSION), version,
		       "it keeps them where they were; SDM vol. 3, 10.4.5");
	CHECK_NOT_QEMU("and are not in the old place", *at(acpi.local_apic, APIC_VERSION), 0xffffffff,
		       "they are; SDM vol. 3, 10.4.5");
	*at(ELSEWHERE, APIC_TPR) = 0x50;
	CHECK_NOT_QEMU("a store there is one", read_cr8(), 5, "it is none; SDM vol. 3, 10.4.5");
	write_msr(MSR_APIC_BASE, base);
	CHECK("back again", *at(acpi.local_apic, APIC_VERSION), version);
	write_cr8(0);
	interrupts_on();
}

static void test_disable(void)
{
	uint64_t base = read_msr(MSR_APIC_BASE);
	uint32_t version = *at(acpi.local_apic, APIC_VERSION), id = *at(acpi.local_apic, APIC_ID);
	volatile uint8_t *page = physical(acpi.local_apic);

	topic("disable");
	interrupts_off();
	apic_write(APIC_TPR, 0x30);
	apic_write(APIC_LVT_ERROR, 0x99);
	apic_write(APIC_ID, (id + (1u << 24)) & 0xff000000);
	write_msr(MSR_APIC_BASE, base & ~(uint64_t)APIC_BASE_ENABLE);
	CHECK_NOT_QEMU("it is off", read_msr(MSR_APIC_BASE), base & ~(uint64_t)APIC_BASE_ENABLE, STAYS_OFF);
	CHECK_NOT_QEMU("CPUID has none", cpuid(1, 0).edx & CPUID_1_EDX_APIC, 0, STAYS_OFF);
	for (int i = 0; i < 64; i++)
		page[APIC_TPR - 32 + i] = 0xff;
	CHECK_NOT_QEMU("its page is nobody's", *at(acpi.local_apic, APIC_VERSION), 0xffffffff, STAYS_OFF);
	write_cr8(5);
	CHECK_NOT_QEMU("CR8 is there still", read_cr8(), 5, STAYS_OFF);
	CHECK_NOT_QEMU("the task priority is not", *at(acpi.local_apic, APIC_TPR), 0xffffffff, STAYS_OFF);
	write_cr8(0);
	write_msr(MSR_APIC_BASE, base);
	CHECK_NOT_QEMU("on again", read_msr(MSR_APIC_BASE), base, STAYS_OFF);
	CHECK_NOT_QEMU("CPUID has it again", (cpuid(1, 0).edx & CPUID_1_EDX_APIC) != 0, 1, STAYS_OFF);
	CHECK_NOT_QEMU("as after power-up, version", *at(acpi.local_apic, APIC_VERSION), version, STAYS_OFF);
	CHECK_NOT_QEMU("ID", *at(acpi.local_apic, APIC_ID), id, STAYS_OFF);
	CHECK_NOT_QEMU("spurious vector", apic_read(APIC_SVR), 0xff, STAYS_OFF);
	CHECK_NOT_QEMU("error entry", apic_read(APIC_LVT_ERROR), LVT_MASKED, STAYS_OFF);
	CHECK_NOT_QEMU("destination format", apic_read(APIC_DFR), 0xffffffff, STAYS_OFF);
	apic_enable();
	forget_arrivals();
	interrupts_on();
	apic_send(0, ICR_SELF | ICR_ASSERT | VECTOR);
	CHECK_NOT_QEMU("it works", await_arrivals(0, VECTOR, 1), 1, STAYS_OFF);
}

static uint64_t others_ok;

static void cycle(struct cpu *cpu)
{
	uint64_t base = read_msr(MSR_APIC_BASE);

	interrupts_off();
	if (cpu->index != 0) {
		write_msr(MSR_APIC_BASE, base & ~(uint64_t)APIC_BASE_ENABLE);
		write_msr(MSR_APIC_BASE, base);
		apic_enable();
		if (apic_id() == cpu->apic_id && !(read_msr(MSR_APIC_BASE) & APIC_BASE_BSP))
			__atomic_fetch_add(&others_ok, 1, __ATOMIC_SEQ_CST);
	}
	interrupts_on();
}

static void test_others(void)
{
	uint64_t came = 0;

	topic("the other CPUs");
	smp_run(cycle);
	CHECK_NOT_QEMU("off and on again, those that are not the boot processor", cpu_count - 1 - others_ok, 0, STAYS_OFF);
	forget_arrivals();
	apic_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | VECTOR);
	for (int i = 1; i < cpu_count; i++)
		came += await_arrivals(i, VECTOR, 1);
	CHECK_NOT_QEMU("those that an IPI does not reach", (uint64_t)cpu_count - 1 - came, 0, STAYS_OFF);
}

_Noreturn void guest_main(void)
{
	count_vectors(VECTOR_TEST, 0xef);
	set_handler(VECTOR_GP, skip_fault);
	smp_start();
	test_reserved();
	test_relocation();
	if (!option("qemu", 0)) {
		test_disable();
		test_others();
	}
	finish();
}
