/* NMI by IPI: not masked by IF, one at a time until IRET, wakes a halted CPU. */
#include "tests.h"

#include "apic.h"
#include "check.h"

static uint64_t nmis[MAX_CPUS];
static bool nested, send_inside, inside;

static void send_nmi(struct cpu *to)
{
	apic_send(to->apic_id, ICR_NMI | ICR_ASSERT);
}

static void take_nmi(struct interrupt_frame *frame)
{
	struct cpu *cpu = this_cpu();

	(void)frame;
	nested |= inside;
	if (cpu->index == 0)
		inside = true;
	__atomic_add_fetch(&nmis[cpu->index], 1, __ATOMIC_ACQ_REL);
	if (send_inside) {
		send_inside = false;
		send_nmi(cpu);
		/* An exception's IRET would end the blocking, so nothing is done here but wait. */
		for (int i = 0; i < 1000; i++)
			pause();
	}
	if (cpu->index == 0)
		inside = false;
}

static uint64_t count_of(int cpu)
{
	return __atomic_load_n(&nmis[cpu], __ATOMIC_ACQUIRE);
}

static void wait_for_nmis(int cpu, uint64_t wanted)
{
	while (count_of(cpu) < wanted)
		pause();
}

/* With interrupts off only the NMI can end the HLT. */
static void halt_until_nmi(struct cpu *cpu)
{
	if (cpu->index == 0)
		return;
	interrupts_off();
	while (!count_of(cpu->index))
		__asm__ volatile("hlt" : : : "memory");
	interrupts_on();
}

static void wake_by_nmi(struct cpu *cpu)
{
	if (cpu->index != 0) {
		halt_until_nmi(cpu);
		return;
	}
	/* One that comes before a CPU looks is counted, too: an NMI between its look and its HLT would be
	 * lost on it, so they are sent until it has counted. */
	for (int i = 1; i < cpu_count; i++) {
		while (!count_of(i)) {
			send_nmi(cpu_at(i));
			for (int spin = 0; spin < 10000 && !count_of(i); spin++)
				pause();
		}
	}
	apic_send(0, ICR_ALL_BUT_SELF | ICR_NMI | ICR_ASSERT);
	for (int i = 1; i < cpu_count; i++)
		wait_for_nmis(i, 2);
}

void test_nmi(void)
{
	topic("NMI");
	set_handler(VECTOR_NMI, take_nmi);
	interrupts_off();
	send_nmi(this_cpu());
	wait_for_nmis(0, 1);
	EXPECT("NMI with IF clear", count_of(0), 1);

	send_inside = true;
	send_nmi(this_cpu());
	wait_for_nmis(0, 3);
	EXPECT("an NMI inside an NMI's handler waits for IRET", nested, false);
	interrupts_on();

	if (cpu_count == 1) {
		not_present("a second CPU for NMIs");
		return;
	}
	smp_run(wake_by_nmi);
	EXPECT("this CPU has none of theirs", count_of(0), 3);
}
