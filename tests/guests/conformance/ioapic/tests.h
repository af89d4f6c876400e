/* The parts of the ioapic guest; main.c runs them in this order. */
#ifndef IOAPIC_TESTS_H
#define IOAPIC_TESTS_H

void test_registers(void);
void test_edge(void);
void test_level(void);
void test_destinations(void);
void test_delivery_modes(void);
void test_suppressed_broadcast(void);

#endif
