/* The parts of the delivery guest; main.c runs them in this order. */
#ifndef CONFORMANCE_DELIVERY_TESTS_H
#define CONFORMANCE_DELIVERY_TESTS_H

#include <stdbool.h>
#include <stdint.h>

/* A stack of the interrupt stack table that is mapped or not, and one that always is. */
enum { IST_FRAGILE = 3, IST_SAFE = 4 };

#define GATE_CODE(vector) ((vector) * 8 + 2)
#define EXTERNAL 1

/* The stack table entry of a vector's gate; 0: none. */
void gate_set_stack(int vector, unsigned ist);
void fragile_stack_map(bool present);
/* The address that the fragile stack starts below. */
uint64_t fragile_stack_top(void);

void test_gates(void);
void test_double_faults(void);
void test_restart(void);
void test_stacks(void);
void test_order(void);
void test_nmi(void);

#endif
