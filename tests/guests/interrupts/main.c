/* Interrupts: local APIC, NMI, 8259 and I/O APIC (SDM vol. 3, chapters 6 and 10; 82093AA and 8259A data sheets).
 *
 * Any smp; parts that need a second CPU say so. Needs a PIT and a 16550A. Status 33 when all passed. */
#include "tests.h"

#include "acpi.h"
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "machine.h"

struct arrivals arrivals[MAX_CPUS];

static void count(struct interrupt_frame *frame)
{
	struct arrivals *mine = &arrivals[this_cpu()->index];

	if (mine->total < ORDER_MAX)
		mine->order[mine->total] = (uint8_t)frame->vector;
	mine->total++;
	mine->of[frame->vector - VECTOR_TEST]++;
	mine->rip = frame->rip;
	mine->ppr = apic_read(APIC_PPR);
	apic_eoi();
}

void count_arrivals(void)
{
	for (int vector = VECTOR_TEST; vector < VECTOR_TEST + COUNTED_VECTORS; vector++)
		set_handler(vector, count);
}

void forget_arrivals(void)
{
	for (int i = 0; i < MAX_CPUS; i++)
		arrivals[i] = (struct arrivals){ 0 };
}

uint64_t arrived(int cpu, int vector)
{
	return __atomic_load_n(&arrivals[cpu].of[vector - VECTOR_TEST], __ATOMIC_ACQUIRE);
}

void send_self(int vector)
{
	apic_send(0, ICR_SELF | ICR_ASSERT | (uint32_t)vector);
}

void wait_until(const uint64_t *counted, uint64_t wanted)
{
	interrupts_off();
	while (__atomic_load_n(counted, __ATOMIC_ACQUIRE) < wanted)
		wait_for_interrupt();
	interrupts_on();
}

_Noreturn void guest_main(void)
{
	count_arrivals();
	smp_start();
	test_delivery();
	test_priority();
	test_nmi();
	test_destinations();
	test_timer();
	test_external();
	test_x2apic();
	finish();
}
