/* What a vCPU has of its own, for tests that move it to other processes meanwhile: all registers that compute, MSRs,
 * debug registers, the local APIC's timer, interrupts, halting, the TSC.
 *
 * Each CPU computes rounds of a checksum in several units at once, which must agree; a periodic timer interrupts it, and
 * its neighbour's IPIs, none of which may be lost; every few rounds it halts until the timer's next. At the end each
 * computes its checksum once more, plainly.
 *
 * Command line: rounds= of each CPU; 0: until the power button is pressed. steps= of a round. Status 33 when all
 * passed. */
#include <stddef.h>

#include "acpi.h"
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "interrupts.h"
#include "smp.h"

enum {
	TICKS_PER_MS = 2,
	ROUNDS_A_HALT = 4,
	PWRBTN_STS = 0x100,
	CR4_OSFXSR = 0x200,
	CR4_OSXMMEXCPT = 0x400,
	FIXED_IPI = ICR_FIXED | ICR_ASSERT,
};

struct sums {
	uint64_t general, x87, packed, doubles;
	uint8_t pi[16];
};
_Static_assert(offsetof(struct sums, pi) == 32, "work.S");

uint64_t work(uint64_t *seed, uint64_t count, struct sums *sums);

static struct own {
	uint64_t rounds, seed, ticks, halts;
	uint64_t sent, received;
} __attribute__((aligned(64))) owns[MAX_CPUS];

static uint64_t rounds, steps;
static uint32_t timer_per_ms;
static bool stop;

static uint64_t first_seed(int index)
{
	return 0x9e3779b97f4a7c15 * (uint64_t)(index + 1);
}

static void take_tick(struct interrupt_frame *frame)
{
	(void)frame;
	owns[this_cpu()->index].ticks++;
	apic_eoi();
}

static void take_ring(struct interrupt_frame *frame)
{
	struct own *own = &owns[this_cpu()->index];

	(void)frame;
	__atomic_store_n(&own->received, own->received + 1, __ATOMIC_RELEASE);
	apic_eoi();
}

/* The next one only when the last has arrived: none may merge with another. */
static void ring_neighbour(struct cpu *cpu)
{
	struct own *own = &owns[cpu->index];
	struct cpu *next = cpu_at((cpu->index + 1) % cpu_count);

	if (__atomic_load_n(&owns[next->index].received, __ATOMIC_ACQUIRE) == own->sent) {
		own->sent++;
		apic_send(next->apic_id, FIXED_IPI | VECTOR_RING);
	}
}

static const uint32_t kept_msrs[] = {MSR_LSTAR, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_SYSENTER_ESP};
enum { KEPT_MSRS = sizeof(kept_msrs) / sizeof(kept_msrs[0]) };

static uint64_t kept_value(struct cpu *cpu, unsigned i)
{
	return 0xffff800012340000 + (uint64_t)cpu->index * 0x100 + i;
}

static uint64_t read_dr0(void)
{
	uint64_t value;

	__asm__ volatile("movq %%dr0, %0" : "=r"(value));
	return value;
}

static void registers_write(struct cpu *cpu)
{
	for (unsigned i = 0; i < KEPT_MSRS; i++)
		write_msr(kept_msrs[i], kept_value(cpu, i));
	__asm__ volatile("movq %0, %%dr0; movq %0, %%cr2" : : "r"(kept_value(cpu, KEPT_MSRS)));
	write_cr8(1);
}

static void registers_check(struct cpu *cpu)
{
	for (unsigned i = 0; i < KEPT_MSRS; i++)
		EXPECT("MSR", read_msr(kept_msrs[i]), kept_value(cpu, i));
	EXPECT("DR0", read_dr0(), kept_value(cpu, KEPT_MSRS));
	EXPECT("CR2", read_cr2(), kept_value(cpu, KEPT_MSRS));
	EXPECT("CR8", read_cr8(), 1);
	EXPECT("APIC ID", apic_id(), cpu->apic_id);
}

static void one_round(struct cpu *cpu)
{
	static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
	struct own *own = &owns[cpu->index];
	uint64_t tsc = read_tsc();
	struct sums sums;

	EXPECT("registers that changed", work(&own->seed, steps, &sums), 0);
	EXPECT("x87", sums.x87, sums.general);
	EXPECT("packed integers", sums.packed, sums.general);
	EXPECT("doubles", sums.doubles, sums.general);
	for (unsigned i = 0; i < sizeof(pi); i++)
		EXPECT("pi", sums.pi[i], pi[i]);
	registers_check(cpu);
	EXPECT("the TSC went back", read_tsc() < tsc, 0);
	own->rounds++;
}

static void sse_on(void)
{
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT));
}

static void compute(struct cpu *cpu)
{
	struct own *own = &owns[cpu->index];

	own->seed = first_seed(cpu->index);
	sse_on();
	registers_write(cpu);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_PERIODIC | VECTOR_TIMER);
	apic_write(APIC_TIMER_INITIAL, timer_per_ms / TICKS_PER_MS);
	interrupts_on();
	while (rounds ? own->rounds < rounds : !__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		one_round(cpu);
		ring_neighbour(cpu);
		if (own->rounds % ROUNDS_A_HALT == 0) {
			uint64_t ticks = own->ticks;

			interrupts_off();
			while (own->ticks == ticks)
				wait_for_interrupt();
			interrupts_on();
			own->halts++;
		}
		if (!rounds && cpu->index == 0 && (inw(acpi.pm1a_event) & PWRBTN_STS))
			__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	}
	apic_write(APIC_TIMER_INITIAL, 0);
	/* The last one may be on its way. */
	while (__atomic_load_n(&owns[(cpu->index + 1) % cpu_count].received, __ATOMIC_ACQUIRE) != own->sent)
		pause();
	write_cr8(0);
}

static uint64_t plain_checksum(int index)
{
	uint64_t value = first_seed(index);

	for (uint64_t i = 0; i < owns[index].rounds * steps; i++)
		value = value * 6364136223846793005 + 1442695040888963407;
	return value;
}

static void compare(struct cpu *cpu)
{
	EXPECT("checksum", owns[cpu->index].seed, plain_checksum(cpu->index));
}

_Noreturn void guest_main(void)
{
	rounds = option("rounds", 100);
	steps = option("steps", 20000);
	set_handler(VECTOR_TIMER, take_tick);
	set_handler(VECTOR_RING, take_ring);
	smp_start();
	timer_per_ms = apic_timer_per_ms();
	print("computing\n");
	smp_run(compute);
	smp_run(compare);
	for (int i = 0; i < cpu_count; i++) {
		const struct own *own = &owns[i];

		print("CPU %d: %lu rounds, checksum %lx, %lu ticks, %lu halts, %lu IPIs\n", i, own->rounds, own->seed,
		      own->ticks, own->halts, own->sent);
		EXPECT("it was interrupted", own->ticks > 0, 1);
	}
	finish();
}
