/* The parts of the interrupts guest; main.c runs them in this order. */
#ifndef INTERRUPTS_TESTS_H
#define INTERRUPTS_TESTS_H

#include <stdint.h>

#include "interrupts.h"
#include "smp.h"

/* Handlers of VECTOR_TEST and on count here, and note the order in which they came. */
enum { ORDER_MAX = 8, COUNTED_VECTORS = 0x80 };

struct arrivals {
	uint64_t total;
	uint64_t of[COUNTED_VECTORS]; /* by vector - VECTOR_TEST */
	uint8_t order[ORDER_MAX];
	uint64_t rip;  /* of the last */
	uint32_t ppr;  /* in the last's handler, before EOI */
};

extern struct arrivals arrivals[MAX_CPUS];

/* Lets waiting interrupts in. NOPs, for QEMU 7.2 stretches the shadow of STI by a PAUSE. */
static inline void let_interrupts_in(void)
{
	__asm__ volatile("sti; nop; nop" : : : "memory");
}

void count_arrivals(void);
void forget_arrivals(void);
uint64_t arrived(int cpu, int vector);
void send_self(int vector);

/* Halts until the count reaches `wanted`. */
void wait_until(const uint64_t *count, uint64_t wanted);

void test_delivery(void);
void test_priority(void);
void test_nmi(void);
void test_destinations(void);
void test_timer(void);
void test_x2apic(void);
void test_external(void);

#endif
