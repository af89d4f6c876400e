/* Counts interrupts by CPU and vector, for guests that look at which have come. */
#ifndef TEST_ARRIVALS_H
#define TEST_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "apic.h"
#include "interrupts.h"
#include "machine.h"
#include "smp.h"
#include "timer.h"

#define VECTORS 256

enum { ORDER_MAX = 8, WAIT_MS = 500 };

struct arrivals {
	uint64_t total;
	uint64_t of[VECTORS];
	uint8_t order[ORDER_MAX];
	uint64_t rip; /* of the last */
};

/* Weak, so that all sources of a guest share one. */
__attribute__((weak)) struct arrivals arrivals[MAX_CPUS];

static inline void count_arrival(struct interrupt_frame *frame)
{
	struct arrivals *mine = &arrivals[this_cpu()->index];

	if (mine->total < ORDER_MAX)
		mine->order[mine->total] = (uint8_t)frame->vector;
	mine->rip = frame->rip;
	__atomic_fetch_add(&mine->of[frame->vector], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&mine->total, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

static inline void count_vectors(int first, int last)
{
	for (int vector = first; vector <= last; vector++)
		set_handler(vector, count_arrival);
}

static inline void forget_arrivals(void)
{
	for (int i = 0; i < MAX_CPUS; i++)
		arrivals[i] = (struct arrivals){ 0 };
}

static inline uint64_t arrived(int cpu, int vector)
{
	return __atomic_load_n(&arrivals[cpu].of[vector], __ATOMIC_SEQ_CST);
}

static inline uint64_t arrived_here(int vector)
{
	return arrived(this_cpu()->index, vector);
}

/* How many have come after at most WAIT_MS. */
static inline uint64_t await_arrivals(int cpu, int vector, uint64_t wanted)
{
	for (int i = 0; i < WAIT_MS * 10 && arrived(cpu, vector) < wanted; i++)
		delay_us(100);
	return arrived(cpu, vector);
}

/* NOPs: QEMU 7.2 stretches the shadow of STI by a PAUSE. A jump, for interrupts come at the end of a block there. */
static inline void let_interrupts_in(void)
{
	__asm__ volatile("sti; nop; nop; jmp 1f; 1:" : : : "memory");
}

/* A bit of the ISR, TMR or IRR. */
static inline bool vector_bit(uint32_t bank, int vector)
{
	return apic_read((enum apic_register)(bank + (uint32_t)(vector / 32) * 16)) >> (vector % 32) & 1;
}

#endif
