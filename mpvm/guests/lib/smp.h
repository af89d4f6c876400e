/* The CPUs, their start, and work that they do together. */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct cpu {
	struct cpu *self; /* what GS points at */
	uint8_t *stack_top;
	int index;
	uint32_t apic_id;
	bool x2apic; /* its local APIC is in that mode; apic.c's */
};

extern int cpu_count;

/* In the order of the MADT, but the bootstrap processor comes first. */
struct cpu *cpu_at(int index);

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* Gives the bootstrap processor its per-CPU state. */
void smp_init(void);

/* Starts every AP that the MADT lists and waits for all; ends in a panic that counts them otherwise.
 * Interrupts are on afterwards, on all CPUs. */
void smp_start(void);

/* All CPUs, this one too, run the function; returns when all are done. */
void smp_run(void (*work)(struct cpu *cpu));

/* Waits, halted, for all CPUs. Interrupts must be on. */
void barrier(void);

/* Where ring 3's interrupts and exceptions find this CPU's stack (TSS.RSP0). */
uint64_t kernel_stack(void);

/* CPU `index`'s part when `total` is divided among all. */
uint64_t share(uint64_t total, int index);

#endif
