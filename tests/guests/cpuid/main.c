/* Prints what CPUID answers on every CPU: all leaves of all ranges, all subleaves.
 * A subleaf that answers as the one before it is left out. */
#include <stdbool.h>

#include "console.h"
#include "guest.h"
#include "machine.h"
#include "power.h"
#include "smp.h"

enum { SUBLEAVES = 64, RANGE_MAX = 0x200, PASSED = 0x10 };

static const uint32_t ranges[] = { 0, 0x40000000, 0x40000100, 0x80000000 };

static int turn;

static bool equal(struct cpuid a, struct cpuid b)
{
	return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

static void dump_leaf(uint32_t function)
{
	struct cpuid before = { 0, 0, 0, 0 };

	for (uint32_t index = 0; index < SUBLEAVES; index++) {
		struct cpuid leaf = cpuid(function, index);

		if (index == 0 || !equal(leaf, before))
			print("%08x %02x %08x %08x %08x %08x\n", function, index, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx);
		before = leaf;
		/* Leaves 0xb and 0x1f tell the subleaf's own number from the last level on. */
		if ((function == 0xb || function == 0x1f) && leaf.ebx == 0)
			break;
	}
}

static void dump(struct cpu *cpu)
{
	if (cpu->index != turn)
		return;
	print("cpu %d apic %u\n", cpu->index, cpu->apic_id);
	for (unsigned range = 0; range < sizeof ranges / sizeof *ranges; range++) {
		uint32_t highest = cpuid(ranges[range], 0).eax;

		/* A CPU without the range answers by another leaf. */
		if (highest - ranges[range] >= RANGE_MAX)
			continue;
		for (uint32_t function = ranges[range]; function <= highest; function++)
			dump_leaf(function);
	}
}

_Noreturn void guest_main(void)
{
	smp_start();
	for (turn = 0; turn < cpu_count; turn++)
		smp_run(dump);
	debug_exit(PASSED);
}
