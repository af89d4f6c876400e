/* x2APIC mode: the registers as MSRs (SDM vol. 3, section 10.12). TCG of QEMU 7.2 has none; this part was verified
 * under KVM. */
#include "tests.h"

#include <stddef.h>

#include "apic.h"
#include "check.h"
#include "machine.h"

#define VECTOR_SELF 0x80
#define VECTOR_X2_ALL 0x81
#define VECTOR_X2_LOGICAL 0x82

#define X2APIC_DFR 0x80e
#define X2APIC_LDR 0x80d

static uint64_t faults;

static void skip_msr_instruction(struct interrupt_frame *frame)
{
	faults++;
	frame->rip += 2; /* RDMSR and WRMSR */
}

static void enter_x2apic(struct cpu *cpu)
{
	EXPECT("IA32_APIC_BASE.BSP", !!(read_msr(MSR_APIC_BASE) & APIC_BASE_BSP), cpu->index == 0);
	apic_enter_x2apic();
	EXPECT("x2APIC mode", read_msr(MSR_APIC_BASE) & APIC_BASE_X2APIC, APIC_BASE_X2APIC);
}

static void check_registers(struct cpu *cpu)
{
	uint32_t id = cpu->apic_id;

	EXPECT("x2APIC id", apic_id(), id);
	EXPECT("logical x2APIC id", read_msr(X2APIC_LDR), (id & 0xffff0) << 12 | 1u << (id & 0xf));
	EXPECT("the spurious vector is kept", apic_read(APIC_SVR) & 0x1ff, SVR_ENABLE | VECTOR_SPURIOUS);
}

static void test_faults(void)
{
	set_handler(VECTOR_GP, skip_msr_instruction);
	(void)read_msr(X2APIC_DFR);
	EXPECT("#GP: x2APIC has no DFR", faults, 1);
	write_msr(MSR_X2APIC + (APIC_ID >> 4), 0);
	EXPECT("#GP: the id is read-only", faults, 2);
	write_msr(MSR_X2APIC + (APIC_EOI >> 4), 1);
	EXPECT("#GP: EOI takes 0 only", faults, 3);
	write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) & ~(uint64_t)APIC_BASE_X2APIC);
	EXPECT("#GP: no way from x2APIC straight to xAPIC", faults, 4);
	set_handler(VECTOR_GP, NULL);
}

static void wait_for_all(int vector)
{
	for (int i = 0; i < cpu_count; i++) {
		while (!arrived(i, vector))
			pause();
	}
}

void test_x2apic(void)
{
	uint32_t own_logical;

	if (!apic_has_x2apic()) {
		not_present("x2APIC");
		return;
	}
	topic("x2APIC");
	forget_arrivals();
	smp_run(enter_x2apic);
	smp_run(check_registers);
	test_faults();

	write_msr(MSR_X2APIC + (APIC_SELF_IPI >> 4), VECTOR_SELF);
	pause();
	EXPECT("self IPI", arrived(0, VECTOR_SELF), 1);
	apic_send(0, ICR_ALL | ICR_ASSERT | VECTOR_X2_ALL);
	wait_for_all(VECTOR_X2_ALL);
	own_logical = (uint32_t)read_msr(X2APIC_LDR);
	apic_send(own_logical, ICR_LOGICAL | ICR_ASSERT | VECTOR_X2_LOGICAL);
	pause();
	EXPECT("logical IPI to itself", arrived(0, VECTOR_X2_LOGICAL), 1);
	write_cr8(7);
	EXPECT("TPR by CR8", apic_read(APIC_TPR), 0x70);
	apic_write(APIC_TPR, 0);
	EXPECT("CR8 by TPR", read_cr8(), 0);
}
