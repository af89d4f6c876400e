/* Shuts the CPU down: #UD, its #GP and their #DF find no gate (SDM vol. 3, section 6.15, interrupt 8).
 * No status of its own; cpu= chooses which CPU does it. */
#include "console.h"
#include "guest.h"
#include "machine.h"
#include "power.h"
#include "smp.h"

static int victim;

static void shut_down(struct cpu *cpu)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_table = { 0, 0 };

	if (cpu->index == victim)
		__asm__ volatile("lidt %0; ud2" : : "m"(no_table));
}

_Noreturn void guest_main(void)
{
	victim = (int)option("cpu", 0);
	smp_start();
	if (victim >= cpu_count)
		panic("command line: cpu= takes a number below %d", cpu_count);
	print("CPU %d meets a triple fault\n", victim);
	smp_run(shut_down);
	panic("CPU %d went on after a triple fault", victim);
}
